"""An answer from an index whose folder has grown since says so."""

from pathlib import Path

import numpy as np
from click.testing import CliRunner
from PIL import Image
from traced_run import few_images

from cli.patchindex import main as patchindex
from patchindex import ImageSet, IndexConfig, build_index


def test_a_folder_that_grew_is_told_when_a_picture_is_asked_about(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for number, pixels in enumerate(few_images().pixels[:5, 0]):
        Image.fromarray(np.ascontiguousarray(pixels)).save(photos / f"{number}.png")
    build_index(ImageSet.load(f"folder:{photos}"), IndexConfig(scales=(3,)), tmp_path / "few.zarr")
    asked = ["query", "--index", tmp_path / "few.zarr", "--image", photos / "1.png"]
    for more in (["--all", "--out", tmp_path / "out.json"], ["--pixel", "1,1", "--scale", "3"]):
        result = CliRunner().invoke(patchindex, list(map(str, asked + more)))
        assert result.exit_code == 0, result.output
        assert "is not as" not in result.stderr
    (photos / "1.png").rename(photos / "9.png")
    asked[-1] = photos / "9.png"
    for more in (["--all", "--out", tmp_path / "out.json"], ["--pixel", "1,1", "--scale", "3"]):
        result = CliRunner().invoke(patchindex, list(map(str, asked + more)))
        assert result.exit_code == 0, result.output
        assert "few.zarr holds it: 1 file not in it (9.png), 1 file gone (1.png)" in result.stderr
        assert "build it again with --overwrite" in result.stderr
