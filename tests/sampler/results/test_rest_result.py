"""What is said of weight that is not listed: numbers of the trace, and sentences for people."""

import numpy as np
import pytest
import torch
from reference.samples import random_images

from patchindex import ImageSet
from sampler import ELSMachine, sample_steps
from sampler.noise import initial_noise
from sampler.results.rest_result import Rest, complete_sentence, retrieved_sentence, share_text
from sampler.results.run_result import Attribution
from sampler.results.trace import TraceWriter

REST = Rest(
    num_images=1990, largest_share=0.0014, average_share=0.0005, effective_images=900.0,
    effective_patches=53416.0,
)  # fmt: skip


def test_the_rest_of_a_complete_trace_is_what_the_shares_say(rng, tmp_path) -> None:
    images = ImageSet.from_array(random_images(rng, 40, 1, 7, 6), labels=np.arange(40) % 2)
    writer = TraceWriter(tmp_path / "trace.zarr", images, 2, label=1, complete=True)
    total, effective = torch.zeros(40, dtype=torch.float64), []
    for done in sample_steps(
        ELSMachine(images), initial_noise(1, images, 0), scales=[3], steps=2, num_sources=4, label=1
    ):
        writer.write(done.xt, done.answer)
        total += done.answer.sources.image_shares.dense(40)[0] / 2
        effective.append(float(done.answer.effective_sample_size.mean()))
    result = writer.result()
    assert result.complete
    found = result.attribution[0]
    ordered = total.sort(descending=True).values
    assert found.rest.num_images == 10  # twenty have the label, ten are listed
    assert found.rest.largest_share == pytest.approx(float(ordered[10]))
    assert found.rest.average_share == 1 / 20
    assert found.rest.effective_images == pytest.approx(1 / float(total.square().sum()))
    assert found.rest.effective_patches == pytest.approx(np.mean(effective), rel=1e-5)
    assert found.others == pytest.approx(float(ordered[10:].sum()))
    assert found.unattributed == pytest.approx(0, abs=1e-6)
    assert (
        f"spread over 10 other images, none with more than {share_text(float(ordered[10]))}."
        in (found.sentence(complete=True))
    )


def test_where_every_image_has_its_share_the_sentence_says_how_the_rest_is_spread() -> None:
    assert complete_sentence(0.982, REST) == (
        "Every training image's share is counted: the 98.2% not listed is spread over "
        "1,990 other images, none with more than 0.14%."
    )
    alone = Rest(
        num_images=0, largest_share=0.0, average_share=0.1, effective_images=2.0,
        effective_patches=3.0,
    )  # fmt: skip
    assert complete_sentence(0.0, alone) == (
        "Every training image's share is counted, and all that have any are listed."
    )


def test_where_patches_were_searched_for_the_sentence_says_what_is_not_known() -> None:
    assert retrieved_sentence(0.299, 0.687, REST) == (
        "68.7% is unattributed: it lies in patches that no search found, so that their images are "
        "not known (about 53,000 patches share a pixel); none of the 1,990 other images, 29.9% "
        "together, is known to have more than 0.14%."
    )


def test_runs_of_older_versions_claim_nothing_that_they_do_not_know() -> None:
    old = Attribution(images=(), others=0.0, unattributed=0.4)
    assert old.sentence(complete=False) == (
        "40.0% is unattributed: it lies in patches that no search found, so that their images "
        "are not known."
    )


def test_of_pictures_the_other_images_are_not_counted() -> None:
    assert complete_sentence(0.25, None) == (
        "Every training image's share is counted: the 25.0% not listed is spread over other images."
    )
