"""Images on their way to devices: in order, complete, on the device that was asked for."""

import pytest
import torch

from patchindex.kernels.streaming import blocks_on, chosen_on

CPU = torch.device("cpu")
GPU = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.mark.parametrize("name", ["cpu", pytest.param("cuda:0", marks=GPU)])
@pytest.mark.parametrize("num_devices", [1, 3])
@pytest.mark.parametrize("num_images", [1, 4, 10, 99])
def test_blocks_come_in_order_and_none_is_lost(
    name: str, num_devices: int, num_images: int
) -> None:
    pixels = torch.arange(10 * 2 * 3 * 3).reshape(10, 2, 3, 3).to(torch.uint8)
    device = torch.device(name)
    blocks = list(blocks_on(pixels, [device] * num_devices, num_images))
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
