"""Images that a program has: tensors, arrays, lists, and torchvision's datasets."""

import io

import numpy as np
import pytest
import torch
from encoded_images import every_kind, write_folder
from PIL import Image
from torch.utils.data import Subset, TensorDataset
from torchvision import datasets as vision
from torchvision import transforms

from patchindex import ImageSet
from patchindex.datasets.examples import below_common_folder
from patchindex.errors import DatasetError

FILES = every_kind()


@pytest.fixture
def levels(rng) -> np.ndarray:
    return rng.integers(0, 256, (5, 3, 6, 4), dtype=np.uint8)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("low", "high"), [(0, 1), (-1, 1), (0, 255)])
def test_every_level_comes_back_from_floating_point(dtype, low: float, high: float) -> None:
    every = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    values = (every.double() / 255 * (high - low) + low).to(dtype)
    found = ImageSet.from_images(values, value_range=(low, high)).pixels
    exact = dtype not in (torch.bfloat16, torch.float16)
    assert np.abs(found.astype(int) - every.numpy()).max() <= (0 if exact else 1)


def test_a_tensor_of_bytes_is_wrapped_and_labels_may_be_a_tensor(levels) -> None:
    found = ImageSet.from_images(torch.from_numpy(levels), torch.arange(5), name="mine")
    assert np.array_equal(found.pixels, levels)
    assert np.shares_memory(found.pixels, levels)
    assert (found.labels.tolist(), found.name) == ([0, 1, 2, 3, 4], "mine")


def test_shapes_and_layouts(levels) -> None:
    assert np.array_equal(ImageSet.from_images(levels[:, 0]).pixels, levels[:, :1])
    last = levels.transpose(0, 2, 3, 1)
    assert np.array_equal(ImageSet.from_images(last, layout="nhwc").pixels, levels)
    assert np.array_equal(ImageSet.from_images(list(last)).pixels, levels)
    assert np.array_equal(ImageSet.from_images(list(torch.from_numpy(levels))).pixels, levels)
    with pytest.raises(DatasetError, match=r"give layout='nhwc'"):
        ImageSet.from_images(last)


def test_resolution_and_crop_do_as_for_files(levels, tmp_path) -> None:
    np.savez(tmp_path / "a.npz", images=levels)
    for settings in ({"resolution": 8}, {"resolution": "3x5", "crop": "center"}):
        loaded = ImageSet.load(f"npz:{tmp_path}/a.npz", **settings)
        for given in (levels, list(torch.from_numpy(levels))):
            found = ImageSet.from_images(given, **settings)
            assert np.array_equal(found.pixels, loaded.pixels)
            assert found.crop == loaded.crop


def test_images_of_pillow_are_read_as_the_files_of_a_folder(tmp_path) -> None:
    folder = ImageSet.load(f"folder:{write_folder(tmp_path, FILES)}", resolution=8)
    images = [Image.open(io.BytesIO(content)) for content in FILES.values()]
    found = ImageSet.from_images(images, names=list(FILES), resolution=8)
    assert np.array_equal(found.pixels, folder.pixels)
    assert found.names == folder.names


def test_a_list_may_mix_what_it_holds_and_name_classes() -> None:
    images = [
        Image.new("L", (4, 6), 9), np.full((6, 4), 9, np.uint8), torch.full((1, 6, 4), 9 / 255),
        np.full((6, 4, 1), 9, np.uint8),
    ]  # fmt: skip
    with pytest.raises(DatasetError, match=r"image 2 are floating point\. Give value_range=\(0, 1"):
        ImageSet.from_images(images)
    images[2] = (images[2] * 255).byte()
    found = ImageSet.from_images(images, ["b", "a", "b", "b"])
    assert found.pixels.shape == (4, 1, 6, 4)
    assert (found.pixels == 9).all()
    assert (found.class_names, found.labels.tolist()) == (("a", "b"), [1, 0, 1, 1])


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("images", "settings", "told"),
    [
        (torch.rand(2, 3, 4, 4), {}, r"images are floating point\. Give value_range=\(0, 1\) or"),
        (torch.rand(2, 3, 4, 4) * 9, {"value_range": (0, 1)}, r"but value_range is \(0, 1\)"),
        (torch.rand(2, 3, 4, 4) - 1, {"value_range": (0, 1)}, r"from -.* Give finite values"),
        (torch.full((2, 3, 4, 4), torch.nan), {"value_range": (0, 1)}, r"from nan to nan, but"),
        (torch.rand(2, 3, 4, 4), {"value_range": (1, 0)}, r"value_range is \(1, 0\)\. Give"),
        (torch.ones(2, 3, 4, 4).byte(), {"value_range": (0, 1)}, r"are uint8, .* Leave value_r"),
        (torch.ones(2, 3, 4, 4).int(), {}, r"images are int32\. Give uint8 values 0\.\.255, or"),
        (torch.ones(4, 4).byte(), {}, r"images have shape \(4, 4\)\. Give at least one"),
        (torch.ones(0, 3, 4, 4).byte(), {}, r"Give at least one"),
        ([], {}, r"there is no image in images"),
        (["a.png"], {}, r"image 0 is a str\. Give images of Pillow, NumPy arrays or torch"),
        ([np.ones((3, 5, 3), np.uint8)], {}, r"image 0 has shape \(3, 5, 3\).* say layout='nchw'"),
        ([np.ones((5, 5, 2), np.uint8)], {}, r"image 0 has shape \(5, 5, 2\)"),
        ([Image.new("F", (3, 3))], {}, r"cannot read the image image 0: its pixels are floating"),
        ([Image.new("L", (3, 3))], {"labels": [1, 2]}, r"there are 2 labels for 1 images"),
        ([Image.new("L", (3, 3))] * 2, {"labels": [1, "a"]}, r"labels are numbers and texts"),
        ([Image.new("L", (3, 3))], {"names": ["a", "b"]}, r"there are 2 names for 1 images"),
        (
            [Image.new("L", (3, 3)), Image.new("L", (3, 4))],
            {},
            r"image 0 is 3x3, image 1 is 4x3 .*\(in Python: resolution=64\)",
        ),
    ],
)  # fmt: skip
def test_what_are_no_images_is_refused_in_a_line(images, settings, told: str) -> None:
    with pytest.raises(DatasetError, match=told) as caught:
        ImageSet.from_images(images, **settings)
    assert "\n" not in str(caught.value)


