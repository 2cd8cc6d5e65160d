"""Where Kitae keeps things."""

from __future__ import annotations

import os
from pathlib import Path


def home() -> Path:
    return Path(os.environ.get("KITAE_HOME") or Path.home() / ".kitae").expanduser().absolute()


def runs_dir() -> Path:
    return home() / "runs"


def cache_dir() -> Path:
    """Things that can be made again. KITAE_CACHE lets several homes share one."""
    configured = os.environ.get("KITAE_CACHE")
    return Path(configured).expanduser().absolute() if configured else home() / "cache"


def offline() -> bool:
    return os.environ.get("KITAE_OFFLINE", "") not in ("", "0")
