"""The simulated GPU refuses what CUDA refuses, and nothing else."""

from collections.abc import Iterator

import pytest
import torch
from simulated_gpu import real_or_simulated_gpu

CPU = torch.device("cpu")


@pytest.fixture
def there() -> Iterator[torch.Tensor]:
    with real_or_simulated_gpu(2**20) as gpu:
        yield torch.zeros(4, device=gpu)


def test_numbers_are_taken_from_anywhere(there: torch.Tensor) -> None:
    at = torch.tensor([1, 3], device=there.device)
    there[at] = 2.0
    there[:1] = torch.tensor(5.0)
    assert (there + torch.tensor(1.0)).tolist() == [6, 3, 1, 3]


@pytest.mark.parametrize(
    "mix",
    [
        lambda there: there + torch.ones(4),
        lambda there: torch.cat([there, torch.ones(4)]),
        lambda there: there.index_put_((torch.tensor([1, 3]).to(there.device),), torch.ones(2)),
        lambda there: torch.ones(4)[torch.tensor([0]).to(there.device)],
    ],
    ids=["sum", "concatenation", "values", "indices"],
)
def test_arrays_of_two_devices_do_not_mix(there: torch.Tensor, mix) -> None:
    with pytest.raises((RuntimeError, IndexError)):
        mix(there)


def test_indices_may_lie_on_the_processor(there: torch.Tensor) -> None:
    assert there[torch.tensor([0, 2])].tolist() == [0, 0]
    assert torch.ones(2).to(there.device).device.type == there.device.type != CPU.type
