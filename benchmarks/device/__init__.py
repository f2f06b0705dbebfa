"""The GPU path measured: exact scan, rescoring and retrieval, with shares of the chip's limits."""
