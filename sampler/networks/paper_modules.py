"""The released networks of the paper as modules (arXiv 2412.20292, appendix C.1)."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

SLOWEST = 10_000  # that the frequencies of time are divided by at most


class TimeEmbedding(nn.Module):
    """sin and cos of t / 10000^(i / (d/2 - 1)), plus a learned vector per class.

    Args:
        size: d, even.
        classes: the vectors; None without labels.
    """

    def __init__(self, size: int, classes: nn.Module | None) -> None:
        super().__init__()
        self.size, self.classes = size, classes

    def forward(
        self, t: Float[Tensor, " b"], label: Int[Tensor, " b"] | None
    ) -> Float[Tensor, "b d"]:
        """The vectors."""
        half = self.size // 2
        exponents = torch.arange(half, device=t.device) / (half - 1)
        angles = t[:, None] / SLOWEST**exponents
        embedding = torch.cat([angles.sin(), angles.cos()], dim=1)
        return embedding if self.classes is None else embedding + self.classes(label)


class PaperResNet(nn.Module):
    """state + ReLU(conv(state + shift of time)), between a first and a last convolution.

    Args:
        shifts: of time, one for each of `middle`; one more is added before `last`, and where there
            is none the state is doubled there, as the authors' code has it.
    """

    def __init__(
        self,
        *,
        embedding: TimeEmbedding,
        first: nn.Module,
        shifts: nn.ModuleList,
        middle: nn.ModuleList,
        last: nn.Module,
    ) -> None:
        super().__init__()
        self.embedding, self.first, self.last = embedding, first, last
        self.shifts, self.middle = shifts, middle

    def forward(
        self,
        xt: Float[Tensor, "b c h w"],
        t: Float[Tensor, " b"],
        label: Int[Tensor, " b"] | None = None,
    ) -> Float[Tensor, "b c h w"]:
        """The predicted noise."""
        embedding = self.embedding(t, label)
        state = self.first(xt)
        for layers, shift in zip(self.middle, self.shifts, strict=False):
            state = state + layers(state + shift(embedding)[:, :, None, None])
        extra = len(self.shifts) > len(self.middle)
        state = state + (self.shifts[-1](embedding)[:, :, None, None] if extra else state)
        noise: Tensor = self.last(state)
        return noise


class Block(nn.Module):
    """layers(state + shift of time)."""

    def __init__(self, *, shift: nn.Module, layers: nn.Module) -> None:
        super().__init__()
        self.shift, self.layers = shift, layers

    def forward(
        self, state: Float[Tensor, "b v h w"], embedding: Float[Tensor, "b d"]
    ) -> Float[Tensor, "b u h w"]:
        """The block's state."""
        out: Tensor = self.layers(state + self.shift(embedding)[:, :, None, None])
        return out


class PaperUNet(nn.Module):
    """A block per scale on the way down and up, each of the latter with the state of the former.

    Args:
        down: blocks of all scales but the coarsest, the finest first.
        enlarge, up: what doubles the sides, and the blocks after it, the coarsest first.
        shift: of time, before the last convolution.
    """

    def __init__(
        self,
        *,
        embedding: TimeEmbedding,
        down: nn.ModuleList,
        bottom: Block,
        enlarge: nn.ModuleList,
        up: nn.ModuleList,
        shift: nn.Module,
        last: nn.Module,
    ) -> None:
        super().__init__()
        self.embedding, self.down, self.bottom = embedding, down, bottom
        self.enlarge, self.up, self.shift, self.last = enlarge, up, shift, last

    def forward(
        self,
        xt: Float[Tensor, "b c h w"],
        t: Float[Tensor, " b"],
        label: Int[Tensor, " b"] | None = None,
    ) -> Float[Tensor, "b c h w"]:
        """The predicted noise."""
        embedding = self.embedding(t, label)
        state, seen = xt, []
        for block in self.down:
            seen.append(block(state, embedding))
            state = functional.max_pool2d(seen[-1], 2)
        state = self.bottom(state, embedding)
        for enlarge, block in zip(self.enlarge, self.up, strict=True):
            state = block(torch.cat([seen.pop(), enlarge(state)], dim=1), embedding)
        noise: Tensor = self.last(state + self.shift(embedding)[:, :, None, None])
        return noise
