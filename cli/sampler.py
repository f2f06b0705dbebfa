"""`sampler`: the command line of everything that is done with weights."""

import click

from cli.lazy_commands import LazyCommands

HOMES = {
    "run": ("cli.sampler_run", "run", "Sample images from noise."),
    "verify": ("cli.sampler_verify", "verify", "Say how far retrieval is from exact."),
    "plot": ("cli.sampler_plot", "plot", "Draw what a folder of results holds, again."),
    "leave-out": (
        "cli.sampler_leave_out", "leave_out_command",
        "Make a sample again without the training images that made it.",
    ),
    "explain": (
        "cli.sampler_explain", "explain", "Write a page that shows where each pixel comes from.",
    ),
    "train": ("cli.sampler_train", "train", "Train a network of the paper's kinds."),
    "calibrate": ("cli.sampler_calibrate", "calibrate", "Find the patch size of each noise level."),
    "compare": ("cli.sampler_compare", "compare", "Put a network beside the theory."),
    "denoise": ("cli.sampler_denoise", "denoise", "Measure errors on held-out images."),
}  # fmt: skip


@click.group(
    cls=LazyCommands, homes=HOMES, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.version_option(package_name="patchindex")
def main() -> None:
    """Sample images with score machines, and learn how far from exact they are."""


if __name__ == "__main__":
    main()
