"""The networks and scales that the paper's authors released (arXiv 2412.20292, appendix C.1).

`backbone_*.pt` are whole modules, pickled by their code; here they are read as data alone
(`sampler.networks.pickled`), and computed by modules of ours.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import nn
from torch.func import functional_call

from patchindex import Boundary
from sampler.errors import NetworkError, reason, shown
from sampler.networks.paper_modules import Block, PaperResNet, PaperUNet, TimeEmbedding
from sampler.networks.pickled import Record, SavedFile, read_saved
from sampler.networks.predictors import NoisePredictor

MOST_NUMBERS = 65_536  # that time is told by
SIDE = 32  # of the images that all of them were trained on
_CLASSES = ("DDIM", "MinimalResNet", "MinimalUNet", "UBlock", "EmbeddingModule")
_LAYERS = {
    "Conv2d": "conv",
    "ConvTranspose2d": "conv",
    "Linear": "linear",
    "Identity": "linear",
    "GroupNorm": "normalization",
    "ReLU": "activation",
    "MaxPool2d": "pooling",
    "Embedding": "sparse",
    "ModuleList": "container",
    "Sequential": "container",
}
_PARTS: Mapping[str, tuple[str, ...]] = {
    "MinimalResNet": ("embedding", "up_projection", "embs", "convs", "down_projection"),
    "MinimalUNet": (
        "embedding",
        "feature_blocks",
        "bottleneck",
        "output_blocks",
        "upsamples",
        "last_emb",
        "output_conv",
        "pool",
    ),
    "UBlock": ("emb", "model"),
}
_FILE = re.compile(r"(backbone|scales)_(\w+)_(ResNet|UNet)_(zeros|circular)(_condit\w+)?\.pt")


def paper_checkpoint(path: Path) -> NoisePredictor:
    """The network of a released `backbone_*.pt`, as a denoiser of 32x32 images.

    It predicts eps from (xt, t) with the schedule `cosine` and values in [-1, 1].

    Raises:
        NetworkError: the file cannot be read, names anything but the paper's networks and their
            layers, or has another layout.

    Example:
        >>> network = paper_checkpoint(Path("backbone_MNIST_ResNet_circular.pt"))
        >>> network.image_shape, network.boundary
        ((1, 32, 32), 'circular')
    """
    saved = read_saved(path, _is_expected)
    record, side = _backbone(saved)
    module: PaperResNet | PaperUNet
    try:
        is_resnet = record.kind == "MinimalResNet"
        module = _resnet(saved, record) if is_resnet else _unet(saved, record)
    except (RuntimeError, ValueError) as error:
        if isinstance(error, NetworkError):
            raise
        raise saved.refused(f"has layers that cannot be built ({reason(error)})") from error
    module.requires_grad_(requires_grad=False).eval()
    convolutions = [part for part in module.modules() if isinstance(part, nn.Conv2d)]
    paddings = {part.padding_mode for part in convolutions}
    if len(paddings) != 1:
        raise saved.refused(f"pads with {' and '.join(sorted(paddings)) or 'nothing'}")
    classes = [part for part in module.modules() if isinstance(part, nn.Embedding)]
    last = [part for part in module.last.modules() if isinstance(part, nn.Conv2d)]
    channels = last[-1].out_channels if last else 0
    _check_fit(saved, module, (channels, side, side))
    boundary: Boundary = "zeros" if paddings == {"zeros"} else "circular"
    return NoisePredictor(
        module,
        schedule="cosine",
        name=_name(path),
        image_shape=(channels, side, side),
        num_classes=classes[0].num_embeddings if classes else 0,
        boundary=boundary,
    )


def paper_scales(path: Path) -> tuple[int, ...]:
    """The patch sizes of a released `scales_*.pt`, at t = 1/n, 2/n, ..., 1.

    Raises:
        NetworkError: the file cannot be read, or holds no list of odd patch sizes.

    Example:
        >>> paper_scales(Path("scales_MNIST_UNet_zeros.pt"))
        (3, 3, 3, 5, ...)
    """
    saved = read_saved(path, lambda _module, _name: False)
    values = saved.content
    if isinstance(values, Record):
        values = saved.tensor(values).tolist()
    if isinstance(values, list):
        scales = [int(v) if isinstance(v, float) and v.is_integer() else v for v in values]
        if scales and all(type(scale) is int and scale > 0 and scale % 2 for scale in scales):
            return tuple(scales)
    raise NetworkError(
        f"{path} holds no list of odd patch sizes, but a {type(values).__name__} of others. Give a "
        "scales_*.pt as the paper's authors released it."
    )


def scales_beside(path: Path) -> Path | None:
    """The file of scales that belongs to a checkpoint and lies beside it; None if there is none.

    Spelling of the last word aside: the released names have `conditional` and `conditonal`.

    Example:
        >>> scales_beside(Path("files/backbone_CelebA_UNet_zeros.pt"))
        PosixPath('files/scales_CelebA_UNet_zeros.pt')
    """
    wanted = _told(path)
    if wanted is None:
        return None
    others = sorted(path.parent.glob("scales_*.pt"))
    return next((other for other in others if _told(other) == wanted), None)


def _told(path: Path) -> tuple[str, str, str, bool] | None:
    """Data set, architecture, padding and whether conditional, by the file's name."""
    found = _FILE.fullmatch(path.name)
    return found and (found[2], found[3], found[4], found[5] is not None)


