"""The DDPM++ network of EDM, built from the names and shapes of its weights.

Its description: arXiv 2011.13456, appendix H, and 2206.00364, table 7. Names of weights tell the
rest: `enc.32x32_conv`, `enc.32x32_block0.norm0.weight`, `enc.16x16_down...`, `dec.8x8_in0...`.
"""

import re
from collections.abc import Iterator, Mapping
from itertools import pairwise
from math import sqrt

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

SLOWEST = 10_000  # that the frequencies of c_noise are divided by at most
EPS = 1e-6
MOST_GROUPS, GROUP_CHANNELS = 32, 4  # of channels that are normalized together, at most and least
_NAME = re.compile(r"(enc|dec)\.(\d{1,4})x(\d{1,4})_(\w+)\.(.+)")

Weights = Mapping[str, Tensor]


class EDMNetwork(nn.Module):
    """F(x, c_noise[, label]) of EDM's preconditioning, with the weights that are given.

    Residual blocks at several sizes down and up again; each block on the way up takes the state
    of one on the way down as well.

    Args:
        weights: by name, without the prefix `model.`; they are not copied.

    Raises:
        ValueError: their names are those of another network.
        RuntimeError: shapes within a layer differ.

    Attributes:
        image_shape: channels, height and width of the images.
        num_classes: 0 without labels.
    """

    def __init__(self, weights: Weights) -> None:
        super().__init__()
        own, parts = _split(weights)
        self._names = _check_names(parts)
        size = max(size for _, size, _ in parts)
        layers = _grouped(own)
        strange = set(layers) - {"map_layer0", "map_layer1", "map_label"}
        if strange:
            raise ValueError(f"unknown weights {', '.join(sorted(strange)[:3])}")
        self.label = _linear(layers["map_label"]) if "map_label" in layers else None
        self.first_map = _linear(layers.get("map_layer0", {}))
        self.second_map = _linear(layers.get("map_layer1", {}))
        if self.first_map.in_features < 4 or self.first_map.in_features % 2:
            raise ValueError(f"noise is told by {self.first_map.in_features} numbers")
        self.parts = nn.ModuleDict()
        for way, side, kind in self._names:
            self.parts[f"{way}{side}{kind}"] = _part(kind, parts[way, side, kind])
        convolution = parts["enc", size, "conv"]["weight"]
        self.image_shape = (convolution.shape[1], size, size)
        self.num_classes = 0 if self.label is None else int(layers["map_label"]["weight"].shape[1])

    def forward(
        self,
        x: Float[Tensor, "b c h w"],
        c_noise: Float[Tensor, " b"],
        label: Int[Tensor, " b"] | None = None,
    ) -> Float[Tensor, "b c h w"]:
        """The network's output, before it is scaled and added to the state."""
        embedding = self._embedding(c_noise, label)
        state: Tensor = x
        seen: list[Tensor] = []
        for way, size, kind in self._names:
            part = self.parts[f"{way}{size}{kind}"]
            if way == "dec" and kind.startswith("block"):
                state = torch.cat([state, seen.pop()], dim=1)
            if kind == "aux_norm":
                state = functional.silu(part(state))
            else:
                state = part(state, embedding) if isinstance(part, _Block) else part(state)
            if way == "enc":
                seen.append(state)
        return state

    def _embedding(
        self, c_noise: Float[Tensor, " b"], label: Int[Tensor, " b"] | None
    ) -> Float[Tensor, "b e"]:
        """What the blocks are told of noise and class."""
        half = self.first_map.in_features // 2
        frequencies = SLOWEST ** -(torch.arange(half, device=c_noise.device) / (half - 1))
        angles = c_noise[:, None] * frequencies
        embedding = torch.cat([angles.sin(), angles.cos()], dim=1)
        if self.label is not None and label is not None:
            one_hot = functional.one_hot(label, self.num_classes).to(embedding)
            embedding = embedding + self.label(one_hot * sqrt(self.num_classes))
        for layer in (self.first_map, self.second_map):
            embedding = functional.silu(layer(embedding))
        return embedding


