"""Searches in inverted lists, one for each way; `patchindex.index.search` chooses among them."""

__all__ = [
    "faiss",
    "native",
    "triton",
]
