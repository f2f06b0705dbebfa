"""Lists, versions and mistakes are told at once: nothing heavy is imported until it is needed."""

import subprocess
import sys

import pytest
from click.testing import CliRunner

from cli.lazy_commands import LazyCommands
from cli.patchindex import main as patchindex
from cli.sampler import main as sampler

HEAVY = {
    "torch",
    "torchvision",
    "numpy",
    "faiss",
    "zarr",
    "matplotlib",
    "pydantic",
    "triton",
    "tqdm",
}
GROUPS = {"patchindex": patchindex, "sampler": sampler}
COMMANDS = [(group, name) for group, main in GROUPS.items() for name in main.list_commands(None)]


@pytest.mark.parametrize("program", GROUPS)
@pytest.mark.parametrize("argument", ["--help", "--version", "rnu"])
def test_what_needs_no_command_imports_nothing_heavy(program: str, argument: str) -> None:
    code = (
        f"import sys; from cli.{program} import main\n"
        f"try: main([{argument!r}], standalone_mode=False)\n"
        "except Exception: pass\n"
        "print(' '.join(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not HEAVY & set(done.stdout.split())


@pytest.mark.parametrize("package", ["patchindex", "sampler"])
def test_a_package_is_imported_as_its_names_are(package: str) -> None:
    code = f"import sys, {package}, {package}.errors; print(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not HEAVY & set(done.stdout.split())


@pytest.mark.parametrize(("group", "name"), COMMANDS)
def test_every_line_leads_to_its_command(group: str, name: str) -> None:
    assert GROUPS[group].load(name).name == name


@pytest.mark.parametrize("main", GROUPS.values(), ids=GROUPS)
def test_the_list_has_every_command_and_its_line(main: LazyCommands) -> None:
    told = CliRunner().invoke(main, ["--help"]).output
    for name in main.list_commands(None):
        stand_in = main.get_command(None, name)
        assert f"  {name}" in told
        assert stand_in.get_short_help_str(80) in told


@pytest.mark.parametrize("main", GROUPS.values(), ids=GROUPS)
def test_a_mistyped_command_is_one_line(main: LazyCommands) -> None:
    result = CliRunner().invoke(main, ["rnu"])
    assert result.exit_code == 1
    assert "No such command 'rnu'" in result.stderr


@pytest.mark.parametrize("program", GROUPS)
def test_programs_run_as_modules(program: str) -> None:
    command = [sys.executable, "-m", program, "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"{program}, version ")


def test_completion_of_a_name_imports_no_command() -> None:
    names = [
        item.value for item in sampler.shell_complete(sampler.make_context("x", ["run"]), "le")
    ]
    assert names == ["leave-out"]
