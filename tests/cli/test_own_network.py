"""A network of the user's own is never put beside whatever index happens to be the newest."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cli.sampler import main
from cli.training_set import check_whose
from patchindex import ImageSet
from patchindex.index import IndexConfig, build_index
from patchindex.paths import indices_dir


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with an index of somebody else's images."""
    home = tmp_path_factory.mktemp("home")
    images = ImageSet.load("sample", limit=4, resolution=6)
    build_index(images, IndexConfig(scales=(3,)), home / "indices" / "others.zarr")
    return home


@pytest.mark.parametrize("command", ["compare", "calibrate", "denoise"])
@pytest.mark.parametrize("network", ["python:mine:f", "diffusers:a/b", "edm:f.pkl", "runs/mine"])
def test_the_newest_index_is_no_training_set_of_a_network_of_ones_own(
    command: str, network: str, home: Path, monkeypatch
) -> None:
    monkeypatch.setenv("PATCHINDEX_HOME", str(home))
    result = invoke(command, "--network", network)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == (
        f"Error: the images that {network} was trained on are not known. Give --index PATH or "
        f"--dataset NAME. Indices there are: {indices_dir() / 'others.zarr'}.\n"
    )


def test_a_bundled_network_no_network_and_named_images_pass() -> None:
    bundled = "fashion_mnist_resnet_zeros_small"
    check_whose(None, None, None)
    check_whose(bundled, None, None)
    check_whose("python:mine:f", Path("a.zarr"), None)
    check_whose("python:mine:f", None, "sample")


def test_an_index_that_is_not_there_is_told_with_those_that_are(home: Path, monkeypatch) -> None:
    monkeypatch.setenv("PATCHINDEX_HOME", str(home))
    result = invoke("run", "--index", "nowhere.zarr")
    assert result.exit_code == 1
    assert result.stderr == (
        f"Error: there is no index at {Path('nowhere.zarr').absolute()}. Build one with "
        f"`patchindex build`. Indices there are: {indices_dir() / 'others.zarr'}.\n"
    )
