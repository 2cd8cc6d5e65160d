"""Why a token was chosen: what its rivals were, before and after each thing that settings do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from kitae.generate.sampling import Logits, Probabilities, Wish, adjusted, filtered
from kitae.generate.settings import Settings

# In the order in which they work; see sampling.py.
STAGES: dict[str, tuple[str, ...]] = {
    "repetition": ("repetition_penalty",),
    "presence": ("presence_penalty",),
    "frequency": ("frequency_penalty",),
    "dry": ("dry_multiplier", "dry_base", "dry_allowed"),
    "bias": ("logit_bias",),
    "bans": ("bans",),
    "temperature": ("temperature",),
    "top-k": ("top_k",),
    "typical": ("typical_p",),
    "top-p": ("top_p",),
    "min-p": ("min_p",),
}


@dataclass(frozen=True)
class Stage:
    """`name`: the setting that was added; "model" for what the model itself says."""

    name: str
    probabilities: Probabilities


def stages(logits: Logits, wish: Wish) -> list[Stage]:
    """One more setting at each, of those that are on. The last one is what was drawn from."""
    so_far = Settings(temperature=1.0)
    found = [Stage("model", _after(logits, wish, so_far))]
    for name, fields in STAGES.items():
        wanted = {field: getattr(wish.settings, field) for field in fields}
        if all(getattr(_OFF, field) == value for field, value in wanted.items()):
            continue
        so_far = replace(so_far, **wanted)
        found.append(Stage(name, _after(logits, wish, so_far)))
    return found


_OFF = Settings(temperature=1.0)


def _after(logits: Logits, wish: Wish, settings: Settings) -> Probabilities:
    values = adjusted(logits, wish._replace(settings=settings))
    if settings.temperature > 0:
        return filtered(values, settings)
    likeliest = np.zeros(len(values))
    likeliest[int(np.argmax(values))] = 1.0
    return likeliest


def candidates(found: Sequence[Stage], count: int) -> list[int]:
    """The tokens worth showing: the likeliest of the first and of the last stage."""
    first, last = (np.argsort(-stage.probabilities, kind="stable")[:count].tolist() for stage in (found[0], found[-1]))
    return list(dict.fromkeys([*first, *(token for token in last if found[-1].probabilities[token] > 0)]))
