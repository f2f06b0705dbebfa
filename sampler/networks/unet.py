"""The paper's UNet: residual blocks at several scales; optionally with self-attention."""

from itertools import pairwise

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from sampler.networks.attention import SelfAttention
from sampler.networks.config import NetworkConfig
from sampler.networks.embedding import ChannelShift, TimeEmbedding
from sampler.networks.resnet import conv3x3


class UNet(nn.Module):
    """Predicts what is in xt (arXiv 2412.20292, appendix C.1).

    A block per scale on the way down and up, maximum pooling between them, transposed 2x2
    convolutions back; the way up sees each scale's state of the way down. With self-attention
    every block but those of the finest scale lets all pixels look at all others.
    """

    def __init__(self, config: NetworkConfig, *, attention: bool = False) -> None:
        super().__init__()
        widths = config.sizes.widths
        self.embedding = TimeEmbedding(config.sizes.embedding, config.num_classes)
        self.down = nn.ModuleList(
            Block(before, width, config, attention=attention and scale > 0)
            for scale, (before, width) in enumerate(pairwise((config.channels, *widths)))
        )
        coarser = list(enumerate(pairwise(widths)))[::-1]
        self.enlarge = nn.ModuleList(
            nn.ConvTranspose2d(coarse, fine, 2, stride=2) for _, (fine, coarse) in coarser
        )
        self.up = nn.ModuleList(
            Block(2 * fine, fine, config, attention=attention and scale > 0)
            for scale, (fine, _) in coarser
        )
        self.last = conv3x3(widths[0], config.channels, config)

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


class Block(nn.Module):
    """Convolutions with ReLU, a residual around all of them, and perhaps attention after."""

    def __init__(
        self, channels: int, width: int, config: NetworkConfig, *, attention: bool
    ) -> None:
        super().__init__()
        self.shift = ChannelShift(config.sizes.embedding, width)
        self.project = nn.Conv2d(channels, width, 1)
        self.convolutions = nn.ModuleList(
            conv3x3(before, width, config)
            for before, _ in pairwise([channels, *[width] * config.sizes.depth])
        )
        self.attention = SelfAttention(width) if attention else nn.Identity()

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
