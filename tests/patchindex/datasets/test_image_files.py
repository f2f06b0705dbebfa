import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from image_files import write_png

from patchindex import ImageSet
from patchindex.datasets.files import image_files, list_images, load_image_folder
from patchindex.errors import DatasetError

GREY = np.arange(0, 240, 2, dtype=np.uint8).reshape(10, 12)
posix = pytest.mark.skipif(os.name != "posix", reason="needs a POSIX system")


def names(root):
    return [str(path.relative_to(root)) for path in image_files(root)]


def test_a_loop_of_links_is_visited_once(tmp_path, caplog):
    root = tmp_path / "photos"
    write_png(root / "a" / "one.png", GREY)
    (root / "a" / "up").symlink_to("..")
    (root / "a" / "here").symlink_to(".")
    assert names(root) == ["a/one.png"]
    assert "links lead to folders that are read already, 2 times, such as a/here" in caplog.text
    assert len(load_image_folder(root)) == 1


def test_a_folder_with_two_links_is_read_once_and_by_its_own_name(tmp_path, caplog):
    write_png(tmp_path / "real" / "deep" / "one.png", GREY)
    (tmp_path / "link").symlink_to("real")  # sorts before what it leads to
    (tmp_path / "also").mkdir()
    (tmp_path / "also" / "link").symlink_to("../real/deep")
    assert names(tmp_path) == ["real/deep/one.png"]
    assert list_images(tmp_path).class_names == ("real",)
    assert "2 times" in caplog.text


def test_of_two_links_to_a_folder_elsewhere_the_first_is_followed(tmp_path, caplog):
    write_png(tmp_path / "elsewhere" / "one.png", GREY)
    (tmp_path / "root").mkdir()
    for link in ("second", "first"):
        (tmp_path / "root" / link).symlink_to("../elsewhere")
    assert names(tmp_path / "root") == ["first/one.png"]
    assert "such as second" in caplog.text


def test_equal_files_and_links_to_files_are_all_kept(tmp_path):
    write_png(tmp_path / "a.png", GREY)
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes())
    (tmp_path / "c.png").hardlink_to(tmp_path / "a.png")
    (tmp_path / "d.png").symlink_to("a.png")
    assert names(tmp_path) == ["a.png", "b.png", "c.png", "d.png"]


def test_the_order_is_that_of_bytes_folder_by_folder(tmp_path):
    mixed = ["a/z.png", "a.b/a.png", "a-b/a.png", "B/a.png", "b/10.png", "b/9.png", "é/a.png"]
    for name in mixed:
        write_png(tmp_path / name, GREY)
    expected = sorted(mixed, key=lambda name: [part.encode() for part in name.split("/")])
    assert names(tmp_path) == expected
    assert expected[:2] == ["B/a.png", "a/z.png"]


@pytest.mark.parametrize("name", ["gone.png", "class"])
def test_a_link_that_leads_nowhere_is_named(tmp_path, name):
    write_png(tmp_path / "cat" / "a.png", GREY)
    (tmp_path / "cat" / name).symlink_to("absent")
    with pytest.raises(
        DatasetError, match=rf"cat/{name} is a link to absent, which does not exist"
    ):
        load_image_folder(tmp_path)


def test_a_link_to_itself_is_named(tmp_path):
    write_png(tmp_path / "a.png", GREY)
    (tmp_path / "b.png").symlink_to("b.png")
    with pytest.raises(DatasetError, match=r"b\.png (cannot be read|is a link)"):
        load_image_folder(tmp_path)


@posix
def test_pipes_and_sockets_with_the_name_of_an_image_are_named_and_not_waited_for(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)  # a socket's path must be short
    write_png(Path("a.png"), GREY)
    os.mkfifo("pipe")
    assert len(ImageSet.load("folder:.")) == 1
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("b.png")
        with pytest.raises(DatasetError, match=r"b\.png has the name of an image, but is neither"):
            ImageSet.load("folder:.")
    Path("b.png").unlink()
    Path("b.png").symlink_to("pipe")
    with pytest.raises(DatasetError, match=r"b\.png has the name of an image, but is neither"):
        ImageSet.load("folder:.")


def test_hidden_folders_are_left_out_at_every_depth(tmp_path):
    for name in ("cat/a.png", "cat/.thumbnails/a.png", "cat/__MACOSX/a.png", ".git/a.png"):
        write_png(tmp_path / name, GREY)
    assert names(tmp_path) == ["cat/a.png"]


def test_a_folder_with_the_suffix_of_an_image_is_a_folder(tmp_path):
    write_png(tmp_path / "x.png" / "a.png", GREY)
    assert list_images(tmp_path).class_names == ("x.png",)


def test_deep_folders_are_walked(tmp_path):
    write_png(tmp_path.joinpath(*["d"] * 400, "a.png"), GREY)
    assert len(image_files(tmp_path)) == 1


# imports come first, as another user may not read this installation
AS_NOBODY = """
import os, sys
from pathlib import Path
from PIL import Image
from patchindex.datasets.files import load_image_folder
from patchindex.errors import DatasetError
Image.init()
os.setgid(65534), os.setuid(65534)
for root in sys.argv[1:]:
    try:
        print(len(load_image_folder(Path(root))))
    except DatasetError as error:
        print("refused:", error)
"""


@pytest.mark.slow
@posix
@pytest.mark.skipif(os.name == "posix" and os.geteuid() != 0, reason="needs root, to be another")
def test_what_may_not_be_read_is_named():
    shut = {"a/cat": 0o000, "b/cat": 0o444, "c/dog/b.png": 0o000, "d": 0o000}
    with tempfile.TemporaryDirectory() as folder:  # pytest's own is not for other users
        place = Path(folder)
        place.chmod(0o755)
        for name, mode in shut.items():
            write_png(place / name[0] / "cat" / "a.png", GREY)
            write_png(place / name[0] / "dog" / "b.png", GREY)
            (place / name).chmod(mode)
        roots = [str(place / name[0]) for name in shut]
        command = [sys.executable, "-c", AS_NOBODY, *roots]
        told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        for line, name in zip(told.splitlines(), shut, strict=True):
            assert line.startswith("refused:")
            assert str(place / name) in line


@posix
@pytest.mark.skipif(sys.platform == "darwin", reason="macOS has UTF-8 names only")
def test_names_that_are_not_utf8_work(tmp_path):
    for folder in (b"caf\xe9", b"cafe"):
        place = os.fsencode(tmp_path) + b"/" + folder
        os.mkdir(place)  # noqa: PTH102 - a path of bytes
        write_png(Path(os.fsdecode(place + b"/\xff.png")), GREY)
    images = ImageSet.load(f"folder:{tmp_path}")
    assert images.class_names == ("cafe", r"caf\xe9")
    assert len(images) == 2
