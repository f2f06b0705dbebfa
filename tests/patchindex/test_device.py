"""What stays on a device: within the budget, the last used first, images before lists."""

import pickle

import numpy as np
import pytest
import torch

from patchindex import ImageSet
from patchindex.device import CPU, Device, default_device
from patchindex.errors import KernelError

ELSEWHERE = torch.device("meta")  # a device that is not the processor and needs no GPU


def kept(memory: Device, key: str, size: int, *, images: bool = False) -> bool:
    return memory.keep(key, size, lambda: key, images=images) == key


def test_what_was_kept_is_not_loaded_again() -> None:
    memory, loads = Device(memory=10), []
    for _ in range(3):
        assert memory.keep("codes", 4, lambda: loads.append("codes") or "there") == "there"
    assert loads == ["codes"]
    assert memory.used == 4


def test_what_was_not_used_for_longest_makes_way() -> None:
    memory = Device(memory=10)
    assert kept(memory, "3", 4)
    assert kept(memory, "5", 4)
    assert kept(memory, "3", 4)  # used again
    assert kept(memory, "9", 4)
    assert memory.used == 8
    assert memory.keep("3", 4, pytest.fail) == "3"
    assert memory.keep("5", 4, lambda: "loaded anew") == "loaded anew"


def test_what_is_larger_than_the_budget_is_not_loaded_and_drives_nothing_out() -> None:
    memory = Device(memory=10)
    assert kept(memory, "3", 4)
    assert memory.keep("15", 11, pytest.fail) is None
    assert memory.keep("3", 4, pytest.fail) == "3"


def test_lists_do_not_drive_out_images_but_images_do_lists() -> None:
    memory = Device(memory=10)
    assert kept(memory, "lists", 8)
    assert kept(memory, "images", 6, images=True)
    assert memory.used == 6
    assert memory.keep("lists", 8, pytest.fail) is None  # they pass through from now on
    assert kept(memory, "short lists", 4)
    assert kept(memory, "other images", 9, images=True)
    assert memory.used == 9


def test_a_load_that_fails_leaves_no_entry() -> None:
    memory = Device(memory=10)

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
    # bytes: room for the two images of class 1 alone
    images = images.with_device(Device(ELSEWHERE, memory=40))
    assert images.pixels_on(ELSEWHERE).device.type == "cpu"
    assert images.pixels_on(ELSEWHERE, 1).device == ELSEWHERE
    assert images.pixels_on(ELSEWHERE, 0).shape == (4, 1, 4, 4)
    assert images.pixels_on(ELSEWHERE, 0).device.type == "cpu"
    assert images.device.used == 32
    without_memory = images.with_device(Device(ELSEWHERE, memory=0))
    assert without_memory.pixels_on(ELSEWHERE, 1).device.type == "cpu"


def test_states_may_lie_elsewhere_with_the_same_settings() -> None:
    images = ImageSet.from_array(np.zeros((2, 1, 3, 3), dtype=np.uint8))
    device = Device("cuda", memory=18, sharing=[ELSEWHERE, CPU], precision="float32")
    device = images.with_device(device).device
    assert device.place == torch.device("cuda", 0)
    assert device.at(device.place) is device.at(torch.device("cuda")) is device
    other = device.at(ELSEWHERE)
    assert (other.place, other.budget, other.scanning) == (ELSEWHERE, 18, (ELSEWHERE, CPU))
    assert other.precision == "float32"
    assert other.at(device.place) is device
    assert device.at(ELSEWHERE) is other
    assert device.scanning == (device.place,)


def test_a_device_is_pickled_without_what_is_kept_there() -> None:
    device = Device(ELSEWHERE, memory=10, sharing=[ELSEWHERE, CPU], precision="float32")
    assert kept(device, "images", 4)
    copy = pickle.loads(pickle.dumps(device))  # noqa: S301 - our own
    assert (copy.place, copy.budget, copy.scanning) == (ELSEWHERE, 10, (ELSEWHERE, CPU))
    assert copy.used == 0
    assert copy.precision == "float32"


def test_what_is_given_no_device_shares_one_budget() -> None:
    images = [ImageSet.from_array(np.zeros((2, 1, 3, 3), dtype=np.uint8)) for _ in range(2)]
    copy = pickle.loads(pickle.dumps(images[0]))  # noqa: S301 - our own
    devices = [one.device for one in (*images, copy)]
    assert all(device is default_device() for device in devices)


def test_a_processor_keeps_nothing_twice() -> None:
    images = ImageSet.from_array(np.zeros((2, 1, 3, 3), dtype=np.uint8))
    images = images.with_device(Device(memory=10**9))
    assert images.pixels_on(CPU).data_ptr() == images.tensor.data_ptr()
    assert Device().budget == 0


def test_a_negative_budget_is_refused() -> None:
    with pytest.raises(KernelError, match=r"device memory is -1 bytes. Give 0, to keep nothing"):
        Device(memory=-1)


def test_a_precision_that_is_none_is_refused(unchecked: None) -> None:
    with pytest.raises(KernelError, match=r"precision is 'half'\. Give one of auto, float32\."):
        Device(precision="half")
