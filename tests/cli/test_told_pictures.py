"""What a layman reads of a picture: near-copies before shares, and no accusation where none is."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from picture_answer import answered

from cli.told_pictures import NO_PROOF, format_pictures
from sampler.results.picture_result import (
    CopiesReport,
    CopyReport,
    PictureResult,
    is_accepted,
    read_pictures,
)

SIDE = 16


@pytest.fixture(scope="module")
def answer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return answered(tmp_path_factory.mktemp("told")) / "attribution.json"


def region(image: int, pixels: int, p_value: float | None, distance: float = 0.0) -> CopyReport:
    return CopyReport(
        image=image, name=f"a/p{image}.jpg", label=None, region=(), pixels=pixels,
        displacement=(-2, 1), mirrored=False, offset=0.0, distance=distance, matching=0.5,
        score=9.0, p_value=p_value, accepted=is_accepted(p_value, 200),
    )  # fmt: skip


def told(answer: Path, *copies: CopyReport, held_out: int = 200) -> list[str]:
    near = CopiesReport(
        copies=copies, nearest_distance=0.1, novelty=0.85 if held_out else None, patch_size=7,
        mirrored=False, held_out=held_out, held_out_from=None,
    )  # fmt: skip
    result: PictureResult = read_pictures(answer)
    return list(
        format_pictures(replace(result, pictures=(replace(result.pictures[0], near_copies=near),)))
    )


@pytest.mark.slow
def test_no_copy_is_said_before_the_shares_which_prove_nothing(answer: Path) -> None:
    first, shares, note = told(answer, region(3, 40, 0.6))
    assert first == (
        "copy.png: no near-copy: no region agrees with one training image more than chance would "
        "have it. Its details are farther from the training images than those of 85% of 200 "
        "held-out pictures"
    )
    assert shares.startswith("  most similar: image 21 ")
    assert note == NO_PROOF
    assert "unattributed" not in shares


def test_pieces_of_one_file_are_one_find_and_the_largest_comes_first(answer: Path) -> None:
    small, *pieces = region(7, 32, 0.005), region(4, 64, 0.005, 0.08), region(4, 64, 0.01)
    first, whole, other, *_ = told(answer, small, *pieces)
    assert first == "copy.png: near-copies of 2 training images"
    assert whole == (
        "  near-copy of a/p4.jpg: 50% of the picture, in 2 pieces, differing by about 7 of 255 "
        "gray levels (p <= 0.005)"
    )
    assert other == (
        "  near-copy of a/p7.jpg: 12% of the picture, there 2 rows higher and 1 column further "
        "right, without a difference (p <= 0.005)"
    )


def test_weaker_regions_are_told_with_how_many_others_have_the_like(answer: Path) -> None:
    first, possible, *_ = told(answer, region(4, 64, 3 / 201), region(5, 64, 0.06))
    assert first.startswith("copy.png: no near-copy: ")
    assert possible.startswith("  possible near-copy of a/p4.jpg: 25% of the picture, ")
    assert possible.endswith("(p = 0.015: 2 of 200 held-out pictures have such a region, too)")
    assert not any("p5" in line for line in told(answer, region(5, 64, 0.06)))


@pytest.mark.parametrize(
    ("p_value", "held_out", "accepted"),
    [
        (1 / 201, 200, True), (2 / 201, 200, True), (3 / 201, 200, False), (1.0, 200, False),
        (1 / 25, 24, True), (2 / 25, 24, False), (None, 0, False),
    ],
)  # fmt: skip
def test_accepted_is_what_hardly_any_held_out_picture_has(p_value, held_out, accepted) -> None:
    assert is_accepted(p_value, held_out) is accepted


def test_files_of_before_say_what_is_accepted_when_they_are_read(
    answer: Path, tmp_path: Path
) -> None:
    values = json.loads(answer.read_text())
    regions = [copy for each in values["pictures"] for copy in each["near_copies"]["copies"]]
    assert any(copy.pop("accepted") for copy in regions)
    older = tmp_path / "attribution.json"
    older.write_text(json.dumps(values))
    assert read_pictures(str(older)) == read_pictures(answer)
