import pytest

from patchindex.datasets.shards import expand_braces, shard_files
from patchindex.errors import DatasetError


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("a.tar", ["a.tar"]),
        ("a-{0..2}.tar", ["a-0.tar", "a-1.tar", "a-2.tar"]),
        ("{008..010}", ["008", "009", "010"]),
        ("{8..10}", ["8", "9", "10"]),
        ("{b,a}-{1..2}", ["b-1", "b-2", "a-1", "a-2"]),
    ],
)
def test_braces_stand_for_ranges_and_lists_in_their_order(text: str, names: list[str]) -> None:
    assert expand_braces(text) == names


@pytest.mark.parametrize("text", ["{}", "{a}", "{2..1}", "{0..99999999999}", "{1...3}"])
def test_other_braces_are_refused(text: str) -> None:
    with pytest.raises(DatasetError, match=r"has braces that hold .* Give a rising range such as"):
        expand_braces(text)


def test_braces_that_name_too_many_files_are_refused_before_they_are_listed() -> None:
    with pytest.raises(DatasetError, match=r"names more than 100,000 files\. Give fewer"):
        expand_braces("{0..99999}{0..99999}{0..99999}")


@pytest.mark.parametrize(
    ("place", "told"),
    [
        ("", r"tars: lacks a path\. Give it after the colon, as in tars:PATH"),
        ("s3://bucket/a.tar", r"is an address, not a path\. Copy the files to this machine"),
        ("pipe:curl x", r"is an address, not a path"),
        ("none.tar", r"none\.tar does not exist or is not a file"),
        ("a-{0..1}.tar", r"a-1\.tar does not exist or is not a file"),
        ("*.none", r"holds no file for tars:PATH\. Files with these suffixes .* \.tar"),
        ("empty", r"empty holds no file for tars:PATH"),
        ("a\0b", r"cannot be read: .* Give another path|does not exist"),
        ("~nobody-of-this-name/a.tar", r"cannot be read: .* Give another path"),
    ],
)  # fmt: skip
def test_what_names_no_file_is_refused_in_a_line(tmp_path, monkeypatch, place, told) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "a-0.tar").touch()
    with pytest.raises(DatasetError, match=told):
        shard_files(place, "tars", (".tar",))


def test_files_of_a_folder_are_sorted_by_bytes_and_hidden_ones_left_out(tmp_path) -> None:
    for name in ("b/2.tar", "b/10.tar", "a.TAR", "Z.tar", ".hidden.tar", "a.txt", "[x]{1}.tar"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = shard_files(str(tmp_path), "tars", (".tar",))
    names = [path.relative_to(tmp_path).as_posix() for path in found]
    assert names == ["Z.tar", "[x]{1}.tar", "a.TAR", "b/10.tar", "b/2.tar"]
    assert shard_files(f"{tmp_path}/[x]{{1}}.tar", "tars", (".tar",)) == [found[1]]
    assert len(shard_files(f"{tmp_path}/b/?.tar", "tars", (".tar",))) == 1
