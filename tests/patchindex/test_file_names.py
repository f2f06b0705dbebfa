"""Names of files as people see them: one printable line, from which the file is found again."""

import os
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_index import small_images

from patchindex import ImageSet
from patchindex.file_names import file_of, image_title, one_line, printable, shortened

FILE_NAMES = st.binary(max_size=12).filter(lambda name: b"\0" not in name)
# for every byte a chance to meet what must be escaped, and what looks like an escape
TRICKY = st.lists(
    st.sampled_from([b"\\", b"\\x", b"\\n", b"\n", b"\x1b[2J", b"\x85", b"\xc2\x85", b"\xff",
                     b"u202e", b"\xe2\x80\xae", b"\xe2\x80\xaf", b"a", b"f0",
                     b"\xd7\xa9", b"$", b"<b>"]),
    max_size=8,
).map(b"".join)  # fmt: skip


@given(FILE_NAMES | TRICKY)
def test_the_file_is_found_again_from_its_printable_name(name: bytes) -> None:
    shown = printable(os.fsdecode(name))
    assert os.fsencode(file_of(shown)) == name
    assert one_line(shown) == shown
    assert not any(unicodedata.category(character)[0] == "C" for character in shown)
    assert len(shown.splitlines()) <= 1
    shown.encode("utf-8")


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (b"caf\xc3\xa9.png", "caf\N{LATIN SMALL LETTER E WITH ACUTE}.png"),
        (b"caf\xe9.png", r"caf\xe9.png"),  # the byte
        (b"\xc2\x85", r"\u0085"),  # the character, which is no byte
        (b"a\\xe9", r"a\\xe9"),
        (b"two\nlines\t\x1b[31m", r"two\nlines\t\x1b[31m"),
        ("\N{RIGHT-TO-LEFT OVERRIDE}gnp.exe".encode(), r"\u202egnp.exe"),
        ("1.00\N{NARROW NO-BREAK SPACE}PM.png".encode(), "1.00\N{NARROW NO-BREAK SPACE}PM.png"),
        ("\N{HEBREW LETTER SHIN}.png".encode(), "\N{HEBREW LETTER SHIN}.png"),
    ],
)
def test_what_cannot_be_seen_is_escaped_and_nothing_else(name: bytes, shown: str) -> None:
    assert printable(os.fsdecode(name)) == shown


def test_a_lone_half_of_a_character_is_shown_too() -> None:
    assert printable("\ud800") == r"\ud800"


def test_a_long_name_is_short_of_its_middle() -> None:
    name = "holidays/2019/the-beach.png"
    assert shortened(name, 27) == name
    short = shortened(name, 16)
    assert len(short) == 16
    assert (short[:3], short[-6:]) == ("hol", "ch.png")


def test_an_image_is_called_by_its_number_and_its_file() -> None:
    images = small_images(3)
    assert (images.title(2), images.file_name(2), images.class_name(None)) == (
        "image 2", None, None,
    )  # fmt: skip
    named = ImageSet.from_array(
        images.pixels, [0, 1, 1], class_names=["a\nb"], names=["a/x", "a\n\udcff", "c" * 50]
    )
    assert named.title(1) == r"image 1 (a\n\xff)"
    assert len(named.title(2, longest=10)) == len("image 2 (") + 10 + 1
    assert (named.class_name(0), named.class_name(1), named.label_of(2)) == (r"a\nb", None, 1)
    assert image_title(7, "edited\nby hand") == r"image 7 (edited\nby hand)"
