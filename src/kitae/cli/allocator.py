"""Memory that stays with the process. glibc gives large blocks back to the system at once and asks for them again in the
next step; zeroing those pages costs a third of the training time on a CPU (docs/benchmarks.md).

The settings are read when a process starts, so the heavy commands start again with them set.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

SETTINGS = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(1 << 40),
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
}
_HEAVY = ("quickstart", "train", "ship", "verify")


def keep_memory(arguments: Sequence[str]) -> None:
    """Replaces this process by itself with the settings, if the command is heavy and nobody chose others."""
    heavy = next((a for a in arguments if not a.startswith("-")), "") in _HEAVY
    if sys.platform == "linux" and heavy and not any(name in os.environ for name in SETTINGS):
        os.environ.update(SETTINGS)
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
