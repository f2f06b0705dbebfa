"""What every score machine can do: posteriors, means and scores of noisy states, at any noise."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from math import sqrt
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from patchindex import ImageSet
from sampler.denoiser import Labels, Sigma, check_sigma, groups
from sampler.errors import SamplerConfigError
from sampler.estimator import CarriedHead
from sampler.posterior import Posterior
from sampler.scales import Scales, checked_scales, find_scales
from sampler.schedule import noise_level


class ScoreMachine(ABC):
    """A denoiser over a dictionary of patches of `images`.

    Attributes:
        compares_whole_images: whether patch sizes are ignored.
    """

    images: ImageSet
    compares_whole_images: bool = False

    def posterior(
        self,
        xt: Float[Tensor, "b c h w"],
        alpha_bar: float,
        patch_size: int | None = None,
        *,
        label: int | None = None,
        num_sources: int = 0,
        known: CarriedHead | None = None,
        keep: Path | None = None,
    ) -> Posterior:
        """The posterior of every pixel of every state, computed where the states lie.

        Args:
            xt: noisy states, sqrt(alpha_bar) x0 + sqrt(1 - alpha_bar) eps.
            alpha_bar: in (0, 1).
            patch_size: odd side of the window that a pixel sees; the IS machine ignores it.
            label: keep only training images of this class.
            num_sources: also return so many of the training patches that weigh most in each pixel,
                its sources, and the shares of the images; of all of them where sums are exact.
            known: for retrieval, the `head` of the posterior of the states before these on the same
                trajectories: much of what was near is near still, and need not be searched for.
            keep: for retrieval, put the posterior's `head` into files of this folder, which the
                whole crew shares, and not into memory.

        Raises:
            SamplerConfigError: states of another shape than the images, values that are not
                finite, or alpha_bar out of range.
            GeometryError: a patch size that the images do not admit.
            DatasetError: no image has the label.
        """
        sigma = _level_of(alpha_bar)
        y = xt.float() / sqrt(alpha_bar)
        _check_states(y, sigma, self.images)
        return self._posterior(
            y, sigma, patch_size, label=label, num_sources=num_sources, known=known, keep=keep
        )

    def posterior_of(
        self,
        y: Float[Tensor, "b c h w"],
        sigma: float,
        patch_size: int | None = None,
        *,
        label: int | None = None,
        num_sources: int = 0,
        known: CarriedHead | None = None,
        keep: Path | None = None,
    ) -> Posterior:
        """As `posterior`, of states in data units, y = x0 + sigma eps.

        Args:
            patch_size: None for that of the machine's own `scales` at this noise level.
        """
        _check_states(y, sigma, self.images)
        return self._posterior(
            y.float(), sigma, self.patch_size_at(sigma) if patch_size is None else patch_size,
            label=label, num_sources=num_sources, known=known, keep=keep,
        )  # fmt: skip

    def denoise(
        self,
        y: Float[Tensor, "b c h w"],
        sigma: Sigma,
        patch_size: int | None = None,
        *,
        label: Labels = None,
    ) -> Float[Tensor, "b c h w"]:
        """The posterior mean of states in data units, y = x0 + sigma eps: a `Denoiser`.

        Args:
            sigma: the noise of all states, or of each.
            patch_size: None for that of the machine's own `scales` at each noise level.
            label: keep only training images of this class, or of each state's own.

        Raises:
            UserError: as for `posterior`.

        Example:
            >>> machine = ELSMachine(images, scales="fashion_mnist_resnet_zeros")
            >>> machine.denoise(y, torch.tensor([0.1, 2.0]), label=torch.tensor([3, 5]))
        """
        mean = torch.empty_like(y, dtype=torch.float32)
        for states, level, value in groups(len(y), sigma, label):
            if states is None:
                return self.posterior_of(y, level, patch_size, label=value).mean
            chosen = states.to(y.device)
            mean[chosen] = self.posterior_of(y[chosen], level, patch_size, label=value).mean
        return mean

    def score(
        self,
        xt: Float[Tensor, "b c h w"] | None = None,
        alpha_bar: float | None = None,
        patch_size: int | None = None,
        *,
        y: Float[Tensor, "b c h w"] | None = None,
        sigma: Sigma | None = None,
        label: Labels = None,
    ) -> Float[Tensor, "b c h w"]:
        """The score of the density of xt, or of y = xt / sqrt(alpha_bar).

        (sqrt(alpha_bar) posterior_mean - xt) / (1 - alpha_bar) of `xt` and `alpha_bar`, arguments
        as for `posterior`; (posterior_mean - y) / sigma^2 of `y` and `sigma`, as for `denoise`.

        Raises:
            SamplerConfigError: other states and noise than these; else as for `posterior`.

        Example:
            >>> machine.score(y=y, sigma=0.5)
        """
        if xt is not None and alpha_bar is not None and y is None and sigma is None:
            level = _level_of(alpha_bar)
            mean = self.denoise(xt / sqrt(alpha_bar), level, patch_size, label=label)
            return (sqrt(alpha_bar) * mean - xt) / (1 - alpha_bar)
        if y is None or sigma is None or xt is not None or alpha_bar is not None:
            raise SamplerConfigError(
                "a score needs states and their noise. Give xt and alpha_bar, or y and sigma."
            )
        mean = self.denoise(y, sigma, patch_size, label=label)
        return (mean - y) / torch.as_tensor(sigma).to(y).reshape(-1, 1, 1, 1) ** 2

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._described()})"

    def _described(self) -> str:
        """What the machine is made of, for people."""
        return repr(self.images)

    def __call__(
        self, y: Float[Tensor, "b c h w"], sigma: Sigma, *, label: Labels = None
    ) -> Float[Tensor, "b c h w"]:
        """`denoise`, at the machine's own scales: a machine is a denoiser like any other."""
        return self.denoise(y, sigma, label=label)

    @property
    @abstractmethod
    def scales(self) -> Scales | None:
        """Its own patch size at every noise level; None where whole images are compared."""

    def patch_size_at(self, sigma: float) -> int | None:
        """The patch size of the machine's own scales at a noise level."""
        return None if self.scales is None else self.scales.at(sigma)

    @abstractmethod
    def compared_sizes(self, patch_sizes: Sequence[int | None]) -> tuple[int | None, ...]:
        """The patch size that is really used for each of these; None for whole images.

        Raises:
            SamplerConfigError: the machine cannot do without one of them.
            GeometryError: a patch size that the images do not admit.
        """

    @abstractmethod
    def _posterior(
        self,
        y: Float[Tensor, "b c h w"],
        sigma: float,
        patch_size: int | None,
        *,
        label: int | None,
        num_sources: int,
        known: CarriedHead | None,
        keep: Path | None,
    ) -> Posterior:
        """The posterior of states in data units."""


