"""Machines travel between processes: what they make there is what they make here."""

import pickle

import pytest
import torch
from small_index import build_small, small_images

from sampler import ELSMachine, ISMachine, LSMachine

IMAGES = small_images(12)


@pytest.mark.parametrize("kind", ["ELS of an index", "ELS", "LS", "IS"])
def test_a_pickled_machine_gives_the_same_posterior(tmp_path, kind):
    make = {
        "ELS of an index": lambda: ELSMachine(
            build_small(tmp_path / "one.zarr", IMAGES, scales=(3,))
        ),
        "ELS": lambda: ELSMachine(IMAGES),
        "LS": lambda: LSMachine(IMAGES),
        "IS": lambda: ISMachine(IMAGES),
    }
    machine = make[kind]()
    xt = torch.randn(1, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    mean = machine.posterior(xt, 0.9, 3).mean
    copy = pickle.loads(pickle.dumps(machine))  # noqa: S301 - our own
    assert torch.equal(copy.posterior(xt, 0.9, 3).mean, mean)
