"""The journeys that join rooms, each readable top to bottom in one file. The command line calls these,
and single rooms for what needs no other.

What others may use is named in __init__.pyi, and imported when it is first asked for.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
