"""`sampler`: the command line of everything that is done with weights."""

import click

from cli.console import Commands
from cli.sampler_calibrate import calibrate
from cli.sampler_compare import compare
from cli.sampler_denoise import denoise
from cli.sampler_explain import explain
from cli.sampler_leave_out import leave_out_command
from cli.sampler_plot import plot
from cli.sampler_run import run
from cli.sampler_train import train
from cli.sampler_verify import verify


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Sample images with score machines, and learn how far from exact they are."""


main.add_command(run)
main.add_command(verify)
main.add_command(plot)
main.add_command(leave_out_command)
main.add_command(explain)
main.add_command(train)
main.add_command(calibrate)
main.add_command(compare)
main.add_command(denoise)
