"""What lies around the ranking of lists by products of matrices, as Triton kernels."""

from typing import no_type_check

import triton
import triton.language as tl


@triton.jit(do_not_specialize=["num_queries", "vector_stride", "most_queries", "most_lists"])
@no_type_check  # a wrapper that checks would hide this module's names from Triton
def take_operands_kernel(
    vectors,  # float32 [num_queries, vector_stride]
    order,  # int64 [num_queries], of the queries by signature
    centroids,  # float64 [nlist, LEAD]
    half_norms,  # float64 [nlist]
    batch,  # int64 [4, signatures]: first query in the order, queries, first list, lists
    queries,  # int64 [signatures, most_queries]: num_queries for none
    lead,  # float64 [signatures, most_queries, LEAD]
    own_centroids,  # float64 [signatures, most_lists, LEAD]
    own_norms,  # float64 [signatures, most_lists]: infinite for none
    num_signatures,
    num_queries,
    vector_stride,
    most_queries,
    most_lists,
    LEAD: tl.constexpr,
    BLOCK: tl.constexpr,  # a power of two that holds LEAD
):
    """A query, or a list, of one of the signatures of a batch: the factors of its products."""
    signature, item = tl.program_id(0).to(tl.int64), tl.program_id(1).to(tl.int64)
    dim = tl.arange(0, BLOCK)
    inside = dim < LEAD
    about = batch + signature
    if item < most_queries:
        here = item < tl.load(about + num_signatures)
        place = tl.load(about) + item
        query = tl.load(order + place, mask=here, other=num_queries)
        at = signature * most_queries + item
        tl.store(queries + at, query)
        source = vectors + query * vector_stride + dim
        values = tl.load(source, mask=inside & here, other=0.0).to(tl.float64)
        tl.store(lead + at * LEAD + dim, values, mask=inside)
    else:
        number = item - most_queries
        here = number < tl.load(about + 3 * num_signatures)
        own = tl.load(about + 2 * num_signatures) + number
        at = signature * most_lists + number
        norm = tl.load(half_norms + own, mask=here, other=float("inf"))
        tl.store(own_norms + at, norm)
        values = tl.load(centroids + own * LEAD + dim, mask=inside & here, other=0.0)
        tl.store(own_centroids + at * LEAD + dim, values, mask=inside)


@triton.jit(do_not_specialize=["most_queries", "ranked", "num_queries", "skip", "probe", "wanted"])
@no_type_check  # a wrapper that checks would hide this module's names from Triton
def put_lists_kernel(
    distances,  # float64 [signatures, most_queries, ranked], ascending; infinite for none
    numbers,  # int64, the same: of the lists in their signature
    queries,  # int64 [signatures, most_queries]: num_queries for none
    batch,  # int64 [4, signatures], see above
    counts,  # int64 [nlist]: patches of each list
    longest,  # int64 [signatures of the scale]: more are too many; or None
    signatures,  # int64 [num_queries], or None if longest is
    probes,  # int64 [num_queries], of each query at most `probe`; or None
    lists,  # int64 [num_queries, wanted]: -1 for none
    num_signatures,
    most_queries,
    ranked,
    num_queries,
    skip,  # the nearest so many
    probe,  # lists that are visited behind these
    wanted,
    LIMITED: tl.constexpr,
    OWN_PROBES: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """The lists that a query visits."""
    signature, item = tl.program_id(0).to(tl.int64), tl.program_id(1).to(tl.int64)
    row = signature * most_queries + item
    query = tl.load(queries + row)
    here = query < num_queries
    first = tl.load(batch + 2 * num_signatures + signature)
    num_lists = tl.load(batch + 3 * num_signatures + signature)
    visited = probe
    if OWN_PROBES:
        visited = tl.load(probes + query, mask=here, other=0)
    if LIMITED:
        own = tl.load(signatures + query, mask=here, other=0)
        most = tl.load(longest + own)
    for start in range(0, wanted, BLOCK):
        place = start + tl.arange(0, BLOCK)
        inside = (place < wanted) & here
        at = row * ranked + skip + place
        there = inside & (skip + place < ranked) & (place < visited)
        distance = tl.load(distances + at, mask=there, other=float("inf"))
        there = there & (distance < float("inf"))
        found = first + tl.load(numbers + at, mask=there, other=0)
        if LIMITED:
            count = tl.load(counts + found, mask=there, other=0)
            there = there & ((count <= most) | (num_lists == 1))
        tl.store(lists + query * wanted + place, tl.where(there, found, -1), mask=inside)
