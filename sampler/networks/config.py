"""What a network is made of: its architecture, its sizes, what it sees; and presets by name."""

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

from sampler.choices import Architecture, Padding, Preset
from sampler.errors import NetworkError

Prediction = Literal["noise", "velocity"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkSizes:
    """How large a network is.

    Attributes:
        widths: channels inside; one number for a ResNet, one per scale, finest first, for a UNet.
        depth: middle convolutions of a ResNet; convolutions of a block of a UNet.
        embedding: length of the vector that tells time and class.
    """

    widths: tuple[int, ...]
    depth: int
    embedding: int


# "paper" is arXiv 2412.20292, appendix C.1: 8 convolutions of 256 channels, so that a pixel sees
# 17 x 17; three scales of 64, 128 and 256. Its network with self-attention was another group's.
PRESETS: dict[Architecture, dict[Preset, NetworkSizes]] = {
    "resnet": {
        "small": NetworkSizes(widths=(64,), depth=6, embedding=64),
        "paper": NetworkSizes(widths=(256,), depth=6, embedding=256),
    },
    "unet": {
        "small": NetworkSizes(widths=(32, 64, 128), depth=2, embedding=64),
        "paper": NetworkSizes(widths=(64, 128, 256), depth=2, embedding=256),
    },
    "unet_attention": {
        "small": NetworkSizes(widths=(32, 64, 128), depth=2, embedding=64),
        "paper": NetworkSizes(widths=(64, 128, 256), depth=2, embedding=256),
    },
}


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkConfig:
    """Everything that determines a network besides its weights.

    Attributes:
        padding: what convolutions meet beyond the border.
        channels, height, width: of the images.
        sizes: see `NetworkSizes`.
        num_classes: 0 for a network without labels.
        prediction: what the layers compute: eps, as in the paper, or v = sqrt(alpha_bar) eps -
            sqrt(1 - alpha_bar) x0, of which eps follows exactly. At t = 0.95 the posterior mean
            is the small difference of xt and eps, and a network must learn eps to a hundredth for
            a mean of use; learned from v it is right soon (arXiv 2202.00512, appendix D).
    """

    architecture: Architecture
    padding: Padding
    channels: int
    height: int
    width: int
    sizes: NetworkSizes
    num_classes: int = 0
    prediction: Prediction = "noise"

    def __post_init__(self) -> None:
        checked_choice("architecture", self.architecture, get_args(Architecture))
        checked_choice("padding", self.padding, get_args(Padding))
        checked_choice("prediction", self.prediction, get_args(Prediction))
        _check_sizes(self)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width."""
        return self.channels, self.height, self.width

    @property
    def kind(self) -> str:
        """Architecture and padding in words."""
        return f"{self.architecture} ({self.padding})"

    @classmethod
    def from_values(cls, values: dict[str, Any], origin: str) -> "NetworkConfig":
        """The configuration that `values()` gave these values of.

        Args:
            origin: where they were read, for messages.

        Raises:
            NetworkError: keys missing or unknown, or values that no network can have.
        """
        try:
            sizes = NetworkSizes(**values["sizes"] | {"widths": tuple(values["sizes"]["widths"])})
            return cls(**values | {"sizes": sizes})
        except NetworkError as error:
            raise NetworkError(f"{origin} describes no network: {error}") from error
        except (TypeError, KeyError) as error:
            raise NetworkError(
                f"{origin} describes no network ({error}). It must have the keys "
                f"{', '.join(field.name for field in fields(cls))}, as `sampler train` writes them."
            ) from error

    def values(self) -> dict[str, Any]:
        """Everything as JSON can hold it."""
        return asdict(self)


def preset_sizes(architecture: str, preset: str) -> NetworkSizes:
    """Sizes by name.

    Raises:
        NetworkError: no such architecture or preset.
    """
    checked_choice("architecture", architecture, get_args(Architecture))
    checked_choice("preset", preset, get_args(Preset))
    return PRESETS[architecture][preset]  # type: ignore[index]  # checked just now


def checked_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Raise NetworkError unless the value is one of the choices."""
    if value not in choices:
        raise NetworkError(f"{name} is {value!r}. Give one of {', '.join(choices)}.")


def _check_sizes(config: NetworkConfig) -> None:
    """Raise NetworkError unless a network of these sizes can be built for these images."""
    sizes = config.sizes
    numbers = (*sizes.widths, sizes.depth, sizes.embedding, *config.image_shape)
    # exactly int: True, 1.0 and "1" would pass for 1 here, and fail somewhere inside torch
    whole = all(type(number) is int for number in (*numbers, config.num_classes))
    if not sizes.widths or not whole or min(numbers) < 1 or config.num_classes < 0:
        raise NetworkError(
            f"sizes {sizes} for images of {config.image_shape} and {config.num_classes!r} classes "
            "are not all positive. Give whole numbers above zero, and 0 for no classes."
        )
    if config.architecture == "resnet":
        if len(sizes.widths) != 1:
            raise NetworkError(f"a ResNet has one width, but widths are {sizes.widths}. Give one.")
        return
    shrink = 2 ** (len(sizes.widths) - 1)
    if config.height % shrink or config.width % shrink:
        raise NetworkError(
            f"images of {config.height}x{config.width} cannot be halved {len(sizes.widths) - 1} "
            f"times, as this UNet does. Give a --resolution that {shrink} divides, or a ResNet."
        )
