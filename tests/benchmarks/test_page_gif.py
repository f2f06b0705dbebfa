"""The moving picture of the README is drawn from a real run, by the real page."""

import shutil
from itertools import pairwise
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image, ImageChops
from traced_run import STEPS, traced_run

pytest.importorskip("playwright.sync_api")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@pytest.mark.slow
@pytest.mark.skipif(not any(map(shutil.which, BROWSERS)), reason="no Chromium is here")
def test_it_shows_every_step_and_then_every_pixel(tmp_path: Path) -> None:
    from benchmarks.page_gif import CHOSEN, END, main  # noqa: PLC0415 - playwright may be missing

    out = tmp_path / "page.gif"
    arguments = ["--run", traced_run(tmp_path), "--pixels", "3,4:8,8:12,5", "--width", 400]
    result = CliRunner().invoke(main, [str(word) for word in [*arguments, "--out", out]])
    assert result.exit_code == 0, result.output
    frames, durations = [], []
    with Image.open(out) as gif:
        assert gif.width == 400
        for number in range(gif.n_frames):
            gif.seek(number)
            frames.append(gif.convert("RGB"))
            durations.append(gif.info["duration"])
    assert len(frames) == STEPS + 2
    assert (durations[0], durations[-1]) == (END, CHOSEN)
    changes = [ImageChops.difference(*pair).getbbox() for pair in pairwise(frames)]
    assert all(changes)
