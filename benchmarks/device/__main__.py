"""Measure the GPU path in one command, in less than eight minutes on an H200.

    python -m benchmarks.device                  # all parts, on the GPU if there is one
    python -m benchmarks.device --predict        # without a GPU: what scan and search should take
    python -m benchmarks.device --tune           # first choose the scan's tiles for this GPU

Appends a JSON line per row to benchmarks/results/device.jsonl and prints the table. On the
processor (`--device cpu --quick`) the same parts run with its own kernels.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import click
import torch

from benchmarks.device.chip import H200, Chip, chip_of
from benchmarks.device.flash_prediction import FlashCost, predict_flash
from benchmarks.device.list_prediction import ListCall, predict_lists
from benchmarks.device.photographs import enough_images, images_at_hand
from benchmarks.device.precompile import Key, Scan, Shape, compile_all
from benchmarks.device.prediction import ScanCost, predict
from benchmarks.device.rescoring import rescore_row
from benchmarks.device.retrieval import Limits, retrieval_rows
from benchmarks.device.scan import agreement_row, candidate_tiles, geometry_of, scan_row, tune_row
from benchmarks.record import RESULTS, append_rows, time_and_commit
from cli.devices import open_device
from patchindex.choices import Precision
from patchindex.environment import first_version
from patchindex.loaded import describe_environment

PARTS = ("scan", "rescore", "retrieval")
# of each part, a row as a line for people
FORMS = {
    "environment": "{environment[gpu]}; {environment[search]}\n{chip}",
    "compile": "compiled in {seconds:.0f} s; images are {dataset}",
    "predict": (
        "P {patch_size:2d} x {channels} x {side}: tile {rows}x{moves}, {registers} registers, "
        "{stack_bytes} bytes spilled, {per_lane_pair:.1f} instructions a lane-pair, "
        "{lane_pairs:.2f} lane-pairs a pair; {num_images:,} images take at least "
        "{least_seconds:.4f} s"
    ),
    "predict lists": (
        "lists of {dims} dims: {registers} registers, {stack_bytes} bytes spilled, {per_pair:.1f} "
        "instructions a (query, code), {per_pair_before:.0f} before; {num_queries:,} queries in "
        "{nprobe} lists of {num_patches:,} patches: {gigabytes:.0f} GB, {gigabytes_before:.0f} "
        "before; at least {issue_seconds:.4f} s to issue, {issue_seconds_before:.4f} s before"
    ),
    "tune": "P {patch_size:2d}, {precision}: tile {tile} of {seconds}",
    "predict flash": (
        "P {patch_size:2d} x {channels} x {side}: tile {queries}x{keys}x{depth}, {registers} "
        "registers, {stack_bytes} bytes spilled, {per_pair:.1f} instructions a pair on tensor "
        "cores; {num_images:,} images take at least {least_seconds:.4f} s, bound by {busiest}"
    ),
    "scan": (
        "P {patch_size:2d}, {states} states, {precision}: "
        "{seconds_per_image:.4f} s a step per image, {pairs_per_second:.3g} pairs/s, share of "
        "the limit {share:.2f}"
    ),
    "agreement": (
        "P {patch_size:2d}, {precision}: the processor's mean is {largest_difference:.1e} away "
        "at most"
    ),
    "rescore": (
        "rescore P {patch_size}: {seconds:.4f} s; share of the memory's "
        "{bytes_per_second:.3g} B/s: cells {cell_share:.2f}, sectors {sector_share:.2f}"
    ),
    "build": "build of {shape}: {seconds:.0f} s, complete {complete}",
    "exact": "exact scan of {num_images:,} images: {seconds_of_all_images:.2f} s per image",
    "retrieval": (
        "{num_images:,} images, t {t}: {seconds_per_image:.3f} s a step per image, "
        "R2 {R2} over {R2_states} states"
    ),
    "all": "all in {seconds:.0f} s",
}
MOST_SECONDS = 8 * 60  # the build makes do with what is left
PREDICTED = "3x3x32,9x3x32,17x3x32,3x1x32,9x1x32,17x1x32,15x3x64,lists40,lists64"
# four states of 64 x 64 pixels at patch size 15, of which nothing is known yet
PREDICTED_CALL = {"num_patches": 200_000 * 50**2, "num_queries": 4 * 50**2, "nprobe": 64, "k": 256}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How much is measured."""

    scan_images: int = 50_000
    scan_side: int = 32
    patch_sizes: tuple[int, ...] = (3, 9, 17)
    states: tuple[int, ...] = (1, 8)
    repeats: int = 5
    # a multiple of 16, as the number of all images is: else Triton compiles once more
    agreement_images: int = 208
    queries: int = 4096
    candidates: int = 5000
    rescore_patch_size: int = 15
    copy_bytes: int = 2**32
    index_images: int = 200_000
    index_side: int = 64
    index_patch_size: int = 15
    index_states: int = 4


