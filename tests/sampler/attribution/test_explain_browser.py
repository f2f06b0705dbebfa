"""The page of `sampler explain` in a real browser: what people see, click, type and hear."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from explain_browser import (
    CHROMIUM,
    click_pixel,
    held_sources,
    is_a_picture,
    move_slider,
    opened,
    picture,
    shown_sources,
    sync_api,
    watched,
)
from explain_payload import ABSENT, HEIGHT, PATCH_SIZES, STEPS, WIDTH, payload
from hostile_folder import write_hostile_folder
from numpy import ndarray
from traced_run import SIDE, few_images, traced_run

from patchindex import ImageSet
from sampler.attribution.run_folder import RunFolder
from sampler.attribution.viewer.page import explain, render_page
from sampler.results.trace import Trace

pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no Chromium on PATH")
LAST = STEPS - 1


@pytest.fixture(scope="module")
def browser() -> Iterator["sync_api.Browser"]:
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("explain") / "explain.html"
    path.write_text(render_page(*payload()), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def tab(browser: "sync_api.Browser") -> Iterator["sync_api.Page"]:
    """One for most tests, because a new one takes longer than they do."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    yield context.new_page()
    context.close()


@pytest.fixture
def page(tab: "sync_api.Page", file: Path) -> Iterator["sync_api.Page"]:
    yield from watched(tab, file.as_uri())


@pytest.mark.parametrize("view", ["state", "mean", "map"])
def test_a_click_shows_the_sources_that_the_trace_holds(page: "sync_api.Page", view: str) -> None:
    for y, x in [(0, 0), (5, 7), (HEIGHT - 1, WIDTH - 1)]:
        click_pixel(page, view, y, x)
        assert page.locator("#pixel-title").inner_text() == f"Pixel at row {y}, column {x}"
        assert shown_sources(page) == held_sources(LAST, 0, y, x)


def test_the_slider_leads_to_the_sources_and_pictures_of_a_step(page: "sync_api.Page") -> None:
    _, arrays = payload()
    click_pixel(page, "state", 4, 3)
    for step in (1, 2, 3):
        move_slider(page, step)
        assert shown_sources(page) == held_sources(step, 0, 4, 3)
        for name in ("state", "mean"):
            assert picture(page, name)[::4] == arrays[name][step, 0, 0].ravel().tolist()
        side = PATCH_SIZES[step]
        assert (
            page.locator("#step-text")
            .inner_text()
            .endswith(f"window {side}\N{MULTIPLICATION SIGN}{side}")
        )


def test_the_page_opens_where_the_file_says_unless_the_address_says_otherwise(
    browser: "sync_api.Browser", tmp_path: Path
) -> None:
    header, arrays = payload(start={"sample": 1, "step": 2, "y": 4, "x": 7})
    path = tmp_path / "start.html"
    path.write_text(render_page(header, arrays), encoding="utf-8")
    for address, title, step in (
        ("", "row 4, column 7", 3),
        ("#pixel=1,2&step=4", "row 1, column 2", 4),
    ):
        page = browser.new_page()
        page.goto(path.as_uri() + address)
        page.wait_for_selector("#makers .maker")
        assert title in page.locator("#pixel-title").inner_text()
        assert page.locator("#step-text").inner_text().startswith(f"{step} of {STEPS}")
        assert "sample 1" in page.locator("#makers-title").inner_text()
        assert "15.0 % is unattributed." in page.locator("#makers").inner_text()
        assert "50\N{MULTIPLICATION SIGN} an average image" in page.locator("#makers").inner_text()
        page.close()


def test_where_no_source_is_listed_the_page_says_why(page: "sync_api.Page") -> None:
    move_slider(page, 0)
    assert page.locator(".sources").count() == 0
    assert "spread over very many patches" in page.locator("#sources").inner_text()
    assert "100% not listed" in page.locator("#sources").inner_text()


def test_a_source_without_its_picture_says_so(page: "sync_api.Page") -> None:
    _, arrays = payload()
    y, x = np.argwhere(arrays["source_image"][LAST, 0, :, :, 0] == ABSENT)[0]
    click_pixel(page, "mean", int(y), int(x))
    first = page.locator(".sources > li").first
    assert "picture not in this file" in first.inner_text()
    assert shown_sources(page) == held_sources(LAST, 0, int(y), int(x))


