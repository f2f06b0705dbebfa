"""Sparse shares of images: what dense arrays of numpy say."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from reference.samples import PROPERTY

from sampler.estimator import ImageShares

STATES, IMAGES = 3, 7
TERMS = st.lists(
    st.tuples(st.integers(0, STATES - 1), st.integers(0, IMAGES - 1), st.floats(0, 1)), max_size=30
)
Terms = list[tuple[int, int, float]]


def summed(terms: Terms) -> ImageShares:
    state, image = (torch.tensor([term[i] for term in terms], dtype=torch.int64) for i in (0, 1))
    share = torch.tensor([term[2] for term in terms], dtype=torch.float64)
    return ImageShares.summed(STATES, state, image, share)


def dense(terms: Terms) -> np.ndarray:
    shares = np.zeros((STATES, IMAGES))
    for state, image, share in terms:
        shares[state, image] += share
    return shares


@PROPERTY
@given(TERMS)
def test_terms_of_one_image_are_summed_and_ordered(terms: Terms) -> None:
    found = summed(terms)
    np.testing.assert_allclose(found.dense(IMAGES), dense(terms), rtol=1e-12)
    pairs = list(zip(found.state.tolist(), found.image.tolist(), strict=True))
    assert pairs == sorted({(state, image) for state, image, _ in terms})
    for state in range(STATES):
        images, shares = found.of(state)
        np.testing.assert_allclose(shares, dense(terms)[state][images.numpy()], rtol=1e-12)


@PROPERTY
@given(TERMS, TERMS)
def test_sums_and_batches_are_those_of_dense_arrays(first: Terms, second: Terms) -> None:
    one, two = summed(first), summed(second)
    both = one.plus(two)
    assert both.num_states == STATES
    np.testing.assert_allclose(both.dense(IMAGES), dense(first) + dense(second), rtol=1e-12)
    joined = ImageShares.joined([one, ImageShares.none(2), two])
    assert joined.num_states == 2 * STATES + 2
    expected = np.concatenate([dense(first), np.zeros((2, IMAGES)), dense(second)])
    np.testing.assert_allclose(joined.dense(IMAGES), expected, rtol=1e-12)
    torch.testing.assert_close(joined.plus(joined).dense(IMAGES), 2 * joined.dense(IMAGES))


def test_images_beyond_32_bits_keep_their_numbers() -> None:
    far = 2**33 + 5
    found = ImageShares.summed(
        2, torch.tensor([1, 0, 1]), torch.tensor([far, 3, far]), torch.tensor([0.25, 1.0, 0.5])
    )
    assert found.state.tolist() == [0, 1]
    assert found.image.tolist() == [3, far]
    assert found.share.tolist() == [1.0, 0.75]


def test_nobody_is_named_in_nothing() -> None:
    nobody = ImageShares.none(2)
    assert nobody.dense(4).tolist() == [[0] * 4] * 2
    assert nobody.plus(nobody).num_states == 2
    assert nobody.of(1)[0].numel() == 0