class _Block(nn.Module):
    """(skip(x) + conv(silu(norm(conv(silu(norm(x))) + affine(e))))) / sqrt 2, attention after.

    Args:
        weights: of its layers, by their names in the file.
        resample: halve or double the sides between the first normalization and convolution, and
            before `skip`.
    """

    def __init__(self, weights: Weights, resample: str | None) -> None:
        super().__init__()
        layers = _grouped(weights)
        for name in ("conv0", "skip") if resample else ():
            _check_filter(layers.get(name, {}))
        expected = {"norm0", "conv0", "affine", "norm1", "conv1"}
        attention = {"norm2", "qkv", "proj"}
        if set(layers) - {"skip"} not in (expected, expected | attention):
            raise ValueError(f"a block has the layers {', '.join(sorted(layers))}")
        self.resample = resample
        self.norm0, self.norm1 = _norm(layers["norm0"]), _norm(layers["norm1"])
        self.conv0, self.conv1 = _convolution(layers["conv0"]), _convolution(layers["conv1"])
        self.affine = _linear(layers["affine"])
        self.skip = _convolution(layers["skip"]) if "skip" in layers else nn.Identity()
        self.attention = _Attention(layers) if "qkv" in layers else nn.Identity()

    def forward(
        self, state: Float[Tensor, "b v h w"], embedding: Float[Tensor, "b e"]
    ) -> Float[Tensor, "b u x y"]:
        """The block's state."""
        hidden = self.conv0(self._resized(functional.silu(self.norm0(state))))
        hidden = self.norm1(hidden + self.affine(embedding)[:, :, None, None])
        hidden = self.conv1(functional.silu(hidden))
        out: Tensor = self.attention((hidden + self.skip(self._resized(state))) / sqrt(2))
        return out

    def _resized(self, state: Float[Tensor, "b v h w"]) -> Float[Tensor, "b v x y"]:
        """The state at the block's size: means of 2x2 pixels, or each pixel four times."""
        if self.resample == "down":
            return functional.avg_pool2d(state, 2)
        if self.resample == "up":
            return functional.interpolate(state, scale_factor=2.0, mode="nearest")
        return state


class _Attention(nn.Module):
    """(x + project(softmax(q k / sqrt c) v)) / sqrt 2, with one head."""

    def __init__(self, layers: Mapping[str, Weights]) -> None:
        super().__init__()
        self.norm = _norm(layers["norm2"])
        self.queries_keys_values = _convolution(layers["qkv"])
        self.project = _convolution(layers["proj"])

    def forward(self, state: Float[Tensor, "b u h w"]) -> Float[Tensor, "b u h w"]:
        """The state that has looked around."""
        asked = self.queries_keys_values(self.norm(state))
        query, key, value = rearrange(asked, "b (c three) h w -> three b 1 (h w) c", three=3)
        seen = functional.scaled_dot_product_attention(query, key, value)
        together = rearrange(seen, "b 1 (h w) c -> b c h w", h=state.shape[2])
        out: Tensor = (state + self.project(together)) / sqrt(2)
        return out


Place = tuple[str, int, str]  # the way, the side of states there, and the part's name


def _split(weights: Weights) -> tuple[dict[str, Tensor], dict[Place, dict[str, Tensor]]]:
    """Weights of no part, and those of each."""
    own: dict[str, Tensor] = {}
    parts: dict[Place, dict[str, Tensor]] = {}
    for name, value in weights.items():
        found = _NAME.fullmatch(name)
        if found is None:
            own[name] = value
        elif found[2] != found[3]:
            raise ValueError(f"{name} is of no square image")
        else:
            parts.setdefault((found[1], int(found[2]), found[4]), {})[found[5]] = value
    if not parts:
        raise ValueError("no weights named enc.32x32_... or of another size")
    return own, parts


