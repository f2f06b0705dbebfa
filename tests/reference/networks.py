"""The networks in float64 numpy, one image at a time, from the weights by their names."""

from collections.abc import Mapping

import numpy as np
from numpy import ndarray

Weights = Mapping[str, ndarray]


def predicted_noise(
    architecture: str,
    weights: Weights,
    xt: ndarray,
    t: float,
    *,
    padding: str,
    label: int | None = None,
) -> ndarray:
    """Eps [c, h, w] of one state [c, h, w]."""
    weights = {name: np.asarray(value, dtype=np.float64) for name, value in weights.items()}
    network = resnet if architecture == "resnet" else unet
    return network(weights, np.asarray(xt, dtype=np.float64), t, label, padding)


def resnet(weights: Weights, xt: ndarray, t: float, label: int | None, padding: str) -> ndarray:
    shifts = [name for name in weights if name.startswith("shifts.") and "0.weight" in name]
    vector = embedding(weights, weights[shifts[0]].shape[1], t, label)
    depth = len(shifts) - 1
    state = conv3x3(weights, "first", xt, padding)
    for i in range(depth):
        shifted = state + shift(weights, f"shifts.{i}", vector)
        state = state + relu(conv3x3(weights, f"middle.{i}", shifted, padding))
    return conv3x3(weights, "last", state + shift(weights, f"shifts.{depth}", vector), padding)


def unet(weights: Weights, xt: ndarray, t: float, label: int | None, padding: str) -> ndarray:
    vector = embedding(weights, weights["down.0.shift.layers.0.weight"].shape[1], t, label)
    num_scales = 1 + max(int(name.split(".")[1]) for name in weights if name.startswith("down."))
    states = [block(weights, "down.0", xt, vector, padding)]
    for scale in range(1, num_scales):
        states.append(block(weights, f"down.{scale}", max_pool(states[-1]), vector, padding))
    state = states[-1]
    for i, scale in enumerate(reversed(range(num_scales - 1))):
        both = np.concatenate([states[scale], enlarge(weights, f"enlarge.{i}", state)])
        state = block(weights, f"up.{i}", both, vector, padding)
    return conv3x3(weights, "last", state, padding)


def block(weights: Weights, name: str, state: ndarray, vector: ndarray, padding: str) -> ndarray:
    hidden = relu(conv3x3(weights, f"{name}.convolutions.0", state, padding))
    hidden = hidden + shift(weights, f"{name}.shift", vector)
    i = 1
    while f"{name}.convolutions.{i}.weight" in weights:
        hidden = relu(conv3x3(weights, f"{name}.convolutions.{i}", hidden, padding))
        i += 1
    out = hidden + conv1x1(weights, f"{name}.project", state)
    with_attention = f"{name}.attention.project.weight" in weights
    return attention(weights, f"{name}.attention", out) if with_attention else out


def attention(weights: Weights, name: str, state: ndarray) -> ndarray:
    width, height, breadth = state.shape
    heads = max(1, width // 32)
    normal = group_norm(weights, f"{name}.normalize", state)
    parts = conv1x1(weights, f"{name}.queries_keys_values", normal)
    queries, keys, values = parts.reshape(3, heads, width // heads, height * breadth)
    seen = np.empty_like(values)
    for head in range(heads):
        logits = queries[head].T @ keys[head] / np.sqrt(width // heads)
        share = np.exp(logits - logits.max(axis=1, keepdims=True))
        share /= share.sum(axis=1, keepdims=True)
        seen[head] = (share @ values[head].T).T
    return state + conv1x1(weights, f"{name}.project", seen.reshape(state.shape))


def embedding(weights: Weights, size: int, t: float, label: int | None) -> ndarray:
    """Sines, then cosines of t at frequencies from 1 to 100, plus the class's vector."""
    half = (size + 1) // 2
    frequencies = [100 ** (i / (half - 1)) for i in range(half)]
    vector = np.array([np.sin(f * t) for f in frequencies] + [np.cos(f * t) for f in frequencies])
    vector = vector[:size]
    return vector if label is None else vector + weights["embedding.classes.weight"][label]


def shift(weights: Weights, name: str, vector: ndarray) -> ndarray:
    """ReLU(GroupNorm(linear)) as [channels, 1, 1]."""
    linear = weights[f"{name}.layers.0.weight"] @ vector + weights[f"{name}.layers.0.bias"]
    return relu(group_norm(weights, f"{name}.layers.1", linear[:, None, None]))


def group_norm(weights: Weights, name: str, state: ndarray) -> ndarray:
    """Eight groups of at least four channels if that divides them, else one."""
    groups = 8 if len(state) in {32, 64, 128, 256} else 1
    normal = []
    for part in np.split(state, groups):
        normal.append((part - part.mean()) / np.sqrt(part.var() + 1e-5))
    scale, offset = weights[f"{name}.weight"], weights[f"{name}.bias"]
    return np.concatenate(normal) * scale[:, None, None] + offset[:, None, None]


def conv3x3(weights: Weights, name: str, state: ndarray, padding: str) -> ndarray:
    weight, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
    padded = np.pad(
        state, ((0, 0), (1, 1), (1, 1)), mode="wrap" if padding == "circular" else "constant"
    )
    _, height, width = state.shape
    out = np.zeros((len(weight), height, width))
    for y in range(height):
        for x in range(width):
            out[:, y, x] = (weight * padded[:, y : y + 3, x : x + 3]).sum(axis=(1, 2, 3)) + bias
    return out


def conv1x1(weights: Weights, name: str, state: ndarray) -> ndarray:
    weight, bias = weights[f"{name}.weight"][:, :, 0, 0], weights[f"{name}.bias"]
    return np.tensordot(weight, state, axes=1) + bias[:, None, None]


def enlarge(weights: Weights, name: str, state: ndarray) -> ndarray:
    """Every pixel becomes four, each by a matrix of its own."""
    weight, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
    out = np.zeros((weight.shape[1], 2 * state.shape[1], 2 * state.shape[2]))
    for i in range(2):
        for j in range(2):
            out[:, i::2, j::2] = np.tensordot(weight[:, :, i, j].T, state, axes=1)
    return out + bias[:, None, None]


def max_pool(state: ndarray) -> ndarray:
    pixels = [state[:, i::2, j::2] for i in range(2) for j in range(2)]
    return np.max(pixels, axis=0)


def relu(values: ndarray) -> ndarray:
    return np.maximum(values, 0)
