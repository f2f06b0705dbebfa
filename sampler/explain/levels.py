"""Numbers as the page keeps them: whole levels of one or two bytes, which deflate well."""

import numpy as np
from jaxtyping import Float, UInt8, UInt16
from numpy import ndarray

FINEST = 65535


def linear_levels(values: Float[ndarray, "..."], low: float, high: float) -> UInt8[ndarray, "..."]:
    """0 for `low` and less, 255 for `high` and more."""
    scaled = (values.astype(np.float32) - low) * (255 / (high - low))
    levels: UInt8[ndarray, "..."] = scaled.round().clip(0, 255).astype(np.uint8)
    return levels


def log_levels(
    values: Float[ndarray, "..."],
) -> tuple[UInt8[ndarray, "..."], tuple[float, float]]:
    """1 to 255 over the logarithms of the positive values, 0 for zero; and log10 of both ends."""
    positive = values > 0
    logs = np.log10(values, where=positive, out=np.zeros(values.shape, np.float32))
    known = logs[positive]
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
    high = max(high, low + 0.1)  # equal values need some range, too
    levels = 1 + ((logs - low) * (254 / (high - low))).round().clip(0, 254)
    kept: UInt8[ndarray, "..."] = np.where(positive, levels, 0).astype(np.uint8)
    return kept, (low, high)


def share_levels(
    weights: Float[ndarray, "*q m"],
) -> tuple[UInt16[ndarray, "*q m"], UInt16[ndarray, "*q"]]:
    """Shares in steps of 1 / 65535, and what they leave of the whole."""
    levels = (weights.astype(np.float64) * FINEST).round().astype(np.int64)
    rest = (FINEST - levels.sum(axis=-1)).clip(0)
    return levels.astype(np.uint16), rest.astype(np.uint16)