def _check_names(parts: Mapping[Place, object]) -> list[Place]:
    """The places of the parts in their order.

    Raises:
        ValueError: parts are missing, or there are others.
    """
    expected = list(_expected(parts))
    odd = sorted(set(expected).symmetric_difference(parts))
    if odd:
        told = ", ".join(f"{way}.{size}x{size}_{kind}" for way, size, kind in odd[:3])
        raise ValueError(f"missing or unknown: {told}")
    return expected


def _expected(parts: Mapping[Place, object]) -> Iterator[Place]:
    """The places of a network with as many sizes, and blocks at each."""
    sizes = sorted({size for _, size, _ in parts}, reverse=True)
    if any(before != 2 * after for before, after in pairwise(sizes)):
        raise ValueError(f"images of {', '.join(map(str, sizes))} pixels a side are not halved")
    blocks = {
        size: sum(s == size and w == "enc" and k.startswith("block") for w, s, k in parts)
        for size in sizes
    }
    for size in sizes:
        yield "enc", size, "conv" if size == sizes[0] else "down"
        yield from (("enc", size, f"block{i}") for i in range(blocks[size]))
    for size in reversed(sizes):
        first = ("in0", "in1") if size == sizes[-1] else ("up",)
        yield from (("dec", size, kind) for kind in first)
        yield from (("dec", size, f"block{i}") for i in range(blocks[size] + 1))
    yield "dec", sizes[0], "aux_norm"
    yield "dec", sizes[0], "aux_conv"


def _part(kind: str, weights: Weights) -> nn.Module:
    """A part of the network, by the end of its name."""
    if kind in ("conv", "aux_conv"):
        return _convolution(weights)
    if kind == "aux_norm":
        return _norm(weights)
    return _Block(weights, kind if kind in ("down", "up") else None)


def _grouped(weights: Weights) -> dict[str, dict[str, Tensor]]:
    """The weights of each layer: `conv0.weight` becomes ["conv0"]["weight"]."""
    layers: dict[str, dict[str, Tensor]] = {}
    for name, value in weights.items():
        layer, _, kind = name.partition(".")
        layers.setdefault(layer, {})[kind] = value
    return layers


def _check_filter(weights: dict[str, Tensor]) -> None:
    """Take out the filter of a layer that halves or doubles; it must be the mean of 2x2 pixels."""
    kernel = weights.pop("resample_filter", None)
    if kernel is None or kernel.shape != (1, 1, 2, 2) or not bool((kernel == 0.25).all()):
        raise ValueError("a layer that resamples has another filter than the mean of 2x2 pixels")


def _convolution(weights: Weights) -> nn.Conv2d:
    """A convolution that keeps the size."""
    out, channels, height, width = _shape(weights, 4)
    if height != width or height % 2 == 0:
        raise ValueError(f"a convolution has a kernel of {height}x{width} pixels")
    layer = nn.Conv2d(channels, out, height, padding=height // 2, device="meta")
    layer.load_state_dict(weights, assign=True)
    return layer


def _linear(weights: Weights) -> nn.Linear:
    """A matrix, and a bias."""
    out, size = _shape(weights, 2)
    layer = nn.Linear(size, out, device="meta")
    layer.load_state_dict(weights, assign=True)
    return layer


def _norm(weights: Weights) -> nn.GroupNorm:
    """Normalization in groups of four channels or more."""
    (channels,) = _shape(weights, 1)
    groups = max(1, min(MOST_GROUPS, channels // GROUP_CHANNELS))
    layer = nn.GroupNorm(groups, channels, eps=EPS, device="meta")
    layer.load_state_dict(weights, assign=True)
    return layer


def _shape(weights: Weights, num: int) -> tuple[int, ...]:
    """The shape of a layer's weight."""
    shape = tuple(weights["weight"].shape) if "weight" in weights else ()
    if len(shape) != num or 0 in shape:
        raise ValueError(f"a layer's weight has the shape {shape}, where {num} axes were expected")
    return shape
