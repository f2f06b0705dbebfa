"""Scales from names, lists and files; of a file that holds none, one line says what is wrong."""

import os
from pathlib import Path

import pytest

from patchindex import UserError
from sampler.scales import LARGEST_FILE, parse_scales, published_scales, resolve_scales


def test_a_name_a_list_and_a_file_give_the_same_scales(tmp_path: Path) -> None:
    published = published_scales()["mnist_unet_zeros"]
    file = tmp_path / "scales.yaml"
    file.write_text(str(list(published)))
    assert resolve_scales("mnist_unet_zeros") == published
    assert resolve_scales(",".join(map(str, published))) == published
    assert resolve_scales(str(file)) == published


def test_a_list_may_be_longer_than_the_name_of_a_file_can_be() -> None:
    assert resolve_scales(",".join(["3", "5"] * 2000)) == (3, 5) * 2000


NESTED_ANCHORS = "[[&a [9, 9, 9, 9, 9, 9, 9, 9, 9], " + ", ".join(
    f"&{name} [{', '.join([f'*{before}'] * 9)}]"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


# 2^60 entries
MERGES_OF_MERGES = "0: &a0 {3: 3}\n" + "\n".join(
    f"{i}: &a{i} {{<<: [*a{i - 1}, *a{i - 1}]}}" for i in range(1, 60)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "are not a list. Give odd patch sizes"),
        ("{}", "have the times . Give a patch size for each time"),
        ("just words", "are not a list"),
        ("[3, 4]", "contain 4. Give odd positive whole numbers"),
        ("[3, 2020-01-01]", "contain datetime.date.2020, 1, 1.. Give odd"),
        ("[3, 2020-13-41]", r"is not YAML \(month must be in 1\.\.12\)"),
        ("[" * 20_000, r"is not YAML \(nested too deeply\)"),
        (MERGES_OF_MERGES, r"is not YAML \(could not determine a constructor .*merge"),
        ("[true, 3]", "contain True. Give odd positive whole numbers"),
        ("true: 3\n0.5: 3", "have the times True, 0.5"),
        ("2020-01-01: 3", "have the times datetime.date"),
        (".nan: 3\n1.0: 5", "have the times nan, 1.0"),
        ("0.5: 3\n1.0: true", "contain True"),
        ("0.000001: 3\n1.0: 5", "lack a patch size for t = 2e-06, .* and 999993 more"),
        ("[0x" + "f" * 9000 + "]", "contain a number of thousands of digits"),
        ("[1" + "1" * 9000 + "]", "is not YAML"),
        ("[99999999999]", "contain 99999999999"),
        ("[3.0]", "contain 3.0"),
        (NESTED_ANCHORS + "]]", r"contain \[\["),
        ("!!python/object/apply:os.system ['true']", "is not YAML"),
        ("a: b: c", "is not YAML"),
        (b"\xff\x00\x01", "is not YAML"),
        (b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "is not YAML"),
        ("3, " * (LARGEST_FILE // 3 + 1), "is larger than 100 kB, which scales never are"),
    ],
)
def test_a_file_that_holds_no_scales_is_one_short_line(
    text: str | bytes, message: str, tmp_path: Path
) -> None:
    file = tmp_path / "scales.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError, match=message) as caught:
        resolve_scales(str(file))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400 + len(str(file))


def test_no_more_of_a_large_file_is_read_than_tells_that_it_is_too_large(tmp_path: Path) -> None:
    file = tmp_path / "scales.yaml"
    with file.open("wb") as empty:
        empty.truncate(2**40)  # which takes no room on the disk, but would in memory
    with pytest.raises(UserError, match="is larger than 100 kB"):
        resolve_scales(str(file))


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads all files")
def test_a_file_that_may_not_be_read_is_named(tmp_path: Path) -> None:
    file = tmp_path / "scales.yaml"
    file.write_text("[3]")
    file.chmod(0)
    with pytest.raises(UserError, match=r"scales\.yaml cannot be read \(Permission denied\)"):
        resolve_scales(str(file))


@pytest.mark.parametrize("text", ["3,x", "3,,5", "", "1" * 5000, "3.0"])
def test_a_list_that_is_none_is_refused_in_a_short_line(text: str) -> None:
    with pytest.raises(UserError, match=r"are no list\. Give whole numbers like 3,3,5,9") as caught:
        parse_scales(text)
    assert len(str(caught.value)) < 150


def test_a_folder_stands_for_the_scales_in_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"there is no scales file .*\. Give the scales\.yaml that"):
        resolve_scales(str(tmp_path))
    (tmp_path / "scales.yaml").write_text("[3, 5]")
    assert resolve_scales(str(tmp_path)) == (3, 5)
