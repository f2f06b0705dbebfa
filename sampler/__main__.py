"""`python -m sampler`: the same as the command `sampler`."""

from cli.sampler import main

main(prog_name="sampler")
