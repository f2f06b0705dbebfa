"""The page of `sampler explain` in a browser: opening it, choosing in it, reading it."""

import io
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from explain_payload import HEIGHT, WIDTH, payload
from PIL import Image

sync_api = pytest.importorskip("playwright.sync_api")
CHROMIUM = next(
    filter(None, map(shutil.which, ["chromium", "chromium-browser", "google-chrome"])), ""
)
LARGEST_WAIT = 20_000  # milliseconds; on a busy machine


def opened(
    browser: "sync_api.Browser", file: Path, address: str = "", **options: object
) -> Iterator["sync_api.Page"]:
    """The page in a browser window of its own."""
    context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}} | options)
    yield from watched(context.new_page(), file.as_uri() + address)
    context.close()


def watched(page: "sync_api.Page", address: str) -> Iterator["sync_api.Page"]:
    """The page at an address once it is ready; then, that no trouble came up in it."""
    page.set_default_timeout(LARGEST_WAIT)
    troubles: list[str] = []
    listeners = {
        "console": lambda message: troubles.append(message.text),
        "pageerror": lambda error: troubles.append(str(error)),
        "requestfailed": lambda request: troubles.append(request.url[:80]),
        "request": lambda request: troubles.extend(elsewhere(request.url)),
    }
    for event, listener in listeners.items():
        page.on(event, listener)
    page.goto("about:blank")  # or an address that differs in its choice only would not load anew
    page.goto(address)
    page.wait_for_selector("#page:not([hidden])")
    yield page
    for event, listener in listeners.items():
        page.remove_listener(event, listener)
    assert troubles == []


def elsewhere(address: str) -> list[str]:
    """The address if it is neither a file nor in the page itself."""
    return [] if address.startswith(("file:", "data:", "about:")) else [address]


def click_pixel(page: "sync_api.Page", view: str, y: int, x: int, *, tap: bool = False) -> None:
    canvas = page.locator(f"#{view}-view canvas")
    box = canvas.bounding_box()
    place = {"x": (x + 0.5) * box["width"] / WIDTH, "y": (y + 0.5) * box["height"] / HEIGHT}
    (canvas.tap if tap else canvas.click)(position=place)


def shown_sources(page: "sync_api.Page") -> list[tuple[int, int, int, str]]:
    """Image, row, column and weight of each source, read from the words that people see."""
    words = page.locator(".sources > li .source-words").all_inner_texts()
    pattern = re.compile(r"image (\d+).*?row (\d+), column (\d+)\s+([<>\d.]+%)", re.DOTALL)
    found = [pattern.search(text).groups() for text in words]
    return [(int(image), int(y), int(x), weight) for image, y, x, weight in found]


def held_sources(step: int, sample: int, y: int, x: int) -> list[tuple[int, int, int, str]]:
    """The same from the arrays."""
    _, arrays = payload()
    at = (step, sample, y, x)
    columns = (arrays[name][at] for name in ("source_image", "source_place", "source_weight"))
    return [
        (int(image), *divmod(int(place), WIDTH), percent(weight / 65535))
        for image, place, weight in zip(*columns, strict=True)
        if image >= 0
    ]


def percent(share: float) -> str:
    return f"{100 * share:.{2 if 100 * share < 10 else 1}f}%"


def move_slider(page: "sync_api.Page", step: int) -> None:
    page.locator("#step").fill(str(step))


def picture(page: "sync_api.Page", view: str) -> list[int]:
    script = "(canvas) => [...canvas.getContext('2d').getImageData(0, 0, 10, 12).data]"
    return page.locator(f"#{view}-view canvas").evaluate(script)


def is_a_picture(page: "sync_api.Page", scheme: str) -> bool:
    """Many colors, on a ground as light or dark as it should be."""
    pixels = np.asarray(Image.open(io.BytesIO(page.screenshot(full_page=True))).convert("RGB"))
    many = len(np.unique(pixels.astype(np.int32) @ [65536, 256, 1])) > 300
    return many and bool((pixels[-1, 0].mean() > 128) == (scheme == "light"))
