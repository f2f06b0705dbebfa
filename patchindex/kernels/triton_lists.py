"""Ranks of codes for queries on a GPU, which reads a list once for all who visit it.

A rank is a whole number of 64 bits: in front what tells how far the code is, behind it its place
in the lists. Ranks of one query compare as distances do, and of equal distances as places do.
"""

from dataclasses import dataclass, fields

import torch
from jaxtyping import Float, Float16, Int, UInt8
from torch import Tensor

from patchindex.errors import KernelInputError
from patchindex.kernels.triton_lists_kernel import rank_list_tile

TILE_QUERIES, TILE_CODES = 32, 32  # that a warp compares at once: more would spill
LIST_SHARES = 16  # programs that share a list: fills the GPU at some 100 lists
NUM_WARPS = 1
MIDDLE = 128  # codes are taken less this, as in the kernel
ALIGNED = 8  # bytes that are loaded together: rows of codes begin at multiples
MOST_PLACES = 2**32  # a rank has so many bits for them
MOST_ELEMENTS = 2**31  # of a tensor, which some kernels of torch index with 32 bits
LEAST_DOT = 16  # dimensions of a product
SUM_BITS, CODE_BITS = 24, 7  # exact in float32; of a code less its middle, but for the sign
DIGIT_BITS = 12  # with the sign: exact in float16
NORM_CODES = 2**18  # that are squared together
NONE = 2**63 - 1  # a rank behind all codes
EVERY_CODE = (0x7F7FFFFF << 32) | 0xFFFFFFFF  # a threshold: float32's largest number, any place


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DeviceLists:
    """Inverted lists in the memory of a device.

    Attributes:
        codes: rows are filled up to a multiple of `ALIGNED`, see `aligned`.
        norms: squared lengths of what codes stand for, from code `MIDDLE` on, see `code_norms`.
        offsets: first code of each list.
        code_middle, code_step: code c stands for code_middle + (c - MIDDLE) * code_step.
    """

    codes: UInt8[Tensor, "p stride"]
    norms: Float[Tensor, " p"]
    ids: Int[Tensor, " p"]
    offsets: Int[Tensor, " lists_plus_1"]
    code_middle: Float[Tensor, " r"]
    code_step: Float[Tensor, " r"]


