"""Webdataset shards: read in order without unpacking, whatever their writer had in mind."""

import gzip
import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from encoded_images import every_kind, write_folder, write_tar

from patchindex import ImageSet
from patchindex.datasets import webdataset as reader
from patchindex.errors import DatasetError

FILES = every_kind()
COLOR, GREY = FILES["a_color.jpg"], FILES["b_grey.png"]


def load(path: Path | str, **settings: object) -> ImageSet:
    return ImageSet.load(f"webdataset:{path}", **settings)


def test_every_kind_of_image_is_read_as_from_a_folder(tmp_path) -> None:
    folder = ImageSet.load(f"folder:{write_folder(tmp_path / 'files', FILES)}", resolution=8)
    found = load(write_tar(tmp_path / "a.tar", FILES.items()), resolution=8)
    assert np.array_equal(found.pixels, folder.pixels)
    assert found.names == tuple(FILES)


@pytest.mark.parametrize("ending", ["tar", "tar.gz", "tgz"])
def test_labels_stand_before_or_behind_their_images(tmp_path, ending: str) -> None:
    members = [
        ("x/0.cls", b"3\n"), ("x/0.jpg", COLOR), ("x/1.PNG", GREY), ("x/1.txt", b"an owl"),
        ("x/1.json", b'{"label": 1}'), ("x/1.cls", b"2"), ("x/2.seg.png", b"no image"),
    ]  # fmt: skip
    mode = "w" if ending == "tar" else "w:gz"
    found = load(write_tar(tmp_path / f"a.{ending}", members, mode))
    assert found.labels.tolist() == [3, 2]
    assert found.names == ("0.jpg", "1.PNG")


@pytest.mark.parametrize("key", reader.LABEL_KEYS)
def test_names_of_classes_in_json_are_sorted(tmp_path, key: str) -> None:
    members = []
    for number, name in enumerate(["wren", "owl", "wren"]):
        members += [(f"{number}.jpg", COLOR), (f"{number}.json", json.dumps({key: name}).encode())]
    found = load(write_tar(tmp_path / "a.tar", members))
    assert found.class_names == ("owl", "wren")
    assert found.labels.tolist() == [1, 0, 1]


def test_shards_follow_each_other_and_name_their_images(tmp_path) -> None:
    for shard in (1, 0, 2):
        write_tar(tmp_path / f"s-00{shard}.tar", [("b.jpg", COLOR), ("a.png", GREY)])
    one = ("b.jpg", "a.png")
    assert load(tmp_path / "s-000.tar").names == one
    both = [f"s-00{shard}.tar/{name}" for shard in (0, 1, 2) for name in one]
    assert load(tmp_path).names == load(f"{tmp_path}/s-{{000..002}}.tar").names == tuple(both)
    (tmp_path / "s-002.tar").write_bytes(b"no tar file" * 100)
    assert load(tmp_path, limit=3).names == (
        "s-000.tar/b.jpg",
        "s-000.tar/a.png",
        "s-001.tar/b.jpg",
    )
    with pytest.raises(DatasetError, match=r"s-002\.tar cannot be read as a tar file: "):
        load(tmp_path)


