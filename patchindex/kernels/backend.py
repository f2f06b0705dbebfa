"""Which back end computes: chosen once, when the kernels are first imported.

`PATCHINDEX_KERNELS=torch|native` forces one; otherwise the native one serves where it was built.
"""

import logging
import os
from importlib.util import find_spec

from patchindex.errors import KernelError

logger = logging.getLogger(__name__)

VARIABLE = "PATCHINDEX_KERNELS"


def choose_backend() -> str:
    """`native` or `torch`.

    Raises:
        KernelError: the environment forces a back end that does not exist or was not built.
    """
    built = find_spec("patchindex.kernels._native") is not None
    forced = os.environ.get(VARIABLE, "")
    if forced not in ("", "torch", "native"):
        raise KernelError(f"{VARIABLE} is {forced!r}. Give torch or native, or leave it unset.")
    if forced == "native" and not built:
        raise KernelError(
            f"{VARIABLE} is native, but the C++ kernels were not built. Install a C++ compiler and "
            "install patchindex again, or unset the variable to compute in torch."
        )
    if not built and not forced:
        logger.warning(
            "the C++ kernels were not built, so torch computes, several times slower. "
            "To get them, install a C++ compiler and install patchindex again."
        )
    return forced or ("native" if built else "torch")


BACKEND = choose_backend()
