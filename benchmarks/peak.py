"""What one core of this machine can do at best: benchmarks give the kernels' share of it."""

import shutil
import subprocess
from ctypes import CDLL, c_double, c_int64, c_void_p
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

SOURCE = Path(__file__).with_name("peak.cpp")
# by the names that the kernels give instruction sets: floats to a vector, and compiler options
VECTORS = {
    "avx512": (16, ["-mavx512f", "-mfma"]),
    "avx2": (8, ["-mavx2", "-mfma"]),
    "portable": (4, []),
}
FLAGS = ["-std=c++17", "-O3", "-ffp-contract=fast", "-fno-math-errno", "-shared", "-fPIC"]
LINE_BYTES = 64


@dataclass(frozen=True, slots=True)
class Peak:
    """Rates of one undisturbed core, measured anew by each call."""

    loaded: CDLL

    @classmethod
    def compiled(cls, isa: str) -> "Peak":
        """The measurement with the vectors of an instruction set of `native_backend`.

        Raises:
            ClickException: no C++ compiler is here, or it does not compile this.
        """
        compiler = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
        if compiler is None:
            raise click.ClickException(
                "no C++ compiler is here, and the machine's best rates are measured by a program "
                "that has to be compiled. Install g++ or clang++."
            )
        lanes, options = VECTORS[isa]
        with TemporaryDirectory() as folder:
            path = Path(folder, "peak.so")
            command = [compiler, *FLAGS, *options, f"-DLANES={lanes}", str(SOURCE), "-o", str(path)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
            if done.returncode:
                raise click.ClickException(f"{compiler} does not compile {SOURCE}: {done.stderr}")
            loaded = CDLL(str(path))
        loaded.multiply_adds_per_second.restype = c_double
        loaded.random_lines_per_second.restype = c_double
        loaded.random_lines_per_second.argtypes = [c_void_p, c_int64]
        return cls(loaded)

    def multiply_adds_per_second(self) -> float:
        """Float multiply-adds, or additions."""
        return float(self.loaded.multiply_adds_per_second())

    def random_lines_per_second(self, data: UInt8[ndarray, "..."]) -> float:
        """Cache lines fetched from random places of this array, which has one at least."""
        array = np.ascontiguousarray(data)
        if array.nbytes < LINE_BYTES:
            raise click.ClickException(
                f"{array.nbytes} bytes are given. Give {LINE_BYTES} or more."
            )
        return float(self.loaded.random_lines_per_second(array.ctypes.data, array.nbytes))
