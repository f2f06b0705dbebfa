"""Error against time of retrieval with other settings, on states of the exact trajectory.

    python -m benchmarks.retrieval --index fashion.zarr --states fashion_states.pt

Appends a JSON line per setting to benchmarks/results/retrieval.jsonl and draws --plot. The states
come from `--states`; where that file is missing they are made by the exact machine, which takes
long, and written there. Every state is repeated to a batch of --batch, so that seconds are those of
a batch; all settings of a step and the exact scan of one state run one after another, so that other
users of a shared machine slow all of them alike.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, median
from time import perf_counter
from typing import Any
from unittest.mock import patch

import click
import torch
from jaxtyping import Int
from torch import Tensor

from benchmarks.error_time_plot import draw_error_time
from benchmarks.record import RESULTS, append_rows, time_and_commit
from patchindex import PatchIndex
from patchindex.environment import library_versions
from patchindex.index import ListSearchKind
from sampler import ELSMachine, Posterior, sample_steps
from sampler.estimator import CarriedHead
from sampler.estimator.head import NO_PATCH
from sampler.noise import initial_noise
from sampler.scales import default_scales
from sampler.studies.verify import pooled_r2


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What is varied, the value, and what it changes.

    Attributes:
        machine: keyword arguments of the machine.
        list_search: of `PatchIndex.open`.
        neighbors: let pixels take candidates from their neighbors.
    """

    varied: str
    value: str
    machine: dict[str, Any]
    list_search: ListSearchKind = "triton"
    neighbors: bool = True


SETTINGS = [
    *[Setting(varied="k", value=str(k), machine={"k": k}) for k in (64, 256, 1024)],
    *[
        Setting(varied="tail", value=str(tail), machine={"tail": tail})
        for tail in (1024, 2048, 4096, 8192)
    ],
    *[
        Setting(varied="nprobe", value=str(nprobe), machine={"nprobe": nprobe})
        for nprobe in (4, 16, 64)
    ],
    Setting(varied="no neighbors", value="nprobe 16", machine={}, neighbors=False),
    Setting(varied="no neighbors", value="nprobe 64", machine={"nprobe": 64}, neighbors=False),
    Setting(varied="FAISS", value="nprobe 16", machine={}, list_search="faiss"),
]


@click.command()
@click.option("--index", "index_path", type=click.Path(path_type=Path), required=True)
@click.option("--states", "states_path", type=click.Path(path_type=Path), required=True)
@click.option("--seeds", default=2, show_default=True, help="Samples, where states are made.")
@click.option("--every", default=4, show_default=True, help="Of the 20 steps, each so many-th.")
@click.option("--batch", default=8, show_default=True)
@click.option("--plot", type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(path_type=Path), default=RESULTS / "retrieval.jsonl", show_default=True
)
def main(
    *,
    index_path: Path,
    states_path: Path,
    seeds: int,
    every: int,
    batch: int,
    plot: Path | None,
    out: Path,
) -> None:
    index = PatchIndex.open(index_path)
    if not states_path.exists():
        torch.save(exact_states(index, seeds), states_path)
    states = torch.load(states_path, weights_only=True)[every // 2 :: every]
    about = time_and_commit() | {
        "versions": library_versions(),
        "threads": torch.get_num_threads(),
        "dataset": Path(index.images.name).name,
        "num_images": len(index.images),
        "batch": batch,
    }
    exact_seconds, rows = measure(index_path, states, batch)
    about["exact_seconds"] = exact_seconds
    append_rows(out, (about | row for row in rows))
    for row in rows:
        click.echo(
            "{varied:>12} {value:>10}  1 - R2: median {error_median:.5f}, worst {error_worst:.5f}  "
            "{seconds:.3f} s".format(**row)
        )
    if plot is not None:
        title = (
            f"{about['dataset']}, {about['num_images']:,} images, {len(states)} steps, "
            f"batch of {batch}: error against time"
        )
        draw_error_time(rows, exact_seconds, title, plot)


def exact_states(index: PatchIndex, seeds: int) -> list[dict[str, Any]]:
    """State, exact mean and seconds of every step of the exact trajectory."""
    states: list[dict[str, Any]] = []

    scales = default_scales(index, index.boundary)[1].patch_sizes
    noise = initial_noise(seeds, index.images, seed=0)
    for done in sample_steps(ELSMachine(index.images, index.boundary), noise, scales=scales):
        step = done.step
        states.append(
            {"t": step.t, "P": step.patch_size, "ab": step.alpha_bar, "xt": done.xt,
             "mean": done.answer.mean, "sec": done.seconds}
        )  # fmt: skip
        click.echo(f"exact t {step.t:.2f} P {step.patch_size} {done.seconds:.1f} s")
    return states


def measure(
    index_path: Path, states: list[dict[str, Any]], batch: int
) -> tuple[float, list[dict[str, Any]]]:
    """Seconds of the exact scan of a state; errors and seconds of every setting over all states."""
    kinds: tuple[ListSearchKind, ...] = ("triton", "faiss")
    indices = {kind: PatchIndex.open(index_path, list_search=kind) for kind in kinds}
    exact = ELSMachine(indices["triton"].images, indices["triton"].boundary)
    exact_seconds: list[float] = []
    errors: list[list[float]] = [[] for _ in SETTINGS]
    seconds: list[list[float]] = [[] for _ in SETTINGS]
    heads: list[CarriedHead | None] = [None for _ in SETTINGS]
    for state in states:
        start = perf_counter()
        exact.posterior(state["xt"][:1], state["ab"], state["P"])
        exact_seconds.append(perf_counter() - start)
        xt = state["xt"].repeat(-(-batch // len(state["xt"])), 1, 1, 1)[:batch]
        num = min(len(xt), len(state["mean"]))
        for number, setting in enumerate(SETTINGS):
            machine, known = (
                ELSMachine(indices[setting.list_search], **setting.machine),
                heads[number],
            )
            # reads the lists from disk
            ask(machine, setting, xt[:1], state, None if known is None else known[:1])
            start = perf_counter()
            found = ask(machine, setting, xt, state, known)
            seconds[number].append((perf_counter() - start) / len(xt))
            heads[number] = found.head
            errors[number].append(1 - pooled_r2(found.mean[:num], state["mean"][:num]))
        click.echo(f"t {state['t']:.2f} P {state['P']} done")
    return fmean(exact_seconds), [
        asdict(setting)
        | {
            "error_median": median(error),
            "error_worst": max(error),
            "seconds": fmean(time),
            "errors": error,
            "seconds_per_step": time,
        }
        for setting, error, time in zip(SETTINGS, errors, seconds, strict=True)
    ]


def ask(
    machine: ELSMachine,
    setting: Setting,
    xt: Tensor,
    state: dict[str, Any],
    known: CarriedHead | None,
) -> Posterior:
    """The posterior under a setting."""
    if setting.neighbors:
        return machine.posterior(xt, state["ab"], state["P"], known=known)
    # only to measure what the neighbors' candidates are worth
    with patch("sampler.estimator.head.with_neighbors", without_neighbors):
        return machine.posterior(xt, state["ab"], state["P"], known=known)


def without_neighbors(
    field: Int[Tensor, "b h w k"], at: Int[Tensor, " q"], *_: Any, **__: Any
) -> Int[Tensor, "q k"]:
    """What was found for each wanted pixel itself, each id once; -1 for none."""
    ids = field.flatten(0, 2)[at].sort(-1).values
    again = ids[:, 1:] == ids[:, :-1]
    ids[:, 1:][again] = NO_PATCH
    return ids.sort(-1, descending=True).values


if __name__ == "__main__":
    main()
