"""Networks as denoisers: a function, and what is known of it; `predictors.py` has modules."""

from collections.abc import Callable, Iterator
from typing import TypedDict

import torch
from jaxtyping import Float, Int
from torch import Tensor

from patchindex import Boundary
from sampler.denoiser import Denoiser, Images, Labels, Sigma, check_sigma
from sampler.errors import NetworkError
from sampler.networks.asking import ask
from sampler.networks.config import NetworkConfig
from sampler.schedule import NoiseLevels

BLOCK_IMAGES = 64  # that a network is asked about at once

PerState = Float[Tensor, " b"]
# Of states in data units, sigma of each, class of each: their posterior mean.
Function = Callable[[Images, PerState, Int[Tensor, " b"] | None], Images]
_A_DENOISER = "Give a function (y, sigma) -> mean of x0 given y = x0 + sigma eps."


class About(TypedDict, total=False):
    """What is known of a network; see `NetworkDenoiser`."""

    name: str
    image_shape: tuple[int, int, int] | None
    num_classes: int
    boundary: Boundary
    config: NetworkConfig | None
    scales: tuple[int, ...] | None


class NetworkDenoiser:
    """A network as a denoiser: a function, and what is known of it.

    Args:
        function: of states in data units, sigma of each, and class of each or None; returns their
            posterior mean.
        name: where it comes from, for people.
        image_shape: channels, height and width of its images; None if it takes any.
        num_classes: 0 for a network without labels.
        boundary: of the machine that sees borders as the network's padding does.
        schedule: of the noise levels that it samples at.
        config: of a network that we trained.
        scales: that were calibrated for it, the lowest noise first, evenly spaced over the times of
            its schedule; None if unknown.

    Example:
        >>> def shrink(y, sigma, label):
        ...     return y / (1 + sigma**2)[:, None, None, None]
        >>> sample(NetworkDenoiser(shrink), noise)
    """

    def __init__(
        self,
        function: Function,
        *,
        name: str = "network",
        image_shape: tuple[int, int, int] | None = None,
        num_classes: int = 0,
        boundary: Boundary = "zeros",
        schedule: NoiseLevels = "cosine",
        config: NetworkConfig | None = None,
        scales: tuple[int, ...] | None = None,
    ) -> None:
        self._function, self.scales = function, scales
        self.name, self.num_classes = name, num_classes
        self.image_shape: tuple[int, int, int] | None = None
        if image_shape is not None:  # any sequence
            channels, height, width = image_shape
            self.image_shape = (channels, height, width)
        self.boundary, self.schedule, self.config = boundary, schedule, config

    def __repr__(self) -> str:
        shape = "any size" if self.image_shape is None else "x".join(map(str, self.image_shape))
        classes = f", {self.num_classes} classes" if self.num_classes else ""
        return f"{type(self).__name__}({self.name!r}, {shape}{classes})"

    @property
    def device(self) -> torch.device | None:
        """Where it computes; None for where the states are."""
        return None

    def to(self, device: torch.device) -> "NetworkDenoiser":  # noqa: ARG002 - a function is nowhere
        """The same, computing there."""
        return self

    def levels(self, steps: int) -> NoiseLevels:  # noqa: ARG002 - some have levels of their own
        """The noise levels at which the network samples in so many steps."""
        return self.schedule

    def __call__(self, y: Images, sigma: Sigma, *, label: Labels = None) -> Images:
        """The posterior mean of each state, block by block, where the states are.

        Args:
            sigma: the noise of all states, or of each.
            label: class of all, or of each; None for a network without labels.

        Raises:
            NetworkError: labels for a network that knows none, none for one that needs them,
                others than it knows, or states of another shape than its images.
            SamplerConfigError: noise that is none.
        """
        sigmas = _of_each(y, sigma, "sigma").double()
        check_sigma(sigmas)
        labels = None if label is None else _of_each(y, label, "label").long()
        self.check_labels(labels)
        if self.image_shape is not None and y.shape[1:] != self.image_shape:
            raise NetworkError(
                f"{self.name} takes images of {'x'.join(map(str, self.image_shape))}, but states "
                f"of {'x'.join(map(str, y.shape[1:]))} were given. Give such as it was trained on."
            )
        blocks = []
        # a gradient where the states want one; the weights are left as they are
        with torch.set_grad_enabled(torch.is_grad_enabled() and y.requires_grad):
            for start in range(0, len(y), BLOCK_IMAGES):
                part = slice(start, start + BLOCK_IMAGES)
                named = None if labels is None else labels[part]
                mean = self._function(y[part], sigmas[part], named)
                self._check_answer(mean, y[part], sigmas[part])
                blocks.append(mean.to(y))
            return torch.cat(blocks)

    def _check_answer(self, mean: object, y: Images, sigmas: PerState) -> None:
        """Raise NetworkError unless this can be the posterior mean of these states."""
        if not isinstance(mean, Tensor):
            raise NetworkError(
                f"{self.name} returns a {type(mean).__name__} for states of {tuple(y.shape)}. "
                "Return a tensor as large as they are."
            )
        if mean.shape != y.shape:
            raise NetworkError(
                f"{self.name} returns shape {tuple(mean.shape)} for states of {tuple(y.shape)}. "
                "Its output must be as large as its input."
            )
        if not bool(mean.isfinite().all()):
            raise NetworkError(
                f"{self.name} returns NaN or infinite numbers for finite states of sigma "
                f"{float(sigmas.min()):g} to {float(sigmas.max()):g}. Look at its weights, and at "
                "the range, schedule and times that it is said to have."
            )

    def check_labels(self, label: Int[Tensor, " b"] | None) -> None:
        """Raise NetworkError unless the network can be asked with these labels."""
        known = self.num_classes
        if known == 0 and label is not None:
            raise NetworkError(
                f"{self.name} was trained without class labels. Leave the label out, "
                "or give a network that was trained with --conditional."
            )
        if known and label is None:
            raise NetworkError(
                f"{self.name} was trained with class labels and needs one for each sample. "
                f"Give labels from 0 to {known - 1}, and images that have labels."
            )
        if label is not None and not (int(label.min()) >= 0 and int(label.max()) < known):
            raise NetworkError(
                f"{self.name} knows labels 0 to {known - 1}, but labels from {int(label.min())} to "
                f"{int(label.max())} were given. Give labels that it was trained with."
            )


