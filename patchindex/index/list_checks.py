"""Checksums of inverted lists: no list is searched before it was read once and found whole."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Int, Integer, UInt8, UInt32
from numpy import ndarray

from patchindex.errors import StoreError
from patchindex.index.store import REBUILD, crc32c_bytes, crc32c_value


def list_checksums(
    rows: Integer[ndarray, "p *r"], offsets: Int[ndarray, " nlist_plus_1"]
) -> UInt32[ndarray, " nlist"]:
    """CRC-32C of each inverted list's rows."""
    plain, places = np.asarray(rows), pairwise(offsets.tolist())
    return np.array([crc32c_value(plain[first:end]) for first, end in places], dtype=np.uint32)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ListChecks:
    """Compares lists with their checksums, each when it is first visited.

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
        object.__setattr__(self, "_passed", np.zeros(len(self.offsets) - 1, dtype=np.bool_))

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
                    raise damaged(f"list {number} of {name} of {self.where}")
            self._check_ids(self.ids[place])
            self._passed[number] = True

    def _check_whole(self) -> None:
        """Check all lists at once."""
        for name, rows in (("codes", self.codes), ("ids", self.ids)):
            if crc32c_bytes(rows) != self.whole[name]:
                raise damaged(f"{name} of {self.where}")
        self._check_ids(self.ids)
        self._passed[:] = True

    def _check_ids(self, ids: Integer[ndarray, " m"]) -> None:
        """Raise StoreError if there are ids of images that are not there."""
        if len(ids) and int(ids.max()) >= self.end_id:
            raise StoreError(
                f"ids of {self.where} has patches of images that are not there. {REBUILD}"
            )


def damaged(what: str) -> StoreError:
    """The error that tells of a checksum that differs."""
    return StoreError(f"{what} is damaged: its checksum differs. {REBUILD}")
