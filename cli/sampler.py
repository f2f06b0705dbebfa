"""`sampler`: the command line of everything that is done with weights."""

from typing import get_args

import click

from cli.commands import HELP_NAMES, JSON, Command, Option
from cli.console import Commands
from cli.options import (
    BOUNDARY,
    COMPUTE_OPTIONS,
    CONFIG,
    DATASET,
    DEVICE,
    EXACT,
    IMAGE_OPTIONS,
    INDEX,
    LABEL,
    PATH,
    PROCESS_OPTIONS,
    RETRIEVAL_OPTIONS,
    RETRIEVE,
    SEED,
    THREADS,
    dataset_option,
    num_option,
    out_option,
    overwrite_option,
)
from cli.sampler_attribution import EXPLAIN, LEAVE_OUT
from cli.sampler_studies import CALIBRATE, COMPARE, DENOISE, VERIFY
from sampler.choices import (
    DEFAULT_MACHINE,
    RUN_SAMPLES,
    Architecture,
    MachineName,
    Padding,
    Precision,
    Preset,
)


@click.group(cls=Commands, context_settings=HELP_NAMES)
@click.version_option(package_name="patchindex")
def main() -> None:
    """Sample images with score machines, and learn how far from exact they are."""


RUN = Command(
    "run", "cli.sampler_run:run",
    short_help="Sample images from noise.",
    help="Write samples.npy, samples.png and run.json into a folder, and on request trace.zarr.",
    sections={
        "Images": [INDEX, DATASET, *IMAGE_OPTIONS, LABEL],
        "Machine": [
            Option(
                "--machine", choices=get_args(MachineName), default=DEFAULT_MACHINE,
                show_default=True,
                help="What windows are compared with: patches from anywhere (els), from the same "
                "place (ls), or whole images (is).",
            ),
            BOUNDARY,
            EXACT,
        ],
        "Retrieval": [
            RETRIEVE,
            *RETRIEVAL_OPTIONS,
            Option(
                "--strict-scales", is_flag=True, help="Refuse a scale that the index lacks."
            ),
        ],
        "Sampling": [
            *PROCESS_OPTIONS,
            Option(
                "--reference-steps", is_flag=True,
                help="Repeat the reference code's 19 steps from t = 0.95.",
            ),
            num_option(RUN_SAMPLES),
            SEED,
            Option(
                "--noise", metavar="FILE.npy", files=True,
                help="Start from this noise; overrides --num.",
            ),
        ],
        "Compute": COMPUTE_OPTIONS,
        "Output": [
            Option(
                "--trace", is_flag=True,
                help="Record the sources of every pixel at every step: trace.zarr.",
            ),
            Option(
                "--png", is_flag=True,
                help="Also write each sample at its own size: samples/000.png, ...",
            ),
            out_option("runs/DATASET-MACHINE-SEED"),
            overwrite_option("a run"),
            CONFIG,
            JSON,
        ],
    },
    examples={
        "Four images from the bundled sample, every patch summed":
            "sampler run --dataset sample --num 4",
        "Retrieved, with the sources of every pixel":
            "sampler run --index faces.zarr --retrieve --trace --out runs/faces",
        "The same samples again": "sampler run --config runs/faces/config.yaml --out runs/again",
    },
)  # fmt: skip

PLOT = Command(
    "plot", "cli.sampler_plot:plot",
    short_help="Draw what a folder of results holds, again.",
    help="""Draw the steps of a run, a verification or an audit, that DIR holds, as PNG and SVG.

    Of a run: steps.png and, if it has a trace, attribution.png. Of a verification: verify.png. Of
    an audit: audit.png.
    """,
    arguments=[click.Argument(["folder"], metavar="DIR", type=PATH)],
    sections={"Options": [out_option("the same folder", "Folder for the plots."), JSON]},
    examples={"The steps of a run": "sampler plot runs/faces"},
)  # fmt: skip

TRAIN = Command(
    "train", "cli.sampler_train:train",
    short_help="Train a network of the paper's kinds.",
    help="""Train; leaves network.safetensors, network.json, loss.png and metrics.jsonl.

    metrics.jsonl grows while training goes on, by a line of JSON every 50 steps: step, loss (mean
    since the last line), learning_rate and seconds. The same is printed where there is no terminal.

    Ctrl-C or SIGTERM saves a checkpoint of the step in hand and ends with 130 or 143; the same
    command goes on from there, as it does after a crash from the last --save-every. A second signal
    ends at once.
    """,
    sections={
        "Images": [dataset_option("Images to learn from.", required=True), *IMAGE_OPTIONS],
        "Network": [
            Option(
                "--architecture", choices=get_args(Architecture), default="resnet",
                show_default=True, help="Kind of network.",
            ),
            Option(
                "--preset", choices=get_args(Preset), default="small", show_default=True,
                help="Sizes and recipe; small trains on a CPU.",
            ),
            Option(
                "--padding", choices=get_args(Padding), default="zeros", show_default=True,
                help="What convolutions meet beyond the border.",
            ),
            Option(
                "--conditional", is_flag=True, help="Tell the network each image's class."
            ),
        ],
        "Training": [
            Option(
                "--gradient-steps", "steps", type=int, metavar="NUMBER",
                help="Batches to learn from. [default: the recipe's]",
            ),
            Option(
                "--batch-size", type=int, metavar="IMAGES", help="[default: the recipe's]"
            ),
            Option(
                "--learning-rate", type=float, metavar="RATE", help="[default: the recipe's]"
            ),
            Option(
                "--precision", choices=get_args(Precision), help="Of products. [default: auto]"
            ),
            Option(
                "--save-every", type=int, metavar="STEPS",
                help="What an interruption can lose. [default: the recipe's]",
            ),
            SEED,
        ],
        "Compute": [DEVICE, THREADS],
        "Output": [
            Option("--half", is_flag=True, help="Store the weights as float16."),
            out_option("runs/DATASET-ARCHITECTURE-PADDING-PRESET"),
            overwrite_option("another network"),
            JSON,
        ],
    },
    examples={
        "A ResNet on digits, in half an hour on a CPU": "sampler train --dataset mnist",
        "A UNet that knows classes, as large as the paper's, on a GPU":
            "sampler train --dataset cifar10 --architecture unet --conditional --preset paper",
    },
)  # fmt: skip

COMMANDS = (RUN, VERIFY, PLOT, LEAVE_OUT, EXPLAIN, TRAIN, CALIBRATE, COMPARE, DENOISE)
for command in COMMANDS:
    main.add_command(command)


if __name__ == "__main__":
    main()
