"""Folders of pictures with one that is none, or a very odd one."""

import os
import struct
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.faults.hostile_cases import Case
from benchmarks.faults.trials import Place

Rng = np.random.Generator


def bad_pictures(place: Place, variant: int) -> Case:
    """A build from a folder of six good pictures and what the variant makes."""
    folder = place.folder / "photos" / "kind"
    folder.mkdir(parents=True)
    for i in range(6):
        (folder / f"{i}.png").write_bytes(picture(place.rng, "PNG"))
    makers = list(MAKERS)
    maker = makers[variant] if variant < len(makers) else flipped
    maker(folder, place.rng)
    arguments = ("build", "--dataset", f"folder:{place.folder / 'photos'}", "--scales", "3",
                 "--out", "found.zarr")  # fmt: skip
    told = (maker.__doc__ or "").strip().rstrip(".").lower()
    return Case(f"pictures: {told}", "patchindex", arguments)


def picture(rng: Rng, kind: str, mode: str = "L", side: int = 8) -> bytes:
    """A picture of noise."""
    channels = len(mode) if mode in {"RGB", "RGBA", "CMYK"} else 0
    shape = (side, side, channels) if channels else (side, side)
    image = Image.fromarray(rng.integers(0, 256, shape, np.uint8), mode if channels else "L")
    content = BytesIO()
    image.save(content, kind)
    return content.getvalue()


def flipped(folder: Path, rng: Rng) -> None:
    """Some bits flipped."""
    kind = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP")[int(rng.integers(6))]
    data = bytearray(picture(rng, kind, "RGB", side=8))
    for _ in range(int(rng.integers(1, 12))):
        data[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
    (folder / f"x.{kind.lower()}").write_bytes(data)


def cut(folder: Path, rng: Rng) -> None:
    """Cut short."""
    (folder / "x.png").write_bytes(picture(rng, "PNG")[:50])


def text(folder: Path, _rng: Rng) -> None:
    """Text."""
    (folder / "x.png").write_text("<svg onload='x()'/>")


def nothing(folder: Path, _rng: Rng) -> None:
    """No bytes."""
    (folder / "x.jpg").write_bytes(b"")


def bomb(folder: Path, _rng: Rng) -> None:
    """A header of 60,000 x 60,000 pixels."""
    (folder / "x.png").write_bytes(png_of(60_000, 60_000))


def negative(folder: Path, _rng: Rng) -> None:
    """A header of no pixels."""
    (folder / "x.png").write_bytes(png_of(0, 0))


def png_of(width: int, height: int) -> bytes:
    """A PNG that claims this size, and holds one row."""
    parts = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)),
             (b"IDAT", zlib.compress(bytes(9))), (b"IEND", b"")]  # fmt: skip
    chunks = [struct.pack(">I", len(data)) + name + data
              + struct.pack(">I", zlib.crc32(name + data)) for name, data in parts]  # fmt: skip
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def deep(folder: Path, rng: Rng) -> None:
    """16 bits a pixel."""
    Image.fromarray(rng.integers(0, 2**16, (8, 8), np.uint16)).save(folder / "x.png")


def floats(folder: Path, _rng: Rng) -> None:
    """Floats that are no numbers."""
    Image.fromarray(np.full((8, 8), np.nan, np.float32)).save(folder / "x.tiff")


def inks(folder: Path, rng: Rng) -> None:
    """Four inks."""
    (folder / "x.jpg").write_bytes(picture(rng, "JPEG", "CMYK"))


def palette(folder: Path, rng: Rng) -> None:
    """A palette with transparency."""
    image = Image.open(BytesIO(picture(rng, "PNG", "RGB"))).convert("P")
    image.save(folder / "x.png", transparency=3)


def film(folder: Path, rng: Rng) -> None:
    """A film."""
    frames = [Image.open(BytesIO(picture(rng, "PNG", "RGB"))) for _ in range(3)]
    frames[0].save(folder / "x.gif", save_all=True, append_images=frames[1:])


def larger(folder: Path, rng: Rng) -> None:
    """Another size."""
    (folder / "x.png").write_bytes(picture(rng, "PNG", side=9))


def lines(folder: Path, rng: Rng) -> None:
    """A name of two lines."""
    (folder / "x\nError: y.png").write_bytes(picture(rng, "PNG")[:40])


def undecodable(folder: Path, rng: Rng) -> None:
    """A name that is no UTF-8."""
    Path(os.fsdecode(os.fsencode(folder) + b"/\xff\xfe.png")).write_bytes(picture(rng, "PNG"))


def undecodable_class(folder: Path, rng: Rng) -> None:
    """A class whose name is no UTF-8."""
    other = Path(os.fsdecode(os.fsencode(folder.parent) + b"/\xff"))
    other.mkdir()
    (other / "0.png").write_bytes(picture(rng, "PNG"))


def directory(folder: Path, _rng: Rng) -> None:
    """A folder with a picture's name."""
    (folder / "x.png").mkdir()


def loop(folder: Path, _rng: Rng) -> None:
    """A link to itself, and one to its folder."""
    (folder / "x.png").symlink_to("x.png")
    (folder / "up").symlink_to("..")


def dangling(folder: Path, _rng: Rng) -> None:
    """A link to nothing."""
    (folder / "x.png").symlink_to("nowhere")


def pipe(folder: Path, _rng: Rng) -> None:
    """A pipe that nobody writes to."""
    os.mkfifo(folder / "x.png")


def zeros(folder: Path, _rng: Rng) -> None:
    """A link to endless zeros."""
    (folder / "x.png").symlink_to("/dev/zero")


def alone(folder: Path, _rng: Rng) -> None:
    """No picture at all."""
    for path in folder.iterdir():
        path.unlink()


MAKERS: tuple[Callable[[Path, Rng], None], ...] = (
    cut, text, nothing, bomb, negative, deep, floats, inks, palette, film, larger, lines,
    undecodable, undecodable_class, directory, loop, dangling, pipe, zeros, alone, flipped,
)  # fmt: skip
