"""Rounds in which tasks are thought of, sieved, answered, sieved again and kept.

A round begins from what was kept before it and asks everything of one kind together; replies are taken in the order of their
questions. So the same replies give the same rows, however many were asked at once, and whatever was answered before a kill.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from kitae.ask import Ask, Reply, Request
from kitae.chat import Conversation, Message
from kitae.core.errors import KitaeError
from kitae.core.files import JsonDict
from kitae.curate.judging import judge_request, rating
from kitae.curate.prompts import prompt, version
from kitae.curate.synth.ideas import METHODS, Document, Idea, Pool, Sown, Task
from kitae.curate.synth.sieve import Likeness, Sieve, agreed
from kitae.data import Evaluations, Finding

Keep = Literal["all", "consistent", "judged"]
Ended = Literal["enough", "budget", "nothing-left", "barren", "failed"]
_TASKS = 8  # that are thought of in a round, if all replies are good
_BARREN = 6  # rounds in which nothing is kept, after which nothing is hoped for
_AGREE = 0.5  # of the answers to one task
_GOOD = 4.0  # of 5
_SAME = 8  # tokens of SAME or DIFFERENT, for models that say more than they are asked


@dataclass(frozen=True)
class Growth:
    method: str
    rows: int  # that are wanted
    writer: str  # the model's name, for the lineage
    answers: int = 1  # to each task
    keep: Keep = "all"
    temperature: float = 0.8
    max_tokens: int = 1024
    language: str = "en"
    languages: tuple[str, ...] = ()  # that answers must be in
    licences: tuple[str, ...] = ()
    seed: int = 0


@dataclass
class Grown:
    kept: list[JsonDict] = field(default_factory=list)
    rejected: list[JsonDict] = field(default_factory=list)
    ended: Ended = "enough"
    failure: KitaeError | None = None
    rounds: int = 0

    def reasons(self) -> dict[str, int]:
        counts: dict[str, int] = {}
        for row in self.rejected:
            for gate in dict.fromkeys(reason["gate"] for reason in row["_reasons"]):
                counts[gate] = counts.get(gate, 0) + 1
        return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


@dataclass
class _Draft:
    """A task on its way to a row."""

    idea: Idea
    sown: Sown
    calls: list[str]
    answer: str = ""
    notes: dict[str, Any] = field(default_factory=dict)


def grow(
    growth: Growth,
    seeds: Sequence[Task],
    documents: Sequence[Document],
    ask: Ask,
    judge: Ask,
    evaluations: Evaluations | None = None,
    on_row: Callable[[int], None] = lambda _: None,
) -> Grown:
    return _Garden(growth, seeds, documents, ask, judge, evaluations, on_row).grown()


class _Spent(Exception):
    """A budget is, before a round was whole."""


class _Garden:
    def __init__(
        self,
        growth: Growth,
        seeds: Sequence[Task],
        documents: Sequence[Document],
        ask: Ask,
        judge: Ask,
        evaluations: Evaluations | None,
        on_row: Callable[[int], None],
    ) -> None:
        self._growth, self._ask, self._judge, self._on_row = growth, ask, judge, on_row
        self._method = METHODS[growth.method]
        self._pool = Pool(list(seeds), [], documents, growth.language, growth.temperature, growth.max_tokens)
        self._sieve = Sieve(Likeness(), evaluations, growth.languages)
        for seed in seeds:
            self._sieve.known.add(seed.question, seed.where)
        self._found = Grown()

    def grown(self) -> Grown:
        found, barren = self._found, 0
        while len(found.kept) < self._growth.rows:
            before = len(found.kept)
            rng = random.Random(f"{self._growth.seed} {found.rounds}")
            thought = (self._method.think(self._pool, rng) for _ in range(max(1, _TASKS // self._method.at_once)))
            ideas = [idea for idea in thought if idea is not None]
            if not ideas:
                found.ended = "nothing-left"
                break
            found.rounds += 1
            try:
                self._round(ideas)
            except _Spent:
                found.ended = "budget"
                break
            except KitaeError as error:  # what was kept until then is worth writing
                found.ended, found.failure = "failed", error
                break
            barren = 0 if len(found.kept) > before else barren + 1
            if barren == _BARREN:
                found.ended = "barren"
                break
        return found

    def _round(self, ideas: Sequence[Idea]) -> None:
        drafts = self._sieved(self._drafts(ideas))
        if self._method.grows:
            drafts = self._grown_apart(drafts)
        while drafts and len(self._found.kept) < self._growth.rows:
            left = self._growth.rows - len(self._found.kept)
            some, drafts = self._answered(drafts[:left]), drafts[left:]
            for draft in self._rated(some) if self._growth.keep == "judged" else some:
                self._keep(draft)
        for draft in drafts:
            self._reject(draft, Finding("synth.surplus", "question", ""))

    def _drafts(self, ideas: Sequence[Idea]) -> list[_Draft]:
        drafts = []
        for idea, reply in zip(ideas, self._replies([idea.request for idea in ideas]), strict=True):
            sown = [] if reply.failed else self._method.read(reply.text)
            if reply.finish == "length":  # of what is cut off, the last part is not whole
                sown = sown[:-1]
            new = [_Draft(idea, one, [idea.request.key]) for one in sown if one.question]
            if not new:
                why = reply.failed or ("cut off" if reply.finish == "length" else reply.text.strip()[:80] or _nothing(reply))
                self._reject(_Draft(idea, Sown(""), [idea.request.key]), Finding("synth.reply", "no-task", why))
            drafts += new
        return drafts

    def _sieved(self, drafts: Sequence[_Draft]) -> list[_Draft]:
        kept: list[_Draft] = []
        for draft in drafts:
            parent = draft.idea.parents[0].question if self._method.grows else None
            finding = self._sieve.question(draft.sown.question, parent)
            if finding is not None:
                self._reject(draft, finding)
                continue
            self._sieve.known.add(draft.sown.question, f"task {len(self._found.kept) + len(kept) + 1}")
            kept.append(draft)
        return kept

    def _grown_apart(self, drafts: Sequence[_Draft]) -> list[_Draft]:
        """Whether a task that grew asks for more than its parent."""
        requests = [
            self._request(
                prompt("evol-instruct.same", self._growth.language, first=d.idea.parents[0].question, second=d.sown.question),
                _SAME,
            )
            for d in drafts
        ]
        kept: list[_Draft] = []
        for draft, request, reply in zip(drafts, requests, self._replies(requests), strict=True):
            draft.calls.append(request.key)
            if reply.text.strip().strip("*\"'「」").upper().startswith("SAME"):
                self._reject(draft, Finding("synth.no-gain", "asked", draft.idea.parents[0].where))
            else:
                kept.append(draft)
        return kept

    def _answered(self, drafts: Sequence[_Draft]) -> list[_Draft]:
        times = self._growth.answers
        open_drafts = [draft for draft in drafts if draft.sown.answer is None]
        temperature = self._growth.temperature if times > 1 else 0.0
        asked = [(draft.sown.question, i) for draft in open_drafts for i in range(times)]
        requests = [self._request(question, self._growth.max_tokens, temperature, i) for question, i in asked]
        replies = self._replies(requests)
        kept = []
        for draft in drafts:
            finding = None
            if draft.sown.answer is not None:
                draft.answer = draft.sown.answer
            else:
                at = next(i for i, one in enumerate(open_drafts) if one is draft) * times
                finding = self._settle(draft, requests[at : at + times], replies[at : at + times])
            against = [finding] if finding else self._sieve.row(_row(draft))
            if against:
                self._reject(draft, *against)
            else:
                kept.append(draft)
        return kept

    def _settle(self, draft: _Draft, requests: Sequence[Request], replies: Sequence[Reply]) -> Finding | None:
        """Chooses its answer."""
        draft.calls += [request.key for request in requests]
        whole = [
            reply.text.strip() for reply in replies if not reply.failed and reply.finish != "length" and reply.text.strip()
        ]
        if not whole:
            why = replies[0].failed or ("cut off" if replies[0].finish == "length" else _nothing(replies[0]))
            return Finding("synth.reply", "no-answer", why)
        first, count = agreed(whole) if self._growth.keep == "consistent" else (0, 1)
        draft.answer = whole[first]
        if self._growth.keep == "consistent":
            draft.notes["agreement"] = f"{count}/{len(replies)}"
            if count < 2 or count < _AGREE * len(replies):
                return Finding("synth.inconsistent", "answers", f"{count} of {len(replies)} agree")
        return None

    def _rated(self, drafts: Sequence[_Draft]) -> list[_Draft]:
        requests = [judge_request(_row(draft)) for draft in drafts]
        kept = []
        for draft, request, reply in zip(drafts, requests, _all(self._judge(requests)), strict=True):
            draft.calls.append(request.key)
            found = rating(reply)
            draft.notes["rating"] = found
            if found is None or found < _GOOD:
                self._reject(draft, Finding("synth.judged", "rating", reply.failed or reply.text.strip()[:60]))
            else:
                kept.append(draft)
        return kept

    def _replies(self, requests: Sequence[Request]) -> list[Reply]:
        return _all(self._ask(requests)) if requests else []

    @staticmethod
    def _request(text: str, max_tokens: int, temperature: float = 0.0, seed: int = 0) -> Request:
        """Whose key depends on nothing but what is asked: more rows than last time ask for nothing anew."""
        return Request((Message("user", text),), max_tokens, temperature, seed)

    def _keep(self, draft: _Draft) -> None:
        grew = draft.idea.operation not in ("breadth", "tasks", "document", "plan")
        depth = draft.idea.parents[0].depth + 1 if grew else 0
        task = Task(draft.sown.question, draft.answer, f"row {len(self._found.kept) + 1}", depth)
        self._pool.written.append(task)
        self._found.kept.append(self._value(draft))
        self._on_row(len(self._found.kept))

    def _reject(self, draft: _Draft, *against: Finding) -> None:
        self._found.rejected.append({**self._value(draft), "_reasons": [finding.as_dict() for finding in against]})

    def _value(self, draft: _Draft) -> JsonDict:
        lineage = {
            "method": self._growth.method,
            "operation": draft.idea.operation,
            "parents": [{"where": task.where, "row": task.key} for task in draft.idea.parents],
            **({"document": draft.idea.document} if draft.idea.document else {}),
            "model": self._growth.writer,
            "prompts": version(),
            "calls": draft.calls,
            **draft.notes,
        }
        licences = {"_licence": ", ".join(self._growth.licences)} if self._growth.licences else {}
        return {"messages": [m.as_dict() for m in _row(draft).messages], "_lineage": lineage, **licences}


def _nothing(reply: Reply) -> str:
    return "empty" if reply.finish == "stop" else f"nothing but {reply.finish}"


def _row(draft: _Draft) -> Conversation:
    answer = (Message("assistant", draft.answer),) if draft.answer else ()
    return Conversation((Message("user", draft.sown.question), *answer))


def _all(replies: Sequence[Reply | None]) -> list[Reply]:
    found = [reply for reply in replies if reply is not None]
    if len(found) < len(replies):
        raise _Spent
    return found
