"""The page of `sampler explain` as a file: what its script would read."""

import json
import re
import zlib
from base64 import b64decode
from pathlib import Path

import numpy as np
from numpy import ndarray

KINDS = {"Uint8": "u1", "Uint16": "u2", "Int16": "i2", "Int32": "i4"}


def read_page(path: Path) -> tuple[dict, dict[str, ndarray]]:
    """Header and arrays of a page."""
    html = path.read_text(encoding="utf-8")
    header = re.search(r'<script type="application/json" id="header">(.*?)</script>', html)[1]
    arrays = {}
    for name, kind, shape, text in re.findall(
        r'data-array="(\w+)" data-kind="(\w+)" data-shape="([\d,]+)">(.*?)</script>', html
    ):
        dtype = np.dtype("<" + KINDS[kind])
        planes = np.frombuffer(zlib.decompress(b64decode(text)), np.uint8)
        values = planes.reshape(dtype.itemsize, -1).T.copy().view(dtype)
        arrays[name] = values.reshape([int(size) for size in shape.split(",")])
    return json.loads(header), arrays