def test_another_sample_shows_its_own(page: "sync_api.Page") -> None:
    _, arrays = payload()
    assert page.locator("#left-out").is_hidden()
    page.get_by_role("button", name="Sample 1, coat").click()
    assert picture(page, "mean")[::4] == arrays["mean"][LAST, 1, 0].ravel().tolist()
    click_pixel(page, "map", 2, 6)
    assert shown_sources(page) == held_sources(LAST, 1, 2, 6)
    assert "without training images 57, 3" in page.locator("#left-out").inner_text()
    # and the scale of the difference
    assert page.locator("#left-out canvas").count() == 4


def test_arrow_keys_move_the_pixel_and_stop_at_the_border(page: "sync_api.Page") -> None:
    click_pixel(page, "state", 1, 8)
    for key in ("ArrowRight", "ArrowRight", "ArrowRight", "ArrowUp", "ArrowLeft", "ArrowDown"):
        page.keyboard.press(key)
    assert page.locator("#pixel-title").inner_text() == "Pixel at row 1, column 8"
    assert shown_sources(page) == held_sources(LAST, 0, 1, 8)


def test_tab_reaches_every_control_and_the_keyboard_works_it(page: "sync_api.Page") -> None:
    reached = []
    for _ in range(16):
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate("document.activeElement.ariaLabel || document.activeElement.id")
        )
        if reached[-1] == "step":
            page.keyboard.press("ArrowLeft")
    assert {"Sample 0, shirt", "Sample 1, coat", "Sample 2", "play", "step"} <= set(reached)
    pictures = [
        name for name in reached if re.match(r"Noisy state|Posterior mean|Map: Source image", name)
    ]
    assert len(set(pictures)) == 3
    assert shown_sources(page) == held_sources(LAST - 1, 0, HEIGHT // 2, WIDTH // 2)


def test_everything_has_a_name_and_the_choice_is_announced(page: "sync_api.Page") -> None:
    unnamed = """() => [...document.querySelectorAll("button, input, canvas, [role=img]")]
        .filter((node) => !node.closest("[aria-hidden=true]"))
        .filter((node) => !(node.ariaLabel || node.labels?.length || node.textContent.trim()))
        .map((node) => node.outerHTML.slice(0, 90))"""
    assert page.evaluate(unnamed) == []
    # nor does the output of the slider speak, whose role would have it do so
    assert page.locator("[aria-live=polite], output:not([aria-live=off])").count() == 1
    click_pixel(page, "state", 3, 2)
    image, *_, weight = held_sources(LAST, 0, 3, 2)[0]
    said = page.get_by_role("status").filter(has_text="row 3, column 2")
    said.filter(has_text=f"image {image}").filter(has_text=weight).wait_for(state="attached")


def test_a_row_of_the_table_leads_to_its_step(page: "sync_api.Page") -> None:
    assert page.locator("tbody tr").count() == STEPS
    page.get_by_role("button", name="Go to step 2").click()
    assert page.locator("tr[aria-current=step]").get_attribute("data-step") == "1"
    assert shown_sources(page) == held_sources(1, 0, HEIGHT // 2, WIDTH // 2)


def test_every_map_is_drawn_and_differs_from_the_others(page: "sync_api.Page") -> None:
    drawn = set()
    for name in page.locator("#map-options label").all_inner_texts():
        page.get_by_role("radio", name=name).check()
        drawn.add(tuple(picture(page, "map")))
        assert page.locator("#map-name").inner_text() == name
    assert len(drawn) == 6


def test_pointing_at_a_training_image_fades_the_rest_of_the_map(page: "sync_api.Page") -> None:
    whole = picture(page, "map")
    page.locator(".maker").first.click()
    page.mouse.move(0, 0)
    assert picture(page, "map") != whole
    page.locator(".maker").first.click()
    page.mouse.move(0, 0)
    page.locator("#step").focus()
    assert picture(page, "map") == whole


def test_the_address_keeps_what_is_chosen(tab: "sync_api.Page", file: Path) -> None:
    address = "#sample=2&step=3&pixel=7,4&map=head_mass"
    for page in watched(tab, file.as_uri() + address):
        assert shown_sources(page) == held_sources(2, 2, 7, 4)
        assert page.get_by_role("radio", name="Head mass").is_checked()
        page.locator("#state-view canvas").press("ArrowDown")
        page.wait_for_url(re.compile(r"#sample=2&step=3&pixel=8,4&map=head_mass$"))


def test_an_address_that_this_run_has_not_is_not_followed(tab: "sync_api.Page", file: Path) -> None:
    for page in watched(tab, file.as_uri() + "#sample=99&step=0&pixel=-1,x&map=nothing"):
        assert shown_sources(page) == held_sources(LAST, 0, HEIGHT // 2, WIDTH // 2)


def test_playing_goes_from_step_to_step_and_stops_at_the_image(page: "sync_api.Page") -> None:
    page.get_by_role("button", name="Play").click()
    assert page.locator("tr[aria-current=step]").get_attribute("data-step") == "0"
    page.get_by_role("button", name="Pause").wait_for()
    page.get_by_role("button", name="Play").wait_for()
    assert page.locator("tr[aria-current=step]").get_attribute("data-step") == str(LAST)


def test_who_wants_less_motion_goes_one_step_at_a_time(page: "sync_api.Page") -> None:
    page.emulate_media(reduced_motion="reduce")
    move_slider(page, 1)
    page.get_by_role("button", name="Next step").click()
    page.emulate_media(reduced_motion="no-preference")
    assert shown_sources(page) == held_sources(2, 0, HEIGHT // 2, WIDTH // 2)


def test_a_phone_shows_it_all_without_scrolling_sideways(
    browser: "sync_api.Browser", file: Path
) -> None:
    options = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
    for page in opened(browser, file, **options):
        for scheme in ("dark", "light"):
            page.emulate_media(color_scheme=scheme)
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
            assert is_a_picture(page, scheme)
        click_pixel(page, "map", 6, 2, tap=True)
        assert shown_sources(page) == held_sources(LAST, 0, 6, 2)
        sizes = page.locator("button").evaluate_all(
            "(nodes) => nodes.map((node) => node.getBoundingClientRect())"
            ".map((box) => Math.min(box.width, box.height))"
        )
        assert min(sizes) >= 40


def test_a_desktop_shows_it_all(page: "sync_api.Page") -> None:
    for scheme in ("dark", "light"):
        page.emulate_media(color_scheme=scheme)
        assert is_a_picture(page, scheme)


def test_colors_and_windows_that_wrap(tab: "sync_api.Page", tmp_path: Path) -> None:
    header, arrays = payload(3, boundary="circular", leave_out=None, class_names=None)
    for name in ("head_mass", "standard_error", "held_against", "left_out"):
        del arrays[name]
    file = tmp_path / "colors.html"
    file.write_text(render_page(header, arrays), encoding="utf-8")
    for page in watched(tab, file.as_uri()):
        shown = np.reshape(picture(page, "mean"), (HEIGHT, WIDTH, 4))[..., :3]
        np.testing.assert_array_equal(np.moveaxis(shown, -1, 0), arrays["mean"][LAST, 0])
        click_pixel(page, "mean", 0, 0)
        window = page.locator("#pixel-window canvas").evaluate(
            "(canvas) => [...canvas.getContext('2d').getImageData(0, 0, 3, 3).data]"
        )
        np.testing.assert_array_equal(np.reshape(window, (3, 3, 4))[..., :3], wrapped(arrays))
        # the window and three copies of it, from the other sides, each drawn twice
        assert page.locator("#state-view rect.window").count() == 4
        assert page.locator("#map-options label").count() == 4


def test_windows_that_do_not_wrap_are_cut_at_the_border(page: "sync_api.Page") -> None:
    click_pixel(page, "state", 0, WIDTH - 1)
    frame = page.locator("#state-view rect.window")
    assert [frame.get_attribute(side) for side in ("x", "y", "width", "height")] == [
        "8",
        "0",
        "2",
        "2",
    ]
    opacity = page.locator("#pixel-window canvas").evaluate(
        "(canvas) => [...canvas.getContext('2d').getImageData(0, 0, 3, 3).data]"
    )[3::4]
    assert opacity == [0, 0, 0, 255, 255, 0, 255, 255, 0]


def test_the_ramp_grows_lighter_from_end_to_end(page: "sync_api.Page") -> None:
    ramp = np.array(page.evaluate("RAMP"))
    lightness = ramp @ [0.2126, 0.7152, 0.0722]
    assert ramp.shape == (256, 3)
    assert (np.diff(lightness[::4]) > 0).all()
    assert lightness[0] < 40
    assert lightness[-1] > 220


def test_shares_of_training_images_and_the_rest_are_told(page: "sync_api.Page") -> None:
    makers = page.locator(".maker-words").all_inner_texts()
    assert [text.split()[:4] for text in makers] == [
        ["image", "57,", "coat", "50.0%"],
        ["image", "3,", "shirt", "20.0%"],
        ["image", str(ABSENT) + ",", "shoe", "5.00%"],
    ]
    remainders = page.locator(".remainders li").all_inner_texts()
    assert [text.split()[0] for text in remainders] == ["75.0%", "10.0%", "15.0%"]


def test_a_click_shows_the_sources_that_the_trace_of_a_run_holds(
    tab: "sync_api.Page", tmp_path: Path
) -> None:
    folder = traced_run(tmp_path)
    explanation = explain(RunFolder.open(folder), few_images())
    file, trace = tmp_path / "explain.html", Trace.open(folder)
    file.write_text(explanation.html, encoding="utf-8")
    step, sample = 2, 1
    fourth = trace.read("source_weights")[step, sample, ..., 3]
    y, x = np.unravel_index(fourth.argmax(), fourth.shape)
    for page in watched(tab, f"{file.as_uri()}#sample={sample}&step={step + 1}"):
        canvas = page.locator("#state-view canvas")
        cell = canvas.bounding_box()["width"] / SIDE
        canvas.click(position={"x": (x + 0.5) * cell, "y": (y + 0.5) * cell})
        shown = shown_sources(page)
    at = (step, sample, y, x)
    ids, weights = trace.source_ids()[at][:4], trace.read("source_weights")[at][:4]
    expected = [
        (int(patch) // SIDE**2, *divmod(int(patch) % SIDE**2, SIDE)) for patch in ids.tolist()
    ]
    assert [source[:3] for source in shown] == expected
    told = [float(source[3].rstrip("%")) for source in shown]
    np.testing.assert_allclose(told, 100 * weights.astype(float), rtol=0.01, atol=0.01)


def test_names_of_files_are_shown_as_text_and_nothing_of_them_is_run(
    tab: "sync_api.Page", tmp_path: Path
) -> None:
    write_hostile_folder(tmp_path / "images")
    images = ImageSet.load(f"folder:{tmp_path / 'images'}", resolution=12)
    header, arrays = payload()
    numbers = (3, 40, 57, 58, 900, ABSENT)  # that the payload names
    for first in range(0, len(images), len(numbers)):
        names = [(first + i) % len(images) for i in range(len(numbers))]
        shown = {
            str(number): images.file_name(name) for number, name in zip(numbers, names, strict=True)
        }
        file = tmp_path / "hostile.html"
        file.write_text(render_page(header | {"file_names": shown}, arrays), encoding="utf-8")
        for page in watched(tab, file.as_uri() + "#sample=1"):
            for image, told in zip(
                (57, 3, ABSENT), page.locator(".makers .file").all(), strict=True
            ):
                name = shown[str(image)]
                assert told.get_attribute("title") == name
                if len(name) <= 80:
                    assert told.text_content() == name
                else:
                    start, end = told.text_content().split("\N{HORIZONTAL ELLIPSIS}")
                    assert name.startswith(start)
                    assert name.endswith(end)
            assert page.locator(".left-out-files .file").count() == 2
            assert page.locator(".sources .file").count() > 0
            assert page.locator("img, b").count() == 0
            assert page.evaluate("window.harmed") is None
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_images_without_files_of_their_own_have_numbers_alone(page: "sync_api.Page") -> None:
    assert page.locator(".file").count() == 0


def test_pictures_have_their_rows_and_columns_beside_them(page: "sync_api.Page") -> None:
    canvas = page.locator("#map-view canvas").bounding_box()
    for kind, size, start in (("columns", WIDTH, "x"), ("rows", HEIGHT, "y")):
        along = "width" if start == "x" else "height"
        ticks = page.locator(f"#map-view .{kind} .tick").all()
        assert len(ticks) >= 3
        for tick in ticks:
            box, number = tick.bounding_box(), int(tick.inner_text())
            middle = box[start] + box[along] / 2 - canvas[start]
            assert middle == pytest.approx((number + 0.5) / size * canvas[along], abs=1.5)


def test_buttons_choose_the_pixel_beside(page: "sync_api.Page") -> None:
    click_pixel(page, "state", 4, 5)
    for name in ("Left", "Up", "Up", "Down", "Right"):
        page.get_by_role("button", name=name, exact=True).click()
    assert page.locator("#pixel-title").inner_text() == "Pixel at row 3, column 5"


@pytest.mark.slow
def test_a_damaged_file_says_so(tab: "sync_api.Page", tmp_path: Path) -> None:
    file = tmp_path / "damaged.html"
    html = render_page(*payload())
    file.write_text(re.sub(r'(data-array="mean"[^>]*>)[^<]{40}', r"\1", html), encoding="utf-8")
    tab.goto(file.as_uri())
    assert "could not read its data" in tab.get_by_role("alert").inner_text()


def wrapped(arrays: dict[str, ndarray]) -> ndarray:
    """The window of pixel (0, 0) of the last state."""
    rolled = np.roll(arrays["state"][LAST, 0], (1, 1), axis=(1, 2))
    return np.moveaxis(rolled[:, :3, :3], 0, -1)
