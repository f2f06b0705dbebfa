"""Images as one picture to look at: tiles side by side, captions, PNG files, HTML of notebooks."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from html import escape
from io import BytesIO
from math import ceil, sqrt
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray
from PIL import Image, ImageDraw, ImageFont

GAP = 2  # between tiles, in pixels of the images
BACKGROUND = 255
SMALLEST_SIDE = 128  # of a tile: images are enlarged by a whole number until they have it
INK = 60
TEXT_HEIGHT, MARGIN = 13, 8  # pixels
MOST_SHOWN, COLUMNS, SMALL_SIDE = 16, 8, 64  # of images in a notebook, and pixels of each
SMALLEST_WIDTH = 360  # of a picture with a caption, so that words find room in a line


def image_grid(
    images: UInt8[ndarray, "b c h w"],
    columns: int | None = None,
    *,
    smallest_side: int = SMALLEST_SIDE,
) -> UInt8[ndarray, "H W c"]:
    """Images side by side, near to a square unless `columns` says otherwise.

    Args:
        smallest_side: pixels of a tile's longer side, at least; each pixel of an image becomes a
            square of pixels.
    """
    pixels = images.transpose(0, 2, 3, 1)
    zoom = max(1, ceil(smallest_side / max(pixels.shape[1:3])))
    pixels = pixels.repeat(zoom, axis=1).repeat(zoom, axis=2)
    num, height, width, channels = pixels.shape
    columns = columns or ceil(sqrt(num))
    gap = GAP * zoom
    rows = ceil(num / columns)
    shape = (rows * (height + gap) + gap, columns * (width + gap) + gap, channels)
    canvas = np.full(shape, BACKGROUND, dtype=np.uint8)
    for i, image in enumerate(pixels):
        top, left = (
            place * (side + gap) + gap
            for place, side in zip(divmod(i, columns), (height, width), strict=True)
        )
        canvas[top : top + height, left : left + width] = image
    return canvas


def captioned(picture: UInt8[ndarray, "H W c"], lines: Sequence[str]) -> UInt8[ndarray, "H2 W2 c"]:
    """The picture below some lines of text, which are broken where they are wider than it.

    Args:
        lines: of printable characters; what the font lacks is shown as boxes.
    """
    font = ImageFont.load_default(TEXT_HEIGHT)
    height, width, channels = picture.shape
    whole = max(width, SMALLEST_WIDTH)
    broken = [part for line in lines for part in _broken(line, font, whole - 2 * MARGIN)]
    step = TEXT_HEIGHT + 4
    head = Image.new("L", (whole, len(broken) * step + MARGIN), BACKGROUND)
    draw = ImageDraw.Draw(head)
    for number, line in enumerate(broken):
        draw.text((MARGIN, MARGIN // 2 + number * step), line, fill=INK, font=font)
    text = np.broadcast_to(np.asarray(head)[..., None], (head.height, whole, channels))
    body = np.full((height, whole, channels), BACKGROUND, dtype=np.uint8)
    body[:, :width] = picture
    return np.concatenate([text, body])


def _broken(line: str, font: ImageFont.ImageFont | ImageFont.FreeTypeFont, width: int) -> list[str]:
    """The line in pieces that are no wider than so many pixels; a word is broken if it must be."""
    pieces, piece = [], ""
    for word in line.split(" "):
        joined = f"{piece} {word}" if piece else word
        if font.getlength(joined) <= width:
            piece = joined
            continue
        if piece:
            pieces.append(piece)
        piece = word
        while font.getlength(piece) > width:
            fits = max(1, next(n for n in range(len(piece), 0, -1)
                               if n == 1 or font.getlength(piece[:n]) <= width))  # fmt: skip
            pieces.append(piece[:fits])
            piece = piece[fits:]
    return [*pieces, piece]


def png_bytes(picture: UInt8[ndarray, "H W c"]) -> bytes:
    """A picture with 1 or 3 channels as a PNG file holds it."""
    stream = BytesIO()
    _as_image(picture).save(stream, "PNG")
    return stream.getvalue()


def save_png(picture: UInt8[ndarray, "H W c"], path: Path) -> None:
    """Write a picture with 1 or 3 channels as a PNG."""
    _as_image(picture).save(path, "PNG")


def first_of(images: UInt8[ndarray, "b c h w"], most: int = MOST_SHOWN) -> UInt8[ndarray, "H W c"]:
    """The first images side by side, small; of other than 1 or 3 channels the first alone."""
    shown = images[:most] if images.shape[1] in (1, 3) else images[:most, :1]
    return image_grid(shown, min(len(shown), COLUMNS), smallest_side=SMALL_SIDE)


def html_block(
    title: str, pictures: Mapping[str, UInt8[ndarray, "H W c"]], lines: Sequence[str] = ()
) -> str:
    """What notebooks show of a result: a line, pictures with a caption each, a table of text.

    All texts are escaped: a name of a file may be anything.
    """
    figures = "".join(
        f'<figure style="display:inline-block;margin:0 8px 8px 0;vertical-align:top">'
        f'<img src="data:image/png;base64,{b64encode(png_bytes(picture)).decode("ascii")}" '
        f'style="max-width:100%;image-rendering:pixelated" alt="{escape(caption or title)}">'
        f'<figcaption style="font-size:85%">{escape(caption)}</figcaption></figure>'
        for caption, picture in pictures.items()
    )
    table = "<pre>{}</pre>".format(escape("\n".join(lines))) if lines else ""
    return f"<div><div>{escape(title)}</div>{figures}{table}</div>"


def _as_image(picture: UInt8[ndarray, "H W c"]) -> Image.Image:
    """The picture as Pillow has it."""
    return Image.fromarray(picture[..., 0] if picture.shape[-1] == 1 else picture)
