"""Whoever answers: a model on this machine, or an endpoint; what was said is kept, and costs no more than was allowed.

What others may use is named in __init__.pyi, and imported when it is first asked for.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
