"""Commands tell their options at once, in sections, and by the same words in both programs."""

import inspect
import os
import shlex
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner
from heavy_modules import HEAVY

from cli.commands import OTHER_NAMES, Command
from cli.patchindex import COMMANDS as OF_PATCHINDEX
from cli.patchindex import main as patchindex
from cli.sampler import COMMANDS as OF_SAMPLER
from cli.sampler import main as sampler

GROUPS = {"patchindex": patchindex, "sampler": sampler}
COMMANDS = [
    *(("patchindex", command) for command in OF_PATCHINDEX),
    *(("sampler", command) for command in OF_SAMPLER),
]
IDS = [f"{program} {command.name}" for program, command in COMMANDS]
EACH = pytest.mark.parametrize(("program", "command"), COMMANDS, ids=IDS)


def imported(program: str, *lines: list[str], **environment: str) -> set[str]:
    """What is in memory after a process was given these lines, one after another."""
    code = (
        f"import sys, contextlib, io; from cli.{program} import main\n"
        f"for line in {lines!r}:\n"
        "    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(Exception):\n"
        "        main(line, standalone_mode=False)\n"
        "print(' '.join(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        env=os.environ | environment,
    )  # fmt: skip
    return set(done.stdout.split())


@pytest.mark.parametrize("program", GROUPS)
def test_help_versions_and_mistakes_import_nothing_heavy(program: str) -> None:
    names = list(GROUPS[program].commands)
    lines = [["--help"], ["--version"], ["rnu"], *([name, "--help"] for name in names)]
    lines += [[name, "--no-such-option"] for name in names]
    assert not HEAVY & imported(program, *lines)


def test_what_there_is_is_told_without_loading_it() -> None:
    assert not HEAVY & imported("patchindex", ["info"], ["datasets"])


@pytest.mark.parametrize("package", ["patchindex", "sampler"])
def test_a_package_is_imported_as_its_names_are(package: str) -> None:
    code = f"import sys, {package}, {package}.errors; print(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not HEAVY & set(done.stdout.split())


@EACH
def test_the_work_takes_what_the_options_give(program: str, command: Command) -> None:
    work = command.load()
    while hasattr(work, "__wrapped__"):
        work = work.__wrapped__
    taken = inspect.signature(work).parameters
    given = {str(param.name) for param in command.params if not param.is_eager} - {"as_json"}
    if "crew" in taken:
        given -= {"cluster", "mixed", "stage"}
    if {"device", "device_memory"} & taken.keys() == {"device"}:
        given -= {"device_memory", "precision"} - taken.keys()
    named = {name for name, each in taken.items() if each.kind is not each.VAR_KEYWORD}
    assert named - {"crew"} <= given
    if len(named) == len(taken):
        assert given <= named


@pytest.mark.parametrize("program", GROUPS)
def test_the_list_has_every_command_and_its_line(program: str) -> None:
    told = CliRunner().invoke(GROUPS[program], ["--help"]).output
    for name, command in GROUPS[program].commands.items():
        assert f"  {name}" in told
        assert str(command.short_help) in told


@EACH
def test_help_has_every_option_in_a_section_and_examples_whole(
    program: str, command: Command
) -> None:
    told = CliRunner().invoke(GROUPS[program], [str(command.name), "--help"]).output
    for title, options in command.sections.items():
        assert f"\n{title}:\n" in told
        assert 0 < len(options) <= 11
        for option in options:
            assert f"\n  {option.opts[0]}" in told
    assert told.count("--help") == 1
    for words, line in command.examples.items():
        assert f"  # {words}\n  {line}\n" in told
    if len(command.params) > 10:
        assert len(command.sections) > 3
        assert 2 <= len(command.examples) <= 3


@EACH
def test_examples_are_lines_that_the_command_takes(program: str, command: Command) -> None:
    for line in command.examples.values():
        first, name, *arguments = shlex.split(line)
        assert (first, name) == (program, command.name)
        if "--config" not in arguments:  # of a file that is not there
            command.make_context(name, arguments)


def options_of(command: click.Command) -> Iterator[click.Option]:
    return (param for param in command.params if isinstance(param, click.Option))


# what an option of one name may hold besides, and why
METAVARS = {
    "--precision": {"auto|float32", "auto|float32|bfloat16"},  # of scans, of training
    "--out": {"DIR", "PATH", "FILE"},  # a folder of results, an index, one picture or report
    "--num": {"SAMPLES", "IMAGES"},  # made, or denoised
    "--scales": {"NAME|FILE|P,P,...", "P,P,..."},  # by noise level, or all that an index holds
    "--cluster": {"local[:N]|ADDRESS|FILE", "ADDRESS|FILE"},  # a worker makes no processes
}


def test_an_option_of_one_name_takes_the_same_in_every_command() -> None:
    metavars, kinds = defaultdict(set), defaultdict(set)
    for _, command in COMMANDS:
        for option in options_of(command):
            metavars[option.opts[0]].add(option.metavar)
            kinds[option.opts[0]].add((option.type.name, option.is_flag))
    for name, found in metavars.items():
        assert found == METAVARS.get(name, found), name
        assert len(found) == 1 or name in METAVARS, name
        assert len(kinds[name]) == 1, name


@EACH
def test_every_option_that_takes_a_value_says_of_what_kind(program, command) -> None:
    for option in options_of(command):
        assert option.is_flag or option.metavar, option.opts[0]
        assert option.help, option.opts[0]
        assert option.help[0].isupper() or option.help.startswith("[default: ")


@EACH
def test_help_says_a_default_in_one_way_and_once(program, command) -> None:
    context = click.Context(command, info_name=command.name)
    for option in options_of(command):
        _, told = option.get_help_record(context)
        assert told.count("[default: ") + told.count("; required]") <= 1, option.opts[0]
        assert "(default" not in told


@pytest.mark.parametrize("main", GROUPS.values(), ids=GROUPS)
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["rnu"], "No such command 'rnu'"),
        (["--quietly"], "No such option"),
        (["verify", "--quietly"], "No such option"),
        ([], "Usage:"),
    ],
)
def test_bad_usage_ends_with_exit_code_1(main: click.Group, arguments, message: str) -> None:
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 1
    assert message in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize("program", GROUPS)
def test_programs_run_as_modules(program: str) -> None:
    command = [sys.executable, "-m", program, "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"{program}, version ")


@pytest.mark.parametrize(
    ("command", "given", "meant"),
    [
        ("run", "--num-samples", "--num"),
        ("run", "--num_samples", "--num"),
        ("compare", "--samples", "--num"),
        ("denoise", "--n", "--num"),
        ("run", "--output", "--out"),
        ("train", "--steps", "--gradient-steps"),
        ("train", "--network", "--architecture"),
        ("calibrate", "--model", "--network"),
        ("explain", "--data", "--dataset"),
    ],
)
def test_other_names_of_options_are_known(command: str, given: str, meant: str) -> None:
    result = CliRunner().invoke(sampler, [command, given, "4"])
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1] == (
        f"Error: No such option '{given}'. Did you mean '{meant}'?"
    )


def test_names_that_nobody_knows_get_the_nearest_ones() -> None:
    result = CliRunner().invoke(sampler, ["run", "--nun", "4"])
    assert "Did you mean" in result.stderr
    assert "--num" in result.stderr
    ours = {name for _, command in COMMANDS for option in command.params for name in option.opts}
    assert all(ours.issuperset(names) for names in OTHER_NAMES.values())
