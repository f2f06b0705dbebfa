"""What README and documents show is true: Python runs, commands exist with their options."""

import re
import sys
from importlib import import_module
from pathlib import Path

import click
import pytest
from docs_pages import (
    PAGES,
    ROOT,
    Block,
    blocks,
    invocation,
    mentioned_commands,
    name_of,
    typed_commands,
)

PYTHON = {page: [b for b in blocks(page) if b.language == "python"] for page in PAGES}
WITH_PYTHON = [page for page in PAGES if PYTHON[page]]
FEWEST_LINKS, LONGEST_README = 15, 100
FEWEST_COMMANDS, MOST_NOT_RUN = 30, 3  # so that a pattern which finds nothing is found out


@pytest.mark.slow
@pytest.mark.parametrize("page", WITH_PYTHON, ids=name_of)
@pytest.mark.usefixtures("unchecked")
def test_python_blocks_of_a_page_run_in_order(page: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    space: dict[str, object] = {"__name__": "__main__"}
    for block in PYTHON[page]:
        if block.not_run is None:
            run(block, page, space)
    for name in set(sys.modules) - before:  # what a page wrote is no module of another
        if getattr(sys.modules[name], "__file__", None) == str(tmp_path / f"{name}.py"):
            del sys.modules[name]


def run(block: Block, page: Path, space: dict[str, object]) -> None:
    """Run a block, or write the file that its first line names."""
    first = block.text.partition("\n")[0]
    if first.startswith("# ") and first.endswith(".py"):
        Path(first.removeprefix("# ")).write_text(block.text)
        return
    where = "\n" * (block.line - 1)  # tracebacks name the line of the page
    exec(compile(where + block.text, str(page), "exec"), space)  # noqa: S102 - our own documents


def test_few_blocks_are_not_run_and_each_says_why() -> None:
    reasons = [b.not_run for page in PAGES for b in PYTHON[page] if b.not_run is not None]
    assert len(reasons) <= MOST_NOT_RUN
    assert all(len(reason) > 10 for reason in reasons)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_of_a_page_have_these_options(page: Path) -> None:
    for words in typed_commands(page):
        check(words)
    for words in mentioned_commands(page):
        check(words, complete=False)


def test_commands_are_found_at_all() -> None:
    assert sum(len(typed_commands(page)) for page in PAGES) > FEWEST_COMMANDS
    assert sum(len(mentioned_commands(page)) for page in PAGES) > FEWEST_COMMANDS


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("sampler rum --num 3", "rum"),
        ("sampler run --nun 3", "--nun"),
        ("sampler run --num three", "three"),
        ("sampler run --num 3 more", "more"),
        ("patchindex build --scales 3", "--dataset"),
    ],
)
def test_a_wrong_command_would_be_noticed(line: str, wrong: str) -> None:
    with pytest.raises(click.UsageError, match=wrong):
        check(invocation(line) or [])


def check(words: list[str], *, complete: bool = True) -> None:
    """Refuse what click would refuse before the command begins; files need not be there.

    Args:
        complete: what is required must be given, or come from the environment.
    """
    program, name, *arguments = words
    group: click.Group = import_module(f"cli.{program}").main
    top = click.Context(group, info_name=program)
    if name.startswith("-"):
        group.make_parser(top).parse_args([name, *arguments])
        return
    _, command, rest = group.resolve_command(top, [name, *arguments])
    assert command is not None
    context = click.Context(command, info_name=name, parent=top)
    if not complete and ends_open(command, rest):
        rest.append("X")
    given, left, _ = command.make_parser(context).parse_args(rest)
    if left:
        raise click.UsageError(f"{' '.join(words)}: {left} are too many", context)
    for param in command.params:
        value = given.get(param.name or "")
        if value is not None:
            check_value(param, value, context)
        elif complete and param.required and not param.envvar:
            raise click.UsageError(f"{' '.join(words)}: {param.opts[0]} is missing", context)


def ends_open(command: click.Command, words: list[str]) -> bool:
    """Whether the last word is an option whose value is left out: `sampler explain --image`."""
    valued = [
        part for part in command.params if isinstance(part, click.Option) and not part.is_flag
    ]
    return bool(words) and any(words[-1] in part.opts for part in valued)


def check_value(param: click.Parameter, value: object, context: click.Context) -> None:
    """Refuse a value of another type; DIR and N are the reader's own, and no file is looked for."""
    if isinstance(value, str) and not value.isupper() and not isinstance(param.type, click.Path):
        param.type.convert(value, param, context)


def test_links_of_the_readme_lead_somewhere() -> None:
    """Those of `docs/` are checked by MkDocs, which does not see the README."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", readme) if "://" not in link]
    assert len(links) > FEWEST_LINKS
    for link in links:
        file, _, anchor = link.partition("#")
        assert (ROOT / file).is_file(), link
        if anchor:
            text = (ROOT / file).read_text(encoding="utf-8")
            assert anchor in map(slug, re.findall(r"^#+ (.*)", text, re.MULTILINE)), link


def slug(heading: str) -> str:
    """The anchor that GitHub, and MkDocs, give to a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")


def test_the_readme_stays_short_and_names_the_two_commands_first() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert readme.count("\n") <= LONGEST_README
    first = re.findall(r"^(?:    |\$ )?((?:make|sampler|patchindex) \S+)", readme, re.MULTILINE)
    assert first[:2] == ["make demo", "make test"]


def test_the_page_about_clusters_names_every_command_that_shares_work() -> None:
    page = " ".join((ROOT / "docs" / "cluster.md").read_text(encoding="utf-8").split())
    told = page.partition("It works for")[2].partition("**")[0]
    for program, asked in zip(("patchindex", "sampler"), told.split("`sampler"), strict=True):
        group: click.Group = import_module(f"cli.{program}").main
        takes = {
            name
            for name in group.list_commands(click.Context(group))
            if any("--stage" in p.opts or "--mixed" in p.opts for p in group.commands[name].params)
        }
        assert takes == {name for name in group.commands if re.search(rf"\b{name}\b", asked)}
