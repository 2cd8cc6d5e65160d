"""Gates on whether two forms of a model are the same: they read texts alike, and give every token the same probability."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from kitae.recipe import Thresholds
from kitae.verify.compare import Divergence, divergence
from kitae.verify.evidence import ids_apart, texts_apart, values_apart
from kitae.verify.gate import Gate, passed, refused, skipped, warned
from kitae.verify.observe import LONG_TAIL, LogitsFile, Observation

_SHOWN = 5
_ROUNDED = 0.01  # nats that weights in bf16 may cost


def other_text(reference: Observation, other: Observation) -> Gate | None:
    """A folder that reads or ends text differently is another model, whatever its weights; None if it doesn't."""
    gate, apart = "merge.equivalent", []
    if reference.facts["template"].removesuffix("\n") != other.facts["template"].removesuffix("\n"):
        apart.append(f"template: {texts_apart(other.facts['template'], reference.facts['template'])}")
    shown = [
        texts_apart(theirs, ours)
        for ours, theirs in zip(reference.facts["rendered"], other.facts["rendered"], strict=True)
        if ours != theirs
    ]
    apart += [f"rendered: {line}" for line in shown[:1]]
    apart += ids_in_words(reference, other)
    apart += values_apart(other.facts, reference.facts, ["stop_tokens"])
    if apart:
        return refused(gate, "other-text", len(apart), 0, apart[:_SHOWN])
    return None


def ids_in_words(reference: Observation, other: Observation) -> list[str]:
    """Of texts, and of chats that both render alike, those that are read as other tokens."""
    texts = [
        f"{text[:40]!r}: {ids_apart(theirs, ours)}"
        for text, ours, theirs in zip(other.job.texts, reference.text_ids, other.text_ids, strict=True)
        if ours != theirs
    ]
    rendered = zip(reference.facts["rendered"], other.facts["rendered"], strict=True)
    alike = (ours == theirs for ours, theirs in rendered)
    chats = [
        f"…{chat[-1]['content'][-40:]!r}: {ids_apart(theirs, ours)}"
        for chat, same, ours, theirs in zip(other.job.chats, alike, reference.chat_ids, other.chat_ids, strict=True)
        if same and ours != theirs
    ]
    return [*chats, *texts]


def equivalent(
    gate: str,
    reference: Observation,
    other: Observation,
    limits: Thresholds,
    rounded: bool = False,
    apart: Sequence[str] = (),
    changed: Sequence[str] = (),
) -> Gate:
    """The same distribution over the same tokens, within the noise of the arithmetic, also far into a text.

    `rounded`: the weights are shown to be the same, but for bf16. `apart`: what is known of the difference, if there is one.
    `changed`: weights that are others, whatever that does to the texts that were asked.
    """
    if reference.logits is None or other.logits is None:
        return skipped(gate, "no-rows")
    found = divergence(reference.row_logits(), other.row_logits(), targets(reference))
    measured: dict[str, object] = {**found.as_dict()}
    limit = {"mean": limits.equivalent_kld, "top1": limits.equivalent_top1}
    settings = settings_apart(reference, other)
    if math.isnan(found.mean):
        return refused(gate, "not-finite", None, limit, [found.line(), *apart])
    exact = _alike(found, limits)
    if not exact and not (rounded and found.mean < _ROUNDED):
        return refused(gate, "differs", measured, limit, [found.line(), *settings[:_SHOWN], *apart])
    far = long_divergence(reference, other)
    if far is not None:
        measured |= {"long": far.as_dict()}
        exact &= _alike(far, limits)
        if not _alike(far, limits) and not (rounded and far.mean < _ROUNDED):
            evidence = [f"{len(reference.job.long)} tokens: {far.line()}", *settings[:_SHOWN]]
            return refused(gate, "far-in", measured, limit, evidence, tokens=len(reference.job.long))
    ours, theirs = reference.facts["context"], other.facts["context"]
    if ours and theirs and theirs < ours:
        return refused(gate, "shorter", theirs, ours, [f"{theirs} ≠ {ours}"], theirs=theirs, ours=ours)
    if not exact:
        return warned(gate, "rounded", measured, limit, [found.line()])
    if changed:
        return warned(gate, "other-weights", measured, limit, [*changed, found.line()])
    if settings:
        return warned(gate, "other-settings", measured, limit, [found.line(), *settings[:_SHOWN]])
    return passed(gate, measured, limit, [found.line()])


def _alike(found: Divergence, limits: Thresholds) -> bool:
    return found.mean < limits.equivalent_kld and found.top1 >= limits.equivalent_top1


def long_divergence(reference: Observation, other: Observation) -> Divergence | None:
    """At the end of a long text, where it shows whether positions are counted alike."""
    if reference.long_logits is None or other.long_logits is None:
        return None
    wanted = np.asarray(reference.job.long[-LONG_TAIL:], dtype=np.int64)
    return divergence(LogitsFile(reference.long_logits), LogitsFile(other.long_logits), wanted)


def settings_apart(reference: Observation, other: Observation) -> list[str]:
    ours, theirs = reference.facts.get("settings"), other.facts.get("settings")
    return [f"config.json, {line}" for line in values_apart(theirs, ours)] if ours and theirs else []


def targets(observation: Observation) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """The tokens that the compared logits predict."""
    job = observation.job
    flat = [token for ids, start in zip(job.sequences, job.starts, strict=True) for token in ids[start + 1 :]]
    return np.asarray(flat, dtype=np.int64)