def _name(path: Path) -> str:
    """What to call the network: by what its file's name tells."""
    told = _told(path)
    if told is None:
        return str(path)
    data, architecture, padding, conditional = told
    return f"the paper's {architecture} of {data} ({padding}{', conditional' * conditional})"


def _is_expected(module: str, name: str) -> bool:
    """Whether a released network may name this global."""
    home = module.rpartition(".")[2]
    if home == "noise_schedules":
        return name == "cosine_noise_schedule"  # of which only the name stands in a file
    if home == "models":
        return name in _CLASSES
    return name in _LAYERS and module == f"torch.nn.modules.{_LAYERS[name]}"


def _backbone(saved: SavedFile) -> tuple[Record, int]:
    """The network itself, and the side of its images."""
    record, side = saved.content, SIDE
    if isinstance(record, Record) and record.kind == "DDIM":
        known = record.state.get("default_imsize")
        side = known if type(known) is int and 0 < known <= 1024 else SIDE
        record = _parts(saved, record, ("backbone",))["backbone"]
    if not (isinstance(record, Record) and record.kind in ("MinimalResNet", "MinimalUNet")):
        kind = record.kind if isinstance(record, Record) else type(record).__name__
        raise saved.refused(f"holds a {kind}, not a MinimalResNet or MinimalUNet")
    return record, side


def _parts(saved: SavedFile, record: Record, names: tuple[str, ...]) -> dict[str, Record]:
    """The modules in a module, which must have these names."""
    found = _children(saved, record)
    if set(found) != set(names):
        raise saved.refused(
            f"has a {record.kind} of {', '.join(sorted(found)) or 'nothing'}, where "
            f"{', '.join(sorted(names))} were expected"
        )
    return found


def _children(saved: SavedFile, record: Record) -> dict[str, Record]:
    """The modules in a module, in their order."""
    found = record.state.get("_modules")
    children: dict[str, Record] = {}
    for name, part in found.items() if isinstance(found, dict) else ():
        if not (isinstance(name, str) and isinstance(part, Record)):
            raise saved.refused(f"has something else than modules in a {record.kind}")
        children[name] = part
    return children


