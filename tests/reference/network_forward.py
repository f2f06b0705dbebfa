"""Others' networks in float64 numpy, one image at a time, from the weights by the files' names."""

from collections.abc import Mapping

import numpy as np
from numpy import ndarray

Weights = Mapping[str, ndarray]


def paper_resnet(w: Weights, xt: ndarray, t: float, label: int | None, padding: str) -> ndarray:
    """MinimalResNet's eps [c, h, w]."""
    vector = paper_embedding(w, w["embs.0.0.weight"].shape[1], t, label)
    state = conv(w, "up_projection", xt, padding)
    depth = count(w, "convs")
    for i in range(depth):
        told = state + told_by(w, f"embs.{i}", vector)[:, None, None]
        state = state + np.maximum(conv(w, f"convs.{i}.0", told, padding), 0)
    if count(w, "embs") > depth:
        state = state + told_by(w, f"embs.{depth}", vector)[:, None, None]
    else:
        state = 2 * state
    return conv(w, "down_projection", state, padding)


def told_by(w: Weights, name: str, vector: ndarray) -> ndarray:
    """ReLU of the linear layer's vector, normalized in eight groups."""
    out = linear(w, f"{name}.0", vector)
    return np.maximum(group_norm(w, f"{name}.1", out[:, None, None], 8, 1e-5)[:, 0, 0], 0)


