"""How much a step of retrieval asks of a GPU: launches, and waits of the host, are what it takes.

A launch takes a host some 5 microseconds, and a step has few pixels: it lasts as long as the host
needs to ask for it. So the counts have limits.
"""

import pytest
import torch
from gpu_counts import GpuCounts, counting_gpu
from small_index import build_small, small_images

from patchindex import PatchIndex
from sampler import ELSMachine

# of all kernels, torch's and ours, and of waits: for first states, and for those of a next step
LIMITS = {3: ((275, 6), (290, 10)), 15: ((330, 9), (290, 10))}


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> PatchIndex:
    path = tmp_path_factory.mktemp("indices") / "small.zarr"
    return build_small(path, small_images(60, 28), scales=(3, 15))


def states(index: PatchIndex, alpha_bar: float) -> torch.Tensor:
    x0 = torch.from_numpy(index.images.pixels[:2] / 127.5 - 1).float()
    noise = torch.randn(x0.shape, generator=torch.Generator().manual_seed(0))
    return alpha_bar**0.5 * x0 + (1 - alpha_bar) ** 0.5 * noise


@pytest.mark.skipif(torch.cuda.is_available(), reason="a simulated GPU would disturb the real one")
@pytest.mark.parametrize("patch_size", LIMITS)
def test_a_step_takes_few_launches_and_waits(index: PatchIndex, patch_size: int) -> None:
    pytest.importorskip("triton")
    machine = ELSMachine(index, k=16, tail=2)
    found: list[GpuCounts] = []
    known = None
    for alpha_bar in (0.3, 0.7):
        with counting_gpu() as (gpu, counts):
            xt = states(index, alpha_bar).to(gpu)
            posterior = machine.posterior(xt, alpha_bar, patch_size, known=known)
        known = posterior.head
        found.append(counts)
        assert counts.total.launches >= 10, "a step without a search, or without draws"
    for counts, (kernels, waits) in zip(found, LIMITS[patch_size], strict=True):
        print(f"P = {patch_size}: {counts.total}")  # noqa: T201 - docs/gpu.md has them
        assert counts.total.kernels + counts.total.launches <= kernels, counts.stages
        assert counts.total.waits <= waits
