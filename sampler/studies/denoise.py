"""One-step denoising of held-out images: the error of each theory, and of a network, by noise.

A held-out image x0 becomes y = x0 + sigma eps, with the same eps at every sigma and for every
denoiser, so that errors can be compared in pairs. The error is that of the posterior mean, which is
not clipped.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from time import perf_counter

import torch
from jaxtyping import Float, Int
from torch import Tensor

from patchindex import ImageSet, PatchIndex
from patchindex.crew import watched
from patchindex.device import CPU, describe_device, wait_for
from patchindex.environment import library_versions
from patchindex.images import to_uint8
from sampler.choices import DENOISE_IMAGES, DENOISE_SIGMAS, DENOISERS
from sampler.denoiser import Denoiser, Images, of_class
from sampler.errors import SamplerConfigError
from sampler.follower import Follower
from sampler.networks import NetworkDenoiser, as_network, check_fit, matching_boundary
from sampler.noise import initial_noise
from sampler.results.denoise_result import (
    DENOISE_FILE,
    DenoisedLevel,
    DenoiseResult,
    DenoiseSettings,
    MeanOverImages,
)
from sampler.results.json_files import write_json
from sampler.results.output import write_whole
from sampler.results.run_result import SamplerConfig
from sampler.results.source_result import ScalesResult
from sampler.results.tables import denoising_lines
from sampler.run import boundary_of, describe_source
from sampler.schedule import plan_steps
from sampler.studies.compare import theory
from sampler.studies.locality_baselines import BASELINES, check_names, published_side
from sampler.studies.metrics import coefficient_of_determination
from sampler.studies.trial import scales_beside, try_network

logger = logging.getLogger(__name__)

_ELS, _NETWORK = "els", "network"
_MANY_IMAGES = SamplerConfig(num=DENOISE_IMAGES, sigmas=DENOISE_SIGMAS)
# Called with the name of a denoiser, the noise levels it has done, and how many there are.
_OnStep = Callable[[str, float, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class DenoiseConfig:
    """What is measured, besides images and network.

    Attributes:
        sampling: of the machines: retrieval settings, scales, sigmas, number of images and seed.
            Without sigmas there are eight from 10 to 0.05. A label keeps images of this class only.
        denoisers: some of is, ls, els, wiener, lukoianov, pspc.
    """

    sampling: SamplerConfig = _MANY_IMAGES
    denoisers: tuple[str, ...] = DENOISERS

    def __post_init__(self) -> None:
        check_names("denoisers", self.denoisers, DENOISERS)
        if self.sampling.sigmas is None:
            object.__setattr__(self, "sampling", replace(self.sampling, sigmas=DENOISE_SIGMAS))

    @property
    def sigmas(self) -> tuple[float, ...]:
        """The noise levels, falling."""
        return self.sampling.sigmas or DENOISE_SIGMAS


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DenoiseRun:
    """A finished study.

    Attributes:
        errors: mean squared error of each image at each noise level, by denoiser.
        result: what `denoise.json` holds.
    """

    errors: Mapping[str, Float[Tensor, "t b"]]
    result: DenoiseResult

    def __str__(self) -> str:
        """The table, as the command prints it."""
        return "\n".join(denoising_lines(self.result))

    def write(self, folder: Path) -> None:
        """Put denoise.png and denoise.json into a folder.

        Raises:
            OutputError: it cannot be written.
        """
        # matplotlib takes most of a second to import, which no other command should wait for
        from sampler.results.denoise_figure import denoise_figure  # noqa: PLC0415
        from sampler.results.style import save_figure  # noqa: PLC0415

        folder.mkdir(parents=True, exist_ok=True)
        figure = denoise_figure(self.result)
        files: dict[str, Callable[[Path], object]] = {
            "denoise.png": lambda path: save_figure(figure, path),
            DENOISE_FILE: lambda path: write_json(self.result, path),
        }
        write_whole(files, folder, last=DENOISE_FILE)


def denoise_held_out(
    training_set: ImageSet | PatchIndex,
    held_out: Images,
    *,
    network: NetworkDenoiser | Denoiser | None = None,
    config: DenoiseConfig | None = None,
    label: Int[Tensor, " b"] | None = None,
    origin: str | None = None,
    on_step: _OnStep | None = None,
    device: torch.device = CPU,
) -> DenoiseRun:
    """Measure how well machines, baselines and a network denoise images that they do not hold.

    Args:
        training_set: images, over which all machines sum exactly; or an index, from which ELS
            retrieves.
        held_out: in [-1, 1], none of them in the training set; says so if some are.
        network: another denoiser (y, sigma) -> mean of x0 given y = x0 + sigma eps, as any adapter
            of `sampler.networks` makes one; ELS and LS have its boundary and scales then.
        config: None for the default one; `num` is that of the held-out images.
        label: class of each held-out image, which a network with classes is told, and nothing else.
        origin: name of the set that they come from; None where they were held out of training.
        on_step: told of each denoiser's noise levels.
        device: where everything computes.

    Raises:
        UserError: images or a network of another shape, or a setting that these do not admit.

    Example:
        >>> held, rest = hold_out(ImageSet.load("mnist"), 64, seed=0)
        >>> found = denoise_held_out(rest, held)
        >>> found.result.levels["els"][0].error.mean
        >>> found.write(Path("runs/denoised"))
    """
    start, config = perf_counter(), config or DenoiseConfig()
    images, sampling = training_set.images, config.sampling
    _check_held_out(held_out, images)
    known = None if network is None else as_network(network)
    if known is None:
        boundary = boundary_of(training_set, sampling)
    else:
        check_fit(known, images)
        boundary = matching_boundary(known, training_set, sampling.boundary)
    machines = theory(training_set, sampling, boundary)
    scales = scales_beside(known, machines[_ELS], training_set, sampling, boundary)
    plan = plan_steps(scales.patch_sizes, 1, config.sigmas, sigmas=scales.sigmas)
    sizes = {sigma: step.patch_size for sigma, step in zip(config.sigmas, plan, strict=True)}
    among = None if sampling.label is None else torch.full((len(held_out),), sampling.label)
    makers: dict[str, Callable[[], Denoiser]] = {
        name: partial(Follower, machine, among, sizes) for name, machine in machines.items()
    } | {name: partial(make, images, among, device) for name, make in BASELINES.items()}
    asked = {name: makers[name] for name in config.denoisers}
    if known is not None:
        told = _told_labels(known, label)
        try_network(known, images, config.sigmas, device)
        asked[_NETWORK] = lambda: of_class(known, told)
    clean = held_out.to(device)
    noise = initial_noise(len(clean), images, sampling.seed).to(clean)
    measured = _Measured.by_each(asked, clean, noise, config.sigmas, on_step)
    side = min(images.height, images.width)
    compared: dict[str, Callable[[float], int | None]] = {
        "ls": sizes.__getitem__,
        "els": sizes.__getitem__,
        "pspc": lambda sigma: min(published_side(sigma), side),
    }
    result = DenoiseResult(
        config=DenoiseSettings(
            **asdict(replace(sampling, num=len(held_out), boundary=boundary)),
            denoisers=config.denoisers,
        ),
        network=None if known is None else known.name,
        network_labels=known is not None and known.num_classes > 0,
        held_out=origin,
        scales=ScalesResult.of(scales),
        source=describe_source(training_set),
        device=describe_device(device),
        seconds=perf_counter() - start,
        levels={
            name: _levels(found, measured.get(_ELS), config.sigmas, compared.get(name))
            for name, found in measured.items()
        },
        errors={name: tuple(map(tuple, found.errors.tolist())) for name, found in measured.items()},
        versions=library_versions(),
    )
    return DenoiseRun(
        errors={name: found.errors for name, found in measured.items()}, result=result
    )


def _check_held_out(held_out: Images, images: ImageSet) -> None:
    """Raise SamplerConfigError unless these are images like the training images; say which are."""
    expected = (images.channels, images.height, images.width)
    if held_out.ndim != 4 or held_out.shape[1:] != expected or not len(held_out):
        raise SamplerConfigError(
            f"held-out images have shape {tuple(held_out.shape)}, but those of {images.name} are "
            f"{'x'.join(map(str, expected))}. Give shape [b, {', '.join(map(str, expected))}]."
        )
    if not held_out.isfinite().all() or held_out.abs().max() > 1:
        raise SamplerConfigError(
            "held-out images have values outside [-1, 1]. Give images in [-1, 1], black is -1."
        )
    held = {image.tobytes() for image in to_uint8(held_out.cpu())}
    twins = held.intersection(image.tobytes() for image in images.pixels)
    if twins:
        logger.warning(
            "%d of %d held-out images are among the training images, which IS gives back",
            len(twins), len(held_out),
        )  # fmt: skip


def _told_labels(
    network: NetworkDenoiser, label: Int[Tensor, " b"] | None
) -> Int[Tensor, " b"] | None:
    """The classes that the network is told: those of the images if it has classes, and says so."""
    told = label if network.num_classes else None
    network.check_labels(told)
    if told is not None:
        logger.info("the network is told the class of each image; nothing else is")
    return told


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Measured:
    """What a denoiser did at each noise level: error and R2 of each image, seconds of all."""

    errors: Float[Tensor, "t b"]
    R2: Float[Tensor, "t b"]
    seconds: tuple[float, ...]

    @classmethod
    def by_each(
        cls,
        makers: Mapping[str, Callable[[], Denoiser]],
        held_out: Images,
        noise: Images,
        sigmas: tuple[float, ...],
        on_step: _OnStep | None,
    ) -> "dict[str, _Measured]":
        """All denoisers, one after the other, so that one at a time is in memory."""
        found = {}
        for name, make in makers.items():
            tell = None if on_step is None else partial(on_step, name)
            found[name] = cls._of(make(), held_out, noise, sigmas, tell)
        return found

    @classmethod
    def _of(
        cls,
        denoiser: Denoiser,
        held_out: Images,
        noise: Images,
        sigmas: tuple[float, ...],
        tell: Callable[[float, int], None] | None,
    ) -> "_Measured":
        """One denoiser at all noise levels, the highest first, as retrieval goes on from it."""
        errors, determined, seconds = [], [], []
        for number, sigma in enumerate(sigmas, 1):
            start = perf_counter()
            with watched(partial(_tell_share, tell, number - 1, len(sigmas))):
                mean = denoiser(held_out + sigma * noise, sigma)
            wait_for(held_out.device)
            seconds.append(perf_counter() - start)
            errors.append((mean.double() - held_out.double()).square().flatten(1).mean(1))
            determined.append(coefficient_of_determination(mean, held_out))
            if tell is not None:
                tell(number, len(sigmas))
        return cls(
            errors=torch.stack(errors).cpu(),
            R2=torch.stack(determined).cpu(),
            seconds=tuple(seconds),
        )


def _tell_share(
    tell: Callable[[float, int], None] | None, done: int, total: int, share: float
) -> None:
    """Tell of a noise level that is done in part."""
    if tell is not None:
        tell(done + share, total)


def _levels(
    found: _Measured,
    els: _Measured | None,
    sigmas: tuple[float, ...],
    compared: Callable[[float], int | None] | None,
) -> tuple[DenoisedLevel, ...]:
    """What was measured at each noise level, as the file holds it."""
    return tuple(
        DenoisedLevel(
            sigma=sigma,
            patch_size=None if compared is None else compared(sigma),
            error=MeanOverImages.of(found.errors[at]),
            beyond_els=(
                None
                if els is None or els is found
                else MeanOverImages.of(found.errors[at] - els.errors[at])
            ),
            R2=float(found.R2[at].quantile(0.5)),
            seconds=found.seconds[at],
        )
        for at, sigma in enumerate(sigmas)
    )
