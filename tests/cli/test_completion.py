"""What a shell completes, as its script asks for it."""

import os
import subprocess
import sys

import pytest
from heavy_modules import HEAVY

from sampler.choices import DEFAULT_NETWORK


def completed(program: str, line: str, shell: str = "bash") -> list[str]:
    """Kind and text of each completion of the last word, by the program's own process."""
    words = line.split(" ")
    asked = {
        f"_{program.upper()}_COMPLETE": f"{shell}_complete",
        "COMP_WORDS": line,
        "COMP_CWORD": words[-1] if shell == "fish" else str(len(words) - 1),
    }
    done = subprocess.run(
        [sys.executable, "-m", program], env=os.environ | asked, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("sampler ru", ["plain,run"]),
        ("sampler run --dataset fa", ["plain,fashion_mnist"]),
        ("sampler run --machine ", ["plain,els", "plain,ls", "plain,is"]),
        ("sampler run --scales cifar10_resnet_z", ["plain,cifar10_resnet_zeros", "file,cifar10_r"]),
        ("sampler compare --network fashion_mnist_resnet_z", [f"plain,{DEFAULT_NETWORK}"]),
        ("sampler compare --baseline p", ["plain,pspc"]),
        ("sampler run --conf", ["plain,--config"]),
        ("sampler run --config r", ["file,r"]),
        ("patchindex build --boundary circular_", ["plain,circular_interior"]),
        ("patchindex query --schedule ed", ["plain,edm"]),
    ],
)
def test_names_are_completed(line: str, found: list[str]) -> None:
    told = completed(line.split(maxsplit=1)[0], line)
    if len(found) > 1 and found[-1].startswith("file,"):
        assert found[0] in told
        assert told[-1].startswith("file,")
    else:
        assert [each for each in told if not each.startswith("file,")] == found or told == found


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
@pytest.mark.parametrize("program", ["patchindex", "sampler"])
def test_there_is_a_script_for_each_shell(program: str, shell: str) -> None:
    asked = {f"_{program.upper()}_COMPLETE": f"{shell}_source"}
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.argv = ['{program}']; "
         f"from cli.{program} import main; main(prog_name='{program}')"],
        env=os.environ | asked, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert f"_{program.upper()}_COMPLETE={shell}_complete" in done.stdout


def test_completing_imports_nothing_heavy() -> None:
    code = (
        "import sys; from cli.sampler import main\n"
        "from click.shell_completion import BashComplete\n"
        "asked = BashComplete(main, {}, 'sampler', '_SAMPLER_COMPLETE')\n"
        "found = asked.get_completions(['run', '--dataset'], 'fa')\n"
        "found += asked.get_completions(['run', '--scales'], 'cifar')\n"
        "assert len(found) > 2, found\n"
        "print(' '.join(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not HEAVY & set(done.stdout.split())
