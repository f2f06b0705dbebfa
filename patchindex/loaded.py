"""What the libraries say, once loaded, of what they compute with: threads, instructions, GPUs."""

import os
import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch  # isort: skip - before faiss: its OpenMP runtime must be the first to load
import faiss

from patchindex.environment import first_version, library_versions
from patchindex.errors import KernelError
from patchindex.kernels.backend import BACKEND, has_triton

MOST_THREADS = 1024  # on a machine of fewer cores; some thousands are more than systems start
PROCESSOR_SEARCHES = {"native": "C++ list search", "torch": "FAISS", "triton": "Triton list search"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """Where a command runs.

    Attributes:
        kernels: back ends of the exact sums: the processor's, with its instruction set, and that
            of GPUs.
        threads: that torch, whose number the kernels share, and FAISS use.
        faiss_build: "GPU" or "CPU", and the instruction sets it was compiled for.
        gpu: names of the CUDA devices, or "none" and why.
        search: what scans inverted lists, on which device, and why not FAISS.
    """

    python: str
    versions: Mapping[str, str]
    kernels: str
    threads: dict[str, int]
    faiss_build: str
    gpu: str
    search: str

    def lines(self) -> Iterator[str]:
        """The same for people."""
        yield f"python   {self.python}"
        for name, number in self.versions.items():
            yield f"{name:<8} {number}"
        yield f"kernels  {self.kernels}"
        yield "threads  " + ", ".join(f"{name} {count}" for name, count in self.threads.items())
        yield f"FAISS    {self.faiss_build}"
        yield f"GPU      {self.gpu}"
        yield f"search   {self.search}"


def describe_environment() -> Environment:
    """What is installed and present here."""
    options = faiss.get_compile_options().split()
    kind = "GPU" if "GPU" in options else "CPU"
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return Environment(
        python=platform.python_version(),
        versions=library_versions(),
        kernels=_describe_backends(),
        threads={"torch": torch.get_num_threads(), "faiss": faiss.omp_get_max_threads()},
        faiss_build=" ".join([kind, *(option for option in options if option != "GPU")]),
        gpu=", ".join(gpus) or "none: torch finds no CUDA device",
        search=_describe_search(),
    )


def _describe_backends() -> str:
    """Back ends, and the processor's instruction set."""
    there = "none on GPUs: no Triton"
    if has_triton():
        there = f"Triton {first_version(('triton',))} on GPUs"
    return f"{describe_kernels()} on the processor; {there}"


def describe_kernels() -> str:
    """The processor's back end, and its instruction set."""
    if BACKEND != "native":
        return BACKEND
    from patchindex.kernels.native_backend import instruction_set  # noqa: PLC0415 - may be absent

    return f"native, {instruction_set()}"


def _describe_search() -> str:
    """What searches inverted lists on the first GPU if there is one, else on the processor."""
    if not torch.cuda.is_available():
        return f"{PROCESSOR_SEARCHES[BACKEND]} on the processor"
    device = torch.device("cuda", 0)
    if not has_triton():
        return f"nothing on {device}: no Triton 3.4 or newer, which does what FAISS cannot"
    obstacle = faiss_obstacle(device)
    if obstacle is None:
        return f"FAISS on {device}; Triton list search with a label, or beyond FAISS's limits"
    return f"Triton list search on {device}: {obstacle}"


def faiss_obstacle(device: torch.device) -> str | None:
    """Why FAISS does not compute on this device; None if it does."""
    if device.type != "cuda":
        return f"FAISS takes no tensors of {device}"
    if "GPU" not in faiss.get_compile_options().split():
        return "FAISS has no GPU build"
    if faiss.get_num_gpus() <= (device.index or 0):
        return f"FAISS does not find {device}"
    return None


def set_threads(count: int) -> None:
    """Let torch, the kernels and FAISS use so many threads.

    Raises:
        KernelError: there is no such number of threads.
    """
    most = max(MOST_THREADS, os.cpu_count() or 1)
    if not 1 <= count <= most:
        raise KernelError(
            f"threads is {count}. Give 1..{most}; more than the processor's {os.cpu_count()} "
            "gain nothing."
        )
    torch.set_num_threads(count)
    faiss.omp_set_num_threads(count)