def aligned(num_dims: int) -> int:
    """Bytes of a row of codes of so many dimensions."""
    return -(-num_dims // ALIGNED) * ALIGNED


def code_norms(
    codes: UInt8[Tensor, "p stride"], code_step: Float[Tensor, " r"]
) -> Float[Tensor, " p"]:
    """Squared lengths of (code - MIDDLE) * code_step, summed in float64, rounded to float32."""
    step_sq, dims = code_step.double().square(), len(code_step)
    norms = torch.empty(len(codes), device=codes.device)
    for part, norm in zip(codes.split(NORM_CODES), norms.split(NORM_CODES), strict=True):
        norm.copy_((part[:, :dims].double() - MIDDLE).square_() @ step_sq)
    return norms


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class QueryDigits:
    """Queries as the products with codes take them: two digits of a whole number a dimension.

    With w = -2 (query - code_middle) * code_step, `high * high_unit + low * low_unit` is w but for
    less than the query's largest |w| * 2^-23, with at most 64 dimensions; each doubling of them
    takes a bit of either digit, so that the bound is four times as large. Sums of either digit
    times codes are whole numbers of at most 2^24, and so exact in float32.

    Attributes:
        high, low: whole numbers; dimensions are filled up with zeros to what `dot_dims` says.
        high_unit, low_unit: powers of two.
    """

    high: Float16[Tensor, "q dims"]
    low: Float16[Tensor, "q dims"]
    high_unit: Float[Tensor, " q"]
    low_unit: Float[Tensor, " q"]

    @classmethod
    def of(cls, vectors: Float[Tensor, "q r"], lists: DeviceLists) -> "QueryDigits":
        """The digits of these queries among these lists.

        Raises:
            KernelInputError: codes have so many dimensions that sums would not be exact.
        """
        dims = vectors.shape[1]
        bits = min(DIGIT_BITS, SUM_BITS - CODE_BITS + 1 - (dims - 1).bit_length())
        if bits < DIGIT_BITS - 4:
            raise KernelInputError(
                f"codes have {dims} dimensions, which is more than this search ranks exactly. "
                "Give most_dims of at most 1024 to the build."
            )
        way = vectors.double() - lists.code_middle.double()
        wanted = way.mul_(-2).mul_(lists.code_step.double())
        _, exponent = torch.frexp(wanted.abs().amax(1))  # the largest is below 2^exponent
        shift = exponent.double() - (2 * bits - 1)
        unit = torch.exp2(shift)[:, None]
        whole = (wanted / unit).round_()
        high = (whole * 2.0**-bits).round_()
        low = whole.sub_(high * 2.0**bits)
        padding = (0, sum(dot_dims(dims)) - dims)
        return cls(
            high=torch.nn.functional.pad(high.half(), padding),
            low=torch.nn.functional.pad(low.half(), padding),
            high_unit=torch.exp2(shift + bits).float(),
            low_unit=unit[:, 0].float(),
        )

    def __getitem__(self, rows: slice | Int[Tensor, " m"]) -> "QueryDigits":
        return QueryDigits(**{each.name: getattr(self, each.name)[rows] for each in fields(self)})


def dot_dims(num_dims: int) -> tuple[int, int]:
    """Dimensions of the first product and of the second, powers of two or none, for so many."""
    blocks = -(-num_dims // LEAST_DOT)
    first = 1 << (blocks.bit_length() - 1)
    rest = blocks - first
    more = 1 << (rest - 1).bit_length() if rest else 0
    return LEAST_DOT * first, LEAST_DOT * more


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ListTiles:
    """The visits of some queries, list by list, in tiles of queries that visit one list.

    Attributes:
        begins: the pair of query and list where each tile begins; -1 behind the last tile.
        lists: of each pair, ascending; -1 for none.
        queries: of each pair.
        pairs: of each pair, its place in the visits, query by query.
    """

    begins: Int[Tensor, " tiles"]
    lists: Int[Tensor, " pairs"]
    queries: Int[Tensor, " pairs"]
    pairs: Int[Tensor, " pairs"]

    @classmethod
    def of(cls, visits: Int[Tensor, "q nprobe"], num_lists: int) -> "ListTiles":
        """The tiles of these visits; nothing waits for the device."""
        lists, pairs = visits.reshape(-1).sort(stable=True)
        at = torch.arange(len(lists), device=lists.device)
        begins = ((at - torch.searchsorted(lists, lists)) % TILE_QUERIES == 0) & (lists >= 0)
        # so many at most: a tile that is not full is the last of its list
        most = len(lists) // TILE_QUERIES + min(len(lists), num_lists)
        tile = (begins.cumsum(0) - 1).where(begins, most)  # behind the last, which is cut off
        table = torch.full((most + 1,), -1, device=lists.device).scatter_(0, tile, at)
        return cls(begins=table[:most], lists=lists, queries=pairs // visits.shape[1], pairs=pairs)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ListQueries:
    """Queries, the lists that they visit, and the images whose patches count for them.

    Attributes:
        visits: -1 for none.
        image_mask: 1 for images whose patches count; None for all.
    """

    digits: QueryDigits
    visits: Int[Tensor, "q nprobe"]
    image_mask: UInt8[Tensor, " n"] | None
    patches_per_image: int

    def __len__(self) -> int:
        return len(self.visits)

    def __getitem__(self, rows: slice | Int[Tensor, " m"]) -> "ListQueries":
        return ListQueries(
            digits=self.digits[rows],
            visits=self.visits[rows],
            image_mask=self.image_mask,
            patches_per_image=self.patches_per_image,
        )

    def num_visited(self, offsets: Int[Tensor, " lists_plus_1"], every: int = 1) -> Tensor:
        """Codes [q, nprobe] of each visited list, or so many of them as every so many-th makes."""
        sizes = offsets.diff()[self.visits.clamp(min=0)].where(self.visits >= 0, 0)
        return (sizes + (every - 1)) // every


def rank_some(
    lists: DeviceLists, asked: ListQueries, columns: int, *, every: int
) -> Int[Tensor, "q columns"]:
    """Ranks of every so many-th code of each query's lists, NONE behind the last.

    Args:
        columns: no less than the codes of a query that are looked at.
    """
    ranks = _buffer(len(asked), columns, lists.codes.device)
    looked = asked.num_visited(lists.offsets, every)
    starts = looked.cumsum(1) - looked
    _launch(lists, asked, ranks, starts=starts, every=every)
    return ranks


def append_near(
    lists: DeviceLists, asked: ListQueries, thresholds: Int[Tensor, " q"], capacity: int
) -> tuple[Int[Tensor, "q capacity"], Int[Tensor, " q"]]:
    """Ranks of codes up to each query's threshold, in any order, and how many there are.

    Some ranks behind the threshold, of codes as far, are among them. Where there are more than fit,
    the first that came stand in the buffer.

    Returns:
        Ranks, NONE where there is none; and the number of all, which may be above the capacity.
    """
    ranks = _buffer(len(asked), capacity, lists.codes.device)
    counts = torch.zeros(len(asked), dtype=torch.int32, device=ranks.device)
    _launch(lists, asked, ranks, thresholds=thresholds, counts=counts)
    return ranks, counts


def _buffer(num_queries: int, columns: int, device: torch.device) -> Int[Tensor, "q columns"]:
    assert num_queries * columns < MOST_ELEMENTS or num_queries == 1  # noqa: S101
    return torch.full((num_queries, columns), NONE, device=device)


def _launch(
    lists: DeviceLists,
    asked: ListQueries,
    ranks: Int[Tensor, "q columns"],
    *,
    starts: Int[Tensor, "q nprobe"] | None = None,
    thresholds: Int[Tensor, " q"] | None = None,
    counts: Int[Tensor, " q"] | None = None,
    every: int = 1,
) -> None:
    """Write ranks: all from `starts` on, or those up to `thresholds`, which are counted."""
    digits, tiles = asked.digits, ListTiles.of(asked.visits, len(lists.offsets) - 1)
    if not len(tiles.begins):
        return
    unread = lists.offsets  # stands for what a kernel does not read
    first_dims, more_dims = dot_dims(len(lists.code_step))
    with torch.cuda.device_of(ranks):
        rank_list_tile[len(tiles.begins), LIST_SHARES](
            lists.codes, lists.norms, lists.offsets, lists.ids,
            unread if asked.image_mask is None else asked.image_mask, asked.patches_per_image,
            digits.high.contiguous(), digits.low.contiguous(),
            digits.high_unit.contiguous(), digits.low_unit.contiguous(),
            unread if thresholds is None else thresholds.contiguous(),
            tiles.begins, tiles.lists, tiles.queries,
            unread if starts is None else starts.reshape(-1)[tiles.pairs], len(tiles.lists),
            unread if counts is None else counts, ranks, ranks.shape[1], every,
            STRIDE=lists.codes.shape[1], FIRST_DIMS=first_dims, MORE_DIMS=more_dims,
            MASKED=asked.image_mask is not None, ALL=starts is not None,
            TILE_QUERIES=TILE_QUERIES, TILE_CODES=TILE_CODES, LIST_SHARES=LIST_SHARES,
            num_warps=NUM_WARPS, enable_fp_fusion=True,
        )  # fmt: skip