QUICK = Sizes(
    scan_images=48, scan_side=16, patch_sizes=(3, 9), states=(1, 2), repeats=2,
    agreement_images=16, queries=16, candidates=50, rescore_patch_size=5, copy_bytes=2**20,
    index_images=200, index_side=16, index_patch_size=5, index_states=2,
)  # fmt: skip


@click.command()
@click.option("--device", "device_name", default="auto", show_default=True)
@click.option("--parts", default=",".join(PARTS), show_default=True)
@click.option("--quick", is_flag=True, help="Sizes that a processor is done with in seconds.")
@click.option("--num-images", type=int, help="Of the index.")
@click.option("--dataset", help="Source of the images. [default: the first that is at hand]")
@click.option("--tune", is_flag=True, help="Measure the scan's tiles and keep the fastest.")
@click.option("--predict", "predicted", is_flag=False, flag_value=PREDICTED,
              metavar="[PxCxSIDE|listsN,...]", help="Count machine code, on no GPU.")  # fmt: skip
@click.option("--scratch", type=click.Path(path_type=Path, exists=True, file_okay=False),
              default=tempfile.gettempdir(), help="Folder of the index.")  # fmt: skip
@click.option(
    "--out", type=click.Path(path_type=Path), default=RESULTS / "device.jsonl", show_default=True
)
def main(
    *,
    device_name: str,
    parts: str,
    quick: bool,
    num_images: int | None,
    dataset: str | None,
    tune: bool,
    predicted: str | None,
    scratch: Path,
    out: Path,
) -> None:
    end = perf_counter() + MOST_SECONDS
    sizes = QUICK if quick else Sizes()
    if num_images is not None:
        sizes = replace(sizes, index_images=num_images)
    if predicted is not None:
        rows = predicted_rows(predicted, sizes.scan_images)
        record(rows, out, {"config": {"predict": predicted}})
        return
    device = open_device(device_name, kernels=True).place
    config = asdict(sizes) | {"device": str(device), "dataset": dataset}
    run = Run(device=device, sizes=sizes, dataset=dataset, scratch=scratch, end=end)
    record(run.rows(parts.split(","), tune=tune), out, {"config": config})


def record(rows: Iterator[dict[str, Any]], out: Path, about: dict[str, Any]) -> None:
    """Keep and tell each row as soon as it is measured."""
    about = time_and_commit() | about
    for row in rows:
        append_rows(out, [about | row])
        click.echo(FORMS[row["part"]].format(**({"share": float("nan")} | row)))


def predicted_rows(keys: str, num_images: int) -> Iterator[dict[str, Any]]:
    """What the scan, or the search of lists with codes of so many bytes, should take on an H200."""
    for key in keys.split(","):
        if key.startswith("lists"):
            dims = int(key.removeprefix("lists"))
            yield predict_lists(dims).row(ListCall(dims=dims, **PREDICTED_CALL), H200)
            continue
        patch_size, channels, side = map(int, key.split("x"))
        yield predict(patch_size, channels, side).row(num_images, H200)
        yield predict_flash(patch_size, channels, side).row(num_images, H200)


