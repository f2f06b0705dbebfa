"""The operations that everything exact is made of; the back end behind each is chosen once."""

from patchindex.kernels.torch_rescore import centers_of, rescore, rescore_shared
from patchindex.kernels.torch_scan import scan
from patchindex.kernels.torch_whole import scan_whole

__all__ = ["centers_of", "rescore", "rescore_shared", "scan", "scan_whole"]
