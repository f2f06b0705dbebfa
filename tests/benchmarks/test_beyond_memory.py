"""The benchmark of an index larger than memory: its tiles, and its limit."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from image_files import write_png

from benchmarks.beyond_memory import SIDE, tile, write_tiles

REPOSITORY = Path(__file__).parents[2]


def write_photos(folder: Path, rng: np.random.Generator) -> None:
    for i in range(3):
        write_png(folder / f"{i}.png", rng.integers(0, 256, (40, 50, 3), dtype=np.uint8))


def test_a_tile_is_a_square_of_the_photograph_perhaps_mirrored(rng) -> None:
    """Of a ramp along the columns, a tile is a part of that ramp, up or down."""
    photo = np.broadcast_to(np.arange(100, dtype=np.uint8), (1, 80, 100))
    rising = set()
    for _ in range(20):
        cut = tile(photo, rng).astype(int)
        assert cut.shape == (3, SIDE, SIDE)
        assert np.ptp(cut, axis=(0, 1)).max() == 0  # the same in each row and channel
        steps = np.diff(cut[0, 0])
        assert (steps >= 0).all() or (steps <= 0).all()
        assert 38 <= abs(steps.sum()) < 80
        rising.add(steps.sum() > 0)
    assert rising == {True, False}


def test_the_same_seed_gives_the_same_tiles(rng, tmp_path: Path) -> None:
    write_photos(tmp_path / "photos", rng)
    for name in ("a.npy", "b.npy"):
        write_tiles(f"folder:{tmp_path}/photos", 7, tmp_path / name)
    tiles = np.load(tmp_path / "a.npy")
    assert tiles.shape == (7, 3, SIDE, SIDE)
    assert tiles.std() > 10
    assert np.array_equal(tiles, np.load(tmp_path / "b.npy"))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux what a process holds")
@pytest.mark.parametrize(("room", "fits"), [("2", True), ("0.01", False)])
def test_a_process_that_allocates_more_than_its_room_fails(
    rng, tmp_path: Path, room: str, fits: bool
) -> None:
    write_photos(tmp_path / "photos", rng)
    command = [sys.executable, "-m", "benchmarks.beyond_memory", "--source",
               f"folder:{tmp_path}/photos", "--num", "20", "--room", room, "--steps", "1",
               "--scratch", str(tmp_path / "scratch"), "--out", str(tmp_path / "rows")]  # fmt: skip
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert (done.returncode == 0) == fits, done.stderr
    if fits:
        (row,) = map(json.loads, (tmp_path / "rows").read_text().splitlines())
        assert row["config"]["num"] == 20
        assert row["audit"]["R2"]["lowest"] > 0.9
    else:
        assert "it did not fit" in done.stderr
        assert not (tmp_path / "rows").exists()
