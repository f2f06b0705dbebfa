"""`sampler train` end to end on real images, killed, interrupted, and asked for what cannot be."""

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from interruptible import start_interruptible

import cli.console
from cli.devices import open_device
from cli.sampler import main
from patchindex import ImageSet, UserError
from sampler.networks import load_network
from sampler.training.checkpoint import CHECKPOINT

SHORT = {
    "--dataset": "sample", "--limit": 24, "--resolution": 8, "--batch-size": 4,
    "--gradient-steps": 6, "--save-every": 2, "--precision": "float32", "--threads": 1,
    "--device": "cpu",
}  # fmt: skip

SAMPLER = "from cli.sampler import main; main()"


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def command(out: Path | None, *flags: str, **changes: object) -> list[str]:
    options = SHORT | {"--out": out}
    options |= {f"--{name.replace('_', '-')}": value for name, value in changes.items()}
    given = [str(word) for option in options.items() for word in option if option[1] is not None]
    return ["train", *given, *flags]


def invoke(out: Path | None, *flags: str, **changes: object) -> Result:
    return CliRunner().invoke(main, command(out, *flags, **changes))


def test_training_tells_what_it_made_and_leaves_three_files(tmp_path: Path) -> None:
    out = tmp_path / "runs" / "first"
    result = invoke(out, "--conditional", "--half", padding="circular", seed=3)
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in out.iterdir()) == [
        "loss.png", "metrics.jsonl", "network.json", "network.safetensors",
    ]  # fmt: skip
    last, facts, where = result.stdout.splitlines()
    # the mean of all steps, as the facts say; a cosine's rate before its last step
    assert re.fullmatch(r"step 6 of 6: loss \d\.\d{4}, learning rate 0\.000134, \d+ s", last)
    assert re.findall(r"loss \d\.\d{4}", last) == re.findall(r"loss \d\.\d{4}", facts)
    (line,) = (out / "metrics.jsonl").read_text().splitlines()
    assert json.loads(line)["step"] == 6
    assert re.fullmatch(
        r"253,441 parameters, receptive field 8x8, loss \d\.\d{4}, \d+ s", facts
    )  # fmt: skip
    assert where == str(out / "network.safetensors")
    assert "train" not in result.stderr.split()  # short work tells of nothing but its end
    account = json.loads((out / "network.json").read_text())
    training, network = account["training"], account["network"]
    assert (training["steps"], training["batch_size"], training["seed"]) == (6, 4, 3)
    assert (training["learning_rate"], training["decay"]) == (2e-3, "cosine")  # the recipe's
    assert (network["padding"], network["num_classes"]) == ("circular", 10)
    assert account["dataset"]["num_images"] == 24
    images = ImageSet.load("sample", limit=24, resolution=8)
    assert account["dataset"]["sha256"] == images.sha256
    found = load_network(out / "network.safetensors").module.state_dict()
    assert all(value.equal(value.half().float()) for value in found.values())