def _resnet(saved: SavedFile, record: Record) -> PaperResNet:
    """The ResNet with the weights of its record."""
    parts = _parts(saved, record, _PARTS["MinimalResNet"])
    shifts, middle = _children(saved, parts["embs"]), _children(saved, parts["convs"])
    if len(shifts) not in (len(middle), len(middle) + 1):
        raise saved.refused(f"has {len(shifts)} embs for {len(middle)} convs")
    return PaperResNet(
        embedding=_embedding(saved, parts["embedding"]),
        first=_layers(saved, parts["up_projection"]),
        shifts=nn.ModuleList(_layers(saved, part) for part in shifts.values()),
        middle=nn.ModuleList(_layers(saved, part) for part in middle.values()),
        last=_layers(saved, parts["down_projection"]),
    )


def _unet(saved: SavedFile, record: Record) -> PaperUNet:
    """The U-Net with the weights of its record."""
    parts = _parts(saved, record, _PARTS["MinimalUNet"])
    names = ("feature_blocks", "upsamples", "output_blocks")
    down, enlarge, up = (list(_children(saved, parts[name]).values()) for name in names)
    if not len(down) == len(enlarge) == len(up):
        raise saved.refused(
            f"has {len(down)} blocks on the way down, but {len(up)} with {len(enlarge)} upsamples "
            "on the way up"
        )
    return PaperUNet(
        embedding=_embedding(saved, parts["embedding"]),
        down=nn.ModuleList(_block(saved, part) for part in down),
        bottom=_block(saved, parts["bottleneck"]),
        enlarge=nn.ModuleList(_layers(saved, part) for part in enlarge),
        up=nn.ModuleList(_block(saved, part) for part in up),
        shift=_layers(saved, parts["last_emb"]),
        last=_layers(saved, parts["output_conv"]),
    )


def _block(saved: SavedFile, record: Record) -> Block:
    """A block of the U-Net."""
    parts = _parts(saved, record, _PARTS["UBlock"])
    return Block(shift=_layers(saved, parts["emb"]), layers=_layers(saved, parts["model"]))


def _embedding(saved: SavedFile, record: Record) -> TimeEmbedding:
    """What tells time, and class if there are any."""
    size = record.state.get("fdim")
    if type(size) is not int or not 4 <= size <= MOST_NUMBERS or size % 2:
        raise saved.refused(f"tells time by {shown(size)} numbers, not by a small even count")
    classes = _children(saved, record).get("class_embeddings")
    return TimeEmbedding(size, None if classes is None else _layer(saved, classes))


def _layers(saved: SavedFile, record: Record) -> nn.Module:
    """A layer, or several in a row."""
    if record.kind != "Sequential":
        return _layer(saved, record)
    return nn.Sequential(*(_layer(saved, part) for part in _children(saved, record).values()))


def _layer(saved: SavedFile, record: Record) -> nn.Module:
    """A layer with the weights of its record, which are not copied."""
    found = record.state.get("_parameters")
    pairs = found.items() if isinstance(found, dict) else ()
    weights = {str(name): saved.tensor(part) for name, part in pairs if part is not None}
    for name, weight in weights.items():
        if weight.dtype != torch.float32 or not bool(weight.isfinite().all()):
            raise saved.refused(f"has a {name} of a {record.kind} that is no finite float32")
    build = _BUILDERS.get(record.kind)
    if build is None:
        raise saved.refused(f"has a {record.kind} where another layer was expected")
    layer = build(saved, record, {name: weight.shape for name, weight in weights.items()})
    layer.load_state_dict(weights, assign=True)
    return layer


Shapes = Mapping[str, torch.Size]


