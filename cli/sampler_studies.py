"""Options of `sampler verify`, `compare`, `calibrate` and `denoise`."""

from typing import get_args

from cli.commands import JSON, Command, Option
from cli.options import (
    BOUNDARY,
    COMPUTE_OPTIONS,
    CONFIG,
    DATASET,
    DATASETS,
    EXACT,
    IMAGE_OPTIONS,
    INDEX,
    LABEL,
    NETWORKS_SCHEDULE,
    PROCESS_OPTIONS,
    RETRIEVAL_OPTIONS,
    SAMPLER,
    SCALES,
    SEED,
    SIGMAS,
    STEPS,
    dataset_names,
    network_option,
    num_option,
    out_option,
    overwrite_option,
    sigmas_option,
)
from sampler.choices import (
    BASELINES_SHOWN,
    CALIBRATE_SAMPLES,
    COMPARE_SAMPLES,
    DEFAULT_NETWORK,
    DENOISE_IMAGES,
    DENOISE_SIGMAS,
    DENOISERS,
    NETWORK_STEPS,
    RECALL_PIXELS,
    VERIFY_SAMPLES,
    BaselineName,
)

VERIFY = Command(
    "verify", "cli.sampler_verify:verify",
    short_help="Say how far retrieval is from exact.",
    help="Say how far retrieval is from exact: a table, verify.png, verify.svg and verify.json.",
    sections={
        "Images": [INDEX, LABEL],
        "Retrieval": RETRIEVAL_OPTIONS,
        "Sampling": [*PROCESS_OPTIONS, num_option(VERIFY_SAMPLES), SEED],
        "Comparison": [
            Option(
                "--recall-pixels", type=int, metavar="PIXELS",
                help="Per step, whose true k nearest patches are found by brute force; 0 leaves "
                f"recall out. [default: {RECALL_PIXELS}]",
            ),
            Option(
                "--finals", is_flag=True,
                help="Compare also the images that retrieval ends in by itself.",
            ),
            Option(
                "--pixels", type=int, metavar="PIXELS",
                help="Sum exactly for so many random pixels per step of retrieval's own "
                "trajectory, at any number of images; writes audit.json, .png and .svg. "
                "[default: whole states, exactly]",
            ),
        ],
        "Compute": COMPUTE_OPTIONS,
        "Output": [
            out_option("runs/verify-DATASET-SEED, or runs/audit-DATASET-SEED"),
            overwrite_option("a verification"),
            JSON,
        ],
    },
    examples={
        "Whole states of the newest index": "sampler verify --num 2",
        "A few pixels, at any number of images": "sampler verify --index faces.zarr --pixels 64",
    },
)  # fmt: skip

COMPARE = Command(
    "compare", "cli.sampler_compare:compare",
    short_help="Put a network beside the theory.",
    help="Print a table like the paper's; leaves compare.json, images.npz and two pictures.",
    sections={
        "Network": [
            network_option(
                "A bundled network, what `sampler train` wrote, or a network of others.",
                DEFAULT_NETWORK,
            ),
            Option(
                "--network-steps", metavar="NUMBER", type=int, multiple=True,
                default=NETWORK_STEPS, show_default=True,
                help="Steps of the network; may be repeated.",
            ),
        ],
        "Images": [INDEX, DATASET, *IMAGE_OPTIONS, LABEL],
        "Retrieval": [EXACT, *RETRIEVAL_OPTIONS],
        "Sampling": [
            SCALES, STEPS, NETWORKS_SCHEDULE, SIGMAS, SAMPLER, num_option(COMPARE_SAMPLES), SEED,
        ],
        "Comparison": [
            Option(
                "--baseline", "baselines", choices=get_args(BaselineName), multiple=True,
                default=BASELINES_SHOWN, show_default=True,
                help="Beside the theory; may be repeated.",
            ),
        ],
        "Compute": COMPUTE_OPTIONS,
        "Output": [
            out_option("runs/compare-DATASET-SEED"),
            overwrite_option("a comparison"),
            CONFIG,
            JSON,
        ],
    },
    examples={
        "The bundled network and images": "sampler compare --dataset sample",
        "Your own network, and the images it was trained on":
            "sampler compare --network python:mine:load --dataset folder:photos --resolution 32",
        "With more theories beside it":
            "sampler compare --dataset sample --baseline wiener --baseline pspc",
    },
)  # fmt: skip

CALIBRATE = Command(
    "calibrate", "cli.sampler_calibrate:calibrate",
    short_help="Find the patch size of each noise level.",
    help="Find scales; leaves scales.yaml, calibrate.json, scales.png and receptive_field.png.",
    sections={
        "Network": [
            network_option(
                "Trained network to agree with. [default: none; denoise held-out images]"
            ),
        ],
        "Images": [INDEX, DATASET, *IMAGE_OPTIONS, LABEL],
        "Machine": [
            BOUNDARY,
            EXACT,
            Option(
                "--candidates", metavar="P,P,...",
                help="Patch sizes to choose from. [default: an index's own, or 3,5,...,17]",
            ),
        ],
        "Retrieval": RETRIEVAL_OPTIONS,
        "Sampling": [STEPS, NETWORKS_SCHEDULE, SIGMAS, num_option(CALIBRATE_SAMPLES), SEED],
        "Compute": COMPUTE_OPTIONS,
        "Output": [
            out_option("runs/calibrate-DATASET-SEED"),
            overwrite_option("a calibration"),
            CONFIG,
            JSON,
        ],
    },
    examples={
        "For a network that was trained here":
            "sampler calibrate --network runs/mnist-resnet-zeros-small --dataset mnist "
            "--limit 2000",
        "Without a network, by held-out images":
            "sampler calibrate --dataset sample --candidates 3,7,11",
    },
)  # fmt: skip

DENOISE = Command(
    "denoise", "cli.sampler_denoise:denoise",
    short_help="Measure errors on held-out images.",
    help="Print errors on held-out images by noise level; leaves denoise.json and denoise.png.",
    sections={
        "Network": [
            network_option("Trained network to hold beside the theories. [default: none]"),
        ],
        "Images": [
            INDEX,
            DATASET,
            *IMAGE_OPTIONS,
            Option(
                "--held-out", "others", metavar=DATASETS, choices=dataset_names,
                help="Images to denoise that the training set lacks; an index needs some. "
                "[default: some of --dataset, held out of it]",
            ),
            LABEL,
        ],
        "Machine": [BOUNDARY, EXACT, SCALES],
        "Retrieval": RETRIEVAL_OPTIONS,
        "Comparison": [
            sigmas_option(DENOISE_SIGMAS, "Noise levels in data units, falling."),
            Option(
                "--denoiser", "denoisers", choices=DENOISERS, multiple=True,
                help="What is compared; may be repeated. [default: all]",
            ),
            num_option(DENOISE_IMAGES, metavar="IMAGES", words="How many to denoise."),
            SEED,
        ],
        "Compute": COMPUTE_OPTIONS,
        "Output": [
            out_option("runs/denoise-DATASET-SEED"), overwrite_option("a study"), JSON,
        ],
    },
    examples={
        "All theories, on images held out of the sample": "sampler denoise --dataset sample",
        "Two of them, beside a network": "sampler denoise --dataset sample --denoiser els "
            "--denoiser wiener --network fashion_mnist_resnet_zeros_small",
    },
)  # fmt: skip
