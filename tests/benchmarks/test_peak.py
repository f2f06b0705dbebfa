"""What one core can do is measured by a program that the benchmark compiles."""

import shutil

import click
import numpy as np
import pytest

from benchmarks.peak import Peak


@pytest.mark.skipif(shutil.which("c++") is None, reason="no C++ compiler is here")
def test_rates_are_those_of_some_machine() -> None:
    peak = Peak.compiled("portable")
    assert 1e8 < peak.multiply_adds_per_second() < 1e12
    assert 1e5 < peak.random_lines_per_second(np.zeros((4, 1, 64, 64), np.uint8)) < 1e11


@pytest.mark.skipif(shutil.which("c++") is None, reason="no C++ compiler is here")
def test_less_than_a_cache_line_is_refused() -> None:
    with pytest.raises(click.ClickException, match=r"16 bytes are given\. Give 64 or more"):
        Peak.compiled("portable").random_lines_per_second(np.zeros((1, 1, 4, 4), np.uint8))


def test_without_a_compiler_one_line_says_what_to_install(monkeypatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(click.ClickException, match=r"no C\+\+ compiler is here.*Install g\+\+"):
        Peak.compiled("portable")
