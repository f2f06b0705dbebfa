"""A `UNet2DModel` of the diffusers library with its scheduler's process, from a folder or the hub.

The library is an extra, `pip install 'patchindex[diffusers]'`, and imported only here.
"""

import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor, nn

from patchindex.paths import at_home
from sampler.denoiser import Images
from sampler.errors import NetworkError, reason
from sampler.networks.adapters import PerState
from sampler.networks.predictors import Predicted, Predictor
from sampler.schedule import SMALLEST_ALPHA_BAR, noise_level

logger = logging.getLogger(__name__)

_PREDICTED: dict[str, Predicted] = {
    "epsilon": "noise", "v_prediction": "velocity", "sample": "data",
}  # fmt: skip
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+", re.ASCII)
# whose noise is none of sqrt(alpha_bar) x0 + sqrt(1 - alpha_bar) eps
_OTHER_PROCESSES = ("FlowMatch", "EDM", "ScoreSde", "Karras", "VQ", "CM", "LCM", "TCD")


class DiffusersDenoiser(Predictor):
    """A diffusers network as a denoiser.

    Args:
        unet: a `UNet2DModel`, or a module that is called alike.
        scheduler: the configuration of its scheduler: betas, prediction_type, clip_sample,
            timestep_spacing; None for DDPM's defaults, and a warning that says them. Means are
            clipped to its clip_sample_range at each step where it says clip_sample.
        interpolate: ask for times between whole steps where the noise lies there; else the nearest
            step is asked for.
        name: where it comes from, for people.

    Raises:
        NetworkError: a process or a network of another kind, or diffusers is not installed.

    Example:
        >>> theirs = DiffusersDenoiser.load("google/ddpm-cifar10-32")
        >>> compare(theirs, ImageSet.load("cifar10"))
    """

    def __init__(
        self,
        unet: nn.Module,
        scheduler: dict[str, Any] | None = None,
        *,
        interpolate: bool = False,
        name: str = "diffusers network",
    ) -> None:
        config = _checked_config(unet, name)
        self._scheduler, self._clipped = _scheduler_of(scheduler or {}, name)
        predicted = str(self._scheduler.config.prediction_type)
        if predicted not in _PREDICTED:
            raise NetworkError(
                f"{name} predicts {predicted}. Give a network whose scheduler says one of "
                f"{', '.join(_PREDICTED)}."
            )
        if not scheduler:
            assumed = self._scheduler.config
            logger.warning(
                "%s came without a scheduler, so DDPM's defaults are assumed: %d steps, %s betas "
                "from %g to %g, a network that predicts %s, and means clipped to [-1, 1]",
                name, assumed.num_train_timesteps, assumed.beta_schedule, assumed.beta_start,
                assumed.beta_end, predicted,
            )  # fmt: skip
        channels, size = config.in_channels, config.sample_size
        height, width = size if isinstance(size, Sequence) else (size, size)
        super().__init__(
            _Sample(unet, channels),
            schedule=self._scheduler.alphas_cumprod.double().tolist(),
            time="step",
            whole_steps=not interpolate,
            name=name,
            image_shape=None if size is None else (channels, height, width),
            num_classes=config.num_class_embeds or 0,
        )
        self.predicted = _PREDICTED[predicted]

    @classmethod
    def load(cls, source: str, *, interpolate: bool = False) -> "DiffusersDenoiser":
        """The network of a folder, or of an id of the hub where the network allows.

        Args:
            source: a pipeline (with `unet` and `scheduler` in it), or a model with a
                `scheduler_config.json` beside its own or in a folder `scheduler`.

        Raises:
            NetworkError: there is none, or it is of another kind.
        """
        folder = at_home(source)
        if not folder.is_dir() and not _HUB_ID.fullmatch(source):
            raise NetworkError(
                f"diffusers:{source} is no folder, and no id of the hub (OWNER/NAME). Give a "
                "folder that `save_pretrained` of a UNet2DModel or of its pipeline wrote, or an id "
                "such as google/ddpm-cifar10-32."
            )
        diffusers = _library()
        pipeline = (folder / "unet").is_dir() or not folder.is_dir()
        try:
            unet = _load_unet(diffusers, source, folder, pipeline=pipeline)
            scheduler = _load_scheduler(diffusers, source, folder)
        except (OSError, ValueError, TypeError) as error:
            raise NetworkError(
                f"diffusers:{source} cannot be read ({reason(error)}). Give a folder that "
                "`save_pretrained` of a UNet2DModel or of its pipeline wrote, or an id of the hub."
            ) from error
        return cls(unet, scheduler, interpolate=interpolate, name=f"diffusers:{source}")

    def levels(self, steps: int) -> list[float]:
        """The noise levels of the scheduler's own steps, as its `timestep_spacing` places them."""
        if steps > len(self._scheduler.alphas_cumprod):
            raise NetworkError(
                f"{self.name} knows {len(self._scheduler.alphas_cumprod)} steps, but {steps} were "
                "asked for. Give no more."
            )
        self._scheduler.set_timesteps(steps)
        shares = self._scheduler.alphas_cumprod.double()[self._scheduler.timesteps.cpu()]
        return [noise_level(max(share, SMALLEST_ALPHA_BAR)) for share in shares.tolist()]

    def _mean(self, y: Images, sigma: PerState, label: Int[Tensor, " b"] | None) -> Images:
        """As the scheduler has it: clipped where its configuration says so."""
        mean = super()._mean(y, sigma, label)
        return mean if self._clipped is None else mean.clamp(-self._clipped, self._clipped)