@pytest.mark.parametrize(
    ("members", "told"),
    [
        ([], r"there is no image in webdataset:.*a\.tar"),
        ([("a.txt", b"text")], r"there is no image in"),
        ([("a.jpg", COLOR), ("a.png", GREY)], r"two images of one name: a\.jpg and a\.png"),
        ([("a.jpg", COLOR), ("./a.jpg", COLOR)], r"two images of one name: a\.jpg and a\.jpg"),
        ([("a.jpg", COLOR), ("b.jpg", COLOR), ("b.cls", b"1")], r"b\.jpg in .* has a label, but a"),
        ([("a.jpg", COLOR), ("a.json", b"{")], r"a\.json in .*a\.tar cannot be read: "),
        ([("a.jpg", COLOR), ("a.json", b"[" * 10**5)], r"a\.json in .*a\.tar cannot be read: "),
        ([("a.jpg", COLOR), ("a.cls", b"\xff")], r"a\.cls in .*a\.tar cannot be read: "),
        ([("a.jpg", b"")], r"cannot read the image a\.jpg in .*a\.tar: "),
        ([("a.jpg", COLOR[:99])], r"cannot read the image a\.jpg in .*a\.tar: "),
        ([("a.jpg", COLOR), ("b.png", FILES["i_small.png"])], r"sizes: a\.jpg in .* 12x9"),
    ],
)  # fmt: skip
def test_what_holds_no_images_is_refused_in_a_line(tmp_path, members, told: str) -> None:
    path = write_tar(tmp_path / "a.tar", members)
    with pytest.raises(DatasetError, match=told) as caught:
        load(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE]
)
def test_links_and_devices_are_refused(tmp_path, kind: bytes) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        member = tarfile.TarInfo("a.jpg")
        member.type, member.linkname = kind, "/etc/passwd"
        archive.addfile(member)
    with pytest.raises(DatasetError, match=r"a\.jpg in .* is no plain file, but a folder, a link"):
        load(tmp_path / "a.tar")


def test_nothing_is_unpacked_whatever_members_are_called(tmp_path) -> None:
    evil = [("../../evil.jpg", COLOR), ("/evil.png", GREY), ("x\ny.jpg", COLOR)]
    place = tmp_path / "deep" / "deeper"
    place.mkdir(parents=True)
    found = load(write_tar(place / "a.tar", evil))
    assert len(found) == 3
    assert found.file_name(2) == r"x\ny.jpg"
    assert [path.name for path in tmp_path.rglob("*.*")] == ["a.tar"]


def header(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    member = tarfile.TarInfo(name)
    member.size, member.type = size, kind
    return member.tobuf(tarfile.GNU_FORMAT)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (header("a.jpg", 2**40) + b"x" * 512, r"cannot be read as a tar file|promises"),
        (header("a.jpg", 10**6) + b"x" * 512, r"cannot be read as a tar file|ends inside a\.jpg"),
        (header("a.jpg", 2**40, tarfile.GNUTYPE_LONGNAME), r"promises 1,099,511,627,776 bytes"),
        (header("a.jpg", 2**40, tarfile.XHDTYPE) + b"x" * 512, r"promises 1,099,511,627,776 bytes"),
        (header("a.jpg", 99)[:300], r"cannot be read as a tar file"),
        (b"", r"cannot be read as a tar file"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("packed", [False, True])
def test_what_promises_more_than_is_there_takes_no_memory(
    tmp_path, content: bytes, told: str, packed: bool
) -> None:
    path = tmp_path / ("a.tgz" if packed else "a.tar")
    path.write_bytes(gzip.compress(content) if packed else content)
    with pytest.raises(DatasetError, match=told):
        load(path)


def test_a_sparse_member_is_refused(tmp_path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.GNU_FORMAT) as archive:
        member = tarfile.TarInfo("a.png")
        member.size = len(GREY)
        archive.addfile(member, io.BytesIO(GREY))
    content = bytearray((tmp_path / "a.tar").read_bytes())
    content[156:157] = tarfile.GNUTYPE_SPARSE
    block = bytearray(512)
    block[:] = content[:512]
    block[148:156] = b" " * 8
    content[148:156] = f"{sum(block):06o}\0 ".encode()
    (tmp_path / "a.tar").write_bytes(content)
    with pytest.raises(DatasetError, match=r"sparse file|cannot be read as a tar file"):
        load(tmp_path / "a.tar")


def test_a_shard_of_the_webdataset_package_is_read(tmp_path) -> None:
    library = pytest.importorskip("webdataset")
    with library.TarWriter(str(tmp_path / "a.tar")) as sink:
        for number in range(3):
            pixels = np.full((5, 4, 3), 50 * number, np.uint8)
            sink.write({"__key__": f"k{number}", "png": pixels, "cls": number, "json": {"a": 1}})
    found = load(tmp_path / "a.tar")
    assert found.names == ("k0.png", "k1.png", "k2.png")
    assert found.labels.tolist() == [0, 1, 2]
    assert found.pixels[:, 0, 0, 0].tolist() == [0, 50, 100]
