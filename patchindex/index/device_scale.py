"""The small arrays of a scale on a GPU, and the ranking of lists there for all signatures at once.

Lists of a border signature are ranked by one product of matrices. Signatures that have about as
many queries and lists share a product over padded batches, so that a call takes as many launches
for the two hundred signatures of a large patch as for one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor

from patchindex.index.scale import ScaleArrays

# a batch may be padded to so many times what it holds, and to this much in any case
MOST_PADDING, LEAST_BATCH = 2, 2**20


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ScaleTensors:
    """The small arrays of a scale on a GPU, see `ScaleArrays`.

    Attributes:
        list_ranges: first list of each signature, and the end; on the host.
        first_list: the same on the device.
    """

    list_ranges: Int[ndarray, " signatures_plus_1"]
    first_list: Int[Tensor, " signatures_plus_1"]
    pca: Float[Tensor, "r d"]
    pca_bias: Float[Tensor, " r"]
    centroids: Float[Tensor, "nlist lead"]
    half_norms: Float[Tensor, " nlist"]
    count: Int[Tensor, " nlist"]

    @classmethod
    def on(cls, arrays: ScaleArrays, device: torch.device) -> "ScaleTensors":
        """The arrays on the device; what is multiplied there in float64."""
        centroids = torch.from_numpy(np.array(arrays.centroids, np.float64)).to(device)
        return cls(
            list_ranges=np.asarray(arrays.signature_lists),
            first_list=torch.from_numpy(np.array(arrays.signature_lists, np.int64)).to(device),
            pca=torch.from_numpy(np.array(arrays.pca, np.float64)).to(device),
            pca_bias=torch.from_numpy(np.array(arrays.pca_bias, np.float64)).to(device),
            centroids=centroids,
            half_norms=centroids.square().sum(1) / 2,
            count=torch.from_numpy(arrays.count).to(device),
        )

    def project(self, windows: Float[Tensor, "q d"]) -> Float[Tensor, "q r"]:
        """The vectors that lists and codes see, in float64, rounded to float32."""
        return (windows.float().double() @ self.pca.T + self.pca_bias).float()

    def visited(
        self,
        vectors: Float[Tensor, "q r"],
        signature: int | Int[Tensor, " q"],
        *,
        nprobe: int,
        skip: int,
        longest_list: int | Int[Tensor, " signatures"] | None,
    ) -> Int[Tensor, "q m"]:
        """The lists that each query visits, nearest first; see `PatchIndex.search`."""
        lists = self.rank_lists(vectors, signature, skip + nprobe)[:, skip:]
        if longest_list is None:
            return lists
        num_lists = self.first_list.diff()[signature]
        longest = of_signature(longest_list, signature)
        if isinstance(longest, Tensor):
            longest = longest[..., None]
        short = self.count[lists.clamp(min=0)] <= longest
        return lists.where(short | (num_lists[..., None] == 1), -1)

    def rank_lists(
        self, vectors: Float[Tensor, "q r"], signature: int | Int[Tensor, " q"], num: int
    ) -> Int[Tensor, "q m"]:
        """The `num` lists of each query's signature with the nearest centroids, nearest first.

        No more than the largest signature has; -1 behind the last.

        Args:
            signature: of all queries, or of each.
        """
        num_signatures = len(self.list_ranges) - 1
        if not isinstance(signature, Tensor):
            order = torch.arange(len(vectors), device=vectors.device)
            counts = np.zeros(num_signatures, np.int64)
            counts[signature] = len(vectors)
        else:
            order = signature.argsort(stable=True)
            ends = torch.arange(num_signatures + 1, device=vectors.device)
            # not bincount, whose sums a GPU adds in any order and waits for twice
            firsts = torch.searchsorted(signature[order], ends)
            counts = np.diff(firsts.cpu().numpy())
        num_lists = np.diff(self.list_ranges)
        batches = alike(counts, num_lists)
        widest = min(num, int(num_lists[counts > 0].max(initial=0)))
        # one row more, for what only fills up
        ranked = torch.full((len(vectors) + 1, widest), -1, device=vectors.device)
        starts = counts.cumsum() - counts
        for batch in batches:
            table = np.stack([starts[batch], counts[batch], self.list_ranges[batch]])
            shape = int(counts[batch].max()), int(num_lists[batch].max())
            numbers = torch.from_numpy(np.concatenate([table, num_lists[batch][None]]))
            rows, lists = self._rank_batch(
                vectors, order, numbers.to(vectors.device), shape, num=widest
            )
            ranked[rows, : lists.shape[-1]] = lists
        return ranked[:-1]

    def _rank_batch(
        self,
        vectors: Float[Tensor, "q r"],
        order: Int[Tensor, " q"],
        numbers: Int[Tensor, "4 s"],
        shape: tuple[int, int],
        *,
        num: int,
    ) -> tuple[Int[Tensor, "s most"], Int[Tensor, "s most m"]]:
        """The queries of some signatures, len(vectors) for none, and their nearest lists.

        Args:
            order: of the queries by signature.
            numbers: of each signature, the place of its first query in this order, how many there
                are, its first list, and how many there are.
            shape: the most queries and the most lists of these signatures.
        """
        first_query, num_queries, first_list, num_lists = numbers[:, :, None]
        place, number = (torch.arange(most, device=vectors.device) for most in shape)
        here, listed = place < num_queries, number < num_lists
        rows = order[(first_query + place).clamp(max=len(order) - 1)]
        own = (first_list + number).clamp(max=len(self.centroids) - 1)
        lead = vectors[:, : self.centroids.shape[1]][rows].double()
        # less half the square of the vector, which all lists of a query have in common
        half_dist = torch.baddbmm(
            self.half_norms[own][:, None], lead, self.centroids[own].mT, alpha=-1
        )
        half_dist = half_dist.masked_fill_(~listed[:, None], torch.inf)
        near = half_dist.topk(min(num, shape[1]), dim=-1, largest=False)
        lists = (near.indices + first_list[..., None]).where(near.values < torch.inf, -1)
        return rows.where(here, len(vectors)), lists


def alike(
    counts: Int[ndarray, " signatures"], num_lists: Int[ndarray, " signatures"]
) -> list[Sequence[int]]:
    """Signatures that have queries, in batches of about as many queries and lists each."""
    batches: list[list[int]] = []
    queries = lists = held = 0
    used = np.flatnonzero(counts)
    for number in used[np.lexsort((counts[used], num_lists[used]))].tolist():
        more_queries, more_lists = max(queries, counts[number]), max(lists, num_lists[number])
        more_held = held + counts[number] * num_lists[number]
        size = more_queries * more_lists * (len(batches[-1]) + 1) if batches else 0
        if not batches or size > max(MOST_PADDING * more_held, LEAST_BATCH):
            batches.append([])
            more_queries, more_lists = counts[number], num_lists[number]
            more_held = more_queries * more_lists
        batches[-1].append(number)
        queries, lists, held = more_queries, more_lists, more_held
    return list(batches)


def of_signature(
    values: int | Int[Tensor, " signatures"], signature: int | Int[Tensor, " q"]
) -> int | Int[Tensor, "*q"]:
    """The value of a signature, or of each query's, where they are not all the same."""
    return values[signature] if isinstance(values, Tensor) else values
