"""How far means of the scan on tensor cores are from float64, without a GPU.

    python -m benchmarks.flash_errors --dataset sample --patch-size 3

Windows of the images are queries, with noise of seven levels, and keys. Tensor cores are emulated
at their worst: of 16 products and the sum before, all are cut off at the last place of the largest,
and so is their sum. Appends a row per level to benchmarks/results/flash_errors.jsonl.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy import ndarray
from numpy.lib.stride_tricks import sliding_window_view

from benchmarks.record import RESULTS, append_rows, time_and_commit
from patchindex import ImageSet

ALPHA_BARS = (0.999, 0.99, 0.9, 0.5, 0.1, 0.01, 0.001)
AT_ONCE = 16  # products that tensor cores add at once
SIGNIFICANT = 24  # bits of a float32
Weights = Callable[[ndarray], ndarray]


def cut(values: ndarray, ulp: ndarray) -> ndarray:
    """Multiples of a power of two, toward zero."""
    whole: ndarray = np.trunc(values / ulp) * ulp
    return whole


def last_place(values: ndarray) -> ndarray:
    """Of a float32 with this exponent."""
    place: ndarray = np.ldexp(1.0, np.frexp(values)[1] - SIGNIFICANT)
    return place


def added_products(sums: ndarray, queries: ndarray, keys: ndarray) -> ndarray:
    """Sums [q, n] and the products of queries [q, d] and keys [n, d]."""
    for first in range(0, queries.shape[1], AT_ONCE):
        some = slice(first, first + AT_ONCE)
        products = queries[:, None, some] * keys[None, :, some]
        ulp = last_place(np.maximum(np.abs(products).max(-1), np.abs(sums)))
        total = cut(products, ulp[..., None]).sum(-1) + cut(sums, ulp)
        sums = cut(total, last_place(total))
    return sums


def half(values: ndarray) -> ndarray:
    """As float16."""
    return values.astype(np.float16).astype(np.float64)


def single(values: ndarray) -> ndarray:
    """As float32."""
    return values.astype(np.float32).astype(np.float64)


WEIGHTS: dict[str, Weights] = {
    "split": lambda weights: half(weights) + half(weights - half(weights)),
    "float16": half,
}


def mean_of(weights: ndarray, centers: ndarray) -> ndarray:
    mean: ndarray = (weights @ centers) / weights.sum(1, keepdims=True)
    return mean


def errors(
    windows: ndarray, centers: ndarray, alpha_bar: float, num_queries: int, seed: int
) -> dict[str, float]:
    """Largest differences of means in [-1, 1], for some ways to be less exact.

    Args:
        windows: [n, d] gray levels less 127.5, the keys; queries are some of them with noise.
    """
    rng = np.random.default_rng(seed)
    sigma = 127.5 * ((1 - alpha_bar) / alpha_bar) ** 0.5
    own = windows[rng.choice(len(windows), num_queries, replace=False)]
    queries = 127.5 * single((own + sigma * rng.standard_normal(own.shape)) / 127.5)
    energies = np.square(windows).sum(1) / 2
    per_product = 1 / (np.log(2) * sigma**2)
    exact = (queries @ windows.T - energies) * per_product
    expected = mean_of(np.exp2(exact - exact.max(1, keepdims=True)), centers)
    scale = 2.0 ** (13 - np.ceil(np.log2(np.abs(queries).max())))
    high = half(queries * scale)
    low = half(queries * scale - high)
    of_high = added_products(np.zeros(exact.shape), high, windows)
    found = {}
    for name, products, kind in (
        ("as_built", added_products(of_high, low, windows), "split"),
        ("weights_float16", added_products(of_high, low, windows), "float16"),
        ("queries_float16", of_high, "split"),
    ):
        left = single(products - single(single(energies) * scale))
        exponent = float(np.float32(per_product / scale))
        weights = single(
            np.exp2(single(left * exponent - single(left.max(1) * exponent - 15)[:, None]))
        )
        mean = mean_of(WEIGHTS[kind](weights), centers)
        found[name] = float(np.abs(mean - expected).max() / 127.5)
    return found


def keys_of(images: ImageSet, patch_size: int, num_keys: int) -> tuple[ndarray, ndarray]:
    """Windows [n, d], filled up with zeros, and their centers [n, c], in gray levels less 127.5."""
    levels = np.asarray(images.pixels).astype(np.float64) - 127.5
    windows = sliding_window_view(levels, (patch_size, patch_size), axis=(2, 3))
    windows = windows.transpose(0, 2, 3, 1, 4, 5)
    places = np.unravel_index(
        np.random.default_rng(0).choice(windows[..., 0, 0, 0].size, num_keys, replace=False),
        windows.shape[:3],
    )
    chosen, half_size = windows[places], patch_size // 2
    flat = chosen.reshape(num_keys, -1)
    padded = np.pad(flat, ((0, 0), (0, -flat.shape[1] % AT_ONCE)))
    return padded, chosen[:, :, half_size, half_size]


@click.command()
@click.option("--dataset", default="sample", show_default=True)
@click.option("--limit", type=int, default=500, show_default=True, help="Images.")
@click.option("--patch-size", type=int, default=3, show_default=True)
@click.option("--keys", type=int, default=8000, show_default=True)
@click.option("--queries", type=int, default=24, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS / "flash_errors.jsonl")
def main(*, dataset: str, limit: int, patch_size: int, keys: int, queries: int, out: Path) -> None:
    images = ImageSet.load(dataset, limit=limit)
    windows, centers = keys_of(images, patch_size, keys)
    about: dict[str, Any] = time_and_commit() | {
        "config": {"dataset": dataset, "limit": limit, "keys": keys, "queries": queries}
    }
    for alpha_bar in ALPHA_BARS:
        found = errors(windows, centers, alpha_bar, queries, seed=1)
        row = {"patch_size": patch_size, "channels": images.channels, "alpha_bar": alpha_bar}
        append_rows(out, [about | row | found])
        told = ", ".join(f"{name} {error:.1e}" for name, error in found.items())
        click.echo(f"P {patch_size}, alpha_bar {alpha_bar}: {told}")


if __name__ == "__main__":
    main()
