"""What stays on a device: within the budget, the last used first, images before lists."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from patchindex import ImageSet, devices
from patchindex.devices import DeviceMemory, images_on, memory_of, set_device_memory
from patchindex.errors import KernelError

ELSEWHERE = torch.device("meta")  # a device that is not the processor and needs no GPU


@pytest.fixture(autouse=True)
def _budgets() -> Iterator[None]:
    yield
    devices._memories.clear()
    devices._budgets.clear()


def kept(memory: DeviceMemory, key: str, size: int, *, images: bool = False) -> bool:
    return memory.keep(key, size, lambda: key, images=images) == key


def test_what_was_kept_is_not_loaded_again() -> None:
    memory, loads = DeviceMemory(10), []
    for _ in range(3):
        assert memory.keep("codes", 4, lambda: loads.append("codes") or "there") == "there"
    assert loads == ["codes"]
    assert memory.used == 4


def test_what_was_not_used_for_longest_makes_way() -> None:
    memory = DeviceMemory(10)
    assert kept(memory, "3", 4)
    assert kept(memory, "5", 4)
    assert kept(memory, "3", 4)  # used again
    assert kept(memory, "9", 4)
    assert memory.used == 8
    assert memory.keep("3", 4, pytest.fail) == "3"
    assert memory.keep("5", 4, lambda: "loaded anew") == "loaded anew"


def test_what_is_larger_than_the_budget_is_not_loaded_and_drives_nothing_out() -> None:
    memory = DeviceMemory(10)
    assert kept(memory, "3", 4)
    assert memory.keep("15", 11, pytest.fail) is None
    assert memory.keep("3", 4, pytest.fail) == "3"


def test_lists_do_not_drive_out_images_but_images_do_lists() -> None:
    memory = DeviceMemory(10)
    assert kept(memory, "lists", 8)
    assert kept(memory, "images", 6, images=True)
    assert memory.used == 6
    assert memory.keep("lists", 8, pytest.fail) is None  # they pass through from now on
    assert kept(memory, "short lists", 4)
    assert kept(memory, "other images", 9, images=True)
    assert memory.used == 9


def test_a_load_that_fails_leaves_no_entry() -> None:
    memory = DeviceMemory(10)

    def fail() -> str:
        raise torch.cuda.OutOfMemoryError

    with pytest.raises(torch.cuda.OutOfMemoryError):
        memory.keep("images", 4, fail)
    assert memory.used == 0
    assert kept(memory, "images", 4)


def test_images_stay_on_a_device_within_the_budget_and_else_on_the_host() -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (6, 1, 4, 4), dtype=np.uint8)
    images = ImageSet.from_array(pixels, [0, 1, 0, 1, 0, 0])
    set_device_memory(40)  # bytes: room for the two images of class 1 alone
    assert images_on(images, ELSEWHERE).device.type == "cpu"
    assert images_on(images, ELSEWHERE, 1).device == ELSEWHERE
    assert images_on(images, ELSEWHERE, 0).shape == (4, 1, 4, 4)
    assert images_on(images, ELSEWHERE, 0).device.type == "cpu"
    assert memory_of(ELSEWHERE).used == 32
    set_device_memory(0)
    assert images_on(images, ELSEWHERE, 1).device.type == "cpu"


def test_a_processor_keeps_nothing_twice() -> None:
    images = ImageSet.from_array(np.zeros((2, 1, 3, 3), dtype=np.uint8))
    set_device_memory(10**9)
    assert images_on(images, torch.device("cpu")).data_ptr() == images.tensor.data_ptr()


def test_a_negative_budget_is_refused() -> None:
    with pytest.raises(KernelError, match=r"device memory is -1 bytes. Give 0, to keep nothing"):
        set_device_memory(-1)
