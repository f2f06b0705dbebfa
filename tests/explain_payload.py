"""A small run as the page of `sampler explain` takes it: invented, but of the right form."""

from typing import Any

import numpy as np
from numpy import ndarray

STEPS, SAMPLES, HEIGHT, WIDTH, SOURCES = 4, 3, 12, 10, 3
EMBEDDED = np.array([3, 40, 57, 58, 900])
ABSENT = 7000  # a source whose picture the file does not hold
PATCH_SIZES = (9, 7, 5, 3)


def payload(channels: int = 1, **changes: Any) -> tuple[dict[str, Any], dict[str, ndarray]]:
    """Header and arrays; the first step has no sources, later ones up to three a pixel."""
    rng = np.random.default_rng(0)
    pixels = (STEPS, SAMPLES, HEIGHT, WIDTH)
    images = (STEPS, SAMPLES, channels, HEIGHT, WIDTH)
    arrays = {
        "state": levels(rng, images),
        "mean": levels(rng, images),
        "effective_sample_size": levels(rng, pixels),
        "standard_error": levels(rng, pixels),
        "head_mass": levels(rng, pixels),
        "embedded_number": EMBEDDED.astype(np.int32),
        "embedded": levels(rng, (len(EMBEDDED), channels, HEIGHT, WIDTH)),
        "embedded_label": np.array([0, 1, 2, -1, 1], dtype=np.int16),
        "held_against": levels(rng, (1, channels, HEIGHT, WIDTH)),
        "left_out": levels(rng, (1, channels, HEIGHT, WIDTH)),
        **source_arrays(rng, pixels),
    }
    return header() | changes, arrays


def levels(rng: np.random.Generator, shape: tuple[int, ...]) -> ndarray:
    return rng.integers(0, 256, shape, dtype=np.uint8)


def source_arrays(rng: np.random.Generator, pixels: tuple[int, ...]) -> dict[str, ndarray]:
    """Weights that fall from source to source and sum to one with the unattributed share."""
    numbers = rng.choice([*EMBEDDED, ABSENT], size=(*pixels, SOURCES))
    parts = np.sort(rng.dirichlet(np.ones(SOURCES + 1), size=pixels))[..., ::-1]
    count = rng.integers(1, SOURCES + 1, pixels)
    count[0] = 0
    listed = np.arange(SOURCES) < count[..., None]
    weights = np.round(65535 * parts[..., :SOURCES] * listed).astype(np.uint16)
    return {
        "source_image": np.where(listed, numbers, -1).astype(np.int32),
        "source_place": rng.integers(0, HEIGHT * WIDTH, (*pixels, SOURCES)).astype(np.uint16),
        "source_weight": weights,
        "unattributed": (65535 - weights.sum(axis=-1, dtype=np.int64)).astype(np.uint16),
    }


def header() -> dict[str, Any]:
    steps = [
        {
            "t": t,
            "sigma": 10 * t**2,
            "patch_size": side,
            "state_range": [-1 - 3 * t, 1 + 3 * t],
            "effective_sample_size": 100.0,
        }
        for t, side in zip((1.0, 0.7, 0.4, 0.1), PATCH_SIZES, strict=True)
    ]
    made = [
        {"image": 57, "share": 0.5, "label": 2},
        {"image": 3, "share": 0.2, "label": 0},
        {"image": ABSENT, "share": 0.05, "label": 1},
    ]
    return {
        "title": "ELS machine over a few small images",
        "facts": [["Machine", "ELS"], ["Training images", "9,000"]],
        "steps": steps,
        "boundary": "zeros",
        "samples": [
            {
                "label": label,
                "unattributed": 0.15,
                "others": 0.1,
                "images": made,
                "sentence": "15.0 % is unattributed.",
                "rest": {"average_share": 0.01},
            }
            for label in (0, 2, None)
        ],
        "leave_out": [
            {"sample": 1, "removed": [57, 3], "distance": 0.25, "control_distance": 0.03}
        ],
        "log_ranges": {"effective_sample_size": [0.0, 6.0], "standard_error": [-6.0, 0.0]},
        "least_share": 0.005,
        "class_names": ["shirt", "shoe", "coat"],
        "num_training_images": 9000,
    }
