"""Files as torch.save writes them of the paper's modules, whose classes are gone afterwards."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import nn

EMBEDDING, CLASSES = 16, 3
NAMES = ("DDIM", "MinimalResNet", "MinimalUNet", "UBlock", "EmbeddingModule")
Weights = dict[str, np.ndarray]


@contextmanager
def their_classes(module_name: str = "models") -> Iterator[ModuleType]:
    """A module with classes of these names, and one with a schedule; only inside."""
    module, schedules = ModuleType(module_name), ModuleType("utils.noise_schedules")
    for name in NAMES:
        setattr(module, name, type(name, (nn.Module,), {"__module__": module_name}))

    def cosine_noise_schedule() -> None: ...

    cosine_noise_schedule.__module__ = schedules.__name__
    cosine_noise_schedule.__qualname__ = "cosine_noise_schedule"
    schedules.cosine_noise_schedule = cosine_noise_schedule  # type: ignore[attr-defined]
    added = {module_name: module, schedules.__name__: schedules}
    if "." in module_name:
        added[module_name.partition(".")[0]] = ModuleType(module_name.partition(".")[0])
    added["utils"] = ModuleType("utils")
    before = {name: sys.modules.get(name) for name in added}
    sys.modules.update(added)
    try:
        yield module
    finally:
        for name, old in before.items():
            del sys.modules[name]
            if old is not None:
                sys.modules[name] = old


def save_resnet(
    path: Path,
    *,
    padding: str = "zeros",
    conditional: bool = False,
    extra: bool = True,
    wrapped: bool = True,
    module_name: str = "models",
    channels: int = 1,
) -> Weights:
    """A MinimalResNet of two layers; its weights by name."""
    with their_classes(module_name) as models:
        net = models.MinimalResNet()
        net.num_layers = 2
        net.embedding = embedding(models, conditional=conditional)
        net.up_projection = conv(channels, EMBEDDING, padding)
        net.embs = nn.ModuleList(
            nn.Sequential(nn.Linear(EMBEDDING, EMBEDDING), nn.GroupNorm(8, EMBEDDING), nn.ReLU())
            for _ in range(3 if extra else 2)
        )
        net.convs = nn.ModuleList(
            nn.Sequential(conv(EMBEDDING, EMBEDDING, padding), nn.ReLU()) for _ in range(2)
        )
        net.down_projection = conv(EMBEDDING, channels, padding)
        return save(path, models, net, wrapped=wrapped)


def save_unet(path: Path, *, padding: str = "zeros", conditional: bool = False) -> Weights:
    """A MinimalUNet of three scales; its weights by name."""
    widths = (4, 8, 12)
    with their_classes() as models:

        def block(before: int, width: int) -> nn.Module:
            part: nn.Module = models.UBlock()
            part.emb = nn.Sequential(nn.ReLU(), nn.Linear(EMBEDDING, before))
            first, second = conv(before, width, padding), conv(width, width, padding)
            part.model = nn.Sequential(first, nn.ReLU(), second, nn.ReLU())
            return part

        net = models.MinimalUNet()
        net.embedding = embedding(models, conditional=conditional)
        net.feature_blocks = nn.ModuleList([block(3, 4), block(4, 8)])
        net.bottleneck = block(8, 12)
        net.output_blocks, net.upsamples = nn.ModuleList(), nn.ModuleList()
        for fine, coarse in ((8, 12), (4, 8)):
            net.upsamples.append(nn.ConvTranspose2d(coarse, fine, 2, stride=2))
            net.output_blocks.append(block(2 * fine, fine))
        net.last_emb = nn.Sequential(nn.ReLU(), nn.Linear(EMBEDDING, widths[0]))
        net.output_conv = conv(widths[0], 3, padding)
        net.pool = nn.MaxPool2d(2, 2)
        net.last_norm = False
        return save(path, models, net)


def embedding(models: ModuleType, *, conditional: bool) -> nn.Module:
    part: nn.Module = models.EmbeddingModule()
    part.fdim, part.conditional = EMBEDDING, conditional  # type: ignore[assignment]
    if conditional:
        part.class_embeddings = nn.Embedding(CLASSES, EMBEDDING)
    return part


def conv(channels: int, out: int, padding: Any) -> nn.Conv2d:
    return nn.Conv2d(channels, out, 3, padding="same", padding_mode=padding)


def save(path: Path, models: ModuleType, net: nn.Module, *, wrapped: bool = True) -> Weights:
    """Write the network with random weights, in a DDIM as the authors have it; the weights."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in net.parameters():
            fan_in = parameter[0].numel() if parameter.ndim > 1 else 4
            parameter.normal_(generator=generator).mul_(fan_in**-0.5)
    content = net
    if wrapped:
        content = models.DDIM()
        content.backbone, content.in_channels, content.default_imsize = net, 1, 32  # type: ignore[assignment]
        content.noise_schedule = sys.modules["utils.noise_schedules"].cosine_noise_schedule
    torch.save(content, path)
    return {name: value.double().numpy() for name, value in net.state_dict().items()}
