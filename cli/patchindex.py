"""`patchindex`: the command line of the index of every patch of an image set."""

import click

from cli.lazy_commands import LazyCommands

HOMES = {
    "build": ("cli.patchindex_build", "build", "Build an index of a set of images."),
    "info": ("cli.patchindex_info", "info", "Show what is in an index, or what is installed."),
    "verify": ("cli.patchindex_info", "verify", "Read a whole index again, and check it."),
    "datasets": ("cli.patchindex_info", "datasets", "List the named datasets."),
    "query": (
        "cli.patchindex_query",
        "query",
        "Find the training patches that a pixel comes from.",
    ),
    "worker": ("cli.patchindex_worker", "worker", "Work for the commands of other machines."),
}


@click.group(
    cls=LazyCommands, homes=HOMES, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.version_option(package_name="patchindex")
def main() -> None:
    """Find the training patches that matter, out of all there are."""


if __name__ == "__main__":
    main()
