"""Images on their way to a device: in order, complete, on the one that was asked for."""

from types import SimpleNamespace

import pytest
import torch

from patchindex import PatchGeometry
from patchindex import device as streaming
from patchindex.device import blocks_on, chosen_on

CPU = torch.device("cpu")
GPU = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.mark.parametrize("name", ["cpu", pytest.param("cuda:0", marks=GPU)])
@pytest.mark.parametrize("num_images", [1, 4, 10, 99])
def test_blocks_come_in_order_and_none_is_lost(name: str, num_images: int) -> None:
    pixels = torch.arange(10 * 2 * 3 * 3).reshape(10, 2, 3, 3).to(torch.uint8)
    device = torch.device(name)
    blocks = list(blocks_on(pixels, device, num_images))
    assert all(block.device == device and len(block) <= num_images for block in blocks)
    assert torch.cat(blocks).cpu().equal(pixels)


@pytest.mark.parametrize("name", ["cpu", pytest.param("cuda:0", marks=GPU)])
def test_chosen_images_come_in_the_order_of_their_numbers(name: str) -> None:
    pixels = torch.arange(5, dtype=torch.uint8)[:, None, None, None].expand(5, 1, 2, 2)
    device = torch.device(name)
    for source in (pixels, pixels.to(device)):
        chosen = chosen_on(source, torch.tensor([4, 0, 0]).to(device), device)
        assert chosen.device == device
        assert chosen[:, 0, 0, 0].tolist() == [4, 0, 0]


def test_a_host_ahead_of_its_device_waits_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else blocks pile up in its memory, and in pinned memory of the host."""
    steps = []

    class Come:
        def __init__(self, block: torch.Tensor, device: torch.device) -> None:
            self.number = int(block)
            steps.append(f"copy {self.number}")

        def tensor(self) -> SimpleNamespace:
            wait = SimpleNamespace(synchronize=lambda: steps.append(f"wait {self.number}"))
            return SimpleNamespace(is_cuda=True, device=wait)

    monkeypatch.setattr(streaming, "PendingCopy", Come)
    monkeypatch.setattr(
        torch.cuda, "current_stream", lambda wait: SimpleNamespace(record_event=lambda: wait)
    )
    pixels = torch.arange(9, dtype=torch.uint8)[:, None, None, None]
    for _ in blocks_on(pixels, CPU, 1):
        pass
    copies = [step for step in steps if step.startswith("copy")]
    assert copies == [f"copy {number}" for number in range(9)]
    for number in range(3, 9):
        before = steps[: steps.index(f"copy {number}")]
        assert f"wait {number - 3}" in before


def test_a_device_has_all_its_work_before_a_record_is_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A record waits for its device: made at once, it would keep the device idle after that."""
    triton_scan = pytest.importorskip("patchindex.kernels.triton_scan")
    steps, record = [], triton_scan.as_record

    def launch(*_: object, **__: object) -> torch.Tensor:
        steps.append("launch")
        return torch.ones(4, 1, 1, 1, 3, 3)

    def as_record(*args: object) -> object:
        steps.append("record")
        return record(*args)

    monkeypatch.setattr(triton_scan, "launch", launch)
    monkeypatch.setattr(triton_scan, "as_record", as_record)
    monkeypatch.setattr(triton_scan, "IMAGES_PER_PROGRAM", 2)
    monkeypatch.setattr(triton_scan, "BLOCK_BYTES", 1)  # one program to a launch
    geometry = PatchGeometry(height=3, width=3, patch_size=3)
    images, state = torch.zeros(4, 1, 3, 3, dtype=torch.uint8), torch.zeros(1, 1, 3, 3)
    triton_scan.exact_scan(images, state, 1.0, geometry)
    assert steps == ["launch", "launch", "record", "record"]
