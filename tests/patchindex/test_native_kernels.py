"""The C++ kernels against float64 brute force that shares no code with the product."""

import itertools
import os
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from interruptible import start_interruptible

from patchindex.geometry import PatchGeometry

native = pytest.importorskip("patchindex.kernels.native_backend")

BOUNDARIES = ["zeros", "circular", "circular_interior"]
SIGMAS = [0.0781, 0.6, 11.0]


def axis_rule(size, patch_size, boundary, equivariant, at):
    """Legal centers of coordinate `at` and the offsets compared, from the paper's rule."""
    r = patch_size // 2
    window = list(range(-r, r + 1))
    clipped = [o for o in window if 0 <= at + o < size]
    if not equivariant:
        return [at], clipped if boundary == "zeros" else window
    if boundary == "circular":
        return list(range(size)), window
    if boundary == "circular_interior":
        return list(range(r, size - r)), window
    return (list(range(r, size - r)), window) if len(clipped) == patch_size else ([at], clipped)


def cut(images, rows, cols):
    height, width = images.shape[-2:]
    return images[..., np.array(rows) % height, :][..., np.array(cols) % width]


def dictionary(pixels, geometry, y, x):
    """(centers [k, 2], row offsets, column offsets) of pixel (y, x)."""
    rule = (geometry.patch_size, geometry.boundary, geometry.equivariant)
    rows, row_offsets = axis_rule(geometry.height, *rule, y)
    cols, col_offsets = axis_rule(geometry.width, *rule, x)
    return list(itertools.product(rows, cols)), row_offsets, col_offsets


def brute_log_weights(pixels, query, sigma, geometry, y, x):
    """Float64 log weights [n, k] and centers [n, k, c] of one pixel of one state."""
    clean = pixels.astype(np.float64) / 127.5 - 1
    centers, rows, cols = dictionary(pixels, geometry, y, x)
    window = cut(query.astype(np.float64), [y + o for o in rows], [x + o for o in cols])
    dist = [
        ((cut(clean, [cy + o for o in rows], [cx + o for o in cols]) - window) ** 2).sum((1, 2, 3))
        for cy, cx in centers
    ]
    values = np.stack([clean[:, :, cy, cx] for cy, cx in centers], axis=1)
    return -np.stack(dist, axis=1) / (2 * sigma**2), values


def summary(log_weights, values):
    """(log mass, posterior mean, effective sample size) of all the patches."""
    log_weights, values = log_weights.reshape(-1), values.reshape(-1, values.shape[-1])
    largest = log_weights.max()
    weights = np.exp(log_weights - largest)
    mean = (weights[:, None] * values).sum(0) / weights.sum()
    return largest + np.log(weights.sum()), mean, weights.sum() ** 2 / (weights**2).sum()


def log_mass(record):
    return record.log_max + record.sum_w.log()


def mean(record):
    return record.sum_wc / record.sum_w[..., None]


def effective_sample_size(record):
    return record.sum_w**2 / record.sum_w2


def noisy_states(rng, pixels, sigma, batch):
    """States on the path of the sampler: training images with noise."""
    clean = pixels[rng.integers(len(pixels), size=batch)] / 127.5 - 1
    return (clean + sigma * rng.standard_normal(clean.shape)).astype(np.float32)


def scan(pixels, y, sigma, geometry, **options):
    return native.exact_scan(
        torch.from_numpy(pixels), torch.from_numpy(y), sigma, geometry, **options
    )


def assert_agrees(record, pixels, y, sigma, geometry, *, log_tol=1e-3):
    """Float32 distances carry a relative error of some 2e-7: log weights of -2500 one of 5e-4."""
    for b, row, col in itertools.product(*map(range, (len(y), geometry.height, geometry.width))):
        expected = brute_log_weights(pixels, y[b], sigma, geometry, row, col)
        mass, center, size = summary(*expected)
        at = (b, row, col)
        assert float(log_mass(record)[at]) == pytest.approx(mass, abs=log_tol, rel=4e-7)
        np.testing.assert_allclose(mean(record)[at].numpy(), center, atol=1e-3)
        assert float(effective_sample_size(record)[at]) == pytest.approx(size, rel=1e-3)
        assert int(record.num_scored[at]) == expected[0].size


