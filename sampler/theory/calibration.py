"""Locality scales from data: which patch size serves best at each noise level.

Against a network: the patch size whose machine's score points most nearly where the network's does,
along the network's own trajectory (arXiv 2412.20292, appendix C.2). Without one: the patch size
whose machine denoises held-out images best.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import sqrt

import torch
from jaxtyping import Float
from torch import Tensor

from sampler.reverse import Denoiser, Step, step_down

# Called with the number of machines asked so far, and how many there are to ask.
OnScore = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Calibration:
    """How well each candidate did for each sample at each time.

    Attributes:
        times: in the order of the reverse process, the highest first.
        candidates: patch sizes, ascending.
        merit: the larger the better: cosine similarity of scores, or minus the mean squared error.
    """

    times: tuple[float, ...]
    candidates: tuple[int, ...]
    merit: Float[Tensor, "t p b"]

    def best(self, quantile: float = 0.5) -> tuple[int, ...]:
        """At each time, this quantile over samples of each one's best patch size.

        The lower of the two middle ones for an even number, as in the reference code; of equally
        good ones the smallest.
        """
        sizes = torch.tensor(self.candidates)[self.merit.argmax(dim=1)].sort(dim=-1).values
        position = int(quantile * (sizes.shape[-1] - 1))
        return tuple(sizes[:, position].tolist())

    def scales(self) -> dict[float, int]:
        """The median best patch size by time, the lowest time first."""
        return dict(sorted(zip(self.times, self.best(), strict=True)))


def calibrate_to_network(
    network: Denoiser,
    machine: Denoiser,
    candidates: Sequence[int],
    *,
    noise: Float[Tensor, "b c h w"],
    steps: Sequence[Step],
    on_score: OnScore | None = None,
) -> Calibration:
    """Compare the directions of scores at the states that the network passes through.

    Args:
        machine: asked with each candidate as the step's patch size.
        steps: the reverse process; their patch sizes are not used.
    """
    xt, rows = noise.float(), []
    for number, step in enumerate(steps):
        mean = network(xt, step)
        target = score(xt, mean, step)
        merits = []
        for patch_size in candidates:
            found = score(xt, machine(xt, replace(step, patch_size=patch_size)), step)
            merits.append(torch.cosine_similarity(found.flatten(1), target.flatten(1)))
            if on_score is not None:
                on_score(number * len(candidates) + len(merits), len(steps) * len(candidates))
        rows.append(torch.stack(merits))
        xt = step_down(xt, mean, step)
    return collect(rows, candidates, steps)


def calibrate_to_images(
    images: Float[Tensor, "b c h w"],
    machine: Denoiser,
    candidates: Sequence[int],
    *,
    noise: Float[Tensor, "b c h w"],
    steps: Sequence[Step],
    on_score: OnScore | None = None,
) -> Calibration:
    """Compare the error of the posterior mean on noisy images that the machine does not hold.

    Args:
        images: in [-1, 1], none of them in the machine's dictionary.
        noise: standard normal; the same at every noise level, so that levels can be compared.
    """
    rows = []
    for number, step in enumerate(steps):
        xt = sqrt(step.alpha_bar) * images + sqrt(1 - step.alpha_bar) * noise
        merits = []
        for patch_size in candidates:
            mean = machine(xt, replace(step, patch_size=patch_size))
            merits.append(-(mean - images).square().flatten(1).mean(1))
            if on_score is not None:
                on_score(number * len(candidates) + len(merits), len(steps) * len(candidates))
        rows.append(torch.stack(merits))
    return collect(rows, candidates, steps)


def collect(
    rows: Sequence[Float[Tensor, "p b"]], candidates: Sequence[int], steps: Sequence[Step]
) -> Calibration:
    """The rows of all steps as one table."""
    return Calibration(
        times=tuple(step.t for step in steps),
        candidates=tuple(candidates),
        merit=torch.stack(list(rows)).cpu(),
    )


def score(
    xt: Float[Tensor, "b c h w"], mean: Float[Tensor, "b c h w"], step: Step
) -> Float[Tensor, "b c h w"]:
    """(sqrt(alpha_bar) posterior_mean - xt) / (1 - alpha_bar)."""
    return (sqrt(step.alpha_bar) * mean - xt) / (1 - step.alpha_bar)
