"""Modules of any make as denoisers: what they predict, and how they want states and times.

A network that computes eps, v or x0 from (xt, t) at its own schedule becomes the posterior mean of
y = x0 + sigma eps (`sampler.denoiser`) by the same few lines, whoever trained it.
"""

from collections.abc import Callable, Sequence
from itertools import chain
from math import isfinite, log
from typing import Literal, Unpack, get_args

import torch
from jaxtyping import Int
from torch import Tensor, nn

from sampler.denoiser import Images
from sampler.errors import NetworkError
from sampler.networks.adapters import About, NetworkDenoiser, PerState
from sampler.networks.asking import ask, ask_module
from sampler.networks.config import checked_choice
from sampler.schedule import (
    DiscreteSchedule,
    NoiseLevels,
    Schedule,
    rising_sigmas,
    signal_share,
    time_at,
)

STEPS = 1000  # that "step" counts, where the schedule is not a list of them

Predicted = Literal["noise", "velocity", "data"]
TimeName = Literal["unit", "step", "log_sigma"]


_TIME = "Give a function of sigma that returns what the module is to be told."


class Predictor(NetworkDenoiser):
    """A module or function of (x, time[, label]) that predicts what is in x.

    Args:
        module: called as module(x, time), or module(x, time, label), with states
            xt = sqrt(alpha_bar) x0 + sqrt(1 - alpha_bar) eps [b, c, h, w] in its own range, the
            time of each [b], and the class of each [b] if it has any.
        schedule: of the noise that it was trained with: a name, a function t -> alpha_bar, or
            alpha_bar after each step of a discrete process (`alphas_cumprod`).
        time: how it wants the time: `unit` is t in [0, 1], `step` the number of a step from 0, with
            a fraction where the noise lies between two, `log_sigma` ln(sigma) / 4; or a function of
            sigma in the network's own range. Floating point, float32 at least.
        whole_steps: with `step`, give the nearest whole one as int64, as an embedding wants it.
        value_range: what the network has for our -1 and 1, such as (0, 1).
        about: `name` of where it comes from; `image_shape` (c, h, w), which is checked;
            `num_classes`, 0 without labels; `boundary`, `zeros` or `circular`, as it pads;
            `scales` calibrated for it; `config` of a network trained here.

    Raises:
        NetworkError: a time or a range that is none, or whole steps of a time that counts none.
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
        if whole_steps and time != "step":
            raise NetworkError(
                f"whole_steps was given with time={time!r}, which counts no steps. Give "
                "time='step', or leave whole_steps out."
            )
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
        times = torch.tensor([time[level] for level in levels], dtype=torch.float64)
        asked = {
            "x": (a * theirs).to(like),
            "t": times.to(like.device, self._time_dtype(like.dtype)),
            "label": None if label is None else label.to(like.device),
        }
        out = ask_module(self.module, asked, who=f"{self.name} ({type(self).__name__})").to(y)
        if self.predicted == "noise":
            mean = theirs - b / a * out
        elif self.predicted == "velocity":
            mean = a**2 * theirs - b * out
        else:
            mean = out
        return (mean - low) / half - 1

    def _time_dtype(self, of_states: torch.dtype) -> torch.dtype:
        """At least float32, even of a network in half precision: steps go up to a thousand."""
        if self._whole_steps:
            return torch.int64
        return torch.float64 if of_states == torch.float64 else torch.float32

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
            return float(
                ask(self._time, {"sigma": sigma}, who=f"time= of {self.name}", remedy=_TIME)
            )
        if self._time == "log_sigma":
            return log(sigma) / 4
        t = time_at(sigma, self._process)
        if self._time == "unit":
            return t
        last = self._steps - 1
        step = t * self._steps - 1
        return max(step, 0.0) if not self._whole_steps else float(min(max(round(step), 0), last))


class NoisePredictor(Predictor):
    """A network that predicts eps, as DDPM's do.

    Args:
        module: called as module(x, time), or module(x, time, label), with states
            xt = sqrt(alpha_bar) x0 + sqrt(1 - alpha_bar) eps [b, c, h, w] in its own range, the
            time of each [b], and the class of each [b] if it has any.
        schedule: of the noise that it was trained with: a name, a function t -> alpha_bar, or
            alpha_bar after each step of a discrete process (`alphas_cumprod`).
        time: how it wants the time: `unit` is t in [0, 1], `step` the number of a step from 0, with
            a fraction where the noise lies between two, `log_sigma` ln(sigma) / 4; or a function of
            sigma in the network's own range. Floating point, float32 at least.
        whole_steps: with `step`, give the nearest whole one as int64, as an embedding wants it.
        value_range: what the network has for our -1 and 1, such as (0, 1).
        about: `name` of where it comes from; `image_shape` (c, h, w), which is checked;
            `num_classes`, 0 without labels; `boundary`, `zeros` or `circular`, as it pads;
            `scales` calibrated for it; `config` of a network trained here.

    Raises:
        NetworkError: a time or a range that is none, or whole steps of a time that counts none.

    Example:
        >>> theirs = NoisePredictor(unet, schedule=alphas_cumprod, time="step", whole_steps=True)
        >>> sample(theirs, noise, schedule="ddpm", steps=50)
    """

    predicted = "noise"


class VelocityPredictor(Predictor):
    """A network that predicts v = sqrt(alpha_bar) eps - sqrt(1 - alpha_bar) x0 (arXiv 2202.00512).

    Args:
        module: called as module(x, time), or module(x, time, label), with states
            xt = sqrt(alpha_bar) x0 + sqrt(1 - alpha_bar) eps [b, c, h, w] in its own range, the
            time of each [b], and the class of each [b] if it has any.
        schedule: of the noise that it was trained with: a name, a function t -> alpha_bar, or
            alpha_bar after each step of a discrete process (`alphas_cumprod`).
        time: how it wants the time: `unit` is t in [0, 1], `step` the number of a step from 0, with
            a fraction where the noise lies between two, `log_sigma` ln(sigma) / 4; or a function of
            sigma in the network's own range. Floating point, float32 at least.
        whole_steps: with `step`, give the nearest whole one as int64, as an embedding wants it.
        value_range: what the network has for our -1 and 1, such as (0, 1).
        about: `name` of where it comes from; `image_shape` (c, h, w), which is checked;
            `num_classes`, 0 without labels; `boundary`, `zeros` or `circular`, as it pads;
            `scales` calibrated for it; `config` of a network trained here.

    Raises:
        NetworkError: a time or a range that is none, or whole steps of a time that counts none.

    Example:
        >>> VelocityPredictor(module, schedule="cosine", time="unit")
    """

    predicted = "velocity"


class DataPredictor(Predictor):
    """A network that predicts the clean image.

    Args:
        module: called as module(x, time), or module(x, time, label), with states
            xt = sqrt(alpha_bar) x0 + sqrt(1 - alpha_bar) eps [b, c, h, w] in its own range, the
            time of each [b], and the class of each [b] if it has any.
        schedule: of the noise that it was trained with: a name, a function t -> alpha_bar, or
            alpha_bar after each step of a discrete process (`alphas_cumprod`).
        time: how it wants the time: `unit` is t in [0, 1], `step` the number of a step from 0, with
            a fraction where the noise lies between two, `log_sigma` ln(sigma) / 4; or a function of
            sigma in the network's own range. Floating point, float32 at least.
        whole_steps: with `step`, give the nearest whole one as int64, as an embedding wants it.
        value_range: what the network has for our -1 and 1, such as (0, 1).
        about: `name` of where it comes from; `image_shape` (c, h, w), which is checked;
            `num_classes`, 0 without labels; `boundary`, `zeros` or `circular`, as it pads;
            `scales` calibrated for it; `config` of a network trained here.

    Raises:
        NetworkError: a time or a range that is none, or whole steps of a time that counts none.

    Example:
        >>> DataPredictor(module, schedule="linear", time="log_sigma")
    """

    predicted = "data"


def _numbers(module: Callable[..., Tensor]) -> "chain[Tensor]":
    """The parameters and buffers of a module; nothing of another function."""
    if not isinstance(module, nn.Module):
        return chain()
    floats = (p for p in chain(module.parameters(), module.buffers()) if p.is_floating_point())
    return chain(floats)
