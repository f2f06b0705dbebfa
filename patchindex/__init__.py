"""What a patch is, and how to find it: image sets, patch geometry, kernels, and the index.

Names are imported when they are first asked for, as `__init__.pyi` says: torch takes seconds.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
