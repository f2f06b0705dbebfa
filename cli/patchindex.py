"""`patchindex`: the command line of the index of every patch of an image set."""

from pathlib import Path
from typing import get_args

import click

from cli.commands import HELP_NAMES, JSON, Command, Option
from cli.console import Commands
from cli.options import (
    COPY_OPTIONS,
    CROP,
    DEVICE,
    DEVICE_OPTIONS,
    EXACT,
    INDEX,
    LABEL,
    LIMIT,
    PATH,
    RESOLUTION,
    SCHEDULE,
    SEED,
    SHARING_OPTIONS,
    THREADS,
    dataset_option,
    listed,
    overwrite_option,
)
from patchindex.choices import CLUSTER_VARIABLE, DEFAULT_BOUNDARY, SCALES, Boundary
from sampler.choices import LOOKUP_K, LOOKUP_NPROBE


@click.group(cls=Commands, context_settings=HELP_NAMES)
@click.version_option(package_name="patchindex")
def main() -> None:
    """Find the training patches that matter, out of all there are."""


BUILD = Command(
    "build", "cli.patchindex_build:build",
    short_help="Build an index of a set of images.",
    help="Build an index; after an interruption the same command resumes.",
    sections={
        "Images": [
            dataset_option(
                "Training images; `patchindex datasets` lists the names.", required=True
            ),
            RESOLUTION, CROP, LIMIT,
        ],
        "Index": [
            Option(
                "--scales", metavar="P,P,...", default=listed(SCALES), show_default=True,
                help="Patch sizes that it holds, odd sides in pixels.",
            ),
            Option(
                "--boundary", choices=get_args(Boundary), default=DEFAULT_BOUNDARY,
                show_default=True, help="What windows meet beyond the border.",
            ),
            SEED,
        ],
        "Compute": [DEVICE, *SHARING_OPTIONS],
        "Output": [
            Option(
                "--out", type=PATH, metavar="PATH",
                help="Folder of the index. [default: in the user's home]",
            ),
            overwrite_option("an index"), JSON,
        ],
    },
    examples={
        "The bundled images, in half a minute": "patchindex build --dataset sample",
        "A folder of pictures": "patchindex build --dataset folder:photos --resolution 64",
        "The first 5,000 of a known dataset, at other patch sizes":
            "patchindex build --dataset cifar10 --limit 5000 --scales 3,7,11",
    },
)  # fmt: skip

INFO = Command(
    "info", "cli.patchindex_info:info",
    short_help="Show what is in an index, or what is installed.",
    help="Show what is in an index; without PATH, versions, and what could compute where.",
    arguments=[click.Argument(["path"], required=False, type=PATH)],
    sections={
        "Options": [
            Option(
                "--load", is_flag=True,
                help="Load the libraries, too, which takes seconds, and ask them: threads, "
                "instruction sets, GPUs that torch finds, what searches lists.",
            ),
            JSON,
        ]
    },
    examples={
        "What is installed": "patchindex info",
        "What is in an index, for a program": "patchindex info faces.zarr --json",
    },
)  # fmt: skip

VERIFY = Command(
    "verify", "cli.patchindex_verify:verify",
    short_help="Read a whole index again, and check it.",
    help="Read a whole index again: checksums, and that each patch is in it exactly once.",
    arguments=[click.Argument(["path"], type=PATH)],
    sections={"Options": [*SHARING_OPTIONS, JSON]},
    examples={"An index that was copied": "patchindex verify faces.zarr"},
)  # fmt: skip

LIST_DATASETS = Command(
    "datasets", "cli.patchindex_info:datasets",
    short_help="List the named datasets.", help="List the named datasets.",
    sections={"Options": [JSON]},
)  # fmt: skip

