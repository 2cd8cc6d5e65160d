"""Where a served answer parts from the proven one, and whether the proven model was of two minds there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from kitae.ask import Reply, without_thought
from kitae.generate import Completion
from kitae.verify.observe import Job, Observation, observe

# tied: the proven model found both tokens as likely · longer, shorter: it goes on, or ends, where the proven one does not
Kind = Literal["equal", "tied", "longer", "shorter", "other"]


@dataclass(frozen=True)
class Parting:
    at: int  # tokens of the proven answer that the other one has, too
    instead: bytes  # what the other one says from there; nothing if it has ended


@dataclass(frozen=True)
class Compared:
    question: str
    proven: Completion
    served: Reply
    kind: Kind
    margin: float | None  # nats by which the proven model prefers its own token

    @property
    def went_on(self) -> bool:
        """Whether it says all of the proven answer, and then does not stop."""
        ends = self.proven.finish == "stop"
        return ends and (self.kind == "longer" or (self.kind == "equal" and self.served.finish != "stop"))

    def lines(self) -> list[str]:
        far = "" if self.margin is None else f" ({self.margin:.2f} nats)"
        return [
            f"question: …{self.question[-160:]!r}",
            f"proven: {self.proven.text[:200]!r} [{self.proven.finish}]",
            f"served: {self.served.text[:200]!r} [{self.served.finish}]{far}",
        ]


Piece = Callable[[int], bytes]


def compared(
    proven: Observation,
    questions: Sequence[str],
    served: Sequence[Reply],
    piece: Piece,
    tie: float,
    scratch: Path,
) -> list[Compared]:
    """Each served answer beside the proven one. `tie`: nats within which numerics alone may choose another token."""
    partings = [part(ours, theirs.text, piece) for ours, theirs in zip(proven.answers, served, strict=True)]
    margins = _margins(proven, partings, served, piece, scratch)
    found = []
    for number, (ours, theirs, parting) in enumerate(zip(proven.answers, served, partings, strict=True)):
        margin = margins.get(number)
        kind = "equal" if parting is None else _kind(ours, parting, margin, tie)
        found.append(Compared(questions[number], ours, theirs, kind, margin))
    return found


def _kind(proven: Completion, parting: Parting, margin: float | None, tie: float) -> Kind:
    if margin is not None and margin <= tie:
        return "tied"
    if proven.finish == "stop" and parting.at == len(proven.tokens) - 1:
        return "longer"
    return "other" if parting.instead.strip() else "shorter"


def part(proven: Completion, served: str, piece: Piece) -> Parting | None:
    """White space around an answer is forgiven, and so is a thought that only one of them shows."""
    said = proven.text[len(proven.text) - len(without_thought(proven.text)) :]
    if said.strip() == served.strip():
        return None
    before = proven.text[: len(proven.text) - len(said.lstrip())]
    left = (before + served.lstrip()).encode("utf-8")
    tokens = proven.tokens[:-1] if proven.finish == "stop" else proven.tokens
    for at, token in enumerate(tokens):
        text = piece(token)
        if not left.startswith(text):
            return Parting(at, left)
        left = left[len(text) :]
    return Parting(len(tokens), left) if left.strip() and proven.finish == "stop" else None


def _margins(
    proven: Observation,
    partings: Sequence[Parting | None],
    served: Sequence[Reply],
    piece: Piece,
    scratch: Path,
) -> dict[int, float]:
    """By how much the proven model prefers its own token to any with which the other's text may have begun."""
    wanted: dict[int, tuple[Parting, list[int]]] = {}
    texts: dict[bytes, list[int]] = {}
    for number, parting in enumerate(partings):
        if parting is None:
            continue
        texts = texts or _by_text(proven.facts["vocabulary"], piece)
        own = proven.answers[number].tokens[parting.at]
        if parting.instead:
            begun = [token for end in range(1, len(parting.instead) + 1) for token in texts.get(parting.instead[:end], [])]
        else:
            begun = proven.facts["stop_tokens"] if served[number].finish == "stop" else []
        if others := [token for token in begun if token != own]:
            wanted[number] = parting, others
    if not wanted:
        return {}
    prompts = proven.chat_ids[-len(partings) :]
    read = {n: [*prompts[n], *proven.answers[n].tokens[: parting.at + 1]] for n, (parting, _) in wanted.items()}
    job = Job(proven.job.target, sequences=list(read.values()), starts=[len(ids) - 2 for ids in read.values()])
    rows = observe(job, scratch).row_logits()
    found = {}
    for row, (number, (_, others)) in enumerate(wanted.items()):
        logits = rows[row : row + 1][0]
        found[number] = float(logits[read[number][-1]] - np.max(logits[[token for token in others if token < len(logits)]]))
    return found


def _by_text(size: int, piece: Piece) -> dict[bytes, list[int]]:
    texts: dict[bytes, list[int]] = {}
    for token in range(size):
        texts.setdefault(piece(token), []).append(token)
    return texts
