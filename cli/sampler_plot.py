"""`sampler plot`: pictures of results that are there already."""

from pathlib import Path

from cli.console import echo_lines
from sampler.results.plot_folder import plot_folder


def plot(*, folder: Path, out: Path | None) -> dict[str, list[str]]:
    """Draw the steps of a run, a verification or an audit, that a folder holds; the files."""
    files = [str(path) for path in plot_folder(folder, out or folder)]
    echo_lines(files)
    return {"files": files}
