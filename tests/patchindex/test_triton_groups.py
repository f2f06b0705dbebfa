"""Groups of pairs for several parts of images at once, in Triton's interpreter without a GPU."""

import pytest
import torch
from reference.samples import Case

from patchindex import PatchGeometry
from patchindex.kernels import GroupScan, PairGroups, torch_backend

triton_scan = pytest.importorskip("patchindex.kernels.triton_scan")

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def scans_of(case: Case) -> list[GroupScan]:
    """The interior of the images, and the pixels at their lower edge."""
    height, width = case.height, case.width
    geometry = PatchGeometry(height=height, width=width, patch_size=case.patch_size)
    strip = PatchGeometry(height=2, width=width, patch_size=3)
    inside = PairGroups(
        images=torch.tensor([[0, 2], [3, 1]]),
        image_shares=torch.tensor([[0, 1], [1, 0]], dtype=torch.int32),
        displacement_shares=torch.arange(5 * 7, dtype=torch.int32).reshape(5, 7) % 2,
    )
    edge = PairGroups(
        images=torch.tensor([[1, 2, 0], [4, 3, 5]]),
        image_shares=torch.tensor([[0, 0, 0], [0, 0, 0]], dtype=torch.int32),
        displacement_shares=torch.zeros(1, 7, dtype=torch.int32),
    )
    return [
        GroupScan(
            rows=slice(0, height), cols=slice(0, width), geometry=geometry,
            own_rows=range(1, height - 1), own_cols=range(1, width - 1), groups=inside,
        ),
        GroupScan(
            rows=slice(height - 2, height), cols=slice(0, width), geometry=strip,
            own_rows=range(1, 2), own_cols=range(1, width - 1), groups=edge,
        ),
    ]  # fmt: skip


@pytest.mark.parametrize("limit", [None, 1], ids=["at once", "one group at a time"])
def test_scans_side_by_side_equal_those_of_the_processor(
    limit: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = Case(6, 2, 6, 7, 3, "zeros", 0.6, seed=11)
    images, y = torch.from_numpy(case.images()), torch.from_numpy(case.states(2)).float()
    monkeypatch.setattr(triton_scan, "IMAGES_PER_PROGRAM", 2)
    if limit:
        monkeypatch.setattr(triton_scan, "SUMS_BYTES", limit)
    expected = torch_backend.scan_groups(images, y, 0.8, scans_of(case))
    there = [
        GroupScan(**{name: getattr(scan, name) for name in GroupScan.__slots__ if name != "groups"},
                  groups=scan.groups.to(torch.device(DEVICE)))
        for scan in scans_of(case)
    ]  # fmt: skip
    found = triton_scan.scan_groups(images.to(DEVICE), y.to(DEVICE), 0.8, there)
    assert found.sum_w.shape == (2, 2 * (4 * 5 + 5))
    ratio = (found.log_max.cpu() - expected.log_max).exp()
    torch.testing.assert_close(found.sum_w.cpu() * ratio, expected.sum_w, rtol=1e-5, atol=0)
    torch.testing.assert_close(found.sum_w2.cpu() * ratio**2, expected.sum_w2, rtol=1e-5, atol=0)
    torch.testing.assert_close(
        found.sum_wc.cpu() * ratio[..., None], expected.sum_wc, rtol=1e-4, atol=1e-5
    )
