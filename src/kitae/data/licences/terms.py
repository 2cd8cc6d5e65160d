"""What each licence asks for: `terms.json`, one entry a licence."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

# What may be made of a model's outputs: anything; what its terms allow; what the contract of whoever made them allows; none.
Outputs = Literal["free", "terms", "contract", "forbidden"]


@dataclass(frozen=True)
class Terms:
    id: str
    commercial: bool
    changes: bool  # whether changed versions may be made and passed on
    share_alike: tuple[str, ...] | None  # licences that a changed version must have one of
    attribution: bool
    outputs: Outputs
    notice: str | None
    name: str | None  # what a model's name must begin with, or what must be shown beside it
    terms: str | None  # conditions that must be passed on
    also: tuple[str, ...] = ()  # names by which others call it


@lru_cache(maxsize=1)
def _known() -> dict[str, Terms]:
    found: dict[str, Terms] = {}
    for entry in json.loads((Path(__file__).parent / "terms.json").read_text(encoding="utf-8")):
        share = entry.pop("share_alike")
        terms = Terms(**{**entry, "also": tuple(entry["also"])}, share_alike=None if share is None else tuple(share))
        for name in (terms.id, *terms.also):
            found[_plain(name)] = terms
    return found


def terms_of(name: str) -> Terms | None:
    """None: nobody here knows it, so nothing is allowed by it."""
    return _known().get(_plain(name))


def _plain(name: str) -> str:
    """`CC BY-SA 4.0` and `cc-by-sa-4.0` are the same; whatever else somebody adds makes another licence, which nobody knows."""
    return re.sub(r"[\s_-]", "", name.casefold().strip().removeprefix("licenseref-"))
