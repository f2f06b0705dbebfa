"""Where commands compute: their options, their account of it, and a GPU whose memory is full."""

import json
import re
from pathlib import Path
from typing import Any

import click
import pytest
import torch
from click.testing import CliRunner, Result

from cli import devices, sampler_run
from cli.console import Commands
from cli.devices import memory_bytes, open_device, with_device
from cli.options import DEVICE_OPTIONS
from cli.patchindex import main as patchindex
from cli.sampler import main as sampler
from patchindex import PatchIndex, UserError
from patchindex.device import Device

CPU = torch.device("cpu")
FULL = (
    "CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 79.10 GiB of "
    "which 1.25 GiB is free. Including non-PyTorch memory, this process has 77.80 GiB memory in "
    "use. Of the allocated memory 70.00 GiB is allocated by PyTorch."
)


def run(out: Path, *arguments: object) -> Result:
    few = ["--dataset", "sample", "--limit", 8, "--resolution", 8, "--scales", 3, "--num", 1]
    told = ["run", *few, "--steps", 1, "--out", out, *arguments]
    return CliRunner().invoke(sampler, [str(argument) for argument in told])


@pytest.mark.parametrize(
    "command",
    [
        *(
            sampler.commands[name]
            for name in ("run", "verify", "compare", "calibrate", "denoise", "leave-out")
        ),
        patchindex.commands["query"],
    ],
    ids=lambda command: command.name,
)
def test_every_command_that_samples_or_searches_can_be_told_where(command: click.Command) -> None:
    assert {"device", "device_memory", "list_search", "precision"} <= {
        parameter.name for parameter in command.params
    }


def test_a_run_says_where_it_was_computed(tmp_path: Path) -> None:
    assert run(tmp_path, "--device", "cpu").exit_code == 0
    assert json.loads((tmp_path / "run.json").read_text())["device"] == "cpu"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--device", "toaster"], r"^Error: device is 'toaster'\. Give auto, cpu or cuda\.\n"),
        (["--device", "cuda:99"], r"^Error: device cuda:99 was asked for, but torch finds"),
        (["--device-memory", "-1"], r"^Error: device memory is -1 GB\. Give 0, to keep nothing"),
        (["--device-memory", "nan"], r"^Error: device memory is nan GB\. Give 0"),
        (["--precision", "half"], r"^Error: precision is 'half'\. Give one of auto, float32\.\n"),
        (["--device-memory", "lots"], r"Invalid value for '--device-memory'"),
    ],
)
def test_mistakes_end_in_one_line_before_any_work(tmp_path: Path, arguments, message) -> None:
    result = run(tmp_path / "out", *arguments)
    assert result.exit_code == 1
    assert re.search(message, result.stderr, re.M)
    assert not (tmp_path / "out").exists()


def test_device_memory_is_in_gigabytes() -> None:
    assert memory_bytes(0.5) == 500_000_000
    assert memory_bytes(0) == 0
    with pytest.raises(UserError, match=r"device memory is inf GB\. Give 0, to keep nothing"):
        memory_bytes(float("inf"))


def test_the_command_is_given_the_device_with_its_memory() -> None:
    told = []

    @with_device
    def work(*, device: Device, num: int) -> None:
        told.append((device.place, device.budget, device.precision, num))

    options = [*DEVICE_OPTIONS, click.Option(["--num"], type=int)]
    command = click.Command("work", callback=work, params=options)

    arguments = ["--device", "cpu", "--device-memory", "1.5", "--num", "3"]
    for precision in ([], ["--precision", "float32"]):
        assert CliRunner().invoke(command, [*arguments, *precision]).exit_code == 0
    assert told == [(CPU, 1_500_000_000, name, 3) for name in ("auto", "float32")]


def test_auto_takes_no_gpu_that_our_kernels_cannot_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert open_device("auto", kernels=True).place == torch.device("cuda:0")
    monkeypatch.setattr(devices, "has_triton", lambda: False)
    assert open_device("auto", kernels=True).place == CPU
    assert open_device("auto").place == torch.device("cuda:0")


def test_a_gpu_has_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert open_device("cuda:1").place == torch.device("cuda:1")
    assert open_device("cuda:1").scanning == (torch.device("cuda:1"),)


def test_cuda_without_a_number_shares_scans_among_all_gpus(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    device = open_device("cuda")
    assert device.place == torch.device("cuda:0")
    assert device.scanning == (torch.device("cuda:0"), torch.device("cuda:1"))


def test_a_full_gpu_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fill(*_: object, **__: object) -> None:
        raise torch.cuda.OutOfMemoryError(FULL)

    monkeypatch.setattr(sampler_run, "carry_out", fill)
    result = run(tmp_path)
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1] == (
        "Error: the GPU's memory is full (CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 "
        "has a total capacity of 79.10 GiB of which 1.25 GiB is free). Lower --device-memory, so "
        "that less stays there; then the number of samples (--num), where there is one; or give "
        "--device cpu."
    )
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    "message", ["CUDA error: out of memory\nCompile with DSA", "Error: cudaMalloc: out of memory"]
)
def test_so_is_one_that_is_too_full_to_begin(tmp_path: Path, monkeypatch, message: str) -> None:
    def fill(*_: object, **__: object) -> None:
        raise RuntimeError(message)

    monkeypatch.setattr(sampler_run, "carry_out", fill)
    result = run(tmp_path)
    assert result.exit_code == 1
    first_line = message.splitlines()[0]
    assert f"Error: the GPU's memory is full ({first_line}). Lower --device" in result.stderr


def test_other_errors_of_torch_are_bugs_and_show_their_traceback() -> None:
    @click.group(cls=Commands)
    def group() -> None:
        pass

    @group.command()
    def broken() -> None:
        raise RuntimeError("a bug")

    assert isinstance(CliRunner().invoke(group, ["broken"]).exception, RuntimeError)


@pytest.mark.parametrize("kind", ["auto", "faiss", "triton"])
def test_an_index_is_searched_as_the_command_line_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    path = tmp_path / "index.zarr"
    few = ["--dataset", "sample", "--limit", "8", "--resolution", "8", "--scales", "3"]
    assert CliRunner().invoke(patchindex, ["build", *few, "--out", str(path)]).exit_code == 0
    asked, opened = [], PatchIndex.open

    def noted(path: Path, *, list_search: str = "unasked", **settings: Any) -> PatchIndex:
        asked.append(list_search)
        return opened(path, list_search=list_search, **settings)

    monkeypatch.setattr(PatchIndex, "open", noted)
    options = ["--index", str(path), "--num", "1", "--steps", "1", "--retrieve"]
    told = CliRunner().invoke(
        sampler, ["run", *options, "--out", str(tmp_path / "run"), "--list-search", kind]
    )
    assert told.exit_code == 0, told.output
    assert asked == [kind]


@pytest.mark.parametrize("images", ["--index=no.zarr", "--dataset=sample"])
@pytest.mark.usefixtures("unchecked")
def test_an_unknown_list_search_is_refused(tmp_path: Path, images: str) -> None:
    told = CliRunner().invoke(
        sampler, ["run", images, "--list-search", "toaster", "--out", str(tmp_path / "run")]
    )
    assert told.exit_code == 1
    expected = "Error: list search is 'toaster'. Give one of these: auto, faiss, triton.\n"
    assert told.output == expected
