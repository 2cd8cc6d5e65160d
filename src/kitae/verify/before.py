"""Gates that look at what is about to be trained: `data.*`, `chat.*`, `train.validation`, `train.stop-token-trainable`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property

from kitae.chat import ChatCodec, Conversation
from kitae.data import Overlap, overlap
from kitae.recipe import Thresholds
from kitae.train import IGNORED, CollatedRow, Prepared
from kitae.verify.gate import Gate, passed, refused, warned
from kitae.verify.rights import licence_gate
from kitae.verify.rows import RowGates

_SHOWN = 5


class BeforeTraining:
    def __init__(self, prepared: Prepared) -> None:
        self._prepared = prepared
        self._limits: Thresholds = prepared.recipe.verify

    @cached_property
    def _rows(self) -> list[CollatedRow]:
        return list(self._prepared.collated())

    @cached_property
    def _row_gates(self) -> RowGates:
        return RowGates(self._prepared.recipe, self._prepared.rows)

    @cached_property
    def _conversations(self) -> dict[str, Conversation]:
        rows = self._prepared.rows.train
        worse = [row.worse for row in rows if row.rejected is not None]
        return {row.source: row for row in [*rows, *worse]}

    def gates(self) -> Iterator[Gate]:
        yield from self._row_gates.gates()
        yield licence_gate(self._prepared.recipe)
        yield self.labels_present()
        yield self.terminator_labelled()
        yield self.mask_boundary()
        yield self.prefix_kept()
        yield bos_once(self._prepared.codec, [row.ids for row in self._rows])
        yield self.system_default()
        yield stop_tokens(self._prepared.codec, self._prepared.stop_tokens, self._prepared.facts.stops)
        yield self.validation()
        yield self.leak()

    def labels_present(self) -> Gate:
        bad = [row.row.source for row in self._rows if all(label == IGNORED for label in row.labels[1:])]
        bad += [row.row.source for row in self._rows if any(label != IGNORED for label in row.padding)]
        wrong = [
            row.row.source
            for row in self._rows
            if any(label not in (IGNORED, token) for token, label in zip(row.ids, row.labels, strict=True))
        ]
        share = sum(label != IGNORED for row in self._rows for label in row.labels) / max(
            1, sum(len(row.ids) for row in self._rows)
        )
        if bad or wrong:
            return refused("chat.labels-present", "missing", len(bad + wrong), 0, (bad + wrong)[:_SHOWN])
        return passed("chat.labels-present", round(share, 4), "> 0", [f"{len(self._rows)} rows, {share:.1%} labelled"])

    def terminator_labelled(self) -> Gate:
        gate = "chat.terminator-labelled"
        terminator = self._prepared.codec.terminator
        if terminator is None:
            return refused(gate, "none", None, "1", [repr(self._prepared.codec.template.closing)])
        lost = self._prepared.too_long
        if lost and self._prepared.recipe.data.too_long == "refuse":
            evidence = [f"{source}: {tokens} tokens" for source, tokens in lost[:_SHOWN]]
            longest = max(tokens for _, tokens in lost)
            limit = self._prepared.recipe.model.max_length
            return refused(gate, "cut", len(lost), 0, evidence, allowed=limit, longest=longest)
        bad = [row.row.source for row in self._rows if "cut" not in row.row.notes and not _ends_labelled(row, terminator)]
        rate = 1 - len(bad) / max(1, len(self._rows))
        if bad:
            return refused(gate, "unlabelled", round(rate, 4), 1.0, bad[:_SHOWN])
        text = self._prepared.codec.vocabulary.decode([terminator])
        return passed(gate, rate, 1.0, [f"{text!r} = {terminator}"])

    def mask_boundary(self) -> Gate:
        """The labels begin where the prompt ends, and read as the answer."""
        bad = []
        for row in self._rows:
            conversation = self._conversations[row.row.source]
            problem = _boundary_problem(self._prepared.codec, conversation, row)
            if problem:
                bad.append(f"{row.row.source}: {problem}")
        if bad:
            return refused("chat.mask-boundary", "moved", len(bad), 0, bad[:_SHOWN])
        return passed("chat.mask-boundary", 0, 0, [f"{len(self._rows)} rows"])

    def prefix_kept(self) -> Gate:
        rewritten = {row.row.source for row in self._rows if "turn-by-turn" in row.row.notes}
        joined = {row.row.source for row in self._rows if "joined" in row.row.notes}
        if joined:
            return warned("chat.prefix-kept", "joined", len(joined), 0, sorted(joined)[:_SHOWN])
        if rewritten:
            return warned("chat.prefix-kept", "turn-by-turn", len(rewritten), 0, sorted(rewritten)[:_SHOWN])
        return passed("chat.prefix-kept", 0, 0)

    def system_default(self) -> Gate:
        chats = [row for row in self._prepared.rows.train if not row.is_text]
        own, total = sum(chat.messages[0].role == "system" for chat in chats), len(chats)
        default = self._prepared.codec.template.default_system()
        evidence = [repr(default), f"{own} / {total}"]
        if 0 < own < total:
            return warned("chat.system-default", "mixed", own, total, evidence, own=own, total=total)
        return passed("chat.system-default", own, total, evidence)

    @cached_property
    def _validation_overlap(self) -> Overlap:
        rows = self._prepared.rows
        return overlap(rows.validation, rows.train)

    def validation(self) -> Gate:
        rows = {row.source for row in self._prepared.validation if row.spans}  # those that can be scored
        gate, least = "train.validation", self._limits.min_validation_rows
        if len(rows) < least:
            return refused(gate, "few", len(rows), least, count=len(rows), least=least)
        total = len(self._prepared.rows.validation)
        return _apart(gate, self._validation_overlap, total, self._limits) or passed(gate, len(rows), least)

    def leak(self) -> Gate:
        rows = self._prepared.rows
        chosen_by = overlap(rows.test, rows.validation).exact
        if chosen_by:
            evidence = [f"{test} = {validation}" for test, validation in chosen_by[:_SHOWN]]
            return refused("data.leak", "test-in-validation", len(chosen_by), 0, evidence, count=len(chosen_by))
        if leaked := self._row_gates.found.get("data.leak"):
            evidence, command = self._row_gates.shown("data.leak"), self._row_gates.command
            return refused("data.leak", "evaluation", len(leaked), 0, evidence, count=len(leaked), command=command)
        test = overlap(rows.test, rows.train)
        both = Overlap(test.exact + self._validation_overlap.exact, test.near + self._validation_overlap.near)
        count = len(rows.test) + len(rows.validation)
        return _apart("data.leak", both, count, self._limits) or passed("data.leak", 0, 0, [f"{count} rows held out"])


def bos_once(codec: ChatCodec, sequences: Sequence[Sequence[int]]) -> Gate:
    bos = getattr(getattr(codec.vocabulary, "tokenizer", None), "bos_token_id", None)
    doubled = [i for i, ids in enumerate(sequences) if len(ids) > 1 and bos is not None and ids[0] == ids[1] == bos]
    if doubled:
        return refused("chat.bos-once", "twice", len(doubled), 0, [f"{codec.vocabulary.decode(sequences[doubled[0]][:8])!r}"])
    starts = sorted({ids[0] for ids in sequences if ids})
    if bos in starts and len(starts) > 1:
        return refused("chat.bos-once", "mixed", starts, [bos])
    return passed("chat.bos-once", int(bos in starts), "≤ 1")


def stop_tokens(codec: ChatCodec, stops: set[int], places: dict[str, list[int]]) -> Gate:
    terminator = codec.terminator
    names = [f"{place}: {_named(codec, ids)}" for place, ids in places.items()]
    evidence = [f"template: {_named(codec, [terminator] if terminator is not None else [])}", *names]
    if terminator is None or terminator not in stops:
        text = "" if terminator is None else codec.vocabulary.decode([terminator])
        return refused("chat.stop-tokens", "disagree", sorted(stops), terminator, evidence, token=text)
    return passed("chat.stop-tokens", sorted(stops), terminator, evidence)


def stop_token_trainable(prepared: Prepared, ask: Callable[[], float]) -> Gate:
    """`ask`: what the untrained model gives the true terminator where answers end (geometric mean)."""
    gate, limit = "train.stop-token-trainable", prepared.recipe.verify.stop_probability
    terminator = prepared.codec.terminator
    text = "" if terminator is None else prepared.codec.vocabulary.decode([terminator])
    method = f"method: {prepared.recipe.train.method}"
    if prepared.recipe.train.whole:  # every token can be learned, so there is nothing to ask
        return passed(gate, None, limit, [method])
    if terminator in {prepared.codec.vocabulary.control[text] for text in prepared.recipe.train.lora_settings.tokens}:
        return passed(gate, None, limit, [method, f"lora.tokens: {text}"])
    probability = ask()
    evidence = [f"P({text}) = {probability:.3g}", method]
    if probability < limit:
        return refused(gate, "frozen", probability, limit, evidence, token=text)
    return passed(gate, probability, limit, evidence)


def _ends_labelled(row: CollatedRow, terminator: int) -> bool:
    """Every run of labels ends with the terminator."""
    ends = [
        i for i, label in enumerate(row.labels) if label != IGNORED and (row.labels[i + 1 : i + 2] or [IGNORED]) == [IGNORED]
    ]
    return bool(ends) and all(row.labels[i] == terminator for i in ends)


def _boundary_problem(codec: ChatCodec, conversation: Conversation, row: CollatedRow) -> str:
    labelled = [i for i, label in enumerate(row.labels) if label != IGNORED]
    if "text" in row.row.notes and labelled:
        silent = len(row.labels) - 1 - len(labelled)
        return f"{silent} of {len(row.labels)} tokens without a label" if silent or row.labels[0] != IGNORED else ""
    if not labelled:
        return ""  # chat.labels-present speaks of it
    start = labelled[0]
    answers = [i for i, m in enumerate(conversation.messages) if m.role == "assistant"]
    expected = {tuple(codec.prompt(conversation.messages[:i])): conversation.messages[i].content for i in answers}
    answer = expected.get(tuple(row.ids[:start]))
    if answer is None:
        return f"labels begin at token {start}: …{codec.vocabulary.decode(row.ids[max(0, start - 8) : start])!r}"
    end = next((i for i in range(start, len(row.labels)) if row.labels[i] == IGNORED), len(row.labels))
    read = codec.vocabulary.decode(row.ids[start:end])
    closing = codec.vocabulary.decode([codec.terminator]) if codec.terminator is not None else ""
    if closing and not read.endswith(closing):
        return f"{read[-40:]!r}"
    body = read[: len(read) - len(closing)]
    return "" if answer.strip() in body or body.strip() in answer else f"{body[:60]!r} ≠ {answer[:60]!r}"


def _apart(gate: str, found: Overlap, count: int, limits: Thresholds) -> Gate | None:
    if found.exact:
        evidence = [f"{held} = {trained}" for held, trained in found.exact[:_SHOWN]]
        return refused(gate, "same", len(found.exact), 0, evidence, count=len(found.exact), total=count)
    if found.near:
        evidence = [f"{held} ≈ {trained} ({likeness:.0%})" for held, trained, likeness in found.near[:_SHOWN]]
        share = len(found.near) / max(count, 1)
        build = refused if share > limits.near_duplicate_share else warned
        return build(gate, "near", round(share, 4), limits.near_duplicate_share, evidence, count=len(found.near), total=count)
    return None


def _named(codec: ChatCodec, ids: Sequence[int]) -> str:
    return ", ".join(f"{codec.vocabulary.decode([i])} ({i})" for i in ids) or "–"
