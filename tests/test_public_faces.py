"""Every package names its public face in `__all__`, names and modules; others import only those."""

import ast
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = {
    ".".join(face.parent.relative_to(ROOT).parts)
    for top in ("patchindex", "sampler", "cli")
    for face in (ROOT / top).rglob("__init__.py")
}
SOURCES = [path for top in ("patchindex", "sampler", "cli") for path in (ROOT / top).rglob("*.py")]


@cache
def public(package: str) -> frozenset[str]:
    return frozenset(import_module(package).__all__)


def imports(text: str) -> Iterator[tuple[str, str]]:
    """Module and name of each import from one of our packages."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield from ((node.module, alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)


def trespass(importer: str, module: str, name: str) -> str | None:
    """What an import takes that its package does not show; None if all is well."""
    if module.partition(".")[0] not in ("patchindex", "sampler", "cli"):
        return None
    package = module if module in PACKAGES else module.rpartition(".")[0]
    if f"{importer}.".startswith(f"{package}."):
        return f"{module}.{name}" if name.startswith("_") and module != package else None
    if module == package:
        known = name in public(package) or f"{package}.{name}" in PACKAGES or not name
    else:
        known = module.rpartition(".")[2] in public(package) and not name.startswith("_")
    return None if known else f"{module}.{name}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_others_import_the_public_face_alone(path: Path) -> None:
    importer = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    found = [trespass(importer, *taken) for taken in imports(path.read_text(encoding="utf-8"))]
    assert not [taken for taken in found if taken]


@pytest.mark.parametrize("package", sorted(PACKAGES))
def test_a_face_shows_what_is_there(package: str) -> None:
    names = import_module(package).__all__
    assert len(names) == len(set(names))
    for name in names:
        assert not name.startswith("_")
        assert hasattr(import_module(package), name) or find_spec(f"{package}.{name}")


@pytest.mark.parametrize(
    ("importer", "module", "name", "told"),
    [
        (
            "cli.options",
            "sampler.results.json_files",
            "_number",
            "sampler.results.json_files._number",
        ),
        ("sampler.run", "patchindex.index.merge", "merge", "patchindex.index.merge.merge"),
        ("sampler.run", "patchindex.index", "merge_lists", "patchindex.index.merge_lists"),
        ("sampler.machines", "sampler.posterior", "Posterior", None),
        ("sampler.machines", "sampler.posterior", "_hidden", "sampler.posterior._hidden"),
        ("sampler.run", "numpy", "_core", None),
    ],
)
def test_a_look_behind_a_face_is_found(importer: str, module: str, name: str, told: str) -> None:
    assert trespass(importer, module, name) == told
