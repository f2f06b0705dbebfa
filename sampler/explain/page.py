"""The page of `sampler explain`: assets, header and arrays in one HTML file that needs no network.

The file holds the header as JSON and every array as base64 of its deflated bytes, each in a script
element that the browser does not run; `assets/data.js` reads them back. A policy in `page.html`
forbids every request, so that what is shown can only come from the file itself.
"""

import json
import re
import zlib
from base64 import b64encode
from collections.abc import Mapping
from html import escape
from importlib import resources
from typing import Any

import numpy as np
from jaxtyping import Shaped
from numpy import ndarray

# later scripts use what earlier ones define
SCRIPTS = (
    "elements.js",
    "data.js",
    "words.js",
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
    parts = {
        "title": escape(str(header["title"])),
        "style": f"<style>\n{asset('page.css')}</style>",
        "header": header_element(header),
        "arrays": "\n".join(array_element(name, array) for name, array in arrays.items()),
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
    return (resources.files("sampler.explain") / "assets" / name).read_text(encoding="utf-8")
