"""A folder of small images whose names try to do harm: to terminals, pages, pictures and JSON."""

import os
from pathlib import Path

import numpy as np

NAMES = (
    b'quote".png',
    b"apostrophe'.png",
    b"two\nlines.png",
    b"<img src=x onerror=window.harmed=1>.png",
    b"<script>window.harmed=2<\\script><!-- -->.png",
    b"$x^$.png",
    b"$\\frac{$.png",
    b"{{not utf-8}} \xff\xfe.png",
    b"long " + b"n" * 240 + b".png",
    "\N{RIGHT-TO-LEFT OVERRIDE}gnp.\N{HEBREW LETTER SHIN}.png".encode(),
    b"\x1b[2J\x1b]0;title\x07.png",
    "\N{HIRAGANA LETTER A}\N{FAMILY}.png".encode(),
    b"&lt;b&gt; %s %d {0}.png",
    b"back\\slash\\n.png",
)
# a path has no slash but between folders: these two make "</script>"
CLASSES = (b"<b>plain", b"a<")
SLASHED = b"script><img src=x onerror=window.harmed=3>.png"


def write_hostile_folder(root: Path, side: int = 12) -> list[str]:
    """The folder; its files below it, as Python has their names."""
    rng = np.random.default_rng(5)
    files = [(CLASSES[i % 2], name) for i, name in enumerate(NAMES)] + [(CLASSES[1], SLASHED)]
    for folder, name in files:
        path = Path(os.fsdecode(os.path.join(os.fsencode(root), folder, name)))  # noqa: PTH118 - bytes
        path.parent.mkdir(parents=True, exist_ok=True)
        write_grey(path, rng.integers(0, 256, (side, side), dtype=np.uint8))
    return [os.fsdecode(folder + b"/" + name) for folder, name in files]


def write_grey(path: Path, pixels: np.ndarray) -> None:
    from PIL import Image  # noqa: PLC0415 - beside what is written

    with path.open("wb") as file:
        Image.fromarray(pixels).save(file, "PNG")