QUERY = Command(
    "query", "cli.patchindex_query:query",
    short_help="Find the training patches that a pixel comes from.",
    help="Show the nearest source patches of a pixel, and the posterior weight of each.",
    sections={
        "Images": [
            INDEX,
            Option(
                "--image", required=True, type=PATH, metavar="FILE",
                help="A picture of any generator: PNG, JPEG or .npy of one image, of the size of "
                "the index's images, unless there is --resize.",
            ),
            Option(
                "--resize", is_flag=True,
                help="Resize the image to the index's size; --pixel is one of the result.",
            ),
            LABEL,
        ],
        "One pixel": [
            Option("--pixel", metavar="Y,X", help="Row and column, from 0."),
            Option(
                "--scale", type=int, metavar="P",
                help="Patch size in the index. [default with --all: the largest that is at most "
                "half of a side]",
            ),
            Option(
                "--t", type=float, metavar="TIME",
                help="Noise level, 0 to 1; the image is the noisy state. [default: no noise]",
            ),
            Option(
                "--noise-seed", type=int, metavar="SEED",
                help="At --t, add noise of this seed to the image.",
            ),
            SCHEDULE,
        ],
        "All pixels": [
            Option(
                "--all", "whole", is_flag=True,
                help="In place of --pixel: all pixels at several noise levels, as "
                "`sampler explain --image`, into --out FILE.json or FILE.html.",
            ),
            *COPY_OPTIONS,
        ],
        "Retrieval": [
            Option(
                "--k", type=int, metavar="PATCHES", default=LOOKUP_K, show_default=True,
                help="Retrieved for the pixel, and listed.",
            ),
            Option(
                "--nprobe", type=int, metavar="LISTS", default=LOOKUP_NPROBE, show_default=True,
                help="Inverted lists visited.",
            ),
            EXACT,
        ],
        "Compute": [*DEVICE_OPTIONS, THREADS],
        "Output": [
            Option(
                "--out", type=PATH, metavar="FILE",
                help="Picture (.png, .svg) of the window, and of each source in its training "
                "image; with --all the report (.json, .html).",
            ),
            JSON,
        ],
    },
    examples={
        "The patches that row 7, column 14 of a picture comes from":
            "patchindex query --image one.png --pixel 7,14 --scale 9 --out sources.png",
        "The same of a noisy state, for a program":
            "patchindex query --image xt.npy --pixel 7,14 --scale 9 --t 0.2 --k 20 --json",
        "The training images that a whole picture comes from":
            "patchindex query --image one.png --all --out report.html",
    },
)  # fmt: skip

WORKER = Command(
    "worker", "cli.patchindex_worker:worker",
    short_help="Work for the commands of other machines.",
    help="Work for a scheduler until it ends, or until this process is told to; see "
    "docs/cluster.md.",
    sections={
        "Scheduler": [
            Option(
                "--cluster", metavar="ADDRESS|FILE", required=True, envvar=CLUSTER_VARIABLE,
                files=True,
                help="Dask scheduler to work for, by its address or the file of `dask scheduler`. "
                f"[default: ${CLUSTER_VARIABLE}]",
            ),
            Option(
                "--tls", nargs=3, metavar="CA CERT KEY",
                type=click.Path(exists=True, dir_okay=False, path_type=Path),
                help="Files of certificates, for a scheduler at tls://.",
            ),
            Option(
                "--interface", metavar="NAME",
                help="Network interface to be reached by, such as ib0 or eth0.",
            ),
        ],
        "Compute": [
            Option(
                "--name", metavar="NAME",
                help="In messages. [default: the host's, and the number of the process]",
            ),
            DEVICE, THREADS,
            Option(
                "--scratch", metavar="DIR", type=PATH,
                help="Folder for Dask's own files. [default: the system's]",
            ),
        ],
    },
    examples={
        "On each machine, once a scheduler runs": "patchindex worker --cluster tcp://HOST:8786",
        "The same, where both see one folder": "patchindex worker --cluster scheduler.json",
    },
)  # fmt: skip

COMMANDS = (BUILD, INFO, VERIFY, LIST_DATASETS, QUERY, WORKER)
for command in COMMANDS:
    main.add_command(command)


if __name__ == "__main__":
    main()