def _of_each(y: Images, value: float | int | Tensor, name: str) -> Tensor:
    """The value of each state.

    Raises:
        NetworkError: no states, or values for another number of them.
    """
    values = torch.as_tensor(value)
    if not len(y) or values.ndim > 1 or values.numel() not in (1, len(y)):
        raise NetworkError(
            f"{name} has shape {tuple(values.shape)} for {len(y)} states. Give at least one state, "
            f"and one {name} for all or one for each."
        )
    return values.expand(len(y))


def as_network(denoiser: NetworkDenoiser | Denoiser) -> NetworkDenoiser:
    """A network as it is; of any other function of (y, sigma) no more is known than its name."""
    if isinstance(denoiser, NetworkDenoiser):
        return denoiser

    def mean(y: Images, sigma: PerState, label: Int[Tensor, " b"] | None) -> Images:  # noqa: ARG001
        means = []
        for part, level in _runs_of_one_level(y, sigma):
            # which it may overwrite
            asked = {"y": part.clone(), "sigma": float(level)}
            found = ask(denoiser, asked, who=name, remedy=_A_DENOISER)
            if not isinstance(found, Tensor):
                raise NetworkError(
                    f"{name} returns a {type(found).__name__}, not a tensor as large as the states."
                )
            means.append(found)
        return torch.cat(means)

    name = str(getattr(denoiser, "__name__", type(denoiser).__name__))
    return NetworkDenoiser(mean, name=name)


def _runs_of_one_level(y: Images, sigma: PerState) -> Iterator[tuple[Images, float]]:
    """Consecutive states that have the same noise, and this."""
    levels, counts = sigma.unique_consecutive(return_counts=True)
    yield from zip(y.split(counts.tolist()), levels.tolist(), strict=True)
