"""Reader of webdataset shards: tar files in which an image and its label share a name.

`0001.jpg` and `0001.cls`, or `0001.json` with a `label`, make one example. Nothing is unpacked to
disk, and no member decides on how much memory is taken: what it promises is bounded first.
"""

import gzip
import io
import json
import tarfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

from patchindex.choices import Crop
from patchindex.datasets.decode import IMAGE_SUFFIXES
from patchindex.datasets.examples import Example, load_examples
from patchindex.datasets.resize import Size
from patchindex.errors import DatasetError
from patchindex.image_arrays import LoadedImages

TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz")
MOST_BYTES = 2**30  # of one member, or of what describes it
LABEL_KEYS = ("label", "cls", "class", "class_name")  # of a JSON object
DAMAGE = (OSError, EOFError, ValueError, LookupError, OverflowError, tarfile.TarError, zlib.error)


def load_webdataset(
    files: Sequence[Path],
    *,
    name: str,
    size: Size | None = None,
    crop: Crop = "none",
    limit: int | None = None,
) -> LoadedImages:
    """The images of tar files, shard by shard, in the order of their members; see `load_examples`.

    Args:
        name: of the source, for people.
        limit: keep the first so many.

    Raises:
        DatasetError: a shard is damaged, holds no image, links in place of images, or two images
            of one name.
    """
    samples: list[TarSample] = []
    for path in files:
        if limit is None or len(samples) < limit:
            samples += list_samples(path)
    chosen = TarSamples(samples=tuple(samples[:limit]), num_files=len(files))
    return load_examples(chosen, name=name, size=size, crop=crop)


@dataclass(frozen=True, slots=True, kw_only=True)
class TarSample:
    """Where an image lies, by the name of its member, and its label."""

    path: Path
    image: str
    label: int | str | None


def list_samples(path: Path) -> list[TarSample]:
    """The samples of a shard in the order of their images, which are not read.

    Raises:
        DatasetError: see `load_webdataset`.
    """
    images: dict[str, str] = {}
    labels: dict[str, int | str] = {}
    for member, read in _members(path):
        key, ending = _split(member.name)
        is_image = f".{ending}" in IMAGE_SUFFIXES
        if not is_image and ending not in ("cls", "json"):
            continue
        if not member.isreg() or member.issparse():
            raise DatasetError(
                f"{member.name} in {path} is no plain file, but a folder, a link, a device or a "
                "sparse file. Write the shard again with the files themselves."
            )
        if not is_image:
            label = _label(read(), ending, f"{member.name} in {path}")
            if label is not None and (ending == "cls" or key not in labels):
                labels[key] = label
        elif key in images:
            raise DatasetError(
                f"{path} has two images of one name: {images[key]} and {member.name}. Give each "
                "image a name of its own."
            )
        else:
            images[key] = member.name
    return [
        TarSample(path=path, image=image, label=labels.get(key)) for key, image in images.items()
    ]


def _split(name: str) -> tuple[str, str]:
    """A member's key, and its ending in small letters: all behind the first dot of its own name."""
    folder, slash, own = name.rpartition("/")
    stem, _, ending = own.partition(".")
    return f"{folder}{slash}{stem}", ending.lower() if stem else ""


def _label(content: bytes, ending: str, place: str) -> int | str | None:
    """The number or name of a class; None where a JSON object names none.

    Raises:
        DatasetError: it cannot be read.
    """
    try:
        if ending == "cls":
            text = content.decode("utf-8").strip()
            return int(text) if text.lstrip("-").isdecimal() else text
        found: Any = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{place} cannot be read: {error}. Write the shard again.") from error
    values = [found[key] for key in LABEL_KEYS if key in found] if isinstance(found, dict) else []
    return next((v for v in values if isinstance(v, int | str) and not isinstance(v, bool)), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class TarSamples:
    """Samples as examples, read one after another.

    Attributes:
        num_files: shards; where there are several, names of images begin with theirs.
    """

    samples: tuple[TarSample, ...]
    num_files: int

    def __len__(self) -> int:
        """How many there are."""
        return len(self.samples)

    def __iter__(self) -> Iterator[Example]:
        """Shard after shard, in the order of their members."""
        for path, samples in groupby(self.samples, key=lambda sample: sample.path):
            wanted = {sample.image: sample for sample in samples}
            for member, read in _members(path):
                if member.name in wanted:
                    yield self._example(wanted.pop(member.name), read())
                if not wanted:
                    break

    def _example(self, sample: TarSample, content: bytes) -> Example:
        """The example of a sample."""
        return Example(
            image=io.BytesIO(content),
            place=f"{sample.image} in {sample.path}",
            label=sample.label,
            file=sample.image if self.num_files == 1 else f"{sample.path.name}/{sample.image}",
        )


def _members(path: Path) -> Iterator[tuple[tarfile.TarInfo, Callable[[], bytes]]]:
    """The members of a tar file in their order, and what reads each while it is at hand.

    Raises:
        DatasetError: the file is damaged, or a member promises more than any image needs.
    """
    with _damage(path), _opened(path) as file, tarfile.open(fileobj=file, mode="r:") as archive:
        for member in archive:
            # how a path is written says nothing about which file it is
            member.name = member.name.removeprefix("./")
            yield member, partial(_read, archive, member, path)
            archive.members.clear()  # type: ignore[attr-defined] # or all would be kept


def _read(archive: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> bytes:
    """The bytes of a plain file."""
    if member.size > MOST_BYTES:
        raise DatasetError(
            f"{member.name} in {path} promises {member.size:,} bytes, but no more than "
            f"{MOST_BYTES:,} are read. Take it out of the shard."
        )
    stream = archive.extractfile(member)
    content = b"" if stream is None else stream.read()
    if len(content) != member.size:
        raise DatasetError(
            f"{path} ends inside {member.name}. Get the shard again, it is cut short."
        )
    return content


class _Bounded(io.RawIOBase):
    """A stream of which nobody takes more than a bounded number of bytes at once."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def read(self, size: int = -1) -> bytes:
        """As much as was asked for, or there is.

        Raises:
            ValueError: more than any image needs.
        """
        if not 0 <= size <= MOST_BYTES + tarfile.BLOCKSIZE:
            raise ValueError(f"a member's header promises {size:,} bytes of description")
        return bytes(self._stream.read(size))

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go to a place."""
        return int(self._stream.seek(offset, whence))

    def tell(self) -> int:
        """The place."""
        return int(self._stream.tell())

    def close(self) -> None:
        """Close the file."""
        self._stream.close()
        super().close()


def _opened(path: Path) -> _Bounded:
    """The bytes of a shard, unpacked if its name says that they are packed."""
    return _Bounded(gzip.open(path) if path.name.lower().endswith("gz") else path.open("rb"))


@contextmanager
def _damage(path: Path) -> Iterator[None]:
    """Whatever is wrong with the file is a DatasetError."""
    try:
        yield
    except DatasetError:
        raise
    except DAMAGE as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DatasetError(
            f"{path} cannot be read as a tar file: {reason}. Get the shard again, or write it anew."
        ) from error
