"""Studies of machines and networks, a module each: its mathematics first, then its shell.

`verify` holds retrieval against exact sums, `audit` does so for a few pixels, `calibrate` finds
locality scales, `compare` holds a network against the theory, `denoise` measures all on images that
none of them holds; `baselines`, `locality_baselines`, `held_out`, `metrics` and `recall` are what
they measure with, `trial` is what is told of a network before.
"""

__all__ = [
    "audit",
    "baselines",
    "calibrate",
    "compare",
    "denoise",
    "held_out",
    "locality_baselines",
    "metrics",
    "recall",
    "trial",
    "verify",
]
