"""Whether a network can be held against machines over some images."""

from patchindex import Boundary, ImageSet, PatchIndex
from sampler.errors import NetworkError, SamplerConfigError
from sampler.networks.network import Network


def check_fit(network: Network, images: ImageSet) -> None:
    """Raise NetworkError unless network and images have one shape, and labels where needed."""
    shape = (images.channels, images.height, images.width)
    config = network.config
    if shape != config.image_shape:
        raise NetworkError(
            f"{network.name} was trained on images of {'x'.join(map(str, config.image_shape))}, "
            f"but those of {images.name} are {'x'.join(map(str, shape))}. Give the images it was "
            "trained on, or another network."
        )
    if config.num_classes and images.num_classes != config.num_classes:
        raise NetworkError(
            f"{network.name} was trained with {config.num_classes} classes, but {images.name} has "
            f"{images.num_classes or 'no labels'}. Give the images it was trained on, or a network "
            "without labels."
        )


def boundary_for(network: Network) -> Boundary:
    """The boundary of the machine that sees borders as the network's padding does."""
    return "zeros" if network.config.padding == "zeros" else "circular"


def matching_boundary(
    network: Network, source: ImageSet | PatchIndex, asked: Boundary | None
) -> Boundary:
    """The boundary of the machine that is held against the network.

    Args:
        asked: what the user wants; None for what suits the network.

    Raises:
        SamplerConfigError: an index was built for another boundary, or another one is asked for.
    """
    boundary, padding = boundary_for(network), network.config.padding
    if isinstance(source, PatchIndex) and source.boundary != boundary:
        raise SamplerConfigError(
            f"{network.name} pads with {padding}, but the index was built for "
            f"boundary {source.boundary}. Give an index built with --boundary {boundary}."
        )
    if asked not in (None, boundary):
        raise SamplerConfigError(
            f"{network.name} pads with {padding}, but boundary {asked} was asked for. "
            f"Leave it out, or give {boundary}."
        )
    return boundary
