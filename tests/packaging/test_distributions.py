"""What is published holds what is needed, and nothing else."""

import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
import setuptools
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
PACKAGES = ("patchindex", "sampler", "cli")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
HOOK = "from setuptools.build_meta import *; import sys; print(globals()[sys.argv[1]](sys.argv[2]))"

pytestmark = pytest.mark.skipif(
    int(setuptools.__version__.partition(".")[0]) < 77, reason="builds need setuptools 77"
)


def build(kind: str, folder: Path) -> Path:
    """A distribution of the tree as it is, made in a copy so that it leaves nothing behind."""
    copy = folder / "copy"
    tracked = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT, check=False, capture_output=True, text=True,
    )  # fmt: skip
    if tracked.returncode:
        pytest.skip("not a git checkout")
    for name in filter(None, tracked.stdout.split("\0")):
        if not name.startswith(("docs/", "benchmarks/")) and (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_bytes((ROOT / name).read_bytes())
    (copy / "patchindex" / "kernels" / "_native.so").write_bytes(b"stray")
    made = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", HOOK, kind, folder],
        cwd=copy, check=False, capture_output=True, text=True,
        env=os.environ | {"PATCHINDEX_KERNELS": "none"},
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    return folder / made.stdout.split()[-1]


def expected(*endings: str) -> set[str]:
    """Our files with these endings, as they lie in the tree."""
    return {
        path.relative_to(ROOT).as_posix()
        for top in (*PACKAGES, "data")
        for path in (ROOT / top).rglob("*")
        if path.name.endswith(endings) and "__pycache__" not in path.parts
    }


@pytest.mark.slow
def test_a_wheel_holds_packages_stubs_and_data_alone(tmp_path: Path) -> None:
    with zipfile.ZipFile(build("build_wheel", tmp_path)) as wheel:
        held = {name for name in wheel.namelist() if ".dist-info/" not in name}
        about = {name.partition("/")[2] for name in wheel.namelist() if ".dist-info/" in name}
    wanted = expected(
        ".py", ".pyi", "py.typed", ".js", ".css", ".html", ".mplstyle",
        ".yaml", ".npz", ".txt", ".json", ".safetensors",
    )  # fmt: skip
    assert held == {re.sub("^data/", "patchindex_data/", name) for name in wanted}
    assert "licenses/LICENSE" in about


@pytest.mark.slow
def test_a_source_distribution_holds_all_that_a_build_needs(tmp_path: Path) -> None:
    """Made without the kernels, which must be in it all the same."""
    with tarfile.open(build("build_sdist", tmp_path)) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    needed = expected(
        ".py", ".pyi", "py.typed", ".js", ".css", ".html", ".mplstyle", ".cpp", ".hpp",
        ".yaml", ".npz", ".txt", ".json", ".safetensors",
    )  # fmt: skip
    assert needed <= held
    assert {"pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE"} <= held
    assert {"CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md", "SECURITY.md"} <= held
    stray = [
        name for name in held if name.startswith(("tests", "docs", "benchmarks", ".")) and name
    ]
    assert stray == []
    assert [name for name in held if name.endswith(".so")] == []


def test_documented_packages_without_a_gpu_are_our_dependencies() -> None:
    ours = {Requirement(text).name for text in PROJECT["dependencies"]}
    text = (ROOT / "docs" / "install.md").read_text()
    [listed] = re.findall(r"^ *pip install (faiss-cpu .+)$", text, re.MULTILINE)
    assert set(listed.split()) == ours - {"torch", "torchvision", "triton", "faiss-gpu"}


def test_the_check_of_the_wheel_names_tests_that_there_are() -> None:
    named = re.findall(r"tests/[\w/.]+", (ROOT / ".ci" / "wheel").read_text())
    assert len(named) >= 5
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_every_package_is_named() -> None:
    """Setuptools installs those that pyproject.toml lists: a new folder is forgotten easily."""
    tool = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    folders = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for top in PACKAGES
        for path in (ROOT / top).rglob("__init__.py")
    }
    data = {
        ".".join(("patchindex_data", *path.relative_to(ROOT / "data").parts))
        for path in [ROOT / "data", *(ROOT / "data").rglob("*")]
        if path.is_dir()
    }
    assert set(tool["packages"]) == folders | data


@pytest.mark.parametrize("wanted", ["yes", "Required"])
def test_an_unknown_wish_about_kernels_is_refused(wanted: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "setup.py", "--version"],
        cwd=ROOT, check=False, capture_output=True, text=True,
        env=os.environ | {"PATCHINDEX_KERNELS": wanted},
    )  # fmt: skip
    assert done.returncode == 1
    assert f"PATCHINDEX_KERNELS is {wanted!r}. Give one of optional, required, none." in done.stderr
