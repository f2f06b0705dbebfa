"""Pictures of a run: what they show, and what they say of the unknown."""

from dataclasses import asdict, replace
from math import nan

import numpy as np
import pytest
from matplotlib.figure import Figure

from sampler.results.attribution_figures import MOST_SHOWN, attribution_figure
from sampler.results.run_result import (
    Attribution,
    ImageShare,
    RunResult,
    RunStep,
    SamplerConfig,
    TraceResult,
)
from sampler.results.source_result import ScalesResult, SourceResult
from sampler.results.step_figures import steps_figure
from sampler.results.study_figures import verification_figure
from sampler.results.study_results import (
    StepComparison,
    VerifyResult,
    VerifySettings,
    VerifySummary,
    WorstAndMedian,
)

ROWS = tuple(
    RunStep(
        t=t, patch_size=patch_size, asked_patch_size=patch_size, sigma=1.0,
        effective_sample_size=size, head_mass=0.4, standard_error=error, num_scored=5e4,
        estimated_again=0.25, summed_exactly=0.1, seconds=0.5,
    )
    for t, patch_size, size, error in [(1.0, 9, 900.0, 0.0), (0.5, 9, 30.0, 0.004),
                                       (0.25, 3, 4.0, 0.002)]
)  # fmt: skip


def made(rows: tuple[RunStep, ...] = ROWS, **settings: object) -> RunResult:
    return RunResult(
        config=SamplerConfig(**({"num": 2} | settings)),
        scales=ScalesResult(name="3,9", asked=(3, 9), patch_sizes=(3, 9)),
        source=SourceResult(
            dataset="sample", num_images=1500, shape=(1, 32, 32), index="some.zarr",
            index_scales=(3, 9), sha256="0",
        ),
        seconds=1.5,
        steps=tuple(rows),
    )  # fmt: skip


def attributed(num_samples: int = 2, label: int | None = 7) -> RunResult:
    images = (ImageShare(image=41230, share=0.2, label=label),)
    images += tuple(ImageShare(image=i, share=0.001, label=label) for i in range(9))
    sample = Attribution(images=images, others=0.391, unattributed=0.4)
    return replace(made(), trace=TraceResult(attribution=(sample,) * num_samples))


def panels(figure: Figure) -> dict:
    """The panels by their titles, after a drawing that would warn of what does not fit."""
    figure.draw_without_rendering()
    return {panel.get_title(loc="left"): panel for panel in figure.axes}


def words(figure: Figure) -> list[str]:
    return [text.get_text() for panel in figure.axes for text in panel.texts]


def named(panel) -> list[str]:
    return [text.get_text() for text in panel.get_legend().get_texts()]


def test_every_number_of_the_steps_is_drawn_over_t() -> None:
    found = panels(steps_figure(made()))
    values = {
        "effective sample size, median": [900, 30, 4],
        "head mass, median": [0.4] * 3,
        "standard error (image: -1 to 1)": [0, 0.004, 0.002],
        "patches compared per pixel, mean": [5e4] * 3,
        "seconds per step, all samples": [0.5] * 3,
        "patch size P, pixels": [9, 9, 3],
    }
    assert found.keys() == values.keys()
    for title, expected in values.items():
        line = found[title].lines[0]
        np.testing.assert_array_equal(line.get_xdata(), [1, 0.5, 0.25])
        np.testing.assert_array_equal(line.get_ydata(), expected)
    left, right = found["head mass, median"].get_xlim()
    assert left > 1
    assert right < 0


def test_sizes_that_the_index_lacks_stand_beside_those_that_served() -> None:
    rows = tuple(
        replace(row, asked_patch_size=size) for row, size in zip(ROWS, (17, 9, 5), strict=True)
    )
    panel = panels(steps_figure(made(rows)))["patch size P, pixels"]
    assert named(panel) == ["asked for", "of the index, compared"]
    np.testing.assert_array_equal(panel.lines[0].get_ydata(), [17, 9, 5])
    assert [label.get_text() for label in panel.get_yticklabels()] == ["3", "5", "9", "17"]


def test_many_sizes_do_not_crowd_the_axis() -> None:
    sizes = [65 - 2 * i for i in range(32)]
    rows = [
        replace(ROWS[0], t=1 - i / 40, patch_size=size, asked_patch_size=size)
        for i, size in enumerate(sizes)
    ]
    panel = panels(steps_figure(made(tuple(rows), exact=True)))["patch size P, pixels"]
    assert len(panel.get_yticks()) < 12
    assert panel.get_legend() is None


