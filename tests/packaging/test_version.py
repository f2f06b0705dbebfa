"""The version has one home, `pyproject.toml`; what must say it again is compared with it."""

import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from cli.patchindex import main as patchindex
from cli.sampler import main as sampler

ROOT = Path(__file__).parents[2]
HOMES = ("pyproject.toml", "CITATION.cff", "CHANGELOG.md")
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def check(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    script = folder / ".ci" / "version"
    return subprocess.run(
        [sys.executable, script, *arguments], check=False, capture_output=True, text=True
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The files that say a version, and the script that compares them."""
    (tmp_path / ".ci").mkdir()
    for name in (*HOMES, ".ci/version"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


@pytest.mark.parametrize("main", [patchindex, sampler], ids=["patchindex", "sampler"])
def test_both_programs_tell_the_installed_version(main) -> None:
    told = CliRunner().invoke(main, ["--version"]).output
    assert version("patchindex") in told


def test_no_code_states_the_version() -> None:
    stated = re.compile(rf"(?<![\d.]){re.escape(VERSION)}(?![\d.])")
    code = [path for top in ("patchindex", "sampler", "cli") for path in (ROOT / top).rglob("*.py")]
    assert [path for path in code if stated.search(path.read_text())] == []


def test_all_agree(copy: Path) -> None:
    done = check(ROOT)
    assert (done.stdout.strip(), done.stderr) == (VERSION, "")
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert str(citation["version"]) == VERSION
    [paper] = citation["references"]
    assert paper["identifiers"][0]["value"] == "arXiv:2412.20292"


def test_another_citation_is_refused(copy: Path) -> None:
    citation = copy / "CITATION.cff"
    citation.write_text(citation.read_text().replace(f"version: {VERSION}", "version: 9.9.9"))
    assert f"CITATION.cff has 9.9.9, pyproject.toml {VERSION}" in check(copy).stderr


def test_a_version_without_a_section_is_refused(copy: Path) -> None:
    changelog = copy / "CHANGELOG.md"
    changelog.write_text(changelog.read_text().replace(f"[{VERSION}]", "[9.9.9]"))
    assert f"CHANGELOG.md has no section [{VERSION}]" in check(copy).stderr


def test_a_tag_needs_its_version_and_a_date(copy: Path) -> None:
    assert f"the tag is v9.9.9, but the version is {VERSION}" in check(copy, "v9.9.9").stderr
    changelog = copy / "CHANGELOG.md"
    text = re.sub(
        rf"## \[{re.escape(VERSION)}\].*", f"## [{VERSION}] - soon", changelog.read_text()
    )
    changelog.write_text(text)
    assert f"CHANGELOG.md has no date for {VERSION}" in check(copy, f"v{VERSION}").stderr


def test_notes_are_those_of_the_version_alone(copy: Path) -> None:
    (copy / "CHANGELOG.md").write_text(
        f"# Changelog\n\n## [Unreleased]\n\n- later\n\n## [{VERSION}] - 2026-12-01\n\n- this\n\n"
        "## [0.0.1] - 2026-01-01\n\n- before\n"
    )
    done = check(copy, f"v{VERSION}", "--notes")
    assert (done.stdout, done.returncode) == ("- this\n", 0)
