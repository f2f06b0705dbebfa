r"""File names as people, terminals, JSON, pages and pictures may safely be shown them.

A name may hold any bytes but zero. Shown, it is one line of printable characters, from which the
name can be had again: a backslash is doubled, a byte that is no UTF-8 is `\xff` (80 to ff), and a
character that cannot be seen, or that changes how others are read, is `\n`, `\x1b` (below 80),
`\u202e` or `\U000e0001`, as Python writes them.
"""

import os
import re
import unicodedata

ELLIPSIS = "\N{HORIZONTAL ELLIPSIS}"
_ESCAPED = re.compile(r"\\(?:([\\tnr])|x([0-9a-f]{2})|u([0-9a-f]{4})|U([0-9a-f]{8}))")
_PLAIN = {"\\": "\\", "t": "\t", "n": "\n", "r": "\r"}
_FIRST_BYTE, _LAST_BYTE = 0xDC80, 0xDCFF  # what Python has in place of bytes that are no UTF-8
_ASCII = 0x80
_TAIL = 0.65  # of a shortened name: its end tells files of a folder apart


def printable(name: str) -> str:
    r"""A file name as one line of printable characters; `file_of` has the file again.

    Example:
        >>> printable("a\nb.png")
        'a\\nb.png'
    """
    return one_line(name.replace("\\", r"\\"))


def one_line(text: str) -> str:
    """The text with escapes for what is not printable; a printable one stays as it is.

    Unlike `printable` it may be called twice, but leaves backslashes alone: not for finding files.
    """
    return text if text.isprintable() else "".join(map(_shown, text))


def _shown(character: str) -> str:
    """A character, or its escape."""
    code = ord(character)
    if _FIRST_BYTE <= code <= _LAST_BYTE:
        return f"\\x{code - _FIRST_BYTE + _ASCII:02x}"
    if character.isprintable() or unicodedata.category(character) == "Zs":  # such as thin spaces
        return character
    # not \x85 for the character: that is the byte
    return ascii(character)[1:-1] if code < _ASCII or code > 0xFF else f"\\u{code:04x}"


def file_of(shown: str) -> str:
    r"""The file name that `printable` shows so, as `open` and `Path` take it.

    Example:
        >>> file_of(r"a\nb.png") == "a\nb.png"
        True
    """
    return _ESCAPED.sub(_restored, shown)


def _restored(escape: re.Match[str]) -> str:
    """The character of an escape; a byte that is no UTF-8 as Python has it."""
    plain, *codes = escape.groups()
    if plain is not None:
        return _PLAIN[plain]
    code = int(next(digits for digits in codes if digits is not None), 16)
    if codes[0] is not None and code >= _ASCII:
        return os.fsdecode(bytes([code]))
    return chr(code)


def shortened(name: str, longest: int) -> str:
    """The name with its middle left out if it has more characters than that.

    Example:
        >>> shortened("holidays/2019/beach.png", 16)
        'holid…/beach.png'
    """
    if len(name) <= longest:
        return name
    tail = round(_TAIL * (longest - 1))
    return f"{name[: longest - 1 - tail]}{ELLIPSIS}{name[len(name) - tail :]}"


def image_title(number: int, name: str | None, longest: int | None = None) -> str:
    """What people call a training image: its number, and the file's printable name if it has one.

    Args:
        longest: characters of the name; a longer one is shortened in its middle.

    Example:
        >>> image_title(7, "cats/tom.png"), image_title(7, None)
        ('image 7 (cats/tom.png)', 'image 7')
    """
    if name is None:
        return f"image {number}"
    name = one_line(name)  # somebody may have edited the file that it was read from
    return f"image {number} ({name if longest is None else shortened(name, longest)})"
