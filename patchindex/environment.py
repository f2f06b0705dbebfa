"""What is installed and what this machine has, as far as it is known without loading a library."""

import ctypes
import os
import platform
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

LIBRARIES = {
    "patchindex": ("patchindex",),
    "faiss": ("faiss-gpu", "faiss-cpu", "faiss"),
    "numpy": ("numpy",),
    "torch": ("torch",),
    "zarr": ("zarr",),
}
PROCESS, GROUPS = Path("/proc/self"), Path("/sys/fs/cgroup")  # of Linux
_KERNELS = Path(__file__).parent / "kernels"
_NVML = ("libnvidia-ml.so.1", "nvml.dll")  # the part of NVIDIA's driver that tells of its devices
_NAME_BYTES = 96  # of a device, as NVML says


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """What is installed, and what it may compute with; `patchindex.loaded` asks the libraries.

    Attributes:
        kernels: whether those for the processor were built, and what there is for GPUs.
        processors: that this process may use.
        threads: by how many OMP_NUM_THREADS limits torch, FAISS and the kernels; None for all.
        faiss_build: "GPU" or "CPU", by its package.
        gpu: names of the devices of NVIDIA's driver, or "none" and why.
    """

    python: str
    versions: Mapping[str, str]
    kernels: str
    processors: int
    threads: str | None
    faiss_build: str
    gpu: str

    def lines(self) -> Iterator[str]:
        """The same for people."""
        yield f"python   {self.python}"
        for name, number in self.versions.items():
            yield f"{name:<8} {number}"
        yield f"kernels  {self.kernels}"
        limit = f", OMP_NUM_THREADS is {self.threads}" if self.threads else ""
        yield f"threads  {self.processors} processors{limit}"
        yield f"FAISS    {self.faiss_build}"
        yield f"GPU      {self.gpu}"


def describe_installation() -> Installation:
    """What is installed and present here, in a tenth of a second.

    Example:
        >>> describe_installation().gpu
        'none: no NVIDIA driver is here'
    """
    versions = library_versions()
    return Installation(
        python=platform.python_version(),
        versions=versions,
        kernels=_installed_kernels(),
        processors=_processors(),
        threads=os.environ.get("OMP_NUM_THREADS") or None,
        faiss_build=_faiss_build(versions["faiss"]),
        gpu=_driver_devices(),
    )


def _installed_kernels() -> str:
    """Whether the C++ kernels were built, and which Triton there is."""
    built = any((_KERNELS / f"_native{suffix}").exists() for suffix in EXTENSION_SUFFIXES)
    triton = first_version(("triton",))
    return (
        f"{'C++' if built else 'torch, as the C++ kernels were not built,'} on the processor; "
        f"{'none on GPUs: no Triton' if triton == 'unknown' else f'Triton {triton} on GPUs'}"
    )


def _processors() -> int:
    """Processors that this process may use, where the system tells; else all there are."""
    with suppress(AttributeError, OSError):  # macOS and Windows have no such call
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _faiss_build(package: str) -> str:
    """What FAISS was built for, by the name of its package."""
    if package == "unknown":
        return "not installed as a package"
    return "GPU" if "faiss-gpu" in package else "CPU"


def _driver_devices() -> str:
    """Names of the GPUs that NVIDIA's driver has."""
    for name in _NVML:
        try:
            driver = ctypes.CDLL(name)
        except OSError:
            continue
        if names := _device_names(driver):
            return ", ".join(names)
        return "none: NVIDIA's driver is here but has no device"
    return "none: no NVIDIA driver is here"


def _device_names(driver: ctypes.CDLL) -> list[str]:
    """What the driver calls its devices; nothing where it does not answer."""
    count, device = ctypes.c_uint(), ctypes.c_void_p()
    names = []
    if driver.nvmlInit_v2() or driver.nvmlDeviceGetCount_v2(ctypes.byref(count)):
        return []
    for number in range(count.value):
        text = ctypes.create_string_buffer(_NAME_BYTES)
        if not driver.nvmlDeviceGetHandleByIndex_v2(
            number, ctypes.byref(device)
        ) and not driver.nvmlDeviceGetName(device, text, _NAME_BYTES):
            names.append(text.value.decode(errors="replace"))
    return names


def main_memory() -> int | None:
    """Bytes of memory that this process may use, or None where the system does not tell."""
    try:
        there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # Windows has no such call
        return None
    return min([there, *_memory_limits()])


def _memory_limits() -> list[int]:
    """Of the control groups around this process: of its container, or its job."""
    try:
        lines = (PROCESS / "cgroup").read_text(encoding="utf-8").splitlines()
        own = next(line for line in lines if line.startswith("0::"))
    except (OSError, ValueError, StopIteration):  # no Linux, or groups of the first version
        return []
    group = GROUPS / own.removeprefix("0::").strip("/")
    limits = []
    for folder in (group, *group.parents):
        try:
            told = (folder / "memory.max").read_text(encoding="utf-8").strip()
        except (OSError, ValueError):
            told = "max"
        if told.isdecimal():
            limits.append(int(told))
        if folder == GROUPS:
            break
    return limits


def library_versions() -> dict[str, str]:
    """Installed version of each, and "unknown" where it was not installed as a package."""
    return {name: first_version(packages) for name, packages in LIBRARIES.items()}


def first_version(packages: tuple[str, ...]) -> str:
    """Version of the first of these packages that is installed; which it is, if one can choose."""
    for package in packages:
        try:
            number = version(package)
        except PackageNotFoundError:
            continue
        return number if len(packages) == 1 else f"{number} ({package})"
    return "unknown"
