"""The networks of the paper: ResNet, UNet, and UNet with self-attention."""

from itertools import pairwise
from math import log

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from sampler.networks.config import NetworkConfig

# radians over t in [0, 1]: neighbors among 20 noise levels differ by up to 5 at the fast end
SLOWEST, FASTEST = 1.0, 100.0
GROUPS = 8  # of channels that are normalized together
HEAD_CHANNELS = 32  # of an attention head


class _TimeEmbedding(nn.Module):
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


class _ChannelShift(nn.Module):
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


class _SelfAttention(nn.Module):
    """state + projection of softmax(q k) v, with heads of 32 channels over normalized groups."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = max(1, width // HEAD_CHANNELS)
        self.normalize = nn.GroupNorm(GROUPS if width % GROUPS == 0 else 1, width)
        self.queries_keys_values = nn.Conv2d(width, 3 * width, 1)
        self.project = nn.Conv2d(width, width, 1)

    def forward(self, state: Float[Tensor, "b w h v"]) -> Float[Tensor, "b w h v"]:
        """The state that has looked around."""
        parts = self.queries_keys_values(self.normalize(state))
        query, key, value = rearrange(
            parts, "b (three heads c) h v -> three b heads (h v) c", three=3, heads=self.heads
        )
        seen = functional.scaled_dot_product_attention(query, key, value)
        together = rearrange(seen, "b heads (h v) c -> b (heads c) h v", h=state.shape[2])
        out: Tensor = state + self.project(together)
        return out


class ResNet(nn.Module):
    """Predicts what is in xt; a pixel sees 2 (depth + 2) + 1 pixels each way across.

    Into `width` channels, `depth` times state + ReLU(conv(state + shift)), and back
    (arXiv 2412.20292, appendix C.1); no normalization of the state.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        (width,), depth = config.sizes.widths, config.sizes.depth
        self.embedding = _TimeEmbedding(config.sizes.embedding, config.num_classes)
        self.first = _conv3x3(config.channels, width, config)
        self.middle = nn.ModuleList(_conv3x3(width, width, config) for _ in range(depth))
        self.last = _conv3x3(width, config.channels, config)
        self.shifts = nn.ModuleList(
            _ChannelShift(config.sizes.embedding, width) for _ in range(depth + 1)
        )

    def forward(
        self,
        xt: Float[Tensor, "b c h w"],
        t: Float[Tensor, " b"],
        label: Int[Tensor, " b"] | None = None,
    ) -> Float[Tensor, "b c h w"]:
        """The prediction: noise, or velocity if the configuration says so."""
        embedding = self.embedding(t, label)
        state = self.first(xt)
        for convolution, shift in zip(self.middle, self.shifts, strict=False):
            state = state + convolution(shift(state, embedding)).relu()
        noise: Tensor = self.last(self.shifts[-1](state, embedding))
        return noise


def _conv3x3(channels: int, out: int, config: NetworkConfig) -> nn.Conv2d:
    """A 3x3 convolution that keeps the size, with the network's padding."""
    return nn.Conv2d(channels, out, 3, padding=1, padding_mode=config.padding)


class UNet(nn.Module):
    """Predicts what is in xt (arXiv 2412.20292, appendix C.1).

    A block per scale on the way down and up, maximum pooling between them, transposed 2x2
    convolutions back; the way up sees each scale's state of the way down. With self-attention
    every block but those of the finest scale lets all pixels look at all others.
    """

    def __init__(self, config: NetworkConfig, *, attention: bool = False) -> None:
        super().__init__()
        widths = config.sizes.widths
        self.embedding = _TimeEmbedding(config.sizes.embedding, config.num_classes)
        self.down = nn.ModuleList(
            _Block(before, width, config, attention=attention and scale > 0)
            for scale, (before, width) in enumerate(pairwise((config.channels, *widths)))
        )
        coarser = list(enumerate(pairwise(widths)))[::-1]
        self.enlarge = nn.ModuleList(
            nn.ConvTranspose2d(coarse, fine, 2, stride=2) for _, (fine, coarse) in coarser
        )
        self.up = nn.ModuleList(
            _Block(2 * fine, fine, config, attention=attention and scale > 0)
            for scale, (fine, _) in coarser
        )
        self.last = _conv3x3(widths[0], config.channels, config)

    def forward(
        self,
        xt: Float[Tensor, "b c h w"],
        t: Float[Tensor, " b"],
        label: Int[Tensor, " b"] | None = None,
    ) -> Float[Tensor, "b c h w"]:
        """The prediction: noise, or velocity if the configuration says so."""
        embedding = self.embedding(t, label)
        states = [self.down[0](xt, embedding)]
        for block in self.down[1:]:
            states.append(block(functional.max_pool2d(states[-1], 2), embedding))
        state = states.pop()
        for enlarge, block in zip(self.enlarge, self.up, strict=True):
            state = block(torch.cat([states.pop(), enlarge(state)], dim=1), embedding)
        noise: Tensor = self.last(state)
        return noise


class _Block(nn.Module):
    """Convolutions with ReLU, a residual around all of them, and perhaps attention after."""

    def __init__(
        self, channels: int, width: int, config: NetworkConfig, *, attention: bool
    ) -> None:
        super().__init__()
        self.shift = _ChannelShift(config.sizes.embedding, width)
        self.project = nn.Conv2d(channels, width, 1)
        self.convolutions = nn.ModuleList(
            _conv3x3(before, width, config)
            for before, _ in pairwise([channels, *[width] * config.sizes.depth])
        )
        self.attention = _SelfAttention(width) if attention else nn.Identity()

    def forward(
        self, state: Float[Tensor, "b v h w"], embedding: Float[Tensor, "b e"]
    ) -> Float[Tensor, "b u h w"]:
        """The block's state, with `width` channels."""
        first, *others = self.convolutions
        hidden = self.shift(first(state).relu(), embedding)
        for convolution in others:
            hidden = convolution(hidden).relu()
        out: Tensor = self.attention(hidden + self.project(state))
        return out
