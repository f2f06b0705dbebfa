"""Write the page: one HTML file that needs no network, made from a run's folder.

The file holds the header as JSON and every array as base64 of its deflated bytes, each in a script
element that the browser does not run; `assets/data.js` reads them back. A policy in `page.html`
forbids every request, so that what is shown can only come from the file itself.
"""

import json
import re
import zlib
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib import resources
from typing import Any

import numpy as np
from jaxtyping import Int, Shaped
from numpy import ndarray

from patchindex import ImageSet
from patchindex.crew import portion
from sampler.attribution.shown import Shown
from sampler.attribution.viewer.payload import (
    SHOWN_BYTES,
    chosen_samples,
    file_names,
    heaviest_images,
    made_images,
    make_payload,
    picture_arrays,
)

# later scripts use what earlier ones define
SCRIPTS = (
    "elements.js",
    "data.js",
    "words.js",
    "pictures.js",
    "copies.js",
    "colors.js",
    "paint.js",
    "views.js",
    "maps.js",
    "sources.js",
    "steps.js",
    "makers.js",
    "app.js",
)
KINDS = {"u1": "Uint8", "u2": "Uint16", "i2": "Int16", "i4": "Int32"}
COMPRESSION_LEVEL = 9
PLACE = re.compile(r"<!-- place of the (title|style|header|arrays|scripts) -->")


def render_page(header: Mapping[str, Any], arrays: Mapping[str, Shaped[ndarray, "..."]]) -> str:
    """The complete HTML of a run.

    Args:
        header: what JSON can hold, without nan or infinity.
        arrays: of the kinds u1, u2, i2 and i4, under the names that `assets/data.js` knows.
    """
    elements = []
    for number, (name, array) in enumerate(arrays.items()):
        with portion(number, len(arrays)):
            elements.append(array_element(name, array))
    parts = {
        "title": escape(str(header["title"])),
        "style": f"<style>\n{asset('page.css')}</style>",
        "header": header_element(header),
        "arrays": "\n".join(elements),
        "scripts": "\n".join(f"<script>\n{asset(name)}</script>" for name in SCRIPTS),
    }
    # one pass, because a title may itself look like a place
    return PLACE.sub(lambda match: parts[match[1]], asset("page.html"))


def header_element(header: Mapping[str, Any]) -> str:
    """The header as JSON in an element; no text in it can end the element."""
    text = json.dumps(header, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    return f'<script type="application/json" id="header">{text}</script>'


def array_element(name: str, array: Shaped[ndarray, "..."]) -> str:
    """The deflated bytes of an array, with its kind and shape.

    All lowest bytes come first, then all second ones: image numbers share their high bytes, so
    that the file is up to a quarter smaller than with each number's bytes together.
    """
    kind = KINDS[array.dtype.str[1:]]
    little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    planes = little.reshape(-1).view(np.uint8).reshape(-1, array.itemsize).T
    text = b64encode(zlib.compress(planes.tobytes(), COMPRESSION_LEVEL)).decode("ascii")
    shape = ",".join(str(size) for size in array.shape)
    return (
        f'<script type="text/plain" data-array="{escape(name)}" data-kind="{kind}" '
        f'data-shape="{shape}">{text}</script>'
    )


def asset(name: str) -> str:
    """The text of a file in `assets/`."""
    assets = resources.files("sampler.attribution.viewer") / "assets"
    return (assets / name).read_text(encoding="utf-8")


TRIAL_IMAGES = 1024
PICTURE_BITS = (8, 6, 5, 4)
MARGIN = 0.95  # of the room: images of less weight may be larger when deflated


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """The page of a run.

    Attributes:
        samples: numbers of the samples that it shows.
        num_pictures, num_named: training images that it holds, and that it names.
    """

    html: str
    samples: tuple[int, ...]
    num_pictures: int
    num_named: int


def explain(run: Shown, images: ImageSet, wanted: Sequence[int] | None = None) -> Explanation:
    """The page that shows where each pixel comes from, of a run's samples or of pictures.

    Args:
        images: the training images.
        wanted: numbers of samples; as many of the first as a page of fair size holds if None.

    Raises:
        DatasetError: these are not the run's images.
        SamplerConfigError: there is no such sample.
        StoreError: the trace is damaged.
    """
    samples = chosen_samples(run, wanted)
    header, arrays = make_payload(run, images, samples)
    named = heaviest_images(header, arrays)
    header["file_names"] = file_names(images, named)
    with portion(0, 2):
        bare = len(render_page(header, arrays | picture_arrays(images, named[:0])))
    bits, count = pictures_fitting(images, named, SHOWN_BYTES - bare)
    kept = named[: max(len(made_images(header)), count)]
    levels = f"{len(kept):,} of the {len(named):,} images named here, {2**bits} levels a channel"
    header["facts"].append(["Pictures in this file", levels])
    with portion(1, 2):
        html = render_page(header, arrays | picture_arrays(images, kept, bits))
    return Explanation(
        html=html,
        samples=tuple(samples),
        num_pictures=len(kept),
        num_named=len(named),
    )


def pictures_fitting(images: ImageSet, named: Int[ndarray, " n"], room: int) -> tuple[int, int]:
    """Bits a pixel and number of the pictures that fit into so many bytes of a page.

    All of them with as many bits as they can have, or else as many as fit with the fewest.
    """
    trial = named[:TRIAL_IMAGES]
    for bits in PICTURE_BITS:
        taken = len(array_element("embedded", picture_arrays(images, trial, bits)["embedded"]))
        count = max(0, int(MARGIN * room * len(trial) / taken))
        if count >= len(named):
            break
    return bits, min(count, len(named))
