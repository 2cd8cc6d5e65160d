"""What a record is: the fields in which people publish conversations, and the conversation that they make."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from kitae.chat import Conversation, Message
from kitae.core.errors import BadRow, InputError
from kitae.core.row_options import Format, own_fields
from kitae.data.read.fields import Noted, learned, refuse_lost, unread
from kitae.data.read.messages import chat, check_whole, whole_talk
from kitae.data.read.preferences import preference, spoken

Record = Mapping[str, Any]


# What names of fields have in them that hold a question, or its answer.
_ASKED = ("question", "input", "prompt", "instruction", "query", "request")
_SYSTEM = ("system", "system_prompt", "system_message")  # what stands beside the turns
_ANSWERED = ("answer", "output", "response", "completion", "reply", "target", "solution")


@dataclass(frozen=True)
class Shape:
    fits: Callable[[Record], bool]
    read: Callable[[Record, str, str], Conversation]  # of a record, its place, and its place for later complaints


def conversation(record: Record, form: Format, where: str, source: str) -> Conversation:
    """`auto`: in the first shape that fits."""
    shapes = [SHAPES[name] for name in AUTO] if form == "auto" else [SHAPES.get(form) or _own(form)]
    for fields in (record, {str(name).lower(): value for name, value in record.items()}):  # some are spelled in capitals
        for shape in shapes:
            if shape.fits(fields):
                if fields.get("label") is False:
                    raise InputError("bad-row", where=where, why="label: false: an answer that is not wanted")
                refuse_lost(fields, where)
                if fields.get("weight") == 0:
                    raise InputError("bad-row", where=where, why="weight: 0: a row that is not to be learned")
                if not learned({name: fields.get(name) for name in ("train", "loss")}, where, ""):
                    raise InputError("bad-row", where=where, why="train, loss: false: a row that is not to be learned")
                noted = Noted(fields)
                row = shape.read(noted, where, source)
                beside = (*row.unread, *noted.unread(), *(f"message.{name}" for m in row.messages for name in m.unread))
                return replace(row, unread=tuple(dict.fromkeys(beside)))
    raise BadRow("row-format", where=where, why=", ".join(map(str, record))[:300] + _suggested(record))


def _suggested(record: Record) -> str:
    """The format that a person may mean, where names of fields say which is asked and which is answered."""
    texts = [name for name, value in record.items() if isinstance(name, str) and isinstance(value, str)]

    def like(words: tuple[str, ...]) -> str | None:
        return next((name for name in texts if any(word in name.lower() for word in words)), None)

    asked, answer = like(_ASKED), like(_ANSWERED)
    return f" → --format {asked}={answer}" if asked and answer and asked != answer else ""


def _has(*names: str) -> Callable[[Record], bool]:
    """Tables have a field in every row, also where it says nothing."""
    return lambda record: all(record.get(name) is not None for name in names)


def _pair(asked: str, about: tuple[str, ...], answers: tuple[str, ...]) -> Shape:
    """A question, what belongs to it, and its answer: the last two under the first of these names that a record has."""

    def present(record: Record, names: tuple[str, ...]) -> str | None:
        return next((name for name in names if record.get(name) is not None), None)

    def read(record: Record, where: str, source: str) -> Conversation:
        question, more = _text(record, asked, where), present(record, about)
        if more is not None and _text(record, more, where).strip():
            question = f"{question}\n\n{record[more]}"
        return _answered(record, question, present(record, answers) or "", where, source)

    return Shape(lambda record: record.get(asked) is not None and present(record, answers) is not None, read)


@lru_cache(maxsize=8)
def _own(form: Format) -> Shape:
    """A person's own fields. All have to be there, so that no misspelt one is passed over; what belongs to a question may be
    empty."""
    fields = own_fields(form)
    assert fields is not None, form  # checked where it was said
    names, answer = fields

    def read(record: Record, where: str, source: str) -> Conversation:
        said = [_text(record, name, where) for name in names if record.get(name) is not None]
        question = "\n\n".join([said[0], *(text for text in said[1:] if text.strip())])
        return _answered(record, question, answer, where, source)

    def fits(record: Record) -> bool:
        return record.get(names[0]) is not None and record.get(answer) is not None and all(name in record for name in names)

    return Shape(fits, read)


def _answered(record: Record, question: str, answer: str, where: str, source: str) -> Conversation:
    """With what stands beside a pair: what was said before, and to the system."""
    turns = [*_earlier(record, where), Message("user", question), Message("assistant", _text(record, answer, where))]
    return Conversation((*_system(record, where, turns), *turns), source)


def _dialogue(name: str) -> Shape:
    def read(record: Record, where: str, source: str) -> Conversation:
        turns = whole_talk(record[name], where, name)
        return Conversation((*_system(record, where, turns), *turns), source)

    return Shape(_has(name), read)


def _alternating(record: Record, where: str, source: str) -> Conversation:
    """User and assistant in turns, without saying so."""
    roles = ("user", "assistant")
    turns = [{"role": roles[i % 2], "content": text} for i, text in enumerate(record["data"])]
    return Conversation(tuple(whole_talk(turns, where, "data")), source)


def _spoken(record: Record, where: str, source: str) -> Conversation:
    """Human and Assistant in one text."""
    if record.get("rejected") is not None:
        return preference(record, where, source)
    name = "chosen" if record.get("chosen") is not None else "text"
    turns = spoken(_text(record, name, where), name, where)
    if not turns:
        raise InputError("bad-row", where=where, why=f"{name}: nobody speaks")
    return Conversation(tuple(turns), source)


def _squad(record: Record, where: str, source: str) -> Conversation:
    """A text, a question about it, and answers that stand in it, of which the first is learned."""
    given = record["answers"]
    texts = given.get("text") if isinstance(given, dict) else given
    first = texts[0] if isinstance(texts, list) and texts else None
    answer = first.get("text") if isinstance(first, dict) else first
    if not isinstance(answer, str):
        raise InputError("bad-row", where=where, why="answers: none")
    check_whole(answer, where, "answers")
    asked = f"{_text(record, 'context', where)}\n\n{_text(record, 'question', where)}"
    return Conversation((Message("user", asked), Message("assistant", answer)), source)


def _instances(record: Record, where: str, source: str) -> Conversation:
    """A task and one case of it."""
    cases = record["instances"]
    if len(cases) != 1 or not isinstance(cases[0], Mapping):
        raise InputError("bad-row", where=where, why=f"instances: {len(cases)}; a row holds one")
    refuse_lost(cases[0], where, "instances[0].")
    whole = Noted({**record, "instruction": record["instruction"], **cases[0]})
    if not _INSTRUCTION.fits(whole):
        raise InputError("bad-row", where=where, why="instances[0]: no output")
    row = _INSTRUCTION.read(whole, where, source)
    beside = unread(cases[0], whole.read)
    return replace(row, unread=tuple(f"instances.{name}" for name in beside))


def _plain(record: Record, where: str, source: str) -> Conversation:
    text = _text(record, "text", where)
    if not text.strip():
        raise InputError("bad-row", where=where, why=f"text: {text!r}"[:80])
    return Conversation.of_text(text, source)


def _system(record: Record, where: str, turns: list[Message]) -> list[Message]:
    """A system message that stands beside the others."""
    if turns[0].role == "system":
        return []
    name = next((name for name in _SYSTEM if record.get(name)), None)
    if name is None:
        return []
    return [Message("system", _text(record, name, where))]


def _conversational(record: Record, where: str, source: str) -> Conversation:
    """A prompt and its completion, each a list of messages."""
    turns = whole_talk([*record["prompt"], *record["completion"]], where, "prompt, completion")
    return Conversation((*_system(record, where, turns), *turns), source)


def _earlier(record: Record, where: str) -> list[Message]:
    """Pairs of a question and an answer that came before."""
    pairs = record.get("history") or []
    if not isinstance(pairs, list) or any(not isinstance(pair, list) or len(pair) != 2 for pair in pairs):
        raise InputError("bad-row", where=where, why="history: no list of questions with their answers")
    turns = [{"role": role, "content": text} for pair in pairs for role, text in zip(("user", "assistant"), pair, strict=True)]
    return chat(turns, where, "history") if turns else []


def _text(record: Record, name: str, where: str) -> str:
    text = record[name]
    if not isinstance(text, str):
        raise InputError("bad-row", where=where, why=f"{name}: {type(text).__name__} is no text")
    check_whole(text, where, name)
    return text


_PROMPTED = _pair("prompt", (), ("completion", "response"))


def _is_conversational(record: Record) -> bool:
    return isinstance(record.get("prompt"), list) and isinstance(record.get("completion"), list)


_INSTRUCTION = _pair("instruction", ("input", "context"), ("output", "response"))
SHAPES: dict[str, Shape] = {
    "preference": Shape(lambda record: "chosen" in record and "rejected" in record, preference),
    "messages": _dialogue("messages"),
    "sharegpt": _dialogue("conversations"),
    "utterances": _dialogue("utterances"),
    "ultrachat": Shape(lambda record: isinstance(record.get("data"), list) and bool(record["data"]), _alternating),
    "alpaca": _INSTRUCTION,
    "dolly": _INSTRUCTION,
    "codealpaca": _INSTRUCTION,
    "prompt-completion": Shape(
        lambda record: _is_conversational(record) or _PROMPTED.fits(record),
        lambda record, *places: (_conversational if _is_conversational(record) else _PROMPTED.read)(record, *places),
    ),
    "math": _pair("problem", (), ("solution", "answer")),
    "gsm8k": _pair("question", (), ("answer",)),
    "squad": Shape(_has("context", "question", "answers"), _squad),
    "self-instruct": Shape(lambda r: r.get("instruction") is not None and isinstance(r.get("instances"), list), _instances),
    "mbpp": Shape(_has("text", "code", "test_list"), _pair("text", (), ("code",)).read),
    "hh": Shape(lambda record: any(record.get(name) is not None for name in ("chosen", "text")), _spoken),
    "text": Shape(_has("text"), _plain),
}
AUTO = tuple(name for name in SHAPES if name != "hh")  # which plain text would be taken for
