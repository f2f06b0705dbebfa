"""README and the pages of `docs/` as their readers see them: Python blocks, and command lines."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```", re.DOTALL | re.MULTILINE)
NOT_RUN = re.compile(r"\*Not run by the tests: (?P<reason>[^*]+)\.\*\s*\Z")
INLINE = re.compile(r"`((?:sampler|patchindex) [a-z][^`]*)`")
PROGRAMS = ("sampler", "patchindex")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: its language, its text, its line, and why it is not run, if it is not."""

    language: str
    text: str
    line: int
    not_run: str | None


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path) -> Iterator[Block]:
    text = page.read_text(encoding="utf-8")
    for found in FENCE.finditer(text):
        mark = NOT_RUN.search(text[: found.start()])
        line = text[: found.start(2)].count("\n") + 1
        yield Block(found[1], found[2], line, None if mark is None else mark["reason"])


def typed_commands(page: Path) -> list[list[str]]:
    """Our commands in shell blocks, which are complete: program, command and arguments of each."""
    lines = (
        line
        for block in blocks(page)
        if block.language in ("bash", "console")
        for line in logical_lines(block)
    )
    return [words for line in lines if (words := invocation(line))]


def mentioned_commands(page: Path) -> list[list[str]]:
    """Those in the middle of sentences, which may leave out what they do not speak of."""
    found = INLINE.findall(FENCE.sub("", page.read_text(encoding="utf-8")))
    return [words for line in found if "COMMAND" not in line and (words := invocation(line))]


def logical_lines(block: Block) -> Iterator[str]:
    """Lines with their continuations; of a console only what follows its prompt."""
    for line in block.text.replace("\\\n", " ").splitlines():
        if block.language == "bash":
            yield line
        elif line.startswith("$ "):
            yield line.removeprefix("$ ")


def invocation(line: str) -> list[str] | None:
    """Program, command and arguments of one of ours in a line of shell; None if there is none."""
    words = shlex.split(line, comments=True)
    while words and (re.fullmatch(r"\w+=.*", words[0]) or words[0] in ("nice", "time", "srun")):
        words = words[1:]
    if words[:2] == ["python", "-m"]:
        words = words[2:]
    if any(
        word.endswith(("ssh.sh", "srun", "sbatch")) for word in words[:1]
    ):  # a command after the command
        words = words[next((at for at, w in enumerate(words) if w in PROGRAMS), len(words)) :]
    if not words or words[0] not in PROGRAMS or len(words) == 1:
        return None
    ends = [at for at, word in enumerate(words) if word in ("|", ">", "&", "&&", ";", "...")]
    return words[: min(ends, default=len(words))]
