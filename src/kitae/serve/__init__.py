"""HTTP: an OpenAI-compatible server. It has no decode loop and no logic of its own.

What others may use is named in __init__.pyi, and imported when it is first asked for.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