def precisions(device: torch.device) -> tuple[Precision, ...]:
    """Of the scans that are measured there: a processor has one."""
    return ("float32", "auto") if device.type == "cuda" else ("float32",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of all parts.

    Attributes:
        end: when it should be over, on the clock of `perf_counter`.
    """

    device: torch.device
    sizes: Sizes
    dataset: str | None
    scratch: Path
    end: float

    def rows(self, parts: list[str], *, tune: bool) -> Iterator[dict[str, Any]]:
        """Each as soon as it is measured."""
        chip, start = chip_of(self.device), perf_counter()
        versions = {"triton": first_version(("triton",))}
        yield {"part": "environment", "chip": asdict(chip) if chip else None,
               "environment": asdict(describe_environment()), "triton": versions}  # fmt: skip
        source = images_at_hand(self.dataset)
        images = enough_images(source, self.sizes.scan_images, self.sizes.scan_side, self.device)
        pixels, costs = images.tensor.to(self.device), {}
        if tune:
            yield from self._tunings(pixels)
        if chip is not None:
            costs = self._compile(tuple(pixels.shape), parts)
            yield {"part": "compile", "seconds": perf_counter() - start, "dataset": images.name}
        if "scan" in parts:
            yield from self._scans(pixels, chip, costs)
        if "rescore" in parts:
            sizes = self.sizes
            yield rescore_row(pixels, sizes.rescore_patch_size, sizes.queries, sizes.candidates,
                              sizes.copy_bytes)  # fmt: skip
        if "retrieval" in parts:
            yield from self._retrieval(source)
        yield {"part": "all", "seconds": perf_counter() - start}

    def _tunings(self, pixels: torch.Tensor) -> Iterator[dict[str, Any]]:
        """Tiles for this GPU, from now on."""
        shape, sizes = tuple(pixels.shape), self.sizes.patch_sizes
        kinds = {size: candidate_tiles(geometry_of(pixels, size), shape[1]) for size in sizes}
        if pixels.is_cuda:
            scans = [
                (shape, size, 1, tile)
                for size in sizes
                for tiles in kinds[size].values()
                for tile in tiles
            ]
            compile_all(scans, [], self.device)
        for patch_size in sizes:
            for precision in precisions(pixels.device):
                yield tune_row(pixels, patch_size, precision, self.sizes.repeats)

    def _compile(self, shape: Shape, parts: list[str]) -> dict[Key, tuple[ScanCost, FlashCost]]:
        """Compile side by side what is measured later; costs of the scan's kernels."""
        sizes = self.sizes
        keys: list[Key] = []
        scans: list[Scan] = []
        if "scan" in parts:
            _, channels, side, _ = shape
            keys = [(patch_size, channels, side) for patch_size in sizes.patch_sizes]
            scans = [(shape, patch_size, states, None)
                     for patch_size in sizes.patch_sizes for states in sizes.states]  # fmt: skip
        if "retrieval" in parts:
            whole = (sizes.index_images, 3, sizes.index_side, sizes.index_side)
            scans.append((whole, sizes.index_patch_size, 1, None))
        return compile_all(scans, keys, self.device)

    def _scans(
        self, pixels: torch.Tensor, chip: Chip | None, costs: dict[Key, tuple[ScanCost, FlashCost]]
    ) -> Iterator[dict[str, Any]]:
        for patch_size in self.sizes.patch_sizes:
            key = patch_size, pixels.shape[1], pixels.shape[2]
            for number, precision in enumerate(precisions(pixels.device)):
                limit = None if chip is None else (chip, costs[key][number])
                for states in self.sizes.states:
                    yield scan_row(
                        pixels, patch_size, states, self.sizes.repeats, limit, precision=precision
                    )
                if limit is not None:
                    yield limit[1].row(len(pixels), limit[0])
                yield agreement_row(pixels, patch_size, self.sizes.agreement_images, precision)

    def _retrieval(self, source: Any) -> Iterator[dict[str, Any]]:
        left = self.end - perf_counter()
        limits = Limits(
            build_seconds=min(300, max(30, left - 100)),
            end=self.end - 20,
            scratch=self.scratch,
        )
        return retrieval_rows(
            source,
            self.device,
            num_images=self.sizes.index_images,
            side=self.sizes.index_side,
            patch_size=self.sizes.index_patch_size,
            num_states=self.sizes.index_states,
            limits=limits,
        )


if __name__ == "__main__":
    main()
