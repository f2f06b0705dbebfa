"""Options that several commands share: one name, one meaning, one metavar.

All that an option's help says is known without importing anything slow.
"""

from pathlib import Path
from typing import Any, get_args

import click
import yaml

from cli.commands import Option
from cli.config_file import read_config
from patchindex.choices import (
    CLUSTER_VARIABLE,
    DEFAULT_NPROBE,
    Boundary,
    Crop,
    ListSearchKind,
    Precision,
)
from patchindex.paths import data_file, data_root
from sampler.choices import (
    DEFAULT_K,
    DEFAULT_SAMPLER,
    DEFAULT_SCHEDULE,
    DEFAULT_STEPS,
    DEFAULT_TAIL,
    HELD_OUT_IMAGES,
    NETWORKS,
    Sampler,
)
from sampler.schedule import SCHEDULES

PATH = click.Path(path_type=Path)
DATASETS = "NAME|KIND:PATH"
KINDS = "KIND is folder, npz, parquet or webdataset; hf:NAME is of Hugging Face."


class IndexPath(click.Path):
    """A path; an address of object storage stays as it is, for whoever copies it."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """See `click.ParamType`."""
        return value if "://" in str(value) else super().convert(value, param, ctx)


def dataset_names() -> list[str]:
    """What `--dataset` may begin with."""
    named = sorted(path.stem for path in data_file("datasets").glob("*.yaml"))
    return [*named, "folder:", "npz:", "parquet:", "webdataset:", "hf:"]


def scale_names() -> list[str]:
    """Published and calibrated scales."""
    tables = (data_file(name).read_text() for name in ("scales.yaml", "calibrated.yaml"))
    return [name for table in tables for name in yaml.safe_load(table) or {}]


def network_names() -> list[str]:
    """Bundled networks, and what names those of others."""
    bundled = sorted(path.stem for path in data_root().joinpath("networks").glob("*.safetensors"))
    return [*bundled, "diffusers:", "paper:", "edm:", "python:"]


def listed(numbers: tuple[float, ...]) -> str:
    """Numbers as an option takes them."""
    return ",".join(f"{number:g}" for number in numbers)


def dataset_option(words: str, *, required: bool = False) -> Option:
    """--dataset, and what becomes of its images."""
    return Option(
        "--dataset",
        metavar=DATASETS,
        choices=dataset_names,
        required=required,
        help=f"{words} {KINDS}",
    )


def network_option(words: str, default: str | None = None) -> Option:
    """--network, and what it is for."""
    return Option(
        "--network", metavar=NETWORKS, choices=network_names, files=True, default=default,
        show_default=default is not None, help=words,
    )  # fmt: skip


def num_option(
    default: int, *, metavar: str = "SAMPLES", words: str = "How many to make."
) -> Option:
    """--num, and of what."""
    return Option(
        "--num", type=int, metavar=metavar, default=default, show_default=True, help=words
    )


def out_option(default: str, words: str = "Folder for the results.") -> Option:
    """--out, with the default folder as words."""
    return Option("--out", type=PATH, metavar="DIR", help=f"{words} [default: {default}]")


def overwrite_option(what: str) -> Option:
    """--overwrite, and what that replaces."""
    return Option("--overwrite", is_flag=True, help=f"Replace {what} that is there already.")


def sigmas_option(default: tuple[float, ...] | None, words: str) -> Option:
    """--sigmas, and whose."""
    return Option(
        "--sigmas", metavar="S,S,...|FILE", default=default and listed(default),
        show_default=default is not None, files=True, help=words,
    )  # fmt: skip


CONFIG = Option(
    "--config", type=PATH, metavar="FILE.yaml", is_eager=True, expose_value=False,
    callback=read_config,
    help="Take options from this file; those of the command line win. The results come with such "
    "a file, config.yaml, which makes the same again.",
)  # fmt: skip

INDEX = Option(
    "--index", "index_path", metavar="PATH", type=IndexPath(path_type=Path),
    help="Index to retrieve from. [default: the newest in the user's home]",
)  # fmt: skip
DATASET = dataset_option("Sum over these images exactly, without an index.")
RESOLUTION = Option(
    "--resolution", metavar="PIXELS|HxW|native", choices=lambda: ["native"],
    help="Size of a --dataset's images: a side, or height x width, such as 48x32. "
    "[default: the dataset's own]",
)  # fmt: skip
CROP = Option(
    "--crop", choices=get_args(Crop),
    help="Stretch images of another aspect ratio than --resolution, or cut them to it around their "
    "center. [default: none; center for celeba]",
)  # fmt: skip
LIMIT = Option(
    "--limit", type=click.IntRange(min=1), metavar="IMAGES",
    help="Take the first of a --dataset only.",
)  # fmt: skip
IMAGE_SETTINGS = ("resolution", "crop", "limit")  # as `ImageSet.load` calls them
IMAGE_OPTIONS = (RESOLUTION, CROP, LIMIT)
LABEL = Option(
    "--label", type=int, metavar="CLASS", help="Number of a class of images; others are left out."
)
BOUNDARY = Option(
    "--boundary", choices=get_args(Boundary),
    help="What windows meet beyond the border, with --dataset; an index has its own. "
    "[default: zeros]",
)  # fmt: skip
HELD_OUT = Option(
    "--held-out", "others", metavar=DATASETS, choices=dataset_names,
    help="Images that the generator has not seen, to say how unlikely a near-copy is. "
    "[default: training images, each without itself]",
)  # fmt: skip

EXACT = Option("--exact", is_flag=True, help="Compare every patch, in place of retrieving some.")
RETRIEVE = Option(
    "--retrieve", is_flag=True, help="Retrieve, even if summing every patch is no slower."
)
RETRIEVAL_OPTIONS = (
    Option(
        "--k", type=int, metavar="PATCHES", default=DEFAULT_K, show_default=True,
        help="Retrieved per pixel that is searched.",
    ),
    Option(
        "--tail", type=int, metavar="NUMBER", default=DEFAULT_TAIL, show_default=True,
        help="Sets what is drawn at random besides: each pixel meets about 64 x tail patches; "
        "0 gives the biased naive average.",
    ),
    Option(
        "--nprobe", type=int, metavar="LISTS", default=DEFAULT_NPROBE, show_default=True,
        help="Inverted lists visited per pixel that is searched, four times as many at first.",
    ),
    Option(
        "--parts", type=int, metavar="NUMBER",
        help="Find patches in so many parts of the index, each at its own home. "
        "[default: 1, or as many as the memory of a cluster's workers asks for]",
    ),
    Option(
        "--tolerance", type=float, metavar="ERROR",
        help="Estimate pixels again whose standard error is larger, or unknown, with four times "
        "the probes and draws; then sum exactly. [default: accept all]",
    ),
)  # fmt: skip

SCALES = Option(
    "--scales", metavar="NAME|FILE|P,P,...", choices=scale_names, files=True,
    help="Patch size per noise level, lowest noise first. [default: an index's own, placed as the "
    "published ones of its dataset; without an index the published ones]",
)  # fmt: skip
STEPS = Option(
    "--steps", type=int, metavar="NUMBER", default=DEFAULT_STEPS, show_default=True,
    help="Noise levels, evenly spaced in the time of the schedule.",
)  # fmt: skip
SCHEDULE = Option(
    "--schedule", choices=tuple(SCHEDULES), default=DEFAULT_SCHEDULE, show_default=True,
    help="Signal that is left at each time.",
)  # fmt: skip
NETWORKS_SCHEDULE = Option(
    "--schedule", choices=tuple(SCHEDULES),
    help="Signal that is left at each time. [default: the network's own]",
)  # fmt: skip
SIGMAS = sigmas_option(
    None, "The noise levels themselves in data units, falling, in place of --schedule and --steps."
)
SAMPLER = Option(
    "--sampler", choices=get_args(Sampler), default=DEFAULT_SAMPLER, show_default=True,
    help="Rule of a step from one noise level to the next.",
)  # fmt: skip
PROCESS_OPTIONS = (SCALES, STEPS, SCHEDULE, SIGMAS, SAMPLER)
SEED = Option(
    "--seed", type=int, metavar="SEED", default=0, show_default=True, help="Of all random numbers."
)

COPY_OPTIONS = (
    Option("--mirrored", is_flag=True, help="Look for mirrored near-copies, too."),
    HELD_OUT,
    Option(
        "--held-out-images", "held_out", type=int, metavar="NUMBER", default=HELD_OUT_IMAGES,
        show_default=True, help="How many of them; 0 leaves it unsaid.",
    ),
)  # fmt: skip
OF_COPIES = ("mirrored", "held_out", "others")  # as `CopySearch` calls them

DEVICE = Option(
    "--device", metavar="auto|cpu|cuda[:N]", choices=lambda: ["auto", "cpu", "cuda"],
    default="auto", show_default=True,
    help="Where to compute; auto takes a GPU if there is one, cuda shares exact scans among all.",
)  # fmt: skip
DEVICE_OPTIONS = (
    DEVICE,
    Option(
        "--device-memory", type=float, metavar="GB",
        help="Images and lists that may stay on the GPU; the rest is streamed. "
        "[default: 70 % of what is free]",
    ),
    Option(
        "--list-search", choices=get_args(ListSearchKind), default="auto", show_default=True,
        help="Who compares windows with the codes of an index: FAISS where it can, or our own "
        "kernels, in Triton on a GPU and in C++ on the processor.",
    ),
    Option(
        "--precision", choices=get_args(Precision), default="auto", show_default=True,
        help="Of exact scans on a GPU; auto takes its tensor cores where means stay within 1e-4.",
    ),
)  # fmt: skip
THREADS = Option("--threads", type=int, metavar="N", help="Processor threads. [default: all cores]")
# for commands whose workers must see what this process sees
SHARING_OPTIONS = (
    Option(
        "--cluster", metavar="local[:N]|ADDRESS|FILE", envvar=CLUSTER_VARIABLE, files=True,
        help="Share the work: among N processes here, or the workers of a Dask scheduler, by its "
        "address or its file; see `patchindex worker`. "
        f"[default: ${CLUSTER_VARIABLE}, or this process alone]",
    ),
    Option(
        "--mixed", is_flag=True,
        help="With --cluster: let workers of different processors or GPUs serve, whose sums differ "
        "in the seventh digit.",
    ),
)  # fmt: skip
CLUSTER_OPTIONS = (
    *SHARING_OPTIONS,
    Option(
        "--stage", metavar="DIR", type=PATH,
        help="Folder on each machine's own disk, to which the index is copied first. Then --index "
        "may be an address of object storage, such as s3://bucket/faces.zarr.",
    ),
)  # fmt: skip
COMPUTE_OPTIONS = (*DEVICE_OPTIONS, THREADS, *CLUSTER_OPTIONS)
