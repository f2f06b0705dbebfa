"""How alike two sets of images are: the three measures that the literature calls r^2, by name."""

from jaxtyping import Float
from torch import Tensor


def pearson_r(a: Float[Tensor, "b *shape"], b: Float[Tensor, "b *shape"]) -> Float[Tensor, " b"]:
    """Pearson correlation of each image over all its values: what the paper's code calls r^2."""
    a, b = centered(a), centered(b)
    r: Float[Tensor, " b"] = (a * b).sum(-1) / (a.norm(dim=-1) * b.norm(dim=-1))
    return r


def coefficient_of_determination(
    estimate: Float[Tensor, "b *shape"], exact: Float[Tensor, "b *shape"]
) -> Float[Tensor, " b"]:
    """R2 = 1 - SSE / SST of each image, SST about the exact image's own mean."""
    error = (estimate.double() - exact.double()).flatten(1)
    return 1 - error.square().sum(-1) / centered(exact).square().sum(-1)


def centered(images: Float[Tensor, "b *shape"]) -> Float[Tensor, "b d"]:
    """Each image as a float64 vector less its mean."""
    flat = images.double().flatten(1)
    return flat - flat.mean(-1, keepdim=True)
