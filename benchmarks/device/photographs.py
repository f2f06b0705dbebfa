"""As many real images of any size as a measurement asks for, from those that are at hand."""

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from patchindex import ImageSet
from patchindex.datasets import find_files, load_card

PREFERRED = ("cifar10", "fashion_mnist", "sample")
BLOCK = 2048


def images_at_hand(name: str | None) -> ImageSet:
    """The dataset with this name, or the first of PREFERRED whose files are on this machine."""
    chosen = name or next(name for name in PREFERRED if find_files(load_card(name)))
    return ImageSet.load(chosen)


def enough_images(images: ImageSet, num: int, side: int, device: torch.device) -> ImageSet:
    """The first images where they are 3 x side x side and so many, else mixtures of them."""
    if images.pixels.shape[1:] == (3, side, side) and len(images) >= num:
        return ImageSet.from_array(images.pixels[:num], name=images.name)
    return mixtures(images, num, side, seed=0, device=device)


def mixtures(images: ImageSet, num: int, side: int, *, seed: int, device: torch.device) -> ImageSet:
    """Images 3 x side x side: each mixes crops of two images, in other shares in each channel.

    Crops are from the plane that is tiled with an image and its mirror images, so that they have no
    seams. Without the mixing the same patches would come back in shifted copies of one image.
    """
    generator = torch.Generator().manual_seed(seed)
    pixels, blocks = images.tensor.to(device), []
    for start in range(0, num, BLOCK):
        count = min(BLOCK, num - start)
        first, second = (mirrored_crops(pixels, count, side, generator) for _ in range(2))
        share = torch.rand(count, 3, 1, 1, generator=generator).to(device)
        mixed = share * first.float() + (1 - share) * second.float()
        blocks.append(mixed.round().to(torch.uint8).cpu())
    name = f"mixtures of {images.name}"
    return ImageSet.from_array(torch.cat(blocks).numpy(), name=name)


def mirrored_crops(
    pixels: UInt8[Tensor, "n c h w"], count: int, side: int, generator: torch.Generator
) -> UInt8[Tensor, "m c side side"]:
    """Crops at random places of random images, each continued by its mirror images."""
    n, _, height, width = pixels.shape
    chosen = torch.randint(n, (count, 1, 1, 1), generator=generator)
    channel = torch.arange(3)[None, :, None, None] % pixels.shape[1]
    rows = mirrored(torch.randint(2 * height, (count, 1), generator=generator), side, height)
    cols = mirrored(torch.randint(2 * width, (count, 1), generator=generator), side, width)
    places = (chosen, channel, rows[:, None, :, None], cols[:, None, None, :])
    return pixels[tuple(place.to(pixels.device) for place in places)]


def mirrored(start: Int[Tensor, "m 1"], side: int, size: int) -> Int[Tensor, "m side"]:
    """Coordinates that go back and forth over an axis, from these places."""
    at = (start + torch.arange(side)) % (2 * size)
    return torch.minimum(at, 2 * size - 1 - at)


def noisy(
    clean: Float[Tensor, "b c h w"], alpha_bar: float, *, seed: int
) -> Float[Tensor, "b c h w"]:
    """Xt = sqrt(alpha_bar) x0 + sqrt(1 - alpha_bar) eps."""
    eps = torch.randn(clean.shape, generator=torch.Generator().manual_seed(seed))
    xt: Float[Tensor, "b c h w"] = alpha_bar**0.5 * clean + (1 - alpha_bar) ** 0.5 * eps.to(
        clean.device
    )
    return xt
