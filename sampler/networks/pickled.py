"""What a file that torch.save wrote holds, read without running anything that the file asks for.

A pickle names functions and classes, and asks its reader to call them. Here each name becomes an
inert record that keeps what the file says of it; names that are not expected are refused.
"""

import pickle
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from math import prod
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from sampler.errors import NetworkError, reason

# Whether a global of this module and name may stand in the file.
IsExpected = Callable[[str, str], bool]

_DTYPES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "IntStorage": torch.int32,
    "LongStorage": torch.int64,
}
_REBUILT = ("_rebuild_tensor_v2", "_rebuild_parameter")
MOST_AXES = 4
MOST_BYTES = 4_000_000  # of a pickle: two hundred times what a released network takes


class Record:
    """An object of a file: the name of its class or function, its arguments, and its state."""

    args: tuple[object, ...]
    state: dict[object, object]

    def __new__(cls, *args: object) -> "Record":
        """Keep what the class or function would have been called with."""
        record = super().__new__(cls)
        record.args, record.state = args, {}
        return record

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, dict):
            raise pickle.UnpicklingError(f"{self.kind} has no dictionary of attributes")
        self.state = state

    @property
    def kind(self) -> str:
        """The name of the class or function, without its module."""
        return type(self).__name__


class _Mapping(dict[object, object]):
    """An OrderedDict of a file, without the attributes that it may have.

    Its entries come one by one, and not as an argument.
    """

    def __init__(self) -> None:
        super().__init__()

    def __setstate__(self, state: object) -> None:
        """Leave them out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedFile:
    """What torch.save wrote.

    Attributes:
        content: the object: plain values, lists, dictionaries, records.
        storages: bytes of the tensors by their keys.
    """

    path: Path
    content: object
    storages: Mapping[str, bytearray]

    def tensor(self, record: object) -> Tensor:
        """The tensor or parameter that the record describes; it shares the file's bytes.

        Raises:
            NetworkError: the record is no tensor, or claims more than the file holds.
        """
        if isinstance(record, Record) and record.kind == "_rebuild_parameter" and record.args:
            record = record.args[0]
        if not (isinstance(record, Record) and record.kind == "_rebuild_tensor_v2"):
            raise self.refused("has something else where a tensor belongs")
        match record.args:
            case (_Storage(args=(str(kind), str(key))), int(start), tuple(size), tuple(stride), *_):
                return self._view(kind, key, start, (size, stride))
        raise self.refused("describes a tensor in a way of its own")

    def _view(
        self, kind: str, key: str, start: int, layout: tuple[tuple[object, ...], tuple[object, ...]]
    ) -> Tensor:
        """So many numbers of a storage in row-major order, from the start-th on."""
        size = [axis for axis in layout[0] if type(axis) is int and axis > 0]
        if len(size) != len(layout[0]) or len(size) > MOST_AXES:
            raise self.refused("has a tensor whose shape is none of a network")
        row_major = tuple(prod(size[axis + 1 :]) for axis in range(len(size)))
        # where there is one row, its stride means nothing
        strides = zip(size, layout[1], row_major, strict=False)
        if len(layout[1]) != len(size) or any(n > 1 and ours != own for n, ours, own in strides):
            raise self.refused("has a tensor that is not stored row by row")
        dtype, content = _DTYPES[kind], self.storages.get(key, bytearray())
        count = prod(size)
        if start < 0 or (start + count) * dtype.itemsize > len(content):
            shape = "x".join(map(str, size)) or "one number"
            raise self.refused(f"claims a tensor of {shape}, but holds fewer numbers")
        flat = torch.frombuffer(content, dtype=dtype, count=count, offset=start * dtype.itemsize)
        return flat.reshape(size)

    def refused(self, what: str) -> NetworkError:
        """The error that says what is wrong with the file."""
        return NetworkError(f"{self.path} {what}. Give a file as the paper's authors released it.")


class _Storage(Record):
    """Kind and key of the bytes that a tensor lies in."""


def read_saved(path: Path, is_expected: IsExpected) -> SavedFile:
    """What the file holds; of all that it names nothing is imported, and nothing is run.

    Args:
        is_expected: tells which classes may occur beside tensors, OrderedDict and set; each object
            of one becomes a `Record`.

    Raises:
        NetworkError: the file cannot be read, is damaged, no zip archive of torch.save, or names a
            global that is not expected.

    Example:
        >>> read_saved(Path("scales_MNIST_ResNet_zeros.pt"), lambda module, name: False).content
        [3, 3, 5, ...]
    """
    try:
        with zipfile.ZipFile(path) as archive:
            pickled, storages = _entries(archive, path)
        content = _Reader(pickled, path, is_expected).load()
    except NetworkError:
        raise
    except zipfile.BadZipFile as error:
        raise NetworkError(
            f"{path} is no zip archive as torch.save writes since version 1.6 ({error}). Give the "
            "file as it was released; one of an older torch must be saved again by a newer one."
        ) from error
    except Exception as error:  # a damaged pickle or archive may raise any
        raise NetworkError(
            f"{path} cannot be read ({type(error).__name__}: {reason(error)}). Give a file "
            "as the paper's authors released it."
        ) from error
    return SavedFile(path=path, content=content, storages=storages)


def _entries(archive: zipfile.ZipFile, path: Path) -> tuple[bytes, dict[str, bytearray]]:
    """The pickle, and the bytes of the tensors by their keys.

    Takes no more memory than the file is long.
    """
    entries = {entry.filename: entry for entry in archive.infolist()}
    packed = any(entry.compress_type != zipfile.ZIP_STORED for entry in entries.values())
    if packed or sum(entry.file_size for entry in entries.values()) > path.stat().st_size:
        raise NetworkError(
            f"{path} is a compressed archive. Give a file as torch.save writes it, uncompressed."
        )
    if any(
        entry.file_size > MOST_BYTES for name, entry in entries.items() if name.endswith(".pkl")
    ):
        raise NetworkError(
            f"{path} describes its tensors in more than {MOST_BYTES / 1e6:.0f} MB. Give a file as "
            "the paper's authors released it."
        )
    pickles = [name for name in entries if name.endswith("/data.pkl") and name.count("/") == 1]
    if len(pickles) != 1:
        raise NetworkError(
            f"{path} is an archive without one data.pkl. Give a file that torch.save wrote."
        )
    root = pickles[0].removesuffix("data.pkl")
    if f"{root}byteorder" in entries and archive.read(f"{root}byteorder") != b"little":
        raise NetworkError(
            f"{path} holds numbers with the highest byte first. Give a file that was saved on a "
            "little-endian machine."
        )
    data = f"{root}data/"
    keys = [name for name in entries if name.startswith(data)]
    storages = {name.removeprefix(data): bytearray(archive.read(name)) for name in keys}
    return archive.read(pickles[0]), storages


_PythonUnpickler: Any = pickle._Unpickler  # whose operations can be watched


class _Reader(_PythonUnpickler):  # type: ignore[misc] # its class has no types
    """Makes records of all that a pickle names.

    Written in Python: the one in C is ended by a key that is a deeply nested tuple, and hashes one
    that holds itself many times for as long as there are stars.
    """

    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = dict(_PythonUnpickler.dispatch)

    def __init__(self, pickled: bytes, path: Path, is_expected: IsExpected) -> None:
        super().__init__(BytesIO(pickled))
        self._path, self._is_expected = path, is_expected

    def load_setitem(self) -> None:
        """An entry of a dictionary."""
        _check_keys([self.stack[-2]])
        super().load_setitem()

    def load_setitems(self) -> None:
        """Entries of a dictionary."""
        _check_keys(self.stack[::2])
        super().load_setitems()

    def load_dict(self) -> None:
        """A dictionary of the oldest protocol."""
        _check_keys(self.stack[::2])
        super().load_dict()

    def load_members(self) -> None:
        """Members of a set: torch.save writes none."""
        raise pickle.UnpicklingError("a set is none of what torch.save writes")

    for _code, _load in (
        (pickle.SETITEM, load_setitem), (pickle.SETITEMS, load_setitems), (pickle.DICT, load_dict),
        (pickle.ADDITEMS, load_members), (pickle.FROZENSET, load_members),
    ):  # fmt: skip
        dispatch[_code[0]] = _load

    def find_class(self, module_name: str, global_name: str, /) -> type:
        """A new inert class for a global that is expected."""
        if (module_name, global_name) == ("collections", "OrderedDict"):
            return type(global_name, (_Mapping,), {})
        plain = (module_name, global_name) in (("__builtin__", "set"), ("builtins", "set"))
        stored = module_name == "torch" and global_name in _DTYPES
        rebuilt = module_name == "torch._utils" and global_name in _REBUILT
        if plain or stored or rebuilt or self._is_expected(module_name, global_name):
            return type(global_name, (Record,), {})
        raise NetworkError(
            f"{self._path} names {module_name}.{global_name}, which no file of the paper's authors "
            "does; nothing of it was run. Give a file as they released it."
        )

    def persistent_load(self, pid: object) -> Record:
        """The storage that a tensor lies in."""
        match pid:
            case ("storage", type() as kind, str(key), _, int()) if kind.__name__ in _DTYPES:
                return _Storage(kind.__name__, key)
        raise pickle.UnpicklingError("a tensor lies in no storage that is known")


def _check_keys(keys: Sequence[object]) -> None:
    """Raise UnpicklingError unless all can be hashed in no time."""
    if not all(type(key) in (str, int) for key in keys):
        raise pickle.UnpicklingError("a dictionary has keys that are neither text nor numbers")
