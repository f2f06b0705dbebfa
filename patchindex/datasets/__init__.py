"""Images from files, archives and hubs, those named by a card, and those that a program has.

Names are imported when they are first asked for, as `__init__.pyi` says: cards need no torch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
