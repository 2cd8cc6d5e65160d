"""What a person has to see of two things that should be the same: where they part, and what stands there."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

_BEFORE, _AFTER = 20, 28  # so that both sides stand on one line
_IDS_BEFORE, _IDS_AFTER = 2, 6
_NONE = "–"
_LAYER = re.compile(r"(?:layers|blk|h)\.(\d+)\.")


def first_difference(ours: Sequence[object], theirs: Sequence[object]) -> int:
    shorter = min(len(ours), len(theirs))
    return next((i for i in range(shorter) if ours[i] != theirs[i]), shorter)


def texts_apart(theirs: str, ours: str) -> str:
    at = first_difference(ours, theirs)

    def part(text: str) -> str:
        start, end = max(0, at - _BEFORE), at + _AFTER
        return ("…" if start else "") + repr(text[start:end]) + ("…" if end < len(text) else "")

    return f"character {at}: {part(theirs)} ≠ {part(ours)}"


def ids_apart(theirs: Sequence[int], ours: Sequence[int]) -> str:
    at = first_difference(ours, theirs)

    def part(ids: Sequence[int]) -> str:
        start, end = max(0, at - _IDS_BEFORE), at + _IDS_AFTER
        shown = [*(["…"] if start else []), *map(str, ids[start:end]), *(["…"] if end < len(ids) else [])]
        return f"[{' '.join(shown)}]"

    return f"token {at}: {part(theirs)} ≠ {part(ours)}"


def values_apart(theirs: Mapping[str, object], ours: Mapping[str, object], names: Iterable[str] | None = None) -> list[str]:
    """`name: value ≠ value` for each that isn't the same; what is in neither counts as the same."""
    wanted = sorted(theirs.keys() | ours.keys()) if names is None else names
    return [
        f"{name}: {_shown(theirs.get(name))} ≠ {_shown(ours.get(name))}"
        for name in wanted
        if theirs.get(name) != ours.get(name)
    ]


def tensors_in_words(names: Sequence[str], total: int) -> Iterator[str]:
    """One, a layer, or all: which it is says what happened."""
    layers = {match.group(1) for name in names if (match := _LAYER.search(name))}
    if len(names) == total:
        yield f"{total} / {total} tensors"
    elif len(layers) == 1 and len(names) > 1 and all(_LAYER.search(name) for name in names):
        yield f"{len(names)} / {total} tensors, layer {layers.pop()}"
    else:
        yield f"{len(names)} / {total} tensors"
    yield ", ".join(names[:4]) + (" …" if len(names) > 4 else "")


def _shown(value: object) -> str:
    return _NONE if value is None else str(value)[:60]
