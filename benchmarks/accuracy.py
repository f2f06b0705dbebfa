"""Retrieval against the exact scan on real images: R2 at every on-policy step, r of final images.

    python -m benchmarks.accuracy --dataset fashion_mnist --limit 6000

Appends one JSON line to benchmarks/results/accuracy.jsonl and prints the table. States are those of
the exact machine's own trajectory; both machines use the scale of the index that is nearest to the
published one.
"""

import json
import platform
import resource
import subprocess
import tempfile
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import Any

import click
import torch
from jaxtyping import Float
from torch import Tensor

from patchindex import ImageSet, IndexConfig, PatchIndex, build_index
from patchindex.environment import library_versions
from sampler import ELSMachine, sample
from sampler.metrics import coefficient_of_determination, pearson_r
from sampler.noise import initial_noise
from sampler.scales import default_scales, resolve_scales

RESULTS = Path(__file__).parent / "results" / "accuracy.jsonl"


@click.command()
@click.option("--dataset", default="fashion_mnist", show_default=True)
@click.option("--limit", default=6000, show_default=True)
@click.option("--scales", default="3,5,9,15", show_default=True)
@click.option("--seeds", default=8, show_default=True, help="Samples, each from its own noise.")
@click.option("--tails", default="0,1024,4096", show_default=True)
@click.option("--k", default=256, show_default=True)
@click.option("--nprobe", default=32, show_default=True)
def main(
    *, dataset: str, limit: int, scales: str, seeds: int, tails: str, k: int, nprobe: int
) -> None:
    images = ImageSet.load(dataset, limit=limit)
    config = IndexConfig(scales=tuple(int(scale) for scale in scales.split(",")))
    with tempfile.TemporaryDirectory() as scratch:
        start = perf_counter()
        index = build_index(images, config, Path(scratch, "index.zarr"))
        build_seconds = perf_counter() - start
        row = {
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "commit": commit(),
            "versions": library_versions(),
            "machine": {"cpu": platform.machine(), "threads": torch.get_num_threads()},
            "config": {"dataset": dataset, "num_images": len(images), "k": k, "nprobe": nprobe,
                       "seeds": seeds, "index": asdict(config)},
            "build_seconds": build_seconds,
            "disk_bytes": sum(f.stat().st_size for f in Path(scratch).rglob("*") if f.is_file()),
            "peak_bytes_build": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        }  # fmt: skip
        row |= compare(index, seeds, [int(tail) for tail in tails.split(",")], k, nprobe)
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("a") as lines:
        lines.write(json.dumps(row) + "\n")
    print_table(row)


def compare(index: PatchIndex, seeds: int, tails: list[int], k: int, nprobe: int) -> dict[str, Any]:
    """Exact trajectory with every retrieved machine asked along it, then each on its own."""
    published = resolve_scales(default_scales(index.images.name, index.boundary))
    scales = [index.nearest_scale(scale) for scale in published]
    noise = initial_noise(seeds, index.images, seed=0)
    machines = {tail: ELSMachine(index, k=k, tail=tail, nprobe=nprobe) for tail in tails}
    rows: list[dict[str, Any]] = []

    def ask(step: Any, xt: Tensor, exact: Any, report: Any) -> None:
        row = asdict(report)
        for tail, machine in machines.items():
            start = perf_counter()
            found = machine.posterior(xt, step.alpha_bar, step.patch_size)
            row[f"tail_{tail}"] = {
                "R2": pooled_r2(found.mean, exact.mean),
                "coverage_95": coverage(found.mean, exact.mean, found.standard_error),
                "head_mass": float(found.head_mass.median()),
                "seconds": perf_counter() - start,
            }
        rows.append(row)
        click.echo(
            f"t {step.t:.2f} " + " ".join(f"{row[f'tail_{t}']['R2']:.4f}" for t in tails), err=True
        )

    exact = sample(ELSMachine(index.images, index.boundary), noise, scales=scales, callback=ask)
    finals = {}
    for tail, machine in machines.items():
        own = sample(machine, noise, scales=scales)
        r = pearson_r(own.images, exact.images)
        finals[f"tail_{tail}"] = {
            "r": r.tolist(),
            "r_median": float(r.median()),
            "r2_median": float(r.square().median()),
            "R2_median": float(coefficient_of_determination(own.images, exact.images).median()),
        }
    return {"steps": rows, "finals": finals}


def pooled_r2(estimate: Float[Tensor, "b c h w"], exact: Float[Tensor, "b c h w"]) -> float:
    """R2 over all pixels of all samples."""
    return float(coefficient_of_determination(estimate.flatten()[None], exact.flatten()[None]))


def coverage(
    estimate: Float[Tensor, "b c h w"],
    exact: Float[Tensor, "b c h w"],
    standard_error: Float[Tensor, "b c h w"],
) -> float:
    """Share of sampled pixels whose 95 % interval holds the exact mean."""
    sampled = standard_error > 0
    inside = (estimate - exact).abs() <= 1.96 * standard_error + 1e-6
    return float(inside[sampled].double().mean())


def commit() -> str:
    """The checked-out commit."""
    command = ["git", "rev-parse", "--short", "HEAD"]  # the row should name the code it measured
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()  # noqa: S603


def print_table(row: dict[str, Any]) -> None:
    """R2 per step and tail; final r."""
    tails = list(row["finals"])
    click.echo(
        f"built in {row['build_seconds']:.0f} s, {row['disk_bytes'] / 1e6:.0f} MB on disk, "
        f"peak {row['peak_bytes_build'] / 1e9:.2f} GB"
    )
    click.echo("    t    P   sigma        ESS  " + "  ".join(f"{tail:>18}" for tail in tails))
    for step in row["steps"]:
        cells = "  ".join(f"{step[t]['R2']:9.4f} {step[t]['seconds']:6.2f} s" for t in tails)
        click.echo(
            f"{step['t']:5.2f} {step['patch_size']:4d} {step['sigma']:7.3f} "
            f"{step['effective_sample_size']:10.1f}  {cells}   exact {step['seconds']:.2f} s"
        )
    for tail, final in row["finals"].items():
        click.echo(
            f"{tail}: final images, median r {final['r_median']:.4f} "
            f"(lowest {min(final['r']):.4f}), "
            f"r2 {final['r2_median']:.4f}, R2 {final['R2_median']:.4f}"
        )


if __name__ == "__main__":
    main()
