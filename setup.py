"""The optional C++ kernels; everything else about the package is in pyproject.toml.

$PATCHINDEX_KERNELS says what a build does about them: `optional` (default) goes on without them
where they do not compile; `required` fails then, so that no released wheel lacks them unnoticed;
`none` leaves them out, as for Windows, whose usual compiler cannot compile them.
"""

import os
import sys
from pathlib import Path

from setuptools import setup

KINDS = ("optional", "required", "none")
wanted = os.environ.get("PATCHINDEX_KERNELS") or KINDS[0]
if wanted not in KINDS:
    sys.exit(f"PATCHINDEX_KERNELS is {wanted!r}. Give one of {', '.join(KINDS)}.")
try:
    from pybind11.setup_helpers import Pybind11Extension
except ImportError:  # a build without isolation
    if wanted == "required":
        sys.exit("PATCHINDEX_KERNELS is required, but pybind11 is not installed.")
    wanted = "none"

extensions = []
if wanted != "none":
    here = Path(__file__).parent
    native = Path("patchindex/kernels/native")
    extra = os.environ.get("PATCHINDEX_CXXFLAGS", "").split()
    # GCC's and clang's vector extensions carry the kernels: other compilers fail here, harmlessly.
    # No -ffast-math: infinities, nan and the order of sums mean what they say.
    flags = [
        "-O3",
        "-g0",
        "-fno-tree-vectorize",
        "-fno-tree-slp-vectorize",
        "-fno-math-errno",
        "-fno-trapping-math",
        "-ffp-contract=fast",
    ]
    extensions = [
        Pybind11Extension(
            "patchindex.kernels._native",
            sorted(str(path.relative_to(here)) for path in (here / native).glob("*.cpp")),
            depends=sorted(str(path.relative_to(here)) for path in (here / native).glob("*.hpp")),
            cxx_std=17,
            extra_compile_args=[*flags, *extra],
            extra_link_args=[*extra, *([] if sys.platform == "darwin" else ["-pthread"])],
            optional=wanted == "optional",  # without a compiler the torch back end serves
        )
    ]

setup(ext_modules=extensions)