def _convolution(saved: SavedFile, record: Record, shapes: Shapes) -> nn.Module:
    """A convolution that keeps the size."""
    out, channels, *kernel = _axes(saved, record, shapes, 4)
    padding = record.state.get("padding_mode")
    if padding not in ("zeros", "circular"):
        raise saved.refused(f"pads with {shown(padding)}, where zeros or circular was expected")
    halves = tuple(side // 2 for side in kernel)
    _check_state(saved, record, {"stride": (1, 1), "dilation": (1, 1), "groups": 1})
    if record.state.get("padding") not in ("same", halves) or not all(s % 2 for s in kernel):
        raise saved.refused("has a convolution that changes the size of images")
    return nn.Conv2d(
        channels,
        out,
        (kernel[0], kernel[1]),
        padding="same",
        padding_mode="zeros" if padding == "zeros" else "circular",
        device="meta",
    )


def _doubling(saved: SavedFile, record: Record, shapes: Shapes) -> nn.Module:
    """A transposed convolution that doubles the sides."""
    channels, out, *_ = _axes(saved, record, shapes, 4)
    expected = {"stride": (2, 2), "padding": (0, 0), "output_padding": (0, 0), "groups": 1}
    _check_state(saved, record, expected | {"dilation": (1, 1)})
    return nn.ConvTranspose2d(channels, out, 2, stride=2, device="meta")


def _linear(saved: SavedFile, record: Record, shapes: Shapes) -> nn.Module:
    out, size = _axes(saved, record, shapes, 2)
    return nn.Linear(size, out, device="meta")


def _class_vectors(saved: SavedFile, record: Record, shapes: Shapes) -> nn.Module:
    num, size = _axes(saved, record, shapes, 2)
    return nn.Embedding(num, size, device="meta")


def _normalization(saved: SavedFile, record: Record, shapes: Shapes) -> nn.Module:
    (channels,) = _axes(saved, record, shapes, 1)
    groups, eps = record.state.get("num_groups"), record.state.get("eps")
    if type(groups) is not int or groups < 1 or type(eps) is not float or not 0 <= eps < 1:
        raise saved.refused(f"has a GroupNorm of {shown(groups)} groups with eps {shown(eps)}")
    return nn.GroupNorm(groups, channels, eps=eps, device="meta")


def _activation(_saved: SavedFile, _record: Record, _shapes: Shapes) -> nn.Module:
    return nn.ReLU()


def _nothing(_saved: SavedFile, _record: Record, _shapes: Shapes) -> nn.Module:
    return nn.Identity()


_BUILDERS: Mapping[str, Callable[[SavedFile, Record, Shapes], nn.Module]] = {
    "Conv2d": _convolution,
    "ConvTranspose2d": _doubling,
    "Linear": _linear,
    "Embedding": _class_vectors,
    "GroupNorm": _normalization,
    "ReLU": _activation,
    "Identity": _nothing,
}


def _axes(saved: SavedFile, record: Record, shapes: Shapes, num: int) -> list[int]:
    """The shape of a layer's weight, which must have so many axes."""
    shape = list(shapes.get("weight", ()))
    if len(shape) != num:
        raise saved.refused(f"has a {record.kind} whose weight has {len(shape)} axes, not {num}")
    return shape


def _check_state(saved: SavedFile, record: Record, expected: Mapping[str, object]) -> None:
    """Raise NetworkError unless a layer's attributes are these."""
    for name, value in expected.items():
        if record.state.get(name) != value:
            raise saved.refused(f"has a {record.kind} whose {name} is not {value}")


def _check_fit(saved: SavedFile, module: nn.Module, image_shape: tuple[int, int, int]) -> None:
    """Raise NetworkError unless one layer takes what the other gives; computes no numbers."""
    on_meta = {name: value.to("meta") for name, value in module.named_parameters()}
    state, t = torch.empty(2, *image_shape, device="meta"), torch.empty(2, device="meta")
    label = torch.empty(2, dtype=torch.int64, device="meta")
    try:
        noise = functional_call(module, on_meta, (state, t, label))
    except (RuntimeError, ValueError, TypeError) as error:
        raise saved.refused(f"has layers that do not fit another ({reason(error)})") from error
    if noise.shape != state.shape:
        raise saved.refused("has layers that do not lead back to an image of the same shape")