def test_a_folder_of_torchvision_brings_classes_and_files(tmp_path) -> None:
    files = {f"{'ab'[i % 2]}/{name}": FILES[name] for i, name in enumerate(FILES)}
    ours = ImageSet.load(f"folder:{write_folder(tmp_path, files)}", resolution=8)
    found = ImageSet.from_dataset(vision.ImageFolder(str(tmp_path)), resolution=8)
    assert (found.class_names, found.names) == (ours.class_names, ours.names)
    assert np.array_equal(found.labels, ours.labels)
    assert found.name == "ImageFolder"
    assert len(ImageSet.from_dataset(vision.ImageFolder(str(tmp_path)), resolution=8, limit=2)) == 2


def test_a_transform_that_makes_tensors_needs_their_range(tmp_path) -> None:
    # a picture that lies on its side is turned where Pillow holds it; a tensor cannot tell
    files = {f"a/{name}": FILES[name] for name in FILES if name != "h_turned.jpg"}
    root = str(write_folder(tmp_path, files))
    steps = [transforms.Resize((8, 8)), transforms.ToTensor(), transforms.Normalize([0.5], [0.5])]
    made = vision.ImageFolder(root, transform=transforms.Compose(steps))
    plain = ImageSet.from_dataset(vision.ImageFolder(root, transform=steps[0]))
    assert np.array_equal(ImageSet.from_dataset(made, value_range=(-1, 1)).pixels, plain.pixels)
    with pytest.raises(DatasetError, match=r"image 0 are floating point\. Give value_range"):
        ImageSet.from_dataset(made)


def test_other_map_datasets_are_read_by_position_or_key(levels) -> None:
    tensors = TensorDataset(torch.arange(5), torch.from_numpy(levels))
    found = ImageSet.from_dataset(Subset(tensors, [3, 1]), image=1, label=0)
    assert np.array_equal(found.pixels, levels[[3, 1]])
    assert found.labels.tolist() == [3, 1]
    rows = [{"image": image, "label": "x", "caption": "y"} for image in levels]
    assert ImageSet.from_dataset(rows).class_names == ("x",)
    assert ImageSet.from_dataset(rows, label="caption").class_names == ("y",)
    assert ImageSet.from_dataset(list(levels)).labels is None
    pairs = [(image, torch.ones(40)) for image in levels]
    assert ImageSet.from_dataset(pairs).labels is None
    with pytest.raises(DatasetError, match=r"the label at 1 of item 0 is no number or name"):
        ImageSet.from_dataset(pairs, label=1)
    with pytest.raises(DatasetError, match=r"item 0 has no image at 'pixels', but keys image, lab"):
        ImageSet.from_dataset(rows, image="pixels")
    with pytest.raises(DatasetError, match=r"limit is 0\. Give at least 1 image"):
        ImageSet.from_dataset(rows, limit=0)


def test_the_folder_that_all_files_share_is_left_out() -> None:
    assert below_common_folder(["a.png"]) == ("a.png",)
    assert below_common_folder(["/x/y/a.png", "/x/z/b.png"]) == ("y/a.png", "z/b.png")
    assert below_common_folder(["x/a.png", "xy/b.png"]) == ("x/a.png", "xy/b.png")
    assert below_common_folder(["/a.png", "b.png"]) == ("/a.png", "b.png")
