"""Fixtures of all tests: a seeded generator, an empty home, a run without shape checks."""

import os
from collections.abc import Generator, Iterator
from pathlib import Path

import jaxtyping
import numpy as np
import pytest
import torch

os.environ["MPLBACKEND"] = "Agg"  # before anything imports matplotlib
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command lines do, see cli/__init__.py
if not torch.cuda.is_available():  # before anything imports Triton
    os.environ.setdefault("TRITON_INTERPRET", "1")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A report that can be sent between processes: names of files need not be UTF-8."""
    report = yield
    report.sections = [
        (name, text.encode("utf-8", "backslashreplace").decode()) for name, text in report.sections
    ]
    return report


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home folder, so that no test sees or changes the user's own."""
    folder = tmp_path / "home"
    monkeypatch.setenv("PATCHINDEX_HOME", str(folder))
    monkeypatch.delenv("PATCHINDEX_DATA", raising=False)
    return folder


@pytest.fixture(autouse=True)
def empty_device() -> None:
    """A default device on which nothing stays yet, so that no test sees what others left there."""
    from patchindex.device import default_device  # noqa: PLC0415 - after the hook that checks types

    default_device.cache_clear()


@pytest.fixture
def unchecked() -> Iterator[None]:
    """As in a user's run, no annotation is checked: wrong input reaches our own messages."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
