"""The paper's released networks and scales, by files made as theirs are."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from made_paper_files import CLASSES, conv, save, save_resnet, save_unet, their_classes
from reference.network_forward import paper_resnet, paper_unet
from torch import nn

from sampler.errors import NetworkError
from sampler.networks import paper_checkpoint, paper_scales, scales_beside

# float32 rounding of states around 1, over a dozen layers
TOLERANCE = 1e-5


def states(channels: int, num: int = 2) -> torch.Tensor:
    return torch.randn(num, channels, 32, 32, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("padding", ["zeros", "circular"])
@pytest.mark.parametrize("conditional", [False, True])
@pytest.mark.parametrize("extra", [False, True])
def test_a_resnet_computes_what_the_plain_formula_does(tmp_path, padding, conditional, extra):
    path = tmp_path / "net.pt"
    weights = save_resnet(path, padding=padding, conditional=conditional, extra=extra)
    network = paper_checkpoint(path)
    assert network.num_classes == (CLASSES if conditional else 0)
    assert (network.boundary, network.image_shape) == (padding, (1, 32, 32))
    xt, t = states(1), torch.tensor([0.05, 0.9])
    labels = torch.tensor([2, 0]) if conditional else None
    ours = network.module(xt, t, labels)
    for i in range(2):
        label = int(labels[i]) if labels is not None else None
        expected = paper_resnet(weights, xt[i].double().numpy(), float(t[i]), label, padding)
        np.testing.assert_allclose(ours[i].numpy(), expected, atol=TOLERANCE)


@pytest.mark.parametrize(("padding", "conditional"), [("zeros", True), ("circular", False)])
def test_a_unet_computes_what_the_plain_formula_does(tmp_path, padding, conditional) -> None:
    path = tmp_path / "net.pt"
    weights = save_unet(path, padding=padding, conditional=conditional)
    network = paper_checkpoint(path)
    assert network.image_shape == (3, 32, 32)
    xt, label = states(3), 1 if conditional else None
    labels = None if label is None else torch.tensor([label, label])
    ours = network.module(xt, torch.tensor([0.3, 1.0]), labels)
    for i, t in enumerate([0.3, 1.0]):
        expected = paper_unet(weights, xt[i].double().numpy(), t, label, padding)
        np.testing.assert_allclose(ours[i].numpy(), expected, atol=TOLERANCE)


def test_it_denoises_at_the_time_of_the_papers_schedule(tmp_path) -> None:
    path = tmp_path / "net.pt"
    weights = save_resnet(path)
    t = 0.35
    signal = np.cos(t / 1.008 * np.pi / 2) ** 2
    xt = states(1, num=1).double()
    eps = paper_resnet(weights, xt[0].numpy(), t, None, "zeros")
    expected = (xt[0].numpy() - np.sqrt(1 - signal) * eps) / np.sqrt(signal)
    mean = paper_checkpoint(path)(xt / np.sqrt(signal), float(np.sqrt((1 - signal) / signal)))
    np.testing.assert_allclose(mean[0].numpy(), expected, atol=TOLERANCE)


@pytest.mark.parametrize(
    ("wrapped", "module_name"), [(False, "models"), (True, "src.models"), (False, "els.models")]
)
def test_a_backbone_alone_or_from_another_package_is_read(tmp_path, wrapped, module_name) -> None:
    path = tmp_path / "net.pt"
    save_resnet(path, wrapped=wrapped, module_name=module_name)
    assert paper_checkpoint(path).image_shape == (1, 32, 32)


def test_its_name_is_what_the_file_tells(tmp_path) -> None:
    path = tmp_path / "backbone_CIFAR10_ResNet_circular_conditional.pt"
    save_resnet(path, padding="circular", conditional=True, channels=3)
    network = paper_checkpoint(path)
    assert network.name == "the paper's ResNet of CIFAR10 (circular, conditional)"
    save_resnet(tmp_path / "other.pt")
    assert paper_checkpoint(tmp_path / "other.pt").name == str(tmp_path / "other.pt")


def test_reading_leaves_the_global_generator_alone(tmp_path) -> None:
    save_unet(tmp_path / "net.pt")
    before = torch.get_rng_state()
    paper_checkpoint(tmp_path / "net.pt")
    assert torch.get_rng_state().equal(before)


def changed(path: Path, change: str) -> None:
    """A ResNet of another layout."""
    with their_classes() as models:
        net = models.MinimalResNet()
        if change == "kind":
            torch.save(models.UBlock(), path)
            return
        net.embedding = models.EmbeddingModule()
        net.embedding.fdim = 5 if change == "time" else 16
        net.up_projection = conv(1, 16, "circular" if change == "mixed" else "zeros")
        net.embs = nn.ModuleList(
            nn.Sequential(nn.Linear(16, 16), nn.GroupNorm(8, 16), nn.ReLU())
            for _ in range(4 if change == "embs" else 2)
        )
        net.convs = nn.ModuleList([nn.Sequential(conv(16, 16, "zeros"), nn.ReLU())])
        if change == "stride":
            net.convs[0][0].stride = (2, 2)
        if change == "fit":
            net.convs[0][0] = conv(16, 20, "zeros")
        net.down_projection = conv(16, 2 if change == "output" else 1, "zeros")
        if change == "last":
            net.down_projection = nn.Linear(16, 1)
        if change == "bias":
            net.down_projection.bias = None
        if change == "extra":
            net.refine = conv(1, 1, "zeros")
        if change == "padding":
            net.down_projection.padding_mode = "reflect"
        if change == "double":
            net.up_projection.double()
        save(path, models, net, wrapped=False)
        if change == "nan":
            net.up_projection.weight.data[0, 0, 1, 2] = torch.nan
            torch.save(net, path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("kind", "holds a UBlock, not a MinimalResNet or MinimalUNet"),
        ("time", "tells time by 5 numbers, not by a small even count"),
        ("embs", "has 4 embs for 1 convs"),
        ("mixed", "pads with circular and zeros"),
        ("stride", r"has a Conv2d whose stride is not \(1, 1\)"),
        ("fit", "has layers that do not fit another"),
        ("output", "has layers that do not fit another"),
        ("last", "has layers that do not fit another"),
        (
            "extra",
            "has a MinimalResNet of convs, .*, refine, up_projection, where .* were expected",
        ),
        ("bias", r"has layers that cannot be built \(.*Missing key.*bias"),
        ("padding", "pads with 'reflect', where zeros or circular was expected"),
        ("double", "has a weight of a Conv2d that is no finite float32"),
        ("nan", "has a weight of a Conv2d that is no finite float32"),
    ],
)
def test_another_layout_is_refused_by_what_was_found(tmp_path, change, message) -> None:
    changed(tmp_path / "net.pt", change)
    with pytest.raises(NetworkError, match=rf"net.pt {message}.* Give a file as the paper's auth"):
        paper_checkpoint(tmp_path / "net.pt")


@pytest.mark.parametrize(
    "saved", [[3, 3, 5], torch.tensor([3, 3, 5]), torch.tensor([3.0, 3.0, 5.0])]
)
def test_scales_are_read_from_lists_and_tensors(tmp_path, saved) -> None:
    torch.save(saved, tmp_path / "scales.pt")
    assert paper_scales(tmp_path / "scales.pt") == (3, 3, 5)


@pytest.mark.parametrize(
    "saved", [[], [3, 4], [-3], [True], [3.5], ["3"], [[3]], {"3": 3}, "353", torch.ones(2, 2)]
)
def test_what_is_no_list_of_odd_sizes_is_refused(tmp_path, saved) -> None:
    torch.save(saved, tmp_path / "scales.pt")
    with pytest.raises(NetworkError, match=r"scales.pt holds no list of odd patch sizes.* Give a"):
        paper_scales(tmp_path / "scales.pt")


def test_scales_beside_are_found_in_spite_of_their_spelling(tmp_path) -> None:
    scales = tmp_path / "scales_FashionMNIST_UNet_zeros_conditonal.pt"
    torch.save([3], scales)
    shutil.copy(scales, tmp_path / "scales_FashionMNIST_UNet_zeros.pt")
    shutil.copy(scales, tmp_path / "scales_FashionMNIST_ResNet_zeros_conditional.pt")
    assert scales_beside(tmp_path / "backbone_FashionMNIST_UNet_zeros_conditional.pt") == scales
    assert scales_beside(tmp_path / "backbone_MNIST_UNet_zeros.pt") is None
    assert scales_beside(tmp_path / "network.pt") is None
