"""A worker that cannot serve is told in one line, with its host and what to do."""

import re
from dataclasses import replace

import pytest
from small_index import build_small

from patchindex.cluster import connect
from patchindex.cluster.checks import faults, format_failure
from patchindex.cluster.worker import WorkerReport, cluster_versions
from patchindex.errors import ClusterError

GOOD = WorkerReport(
    name="host3-17", host="host3", pid=17, versions=cluster_versions(), kernels="native, avx512",
    device="cpu", limited=False, memory=2**34, index=None, folder=True,
)  # fmt: skip


def fault(mixed: bool = False, **changes: object) -> str | None:
    return next(faults(replace(GOOD, **changes), replace(GOOD, name="host1"), mixed=mixed), None)


def test_a_worker_like_the_first_can_serve():
    assert fault() is None
    assert fault(device="cpu", name="host9") is None


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"versions": cluster_versions() | {"torch": "1.0"}},
            "host3-17 on host3 has torch 1.0, and this process has ",
        ),
        ({"versions": {}}, "host3-17 on host3 has patchindex None, and this process has "),
        (
            {"limited": True},
            "was started with a memory limit, .* start it with `patchindex worker`",
        ),
        ({"index": "there is no index at /x."}, "there is no index at /x. Or give --stage DIR"),
        ({"folder": False}, "does not see the output folder: give one that all workers share"),
        (
            {"kernels": "native, avx2"},
            "computes with kernels native, avx2, and host1 with native, avx512: .* give --mixed",
        ),
        ({"device": "cuda:0 NVIDIA H100"}, "computes with device NVIDIA H100, and host1 with cpu"),
    ],
)
def test_what_is_wrong_is_told_with_the_host(changes, told):
    found = fault(**changes)
    assert found is not None
    assert re.search(told, found)
    assert "host3" in found
    assert "\n" not in found


def test_mixed_kinds_are_let_in_on_request():
    assert fault(mixed=True, kernels="native, avx2", device="cuda:1 NVIDIA H100") is None
    assert fault(mixed=True, limited=True) is not None


def test_the_number_of_a_gpu_is_no_difference():
    first = replace(GOOD, device="cuda:0 NVIDIA H100")
    assert not list(faults(replace(first, device="cuda:3 NVIDIA H100"), first, mixed=False))


def test_a_worker_without_this_package_is_told():
    told = format_failure("tcp://10.0.0.3:41", ModuleNotFoundError("No module named 'patchindex'"))
    assert told.startswith("tcp://10.0.0.3:41 cannot tell what it is (ModuleNotFoundError: No mod")
    assert told.endswith("install this version of patchindex there.")


@pytest.mark.slow
def test_a_worker_that_does_not_find_the_index_ends_the_command(tmp_path):
    index = build_small(tmp_path / "small.zarr")
    moved = tmp_path / "moved.zarr"
    with connect("local:1") as crew:
        index.path.rename(moved)
        with pytest.raises(
            ClusterError, match=r"1 of 1 workers cannot serve: .* there is no index"
        ):
            crew.admit(index)
        moved.rename(index.path)
        crew.admit(index)
        assert crew.size == 1
