"""A process on one of the hosts that has works carried out, one for each line of its input.

Each line is the JSON of a `Work`, with `here` if this process alone shall do it; for each step
there is a line of output, and an empty one at the end. Warnings are written to stderr.
"""

import json
import logging
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from benchmarks.cluster.work import Work, size_of, step_of
from patchindex.cluster import connect
from patchindex.crew import LOCAL


@click.command()
@click.option("--cluster", required=True)
@click.option("--scratch", type=click.Path(path_type=Path), required=True)
def main(*, cluster: str, scratch: Path) -> None:
    logging.basicConfig(format="%(message)s")
    logging.getLogger().setLevel(logging.CRITICAL)
    logging.getLogger("patchindex").setLevel(logging.WARNING)
    with connect(cluster) as crew:
        for line in sys.stdin:
            asked = json.loads(line)
            serving = LOCAL if asked.pop("here") else crew
            with TemporaryDirectory(dir=scratch) as keep:
                for number, done in enumerate(Work(**asked).carried_out(serving, Path(keep))):
                    heads = size_of(Path(keep, f"{number + 1}"))
                    sys.stdout.write(json.dumps(step_of(done) | {"head_bytes": heads}) + "\n")
                    sys.stdout.flush()
            sys.stdout.write("\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
