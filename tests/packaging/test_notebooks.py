"""The notebooks show what their cells make: executed in order, all of them, as they now stand."""

import hashlib
import json
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "docs" / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
LARGEST_BYTES = 300_000


def code_cells(notebook: dict) -> list[dict]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def test_there_are_three() -> None:
    assert len(NOTEBOOKS) == 3


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_outputs_are_of_these_cells(path: Path) -> None:
    """`.ci/notebooks --write` notes what it executed; a cell that changed since has old outputs."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    cells = code_cells(notebook)
    sources = "\0".join("".join(cell["source"]) for cell in cells)
    assert notebook["metadata"]["executed"] == hashlib.sha256(sources.encode()).hexdigest(), (
        f"cells of {path.name} changed: python .ci/notebooks --write {path.name}"
    )
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_outputs_are_pictures_and_results_alone(path: Path) -> None:
    outputs = [
        output
        for cell in code_cells(json.loads(path.read_text(encoding="utf-8")))
        for output in cell["outputs"]
    ]
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(pictures) >= 3
    for output in outputs:
        assert output["output_type"] in ("stream", "execute_result", "display_data")
        assert output.get("name") != "stderr", "a warning"
    told = json.dumps([output for output in outputs if output not in pictures])
    assert "/home/" not in told
    assert "/tmp/" not in told  # noqa: S108 - no file is made


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_small(path: Path) -> None:
    assert path.stat().st_size <= LARGEST_BYTES


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_take_the_public_face_alone(path: Path) -> None:
    for cell in code_cells(json.loads(path.read_text(encoding="utf-8"))):
        for line in cell["source"]:
            words = line.split()
            if words[:1] in (["from"], ["import"]):
                assert not any(part.startswith("_") for part in words[1].split("."))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_links_between_notebooks_lead_somewhere(path: Path) -> None:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    text = "".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    for part in text.split("](")[1:]:
        link = part.partition(")")[0]
        assert link.startswith("https://") or (FOLDER / link).is_file(), link
