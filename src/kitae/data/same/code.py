"""Code and prose are compared by other measures: in code every sign and every line break counts."""

from __future__ import annotations

import re
from functools import lru_cache

_SEEN = 8000  # characters that are enough to tell
_CODE_LINE = re.compile(
    r"^[ \t]*(?:import \w|from \w[\w.]* import|def \w+\(|class \w+\b.*[:{][ \t]*$|function\b.*\(|(?:const|let|var) \w+|"
    r"#include|<\?php|<!DOCTYPE|[ \t]+return\b|"
    r"SELECT\b|INSERT INTO|UPDATE \w+ SET|CREATE TABLE|public |private |print\(|return\b.*;|"
    r"console\.|System\.|\$\w+ ?=|\w+\(.*\);?[ \t]*$|.*[;{}][ \t]*$|</?\w+[^<>]*>[ \t]*$)",
    re.MULTILINE,
)


@lru_cache(maxsize=512)
def looks_like_code(text: str) -> bool:
    """A fence, or several lines that no prose has."""
    if "```" in text:
        return True
    if "\n" not in text:
        return text[-1:] in (";", ")", "}", ">") and ("(" in text or "<" in text) and bool(_CODE_LINE.search(text, 0, _SEEN))
    text = text.replace("\r\n", "\n")
    lines = text.count("\n", 0, _SEEN) + 1
    found = len(_CODE_LINE.findall(text, 0, _SEEN))
    return found >= 2 and found * 3 >= lines
