"""Datasets of Hugging Face's package: objects, and folders by `hf:`, without a network."""

from pathlib import Path

import numpy as np
import pytest
from encoded_images import every_kind, write_folder

from patchindex import ImageSet
from patchindex.datasets import parquet as reader
from patchindex.errors import DatasetError

datasets = pytest.importorskip("datasets")

FILES = every_kind()
FEATURES = {"image": datasets.Image(), "label": datasets.ClassLabel(names=["owl", "wren"])}


def made(**columns: object) -> object:
    features = {name: each for name, each in FEATURES.items() if name in columns}
    features |= {name: datasets.Value("string") for name in columns if name not in features}
    return datasets.Dataset.from_dict(columns, features=datasets.Features(features))


def cells(files: dict[str, bytes] = FILES) -> list[dict[str, object]]:
    return [{"bytes": content, "path": name} for name, content in files.items()]


@pytest.fixture
def dataset() -> object:
    return made(image=cells(), label=[i % 2 for i in range(len(FILES))], text=["x"] * len(FILES))


def test_every_kind_of_image_is_read_as_from_a_folder(tmp_path, dataset) -> None:
    folder = ImageSet.load(f"folder:{write_folder(tmp_path, FILES)}", resolution=8)
    found = ImageSet.from_dataset(dataset, resolution=8)
    assert np.array_equal(found.pixels, folder.pixels)
    assert (found.names, found.class_names) == (tuple(FILES), ("owl", "wren"))
    assert found.labels[:3].tolist() == [0, 1, 0]
    assert found.name == "Dataset"


def test_formats_and_transforms_are_left_aside(dataset) -> None:
    plain = ImageSet.from_dataset(dataset, resolution=8).pixels
    for other in (dataset.with_format("torch"), dataset.with_transform(lambda _rows: {"image": 1})):
        assert np.array_equal(ImageSet.from_dataset(other, resolution=8).pixels, plain)


def test_rows_that_were_chosen_or_shuffled_keep_their_order(dataset) -> None:
    found = ImageSet.from_dataset(dataset.select([4, 2]), resolution=8)
    assert found.names == ("e_grey_alpha.png", "c_16bit.png")
    assert len(ImageSet.from_dataset(dataset, resolution=8, limit=3)) == 3


def test_a_folder_of_image_files_keeps_their_names(tmp_path) -> None:
    root = write_folder(
        tmp_path, {f"train/{'ab'[i % 2]}/{n}": FILES[n] for i, n in enumerate(FILES)}
    )
    ours = ImageSet.load(f"folder:{root}/train", resolution=8)
    theirs = datasets.load_dataset("imagefolder", data_dir=str(root), split="train")
    found = ImageSet.from_dataset(theirs, resolution=8)
    assert found.class_names == ours.class_names
    assert sorted(found.names) == sorted(ours.names)
    order = [ours.names.index(name) for name in found.names]
    assert np.array_equal(found.pixels, ours.pixels[order])


@pytest.mark.parametrize(
    ("columns", "settings", "told"),
    [
        ({"text": ["a"]}, {}, r"no column that is known to hold images, but only: text"),
        ({"image": cells(), "text": ["a"] * 9}, {"image": "text"}, r"'text' .* holds no images"),
        ({"image": cells()}, {"image": "img"}, r"Dataset has no column 'img'\. Give one of image"),
        ({"image": cells()}, {"label": "image"}, r"column 'image' of Dataset holds no labels"),
        ({"image": []}, {}, r"there is no image in Dataset"),
        ({"image": [{"bytes": b"x", "path": None}]}, {}, r"cannot read the image row 0 of Dataset"),
        ({"image": [None, *cells()]}, {}, r"row 0 of Dataset has no image: nothing is there"),
        ({"image": cells()}, {}, r"different sizes: row 0 of Dataset is 12x9, row 7 of"),
        (
            {"image": [{"bytes": None, "path": "/none/a.png"}]},
            {},
            r"cannot read the image row 0 of Dataset: .*No such file",
        ),
    ],
)  # fmt: skip
def test_what_holds_no_images_is_refused_in_a_line(columns, settings, told: str) -> None:
    with pytest.raises(DatasetError, match=told) as caught:
        ImageSet.from_dataset(made(**columns), **settings)
    assert "\n" not in str(caught.value)


def test_splits_and_streams_are_refused_with_what_to_do(dataset) -> None:
    splits = datasets.DatasetDict({"train": dataset, "test": dataset})
    with pytest.raises(DatasetError, match=r"splits: train, test\. Give one of them, as in"):
        ImageSet.from_dataset(splits)
    with pytest.raises(DatasetError, match=r"is a stream without a length\. Give it as a list"):
        ImageSet.from_dataset(dataset.to_iterable_dataset())


def test_test_sets_without_labels_have_none(dataset) -> None:
    found = ImageSet.from_dataset(made(image=cells(), label=[-1] * 9), resolution=4)
    assert found.labels is None
    with pytest.raises(DatasetError, match=r"row 1 of Dataset has a label, but row 0 of Dataset"):
        ImageSet.from_dataset(made(image=cells(), label=[-1, *[1] * 8]), resolution=4)


@pytest.fixture
def hub(tmp_path, monkeypatch, dataset) -> Path:
    """A folder that the package reads as it would a name on the hub."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    (tmp_path / "birds").mkdir()
    dataset.to_parquet(tmp_path / "birds" / "train.parquet")
    dataset.select([1]).to_parquet(tmp_path / "birds" / "test.parquet")
    return tmp_path / "birds"


def test_hf_takes_the_training_split_or_the_one_that_is_told(hub) -> None:
    found = ImageSet.load(f"hf:{hub}", resolution=8)
    assert (len(found), found.class_names, found.name) == (9, ("owl", "wren"), f"hf:{hub}")
    assert len(ImageSet.load(f"hf:{hub}:test", resolution=8)) == 1
    assert len(ImageSet.load(f"hf:{hub}:train[:40%]", resolution=8)) == 4
    assert len(ImageSet.load(f"hf:{hub}", resolution=8, limit=2)) == 2


@pytest.mark.parametrize(
    ("place", "told"),
    [
        ("", r"hf: lacks a name\. Give it after the colon, as in hf:NAME or hf:NAME:SPLIT"),
        (":train", r"hf: lacks a name"),
        ("HUB:none", r"hf:.* cannot be had from Hugging Face \(ValueError: Unknown split"),
        ("HUB/none", r"hf:.* cannot be had from Hugging Face \("),
    ],
)  # fmt: skip
def test_what_cannot_be_had_is_told_in_a_line(hub, monkeypatch, place: str, told: str) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(DatasetError, match=told) as caught:
        ImageSet.load(f"hf:{place.replace('HUB', str(hub))}")
    assert "\n" not in str(caught.value)


def test_without_the_package_a_line_says_what_to_install(monkeypatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(reader, "import_module", missing)
    with pytest.raises(DatasetError, match=r"hf:mnist cannot be read without the package datasets"):
        ImageSet.load("hf:mnist")
