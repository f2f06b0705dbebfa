"""Names that users choose among, and what is taken where they say nothing.

Configurations take their defaults from here, and so do the command lines, whose `--help` must not
wait seconds for torch: this file imports nothing that is slow to load.
"""

from typing import Literal

Boundary = Literal["zeros", "circular", "circular_interior"]
Crop = Literal["none", "center"]

SCALES = (3, 5, 9, 15)
DEFAULT_BOUNDARY: Boundary = "zeros"
DEFAULT_NPROBE = 16
CLUSTER_VARIABLE = "PATCHINDEX_CLUSTER"
