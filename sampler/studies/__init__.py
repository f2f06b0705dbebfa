"""Studies of machines and networks, a module each: its mathematics first, then its shell.

`verify` holds retrieval against exact sums, `calibrate` finds locality scales, `compare` holds a
network against the theory; `baselines`, `metrics` and `recall` are what they measure with.
"""

__all__ = [
    "baselines",
    "calibrate",
    "compare",
    "metrics",
    "recall",
    "verify",
]
