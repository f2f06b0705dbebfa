"""`python -m patchindex`: the same as the command `patchindex`."""

from cli.patchindex import main

main(prog_name="patchindex")
