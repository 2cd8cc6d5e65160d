"""One catalogue of sentences, English and Japanese side by side: `messages/*.json`, `{"key": {"en": …, "ja": …}}`."""

from __future__ import annotations

import json
import os
from functools import lru_cache
from pathlib import Path

LANGUAGES = ("en", "ja")
_chosen: str | None = None


def set_language(language: str | None) -> None:
    global _chosen
    _chosen = language


def language() -> str:
    """What the user chose, else KITAE_LANG, else the locale's language where Kitae speaks it, else English."""
    if _chosen in LANGUAGES:
        return str(_chosen)
    for variable in ("KITAE_LANG", "LC_ALL", "LC_MESSAGES", "LANG"):
        value = os.environ.get(variable, "")
        if value:
            return value[:2] if value[:2] in LANGUAGES else "en"
    return "en"


@lru_cache(maxsize=1)
def catalogue() -> dict[str, dict[str, str]]:
    entries: dict[str, dict[str, str]] = {}
    for path in sorted((Path(__file__).parent / "messages").glob("*.json")):
        entries.update(json.loads(path.read_text(encoding="utf-8")))
    return entries


def t(key: str, lang: str | None = None, /, **fields: object) -> str:
    """The sentence of a key. A missing key is a mistake of the programmer, and fails loudly."""
    return catalogue()[key][lang or language()].format(**fields)
