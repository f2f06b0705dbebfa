"""Names that users choose among, and what is taken where they say nothing.

Configurations take their defaults from here, and so do the command lines, whose `--help` must not
wait seconds for torch: this file imports nothing that is slow to load.
"""

from typing import Literal

Boundary = Literal["zeros", "circular", "circular_interior"]
Crop = Literal["none", "center"]
# who compares queries with inverted lists: FAISS, or our own kernels, which are in Triton on a GPU
# and in C++ on the processor; one word for these, so that the same asks for both
ListSearchKind = Literal["auto", "faiss", "triton"]
Precision = Literal["auto", "float32"]  # of exact scans on a GPU

SCALES = (3, 5, 9, 15)
DEFAULT_BOUNDARY: Boundary = "zeros"
DEFAULT_NPROBE = 16
CLUSTER_VARIABLE = "PATCHINDEX_CLUSTER"