def own_scales(scales: str | Scales | Sequence[int] | None) -> Scales | None:
    """The scales that a machine was given."""
    if scales is None or isinstance(scales, Scales):
        return scales
    if isinstance(scales, str):
        return find_scales(scales)
    return Scales.spaced(checked_scales(scales, "given"))


def _level_of(alpha_bar: float) -> float:
    """Sigma of a signal share; raise SamplerConfigError where there is none."""
    if not 0 < alpha_bar < 1:
        raise SamplerConfigError(
            f"alpha_bar is {alpha_bar}. Give a value between 0 and 1, both excluded."
        )
    return noise_level(float(alpha_bar))


def _check_states(y: Float[Tensor, "b c h w"], sigma: float, images: ImageSet) -> None:
    """Raise SamplerConfigError unless these can be noisy states of these images."""
    expected = (images.channels, images.height, images.width)
    if y.ndim != 4 or tuple(y.shape[1:]) != expected or not len(y):
        raise SamplerConfigError(
            f"states have shape {tuple(y.shape)}, but the images of {images.name} are "
            f"{'x'.join(map(str, expected))}. Give shape [b, {', '.join(map(str, expected))}]."
        )
    if not y.isfinite().all():
        raise SamplerConfigError(
            "the states hold values that are not finite (nan or inf). Give finite numbers; "
            "noise is standard normal."
        )
    check_sigma(sigma)
