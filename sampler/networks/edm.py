"""Networks with the preconditioning of EDM (arXiv 2206.00364), whoever trained them."""

import re
from collections.abc import Callable, Mapping
from math import isfinite
from pathlib import Path
from typing import Unpack

import torch
from jaxtyping import Float, Int
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.func import functional_call

from sampler.denoiser import Images
from sampler.errors import NetworkError, reason
from sampler.networks.adapters import About, NetworkDenoiser
from sampler.networks.asking import ask_module
from sampler.networks.edm_modules import EDMNetwork

SIGMA_DATA = 0.5
_SUFFIXES = (".safetensors", ".pt", ".pth")
_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_IGNORED = "map_augment.weight"  # of augmentation labels, which are zero where one samples


class EDMDenoiser(NetworkDenoiser):
    """D(y, sigma) = c_skip y + c_out F(c_in y, c_noise) (arXiv 2206.00364, equation 7).

    The factors are those of table 1: c_skip = sd^2 / (sigma^2 + sd^2),
    c_out = sigma sd / sqrt(sigma^2 + sd^2), c_in = 1 / sqrt(sigma^2 + sd^2),
    c_noise = ln(sigma) / 4, where sd is `sigma_data`.

    Args:
        module: F, called with states, c_noise of each, and classes if it has any.
        sigma_data: standard deviation of the images that it was trained on.
        about: name, image_shape, num_classes, boundary, config: as for `NetworkDenoiser`.

    Raises:
        NetworkError: sigma_data that is none.

    Example:
        >>> denoiser = EDMDenoiser(unet, sigma_data=0.5, image_shape=(3, 32, 32))
        >>> sample(denoiser, noise, schedule="edm", steps=18)
    """

    def __init__(
        self,
        module: Callable[..., Tensor],
        *,
        sigma_data: float = SIGMA_DATA,
        **about: Unpack[About],
    ) -> None:
        if not (isfinite(sigma_data) and sigma_data > 0):
            raise NetworkError(
                f"sigma_data is {sigma_data}. Give the standard deviation of the images that the "
                f"network was trained on, above 0; EDM's own have {SIGMA_DATA}."
            )
        known = About(name=str(getattr(module, "__name__", type(module).__name__))) | about
        super().__init__(self._mean, schedule="edm", **known)
        self.module, self.sigma_data = module, sigma_data

    @property
    def device(self) -> torch.device | None:
        """Where the module is."""
        first = next(self.module.parameters(), None) if isinstance(self.module, nn.Module) else None
        return None if first is None else first.device

    def to(self, device: torch.device) -> "EDMDenoiser":
        """The same, its module moved there."""
        if isinstance(self.module, nn.Module):
            self.module.to(device)
        return self

    def _mean(
        self, y: Images, sigma: Float[Tensor, " b"], label: Int[Tensor, " b"] | None
    ) -> Images:
        """The posterior mean."""
        sigma = sigma.to("cpu", torch.float64)
        total = sigma**2 + self.sigma_data**2
        c_skip = self.sigma_data**2 / total
        c_out = sigma * self.sigma_data / total.sqrt()
        c_in = 1 / total.sqrt()
        like = next(self.module.parameters(), y) if isinstance(self.module, nn.Module) else y
        asked = {
            "x": (_per_image(c_in, y) * y).to(like),
            "c_noise": (sigma.log() / 4).to(like),
            "label": None if label is None else label.to(like.device),
        }
        out = ask_module(self.module, asked, who=f"{self.name} (EDMDenoiser)").to(y)
        return _per_image(c_skip, y) * y + _per_image(c_out, y) * out


def _per_image(factor: Float[Tensor, " b"], y: Images) -> Float[Tensor, "b 1 1 1"]:
    """A factor of each image, ready to be multiplied by it."""
    return factor.to(y)[:, None, None, None]


def edm_checkpoint(path: Path, *, sigma_data: float = SIGMA_DATA) -> EDMDenoiser:
    """The denoiser whose weights are at `path`: a DDPM++ network of EDM, such as CIFAR-10's.

    The file is the `state_dict()` of the network in a published .pkl, whose own code is not run
    here: as .safetensors, or as .pt, of which tensors alone are read.

    Raises:
        NetworkError: the file cannot be read, or its tensors are those of another network.

    Example:
        >>> denoiser = edm_checkpoint(Path("edm-cifar10-32x32-cond-vp.safetensors"))
        >>> denoiser.image_shape, denoiser.num_classes
        ((3, 32, 32), 10)
    """
    weights = _without_prefix(_read(path))
    _check_numbers(weights, path)
    weights.pop(_IGNORED, None)
    try:
        module = EDMNetwork({name: value.float() for name, value in weights.items()})
        module.requires_grad_(requires_grad=False).eval()
        _check_fit(module)
    except (RuntimeError, ValueError, TypeError) as error:
        raise NetworkError(
            f"weights {path} are of no DDPM++ network of EDM ({reason(error)}). Give the "
            "state_dict of one, such as edm-cifar10-32x32-cond-vp; NCSN++ and ADM have others."
        ) from error
    return EDMDenoiser(
        module,
        sigma_data=sigma_data,
        name=str(path),
        image_shape=module.image_shape,
        num_classes=module.num_classes,
        boundary="zeros",
    )


def _read(path: Path) -> dict[str, Tensor]:
    """The tensors of a file by their names."""
    if path.suffix not in _SUFFIXES:
        raise NetworkError(
            f"weights {path} are not stored as {', '.join(_SUFFIXES)}. Load a published .pkl with "
            "EDM's own code, and save the state_dict() of its network 'ema' as .safetensors."
        )
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        values = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle may raise any
        raise NetworkError(
            f"weights {path} cannot be read ({type(error).__name__}: {reason(error)}). Give a "
            "state_dict as .safetensors, or a .pt that torch.save wrote of tensors alone."
        ) from error
    if not isinstance(values, dict) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in values.items()
    ):
        raise NetworkError(
            f"weights {path} are no mapping of names to tensors. Give the network's state_dict()."
        )
    return dict(values)


def _without_prefix(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of the network inside the preconditioned one."""
    return {re.sub(r"^model\.", "", name): value for name, value in weights.items()}


def _check_numbers(weights: Mapping[str, Tensor], path: Path) -> None:
    """Raise NetworkError unless all are finite numbers, and no more than the file can hold."""
    if sum(value.numel() for value in weights.values()) > path.stat().st_size:
        raise NetworkError(
            f"weights {path} claim more numbers than the file holds. Give the network's "
            "state_dict() as it was saved."
        )
    for name, value in weights.items():
        plain = value.layout == torch.strided and value.dtype in _DTYPES and not value.is_meta
        if not plain or not bool(value.isfinite().all()):
            raise NetworkError(
                f"weights {path} hold something else than finite numbers in {name}. Give the "
                "network's state_dict() as it was saved."
            )


def _check_fit(module: EDMNetwork) -> None:
    """Raise RuntimeError, ValueError or TypeError unless the layers fit; computes no numbers."""
    on_meta = {name: value.to("meta") for name, value in module.named_parameters()}
    y, c_noise = torch.empty(2, *module.image_shape, device="meta"), torch.empty(2, device="meta")
    label = torch.zeros(2, dtype=torch.int64, device="meta") if module.num_classes else None
    out = functional_call(module, on_meta, (y, c_noise, label))
    if out.shape != y.shape:
        raise ValueError("its output has another shape than its input")
