"""The small arrays of a scale on a GPU, and the ranking of lists there for all signatures at once.

Lists of a border signature are ranked by one product of matrices. Signatures that have about as
many queries and lists share a product over padded batches, so that a call takes as many launches
for the two hundred signatures of a large patch as for one.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor

from patchindex.index.scale import ScaleArrays
from patchindex.kernels.triton_rank_kernel import put_lists_kernel, take_operands_kernel

# a batch may be padded to so many times what it holds, and to this much in any case
MOST_PADDING, LEAST_BATCH = 2, 2**20
LISTS_AT_ONCE = 128  # of a query's, that a program looks at together


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ScaleTensors:
    """The small arrays of a scale on a GPU, see `ScaleArrays`.

    Attributes:
        list_ranges: first list of each signature, and the end; on the host.
        every_signature: 0 and on, one more than there are.
    """

    list_ranges: Int[ndarray, " signatures_plus_1"]
    every_signature: Int[Tensor, " signatures_plus_1"]
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
            every_signature=torch.arange(len(arrays.signature_lists), device=device),
            pca=torch.from_numpy(np.array(arrays.pca, np.float64)).to(device),
            pca_bias=torch.from_numpy(np.array(arrays.pca_bias, np.float64)).to(device),
            centroids=centroids,
            half_norms=centroids.square().sum(1) / 2,
            count=torch.from_numpy(np.array(arrays.count, np.int64)).to(device),
        )

    def project(self, windows: Float[Tensor, "q d"]) -> Float[Tensor, "q r"]:
        """The vectors that lists and codes see, in float64, rounded to float32."""
        return torch.addmm(self.pca_bias, windows.float().double(), self.pca.T).float()

    def visited(
        self,
        vectors: Float[Tensor, "q r"],
        signature: int | Int[Tensor, " q"],
        *,
        nprobe: int,
        skip: int = 0,
        longest_list: int | Int[Tensor, " signatures"] | None = None,
        probes: Int[Tensor, " q"] | None = None,
    ) -> Int[Tensor, "q m"]:
        """The lists that each query visits, nearest first and -1 for none.

        See `PatchIndex.search`. There are no more columns than the largest signature has lists.
        """
        device, num_queries = vectors.device, len(vectors)
        num_signatures = len(self.list_ranges) - 1
        if not isinstance(signature, Tensor):
            counts = np.zeros(num_signatures, np.int64)
            counts[signature] = num_queries
            order = torch.arange(num_queries, device=device)
            signatures = torch.full_like(order, signature)
        else:
            signatures = signature.contiguous()
            ordered, order = signature.sort(stable=True)
            # not bincount, whose sums a GPU adds in any order and waits for twice
            firsts = torch.searchsorted(ordered, self.every_signature)
            counts = np.diff(firsts.cpu().numpy())
        num_lists = np.diff(self.list_ranges)
        ranked = min(skip + nprobe, int(num_lists[counts > 0].max(initial=0)))
        lists = torch.full((num_queries, max(0, ranked - skip)), -1, device=device)
        if not lists.numel():
            return lists
        if isinstance(longest_list, int):
            longest_list = torch.full((num_signatures,), longest_list, device=device)
        starts = counts.cumsum() - counts
        about = np.stack([starts, counts, self.list_ranges[:-1], num_lists])
        batches = [np.asarray(batch) for batch in alike(counts, num_lists)]
        tables = torch.from_numpy(about[:, np.concatenate(batches)]).to(device)
        parts = tables.split([len(batch) for batch in batches], dim=1)
        for batch, part in zip(batches, parts, strict=True):
            shape = int(counts[batch].max()), int(num_lists[batch].max())
            table = part.contiguous()
            queries, near, numbers = self._rank_batch(vectors, order, table, shape, num=ranked)
            with torch.cuda.device(device) if vectors.is_cuda else nullcontext():
                put_lists_kernel[(len(batch), shape[0])](
                    near, numbers, queries, table, self.count,
                    longest_list, signatures, probes, lists, len(batch), shape[0],
                    near.shape[-1], num_queries, skip, nprobe, lists.shape[1],
                    LIMITED=longest_list is not None, OWN_PROBES=probes is not None,
                    BLOCK=LISTS_AT_ONCE, num_warps=1,
                )  # fmt: skip
        return lists

    def _rank_batch(
        self,
        vectors: Float[Tensor, "q r"],
        order: Int[Tensor, " q"],
        table: Int[Tensor, "4 s"],
        shape: tuple[int, int],
        *,
        num: int,
    ) -> tuple[Int[Tensor, "s most"], Float[Tensor, "s most m"], Int[Tensor, "s most m"]]:
        """The queries of some signatures, len(vectors) for none, and their nearest lists.

        Of these, in ascending order, a distance and the position in the signature.

        Args:
            order: of the queries by signature.
            table: of each signature, the place of its first query in this order, how many there
                are, its first list, and how many there are.
            shape: the most queries and the most lists of these signatures.
        """
        (num_queries, num_lists), s, dims = shape, table.shape[1], self.centroids.shape[1]
        room = partial(torch.empty, dtype=torch.float64, device=vectors.device)
        queries = torch.empty(s, num_queries, dtype=torch.int64, device=vectors.device)
        lead, own = room(s, num_queries, dims), room(s, num_lists, dims)
        half_norms = room(s, num_lists)
        with torch.cuda.device(vectors.device) if vectors.is_cuda else nullcontext():
            take_operands_kernel[(s, num_queries + num_lists)](
                vectors, order, self.centroids, self.half_norms, table, queries, lead, own,
                half_norms, s, len(vectors), vectors.shape[1], num_queries, num_lists,
                LEAD=dims, BLOCK=1 << (dims - 1).bit_length(), num_warps=1,
            )  # fmt: skip
        # less half the square of the vector, which all lists of a query have in common
        half_dist = torch.baddbmm(half_norms[:, None], lead, own.mT, alpha=-1)
        return queries, *half_dist.topk(min(num, num_lists), dim=-1, largest=False)


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
