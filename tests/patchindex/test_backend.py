"""The choice of a back end, and that both give machines the same answer."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from patchindex.errors import KernelError
from patchindex.kernels import backend
from patchindex.kernels.backend import VARIABLE, choose_backend, on_device

PROGRAM = """
import sys, numpy, torch
from patchindex import ImageSet
from patchindex.kernels.backend import BACKEND
from sampler import ELSMachine
states = torch.from_numpy(numpy.random.default_rng(0).standard_normal((1, 1, 32, 32), "f4"))
found = ELSMachine(ImageSet.load("sample", limit=12)).posterior(states, 0.5, 7)
numpy.savez(sys.argv[1], mean=found.mean, log_mass=found.log_mass, backend=BACKEND)
"""


def test_the_environment_can_force_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "torch")
    assert choose_backend() == "torch"


def test_an_unknown_back_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "fortran")
    with pytest.raises(
        KernelError, match=r"PATCHINDEX_KERNELS is 'fortran'. Give torch, native or"
    ):
        choose_backend()


def test_without_the_extension_torch_serves_and_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(backend, "find_spec", lambda _: None)
    monkeypatch.delenv(VARIABLE, raising=False)
    with caplog.at_level(logging.WARNING):
        assert choose_backend() == "torch"
    assert "install a C++ compiler and install patchindex again" in caplog.text
    monkeypatch.setenv(VARIABLE, "native")
    with pytest.raises(KernelError, match=r"the C\+\+ kernels were not built. Install a C\+\+"):
        choose_backend()


@pytest.mark.slow
def test_both_back_ends_give_the_same_posterior(tmp_path: Path) -> None:
    if choose_backend() != "native":
        pytest.skip("the C++ kernels were not built")
    found = {}
    for name in ("torch", "native"):
        out = tmp_path / f"{name}.npz"
        command = [sys.executable, "-c", PROGRAM, str(out)]
        subprocess.run(command, check=True, env=os.environ | {VARIABLE: name})
        found[name] = np.load(out)
        assert str(found[name]["backend"]) == name
    np.testing.assert_allclose(found["native"]["mean"], found["torch"]["mean"], atol=2e-5)
    np.testing.assert_allclose(found["native"]["log_mass"], found["torch"]["log_mass"], atol=2e-3)


TRITON_PROGRAM = """
import sys, tempfile, numpy, torch
sys.path.insert(0, sys.argv[2])
from small_index import build_small, small_images
from patchindex import ImageSet, PatchGeometry
from patchindex.kernels.backend import BACKEND
from patchindex.kernels.tiles import ScanTile, keep_tile
from sampler import ELSMachine
# as little as the interpreter can do: 34 images, so that 33 can be drawn for a tail
images = ImageSet.from_array(small_images(34, 4).pixels[:, :, :3].copy())
keep_tile(ScanTile(3, 1), PatchGeometry(height=3, width=4, patch_size=3), 1, torch.device("cpu"))
states = torch.from_numpy(numpy.random.default_rng(0).standard_normal((1, 1, 3, 4), "f4"))
with tempfile.TemporaryDirectory() as folder:
    index = build_small(folder + "/i.zarr", images, scales=(3,))
    few = ELSMachine(index, k=8, tail=32).posterior(states, 0.5, 3)
    whole = ELSMachine(index, k=8, tail=352).posterior(states, 0.5, 3)
numpy.savez(sys.argv[1], few=few.mean, whole=whole.mean, backend=BACKEND)
"""


@pytest.mark.slow
def test_triton_gives_the_posterior_of_the_processor_from_end_to_end(tmp_path: Path) -> None:
    pytest.importorskip("triton")
    found = {}
    for name in (choose_backend(), "triton"):
        out = tmp_path / f"{name}.npz"
        command = [sys.executable, "-c", TRITON_PROGRAM, str(out), str(Path(__file__).parents[1])]
        subprocess.run(
            command, check=True, env=os.environ | {VARIABLE: name, "TRITON_INTERPRET": "1"}
        )
        found[name] = np.load(out)
    assert str(found["triton"]["backend"]) == "triton"
    expected = found[choose_backend()]
    for machine in ("few", "whole"):  # the tails are of single patches, of whole images
        np.testing.assert_allclose(found["triton"][machine], expected[machine], atol=1e-4)


def test_triton_on_the_processor_needs_its_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "triton")
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    with pytest.raises(KernelError, match=r"on the processor in its interpreter only\. Install"):
        choose_backend()


def test_states_where_no_kernel_computes_are_refused() -> None:
    with pytest.raises(KernelError, match=r"on meta, where none of our kernels.*Move them to"):
        on_device(torch.zeros(1, device="meta"))


@pytest.mark.parametrize(("number", "serves"), [("3.3.1", False), ("3.4.0", True), ("4.0", True)])
def test_a_triton_too_old_for_the_kernels_does_not_serve(
    monkeypatch: pytest.MonkeyPatch, number: str, serves: bool
) -> None:
    monkeypatch.setattr(backend, "version", lambda _: number)
    assert backend.has_triton() == serves
