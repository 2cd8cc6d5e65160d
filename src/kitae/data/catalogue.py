"""Data sets under short names, with who says what of their licences: `catalogue.json`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from kitae.core.row_options import Format


@dataclass(frozen=True)
class Entry:
    name: str
    hub: str
    files: str
    format: Format
    rows: int
    megabytes: int
    licences: tuple[tuple[str, str], ...]  # each with who says so

    @property
    def source(self) -> Path:
        return Path(f"hub:{self.hub}:{self.files}")

    @property
    def licence(self) -> str:
        return ", ".join(licence for licence, _ in self.licences)


@lru_cache(maxsize=1)
def catalogue() -> dict[str, Entry]:
    found = json.loads((Path(__file__).parent / "catalogue.json").read_text(encoding="utf-8"))
    return {
        name: Entry(name, **{**entry, "licences": tuple(tuple(claim) for claim in entry["licences"])})
        for name, entry in found.items()
    }
