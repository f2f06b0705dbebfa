"""Noise and images from files that may hold anything."""

import io
import os

import numpy as np
import pytest
from PIL import Image

from patchindex import ImageSet
from patchindex.errors import UserError
from sampler.attribution.image_file import read_image
from sampler.errors import SamplerConfigError
from sampler.noise import load_noise

IMAGES = ImageSet.from_array(np.zeros((2, 1, 4, 5), dtype=np.uint8))
NOISE = np.random.default_rng(0).standard_normal((3, 1, 4, 5))


@pytest.mark.parametrize("dtype", ["f4", ">f8", "f2"])
def test_noise_of_any_precision_is_read(tmp_path, dtype):
    np.save(tmp_path / "a.npy", NOISE.astype(dtype))
    assert np.allclose(load_noise(tmp_path / "a.npy", IMAGES), NOISE, atol=2e-3)


BAD = [
    (np.full((3, 1, 4, 5), 1e300), "not finite"),
    (np.full((3, 1, 4, 5), np.nan), "not finite"),
    (NOISE * 1j, "of complex128"),
    (NOISE.astype(int), "of int64"),
    (NOISE[:0], "0 samples"),
    (np.float32(1), r"has shape \(\)"),
    (np.array([{}]), "it holds Python objects"),
    (np.zeros(3, "f4,f4"), "it holds structured values"),
]


@pytest.mark.parametrize(("array", "message"), BAD)
def test_other_arrays_are_no_noise(tmp_path, array, message):
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    with pytest.raises(SamplerConfigError, match=rf"noise file .*a\.npy .*{message}"):
        load_noise(tmp_path / "a.npy", IMAGES)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.full((1, 4, 5), 1e300), "not finite"),
        (np.full((1, 4, 5), 1j), "holds complex128 values"),
        (np.float32(1), r"has shape \[\]"),
        (np.array([{}]), "it holds Python objects"),
    ],
)
def test_other_arrays_are_no_image(tmp_path, array, message):
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    with pytest.raises(SamplerConfigError, match=rf"image .*a\.npy .*{message}"):
        read_image(tmp_path / "a.npy", IMAGES, is_state=True)


def test_a_header_that_promises_too_much_takes_no_memory(tmp_path):
    np.save(tmp_path / "a.npy", NOISE.astype("f4"))
    data = (tmp_path / "a.npy").read_bytes()
    (tmp_path / "a.npy").write_bytes(
        data.replace(b"(3, 1, 4, 5), }     ", b"(999999999, 1, 4, 5)}"[:20])
    )
    with pytest.raises(SamplerConfigError, match=r"cannot be read \(it"):
        load_noise(tmp_path / "a.npy", IMAGES)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_pipes_are_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.npy")
    with pytest.raises(SamplerConfigError, match="there is no such file"):
        load_noise(tmp_path / "a.npy", IMAGES)
    for path in (tmp_path / "a.npy", tmp_path / ("a" * 300)):
        with pytest.raises(SamplerConfigError, match="there is no image file"):
            read_image(path, IMAGES, is_state=True)


def test_arrays_that_lie_otherwise_in_memory_are_read(tmp_path, rng):
    pixels = rng.integers(0, 256, (1, 4, 5), dtype=np.uint8)
    np.save(tmp_path / "a.npy", np.asfortranarray(pixels))
    np.save(tmp_path / "b.npy", np.asfortranarray(pixels.transpose(1, 2, 0)))
    a, b = (read_image(tmp_path / f"{name}.npy", IMAGES, is_state=False) for name in "ab")
    assert a.equal(b)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("name", ["a.npy", "a.png"])
def test_damaged_files_are_read_or_refused(tmp_path, rng, name):
    stream = io.BytesIO()
    if name == "a.npy":
        np.save(stream, NOISE[:1].astype("f4"))
    else:
        Image.new("L", (5, 4)).save(stream, "PNG")
    for _ in range(200):
        data = bytearray(stream.getvalue())
        for place in rng.integers(len(data), size=2):
            data[place] = rng.integers(256)
        (tmp_path / name).write_bytes(
            data[: rng.integers(len(data) + 1)] if rng.random() < 0.2 else data
        )
        for read in (
            lambda path: read_image(path, IMAGES, is_state=True),
            lambda path: load_noise(path, IMAGES),
        ):
            try:
                read(tmp_path / name)
            except UserError:
                continue  # the only one that may come out
