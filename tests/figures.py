"""What a figure file must be at least: an image of some size, with content on a white ground."""

from pathlib import Path

import numpy as np
from PIL import Image


def assert_drawn(path: Path) -> None:
    """Not blank, not one color, and with content in each quarter, where no panel failed."""
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"))
    height, width, _ = pixels.shape
    assert min(height, width) >= 400, f"{path.name} is {height}x{width} pixels"
    ink = (pixels < 250).any(axis=2)
    for rows in (slice(height // 2), slice(height // 2, None)):
        for cols in (slice(width // 2), slice(width // 2, None)):
            share = ink[rows, cols].mean()
            assert 0.01 < share < 0.9, f"{path.name}: {share:.1%} of a quarter is drawn"
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 16
