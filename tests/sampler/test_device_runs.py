"""Whole runs on a simulated GPU: what they leave is what the processor leaves."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from machine_network import machine_network
from reference.brute_search import BruteSearch
from simulated_gpu import simulated_gpu
from small_index import build_small, small_images

from patchindex import PatchIndex
from sampler import ELSMachine
from sampler.attribution.leave_out import LeaveOutConfig, leave_out
from sampler.attribution.nearest_patches import LookupConfig
from sampler.attribution.pixel_query import find_sources
from sampler.attribution.run_folder import RunFolder
from sampler.estimator.query import NeighborSearch
from sampler.results.trace import Trace
from sampler.results.write import write_run
from sampler.run import SamplerConfig, carry_out, plan_run
from sampler.studies.audit import AuditConfig, audit, plan_audit
from sampler.studies.calibrate import CalibrateConfig, calibrate
from sampler.studies.compare import CompareConfig, compare
from sampler.studies.verify import VerifyConfig, plan_verification, verify

RETRIEVAL = SamplerConfig(num=2, steps=2, scales="3", k=16, tail=16)
SUMS = SamplerConfig(num=2, steps=2, scales="3,5", machine="ls")


@pytest.fixture(autouse=True)
def _search_on_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    """The search of an index has tests of its own."""
    search = PatchIndex.search

    def search_there(index, patch_size, signature, windows, k, **settings):
        if isinstance(signature, torch.Tensor):
            signature, settings["longest_list"] = signature.cpu(), settings["longest_list"].cpu()
            if settings["probes"] is not None:
                settings["probes"] = settings["probes"].cpu()
        found = search(index, patch_size, signature, windows.cpu(), k, **settings)
        return found.to(windows.device)

    monkeypatch.setattr(PatchIndex, "search", search_there)


@pytest.fixture
def gpu() -> Iterator[torch.device]:
    if torch.cuda.is_available():
        pytest.skip("the real GPU would be disturbed by a simulated one")
    with simulated_gpu(2**30) as device:
        yield device


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> PatchIndex:
    images = small_images(40, 10)
    return build_small(tmp_path_factory.mktemp("indices") / "small.zarr", images)


@pytest.mark.slow
def test_a_traced_run_and_its_leave_out_check(index, gpu, tmp_path: Path) -> None:
    made = {}
    for device in (torch.device("cpu"), gpu):
        folder = tmp_path / device.type
        folder.mkdir()
        plan = plan_run(index, RETRIEVAL, device=device)
        run = carry_out(plan, trace_path=folder / "tracing")
        assert run.samples.device == device
        write_run(run.result, run.samples, folder, run.trace_path)
        check = leave_out(RunFolder.open(folder), index, LeaveOutConfig(top=2), device)
        made[device.type] = (np.load(folder / "samples.npy"), check, Trace.open(folder))
    (ours, our_check, our_trace), (theirs, check, trace) = made["cuda"], made["cpu"]
    assert run.result.device == "cuda:0 simulated"
    np.testing.assert_allclose(ours, theirs, atol=1e-6)
    assert our_check.result.removed == check.result.removed
    np.testing.assert_allclose(our_check.without, check.without, atol=1e-6)
    np.testing.assert_allclose(our_trace.read("mean"), trace.read("mean"), atol=1e-3)
    np.testing.assert_array_equal(our_trace.source_ids(), trace.source_ids())


def test_a_run_on_the_processor_says_so(index) -> None:
    assert carry_out(plan_run(index, SUMS)).result.device == "cpu"


@pytest.mark.slow
def test_a_verification(index, gpu) -> None:
    config = VerifyConfig(sampling=RETRIEVAL, recall_pixels=4, finals=True)
    ours = verify(plan_verification(index, config, gpu))
    theirs = verify(plan_verification(index, config))
    assert ours.device == "cuda:0 simulated"
    assert ours.finals.r == pytest.approx(theirs.finals.r, abs=1e-6)
    for row, expected in zip(ours.steps, theirs.steps, strict=True):
        for name in ("R2", "rmse", "recall", "effective_sample_size_90", "num_scored"):
            assert getattr(row, name) == pytest.approx(getattr(expected, name), rel=1e-5), name


@pytest.mark.slow
def test_an_audit(index, gpu) -> None:
    config = AuditConfig(sampling=RETRIEVAL, pixels=30)
    ours, theirs = audit(plan_audit(index, config, gpu)), audit(plan_audit(index, config))
    assert ours.device == "cuda:0 simulated"
    for row, expected in zip(ours.steps, theirs.steps, strict=True):
        for name in ("R2", "rmse", "effective_sample_size_90", "num_scored", "unreliable"):
            assert getattr(row, name) == pytest.approx(getattr(expected, name), rel=1e-5), name


def test_a_comparison_with_a_network_that_lives_elsewhere(gpu) -> None:
    images = small_images(40, 8)
    network = machine_network(ELSMachine(images), (3, 5), num_classes=images.num_classes)
    config = CompareConfig(sampling=SUMS, network_steps=(2,))
    ours = compare(network, images, config=config, device=gpu)
    theirs = compare(network, images, config=config)
    for name, found in ours.predicted.items():
        assert found.device == torch.device("cpu")
        torch.testing.assert_close(found, theirs.predicted[name], atol=1e-5, rtol=0)
    torch.testing.assert_close(ours.nearest[2], theirs.nearest[2], atol=0, rtol=0)
    assert ours.result.device == "cuda:0 simulated"


@pytest.mark.parametrize("held_out", [True, False])
def test_a_calibration(gpu, held_out: bool) -> None:
    images = small_images(20, 8)
    network = None if held_out else machine_network(ELSMachine(images), (3, 5))
    config = CalibrateConfig(sampling=SUMS, candidates=(3, 5))
    ours = calibrate(network, images, config=config, device=gpu)
    theirs = calibrate(network, images, config=config)
    torch.testing.assert_close(
        ours.calibration.merit, theirs.calibration.merit, atol=1e-5, rtol=1e-5
    )
    assert ours.calibration.scales() == theirs.calibration.scales()
    assert ours.result.device == "cuda:0 simulated"


@pytest.mark.parametrize("sigma", [0.0, 0.7])
@pytest.mark.parametrize("config", [LookupConfig(), LookupConfig(whole=0, candidates=64, draws=99)])
@pytest.mark.parametrize("boundary", ["zeros", "circular"])
def test_the_sources_of_a_pixel(gpu, sigma: float, config: LookupConfig, boundary: str) -> None:
    images = small_images(6, 8)
    search: NeighborSearch = BruteSearch(images, boundary=boundary)
    state = torch.from_numpy(images.pixels[:1] / np.float32(127.5) - 1).float()
    for pixel in ((0, 3), (4, 4)):
        ours = find_sources(search, state.to(gpu), pixel, 3, sigma=sigma, config=config)
        theirs = find_sources(search, state, pixel, 3, sigma=sigma, config=config)
        assert [source.image for source in ours.sources] == [s.image for s in theirs.sources]
        assert ours.unattributed == pytest.approx(theirs.unattributed)
        assert ours.standard_error == pytest.approx(theirs.standard_error)
