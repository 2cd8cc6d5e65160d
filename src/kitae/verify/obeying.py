"""Whether a server does as a request says: temperature, length, stop texts and seed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

from kitae.ask import Reply, Request
from kitae.generate import Completion
from kitae.verify.gate import Gate, passed, refused, skipped, warned

_LEAST = 8  # characters of an answer within which a stop text can stand
_STOP = 6  # characters of a stop text
_SEED = 20_260_101

Ask = Callable[[Sequence[Request]], list[Reply]]


def sampling(request: Request, proven: Completion, ask: Ask, alike: Callable[[Reply], bool], left_out: Collection[str]) -> Gate:
    """`request`: whose greedy answer is `proven`. `alike`: whether a reply is that answer, near ties aside. `left_out`: fields
    that the server was seen not to take. One request at a time: those answered together may be rounded otherwise."""
    gate = "endpoint.sampling"
    first, again = (ask([request])[0] for _ in range(2))
    if first.failed or again.failed:
        return skipped(gate, "not-answered")
    if first.text != again.text and not (alike(first) and alike(again)):
        evidence = [f"temperature 0, twice: {first.text[:120]!r} ≠ {again.text[:120]!r}"]
        return refused(gate, "not-greedy", first.text[:200], again.text[:200], evidence)
    checked = ["temperature"]
    unasked: list[str] = []  # what the server refuses
    if len(proven.tokens) > 2 and (first.said > 2 or alike(first)):  # otherwise its answer may end with the first token
        short = ask([replace(request, max_tokens=1)])[0]
        if not short.failed and (short.finish != "length" or short.said > 1):
            evidence = [f"max_tokens 1: {short.text[:120]!r} [{short.finish}], {short.said} tokens"]
            return refused(gate, "not-short", short.finish, "length", evidence)
        (unasked if short.failed else checked).append("max_tokens")
    if (stop := _within(first.text)) is not None:
        before = first.text[: first.text.index(stop)]
        ended = ask([replace(request, stop=(stop,))])[0]
        same = alike(first) and first.text == again.text
        if not ended.failed and (stop in ended.text or (same and ended.finish != "stop")):
            evidence = [f"stop {stop!r}: {ended.text[:120]!r} [{ended.finish}] ≠ {before[:120]!r} [stop]"]
            return refused(gate, "not-stopped", ended.text[:200], before[:200], evidence)
        (unasked if ended.failed else checked).append("stop")
    seeded = [ask([replace(request, temperature=1.0, seed=_SEED)])[0] for _ in range(2)]
    if seeded[0].text != seeded[1].text:
        evidence = [f"seed {_SEED}, twice: {seeded[0].text[:120]!r} ≠ {seeded[1].text[:120]!r}"]
        return warned(gate, "no-seed", seeded[1].text[:200], seeded[0].text[:200], evidence)
    if any(reply.failed for reply in seeded):
        unasked += ["temperature", "seed"]
    if left_out or unasked:
        names = ", ".join(sorted({*left_out, *unasked}))
        return warned(gate, "not-taken", names, None, [names], names=names)
    return passed(gate, [*checked, "seed"], None, [", ".join([*checked, "seed"])])


def _within(text: str) -> str | None:
    """A piece from the middle of an answer, which ends it where it is asked to stop there."""
    middle = len(text) // 2
    stop = text[middle : middle + _STOP].strip()
    return stop if len(text) >= _LEAST and stop and text.index(stop) > 0 else None
