"""Options of `sampler explain` and `leave-out`."""

import click

from cli.commands import JSON, Command, Option
from cli.options import (
    COMPUTE_OPTIONS,
    COPY_OPTIONS,
    DATASET,
    EXACT,
    IMAGE_OPTIONS,
    INDEX,
    LABEL,
    PATH,
    RETRIEVE,
    SEED,
    out_option,
    overwrite_option,
    sigmas_option,
)
from sampler.choices import IMAGES_LEFT_OUT, PICTURE_DRAWS, PICTURE_SIGMAS

EXPLAIN = Command(
    "explain", "cli.sampler_explain:explain",
    short_help="Write a page that shows where each pixel comes from.",
    help="""Write explain.html: where each pixel of a traced run comes from, or of a picture.

    Give the folder of a run that was made with --trace, or --image. The training images are those
    of the index or dataset that the run used; say where they are now if they have moved. Pictures
    are held against an index; attribution.json and trace.zarr tell machines what the page shows.
    """,
    arguments=[click.Argument(["run_dir"], metavar="[RUN_DIR]", required=False, type=PATH)],
    sections={
        "A run": [
            Option("--run", "run_option", type=PATH, metavar="DIR", help="As RUN_DIR."),
            Option(
                "--sample", type=int, metavar="I", help="Number of a sample, from 0, to show alone."
            ),
            Option(
                "--samples", metavar="I,I,...",
                help="Samples to show. [default: as many as 15 MB hold]",
            ),
        ],
        "Pictures": [
            Option(
                "--image", "pictures", multiple=True, type=PATH, metavar="FILE",
                help="A picture of any generator in place of a run: PNG, JPEG or .npy, which may "
                "hold several; or a folder of pictures. May be repeated.",
            ),
            Option("--resize", is_flag=True, help="Resize an --image to the index's size."),
            sigmas_option(
                PICTURE_SIGMAS, "Noise levels in data units, falling, at which an --image is asked."
            ),
            Option(
                "--scale", "scales", type=int, multiple=True, metavar="P",
                help="Patch size in the index at which every noise level of an --image is asked; "
                "may be repeated. [default: the largest that is at most half of a side]",
            ),
            Option(
                "--theory-scales", is_flag=True,
                help="Ask each noise level of an --image at the patch size at which the machine "
                "denoises there, small where noise is low.",
            ),
            Option(
                "--draws", type=int, metavar="NUMBER", default=PICTURE_DRAWS, show_default=True,
                help="Of noise at each level, over which the answers for an --image are averaged.",
            ),
            SEED,
            LABEL,
            EXACT,
            RETRIEVE,
        ],
        "Near-copies in an --image": list(COPY_OPTIONS),
        "Training images": [INDEX, DATASET, *IMAGE_OPTIONS],
        "Compute": COMPUTE_OPTIONS,
        "Output": [
            out_option("explained/NAME of the first", "Folder for the answer to --image."),
            overwrite_option("an answer"),
            JSON,
        ],
    },
    examples={
        "A run that was made with --trace": "sampler explain runs/faces",
        "A picture of any generator": "sampler explain --image one.png --index faces.zarr",
    },
)  # fmt: skip

LEAVE_OUT = Command(
    "leave-out", "cli.sampler_leave_out:leave_out_command",
    short_help="Make a sample again without the training images that made it.",
    help="""Remove training images from the dictionary and make a sample of a run again.

    Writes leave_out.json and a picture into the folder of a run that was made with --trace;
    `sampler explain` shows them.
    """,
    arguments=[click.Argument(["run_dir"], metavar="RUN_DIR", type=PATH)],
    sections={
        "What is left out": [
            Option(
                "--sample", type=int, metavar="I", default=0, show_default=True,
                help="Number of the sample, from 0.",
            ),
            Option(
                "--top", type=int, metavar="IMAGES", default=IMAGES_LEFT_OUT, show_default=True,
                help="Images to leave out, those with the largest shares first.",
            ),
            Option(
                "--pixel", metavar="Y,X",
                help="Row and column, from 0: those with the largest shares in this pixel. "
                "[default: in all]",
            ),
            EXACT,
        ],
        "Training images": [INDEX, DATASET, *IMAGE_OPTIONS],
        "Compute": COMPUTE_OPTIONS,
        "Output": [JSON],
    },
    examples={
        "Sample 3 without its five heaviest images": "sampler leave-out runs/faces --sample 3",
        "What one pixel becomes": "sampler leave-out runs/faces --pixel 12,7 --top 20",
    },
)  # fmt: skip
