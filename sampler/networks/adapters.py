"""Networks of any make as denoisers: what they predict, and how they want states and times.

A network that computes eps, v or x0 from (xt, t) at its own schedule becomes the posterior mean of
y = x0 + sigma eps (`sampler.denoiser`) by the same few lines, whoever trained it.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from math import isfinite, log
from typing import Literal, TypedDict, Unpack, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from patchindex import Boundary
from sampler.denoiser import Denoiser, Images, Labels, Sigma, check_sigma
from sampler.errors import NetworkError
from sampler.networks.config import NetworkConfig, checked_choice
from sampler.schedule import (
    DiscreteSchedule,
    NoiseLevels,
    Schedule,
    rising_sigmas,
    signal_share,
    time_at,
)

BLOCK_IMAGES = 64  # that a network is asked about at once
STEPS = 1000  # that "step" counts, where the schedule is not a list of them

Predicted = Literal["noise", "velocity", "data"]
TimeName = Literal["unit", "step", "log_sigma"]
PerState = Float[Tensor, " b"]
# Of states in data units, sigma of each, class of each: their posterior mean.
Function = Callable[[Images, PerState, Int[Tensor, " b"] | None], Images]


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


class Predictor(NetworkDenoiser):
    """A module or function of (x, time[, label]) that predicts what is in x.

    Args:
        module: called with states xt = sqrt(alpha_bar) x0 + sqrt(1 - alpha_bar) eps in its own
            range, times, and classes if it has any.
        schedule: of the noise that it was trained with: a name, a function t -> alpha_bar, or
            alpha_bar after each step of a discrete process (`alphas_cumprod`).
        time: how it wants the time: `unit` is t in [0, 1], `step` the number of a step from 0,
            `log_sigma` ln(sigma) / 4, a function that of sigma in its own range.
        whole_steps: round numbers of steps to the nearest one.
        value_range: what it has for our -1 and 1.
        about: name, image_shape, num_classes, boundary, config, scales: as for `NetworkDenoiser`.

    Raises:
        NetworkError: a time or a range that is none.
    """

    predicted: Predicted

    def __init__(
        self,
        module: Callable[..., Tensor],
        *,
        schedule: Schedule | Sequence[float] = "cosine",
        time: str | Callable[[float], float] = "unit",
        whole_steps: bool = False,
        value_range: tuple[float, float] = (-1.0, 1.0),
        **about: Unpack[About],
    ) -> None:
        low, high = value_range
        if not (isfinite(low) and low < high and isfinite(high)):
            raise NetworkError(
                f"value_range is {value_range}. Give what the network has for our -1 and 1, the "
                "lower one first, such as (0, 1)."
            )
        if isinstance(time, str):
            checked_choice("time", time, get_args(TimeName))
        process = (
            schedule
            if isinstance(schedule, str) or callable(schedule)
            else DiscreteSchedule(schedule)
        )
        known = About(name=str(getattr(module, "__name__", type(module).__name__))) | about
        super().__init__(self._mean, schedule=process, **known)
        self.module = module
        self._time, self._whole_steps, self._range = time, whole_steps, (low, high)
        self._process: Schedule = process
        self._steps = len(process) if isinstance(process, DiscreteSchedule) else STEPS

    def _mean(self, y: Images, sigma: PerState, label: Int[Tensor, " b"] | None) -> Images:
        """The posterior mean in our range, by way of the network's own."""
        low, high = self._range
        half = (high - low) / 2
        theirs = low + half * (y + 1)
        levels = [half * value for value in sigma.tolist()]
        time = {level: self._time_of(level) for level in set(levels)}
        signal = torch.tensor([signal_share(level) for level in levels], dtype=torch.float64)
        a, b = (part.sqrt().to(y)[:, None, None, None] for part in (signal, 1 - signal))
        like = next(_numbers(self.module), y)
        # in float32 at the least, even of a network in half precision: steps go up to a thousand
        times = torch.tensor([time[level] for level in levels], dtype=torch.float64)
        wide = torch.float64 if like.dtype == torch.float64 else torch.float32
        asked = [(a * theirs).to(like), times.to(like.device, wide)]
        if label is not None:
            asked.append(label.to(like.device))
        out = self.module(*asked).to(y)
        if self.predicted == "noise":
            mean = theirs - b / a * out
        elif self.predicted == "velocity":
            mean = a**2 * theirs - b * out
        else:
            mean = out
        return (mean - low) / half - 1

    @property
    def device(self) -> torch.device | None:
        """Where the module is."""
        number = next(_numbers(self.module), None)
        return None if number is None else number.device

    def to(self, device: torch.device) -> "Predictor":
        """The same, its module moved there."""
        if isinstance(self.module, nn.Module):
            self.module.to(device)
        return self

    def levels(self, steps: int) -> NoiseLevels:
        """Its own schedule; in our range, which may be wider or narrower than its own."""
        low, high = self._range
        if (low, high) == (-1.0, 1.0):
            return self.schedule
        return [2 * sigma / (high - low) for sigma in reversed(rising_sigmas(self.schedule, steps))]

    def _time_of(self, sigma: float) -> float:
        """What the network is told of a noise level in its own range."""
        if not isinstance(self._time, str):
            return float(self._time(sigma))
        if self._time == "log_sigma":
            return log(sigma) / 4
        t = time_at(sigma, self._process)
        if self._time == "unit":
            return t
        last = self._steps - 1
        step = t * self._steps - 1
        return max(step, 0.0) if not self._whole_steps else float(min(max(round(step), 0), last))


class NoisePredictor(Predictor):
    """A network that predicts eps, as DDPM's do; arguments as for `Predictor`.

    Example:
        >>> theirs = NoisePredictor(unet, schedule=alphas_cumprod, time="step", value_range=(0, 1))
        >>> sample(theirs, noise, schedule="ddpm", steps=50)
    """

    predicted = "noise"


class VelocityPredictor(Predictor):
    """A network that predicts v = sqrt(alpha_bar) eps - sqrt(1 - alpha_bar) x0 (arXiv 2202.00512).

    Example:
        >>> VelocityPredictor(module, schedule="cosine", time="unit")
    """

    predicted = "velocity"


class DataPredictor(Predictor):
    """A network that predicts the clean image.

    Example:
        >>> DataPredictor(module, schedule="linear", time="log_sigma")
    """

    predicted = "data"


def as_network(denoiser: NetworkDenoiser | Denoiser) -> NetworkDenoiser:
    """A network as it is; of any other function of (y, sigma) no more is known than its name."""
    if isinstance(denoiser, NetworkDenoiser):
        return denoiser

    def mean(y: Images, sigma: PerState, label: Int[Tensor, " b"] | None) -> Images:  # noqa: ARG001
        means = []
        for part, level in _runs_of_one_level(y, sigma):
            found = denoiser(part.clone(), float(level))  # which it may overwrite
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


def _numbers(module: Callable[..., Tensor]) -> "chain[Tensor]":
    """The parameters and buffers of a module; nothing of another function."""
    if not isinstance(module, nn.Module):
        return chain()
    floats = (p for p in chain(module.parameters(), module.buffers()) if p.is_floating_point())
    return chain(floats)
