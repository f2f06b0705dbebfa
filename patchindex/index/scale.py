"""One scale of an index as arrays: what a search reads, and how it ranks lists.

No list is searched before it was read once and its checksum was found right.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Integer, UInt8, UInt32
from numpy import ndarray

from patchindex.errors import StoreError
from patchindex.images import ImageSet
from patchindex.index.store import REBUILD, crc32c_bytes, crc32c_value
from patchindex.index.trained import TrainedScale
from patchindex.kernels import nearest_rows


@dataclass(slots=True, kw_only=True, eq=False)
class ListChecks:
    """Compares lists with their checksums, each once, when it is first visited.

    Attributes:
        where: the scale, for messages.
        whole: checksums of `codes` and `ids` as a whole, which is all that an index has that was
            built before lists had their own.
        codes_crc32c, ids_crc32c: of each list, or None.
        end_id: ids are below this.
    """

    where: str
    codes: UInt8[ndarray, "p r"]
    ids: Integer[ndarray, " p"]
    offsets: Int[ndarray, " nlist_plus_1"]
    whole: Mapping[str, str]
    codes_crc32c: UInt32[ndarray, " nlist"] | None
    ids_crc32c: UInt32[ndarray, " nlist"] | None
    end_id: int
    _passed: Bool[ndarray, " nlist"] = field(init=False)

    def __post_init__(self) -> None:
        self._passed = np.zeros(len(self.offsets) - 1, dtype=np.bool_)

    def check(self, lists: Int[ndarray, "*shape"]) -> None:
        """Raise StoreError if one of these lists, -1 for none, is not what was built."""
        if self._passed.all():
            return
        visited = np.zeros_like(self._passed)
        visited[lists[lists >= 0]] = True
        for number in np.flatnonzero(visited & ~self._passed).tolist():
            if self.codes_crc32c is None or self.ids_crc32c is None:
                self._check_whole()
                return
            place = slice(*self.offsets[number : number + 2].tolist())
            for name, rows, stored in (
                ("codes", self.codes, self.codes_crc32c),
                ("ids", self.ids, self.ids_crc32c),
            ):
                if crc32c_value(rows[place]) != int(stored[number]):
                    raise _damaged(f"list {number} of {name} of {self.where}")
            self._check_ids(self.ids[place])
            self._passed[number] = True

    def _check_whole(self) -> None:
        """Check all lists at once."""
        for name, rows in (("codes", self.codes), ("ids", self.ids)):
            if crc32c_bytes(rows) != self.whole[name]:
                raise _damaged(f"{name} of {self.where}")
        self._check_ids(self.ids)
        self._passed[:] = True

    def _check_ids(self, ids: Integer[ndarray, " m"]) -> None:
        """Raise StoreError if there are ids of images that are not there."""
        if len(ids) and int(ids.max()) >= self.end_id:
            raise StoreError(
                f"ids of {self.where} has patches of images that are not there. {REBUILD}"
            )


def _damaged(what: str) -> StoreError:
    """The error that tells of a checksum that differs."""
    return StoreError(f"{what} is damaged: its checksum differs. {REBUILD}")


def list_checksums(
    rows: Integer[ndarray, "p *r"], offsets: Int[ndarray, " nlist_plus_1"]
) -> UInt32[ndarray, " nlist"]:
    """CRC-32C of each inverted list's rows."""
    plain, places = np.asarray(rows), pairwise(offsets.tolist())
    return np.array([crc32c_value(plain[first:end]) for first, end in places], dtype=np.uint32)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ScaleArrays:
    """One scale of an index, whose large arrays, ids and codes, are memory maps.

    Attributes:
        checks: what to call before lists are read; None if they need no check.
    """

    signature_lists: Int[ndarray, " signatures_plus_1"]
    pca: Float[ndarray, "r d"]
    pca_bias: Float[ndarray, " r"]
    centroids: Float[ndarray, "nlist lead"]
    code_min: Float[ndarray, " r"]
    code_span: Float[ndarray, " r"]
    offsets: Int[ndarray, " nlist_plus_1"]
    ids: Integer[ndarray, " p"]
    codes: UInt8[ndarray, "p r"]
    count: Int[ndarray, " nlist"]
    checks: ListChecks | None = None

    def lists_of(self, signature: int) -> range:
        """Inverted lists of a border signature."""
        first, end = self.signature_lists[signature : signature + 2]
        return range(int(first), int(end))

    def check(self, lists: Int[ndarray, "*shape"]) -> None:
        """Raise StoreError if one of these lists, -1 for none, is damaged; call before a search."""
        if self.checks is not None:
            self.checks.check(lists)

    def trained(self) -> TrainedScale:
        """What was learned."""
        names = (field.name for field in fields(TrainedScale))
        return TrainedScale(**{name: getattr(self, name) for name in names})

    def project(self, windows: Float[ndarray, "q d"]) -> Float[ndarray, "q r"]:
        """The vectors that lists and codes see, in float64, rounded to float32 values."""
        wide = windows.astype(np.float64) @ self.pca.T.astype(np.float64) + self.pca_bias
        vectors: Float[ndarray, "q r"] = wide.astype(np.float32)
        return vectors

    def rank_lists(
        self, vectors: Float[ndarray, "q r"], signature: int, nprobe: int
    ) -> Int[ndarray, "q nprobe"]:
        """The lists of the signature with the nearest centroids, nearest first; all if fewer.

        Args:
            vectors: projected windows.
        """
        lists = self.lists_of(signature)
        centroids = np.array(self.centroids[lists.start : lists.stop])
        lead = np.ascontiguousarray(vectors[:, : centroids.shape[1]])
        nearest = nearest_rows(
            torch.from_numpy(centroids), torch.from_numpy(lead), min(nprobe, len(lists))
        )
        ranked: Int[ndarray, "q nprobe"] = nearest.numpy() + lists.start
        return ranked


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class IndexLists:
    """What the search in the inverted lists of an index reads.

    Attributes:
        scales: by patch size.
    """

    images: ImageSet
    scales: Mapping[int, ScaleArrays]

    def has_label(self, label: int) -> Bool[ndarray, " n"]:
        """Which images are of this class."""
        chosen = np.zeros(len(self.images), dtype=np.bool_)
        chosen[self.images.label_indices(label)] = True
        return chosen