def paper_unet(w: Weights, xt: ndarray, t: float, label: int | None, padding: str) -> ndarray:
    """MinimalUNet's eps [c, h, w]."""
    vector = paper_embedding(w, w["last_emb.1.weight"].shape[1], t, label)
    state, kept = xt, []
    for i in range(count(w, "feature_blocks")):
        state = paper_block(w, f"feature_blocks.{i}", state, vector, padding)
        kept.append(state)
        c, h, v = state.shape
        state = state.reshape(c, h // 2, 2, v // 2, 2).max(axis=(2, 4))
    state = paper_block(w, "bottleneck", state, vector, padding)
    for i in range(count(w, "upsamples")):
        kernel, bias = w[f"upsamples.{i}.weight"], w[f"upsamples.{i}.bias"]
        c, h, v = state.shape
        large = np.zeros((kernel.shape[1], 2 * h, 2 * v))
        for y in range(2):
            for x in range(2):
                large[:, y::2, x::2] = np.einsum("io,ihw->ohw", kernel[:, :, y, x], state)
        both = np.concatenate([kept.pop(), large + bias[:, None, None]])
        state = paper_block(w, f"output_blocks.{i}", both, vector, padding)
    last = linear(w, "last_emb.1", np.maximum(vector, 0))
    return conv(w, "output_conv", state + last[:, None, None], padding)


def paper_block(w: Weights, name: str, state: ndarray, vector: ndarray, padding: str) -> ndarray:
    state = state + linear(w, f"{name}.emb.1", np.maximum(vector, 0))[:, None, None]
    for i in (0, 2):
        state = np.maximum(conv(w, f"{name}.model.{i}", state, padding), 0)
    return state


def paper_embedding(w: Weights, size: int, t: float, label: int | None) -> ndarray:
    half = size // 2
    angles = np.array([t / 10000 ** (i / (half - 1)) for i in range(half)])
    vector = np.concatenate([np.sin(angles), np.cos(angles)])
    return vector if label is None else vector + w["embedding.class_embeddings.weight"][label]


def edm_denoised(
    w: Weights, y: ndarray, sigma: float, label: int | None, sigma_data: float
) -> ndarray:
    """The preconditioned network's D(y, sigma) [c, h, w]: arXiv 2206.00364, equation 7."""
    total = sigma**2 + sigma_data**2
    out = edm_network(w, y / np.sqrt(total), np.log(sigma) / 4, label)
    return sigma_data**2 / total * y + sigma * sigma_data / np.sqrt(total) * out


def edm_network(w: Weights, x: ndarray, c_noise: float, label: int | None) -> ndarray:
    half = w["map_layer0.weight"].shape[1] // 2
    angles = np.array([c_noise * (1 / 10000) ** (i / (half - 1)) for i in range(half)])
    vector = np.concatenate([np.sin(angles), np.cos(angles)])
    if label is not None:
        classes = w["map_label.weight"].shape[1]
        one_hot = np.eye(classes)[label] * np.sqrt(classes)
        vector = vector + linear(w, "map_label", one_hot)
    vector = silu(linear(w, "map_layer1", silu(linear(w, "map_layer0", vector))))
    sizes = sorted({int(n.split(".")[1].split("x")[0]) for n in w if n[:4] == "enc."})[::-1]
    kept = []
    for size in sizes:
        at = f"enc.{size}x{size}"
        x = conv(w, f"{at}_conv", x) if size == sizes[0] else edm_block(w, f"{at}_down", x, vector)
        kept.append(x)
        for i in range(edm_blocks(w, at)):
            x = edm_block(w, f"{at}_block{i}", x, vector)
            kept.append(x)
    for size in sizes[::-1]:
        at = f"dec.{size}x{size}"
        for kind in ("in0", "in1") if size == sizes[-1] else ("up",):
            x = edm_block(w, f"{at}_{kind}", x, vector)
        for i in range(edm_blocks(w, at)):
            x = edm_block(w, f"{at}_block{i}", np.concatenate([x, kept.pop()]), vector)
    x = silu(edm_norm(w, f"dec.{sizes[0]}x{sizes[0]}_aux_norm", x))
    return conv(w, f"dec.{sizes[0]}x{sizes[0]}_aux_conv", x)


def edm_blocks(w: Weights, at: str) -> int:
    return len({name.split(".")[1] for name in w if name.startswith(f"{at}_block")})


def edm_block(w: Weights, name: str, x: ndarray, vector: ndarray) -> ndarray:
    def resized(state: ndarray) -> ndarray:
        c, h, v = state.shape
        if name.endswith("_down"):
            return state.reshape(c, h // 2, 2, v // 2, 2).mean(axis=(2, 4))
        return state.repeat(2, axis=1).repeat(2, axis=2) if name.endswith("_up") else state

    hidden = conv(w, f"{name}.conv0", resized(silu(edm_norm(w, f"{name}.norm0", x))))
    hidden = hidden + linear(w, f"{name}.affine", vector)[:, None, None]
    hidden = conv(w, f"{name}.conv1", silu(edm_norm(w, f"{name}.norm1", hidden)))
    x = resized(x)
    if f"{name}.skip.weight" in w:
        x = conv(w, f"{name}.skip", x)
    x = np.sqrt(0.5) * (x + hidden)
    if f"{name}.qkv.weight" not in w:
        return x
    c, h, v = x.shape
    asked = conv(w, f"{name}.qkv", edm_norm(w, f"{name}.norm2", x)).reshape(c, 3, h * v)
    logits = np.einsum("cq,ck->qk", asked[:, 0], asked[:, 1]) / np.sqrt(c)
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    weights = weights / weights.sum(axis=1, keepdims=True)
    seen = np.einsum("qk,ck->cq", weights, asked[:, 2]).reshape(c, h, v)
    return np.sqrt(0.5) * (x + conv(w, f"{name}.proj", seen))


def edm_norm(w: Weights, name: str, x: ndarray) -> ndarray:
    return group_norm(w, name, x, min(32, len(x) // 4), 1e-6)


def conv(w: Weights, name: str, x: ndarray, padding: str = "zeros") -> ndarray:
    """A convolution that keeps the size, one place of the kernel after another."""
    kernel = w[f"{name}.weight"]
    reach, (_, h, v) = kernel.shape[2] // 2, x.shape
    mode = {"zeros": "constant", "circular": "wrap"}[padding]
    wide = np.pad(x, ((0, 0), (reach, reach), (reach, reach)), mode=mode)  # type: ignore[call-overload]
    out = np.zeros((kernel.shape[0], h, v))
    for i in range(kernel.shape[2]):
        for j in range(kernel.shape[3]):
            out += np.einsum("oc,chw->ohw", kernel[:, :, i, j], wide[:, i : i + h, j : j + v])
    return out + w[f"{name}.bias"][:, None, None]


def linear(w: Weights, name: str, vector: ndarray) -> ndarray:
    return w[f"{name}.weight"] @ vector + w[f"{name}.bias"]


def group_norm(w: Weights, name: str, x: ndarray, groups: int, eps: float) -> ndarray:
    parts = x.reshape(groups, -1)
    parts = parts - parts.mean(axis=1, keepdims=True)
    parts = parts / np.sqrt((parts**2).mean(axis=1, keepdims=True) + eps)
    scale, shift = w[f"{name}.weight"], w[f"{name}.bias"]
    return parts.reshape(x.shape) * scale[:, None, None] + shift[:, None, None]


def silu(x: ndarray) -> ndarray:
    return x / (1 + np.exp(-x))


def count(w: Weights, name: str) -> int:
    """How many modules the list has."""
    return len({key.split(".")[1] for key in w if key.startswith(f"{name}.")})
