"""Where the files of `data/` are: dataset cards, published scales, the bundled sample."""

from importlib import resources
from pathlib import Path

from patchindex.errors import DatasetError

PACKAGE = "patchindex_data"


def data_file(*parts: str) -> Path:
    """The file or folder `data/PARTS...` of this installation.

    Raises:
        DatasetError: the installation lacks it.
    """
    path = data_root().joinpath(*parts)
    if not path.exists():
        raise DatasetError(
            f"this installation of patchindex lacks its file {path}. Install patchindex again."
        )
    return path


def data_root() -> Path:
    """The folder that is `data/` in the repository and `patchindex_data` once installed."""
    try:
        # the package has no __init__.py, so ask for a file in it: the folder itself has no one path
        return Path(str(resources.files(PACKAGE).joinpath("scales.yaml"))).parent
    except (ModuleNotFoundError, NotADirectoryError):
        # not installed, or an editable install on a Python whose importlib.resources cannot
        # read the namespace package that setuptools makes of it: both mean a checkout
        return Path(__file__).resolve().parents[1] / "data"
