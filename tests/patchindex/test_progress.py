"""Progress: shares of work in hand, callbacks, and bars of tqdm's kind with the time left."""

import io
from functools import partial

import numpy as np
import pytest
import torch
from tqdm.auto import tqdm

from patchindex import ImageSet, IndexConfig, build_index
from patchindex.crew import LOCAL, portion, unwatched, watched
from patchindex.progress import no_progress, telling
from sampler import ELSMachine, sample
from sampler.attribution import attribution


class Bars:
    """Makes bars of tqdm into a text, and keeps them."""

    update = None  # as a class of bars has it

    def __init__(self) -> None:
        self.text, self.made = io.StringIO(), []

    def __call__(self, **settings: object) -> tqdm:
        self.made.append(tqdm(file=self.text, mininterval=0, **settings))
        return self.made[-1]


@pytest.fixture(scope="module")
def images() -> ImageSet:
    return ImageSet.load("sample", resolution=8, limit=30)


def test_a_callback_is_passed_on_and_nothing_tells_nobody() -> None:
    told = []
    with telling(lambda *event: told.append(event)) as tell:
        tell("a", 1, 2)
    assert told == [("a", 1, 2)]
    with telling(None) as tell:
        assert tell is no_progress


def test_a_class_of_bars_makes_one_bar_a_stage_and_ends_each() -> None:
    bars = Bars()
    with telling(bars) as tell:
        tell("one", 0.5, 2)
        tell("one", 2, 2)
        tell("two", 0.25, 1)
    assert [(bar.desc, bar.total, bar.n) for bar in bars.made] == [("one", 2, 2), ("two", 1, 0.25)]
    assert all(bar.disable for bar in bars.made)  # closed
    text = bars.text.getvalue()
    assert "one:  25%" in text
    assert "0.5/2 [" in text
    assert "left]" in text


def test_an_error_ends_the_bar() -> None:
    bars = Bars()

    def fail() -> None:
        with telling(bars) as tell:
            tell("one", 0, 2)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert bars.made[0].disable


def test_shares_of_nested_work_rise_to_one() -> None:
    shares = []
    with watched(shares.append):
        for number in range(3):
            with portion(number, 3):
                LOCAL.run(abs, [1, 2])
                with unwatched():
                    LOCAL.run(abs, [1, 2, 3])
    assert shares == pytest.approx([1 / 6, 1 / 3, 1 / 2, 2 / 3, 5 / 6, 1])


def test_a_second_pass_over_the_same_work_takes_nothing_back() -> None:
    shares = []
    with watched(shares.append):
        for _ in range(2):
            LOCAL.run(abs, [1, 2])
    assert shares == [0.5, 1]


@pytest.mark.parametrize("sampler", ["ddim", "heun"])
def test_sampling_tells_how_many_steps_are_done_and_how_much_of_the_next(
    images: ImageSet, sampler: str, monkeypatch
) -> None:
    monkeypatch.setattr("sampler.exact.BLOCK_PIXELS", 10 * 8 * 8)  # three blocks of images a step
    told, noise = [], torch.randn(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    run = partial(sample, ELSMachine(images), noise, scales=[3], steps=4, sampler=sampler)
    silent = run()
    found = run(progress=lambda *event: told.append(event))
    assert torch.equal(found.images, silent.images)
    stages, done, totals = zip(*told, strict=True)
    assert (set(stages), set(totals)) == ({"sampling"}, {4})
    assert list(done) == sorted(done)
    assert done[-1] == 4
    assert any(value % 0.5 for value in done)  # inside a step, and inside the half of one


def test_a_function_as_a_denoiser_tells_of_its_steps() -> None:
    bars = Bars()
    sample(lambda y, sigma: y / (1 + sigma**2), torch.ones(1, 1, 4, 4), steps=5, progress=bars)
    assert [(bar.desc, bar.n) for bar in bars.made] == [("sampling", 5)]


def test_indices_and_attributions_take_bars(images: ImageSet, tmp_path) -> None:
    bars = Bars()
    index = build_index(images, IndexConfig(scales=(3,)), tmp_path / "a.zarr", progress=bars)
    index.verify(progress=bars)
    built = len(bars.made)
    assert built >= 2
    attribution(index, images.tensor[:1], sigmas=[1.0, 0.5], draws=1, progress=bars)
    assert [bar.n for bar in bars.made[built:]] == [2]
    assert all(bar.disable for bar in bars.made)


def test_reading_images_is_watched() -> None:
    bars = Bars()
    with watched(bars, "reading"):
        ImageSet.from_images(list(np.zeros((5, 4, 4), np.uint8)))
    assert [(bar.desc, bar.n) for bar in bars.made] == [("reading", 1)]
