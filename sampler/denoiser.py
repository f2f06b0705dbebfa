"""What denoises: the one interface of machines, networks and baselines.

A denoiser takes states in data units, y = x0 + sigma eps, and returns the mean of x0 given y. In
the reverse process' own states xt = sqrt(alpha_bar) x0 + sqrt(1 - alpha_bar) eps this is
y = xt / sqrt(alpha_bar), sigma = sqrt((1 - alpha_bar) / alpha_bar) (`sampler.schedule`).
"""

from collections.abc import Callable, Iterator
from functools import partial
from math import isfinite
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sampler.errors import SamplerConfigError

Images = Float[Tensor, "b c h w"]
# The noise of all states, or of each.
Sigma = float | Float[Tensor, " b"]
# The class of all samples, or of each; None for all images.
Labels = int | Int[Tensor, " b"] | None
# denoiser(y, sigma): the posterior mean of each state.
Denoiser = Callable[[Images, float], Images]


@runtime_checkable
class LabelledDenoiser(Protocol):
    """A denoiser that can be told the class of each sample, as machines and networks can."""

    def __call__(self, y: Images, sigma: float, *, label: Labels = None) -> Images:
        """The posterior mean of each state among images of its class."""
        ...


def of_class(denoiser: LabelledDenoiser, label: Labels) -> Denoiser:
    """The denoiser of these samples, whose classes it is told from now on."""
    return denoiser if label is None else partial(denoiser, label=label)


def score(denoiser: Denoiser, y: Images, sigma: float) -> Images:
    """The score of the noisy images in data units, (posterior_mean - y) / sigma^2.

    That of the states xt is this divided by sqrt(alpha_bar).
    """
    return (denoiser(y.clone(), sigma) - y) / sigma**2  # which may overwrite what it is given


def groups(
    num: int, sigma: Sigma, label: Labels
) -> Iterator[tuple[Bool[Tensor, " b"] | None, float, int | None]]:
    """Which of so many states have one noise level and class, and these; None where all have."""
    for name, given in (("sigma", sigma), ("label", label)):
        if isinstance(given, Tensor) and given.shape != (num,):
            raise SamplerConfigError(
                f"{name} has shape {tuple(given.shape)} for {num} states. Give one for all, or one "
                "for each."
            )
    if not isinstance(sigma, Tensor) and not isinstance(label, Tensor):
        yield None, sigma, label
        return
    levels = sigma.tolist() if isinstance(sigma, Tensor) else [sigma] * num
    values = label.tolist() if isinstance(label, Tensor) else [label] * num
    pairs = list(zip(levels, values, strict=True))
    for pair in dict.fromkeys(pairs):
        yield torch.tensor([other == pair for other in pairs]), *pair


def check_sigma(sigma: Sigma) -> None:
    """Raise SamplerConfigError unless these are noise levels."""
    values = sigma.tolist() if isinstance(sigma, Tensor) else [sigma]
    wrong = [value for value in values if not (isfinite(value) and value > 0)]
    if wrong:
        raise SamplerConfigError(
            f"sigma is {wrong[0]}. Give the standard deviation of the noise in data units, above 0."
        )
