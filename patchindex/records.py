r"""The mergeable record of a weighted sum over patches: what every machine and kernel returns.

A record holds, for each query, the sums that the posterior mean is made of, scaled by
`exp(-log_max)` so that they neither overflow nor vanish. Merging is associative and commutative:
chunks, images, threads and machines combine exactly. Sampled patches enter with the inverse of
their probability, and carry the estimated variance that sampling adds.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache, reduce

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class PosteriorRecord:
    r"""Sums over patches p with `w = exp(log_weight - log_max)`, `c` their centers; all float64.

    Attributes:
        log_max: scale of the other sums; -inf where no patch was seen.
        sum_w, sum_wc, sum_w2: $\sum w$, $\sum w c$ and $\sum w^2$ (sampled ones divided by their
            probability, so that the sums are unbiased).
        sum_head: the part of `sum_w` that was summed without sampling.
        var_w, cov_wc, var_wc: estimated sampling variance of `sum_w`, its covariance with `sum_wc`,
            and the variance of `sum_wc`, such that 1.96 standard errors are a 95 % interval; zero
            for exact sums, nan where patches are left out.
        num_scored: patches whose distance was computed.
        k_hat: Pareto shape of the sampled weights; -inf for exact sums, inf where it is unknown.
        rounds: estimates that were discarded as too uncertain before this one.
    """

    log_max: Float[Tensor, "*q"]
    sum_w: Float[Tensor, "*q"]
    sum_wc: Float[Tensor, "*q c"]
    sum_w2: Float[Tensor, "*q"]
    sum_head: Float[Tensor, "*q"]
    var_w: Float[Tensor, "*q"]
    cov_wc: Float[Tensor, "*q c"]
    var_wc: Float[Tensor, "*q c"]
    num_scored: Int[Tensor, "*q"]
    k_hat: Float[Tensor, "*q"]
    rounds: Int[Tensor, "*q"]

    @classmethod
    def exact(
        cls,
        *,
        log_max: Float[Tensor, "*q"],
        sum_w: Float[Tensor, "*q"],
        sum_wc: Float[Tensor, "*q c"],
        sum_w2: Float[Tensor, "*q"],
        num_scored: Int[Tensor, "*q"],
    ) -> "PosteriorRecord":
        """A record of patches that were all summed: no sampling variance."""
        device = sum_w.device
        none, none_c = (_constant(0.0, device).expand_as(sums) for sums in (sum_w, sum_wc))
        return cls(
            log_max=log_max, sum_w=sum_w, sum_wc=sum_wc, sum_w2=sum_w2, sum_head=sum_w,
            var_w=none, cov_wc=none_c, var_wc=none_c, num_scored=num_scored,
            k_hat=_constant(-torch.inf, device).expand_as(sum_w),
            rounds=_constant(0, device).expand_as(num_scored),
        )  # fmt: skip

    @classmethod
    def empty(
        cls, shape: tuple[int, ...], channels: int, device: torch.device | None = None
    ) -> "PosteriorRecord":
        """The record of no patch at all: the neutral element of `merge`."""
        zero = torch.zeros(shape, dtype=torch.float64, device=device)
        return cls.exact(
            log_max=zero - torch.inf,
            sum_w=zero,
            sum_wc=zero.new_zeros(*shape, channels),
            sum_w2=zero,
            num_scored=torch.zeros(shape, dtype=torch.int64, device=device),
        )

    @classmethod
    def merged(cls, records: Sequence["PosteriorRecord"]) -> "PosteriorRecord":
        """All records merged, in their order; there must be at least one."""
        return reduce(PosteriorRecord.merge, records)

    @classmethod
    def merged_tree(cls, records: Iterable["PosteriorRecord"]) -> "PosteriorRecord":
        """All records merged along a binary tree over their places; there must be at least one.

        The records of whole branches, merged in the same way, give the same bits. No more are kept
        at a time than the tree has levels.
        """
        branches: list[tuple[int, PosteriorRecord]] = []  # with how many records each has
        for record in records:
            count, merged = 1, record
            while branches and branches[-1][0] == count:
                merged = branches.pop()[1].merge(merged)
                count *= 2
            branches.append((count, merged))
        _, merged = branches.pop()
        while branches:
            merged = branches.pop()[1].merge(merged)
        return merged

    @classmethod
    def merged_over(cls, stacked: "PosteriorRecord") -> "PosteriorRecord":
        """The records along the first axis merged."""
        parts = [getattr(stacked, name).unbind() for name in cls.__slots__]
        return cls.merged(
            [
                cls(**dict(zip(cls.__slots__, part, strict=True)))
                for part in zip(*parts, strict=True)
            ]
        )

    @classmethod
    def stacked(cls, records: Sequence["PosteriorRecord"]) -> "PosteriorRecord":
        """Records of the same shape as one, along a new first axis."""
        columns = {name: [getattr(record, name) for record in records] for name in cls.__slots__}
        return cls(**{name: torch.stack(parts) for name, parts in columns.items()})

    @classmethod
    def joined(cls, records: Sequence["PosteriorRecord"]) -> "PosteriorRecord":
        """Records of different queries as one, along their first axis."""
        return cls(
            **{
                name: torch.cat([getattr(record, name) for record in records])
                for name in cls.__slots__
            }
        )

    @property
    def mean(self) -> Float[Tensor, "*q c"]:
        """Weighted mean of the centers; nan where no patch weighs anything."""
        return self.sum_wc / self.sum_w[..., None]

    @property
    def standard_error(self) -> Float[Tensor, "*q c"]:
        """Of `mean`, by the delta method."""
        mean = self.mean
        variance = self.var_wc - 2 * mean * self.cov_wc + mean**2 * self.var_w[..., None]
        return variance.clamp(min=0).sqrt() / self.sum_w[..., None]

    def map(self, change: Callable[[Tensor], Tensor]) -> "PosteriorRecord":
        """The record with every field reshaped or cut by the same function of its query axes."""
        return PosteriorRecord(**{name: change(getattr(self, name)) for name in self.__slots__})

    def replaced(self, at: Int[Tensor, " m"], other: "PosteriorRecord") -> "PosteriorRecord":
        """The record with the queries at these places taken from another one, in order."""
        return PosteriorRecord(
            **{
                name: getattr(self, name).index_copy(0, at, getattr(other, name))
                for name in self.__slots__
            }
        )

    def at(self, places: Int[Tensor, " m"]) -> "PosteriorRecord":
        """The queries [q] at these places, in this order."""
        rows = self.rows
        return RecordRows(sums=rows.sums[:, places], counts=rows.counts[:, places]).record

    @property
    def rows(self) -> "RecordRows":
        """The fields of queries [q] below one another."""
        sums = [self.log_max, self.sum_w, self.sum_w2, self.sum_head, self.var_w, self.k_hat]
        channels = [self.sum_wc.T, self.cov_wc.T, self.var_wc.T]
        return RecordRows(
            sums=torch.cat([*(field[None] for field in sums), *channels]),
            counts=torch.stack([self.num_scored, self.rounds]),
        )

    def merge(self, other: "PosteriorRecord") -> "PosteriorRecord":
        """The record of both sets of patches, which must not overlap."""
        log_max = torch.maximum(self.log_max, other.log_max)
        a, b = rescaling(self.log_max, log_max), rescaling(other.log_max, log_max)
        a_c, b_c = a[..., None], b[..., None]
        return PosteriorRecord(
            log_max=log_max,
            sum_w=self.sum_w * a + other.sum_w * b,
            sum_wc=self.sum_wc * a_c + other.sum_wc * b_c,
            sum_w2=self.sum_w2 * a**2 + other.sum_w2 * b**2,
            sum_head=self.sum_head * a + other.sum_head * b,
            var_w=self.var_w * a**2 + other.var_w * b**2,
            cov_wc=self.cov_wc * a_c**2 + other.cov_wc * b_c**2,
            var_wc=self.var_wc * a_c**2 + other.var_wc * b_c**2,
            num_scored=self.num_scored + other.num_scored,
            k_hat=torch.maximum(self.k_hat, other.k_hat),
            rounds=torch.maximum(self.rounds, other.rounds),
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RecordRows:
    """The fields of a record as rows of two tensors, so that all are moved at once.

    On a GPU an operation for each of eleven fields takes eleven launches.

    Attributes:
        sums: log_max, sum_w, sum_w2, sum_head, var_w, k_hat; of each channel sum_wc, then cov_wc,
            then var_wc.
        counts: num_scored, rounds.
    """

    sums: Float[Tensor, "fields q"]
    counts: Int[Tensor, "2 q"]

    @classmethod
    def room(
        cls, num_queries: int, channels: int, device: torch.device | None = None
    ) -> "RecordRows":
        """Of any numbers, to be written to."""
        return cls(
            sums=torch.empty(6 + 3 * channels, num_queries, dtype=torch.float64, device=device),
            counts=torch.empty(2, num_queries, dtype=torch.int64, device=device),
        )

    @property
    def record(self) -> PosteriorRecord:
        """The record, whose fields are views."""
        log_max, sum_w, sum_w2, sum_head, var_w, k_hat = self.sums[:6]
        sum_wc, cov_wc, var_wc = (part.T for part in self.sums[6:].chunk(3))
        num_scored, rounds = self.counts
        return PosteriorRecord(
            log_max=log_max, sum_w=sum_w, sum_wc=sum_wc, sum_w2=sum_w2, sum_head=sum_head,
            var_w=var_w, cov_wc=cov_wc, var_wc=var_wc, num_scored=num_scored, k_hat=k_hat,
            rounds=rounds,
        )  # fmt: skip

    def put(self, places: Int[Tensor, " m"], record: PosteriorRecord) -> None:
        """Write the queries [m] of a record to these places."""
        rows = record.rows
        self.sums.index_copy_(1, places, rows.sums)
        self.counts.index_copy_(1, places, rows.counts)


@lru_cache(maxsize=None, typed=True)
def _constant(value: int | float, device: torch.device) -> Tensor:
    """One number on a device: fields that are the same everywhere take no memory, and no launch."""
    dtype = torch.int64 if isinstance(value, int) else torch.float64
    # copied, which a device is waited for: streams other than this one may be the next to read it
    return torch.tensor(value, dtype=dtype).to(device)


def rescaling(
    old_log_max: Float[Tensor, "*q"], log_max: Float[Tensor, "*q"]
) -> Float[Tensor, "*q"]:
    """exp(old - new), and 0 where there was nothing to rescale (where -inf - -inf is nan)."""
    return torch.where(torch.isneginf(old_log_max), 0.0, (old_log_max - log_max).exp())


def shifted_weights(
    log_weights: Float[Tensor, "q k"],
) -> tuple[Float[Tensor, " q"], Float[Tensor, "q k"]]:
    """(log_max, exp(log_weights - log_max)); zeros where there is nothing at all."""
    if log_weights.shape[1] == 0:
        return log_weights.new_full((len(log_weights),), -torch.inf), log_weights
    log_max = log_weights.amax(-1)
    shift = torch.where(torch.isneginf(log_max), 0.0, log_max)
    return log_max, (log_weights - shift[:, None]).exp()
