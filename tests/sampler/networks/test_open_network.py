"""Networks by what a user calls them."""

import sys
from pathlib import Path

import pytest
import torch

from patchindex import UserError
from sampler.errors import NetworkError
from sampler.networks import open_network


@pytest.fixture
def module(tmp_path: Path, monkeypatch) -> str:
    """The name of a module in the current folder."""
    (tmp_path / "her_networks.py").write_text(
        "import torch\n"
        "from sampler.networks import DataPredictor\n"
        "def shrink():\n"
        "    return lambda y, sigma: y / (1 + sigma**2)\n"
        "def predictor():\n"
        "    return DataPredictor(torch.nn.Identity(), name='hers')\n"
        "def module():\n"
        "    return torch.nn.Identity()\n"
        "def needs(path):\n"
        "    return shrink()\n"
        "def lazy():\n"
        "    import beside\n"
        "    return beside.answer\n"
        "class Answer:\n"
        "    def __call__(self, y, sigma):\n"
        "        return y / (1 + sigma**2)\n"
        "answer = Answer()\n"
        "number = 3\n"
    )
    (tmp_path / "beside.py").write_text("def answer(y, sigma):\n    return y / (1 + sigma**2)\n")
    (tmp_path / "broken.py").write_text("def f(:\n")
    monkeypatch.chdir(tmp_path)
    yield "her_networks"
    for name in ("her_networks", "beside", "broken"):
        sys.modules.pop(name, None)


def test_a_function_of_the_users_own_makes_a_denoiser(module) -> None:
    y = torch.ones(2, 1, 4, 4)
    for name in ("shrink", "lazy", "answer"):
        torch.testing.assert_close(open_network(f"python:{module}:{name}")(y, 2.0), y / 5)
    assert open_network(f"python:{module}:predictor").name == "hers"
    assert str(Path.cwd()) not in sys.path


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("python:her_networks", r"names no function. Give python:MODULE:FUNCTION, such as"),
        ("python:", r"network 'python:' names nothing. Give one of NAME\|FILE"),
        ("python:no_such_module:f", r"no_such_module cannot be imported \(ModuleNotFoundError: No"),
        ("python:her_networks:lacking", r"module her_networks has no lacking. Give a function"),
        (
            "python:her_networks:module",
            r"returned a Identity, which is no denoiser. Return a Noise",
        ),
        (
            "python:her_networks:needs",
            r"her_networks:needs\(\) failed \(TypeError: needs\(\) missing",
        ),
        ("python:broken:f", r"module broken cannot be imported \(SyntaxError"),
        ("python:.x:f", r"module .x cannot be imported \(TypeError"),
        ("~nobody_here/x", r"is neither a file nor bundled"),
        ("python:her_networks:number", r"returned a int, which is no denoiser"),
        ("no such thing", r"is neither a file nor bundled .*Give a .safetensors file, the folder"),
        ("odd:thing", r"network 'odd:thing' is neither a file nor bundled"),
    ],
)
def test_what_is_no_network_is_told_in_one_line(module, spec, message) -> None:
    with pytest.raises(NetworkError, match=message) as told:
        open_network(spec)
    assert isinstance(told.value, UserError)
    assert "\n" not in str(told.value)
