import numpy as np
import pytest
import torch

from patchindex.errors import DatasetError, UserError
from patchindex.images import ImageSet, to_uint8, to_unit


@pytest.fixture
def images(rng):
    pixels = rng.integers(0, 256, (6, 3, 4, 5), dtype=np.uint8)
    return ImageSet.from_array(pixels, [0, 1, 2, 0, 1, 0], class_names=("a", "b", "c"), name="six")


def test_a_set_knows_its_shape(images):
    assert len(images) == 6
    assert (images.channels, images.height, images.width) == (3, 4, 5)


def test_wrapping_an_array_does_not_copy_it(rng):
    pixels = rng.integers(0, 256, (2, 1, 3, 3), dtype=np.uint8)
    assert np.shares_memory(ImageSet.from_array(pixels).pixels, pixels)


@pytest.mark.parametrize("labels", [[0, 1], np.array([0, 1], dtype=np.uint8)])
def test_labels_of_any_integer_type_become_int64(labels):
    images = ImageSet.from_array(np.zeros((2, 1, 3, 3), dtype=np.uint8), labels)
    assert images.labels.dtype == np.int64
    assert images.labels.tolist() == [0, 1]


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("array", [np.zeros((2, 1, 3, 3)), np.zeros((2, 3, 3), dtype=np.uint8)])
def test_another_dtype_or_number_of_axes_is_refused(array):
    with pytest.raises(DatasetError, match=r"Give uint8 values 0\.\.255 with shape \[images"):
        ImageSet.from_array(array)


@pytest.mark.parametrize("shape", [(0, 1, 3, 3), (2, 0, 3, 3), (2, 1, 3, 0)])
def test_a_set_without_pixels_is_refused(shape):
    with pytest.raises(DatasetError, match="Give at least one image"):
        ImageSet.from_array(np.zeros(shape, dtype=np.uint8))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("labels", [[0], [[0, 1]], [0.5, 1.5]])
def test_labels_that_do_not_match_the_images_are_refused(labels):
    with pytest.raises(DatasetError, match="Give one whole number per image"):
        ImageSet.from_array(np.zeros((2, 1, 3, 3), dtype=np.uint8), labels)


def test_a_dataset_error_is_a_user_error_and_a_value_error():
    assert issubclass(DatasetError, UserError)
    assert issubclass(DatasetError, ValueError)


def test_members_are_the_positions_of_a_label(images):
    assert images.label_indices(0).tolist() == [0, 3, 5]
    assert images.label_indices(None).tolist() == list(range(6))


def test_with_label_keeps_the_images_of_one_class(images):
    chosen = images.with_label(1)
    assert np.array_equal(chosen.pixels, images.pixels[[1, 4]])
    assert chosen.labels.tolist() == [1, 1]
    assert chosen.name == "six, label 1"
    assert chosen.class_names == ("a", "b", "c")


def test_with_no_label_is_the_set_itself(images):
    assert images.with_label(None) is images


def test_a_label_that_no_image_has_is_refused(images):
    with pytest.raises(DatasetError, match=r"no image of six has label 7\. .*: 0, 1, 2\."):
        images.label_indices(7)


def test_a_label_for_a_set_without_labels_is_refused():
    images = ImageSet.from_array(np.zeros((2, 1, 3, 3), dtype=np.uint8))
    with pytest.raises(DatasetError, match="images of array have no labels"):
        images.with_label(0)


def test_the_hash_depends_on_pixels_shape_and_labels_only(images):
    same = ImageSet.from_array(images.pixels.copy(), images.labels, name="other name")
    assert same.sha256 == images.sha256
    pixels = images.pixels.copy()
    pixels[5, 2, 3, 4] ^= 1
    others = [
        ImageSet.from_array(pixels, images.labels),
        ImageSet.from_array(images.pixels.reshape(6, 3, 5, 4), images.labels),
        ImageSet.from_array(images.pixels, [0, 1, 2, 0, 1, 1]),
        ImageSet.from_array(images.pixels),
    ]
    assert len({images.sha256, *(other.sha256 for other in others)}) == 5


def test_the_hash_is_the_same_on_every_machine():
    pixels = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 1, 3, 3)
    images = ImageSet.from_array(pixels, [1, 0])
    assert images.sha256 == "28c3aec43294fe000101434326dafa63941e30091e7a69d03bf59470e3426ac8"


def test_to_unit_and_back_gives_every_grey_level():
    levels = np.arange(256, dtype=np.uint8)
    unit = to_unit(levels)
    assert unit.dtype == torch.float32
    assert (unit[0], unit[255]) == (-1, 1)
    assert np.array_equal(to_uint8(unit), levels)


def test_to_uint8_clips_what_lies_outside():
    assert to_uint8(torch.tensor([-1.5, 1.5])).tolist() == [0, 255]


@pytest.mark.parametrize("shape", [(10, 32, 32, 3), (10, 28, 28, 1), (10, 32, 32, 4), (9, 2, 8, 3)])
def test_channels_that_seem_to_be_last_are_refused_until_a_layout_is_told(rng, shape):
    array = rng.integers(0, 256, shape, dtype=np.uint8)
    with pytest.raises(DatasetError, match=r"channels are last, give layout='nhwc'; .*'nchw'"):
        ImageSet.from_array(array)
    assert np.array_equal(ImageSet.from_array(array, layout="nchw").pixels, array)
    last = ImageSet.from_array(array, layout="nhwc")
    assert np.array_equal(last.pixels, array.transpose(0, 3, 1, 2))
    assert (last.channels, last.height, last.width) == (shape[3], *shape[1:3])


@pytest.mark.parametrize("shape", [(2, 3, 4, 3), (2, 1, 3, 1), (2, 4, 4, 4), (2, 32, 6, 7)])
def test_channels_on_the_second_axis_need_no_layout(shape):
    assert ImageSet.from_array(np.zeros(shape, dtype=np.uint8)).channels == shape[1]


@pytest.mark.usefixtures("unchecked")
def test_an_unknown_layout_is_refused():
    with pytest.raises(DatasetError, match=r"layout is 'hwc'\. Give nchw or nhwc"):
        ImageSet.from_array(np.zeros((2, 1, 3, 3), dtype=np.uint8), layout="hwc")


def test_arrays_that_lie_otherwise_in_memory_are_put_in_order(rng):
    pixels = rng.integers(0, 256, (4, 3, 5, 6), dtype=np.uint8)
    for view in (pixels[:, ::-1], np.asfortranarray(pixels), pixels[::2]):
        images = ImageSet.from_array(view)
        assert np.array_equal(images.tensor.numpy(), view)
        assert images.sha256 == ImageSet.from_array(view.copy()).sha256


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("labels", [[0, -1], np.array([0, 2**64 - 1], dtype=np.uint64)])
def test_labels_that_no_class_can_have_are_refused(labels):
    with pytest.raises(DatasetError, match=r"labels run from .* Give numbers of classes, from 0"):
        ImageSet.from_array(np.zeros((2, 1, 3, 3), dtype=np.uint8), labels)
