"""`patchindex verify`: whether an index is sound."""

from functools import partial
from pathlib import Path

import click

from cli.cluster import with_crew
from cli.console import progress_bars
from patchindex.crew import Crew
from patchindex.index import PatchIndex


@partial(with_crew, by_units=True)
def verify(path: Path, crew: Crew) -> dict[str, object]:
    """Read a whole index again: checksums, and that each patch is in it exactly once."""
    index = PatchIndex.open(path, crew=crew)
    crew.admit(index)
    with progress_bars() as progress:
        index.verify(progress)
    patches = sum(scale.patches for scale in index.info().scales)
    click.echo(f"{path} is whole: {patches:,} patches in {len(index.scales)} scales.")
    return {"path": str(path), "whole": True, "patches": patches, "scales": list(index.scales)}
