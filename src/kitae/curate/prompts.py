"""What models are asked while data is made or rated: `prompts.json`. What people read is elsewhere."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

from kitae.core.files import hash_text

_FILE = Path(__file__).parent / "prompts.json"


@lru_cache(maxsize=1)
def _prompts() -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = json.loads(_FILE.read_text(encoding="utf-8"))
    return found


def prompt(name: str, language: str, **values: object) -> str:
    """In Japanese for Japanese; else in English."""
    return _prompts()[name]["ja" if language == "ja" else "en"].format(**values)


def version() -> str:
    """Changes whenever any of them does."""
    return hash_text(_FILE.read_text(encoding="utf-8"))
