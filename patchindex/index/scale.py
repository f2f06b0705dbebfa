"""One scale of an index as arrays: what a search reads, and how it ranks lists.

A shard has the members that consecutive images have in all lists. No list of a shard is searched
before it was read once and its checksum was found right.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8, UInt32
from numpy import ndarray

from patchindex.errors import StoreError
from patchindex.images import ImageSet
from patchindex.index.store import REBUILD, crc32c_value
from patchindex.index.trained import TrainedScale
from patchindex.kernels import nearest_rows


@dataclass(slots=True, kw_only=True, eq=False)
class ListChecks:
    """Compares the lists of a shard with their checksums, each once, when it is first visited.

    Attributes:
        where: the shard, for messages.
        codes_crc32c, ids_crc32c: of each list.
        end_id: ids are below this.
    """

    where: str
    codes_crc32c: UInt32[ndarray, " nlist"]
    ids_crc32c: UInt32[ndarray, " nlist"]
    end_id: int
    _passed: Bool[ndarray, " nlist"] = field(init=False)

    def __post_init__(self) -> None:
        self._passed = np.zeros(len(self.codes_crc32c), dtype=np.bool_)

    def check(self, shard: "ListShard", lists: Int[ndarray, "*shape"]) -> None:
        """Raise StoreError if one of these lists, -1 for none, is not what was built."""
        if self._passed.all():
            return
        visited = np.zeros_like(self._passed)
        visited[lists[lists >= 0]] = True
        for number in np.flatnonzero(visited & ~self._passed).tolist():
            place = slice(*shard.offsets[number : number + 2].tolist())
            for name, rows, stored in (
                ("codes", shard.codes, self.codes_crc32c),
                ("ids", shard.ids, self.ids_crc32c),
            ):
                if crc32c_value(rows[place]) != int(stored[number]):
                    raise StoreError(
                        f"list {number} of {name} of {self.where} is damaged: its checksum "
                        f"differs. {REBUILD}"
                    )
            ids = shard.ids[place]
            if len(ids) and int(ids.max()) >= self.end_id:
                raise StoreError(
                    f"ids of {self.where} has patches of images that are not there. {REBUILD}"
                )
            self._passed[number] = True


def list_checksums(
    rows: UInt8[ndarray, "p r"] | UInt32[ndarray, " p"], offsets: Int[ndarray, " nlist_plus_1"]
) -> UInt32[ndarray, " nlist"]:
    """CRC-32C of each inverted list's rows."""
    plain, places = np.asarray(rows), pairwise(offsets.tolist())
    return np.array([crc32c_value(plain[first:end]) for first, end in places], dtype=np.uint32)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ListShard:
    """The members that consecutive images have in all lists; ids and codes are memory maps.

    Attributes:
        ids: ids of patches, less `first_id`; ascending in a list.
        offsets: first member of each list.
        checks: what was noted of the lists; None if they need no check.
    """

    ids: UInt32[ndarray, " p"]
    codes: UInt8[ndarray, "p r"]
    offsets: Int[ndarray, " nlist_plus_1"]
    first_id: int
    checks: ListChecks | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class ScaleArrays:
    """One scale of an index.

    Attributes:
        shards: by ascending ids; a list's members are those in all of them.
    """

    signature_lists: Int[ndarray, " signatures_plus_1"]
    pca: Float[ndarray, "r d"]
    pca_bias: Float[ndarray, " r"]
    centroids: Float[ndarray, "nlist lead"]
    code_min: Float[ndarray, " r"]
    code_span: Float[ndarray, " r"]
    explained_variance: Float[ndarray, " r"]
    shards: Sequence[ListShard]

    @cached_property
    def offsets(self) -> Int[ndarray, " nlist_plus_1"]:
        """Members of all lists before each, in all shards together."""
        total: Int[ndarray, " nlist_plus_1"] = np.zeros(len(self.centroids) + 1, dtype=np.int64)
        for shard in self.shards:
            total += shard.offsets
        return total

    @cached_property
    def count(self) -> Int[ndarray, " nlist"]:
        """Members of each list."""
        return np.diff(self.offsets)

    def part(self, number: int, parts: int) -> "ScaleArrays":
        """One of so many runs of shards, as equal as they can be."""
        first, end = (len(self.shards) * place // parts for place in (number, number + 1))
        return replace(self, shards=self.shards[first:end])

    @property
    def num_bytes(self) -> int:
        """Bytes of all ids and codes."""
        return sum(shard.ids.nbytes + shard.codes.nbytes for shard in self.shards)

    def lists_of(self, signature: int) -> range:
        """Inverted lists of a border signature."""
        first, end = self.signature_lists[signature : signature + 2]
        return range(int(first), int(end))

    def of_signature(self, signature: int) -> "ScaleArrays":
        """The lists of a border signature alone.

        Raises:
            StoreError: one of them is damaged.
        """
        lists = self.lists_of(signature)
        self.check(np.asarray(lists))
        return replace(
            self,
            signature_lists=np.array([0, len(lists)]),
            centroids=self.centroids[lists.start : lists.stop],
            shards=[
                replace(shard, offsets=shard.offsets[lists.start : lists.stop + 1], checks=None)
                for shard in self.shards
            ],
        )

    def check(self, lists: Int[ndarray, "*shape"]) -> None:
        """Raise StoreError if one of these lists, -1 for none, is damaged; call before a search."""
        for shard in self.shards:
            if shard.checks is not None:
                shard.checks.check(shard, lists)

    def read_lists(
        self, lists: Int[ndarray, " m"]
    ) -> tuple[Int[ndarray, " members"], UInt8[ndarray, "members r"]]:
        """Ids and codes of the members of these lists, list after list, by ascending ids in each.

        Raises:
            StoreError: one of them is damaged.
        """
        self.check(lists)
        pieces = [
            (shard, slice(*shard.offsets[number : number + 2].tolist()))
            for number in lists.tolist()
            for shard in self.shards
        ]
        no_ids, no_codes = np.empty(0, np.int64), np.empty((0, len(self.pca)), np.uint8)
        ids = [shard.ids[place].astype(np.int64) + shard.first_id for shard, place in pieces]
        codes = [shard.codes[place] for shard, place in pieces]
        return np.concatenate([no_ids, *ids]), np.concatenate([no_codes, *codes])

    def trained(self) -> TrainedScale:
        """What was learned."""
        names = (field.name for field in fields(TrainedScale))
        return TrainedScale(**{name: getattr(self, name) for name in names})

    def project(self, windows: Float[ndarray, "q d"]) -> Float[ndarray, "q r"]:
        """The vectors that lists and codes see, in float64, rounded to float32 values."""
        # by torch: after a product of numpy's its threads spin for the next one, for a tenth of a
        # second, on the cores that the kernels need
        pca, bias = (torch.from_numpy(np.array(a, np.float64)) for a in (self.pca, self.pca_bias))
        wide = torch.from_numpy(windows).double() @ pca.T + bias
        vectors: Float[ndarray, "q r"] = wide.float().numpy()
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
