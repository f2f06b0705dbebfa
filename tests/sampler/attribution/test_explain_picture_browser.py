"""The page of `sampler explain --image` in a real browser, on a desktop and on a phone."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from explain_browser import CHROMIUM, is_a_picture, opened, shown_sources, sync_api
from page_file import read_page
from picture_answer import LEFT, LEVELS, RIGHT, answered
from traced_run import SIDE, few_images

pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no Chromium on PATH")
SIGMA = "\N{GREEK SMALL LETTER SIGMA}"
WINDOWS = {
    "desktop": {"viewport": {"width": 1280, "height": 900}},
    "phone": {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True},
}


@pytest.fixture(scope="module")
def browser() -> Iterator["sync_api.Browser"]:
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return answered(tmp_path_factory.mktemp("pictures")) / "explain.html"


@pytest.fixture(params=WINDOWS)
def folded(browser: "sync_api.Browser", file: Path, request) -> Iterator["sync_api.Page"]:
    yield from opened(browser, file, **WINDOWS[request.param])


@pytest.fixture
def page(folded: "sync_api.Page") -> "sync_api.Page":
    """The page with what is folded at first."""
    folded.locator("#theory > summary").click()
    return folded


@pytest.mark.slow
def test_the_answer_comes_first_and_the_theory_is_folded(folded: "sync_api.Page") -> None:
    assert folded.locator("#process-title").is_hidden()
    shown = folded.locator("main").inner_text()
    assert shown.index("Near-copy of one training image: ") < shown.index(
        "Most similar training images"
    )
    assert "one that copies nothing has such shares, too" in shown
    assert "unattributed" not in shown
    folded.locator("#theory > summary").click()
    assert folded.locator("#process-title").is_visible()
    folded.get_by_text("What the words mean").click()
    assert "The part of the weight that was summed patch by patch" in folded.inner_text(".terms")
    assert folded.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_numbers_of_a_pixel_stand_in_a_line_each(page: "sync_api.Page") -> None:
    heights = page.locator(".values dt").evaluate_all("(all) => all.map((one) => one.offsetHeight)")
    assert max(heights) < 60


def test_the_words_are_those_of_pictures(page: "sync_api.Page") -> None:
    assert page.locator("h1").inner_text().startswith("copy.png and mosaic.png beside the training")
    assert page.locator(".lead").inner_text().startswith("Whether these pictures have a region of")
    assert page.locator("#samples-title").inner_text() == "The pictures"
    assert page.locator("label[for=step]").inner_text() == "Noise level"
    assert page.locator("#process-title").inner_text() == "copy.png: from noise to picture"
    assert page.locator("#step-text").inner_text().startswith(f"3 of 3: {SIGMA} = 0.05, window 7")
    shown = page.locator("main").inner_text().lower()
    for word in ("sample ", "this step", "null", "undefined"):
        assert word not in shown.replace("effective sample size", "")
    assert page.locator("#left-out").is_hidden()


def test_the_picture_itself_is_shown_and_its_largest_shares(page: "sync_api.Page") -> None:
    levels = page.locator("#samples canvas").first.evaluate(
        "(canvas) => [...canvas.getContext('2d').getImageData(0, 0, 16, 16).data]"
    )
    assert levels[::4] == few_images().pixels[21].ravel().tolist()
    page.get_by_role("button", name="mosaic.png").click()
    told = page.locator("#summary").inner_text()
    assert "nine tenths of what is attributed" in told
    largest = told.partition("The largest shares: ")[2].partition(".")[0]
    assert f"image {LEFT}" in told
    assert f"image {RIGHT}" in told
    assert largest.startswith((f"image {LEFT}", f"image {RIGHT}"))
    made = page.locator(".maker").evaluate_all("(all) => all.map((one) => one.dataset.image)")
    assert set(made[:2]) == {str(LEFT), str(RIGHT)}


def test_levels_lead_to_the_sources_that_the_file_holds(page: "sync_api.Page", file: Path) -> None:
    header, arrays = read_page(file)
    assert page.locator("thead th").all_inner_texts()[:3] == ["Level", SIGMA, "Window"]
    assert page.locator("tbody tr").count() == len(LEVELS)
    page.get_by_role("button", name=f"Go to noise level 2, {SIGMA} = 0.4").click()
    shown = shown_sources(page)
    at = (1, 0, header["start"]["y"], header["start"]["x"])
    listed = arrays["source_image"][at] >= 0
    assert [source[0] for source in shown] == arrays["source_image"][at][listed].tolist()
    places = arrays["source_place"][at][listed]
    assert [source[1:3] for source in shown] == [divmod(int(place), SIDE) for place in places]


@pytest.mark.slow
def test_it_all_fits_and_playing_goes_over_levels(page: "sync_api.Page") -> None:
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert is_a_picture(page, "light")
    unnamed = """() => [...document.querySelectorAll("button, input, canvas, [role=img]")]
        .filter((node) => !node.closest("[aria-hidden=true]"))
        .filter((node) => !(node.ariaLabel || node.labels?.length || node.textContent.trim()))
        .map((node) => node.outerHTML.slice(0, 90))"""
    assert page.evaluate(unnamed) == []
    page.get_by_role("button", name="Play").click()
    page.get_by_role("button", name="Play").wait_for()
    assert page.locator("tr[aria-current=step]").get_attribute("data-step") == "2"
    assert np.isclose(float(page.locator("#step").input_value()), 2)
