from dataclasses import FrozenInstanceError
from importlib import resources

import pytest
import yaml

import patchindex.paths
from patchindex.datasets.cards import DatasetCard, card_names, load_card
from patchindex.errors import DatasetError
from patchindex.paths import data_file

MINIMAL = """
name: tiny
title: Tiny
loader: idx
split: train
channels: 1
height: 28
width: 28
num_images: 10
licence: none
source: here
files: [a, b]
"""


def test_there_is_a_card_for_each_named_dataset():
    assert card_names() == ("celeba", "cifar10", "fashion_mnist", "mnist", "sample")


@pytest.mark.parametrize("name", ["celeba", "cifar10", "fashion_mnist", "mnist", "sample"])
def test_every_card_can_be_read_and_bears_its_file_s_name(name):
    card = load_card(name)
    assert card.name == name
    assert card.resolution == 32
    assert len(card.class_names) == (0 if name == "celeba" else 10)


def test_a_card_needs_the_required_keys_only_and_cannot_be_changed():
    card = DatasetCard.from_yaml(MINIMAL, origin="tiny.yaml")
    assert card.files == ("a", "b")
    assert card.resolution == 32
    with pytest.raises(FrozenInstanceError):
        card.name = "other"


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            MINIMAL + "colour: red\nanimal: cat\n",
            "unknown keys: animal, colour. Give only these: ch",
        ),
        (MINIMAL.replace("title: Tiny\n", ""), "tiny.yaml lacks these keys: title. Add them"),
        (MINIMAL.replace("idx", "magic"), "loader 'magic'. Give one of idx, cifar10"),
        (MINIMAL + "crop: top", "card tiny has crop 'top'. Give one of none, center"),
        (MINIMAL.replace("28", "0"), "Give a whole number above zero"),
        (MINIMAL.replace("28", "wide"), "Give a whole number above zero"),
        (MINIMAL.replace("28", "true"), "has a bool for .* Give a whole number above zero"),
        (MINIMAL.replace("title: Tiny", "title: 2024-01-02"), "has a date for title. Give a text"),
        (MINIMAL.replace("title: Tiny", "title: 2024-99-99"), "holds what cannot be read: month"),
        (MINIMAL + "class_names: [1, 2]", "has a tuple for class_names. Give a list of texts"),
        (MINIMAL + "2: 3\n? null\n: x", "unknown keys: 2, None"),
        (MINIMAL + "folder: " + "[" * 20000, "holds what cannot be read: maximum recursion"),
        (MINIMAL + "\tfolder: a", "is not valid YAML"),
        (MINIMAL + "folder: &a [*a]", "has a tuple for folder. Give a text"),
        ("just text", "tiny.yaml holds no settings"),
        ("a: [", "tiny.yaml is not valid YAML"),
    ],
)
def test_a_card_that_cannot_be_is_refused(text, message):
    with pytest.raises(DatasetError, match=message):
        DatasetCard.from_yaml(text, origin="tiny.yaml")


def test_a_card_that_is_not_there_is_refused():
    with pytest.raises(
        DatasetError, match=r"no dataset named 'imagenet'\. Give one of celeba, cif"
    ):
        load_card("imagenet")


def test_published_scales_are_20_odd_sizes_each():
    scales = yaml.safe_load(data_file("scales.yaml").read_text())
    assert len(scales) == 10
    assert all(len(sizes) == 20 and all(size % 2 for size in sizes) for sizes in scales.values())


def test_published_results_are_four_numbers_per_network():
    tables = yaml.safe_load(data_file("table1.yaml").read_text())
    assert set(tables) == {"network_steps_150", "network_steps_20"}
    assert all(len(row) == 4 for table in tables.values() for row in table.values())


@pytest.mark.parametrize("error", [ModuleNotFoundError, NotADirectoryError])
def test_a_checkout_that_is_not_installed_finds_its_data_folder(monkeypatch, error):
    def refuse(package):
        raise error(package)

    monkeypatch.setattr(resources, "files", refuse)
    assert data_file("scales.yaml").is_file()


def test_installed_data_are_found_through_the_resource_package(monkeypatch, tmp_path):
    (tmp_path / "scales.yaml").touch()
    monkeypatch.setattr(resources, "files", lambda _: tmp_path)
    assert data_file("scales.yaml") == tmp_path / "scales.yaml"


def test_an_installation_without_its_data_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(patchindex.paths, "data_root", lambda: tmp_path)
    with pytest.raises(DatasetError, match=r"lacks its file .*scales\.yaml\. Install patchindex"):
        data_file("scales.yaml")
