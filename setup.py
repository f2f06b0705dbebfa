"""The optional C++ kernels; everything else about the package is in pyproject.toml."""

import os
import sys
from pathlib import Path

from setuptools import setup

try:
    from pybind11.setup_helpers import Pybind11Extension
except ImportError:  # a build without isolation: the kernels are optional
    extensions = []
else:
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
            optional=True,  # without a compiler the torch back end serves
        )
    ]

setup(ext_modules=extensions)
