"""Encoded images of every kind that people have, to be read alike from every source."""

import io
import tarfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image


def encoded(image: Image.Image, kind: str = "PNG", **settings: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **settings)
    return stream.getvalue()


def every_kind() -> dict[str, bytes]:
    """Files in the order of their names: grey, 16 bits, transparent, palette, CMYK, turned."""
    levels = np.random.default_rng(5).integers(0, 256, (12, 9, 4), dtype=np.uint8)
    color = Image.fromarray(levels[..., :3])
    exif = Image.Exif()
    exif[274] = 6  # lies on its side
    return {
        "a_color.jpg": encoded(color, "JPEG"),
        "b_grey.png": encoded(Image.fromarray(levels[..., 0])),
        "c_16bit.png": encoded(Image.fromarray(levels[..., 0].astype(np.uint16) * 257)),
        "d_alpha.png": encoded(Image.fromarray(levels)),
        "e_grey_alpha.png": encoded(Image.fromarray(levels).convert("LA")),
        "f_palette.png": encoded(color.quantize(8), transparency=0),
        "g_cmyk.jpg": encoded(color.convert("CMYK"), "JPEG"),
        "h_turned.jpg": encoded(color, "JPEG", exif=exif),
        "i_small.png": encoded(color.resize((4, 5))),
    }


def write_folder(root: Path, files: dict[str, bytes]) -> Path:
    """The files in a folder."""
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def write_tar(path: Path, members: Iterable[tuple[str, bytes]], mode: str = "w") -> Path:
    """A tar file of plain files in this order."""
    with tarfile.open(path, mode) as archive:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path