@st.composite
def problems(draw):
    """Images of any shape and number, a geometry, a noise level, a batch of states."""
    height, width = draw(st.integers(1, 8)), draw(st.integers(1, 8))
    boundary, equivariant = draw(st.sampled_from(BOUNDARIES)), draw(st.booleans())
    largest = min(height, width) if boundary == "circular_interior" else 2 * max(height, width) - 1
    patch_size = draw(st.sampled_from(range(1, largest + 1, 2)))
    num = draw(st.sampled_from([1, 2, 15, 16, 17, 33]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    pixels = rng.integers(0, 256, (num, draw(st.integers(1, 4)), height, width), dtype=np.uint8)
    if draw(st.booleans()):  # many equal patches, as on a plain background
        pixels[rng.random(pixels.shape) < 0.7] = 0
    geometry = PatchGeometry(
        height=height, width=width, patch_size=patch_size, boundary=boundary,
        equivariant=equivariant,
    )  # fmt: skip
    sigma = draw(st.sampled_from(SIGMAS))
    return pixels, noisy_states(rng, pixels, sigma, draw(st.integers(1, 2))), sigma, geometry


@pytest.fixture(params=native.instruction_sets())
def isa(request, monkeypatch):
    monkeypatch.setenv("PATCHINDEX_ISA", request.param)
    return request.param


@settings(max_examples=60, deadline=None)
@given(problem=problems(), isa=st.sampled_from(native.instruction_sets()))
def test_scan_equals_brute_force(problem, isa):
    pixels, y, sigma, geometry = problem
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATCHINDEX_ISA", isa)
        record = scan(pixels, y, sigma, geometry, threads=2)
    assert_agrees(record, pixels, y, sigma, geometry)


@pytest.mark.parametrize("patch_size", [3, 5, 9, 17])
def test_log_weights_at_low_noise_are_right_to_a_thousandth(isa, patch_size):
    # Black and white images: window sums run from 4 per cell down to the noise, the worst case for
    # sums that are updated by subtraction.
    rng = np.random.default_rng(0)
    side = 20
    pixels = np.where(rng.random((20, 1, side, side)) < 0.5, 0, 255).astype(np.uint8)
    pixels[:, :, :, 10:] = 0
    y = noisy_states(rng, pixels, 0.0781, 1)
    geometry = PatchGeometry(height=side, width=side, patch_size=patch_size)
    record = scan(pixels, y, 0.0781, geometry)
    for row, col in [(0, 0), (9, 9), (10, 9), (10, 13), (11, 15), (2, 12), (19, 7)]:
        expected, values = brute_log_weights(pixels, y[0], 0.0781, geometry, row, col)
        assert abs(float(log_mass(record)[0, row, col]) - summary(expected, values)[0]) < 1e-3


@pytest.mark.parametrize("sigma", [0.6, 1.2, 2.4])
@pytest.mark.parametrize("channels", [1, 3])
def test_running_sums_are_right_to_a_thousandth(isa, sigma, channels):
    # These noise levels let windows of 9 and more cells be summed by adding and taking away; the
    # images are as far apart as images can be, and half of each is plain.
    rng = np.random.default_rng(2)
    side = 24
    pixels = np.where(rng.random((40, channels, side, side)) < 0.5, 0, 255).astype(np.uint8)
    pixels[:, :, :, 12:] = 255
    y = noisy_states(rng, pixels, sigma, 1)
    for patch_size in (7, 9, 15):
        geometry = PatchGeometry(height=side, width=side, patch_size=patch_size)
        record = scan(pixels, y, sigma, geometry)
        for row, col in [(0, 0), (0, 12), (11, 11), (12, 20), (16, 12), (23, 5)]:
            expected, values = brute_log_weights(pixels, y[0], sigma, geometry, row, col)
            mass, center, _ = summary(expected, values)
            assert abs(float(log_mass(record)[0, row, col]) - mass) < 1e-3
            np.testing.assert_allclose(mean(record)[0, row, col].numpy(), center, atol=1e-4)


def test_dense_and_checked_blocks_agree_with_brute_force(isa):
    # enough images for several blocks: the first is checked, the others are dense at this noise
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 256, (200, 1, 6, 7), dtype=np.uint8)
    geometry = PatchGeometry(height=6, width=7, patch_size=3)
    y = noisy_states(rng, pixels, 3.0, 2)
    assert_agrees(scan(pixels, y, 3.0, geometry), pixels, y, 3.0, geometry)


def test_a_much_nearer_image_after_many_far_ones_is_not_lost(isa):
    # the first blocks are dense; the last image is nearer by far more than a float can hold
    pixels = np.full((200, 1, 6, 6), 255, dtype=np.uint8)
    pixels[-1] = 0
    y = np.full((1, 1, 6, 6), -1.0, dtype=np.float32)
    geometry = PatchGeometry(height=6, width=6, patch_size=3)
    record = scan(pixels, y, 0.2, geometry)
    np.testing.assert_allclose(mean(record).numpy(), -1, atol=1e-5)
    assert_agrees(record, pixels, y, 0.2, geometry)


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_sums_are_identical_for_any_number_of_threads(isa, boundary):
    rng = np.random.default_rng(2)
    pixels = rng.integers(0, 256, (1100, 1, 6, 6), dtype=np.uint8)
    y = noisy_states(rng, pixels, 0.6, 3)
    geometry = PatchGeometry(height=6, width=6, patch_size=3, boundary=boundary)
    one = scan(pixels, y, 0.6, geometry, threads=1)
    for threads in (2, 5):
        other = scan(pixels, y, 0.6, geometry, threads=threads)
        assert torch.equal(one.log_max, other.log_max)
        assert torch.equal(one.sum_w, other.sum_w)
        assert torch.equal(one.sum_wc, other.sum_wc)
        assert torch.equal(one.sum_w2, other.sum_w2)


def test_instruction_sets_agree_within_rounding(monkeypatch):
    rng = np.random.default_rng(3)
    pixels = rng.integers(0, 256, (40, 3, 9, 8), dtype=np.uint8)
    y = noisy_states(rng, pixels, 0.6, 1)
    geometry = PatchGeometry(height=9, width=8, patch_size=5)
    records = []
    for name in native.instruction_sets():
        monkeypatch.setenv("PATCHINDEX_ISA", name)
        records.append(scan(pixels, y, 0.6, geometry))
    for record in records[1:]:
        torch.testing.assert_close(log_mass(record), log_mass(records[0]), atol=1e-4, rtol=1e-6)
        torch.testing.assert_close(mean(record), mean(records[0]), atol=1e-4, rtol=0)


@settings(max_examples=40, deadline=None)
@given(problem=problems(), isa=st.sampled_from(native.instruction_sets()), data=st.data())
def test_rescore_equals_brute_force(problem, isa, data):
    pixels, y, sigma, geometry = problem
    signature = data.draw(st.sampled_from(geometry.signatures))
    row, col = signature.rows.pixels[-1], signature.cols.pixels[0]
    offsets = range(-geometry.radius, geometry.radius + 1)
    padded = np.pad(y, ((0, 0), (0, 0), *(2 * [2 * (geometry.radius,)])), mode="constant")
    if geometry.boundary == "zeros":
        windows = padded[:, :, row : row + geometry.patch_size, col : col + geometry.patch_size]
    else:
        windows = cut(y, [row + o for o in offsets], [col + o for o in offsets])
    centers, _, _ = dictionary(pixels, geometry, row, col)
    places = [(n, cy, cx) for n in range(len(pixels)) for cy, cx in centers]
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    chosen = rng.integers(len(places), size=(len(y), data.draw(st.integers(1, 40))))
    height, width = geometry.height, geometry.width
    ids = np.array([(n * height + cy) * width + cx for n, cy, cx in places])[chosen]
    brute = [brute_log_weights(pixels, state, sigma, geometry, row, col) for state in y]
    log_weights = np.stack([b[0].reshape(-1)[c] for b, c in zip(brute, chosen, strict=True)])
    values = np.stack([b[1].reshape(-1, y.shape[1])[c] for b, c in zip(brute, chosen, strict=True)])
    arguments = (torch.from_numpy(pixels), torch.from_numpy(np.ascontiguousarray(windows)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATCHINDEX_ISA", isa)
        dist_sq = native.patch_distances(
            *arguments, torch.from_numpy(ids), geometry, signature, threads=2
        )
        record = native.sum_patches(
            *arguments, torch.from_numpy(ids), geometry, signature, sigma=sigma, threads=2
        ).record
    np.testing.assert_allclose(dist_sq.numpy(), -log_weights * 2 * sigma**2, rtol=2e-6, atol=1e-6)
    for q in range(len(y)):
        mass, center, size = summary(log_weights[q], values[q])
        assert float(log_mass(record)[q]) == pytest.approx(mass, abs=1e-3, rel=1e-6)
        np.testing.assert_allclose(mean(record)[q].numpy(), center, atol=2e-3)
        assert float(effective_sample_size(record)[q]) == pytest.approx(size, rel=2e-3)
        assert float(record.log_max[q]) == pytest.approx(log_weights[q].max(), abs=1e-3, rel=1e-6)


def interior_problem(num_queries, num_ids):
    rng = np.random.default_rng(4)
    geometry = PatchGeometry(height=12, width=11, patch_size=5)
    pixels = torch.from_numpy(rng.integers(0, 256, (70, 2, 12, 11), dtype=np.uint8))
    signature = next(s for s in geometry.signatures if len(s.rows.pixels) > 1 < len(s.cols.pixels))
    windows = torch.from_numpy(rng.standard_normal((num_queries, 2, 5, 5)).astype(np.float32))
    rows, cols = rng.integers(2, 10, num_ids), rng.integers(2, 9, num_ids)
    ids = torch.from_numpy((rng.integers(70, size=num_ids) * 12 + rows) * 11 + cols)
    return pixels, windows, ids, geometry, signature


@pytest.mark.parametrize(("num_queries", "num_ids"), [(1, 1), (3, 300), (21, 513), (300, 17)])
def test_patches_shared_by_all_queries_give_the_same_as_lists_of_their_own(
    isa, num_queries, num_ids
):
    pixels, windows, ids, geometry, signature = interior_problem(num_queries, num_ids)
    own = ids.expand(num_queries, -1)
    expected = native.patch_distances(pixels, windows, own, geometry, signature)
    shared = native.patch_distances(pixels, windows, ids, geometry, signature)
    torch.testing.assert_close(shared, expected, rtol=1e-5, atol=0)
    listwise, querywise = (
        native.sum_patches(
            pixels, windows, listed, geometry, signature, sigma=0.9, threads=2
        ).record
        for listed in (ids, own)
    )
    torch.testing.assert_close(log_mass(listwise), log_mass(querywise), rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(mean(listwise), mean(querywise), rtol=0, atol=1e-4)
    assert torch.equal(listwise.num_scored, querywise.num_scored)


def test_absent_ids_are_infinitely_far_and_weigh_nothing(isa):
    pixels, windows, ids, geometry, signature = interior_problem(2, 3)
    ids = torch.stack([torch.cat([ids, torch.tensor([-1])]), torch.full((4,), -1)])
    dist_sq = native.patch_distances(pixels, windows, ids, geometry, signature)
    assert torch.isinf(dist_sq).tolist() == (ids == -1).tolist()
    record = native.sum_patches(pixels, windows, ids, geometry, signature, sigma=1.0).record
    assert record.num_scored.tolist() == [3, 0]
    assert record.sum_w[1] == 0
    assert torch.isneginf(record.log_max[1])
    assert torch.isfinite(mean(record)[0]).all()


def test_wrong_arrays_are_refused_with_what_was_expected():
    from patchindex.kernels import _native  # noqa: PLC0415 - absent where nothing was built

    pixels, y = np.zeros((2, 1, 8, 8), np.uint8), np.zeros((1, 1, 8, 8), np.float32)
    options = {"patch_size": 3, "boundary": "zeros", "equivariant": True, "threads": 1}
    with pytest.raises(ValueError, match=r"pixels is float32 .* Give a C-contiguous uint8"):
        _native.exact_scan(y, y, 1.0, **options)
    with pytest.raises(ValueError, match="not contiguous"):
        _native.exact_scan(pixels[..., ::2], y, 1.0, **options)
    with pytest.raises(ValueError, match="y is float32 with shape"):
        _native.exact_scan(pixels, y[..., :7].copy(), 1.0, **options)
    with pytest.raises(ValueError, match="sigma must be positive"):
        _native.exact_scan(pixels, y, 0.0, **options)
    with pytest.raises(ValueError, match=r"patch_size is 4. Give an odd number in 1..15"):
        _native.exact_scan(pixels, y, 1.0, **(options | {"patch_size": 4}))
    with pytest.raises(ValueError, match="instruction set 'mmx' is not available"):
        _native.exact_scan(pixels, y, 1.0, isa="mmx", **options)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e12])
def test_states_that_are_not_finite_are_refused(value):
    pixels, y = np.zeros((2, 1, 8, 8), np.uint8), np.zeros((1, 1, 8, 8), np.float32)
    y[0, 0, 3, 3] = value
    with pytest.raises(ValueError, match="not finite, or over 1e10 times sigma"):
        scan(pixels, y, 1.0, PatchGeometry(height=8, width=8, patch_size=3))


def test_ids_outside_the_images_or_of_other_borders_are_refused():
    pixels, windows, ids, geometry, signature = interior_problem(1, 1)
    for bad, message in [
        (-2, "is not in 0.."),
        (70 * 12 * 11, "is not in"),
        (0, "leaves the image"),
    ]:
        with pytest.raises(ValueError, match=message):
            native.patch_distances(
                pixels, windows, torch.full_like(ids, bad)[None], geometry, signature
            )


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="sends a POSIX signal")
def test_ctrl_c_ends_a_long_scan():
    program = """
        import sys, time, torch
        from patchindex.geometry import PatchGeometry
        from patchindex.kernels import native_backend
        pixels = torch.zeros(200000, 1, 32, 32, dtype=torch.uint8)
        y = torch.zeros(4, 1, 32, 32)
        print("ready", flush=True)
        try:
            geometry = PatchGeometry(height=32, width=32, patch_size=3)
            native_backend.exact_scan(pixels, y, 1.0, geometry)
        except KeyboardInterrupt:
            print(time.time(), flush=True)
    """
    import time  # noqa: PLC0415

    process = start_interruptible(
        [sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(1)
    sent = time.time()
    process.send_signal(signal.SIGINT)
    try:
        ended, _ = process.communicate(timeout=60)
    finally:
        process.kill()  # or a scan that did not stop would go on for minutes
    # the whole scan takes minutes; how soon it ends on an idle machine is for a benchmark to say
    assert float(ended) - sent < 10
