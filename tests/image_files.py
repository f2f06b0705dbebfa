"""Writes the small image files that tests read: idx, PNG and JPEG."""

import gzip
import io
import struct
from pathlib import Path

import numpy as np
from numpy import ndarray
from PIL import Image


def write_idx(path: Path, array: ndarray) -> None:
    """An idx file of unsigned bytes, gzipped if its name ends in `.gz`."""
    header = bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape)
    data = header + array.astype(np.uint8).tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


def write_mnist(folder: Path, images: ndarray, labels: ndarray, *, split: str = "train") -> None:
    """The pair of files that MNIST consists of."""
    write_idx(folder / f"{split}-images-idx3-ubyte.gz", images)
    write_idx(folder / f"{split}-labels-idx1-ubyte.gz", labels)


def write_png(path: Path, pixels: ndarray) -> None:
    """An image file of [h, w] grey or [h, w, 3] colour pixels, in the format of its suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def jpeg_bytes(pixels: ndarray) -> bytes:
    """A JPEG file of [h, w, 3] pixels, at the best quality."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=100, subsampling=0)
    return stream.getvalue()