def test_the_folder_is_named_after_what_is_trained(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = invoke(None, architecture="unet", gradient_steps=1)
    assert result.exit_code == 0, result.output
    assert Path(result.stdout.splitlines()[-1]).parent == Path("runs/sample-unet-zeros-small")


def test_a_complete_network_is_told_and_another_one_refused(tmp_path: Path) -> None:
    assert invoke(tmp_path, gradient_steps=1).exit_code == 0
    before = (tmp_path / "network.safetensors").read_bytes()
    again = invoke(tmp_path, gradient_steps=1)
    assert again.exit_code == 0
    assert "is complete already; nothing to do" in again.stderr
    assert again.stdout.splitlines() == [str(tmp_path / "network.safetensors")]
    other = invoke(tmp_path, gradient_steps=1, seed=1)
    assert other.exit_code == 1
    assert "already holds another network. Give another --out, or --overwrite" in other.stderr
    assert (tmp_path / "network.safetensors").read_bytes() == before
    assert invoke(tmp_path, "--overwrite", gradient_steps=1, seed=1).exit_code == 0
    assert (tmp_path / "network.safetensors").read_bytes() != before


@pytest.fixture(scope="module")
def whole_weights(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Of 120 steps that nothing interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    assert invoke(folder, gradient_steps=120, save_every=40).exit_code == 0
    return (folder / "network.safetensors").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_signalled_training_is_finished_by_the_same_command(
    tmp_path: Path, whole_weights: bytes, number: signal.Signals
) -> None:
    # a signal saves what a killed process must have saved before
    settings = {"gradient_steps": 120, "save_every": 40 if number == signal.SIGKILL else 1000}
    process = start_interruptible(
        [sys.executable, "-c", SAMPLER, *command(tmp_path, **settings)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith("step 50 of 120: loss ")
    process.send_signal(number)
    _, told = process.communicate()
    assert CHECKPOINT in [path.name for path in tmp_path.iterdir()]
    begun = 40
    if number == signal.SIGKILL:
        assert process.returncode == -signal.SIGKILL
    else:
        assert process.returncode == 128 + number
        stopped = re.fullmatch(
            rf"Stopped after step (\d+) of 120; checkpoint saved in {tmp_path}; the same command "
            "goes on from there.",
            told.splitlines()[-1],
        )
        assert stopped is not None, told
        begun = int(stopped[1])
    resumed = invoke(tmp_path, **settings)
    assert resumed.exit_code == 0, resumed.output
    found = re.search(r"going on from step (\d+) of 120", resumed.stderr)
    assert found is not None
    assert int(found[1]) % 40 == 0 if number == signal.SIGKILL else int(found[1]) == begun
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "loss.png", "metrics.jsonl", "network.json", "network.safetensors",
    ]  # fmt: skip
    assert (tmp_path / "network.safetensors").read_bytes() == whole_weights
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [50, 100, 120]


def test_a_signal_before_the_first_step_keeps_nothing_and_says_so(
    tmp_path: Path, monkeypatch
) -> None:
    def interrupt(self: object, stage: str, _done: int, _total: int) -> None:
        if stage == "train":  # and not while images are read
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(cli.console.StageLines, "__call__", interrupt)
    before = signal.getsignal(signal.SIGTERM)
    result = invoke(tmp_path)
    assert result.exit_code == 143
    assert result.stderr.splitlines()[-1] == (
        "Stopped before the first step: nothing was trained yet, and nothing is kept."
    )
    assert not [path for path in tmp_path.iterdir() if path.is_file()]
    assert signal.getsignal(signal.SIGTERM) is before


def test_ctrl_c_while_images_are_loaded_is_just_told(tmp_path: Path, monkeypatch) -> None:
    def interrupt(*_args: object, **_options: object) -> ImageSet:
        raise KeyboardInterrupt

    monkeypatch.setattr(ImageSet, "load", interrupt)
    result = invoke(tmp_path / "out")
    assert result.exit_code == 130
    assert result.stderr.splitlines() == ["", "Interrupted."]
    assert not (tmp_path / "out").exists()


def test_divergence_is_one_line_and_leaves_the_checkpoint(tmp_path: Path) -> None:
    result = invoke(tmp_path, learning_rate=1e9, save_every=1)
    assert result.exit_code == 1
    (error,) = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert re.search(r"training diverged: .* The checkpoint of step \d in .* is kept\. Give", error)
    left = sorted(path.name for path in tmp_path.iterdir() if path.is_file())
    assert left == [CHECKPOINT, "metrics.jsonl"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dataset": "npz:plain.npz"}, "have no labels to train a conditional network with"),
        ({"limit": 3}, "has 3 images, fewer than a batch of 4. Give a --batch-size of at most 3"),
        (
            {"architecture": "vit"},
            "architecture is 'vit'. Give one of resnet, unet, unet_attention",
        ),
        ({"preset": "huge"}, "preset is 'huge'. Give one of small, paper"),
        ({"padding": "reflect"}, "padding is 'reflect'. Give one of zeros, circular"),
        (
            {"architecture": "unet", "resolution": 10},
            "cannot be halved 2 times, .* --resolution",
        ),
        ({"precision": "half"}, "precision is 'half'. Give one of auto, float32, bfloat16"),
        ({"device": "tpu"}, "device is 'tpu'. Give auto, cpu or cuda"),
        ({"gradient_steps": 0}, "steps is 0. Give at least 1"),
        ({"batch_size": 0}, "batch_size is 0. Give at least 1"),
        ({"save_every": 0}, "save_every is 0. Give at least 1"),
        ({"gradient_steps": -5}, "steps is -5. Give at least 1"),
        ({"learning_rate": "nan"}, "learning_rate is nan. Give a number above zero"),
        ({"learning_rate": -1}, "learning_rate is -1.0. Give a number above zero"),
        ({"learning_rate": 1e39}, r"learning_rate is 1e\+39. Give .* at most 1e\+30"),
        ({"seed": 10**24}, "seed is 1000000000000000000000000. Give at most"),
        ({"learning_rate": 0}, "learning_rate is 0.0. Give a number above zero"),
        ({"seed": -1}, "seed is -1. Give"),
        ({"threads": 0}, "threads is 0. Give 1..1024"),
        ({"gradient_steps": "many"}, "'many' is not a valid integer"),
        ({"dataset": "nowhere"}, "nowhere"),
        ({"dataset": None}, "Missing option '--dataset'"),
    ],
)
def test_a_mistake_is_one_clear_line_exit_code_1_and_no_folder(
    changes, message, tmp_path: Path, monkeypatch, unchecked: None
) -> None:
    monkeypatch.chdir(tmp_path)
    plain = ImageSet.load("sample", limit=24, resolution=8).pixels
    np.savez("plain.npz", images=plain)
    result = invoke(tmp_path / "out", "--conditional", **changes)
    assert result.exit_code == 1, result.output
    (error,) = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert re.search(message, error), error
    assert not result.stdout
    assert not (tmp_path / "out").exists()


def test_a_damaged_checkpoint_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / CHECKPOINT).write_bytes(b"")
    result = invoke(tmp_path)
    assert result.exit_code == 1
    assert re.search(r"^Error: .*checkpoint.pt cannot be read .*--overwrite", result.stderr, re.M)
    assert invoke(tmp_path, "--overwrite", gradient_steps=1).exit_code == 0


def test_a_folder_that_cannot_be_made_is_told_before_training(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    result = invoke(tmp_path / "file" / "out")
    assert result.exit_code == 1
    assert re.search("^Error: output folder .* cannot be written", result.stderr, re.M)
    assert "train" not in result.stderr.split()


def test_auto_takes_a_gpu_if_there_is_one() -> None:
    assert open_device("auto").place.type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert open_device("cpu").place == torch.device("cpu")


@pytest.mark.parametrize("name", ["gpu", "", "meta", "mps", "cpu:x"])
def test_what_is_no_device_is_refused(name: str) -> None:
    with pytest.raises(UserError, match=rf"device is '{name}'. Give auto, cpu or cuda"):
        open_device(name)


def test_a_gpu_that_is_not_there_is_refused() -> None:
    with pytest.raises(
        UserError, match=r"device cuda:99 was asked for, but torch finds (no|\d+) GPU here. Give"
    ):
        open_device("cuda:99")
