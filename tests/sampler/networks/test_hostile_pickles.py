"""Files made to harm whoever opens them: refused in one line, and nothing of them is run."""

import builtins
import os
import pickle
import pickletools
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from made_paper_files import save_resnet, their_classes
from torch import nn

from sampler.errors import NetworkError
from sampler.networks import paper_checkpoint, paper_scales


class Calls:
    """Pickled as a call."""

    def __init__(self, function: Callable[..., Any], *args: object) -> None:
        self.call = function, args

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[object, ...]]:
        return self.call


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "backbone_MNIST_ResNet_zeros.pt"


@pytest.fixture
def sentinel(tmp_path: Path) -> Path:
    """A file that all of these want to make."""
    return tmp_path / "harmed"


def in_archive(path: Path, pickled: bytes, storages: dict[str, bytes] | None = None) -> None:
    """An archive as torch.save writes it."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/byteorder", "little")
        for key, content in (storages or {}).items():
            archive.writestr(f"archive/data/{key}", content)


@pytest.mark.parametrize("place", ["whole", "attribute", "list"])
@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda file: Calls(os.system, f"touch {file}"), r"posix.system"),
        (lambda file: Calls(eval, f"open({str(file)!r}, 'w')"), r"(__builtin__|builtins).eval"),
        (lambda file: Calls(builtins.exec, f"open({str(file)!r}, 'w')"), "exec"),
        (lambda file: Calls(getattr, file, "touch"), "getattr|pathlib"),
        (lambda _: nn.BatchNorm2d(3), "torch.nn.modules.batchnorm.BatchNorm2d"),
        (lambda _: nn.LazyLinear(3), "torch.nn.modules.lazy|torch.nn.modules.linear.LazyL"),
        (lambda file: Calls(torch.load, str(file)), "torch.serialization.load"),
    ],
)
def test_names_that_are_not_expected_are_refused(path, sentinel, make, name, place) -> None:
    hostile = make(sentinel)
    with their_classes() as models:
        content = {"whole": hostile, "list": [3, hostile]}.get(place) or models.MinimalResNet()
        if place == "attribute":
            content.embs = [hostile]
        torch.save(content, path)
    for read in (paper_checkpoint, paper_scales):
        with pytest.raises(NetworkError, match=rf"{name}|models.MinimalResNet") as caught:
            read(path)
        assert "which no file of the paper's authors does; nothing of it was run" in str(
            caught.value
        )
        assert "\n" not in str(caught.value)
    assert not sentinel.exists()


def test_the_attack_works_on_a_reader_that_trusts(path, sentinel) -> None:
    torch.save([Calls(os.system, f"touch {sentinel}")], path)
    torch.load(path, weights_only=False)
    assert sentinel.exists()


def test_a_class_of_theirs_called_with_what_harms_runs_nothing(path, sentinel) -> None:
    """Its real constructor and `__setstate__` would."""

    def harm(self: object, *_args: object) -> None:
        sentinel.touch()

    with their_classes() as models:
        models.UBlock.__init__ = models.UBlock.__setstate__ = harm
        models.UBlock.__reduce_ex__ = lambda _self, _: (models.UBlock, (1, 2), {"emb": 3})
        torch.save(models.UBlock.__new__(models.UBlock), path)
        with pytest.raises(NetworkError, match="holds a UBlock, not a MinimalResNet"):
            paper_checkpoint(path)
    assert not sentinel.exists()


@pytest.mark.parametrize(
    "pickled",
    [
        b"cposix\nsystem\n(S'touch %b'\ntR.",  # protocol 0
        b"(S'touch %b'\niposix\nsystem\n.",  # INST
        b"\x80\x04\x8c\x05posix\x8c\x06system\x93(S'touch %b'\ntR.",  # STACK_GLOBAL
        b"\x80\x02ctorch.nn.modules.linear\nLinear.__init__.__globals__\n.",
        b"\x80\x04\x8c\x06models\x8c\x15DDIM.__reduce_ex__.__\x93(S'touch %b'\ntR.",
    ],
)
def test_other_ways_to_name_a_function_are_refused(path, sentinel, pickled) -> None:
    in_archive(path, pickled.replace(b"%b", str(sentinel).encode()))
    with pytest.raises(NetworkError, match=r"names \S+, which no file of the paper's authors does"):
        paper_checkpoint(path)
    assert not sentinel.exists()


DAMAGED = [
    ("text", lambda path: path.write_text("weights"), "is no zip archive"),
    ("empty", lambda path: path.write_bytes(b""), "is no zip archive"),
    ("absent", lambda _: None, "cannot be read"),
    ("folder", lambda path: path.mkdir(), "cannot be read"),
    (
        "legacy",
        lambda path: torch.save([3], path, _use_new_zipfile_serialization=False),
        "is no zip archive as torch.save writes since version 1.6",
    ),
    ("bare pickle", lambda path: path.write_bytes(pickle.dumps([3])), "is no zip archive"),
    ("no end", lambda path: in_archive(path, b"\x80\x02]q\x00"), "cannot be read"),
    ("no pickle", lambda path: in_archive(path, b"hello"), "cannot be read"),
    ("far memo", lambda path: in_archive(path, b"\x80\x02]r\xff\xff\xff\x7f."), "holds a list"),
    # hashing these would end the process, or never end
    ("deep key", lambda path: in_archive(path, DEEP_KEY), "keys that are neither text nor"),
    ("doubled key", lambda path: in_archive(path, DOUBLED_KEY), "keys that are neither text nor"),
    ("deep keys", lambda path: in_archive(path, b"\x80\x02}(N" + NESTED + b"Nu."), "keys that are"),
    (
        "deep member",
        lambda path: in_archive(path, b"\x80\x04\x8f(N" + NESTED + b"\x90."),
        "a set is",
    ),
    ("entries at once", lambda path: in_archive(path, ENTRIES), "cannot be read"),
    ("long pickle", lambda path: in_archive(path, b"\x80\x02" + b"N0" * 2_000_001 + b"N."), "MB"),
    ("claimed bytes", lambda path: in_archive(path, b"\x80\x05\x96" + b"\xff" * 7), "cannot be r"),
    ("state on a class", lambda path: in_archive(path, SET_ON_CLASS), "cannot be read"),
    ("state on a mapping", lambda path: in_archive(path, SET_ON_MAPPING), "holds a OrderedDict"),
    ("no storage", lambda path: in_archive(path, b"\x80\x02K\x03Q."), "no storage that is known"),
]
NESTED = b"\x85" * 500_000
DEEP_KEY = b"\x80\x02}N" + NESTED + b"Ns."
DOUBLED = b"".join(b"q%ch%c\x86" % (number, number) for number in range(60))
DOUBLED_KEY = b"\x80\x02}N" + DOUBLED + b"Ns."
ENTRIES = b"\x80\x02ccollections\nOrderedDict\n]]N" + DOUBLED + b"aNaa\x85R."
SET_ON_CLASS = b"\x80\x02ccollections\nOrderedDict\n}U\x01aK\x01sb."
SET_ON_MAPPING = b"\x80\x02ccollections\nOrderedDict\n)RN}U\x04keysK\x01s\x86b."


@pytest.mark.parametrize(
    ("write", "message"), [d[1:] for d in DAMAGED], ids=[d[0] for d in DAMAGED]
)
def test_what_torch_did_not_write_is_refused_in_one_line(path, write, message) -> None:
    write(path)
    with pytest.raises(NetworkError, match=message) as caught:
        paper_checkpoint(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.99])
def test_a_file_that_was_cut_short_is_refused(path, share) -> None:
    save_resnet(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(
        NetworkError, match=r"is no zip archive .* Give the file as it was released"
    ):
        paper_checkpoint(path)


def test_every_pickle_that_was_cut_short_is_refused(path) -> None:
    save_resnet(path)
    with zipfile.ZipFile(path) as archive:
        name = next(name for name in archive.namelist() if name.endswith("data.pkl"))
        pickled = archive.read(name)
    for end in range(0, len(pickled), 97):
        in_archive(path, pickled[:end])
        with pytest.raises(NetworkError, match=r"cannot be read|names .*nothing of it was run"):
            paper_checkpoint(path)


def tensor(size: tuple[int, ...], stride: tuple[int, ...], start: int = 0) -> bytes:
    """A pickle of a tensor in a storage of four numbers."""

    def numbers(values: tuple[int, ...]) -> bytes:
        return b"(" + b"".join(b"L%dL\n" % value for value in values) + b"t"

    storage = b"(U\x07storagectorch\nLongStorage\nU\x010U\x03cpuK\x04tQ"
    args = b"(" + storage + b"L%dL\n" % start + numbers(size) + numbers(stride) + b"\x89Nt"
    return b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n" + args + b"R."


@pytest.mark.parametrize(
    ("size", "stride", "start", "message"),
    [
        (
            (10**9, 10**9),
            (10**9, 1),
            0,
            "claims a tensor of 1000000000x1000000000, but holds fewer",
        ),
        ((10**9,), (0,), 0, "is not stored row by row"),
        ((5,), (1,), 0, "claims a tensor of 5, but"),
        ((4,), (1,), 1, "claims a tensor of 4, but"),
        ((2,), (1,), -1, "claims a tensor of 2, but"),
        ((-2,), (1,), 0, "whose shape is none of a network"),
        ((0,), (1,), 0, "whose shape is none of a network"),
        ((1,) * 9, (1,) * 9, 0, "whose shape is none of a network"),
        ((2, 2), (1, 2), 0, "is not stored row by row"),
        ((2, 2), (2,), 0, "is not stored row by row"),
        ((10**30,), (1,), 0, "but holds fewer"),
    ],
)
def test_a_tensor_that_claims_what_is_not_there_is_refused(
    path, size, stride, start, message
) -> None:
    in_archive(path, tensor(size, stride, start), {"0": bytes(32)})
    with pytest.raises(NetworkError, match=message):
        paper_scales(path)


def test_a_storage_that_is_not_there_is_refused(path) -> None:
    in_archive(path, tensor((4,), (1,)))
    with pytest.raises(NetworkError, match="claims a tensor of 4, but holds fewer numbers"):
        paper_scales(path)


def test_the_made_tensor_is_one() -> None:
    assert "REDUCE" in {opcode.name for opcode, _, _ in pickletools.genops(tensor((4,), (1,)))}


def test_a_compressed_archive_is_refused_before_it_is_unpacked(path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(10**7))
    with pytest.raises(NetworkError, match="is a compressed archive"):
        paper_checkpoint(path)


def test_an_archive_of_something_else_is_refused(path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme", "hello")
    with pytest.raises(NetworkError, match=r"without one data\.pkl"):
        paper_checkpoint(path)


def test_numbers_of_another_byte_order_are_refused(path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps([3], protocol=2))
        archive.writestr("archive/byteorder", "big")
    with pytest.raises(NetworkError, match="highest byte first"):
        paper_scales(path)


def test_a_network_within_itself_is_refused(path) -> None:
    with their_classes() as models:
        net = models.DDIM()
        net._modules["backbone"] = net
        torch.save(net, path)
    with pytest.raises(NetworkError, match="holds a DDIM, not a MinimalResNet"):
        paper_checkpoint(path)


def test_a_list_within_itself_is_refused(path) -> None:
    values: list[object] = []
    values.append(values)
    torch.save(values, path)
    with pytest.raises(NetworkError, match="no list of odd patch sizes"):
        paper_scales(path)


def test_what_a_file_does_to_one_class_stays_in_it(path) -> None:
    """The next reading starts from clean classes."""
    in_archive(path, SET_ON_CLASS)
    with pytest.raises(NetworkError):
        paper_checkpoint(path)
    save_resnet(path)
    assert paper_checkpoint(path).image_shape == (1, 32, 32)
