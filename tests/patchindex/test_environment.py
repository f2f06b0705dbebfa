"""What `patchindex info` says is here, and what computes on which device, and why."""

import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

import faiss
import numpy as np
import pytest
import torch

from patchindex import environment, loaded
from patchindex.environment import describe_installation, main_memory
from patchindex.loaded import describe_environment, faiss_obstacle

GPU_BUILD, CPU_BUILD = "OPTIMIZE AVX2 GPU ", "OPTIMIZE AVX2 "


@pytest.fixture
def machine(monkeypatch):
    """A function that pretends: so many GPUs, FAISS built so, Triton or none."""

    def pretend(num_gpus, build, *, faiss_gpus=None, triton=True):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: num_gpus > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: num_gpus)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda i: f"card {i}")
        monkeypatch.setattr(faiss, "get_compile_options", lambda: build)
        count = num_gpus if faiss_gpus is None else faiss_gpus
        monkeypatch.setattr(faiss, "get_num_gpus", lambda: count)
        monkeypatch.setattr(loaded, "has_triton", lambda: triton)
        return describe_environment()

    return pretend


def test_without_a_gpu_the_processor_does_everything_and_info_says_so(machine):
    found = machine(0, GPU_BUILD, triton=False)
    assert found.gpu == "none: torch finds no CUDA device"
    assert found.search.endswith(" on the processor")
    assert found.kernels.endswith(" on the processor; none on GPUs: no Triton")
    assert found.faiss_build == "GPU OPTIMIZE AVX2"


def test_gpus_are_named_and_so_is_what_searches_there(machine):
    found = machine(2, GPU_BUILD)
    assert found.gpu == "card 0, card 1"
    assert (
        found.search == "FAISS on cuda:0; Triton list search with a label, or beyond FAISS's limits"
    )
    assert "; Triton " in found.kernels
    assert f"search   {found.search}" in list(found.lines())


@pytest.mark.parametrize(
    ("build", "faiss_gpus", "why"),
    [(CPU_BUILD, None, "FAISS has no GPU build"), (GPU_BUILD, 0, "FAISS does not find cuda:0")],
)
def test_where_faiss_cannot_search_info_says_why(machine, build, faiss_gpus, why):
    found = machine(1, build, faiss_gpus=faiss_gpus)
    assert found.search == f"Triton list search on cuda:0: {why}"


@pytest.mark.slow
def test_the_package_of_faiss_serves_cards_that_are_newer_than_it():
    """A driver compiles the PTX of each of its files, so that no capability need be refused."""
    triton = pytest.importorskip("triton")
    library = Path(faiss.__file__).with_name("libfaiss.so")
    if "GPU" not in faiss.get_compile_options().split() or not library.exists():
        pytest.skip("no package of FAISS for GPUs")
    tool = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
    of_newest, ptx = (
        subprocess.run(
            [tool, option, library], capture_output=True, text=True, check=True
        ).stdout.count(f".sm_90.{ending}")
        for option, ending in (("--list-elf", "cubin"), ("--list-ptx", "ptx"))
    )
    assert 0 < of_newest == ptx


def test_without_triton_nothing_searches_on_a_gpu(machine):
    assert machine(1, GPU_BUILD, triton=False).search == (
        "nothing on cuda:0: no Triton 3.4 or newer, which does what FAISS cannot"
    )


def test_faiss_takes_no_tensors_of_the_processor_and_none_of_gpus_it_does_not_see(machine):
    machine(2, GPU_BUILD, faiss_gpus=1)
    assert faiss_obstacle(torch.device("cpu")) == "FAISS takes no tensors of cpu"
    assert faiss_obstacle(torch.device("cuda")) is None
    assert faiss_obstacle(torch.device("cuda", 0)) is None
    assert faiss_obstacle(torch.device("cuda", 1)) == "FAISS does not find cuda:1"


# as NVIDIA declares them in nvml.h
DRIVER = """
static int devices[3] = {0, 1, 2};
int nvmlInit_v2(void) { return STATUS; }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = COUNT; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device) {
    *device = &devices[index];
    return index == 1 ? 15 : 0;  /* one that has fallen off the bus */
}
int nvmlDeviceGetName(void *device, char *name, unsigned length) {
    const char text[] = "card ?";
    for (unsigned i = 0; i < sizeof text && i < length; i++) name[i] = text[i];
    name[5] = '0' + *(int *) device;
    return 0;
}
"""


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
@pytest.mark.parametrize(
    ("status", "count", "told"),
    [
        (0, 3, "card 0, card 2"),
        (0, 0, "none: NVIDIA's driver is here but has no device"),
        (999, 3, "none: NVIDIA's driver is here but has no device"),
    ],
)
def test_the_driver_names_its_devices(tmp_path, monkeypatch, status, count, told):
    (tmp_path / "driver.c").write_text(DRIVER)
    built = tmp_path / "driver.so"
    settings = [f"-DSTATUS={status}", f"-DCOUNT={count}"]
    subprocess.run(
        ["cc", "-shared", "-fPIC", *settings, "-o", built, tmp_path / "driver.c"], check=True
    )
    monkeypatch.setattr(environment, "_NVML", ("no-such-library.so", str(built)))
    assert describe_installation().gpu == told


def test_without_a_driver_there_is_no_gpu(monkeypatch):
    monkeypatch.setattr(environment, "_NVML", ("no-such-library.so",))
    assert "GPU      none: no NVIDIA driver is here" in describe_installation().lines()


def test_what_is_installed_agrees_with_what_is_loaded(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    found, known = describe_installation(), describe_environment()
    assert found.versions == known.versions
    assert known.faiss_build.split()[0] == found.faiss_build
    assert ("C++" in found.kernels) == (find_spec("patchindex.kernels._native") is not None)
    assert list(found.lines())[-3].endswith(" processors, OMP_NUM_THREADS is 3")


def test_kernels_that_were_not_built_are_told(monkeypatch, tmp_path):
    monkeypatch.setattr(environment, "_KERNELS", tmp_path)
    assert "the C++ kernels were not built, on the processor" in describe_installation().kernels


def test_the_first_package_that_is_installed_gives_the_version():
    assert environment.first_version(("no-such-package",)) == "unknown"
    assert environment.first_version(("no-such-package", "numpy")) == f"{np.__version__} (numpy)"
    assert environment.first_version(("numpy",)) == np.__version__


@pytest.mark.parametrize(
    ("own", "around", "smallest"),
    [("2000", "max", 2000), ("max", "1000", 1000), ("2000", "1000", 1000), ("max", "max", None)],
)
def test_memory_is_what_a_container_or_a_job_may_use(monkeypatch, tmp_path, own, around, smallest):
    whole = main_memory()
    (tmp_path / "cgroup").write_text("4:memory:/old\n0::/job/step\n")
    for folder, limit in (("job/step", own), ("job", around)):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / folder / "memory.max").write_text(f"{limit}\n")
    monkeypatch.setattr(environment, "PROCESS", tmp_path)
    monkeypatch.setattr(environment, "GROUPS", tmp_path)
    assert main_memory() == (smallest or whole)
