"""The choice of a back end, and that both give machines the same answer."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from patchindex.errors import KernelError
from patchindex.kernels import backend
from patchindex.kernels.backend import VARIABLE, choose_backend

PROGRAM = """
import sys, numpy, torch
from patchindex import ImageSet
from patchindex.kernels import BACKEND
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
