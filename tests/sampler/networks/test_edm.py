"""EDM's preconditioning and its DDPM++ network, by weights with the published names."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from reference.network_forward import edm_denoised
from safetensors.torch import save_file
from torch import Tensor, nn

from sampler.errors import NetworkError
from sampler.networks import EDMDenoiser, edm_checkpoint

# float32 rounding of states around 1, over a dozen layers
TOLERANCE = 1e-5
EMBEDDING, CLASSES, BLOCKS = 64, 3, 2
Tensors = dict[str, Tensor]
# channels of each size of images, the finest first
WIDTHS = {8: 16, 4: 32, 2: 32}


class Made:
    """Random weights by their published names."""

    def __init__(self) -> None:
        self.generator = torch.Generator().manual_seed(3)
        self.tensors: Tensors = {}

    def add(self, name: str, *shape: int) -> None:
        """A layer; the scale of a normalization is around 1."""
        values = torch.randn(*shape, generator=self.generator) * np.prod(shape[1:]) ** -0.5
        self.tensors[f"model.{name}.weight"] = 1 + values / 4 if len(shape) == 1 else values
        self.tensors[f"model.{name}.bias"] = torch.randn(shape[0], generator=self.generator) / 4

    def block(self, name: str, before: int, after: int, *, attends: bool = False) -> None:
        self.add(f"{name}.norm0", before)
        self.add(f"{name}.conv0", after, before, 3, 3)
        self.add(f"{name}.affine", after, EMBEDDING)
        self.add(f"{name}.norm1", after)
        self.add(f"{name}.conv1", after, after, 3, 3)
        resamples = name.endswith(("up", "down"))
        if resamples or before != after:
            self.add(f"{name}.skip", after, before, 1, 1)
        for layer in ("conv0", "skip") if resamples else ():
            mean = torch.full((1, 1, 2, 2), 0.25)
            self.tensors[f"model.{name}.{layer}.resample_filter"] = mean
        if attends:
            self.add(f"{name}.norm2", after)
            self.add(f"{name}.qkv", 3 * after, after, 1, 1)
            self.add(f"{name}.proj", after, after, 1, 1)

    def down(self, attention: int) -> list[int]:
        """The way down; channels of its states."""
        self.add("enc.8x8_conv", WIDTHS[8], 3, 3, 3)
        kept = [WIDTHS[8]]
        for size, width in WIDTHS.items():
            if size < 8:
                self.block(f"enc.{size}x{size}_down", kept[-1], kept[-1])
                kept.append(kept[-1])
            for i in range(BLOCKS):
                name = f"enc.{size}x{size}_block{i}"
                self.block(name, kept[-1], width, attends=size == attention)
                kept.append(width)
        return kept

    def up(self, attention: int, kept: list[int]) -> None:
        now = kept[-1]
        for size, width in reversed(WIDTHS.items()):
            if size == min(WIDTHS):
                self.block(f"dec.{size}x{size}_in0", now, now, attends=True)
                self.block(f"dec.{size}x{size}_in1", now, now)
            else:
                self.block(f"dec.{size}x{size}_up", now, now)
            for i in range(BLOCKS + 1):
                attends = size == attention and i == BLOCKS
                name = f"dec.{size}x{size}_block{i}"
                self.block(name, now + kept.pop(), width, attends=attends)
                now = width
        self.add("dec.8x8_aux_norm", now)
        self.add("dec.8x8_aux_conv", 3, now, 3, 3)


def weights(*, labels: bool = False, attention: int = 4) -> Tensors:
    """Those of a network for images of eight pixels, with attention at one size."""
    made = Made()
    made.add("map_layer0", EMBEDDING, WIDTHS[8])
    made.add("map_layer1", EMBEDDING, EMBEDDING)
    made.tensors["model.map_augment.weight"] = torch.ones(WIDTHS[8], 9)
    if labels:
        made.add("map_label", WIDTHS[8], CLASSES)
    made.up(attention, made.down(attention))
    return made.tensors


def plain(found: Tensors) -> dict[str, np.ndarray]:
    return {name.removeprefix("model."): value.double().numpy() for name, value in found.items()}


def states(num: int = 3) -> Tensor:
    return torch.randn(num, 3, 8, 8, generator=torch.Generator().manual_seed(4))


@pytest.mark.parametrize("labels", [False, True])
@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_the_network_denoises_as_the_plain_formula_does(tmp_path, labels, suffix) -> None:
    found, path = weights(labels=labels), tmp_path / f"edm{suffix}"
    save_file(found, path) if suffix == ".safetensors" else torch.save(found, path)
    denoiser = edm_checkpoint(path)
    assert (denoiser.image_shape, denoiser.schedule) == ((3, 8, 8), "edm")
    assert denoiser.num_classes == (CLASSES if labels else 0)
    sigmas = torch.tensor([0.02, 0.7, 30.0], dtype=torch.float64)
    y = states() * (1 + sigmas[:, None, None, None].float())
    label = torch.tensor([2, 0, 1]) if labels else None
    ours = denoiser(y, sigmas, label=label)
    for i, sigma in enumerate(sigmas.tolist()):
        named = None if label is None else int(label[i])
        expected = edm_denoised(plain(found), y[i].double().numpy(), sigma, named, 0.5)
        np.testing.assert_allclose(ours[i].numpy(), expected, atol=TOLERANCE)


@pytest.mark.parametrize("attention", [8, 2, 0])
def test_attention_is_where_the_weights_have_it(tmp_path, attention) -> None:
    found = weights(attention=attention)
    save_file({n.removeprefix("model."): v for n, v in found.items()}, tmp_path / "edm.safetensors")
    y = states(1)
    ours = edm_checkpoint(tmp_path / "edm.safetensors", sigma_data=0.7)(y, 1.3)
    expected = edm_denoised(plain(found), y[0].double().numpy(), 1.3, None, 0.7)
    np.testing.assert_allclose(ours[0].numpy(), expected, atol=TOLERANCE)


def test_half_precision_is_widened(tmp_path) -> None:
    found = {name: value.half() for name, value in weights().items()}
    torch.save(found, tmp_path / "edm.pt")
    y = states(1)
    ours = edm_checkpoint(tmp_path / "edm.pt")(y, 0.5)
    expected = edm_denoised(plain(found), y[0].double().numpy(), 0.5, None, 0.5)
    np.testing.assert_allclose(ours[0].numpy(), expected, atol=TOLERANCE)


def test_any_function_is_preconditioned() -> None:
    """Table 1 of arXiv 2206.00364, at sigma = sigma_data = 0.5: c_skip = 1/2, c_out = 1/sqrt 8."""
    told = []

    def module(x: Tensor, c_noise: Tensor) -> Tensor:
        told.append(c_noise)
        return x

    y = states(1).double()
    mean = EDMDenoiser(module)(y, 0.5)
    torch.testing.assert_close(mean, y / 2 + y / 8**0.5 * 2**0.5)
    torch.testing.assert_close(told[0].double(), torch.tensor([np.log(0.5) / 4]))


def test_a_gaussians_mean_is_exact_whatever_its_width() -> None:
    """Without F the denoiser is the mean of images that are normal with width sigma_data."""
    y = states(2).double()
    for sd in (0.2, 1.5):
        zero = EDMDenoiser(lambda x, _c: torch.zeros_like(x), sigma_data=sd)
        torch.testing.assert_close(zero(y, 0.8), y * sd**2 / (sd**2 + 0.8**2))


@pytest.mark.parametrize("sigma_data", [0.0, -1.0, float("nan"), float("inf")])
def test_a_width_that_is_none_is_refused(sigma_data) -> None:
    with pytest.raises(NetworkError, match=r"sigma_data is .* Give the standard deviation"):
        EDMDenoiser(nn.Identity(), sigma_data=sigma_data)


def without(name: str) -> Callable[[Tensors], object]:
    return lambda found: found.pop(name)


def with_tensor(name: str, *shape: int) -> Callable[[Tensors], object]:
    return lambda found: found.update({name: torch.full(shape, 0.1)})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (Tensors.clear, "no weights named enc.32x32_"),
        (without("model.map_layer0.weight"), "a layer's weight has the shape"),
        (without("model.map_layer1.bias"), "Missing key.*bias"),
        (without("model.enc.8x8_block1.conv0.bias"), "Missing key.*bias"),
        (without("model.enc.8x8_conv.weight"), "a layer's weight has the shape"),
        (without("model.enc.4x4_down.skip.resample_filter"), "another filter"),
        (with_tensor("model.map_noise.freqs", 8), "unknown weights map_noise"),
        (with_tensor("model.enc.8x8_block2.a.weight", 3), "missing or unknown: dec.8x8_block3"),
        (with_tensor("model.enc.4x4_aux_residual.weight", 3), "unknown: enc.4x4_aux_residual"),
        (with_tensor("model.enc.4x8_block0.norm0.weight", 3), "of no square image"),
        (with_tensor("model.enc.1x1_block0.norm0.weight", 3), "missing or unknown: dec.1x1_block0"),
        (with_tensor("model.enc.7x7_block0.norm0.weight", 3), "8, 7, 4, 2 pixels"),
        (with_tensor("model.enc.8x8_block0.extra.weight", 3), "a block has the layers"),
        (with_tensor("model.enc.4x4_down.conv0.resample_filter", 1, 1, 4, 4), "another filter"),
        (with_tensor("model.dec.8x8_aux_conv.weight", 3, 17, 3, 3), "channel"),
        (with_tensor("model.dec.8x8_aux_conv.weight", 3, 16, 2, 2), "kernel of 2x2 pixels"),
        (with_tensor("model.map_layer0.weight", 64, 3), "noise is told by 3 numbers"),
        (with_tensor("model.enc.8x8_block1.norm1.weight", 18), "must be divisible"),
    ],
)
def test_another_network_is_refused_by_what_was_found(tmp_path, change, message) -> None:
    found = weights()
    change(found)
    torch.save(found, tmp_path / "edm.pt")
    with pytest.raises(NetworkError, match=rf"(?s)of no DDPM.*({message}).*Give the state_dict of"):
        edm_checkpoint(tmp_path / "edm.pt")


@pytest.mark.parametrize("value", [torch.tensor([torch.nan]), torch.tensor([3]), torch.zeros(0)])
def test_weights_that_are_no_numbers_are_refused_by_name(tmp_path, value) -> None:
    torch.save(weights() | {"model.map_layer0.bias": value}, tmp_path / "edm.pt")
    message = "finite numbers in map_layer0.bias|of no DDPM"
    with pytest.raises(NetworkError, match=message):
        edm_checkpoint(tmp_path / "edm.pt")


def huge(path: Path) -> None:
    tensor = torch.zeros(1).expand(10**6, 10**6)
    torch.save({"model.map_layer0.weight": tensor}, path)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (huge, "claim more numbers than the file holds"),
        (lambda path: torch.save([1, 2], path), "are no mapping of names to tensors"),
        (lambda path: torch.save({"a": 1}, path), "are no mapping of names to tensors"),
        (lambda path: torch.save(nn.Linear(2, 2), path), "cannot be read"),
        (lambda path: path.write_text("weights"), "cannot be read"),
        (lambda path: path.write_bytes(b""), "cannot be read"),
        (lambda _: None, "cannot be read"),
    ],
)
def test_a_file_of_something_else_is_refused_in_one_line(tmp_path, write, message) -> None:
    write(tmp_path / "edm.pt")
    with pytest.raises(NetworkError, match=message) as caught:
        edm_checkpoint(tmp_path / "edm.pt")
    assert "\n" not in str(caught.value)


def test_a_published_pickle_is_refused_with_the_way_out(tmp_path) -> None:
    with pytest.raises(NetworkError, match=r"Load a published .pkl with EDM's own code, and save"):
        edm_checkpoint(tmp_path / "edm-cifar10-32x32-cond-vp.pkl")