def test_an_exact_run_uses_every_size_and_says_that_it_has_no_error() -> None:
    exact = tuple(replace(row, standard_error=0.0) for row in ROWS)
    figure = steps_figure(made(exact, exact=True))
    panel = panels(figure)["standard error (image: -1 to 1)"]
    assert [label.get_text() for label in panel.get_yticklabels()] == ["0"]
    assert words(figure) == ["exact at every step"]
    assert figure.get_suptitle() == "sample, 1,500 images: exact ELS, 2 samples"


def test_a_run_of_whole_images_has_no_patch_size() -> None:
    rows = tuple(replace(row, patch_size=None) for row in ROWS)
    figure = steps_figure(made(rows, machine="is"))
    assert "the IS machine compares whole images" in words(figure)


def test_a_tolerance_adds_its_line_and_the_ways_to_it() -> None:
    figure = steps_figure(made(tolerance=0.02, num=1))
    found = panels(figure)
    assert len(found) == 7
    assert "tolerance\n0.02" in words(figure)
    low, high = found["standard error (image: -1 to 1)"].get_ylim()
    assert low == 0
    assert high > 0.02
    ways = found["pixels beyond the tolerance at first"]
    assert named(ways) == ["estimated again", "summed exactly"]
    assert [line.get_ydata()[0] for line in ways.lines[:2]] == [0.25, 0.1]
    assert figure.get_suptitle().endswith("(k 256, tail 4,096, nprobe 16), 1 sample")


def test_what_is_not_known_is_said_in_its_place() -> None:
    unknown = [replace(row, head_mass=nan, standard_error=nan) for row in ROWS]
    figure = steps_figure(made(unknown, tail=0))
    panels(figure)
    assert words(figure) == ["not known", "not known"]


def test_a_run_of_one_step_is_drawn() -> None:
    assert len(panels(steps_figure(made(ROWS[:1])))) == 6


def test_the_bars_of_a_sample_sum_to_1() -> None:
    whole = attribution_figure(attributed()).axes[0]
    widths = [[bar.get_width() for bar in bars] for bars in whole.containers]
    assert np.sum(widths, axis=0) == pytest.approx([1, 1])


def test_each_of_the_heaviest_images_is_named_in_its_cell_or_beside_the_bar() -> None:
    figure = attribution_figure(attributed(1))
    assert words(figure) == ["41230\n7", "then 0, 1, 2, 3, 4, 5, 6, 7, 8"]
    assert words(attribution_figure(attributed(1, label=None)))[0] == "41230"


def test_of_many_samples_the_first_are_drawn() -> None:
    figure = attribution_figure(attributed(40))
    assert len(figure.axes[0].get_yticks()) == MOST_SHOWN
    assert "first 24 of 40 samples" in figure.get_suptitle()
    assert "first" not in attribution_figure(attributed(MOST_SHOWN)).get_suptitle()


def test_a_sample_without_any_named_image_is_drawn() -> None:
    alone = Attribution(images=(), others=0.0, unattributed=1.0)
    trace = TraceResult(attribution=(alone,))
    attribution_figure(replace(made(), trace=trace)).draw_without_rendering()


def verified(*steps: StepComparison) -> VerifyResult:
    run, unknown = made(), WorstAndMedian(lowest=nan, median=nan)
    return VerifyResult(
        config=VerifySettings(**asdict(run.config), recall_pixels=0, finals=False),
        scales=run.scales, source=run.source, device="cpu", seconds=1.0, steps=steps,
        summary=VerifySummary(
            R2=unknown, coverage=unknown, recall=unknown, steps_below_target_R2=0,
            exact_seconds=1.0, retrieval_seconds=1.0,
        ),
        finals=None, versions={},
    )  # fmt: skip


def test_an_exact_step_of_a_verification_stays_inside_its_panel() -> None:
    row = StepComparison(
        t=1.0, patch_size=3, sigma=1.0, R2=0.99, rmse=0.1, standard_error=0.1, coverage=0.95,
        recall=1.0, head_mass=0.5, effective_sample_size=9.0, effective_sample_size_10=3.0,
        effective_sample_size_90=12.0, estimated_effective_sample_size=9.0, num_scored=50.0,
        exact_seconds=1.0, retrieval_seconds=1.0,
    )  # fmt: skip
    exact = replace(row, t=0.5, R2=1.0, rmse=0.0, standard_error=0.0)
    found = panels(verification_figure(verified(row, exact)))  # a warning where it does not fit
    panel = found["error in image units (-1 to 1)"]
    assert panel.get_ylim()[0] == 0
    assert [line.get_ydata()[1] for line in panel.lines[:2]] == [0, 0]
