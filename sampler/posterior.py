"""The posterior of every pixel: its mean, and how far the mean can be trusted."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor

from patchindex import PosteriorRecord
from patchindex.images import to_uint8
from patchindex.png import first_of, html_block
from sampler.estimator import CarriedHead, Head, KeptHead, Sources

MAPS_SHOWN = 4  # states in a notebook


@dataclass(frozen=True, slots=True, kw_only=True)
class Posterior:
    """The posterior of each center pixel given its window.

    Attributes:
        mean: E[x0 | xt], in [-1, 1].
        log_mass: log of the sum of all weights exp(-||y - p||^2 / (2 sigma^2)).
        effective_sample_size: 1 / sum of squared normalized weights.
        head_mass: share of the mass that was summed patch by patch and not sampled; 1 where
            exact, nan where patches were left out (`tail=0`) and the share cannot be known.
        standard_error: of `mean`, from sampling the tail; 0 where exact, nan where the mean is
            biased because patches were left out. It is widened where few draws carry the tail, so
            that 1.96 of them are a 95 % interval.
        num_scored: patches whose distance was computed.
        k_hat: Pareto shape of the sampled weights: intervals of `standard_error` are honest below
            about 0.7; -inf where exact, inf where unknown.
        rounds: with a tolerance, 0 where the first estimate was accepted, 1 where one with more
            probes and draws was, 2 where all patches were summed.
        mse_deviation: standard deviation of the mean squared error of each state; 0 where exact.
            It tells how far a whole image's error may be from the mean of `standard_error**2`:
            pixels share draws, so that their errors are correlated. Of the first estimate, where
            there is a tolerance.
        sources: the heaviest patches of each pixel, if they were asked for.
        head: patches that retrieval found, for the next states of the same trajectories.
    """

    mean: Float[Tensor, "b c h w"]
    log_mass: Float[Tensor, "b h w"]
    effective_sample_size: Float[Tensor, "b h w"]
    head_mass: Float[Tensor, "b h w"]
    standard_error: Float[Tensor, "b c h w"]
    num_scored: Int[Tensor, "b h w"]
    k_hat: Float[Tensor, "b h w"]
    rounds: Int[Tensor, "b h w"]
    mse_deviation: Float[Tensor, " b"]
    sources: Sources | None = None
    head: CarriedHead | None = None

    def __repr__(self) -> str:
        b, c, h, w = self.mean.shape
        size, head = (float(of.median()) for of in (self.effective_sample_size, self.head_mass))
        error = float(self.standard_error.square().mean().sqrt())
        return (
            f"Posterior({b:,} states of {c} x {h} x {w}: effective sample size {size:.1f}, head "
            f"mass {head:.3f}, standard error {error:.2g})"
        )

    def _repr_html_(self) -> str:
        """A line, the means, and maps of what is known of them, with their ranges."""
        maps = {
            "standard error": self.standard_error.mean(1),
            "head mass": self.head_mass,
            "log10 of the effective sample size": self.effective_sample_size.log10(),
        }
        pictures = {"mean": first_of(to_uint8(self.mean[:MAPS_SHOWN]))}
        for name, values in maps.items():
            shown = values[:MAPS_SHOWN].nan_to_num()
            low, high = float(shown.min()), float(shown.max())
            levels = 2 * (shown - low) / ((high - low) or 1.0) - 1
            ends = f"black {low:.3g}, white {high:.3g}" if low < high else f"{low:.3g} everywhere"
            caption = f"{name}: {ends}"
            pictures[caption] = first_of(to_uint8(levels[:, None]))
        return html_block(repr(self), pictures)

    @classmethod
    def from_record(
        cls,
        record: PosteriorRecord,
        sources: Sources | None = None,
        head: CarriedHead | None = None,
        mse_deviation: Float[Tensor, " b"] | None = None,
    ) -> "Posterior":
        """Ratios of the record's sums."""
        if mse_deviation is None:
            mse_deviation = record.sum_w.new_zeros(len(record.sum_w))
        return cls(
            mean=rearrange(record.mean, "b h w c -> b c h w").float(),
            log_mass=record.log_max + record.sum_w.log(),
            effective_sample_size=record.sum_w**2 / record.sum_w2,
            head_mass=record.sum_head / record.sum_w,
            standard_error=rearrange(record.standard_error, "b h w c -> b c h w").float(),
            num_scored=record.num_scored,
            k_hat=record.k_hat,
            rounds=record.rounds,
            mse_deviation=mse_deviation,
            sources=sources,
            head=head,
        )

    @classmethod
    def joined(cls, parts: Sequence["Posterior"]) -> "Posterior":
        """The posteriors of several batches of states as one; all have sources, or none."""
        if len(parts) == 1:
            return parts[0]
        named = [part.sources for part in parts if part.sources is not None]
        heads = [part.head for part in parts if isinstance(part.head, Head)]
        kept = [part.head for part in parts if isinstance(part.head, KeptHead)]
        tensors = {
            field.name: torch.cat([getattr(part, field.name) for part in parts])
            for field in fields(cls)
            if field.name not in ("sources", "head")
        }
        return cls(
            **tensors,
            sources=Sources.joined(named) if named else None,
            head=Head.joined(heads) if heads else KeptHead.joined(kept) if kept else None,
        )
