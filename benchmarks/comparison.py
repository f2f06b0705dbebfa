"""Result rows of finished comparisons, and the table of all of them.

    python -m benchmarks.comparison runs/compare-*

Appends a JSON line for each folder, which `sampler compare` wrote, and prints the table. Published
medians (arXiv 2412.20292, table 1) are in brackets.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from benchmarks.record import RESULTS, append_rows, time_and_commit
from sampler.networks.weights import bundled_networks

COLUMNS = ("els", "ls", "is", "wiener", "nearest")


@click.command()
@click.argument("folders", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=RESULTS / "comparison.jsonl",
    show_default=True,
)
def main(*, folders: tuple[Path, ...], out: Path) -> None:
    """Append a row per folder, and print the table of all rows."""
    append_rows(out, map(result_row, folders))
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    for line in table(rows):
        print(line)


def result_row(folder: Path) -> dict[str, Any]:
    """What a comparison found, with the training of its network."""
    account = json.loads((folder / "compare.json").read_text())
    name = account["network"]["name"]
    weights = bundled_networks().get(name, Path(name))
    trained = json.loads(weights.with_suffix(".json").read_text())
    source = account["source"]
    return time_and_commit() | {
        "versions": account["versions"],
        "dataset": Path(source["dataset"]).name,
        "num_images": source["num_images"],
        "retrieval": source["index"] is not None and not account["config"]["exact"],
        "network": {key: value for key, value in account["network"].items() if key != "name"},
        "training": {
            key: trained[key] for key in ("parameters", "seconds", "final_loss", "training")
        },
        "samples": account["config"]["num"],
        "scales": account["scales"] | {"name": Path(account["scales"]["name"]).name},
        "results": account["results"],
        "published": account["published"],
        "seconds": account["seconds"],
    }


def table(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Markdown: median r of each predictor by network and its steps."""
    yield "| network | steps | ELS | LS | IS | ELS > IS | Wiener | nearest image |"
    yield "|---|---|---|---|---|---|---|---|"
    for row in rows:
        network = row["network"]
        name = f"{row['dataset']}, {network['architecture']}, {network['padding']}"
        for steps, found in row["results"].items():
            measured = [found["medians"][column]["r"] for column in COLUMNS]
            measured.insert(3, found["better_than_is"]["els"])
            published = row["published"].get(steps, [])
            cells = [
                f"{value:.2f}" + (f" ({published[i]:.2f})" if i < len(published) else "")
                for i, value in enumerate(measured)
            ]
            yield f"| {name} | {steps} | {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
