"""The page of `sampler explain` as text: what is in the file, and what cannot be."""

import json
import re
import zlib
from base64 import b64decode

import numpy as np
import pytest
from explain_payload import payload
from numpy import ndarray

from sampler.attribution.viewer import page
from sampler.attribution.viewer.page import render_page

KINDS = {kind: np.dtype(f"<{code}") for code, kind in page.KINDS.items()}
HEADER = re.compile(r'<script type="application/json" id="header">(.*?)</script>', re.DOTALL)
ARRAY = re.compile(
    r'<script type="text/plain" data-array="(\w+)" data-kind="(\w+)" data-shape="([\d,]+)">'
    r"([A-Za-z0-9+/=]*)</script>"
)


def arrays_in(html: str) -> dict[str, ndarray]:
    return {
        name: joined(zlib.decompress(b64decode(text)), KINDS[kind]).reshape(
            [int(size) for size in shape.split(",")]
        )
        for name, kind, shape, text in ARRAY.findall(html)
    }


def joined(planes: bytes, kind: np.dtype) -> ndarray:
    """Numbers whose lowest bytes come first, then their second ones."""
    count = len(planes) // kind.itemsize
    each = (planes[i::count] for i in range(count))
    return np.frombuffer(b"".join(each), kind)


@pytest.mark.parametrize("channels", [1, 3])
def test_header_and_arrays_come_back_as_they_went_in(channels: int) -> None:
    header, arrays = payload(channels)
    html = render_page(header, arrays)
    assert json.loads(HEADER.search(html)[1]) == header
    found = arrays_in(html)
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)


def test_byte_and_memory_order_of_an_array_do_not_matter() -> None:
    header, arrays = payload()
    other = {
        name: np.asfortranarray(array.astype(array.dtype.newbyteorder(">")))
        for name, array in arrays.items()
    }
    assert render_page(header, other) == render_page(header, arrays)


def test_an_array_of_floats_is_refused() -> None:
    header, arrays = payload()
    with pytest.raises(KeyError, match="f8"):
        render_page(header, arrays | {"mean": np.zeros(3)})


def test_a_number_that_json_has_not_is_refused() -> None:
    header, arrays = payload(num_training_images=float("nan"))
    with pytest.raises(ValueError, match="JSON"):
        render_page(header, arrays)


def test_no_text_of_a_header_ends_its_element_or_becomes_markup() -> None:
    hostile = "</script><script>alert(1)</script><!-- place of the arrays -->"
    header, arrays = payload(title=hostile, facts=[["name", hostile]])
    html = render_page(header, arrays)
    assert "alert(1)</script>" not in html
    assert "&lt;/script&gt;" in html
    assert json.loads(HEADER.search(html)[1]) == header
    assert html.count("data-array=") == render_page(*payload()).count("data-array=")


def test_the_file_names_no_other_address() -> None:
    html = render_page(*payload())
    assert not re.search(r"(https?:)?//\w+\.\w|@import|\burl\(|\bfetch\(", html)
    assert "default-src 'none'" in html


def test_every_asset_is_in_the_page_and_none_ends_its_own_element() -> None:
    html = render_page(*payload())
    for name in page.SCRIPTS:
        assert "</script" not in page.asset(name)
        assert page.asset(name) in html
    assert page.asset("page.css") in html
    assert not page.PLACE.search(html)


def test_what_is_not_data_stays_small() -> None:
    header, arrays = payload()
    html = render_page(header, arrays)
    assert len(html) - sum(len(text) for *_, text in ARRAY.findall(html)) < 90_000
