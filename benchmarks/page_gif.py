"""Draws `docs/page.gif`: the page of `sampler explain`, from noise to image and pixel by pixel.

    python -m benchmarks.page_gif                   # a traced run over the 2,000 bundled images
    python -m benchmarks.page_gif --run runs/traced --sample 1 --pixels 20,12:20,18

Chromium shows the page (`playwright` drives it), the slider goes through the steps, and then the
pixels are chosen one after another at the last one. `benchmarks` times nothing here; it is where
what the documents show is made.
"""

import shutil
import tempfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import click
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from benchmarks.record import RESULTS
from cli.patchindex import main as patchindex_command
from cli.sampler import main as sampler_command

OUT = RESULTS.parents[1] / "docs" / "page.gif"
PIXELS = "14,17:9,7:20,17:22,3:6,15:27,22"  # edges of the first sample, where few patches decide
SIZE = (1060, 1400)  # of the window; the page has its three columns at this width
COLORS = 256
# what the lower edge of the picture would cut in the middle of a line
CUT = "#map-meaning, #map-legend { visibility: hidden; }"
# milliseconds that a frame stays: while noise falls, at its ends, and for each chosen pixel
STEP, END, CHOSEN = 350, 1600, 1500


@click.command()
@click.option("--run", "folder", type=click.Path(path_type=Path), help="A traced run.")
@click.option("--sample", default=0, show_default=True, help="Of the run.")
@click.option("--pixels", default=PIXELS, show_default=True, help="Row,column of each.")
@click.option("--width", default=800, show_default=True, help="Of the picture, in pixels.")
@click.option("--out", type=click.Path(path_type=Path), default=OUT, show_default=True)
def main(*, folder: Path | None, sample: int, pixels: str, width: int, out: Path) -> None:
    chosen = [(int(y), int(x)) for y, x in (pair.split(",") for pair in pixels.split(":"))]
    with tempfile.TemporaryDirectory() as scratch:
        run = traced_run(Path(scratch)) if folder is None else folder
        run_command(sampler_command, "explain", run)
        frames, durations = zip(*shots(run / "explain.html", sample, chosen), strict=True)
    save_gif(out, [at_width(frame, width) for frame in frames], list(durations))
    click.echo(f"{len(frames)} frames, {out.stat().st_size / 1e6:.2f} MB: {out}")


def traced_run(scratch: Path) -> Path:
    """A run over the bundled images, which names the sources of every pixel."""
    index, run = scratch / "sample.zarr", scratch / "run"
    run_command(
        patchindex_command, "build", "--dataset", "sample", "--scales", "3,5,9,15", "--out", index
    )
    run_command(
        sampler_command, "run", "--index", index, "--num", 4, "--exact", "--trace", "--out", run
    )
    return run


def run_command(command: click.Command, *arguments: object) -> None:
    """Run one of our command lines in this process."""
    command.main([str(argument) for argument in arguments], standalone_mode=False)


def shots(
    file: Path, sample: int, pixels: list[tuple[int, int]]
) -> Iterator[tuple[Image.Image, int]]:
    """Pictures of the page, each with the milliseconds that it stays."""
    browser_path = next(
        filter(None, map(shutil.which, ["chromium", "chromium-browser", "google-chrome"])), None
    )
    if browser_path is None:
        raise click.ClickException("no Chromium is here. Install it (apt-get install chromium).")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": SIZE[0], "height": SIZE[1]})
        page.goto(file.resolve().as_uri())
        page.wait_for_selector("#page:not([hidden])")
        page.locator("#samples button").nth(sample).click()
        page.add_style_tag(content=CUT)
        choose(page, *pixels[0])
        last = int(page.locator("#step").get_attribute("max") or 0)
        for step in range(last + 1):
            page.locator("#step").fill(str(step))
            yield shot(page), END if step in {0, last} else STEP
        for y, x in pixels[1:]:
            choose(page, y, x)
            yield shot(page), CHOSEN
        browser.close()


def choose(page: Page, y: int, x: int) -> None:
    """Click a pixel of the posterior mean."""
    canvas = page.locator("#mean-view canvas")
    box = canvas.bounding_box()
    side = canvas.evaluate("canvas => [canvas.width, canvas.height]")
    if box is None:
        raise click.ClickException("the page shows no posterior mean. Give a run with a trace.")
    canvas.click(
        position={"x": (x + 0.5) * box["width"] / side[0], "y": (y + 0.5) * box["height"] / side[1]}
    )


def shot(page: Page) -> Image.Image:
    """The slider and what is below it, as far down as the sources of a pixel reach."""
    top = page.locator(".timeline").bounding_box()
    bottom = page.locator("#map-view").bounding_box()
    if top is None or bottom is None:
        raise click.ClickException("the page has no slider. Is it of this version?")
    height = bottom["y"] + bottom["height"] - top["y"] + 24
    shown = page.screenshot(
        clip={"x": 8.0, "y": top["y"] - 12, "width": SIZE[0] - 16.0, "height": height},
        full_page=True,
    )
    return Image.open(BytesIO(shown)).convert("RGB")


def at_width(picture: Image.Image, width: int) -> Image.Image:
    height = round(picture.height * width / picture.width)
    return picture.resize((width, height), Image.Resampling.LANCZOS)


def save_gif(file: Path, frames: list[Image.Image], durations: list[int]) -> None:
    """One palette for all frames, so that what stands still is stored once."""
    smallest = min(frame.height for frame in frames)
    frames = [frame.crop((0, 0, frame.width, smallest)) for frame in frames]
    strip = Image.new("RGB", (frames[0].width, smallest * len(frames)))
    for place, frame in enumerate(frames):
        strip.paste(frame, (0, place * smallest))
    palette = strip.quantize(COLORS)
    drawn = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    drawn[0].save(file, save_all=True, append_images=drawn[1:], duration=durations, loop=0)


if __name__ == "__main__":
    main()