class _Sample(nn.Module):
    """Calls the network as diffusers does, and takes the prediction out of its answer."""

    def __init__(self, unet: nn.Module, channels: int) -> None:
        super().__init__()
        self.unet, self.channels = unet.eval().requires_grad_(requires_grad=False), channels

    def forward(
        self,
        xt: Float[Tensor, "b c h w"],
        t: Float[Tensor, " b"] | Int[Tensor, " b"],
        label: Int[Tensor, " b"] | None = None,
    ) -> Float[Tensor, "b c h w"]:
        """The prediction; a network that learned variances too has them after it."""
        answer = self.unet(xt, t) if label is None else self.unet(xt, t, class_labels=label)
        found: Tensor = answer.sample
        return found[:, : self.channels]


def _library() -> Any:
    """The diffusers library."""
    try:
        import diffusers  # noqa: PLC0415 - an extra, and seconds to import
    except ImportError as error:
        raise NetworkError(
            f"diffusers cannot be imported ({error}). Install it: pip install "
            "'patchindex[diffusers]'."
        ) from error
    return diffusers


def _load_unet(diffusers: Any, source: str, folder: Path, *, pipeline: bool) -> nn.Module:
    """The network of a pipeline's folder `unet`, or of the folder itself."""
    load = diffusers.UNet2DModel.from_pretrained
    if folder.is_dir():
        where = folder / "unet" if pipeline else folder
        unet: nn.Module = load(str(where), local_files_only=True)
        return unet
    try:
        unet = load(source, subfolder="unet")
    except OSError:
        unet = load(source)  # a model that was saved without a pipeline
    return unet


def _load_scheduler(diffusers: Any, source: str, folder: Path) -> dict[str, Any]:
    """The configuration of the scheduler; DDPM's where there is none."""
    load = diffusers.DDPMScheduler.load_config
    if not folder.is_dir():
        try:
            found: dict[str, Any] = load(source, subfolder="scheduler")
        except OSError:
            found = load(source)
        return found
    for where in (folder / "scheduler", folder, folder.parent / "scheduler"):
        if (where / "scheduler_config.json").is_file():
            return dict(load(str(where)))
    return {}


def _scheduler_of(config: dict[str, Any], name: str) -> tuple[Any, float | None]:
    """The scheduler of DDIM with this process, and where it clips means, if it does."""
    kind = str(config.get("_class_name", "DDPMScheduler"))
    if kind.startswith(_OTHER_PROCESSES):
        raise NetworkError(
            f"{name} has a {kind}, whose noise is not that of DDPM. Give a network with a process "
            "of alpha_bar by steps, or wrap it: python:MODULE:FUNCTION."
        )
    library = _library()
    # a configuration lacks what is the default of the scheduler that it is of
    own = getattr(library, kind, library.DDPMScheduler)
    try:
        clips = own.from_config(config).config.get("clip_sample", False)
        scheduler = library.DDIMScheduler.from_config(config)
        shares = scheduler.alphas_cumprod
    except Exception as error:  # which depends on the library's version
        raise NetworkError(
            f"{name} has a {kind} that diffusers cannot make ({reason(error)}). Give the "
            "scheduler_config.json that was saved with it."
        ) from error
    if not bool(((shares > 0) & (shares < 1)).all()):
        raise NetworkError(
            f"{name} has a process whose alpha_bar is not between 0 and 1 at every step; with "
            "rescale_betas_zero_snr it ends at 0, where states in data units would be infinite. "
            "Give a network without that."
        )
    return scheduler, float(scheduler.config.clip_sample_range) if clips else None


def _checked_config(unet: nn.Module, name: str) -> Any:
    """The network's configuration, if it can be asked as a denoiser.

    Raises:
        NetworkError: it is told more than noisy images, times and classes, or returns others.
    """
    config = getattr(unet, "config", None)
    channels = getattr(config, "in_channels", None)
    if channels is None or config is None or getattr(config, "out_channels", None) not in (
        channels, 2 * channels,
    ):  # fmt: skip
        raise NetworkError(
            f"{name} is a {type(unet).__name__}, which does not return as many channels as it is "
            "given. Give a UNet2DModel of images."
        )
    if config.class_embed_type is not None:
        raise NetworkError(
            f"{name} embeds classes by {config.class_embed_type!r}. Give a network without "
            "classes, or with num_class_embeds; or wrap it: python:MODULE:FUNCTION."
        )
    return config
