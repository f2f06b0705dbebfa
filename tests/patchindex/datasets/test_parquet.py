"""Parquet files of encoded images, written by pyarrow and by Hugging Face's own package."""

import struct
from pathlib import Path

import numpy as np
import pytest
from encoded_images import every_kind, write_folder

from patchindex import ImageSet
from patchindex.datasets import parquet as reader
from patchindex.errors import DatasetError

pa = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

FILES = every_kind()
WHOLE = {name: FILES[name] for name in ("a_color.jpg", "b_grey.png")}
STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def write(path: Path, **columns: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pa.table(columns), path, row_group_size=3)
    return path


def structs(files: dict[str, bytes]) -> object:
    return pa.array([{"bytes": each, "path": name} for name, each in files.items()], STRUCT)


def load(path: Path, **settings: object) -> ImageSet:
    return ImageSet.load(f"parquet:{path}", **settings)


def test_every_kind_of_image_is_read_as_from_a_folder(tmp_path) -> None:
    folder = ImageSet.load(f"folder:{write_folder(tmp_path / 'files', FILES)}", resolution=8)
    found = load(write(tmp_path / "a.parquet", image=structs(FILES)), resolution=8)
    assert np.array_equal(found.pixels, folder.pixels)
    assert found.names == folder.names == tuple(FILES)
    cut = {"resolution": "4x8", "crop": "center"}
    assert np.array_equal(
        load(tmp_path / "a.parquet", **cut).pixels,
        ImageSet.load(f"folder:{tmp_path / 'files'}", **cut).pixels,
    )


def test_grey_images_alone_stay_grey(tmp_path) -> None:
    grey = {name: FILES[name] for name in ("b_grey.png", "c_16bit.png")}
    assert load(write(tmp_path / "a.parquet", image=structs(grey))).pixels.shape == (2, 1, 12, 9)


def test_plain_bytes_and_numbers_of_classes_are_read(tmp_path) -> None:
    path = write(
        tmp_path / "a.parquet", text=["x", "y"], picture=list(WHOLE.values()), label=[4, 1]
    )
    found = load(path)
    assert (found.pixels.shape, found.names) == ((2, 3, 12, 9), None)
    assert found.labels.tolist() == [4, 1]
    assert found.name == f"parquet:{path}"


def test_names_of_classes_are_sorted(tmp_path) -> None:
    labels = pa.array(["wren", "owl"]).dictionary_encode()
    found = load(write(tmp_path / "a.parquet", image=list(WHOLE.values()), label=labels))
    assert found.class_names == ("owl", "wren")
    assert found.labels.tolist() == [1, 0]


def test_hugging_faces_own_files_bring_their_class_names(tmp_path) -> None:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {"img": datasets.Image(), "label": datasets.ClassLabel(names=["b", "a"])}
    )
    rows = {
        "img": [{"bytes": each, "path": f"x/{name}"} for name, each in WHOLE.items()],
        "label": [1, 0],
    }
    datasets.Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "a.parquet")
    found = load(tmp_path / "a.parquet")
    assert found.class_names == ("b", "a")
    assert found.labels.tolist() == [1, 0]
    assert found.names == tuple(WHOLE)


def test_files_of_a_folder_follow_each_other_and_a_limit_reads_no_more(tmp_path) -> None:
    names = list(FILES)
    for part in (2, 0, 1):
        files = {name: FILES[name] for name in names[3 * part : 3 * part + 3]}
        write(tmp_path / "deep" / f"train-0000{part}.parquet", image=structs(files))
    assert load(tmp_path, resolution=4).names == tuple(names)
    braces = f"{tmp_path}/deep/train-{{00002..00002}}.parquet"
    assert load(braces, resolution=4).names == tuple(names[6:])
    assert load(f"{tmp_path}/deep/*1.parquet", resolution=4).names == tuple(names[3:6])
    (tmp_path / "deep" / "train-00002.parquet").write_bytes(b"PAR1")
    with pytest.raises(DatasetError, match=r"00002.parquet cannot be read as a parquet file: "):
        load(tmp_path, resolution=4)


def test_no_more_rows_are_decoded_than_the_limit(tmp_path) -> None:
    path = write(tmp_path / "a.parquet", image=[*WHOLE.values(), b"no image"])
    assert len(load(path, limit=2)) == 2
    with pytest.raises(DatasetError, match=r"cannot read the image row 2 of .*a\.parquet: "):
        load(path)


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ({"text": ["a"]}, r"no column that is known to hold images, but only: text \(text\)"),
        ({"one": [b"a"], "two": [b"b"]}, r"but several that may: one, two\. Call one `image`"),
        ({"image": [b"", b"x"]}, r"row 0 of .* has no image: nothing is there"),
        ({"image": pa.array([None, b"x"], pa.binary())}, r"row 0 of .* nothing is there"),
        (
            {"image": pa.array([{"bytes": None, "path": "/etc/passwd"}], STRUCT)},
            r"row 0 of .* has no image: a path alone is there\. Put the bytes",
        ),
        ({"image": pa.array([], pa.binary())}, r"there is no image in parquet:.*a\.parquet"),
        (
            {"image": [*WHOLE.values()], "label": pa.array([1, None])},
            r"row 0 of .* has a label, but row 1 of .* has none\. Give each image one",
        ),
        ({"image": list(FILES.values())}, r"different sizes: row 0 of .* is 12x9, row 7 of"),
        ({"image": [WHOLE["a_color.jpg"][:200]]}, r"cannot read the image row 0 of"),
    ],
)  # fmt: skip
def test_what_holds_no_images_is_refused_in_a_line(tmp_path, columns, told: str) -> None:
    path = write(tmp_path / "a.parquet", **columns)
    with pytest.raises(DatasetError, match=told) as caught:
        load(path)
    assert "\n" not in str(caught.value)


def test_an_image_that_promises_to_be_huge_is_refused(tmp_path) -> None:
    content = bytearray(FILES["b_grey.png"])
    content[16:24] = struct.pack(">II", 2**30, 2**30)
    path = write(tmp_path / "a.parquet", image=[bytes(content)])
    with pytest.raises(DatasetError, match=r"cannot read the image row 0 of"):
        load(path)


@pytest.mark.parametrize("place", range(12))
def test_damage_at_any_place_is_told_in_a_line(tmp_path, place: int) -> None:
    path = write(tmp_path / "a.parquet", image=structs(WHOLE), label=[0, 1])
    content = bytearray(path.read_bytes())
    start = len(content) * place // 12
    content[start : start + 40] = bytes(255 - byte for byte in content[start : start + 40])
    path.write_bytes(content)
    told = ""
    try:
        assert len(load(path, resolution=8)) == 2  # pixels of a JPEG file, or a statistic
    except DatasetError as error:
        told = str(error)
    assert "\n" not in told


def test_without_pyarrow_a_line_says_what_to_install(tmp_path, monkeypatch) -> None:
    path = write(tmp_path / "a.parquet", image=list(WHOLE.values()))

    def missing(name: str) -> None:
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(reader, "import_module", missing)
    with pytest.raises(DatasetError, match=r"without the package pyarrow .* 'patchindex\[data\]'"):
        load(path)
