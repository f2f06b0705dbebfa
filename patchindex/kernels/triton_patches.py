"""Found patches on a GPU: moved to the pixels beside, weighed, and told their groups."""

from contextlib import AbstractContextManager, nullcontext

import torch
from jaxtyping import Float, Int, Int32, UInt8
from torch import Tensor

from patchindex.kernels.bounds import NeighborAxis, checked_query_pixels
from patchindex.kernels.groups import GroupMembers, GroupSets
from patchindex.kernels.triton_patches_kernel import (
    NONE_LAST,
    mark_repeats_kernel,
    members_kernel,
    place_images_kernel,
    propagate_kernel,
    weigh_kernel,
)
from patchindex.records import PosteriorRecord

IDS_AT_ONCE = 256  # of a query's, that a program looks at together
MEMBERS_AT_ONCE = 128
NO_MEMBER = -1


def propagate_neighbors(
    found: Int[Tensor, "b sr sc k"],
    targets: Int[Tensor, "q 3"],
    rows: NeighborAxis,
    cols: NeighborAxis,
    *,
    height: int,
    width: int,
) -> Int[Tensor, "q m"]:
    """See `patchindex.kernels`."""
    num_queries, num_ids = len(targets), found.shape[3]
    moved = torch.empty(num_queries, 4 * num_ids, dtype=torch.int64, device=found.device)
    if not moved.numel():
        return moved
    with _device_of(found):
        propagate_kernel[(num_queries, 4)](
            found.contiguous(), targets.contiguous(), rows.neighbors, rows.steps, rows.centers,
            cols.neighbors, cols.steps, cols.centers, moved, num_ids, *found.shape[1:3],
            HEIGHT=height, WIDTH=width, BLOCK=IDS_AT_ONCE, num_warps=4,
        )  # fmt: skip
        ordered = moved.sort(dim=1).values
        counts = torch.empty(num_queries, dtype=torch.int64, device=found.device)
        mark_repeats_kernel[(num_queries,)](
            ordered, moved, counts, 4 * num_ids, BLOCK=IDS_AT_ONCE, num_warps=4
        )
    distinct = moved.sort(dim=1).values[:, : int(counts.max())]
    return distinct.where(distinct < NONE_LAST.value, -1)


def weighed_in_groups(
    dist_sq: Float[Tensor, "q k"],
    pixels: UInt8[Tensor, "n c h w"],
    ids: Int[Tensor, "q k"],
    sigma: float,
    groups: GroupSets | None,
    *,
    query_pixels: Int[Tensor, " q"] | None,
    numbers: Int[Tensor, " q"] | None,
) -> tuple[PosteriorRecord, GroupMembers]:
    """The sums over patches at these distances, and those that are in groups.

    Args:
        pixels: beside the distances.
        ids: -1 where the distance is infinite.
        query_pixels, numbers: with groups, the pixel and the border signature of each query.
    """
    (num_queries, num_ids), (n, c, height, width) = dist_sq.shape, pixels.shape
    device, pixels = dist_sq.device, pixels.contiguous()
    dist_sq, ids = dist_sq.contiguous(), ids.contiguous()
    sums = torch.empty(3 + c, num_queries, dtype=torch.float64, device=device)
    num_scored = torch.empty(num_queries, dtype=torch.int64, device=device)
    options = {"HEIGHT": height, "WIDTH": width, "C": c, "num_warps": 4}
    group_of: Int32[Tensor, "q k"] | None = None
    grouped: dict[str, object] = {"GROUPED": False, "GROUPS": 1, "ROWS": 1, "COLS": 1}
    tables: tuple[Tensor | None, ...] = (None,) * 5
    if groups is not None:
        assert numbers is not None  # noqa: S101 - sets are told apart by signatures
        at = checked_query_pixels(query_pixels, num_queries, height * width).contiguous()
        group_of = torch.empty(num_queries, num_ids, dtype=torch.int32, device=device)
        tables = (at, numbers.contiguous(), groups.set_of, _groups_of_images(groups, n))
        tables = (*tables, groups.displacement_shares.contiguous())
        rows, cols = groups.displacement_shares.shape[1:]
        grouped = {"GROUPED": True, "GROUPS": groups.images.shape[1], "ROWS": rows, "COLS": cols}
    with _device_of(dist_sq):
        weigh_kernel[(num_queries,)](
            dist_sq, ids, pixels, sums, num_scored, *tables, group_of,
            num_ids, num_queries, n, 2 * sigma**2, **grouped, BLOCK=IDS_AT_ONCE, **options,
        )  # fmt: skip
    record = PosteriorRecord.exact(
        log_max=sums[0],
        sum_w=sums[1],
        sum_w2=sums[2],
        sum_wc=sums[3:].T,
        num_scored=num_scored,
    )
    if group_of is None:
        return record, GroupMembers.none(c, device)
    places = (group_of.flatten() > NO_MEMBER).nonzero()[:, 0]
    members = GroupMembers(
        query=torch.empty_like(places),
        group=torch.empty_like(places),
        log_weights=torch.empty(len(places), device=device),
        centers=torch.empty(len(places), c, device=device),
    )
    if len(places):
        with _device_of(dist_sq):
            members_kernel[(-(-len(places) // MEMBERS_AT_ONCE),)](
                places, dist_sq, ids, group_of, pixels,
                members.query, members.group, members.log_weights, members.centers,
                len(places), num_ids, 2 * sigma**2, BLOCK=MEMBERS_AT_ONCE, **options,
            )  # fmt: skip
    return record, members


def _groups_of_images(groups: GroupSets, num_images: int) -> Int32[Tensor, "sets n"]:
    """Of each image in each set, share * groups + group; -1 for none."""
    sets, num_groups, num_members = groups.images.shape
    device = groups.images.device
    placed = torch.full((sets, num_images), NO_MEMBER, dtype=torch.int32, device=device)
    with _device_of(placed):
        place_images_kernel[(sets * num_groups, -(-num_members // MEMBERS_AT_ONCE))](
            groups.images.contiguous(), groups.image_shares.contiguous(), placed,
            num_images, num_members, GROUPS=num_groups, BLOCK=MEMBERS_AT_ONCE, num_warps=4,
        )  # fmt: skip
    return placed


def _device_of(tensor: Tensor) -> AbstractContextManager[object]:
    """Where kernels are launched."""
    return torch.cuda.device(tensor.device) if tensor.is_cuda else nullcontext()
