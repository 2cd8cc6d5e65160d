"""How new tasks come about: what a model is asked for, and how its reply is read.

Self-Instruct shows it some tasks and asks for others. Evol-Instruct lets one task grow harder or move aside. CRAFT rewrites a
passage of a corpus as a task like a few examples. CoT-Self-Instruct lets it plan first, and keeps what comes after the plan.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from kitae.ask import Request
from kitae.chat import Conversation, Message
from kitae.core.errors import InputError
from kitae.core.row_options import LANGUAGES_KNOWN
from kitae.curate.prompts import prompt
from kitae.data import each_conversation, whole

_SHOWN_SEEDS, _SHOWN_NEW = 6, 2  # tasks that Self-Instruct shows: the mix keeps it near what people asked
_MORE = 8  # tasks that it asks for at once
_FEW = 4  # examples of the others
_DEEPEST = 4  # times that a task grows
_OPERATIONS = ("constraint", "deepen", "concretise", "reason", "breadth")
_LONGEST_SHOWN = 1500  # characters of an example
_PASSAGE = (300, 3000)  # characters, of a corpus
_NAMES = """English Japanese Chinese Korean German French Spanish Italian Portuguese Dutch Polish
    Swedish Turkish Indonesian Vietnamese Romanian Russian Greek Arabic Hebrew Thai Hindi"""
_LANGUAGES = dict(zip(LANGUAGES_KNOWN, _NAMES.split(), strict=True))
_MARKER = "=== TASK ==="
_DIGITS = {char: str(i) for i, char in enumerate("一二三四五六七八九", 1)} | {chr(0x245F + i): str(i) for i in range(1, 21)}
_NUMBERED = re.compile(
    r"^([ \t]*)[#>*_ ]*(?:(?:Task|Question|課題|問題|質問)\s*)?"
    r"(?:[(（#]?(\d{1,2})[*_]*\s*(?:[)）.．、:：\\]+|[-–] )|([①-⑳])|([一二三四五六七八九])[、.．:：]"
    r"|(?:Task|課題) (\d{1,2})$)[*_:：]*\s*",
    re.IGNORECASE | re.MULTILINE,
)
_BULLET = re.compile(r"^[-*•・] +", re.MULTILINE)
_TITLE = re.compile(r"^\*\*[^*\n]{1,60}?(?:\*\*\s*[:：]|[:：]\s*\*\*)\s*")
_FENCE = re.compile(r"^```\w*\s*$", re.MULTILINE)
_PAIR = re.compile(
    r"(?:QUESTION|質問|問題)\W*?[:：]\**\s*(.+?)\s*\n\W*(?:ANSWER|回答|解答)\W*?[:：]\**\s*(.+?)"
    r"\s*(?=\n\W*(?:QUESTION|質問|問題)\W*?[:：]|\Z)",
    re.DOTALL | re.IGNORECASE,
)
_LABEL = re.compile(
    r"^\W*(?:(?:the |a )?(?:new |rewritten |evolved )?(?:task|prompt|instruction|question)|新しい課題|課題)\s*[:：]\W*", re.I
)


@dataclass(frozen=True)
class Task:
    question: str
    answer: str
    where: str  # of a seed, or the name of a row that was written
    depth: int = 0  # how often it grew

    @property
    def row(self) -> Conversation:
        return Conversation((Message("user", self.question), Message("assistant", self.answer)), self.where)

    @property
    def key(self) -> str:
        return f"{whole(self.row):016x}"


@dataclass(frozen=True)
class Document:
    text: str
    where: str


@dataclass(frozen=True)
class Idea:
    """A request for new tasks, and what it came from."""

    request: Request
    parents: tuple[Task, ...]
    operation: str
    document: str = ""


@dataclass(frozen=True)
class Sown:
    """A new task, perhaps with its answer."""

    question: str
    answer: str | None = None


@dataclass
class Pool:
    """What new tasks are made from: seeds, and what was kept since."""

    seeds: list[Task]
    written: list[Task]
    documents: Sequence[Document]
    language: str
    temperature: float
    max_tokens: int
    asked: int = 0

    def request(self, text: str) -> Request:
        self.asked += 1
        return Request((Message("user", text),), self.max_tokens, self.temperature, self.asked)

    @property
    def language_wish(self) -> str:
        return "" if self.language == "en" else prompt("language", self.language, named=_LANGUAGES[self.language])


@dataclass(frozen=True)
class Method:
    think: Callable[[Pool, random.Random], Idea | None]  # None: nothing is left to make tasks from
    read: Callable[[str], list[Sown]]
    at_once: int = 1  # tasks that one idea may give
    needs_documents: bool = False
    grows: bool = False  # whether a new task has to be more than its parent


def _self_instruct(pool: Pool, rng: random.Random) -> Idea:
    new = rng.sample(pool.written, min(_SHOWN_NEW, len(pool.written)))
    seeds = rng.sample(pool.seeds, min(_SHOWN_SEEDS + _SHOWN_NEW - len(new), len(pool.seeds)))
    shown = [*seeds, *new]
    rng.shuffle(shown)
    examples = "\n".join(f"{i}. {_shown(task.question)}" for i, task in enumerate(shown, 1))
    text = prompt("self-instruct", pool.language, count=len(shown), examples=examples, more=_MORE, wish=pool.language_wish)
    return Idea(pool.request(text), tuple(shown), "tasks")


def _evol_instruct(pool: Pool, rng: random.Random) -> Idea | None:
    grown = [task for task in (*pool.seeds, *pool.written) if task.depth < _DEEPEST]
    if not grown:
        return None
    parent, operation = rng.choice(grown), rng.choice(_OPERATIONS)
    values = {"task": parent.question, "wish": pool.language_wish}
    if operation == "breadth":
        text = prompt("evol-instruct.breadth", pool.language, **values)
    else:
        how = prompt(f"evol-instruct.{operation}", pool.language)
        text = prompt("evol-instruct", pool.language, how=how, **values)
    return Idea(pool.request(text), (parent,), operation)


def _craft(pool: Pool, rng: random.Random) -> Idea | None:
    if pool.asked >= len(pool.documents):
        return None
    document = pool.documents[pool.asked]
    shown = rng.sample(pool.seeds, min(_FEW, len(pool.seeds)))
    examples = "\n\n".join(f"QUESTION: {_shown(task.question)}\nANSWER: {_shown(task.answer)}" for task in shown)
    text = prompt("craft", pool.language, examples=examples, document=document.text, wish=pool.language_wish)
    return Idea(pool.request(text), tuple(shown), "document", document.where)


def _cot_self_instruct(pool: Pool, rng: random.Random) -> Idea:
    shown = rng.sample(pool.seeds, min(_FEW, len(pool.seeds)))
    examples = "\n\n".join(f"{i}. {_shown(task.question)}" for i, task in enumerate(shown, 1))
    text = prompt("cot-self-instruct", pool.language, examples=examples, marker=_MARKER, wish=pool.language_wish)
    return Idea(pool.request(text), tuple(shown), "plan")


def _listed(text: str) -> list[Sown]:
    """The entries of a list. What stands around it is talk."""
    text = _FENCE.sub("", text).strip()
    try:
        entries = json.loads(text)
    except (ValueError, RecursionError):
        entries = None
    if isinstance(entries, list):
        return [Sown(_bare(entry)) for entry in entries if isinstance(entry, str)]
    marks = max(_counted(text), key=len, default=[]) or list(_BULLET.finditer(text))
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    parts = [text[mark.end() : end].strip() for mark, end in zip(marks, ends, strict=False)]
    if parts[1:] and not any("\n\n" in part for part in parts[:-1]):
        parts[-1] = parts[-1].partition("\n\n")[0]
    return [Sown(_bare(_TITLE.sub("", part))) for part in parts]


def _counted(text: str) -> list[list[re.Match[str]]]:
    """Numbers that go up by one, as far in as the first of them; or all of them 1, as Markdown allows."""
    runs: list[list[re.Match[str]]] = []
    ones: list[re.Match[str]] = []
    last = 0
    for mark in _NUMBERED.finditer(text):
        number = int(next(_DIGITS.get(part, part) for part in mark.groups()[1:] if part))
        if runs and number == last + 1 and mark[1] == runs[-1][0][1]:
            runs[-1].append(mark)
            last = number
        elif not runs or (number == 1 and mark[1] == runs[-1][0][1]):
            runs.append([mark])
            last = number
        ones += [mark] if number == 1 and (not ones or mark[1] == ones[0][1]) else []
    return [*runs, ones]


def _alone(text: str) -> list[Sown]:
    return [Sown(_bare(text))]


def _paired(text: str) -> list[Sown]:
    return [Sown(_bare(question), answer.strip()) for question, answer in _PAIR.findall(_FENCE.sub("", text))]


def _planned(text: str) -> list[Sown]:
    _, marker, task = text.rpartition(_MARKER)
    return [Sown(_bare(task))] if marker else []


METHODS: dict[str, Method] = {
    "self-instruct": Method(_self_instruct, _listed, at_once=_MORE),
    "evol-instruct": Method(_evol_instruct, _alone, grows=True),
    "craft": Method(_craft, _paired, needs_documents=True),
    "cot-self-instruct": Method(_cot_self_instruct, _planned),
}


def _bare(text: str) -> str:
    """Without the label, the fence and the quotation marks that some models put around what they were asked for."""
    text = _FENCE.sub("", text) if text.count("```") == 2 and text.strip().startswith("```") else text
    text = _LABEL.sub("", text.strip(), count=1).strip()
    for opening, closing in (('"', '"'), ("“", "”"), ("「", "」"), ("**", "**")):
        if len(text) > 2 * len(opening) and text.startswith(opening) and text.endswith(closing):
            inner = text[len(opening) : -len(closing)]
            if opening not in inner and closing not in inner:
                text = inner.strip()
    return text


def _shown(text: str) -> str:
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]} […]"


def read_tasks(
    paths: Sequence[Path], limit: int | None = None, reject: Callable[[InputError], None] | None = None
) -> list[Task]:
    """Rows of one question and one answer; longer dialogues give their first exchange. `reject` is told what can't be read."""
    tasks: dict[str, Task] = {}
    for path in paths:
        for row in each_conversation(path, limit=limit, reject=reject):
            if row.is_text:
                raise InputError("seed-text", where=row.source)
            said = [m for m in row.messages if m.role != "system"]
            spoken = [m.role for m in said[:2]] == ["user", "assistant"] and all(m.content.strip() for m in said[:2])
            if spoken:
                tasks.setdefault(said[0].content.strip(), Task(said[0].content.strip(), said[1].content.strip(), row.source))
    if not tasks:
        raise InputError("no-seeds", where=", ".join(map(str, paths)))
    return list(tasks.values())


def read_documents(paths: Sequence[Path]) -> list[Document]:
    """Passages of a corpus: paragraphs, joined while they are short."""
    found = []
    for path in paths:
        for row in each_conversation(path):
            text = "\n\n".join(m.content for m in row.messages)
            for number, passage in enumerate(_passages(text), 1):
                found.append(Document(passage, f"{row.source}#{number}"))
    return found


def _passages(text: str) -> list[str]:
    least, most = _PASSAGE
    passages: list[str] = []
    held = ""
    for paragraph in re.split(r"\n\s*\n", text):
        paragraph = paragraph.strip()
        if held and len(held) + len(paragraph) > most:
            passages.append(held)
            held = ""
        held = f"{held}\n\n{paragraph}".strip()
        while len(held) > most:
            passages.append(held[:most])
            held = held[most:]
    return [passage for passage in [*passages, held] if len(passage) >= least]
