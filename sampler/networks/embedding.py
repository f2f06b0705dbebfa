"""How a network learns of time and class: one vector for both, turned into shifts of channels."""

from math import log

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

# radians over t in [0, 1]: neighbors among 20 noise levels differ by up to 5 at the fast end
SLOWEST, FASTEST = 1.0, 100.0
GROUPS = 8


class TimeEmbedding(nn.Module):
    """Sines and cosines of t, plus a learned vector per class."""

    frequencies: Tensor

    def __init__(self, size: int, num_classes: int) -> None:
        super().__init__()
        frequencies = torch.linspace(log(SLOWEST), log(FASTEST), (size + 1) // 2).exp()
        self.register_buffer("frequencies", frequencies, persistent=False)
        self.size = size
        self.classes = nn.Embedding(num_classes, size) if num_classes else None

    def forward(self, t: Float[Tensor, " b"], label: Int[Tensor, " b"] | None) -> Tensor:
        """The vectors [b, size]."""
        angles = t[:, None] * self.frequencies
        embedding = torch.cat([angles.sin(), angles.cos()], dim=-1)[:, : self.size]
        return embedding if self.classes is None else embedding + self.classes(label)


class ChannelShift(nn.Module):
    """A number per channel from the vector of time and class, added at every pixel.

    Linear, normalized in groups, ReLU: as in the paper's networks (arXiv 2412.20292, C.1).
    """

    def __init__(self, embedding: int, width: int) -> None:
        super().__init__()
        # of one or two channels normalization leaves nothing or signs, and time would be forgotten
        groups = GROUPS if width % GROUPS == 0 and width >= 4 * GROUPS else 1
        self.layers = nn.Sequential(
            nn.Linear(embedding, width), nn.GroupNorm(groups, width), nn.ReLU()
        )

    def forward(
        self, state: Float[Tensor, "b w h v"], embedding: Float[Tensor, "b e"]
    ) -> Float[Tensor, "b w h v"]:
        """The shifted state."""
        shift: Tensor = self.layers(embedding)
        return state + shift[:, :, None, None]
