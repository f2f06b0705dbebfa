"""Two command lines: argument parsing, progress and messages, nothing else."""

import os

__all__ = ["options", "patchindex", "sampler"]

# Idle OpenMP threads spin by default, which takes the processor from others on a busy machine and
# made our many short operations three times slower there. Must be set before torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
