"""The page of `sampler explain`: `page` writes it, `payload` makes the data inside it."""

__all__ = [
    "page",
    "payload",
]
