"""The bundled task: a short free-form message becomes an appointment as JSON.

Rows are built from phrase pools. Each pool is dealt out to train, validation and test before a single row is made, so a
test row's names, places, events *and phrasings* were never seen in training: a good score is learning, not memory.
Values are copied as the message writes them; only the day and the time are normalised.

A pool of a few hundred words can be learnt by heart in one epoch, after which an unseen name is replaced by a known one
that begins alike. So a share of the training rows' words is made up on the spot: what never comes twice must be copied.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from kitae.core.files import write_jsonl

SYSTEM = "Extract the appointment as JSON: event, who, where, day, time."
SPLITS = ("train", "validation", "test")
LICENCE = "CC0-1.0"
# A frame is drawn from those that lack this slot, so that every kind of gap is met often.
_MISSING = ("nothing", "nothing", "nothing", "{who}", "{where}", "{day}", "{time}")
_COINED = 0.4  # the share of the training rows' words that is made up
_ONSETS = (
    *("b", "br", "c", "ch", "d", "dr", "f", "g", "gl", "h", "j", "k", "l"),
    *("m", "n", "p", "qu", "r", "s", "sh", "st", "t", "tr", "v", "w", "z"),
)
_CORES = ("a", "e", "i", "o", "u", "ai", "ea", "ia", "oo", "ou")
_CODAS = ("", "", "", "l", "n", "r", "s", "t", "m", "ck", "nd", "rt")
TITLES = ("Dr", "Mr", "Mrs", "Ms", "Professor")
DAYS = (
    ("Monday", ("Monday", "Mon", "monday")),
    ("Tuesday", ("Tuesday", "Tue", "Tues")),
    ("Wednesday", ("Wednesday", "Wed", "wednesday")),
    ("Thursday", ("Thursday", "Thu", "Thurs")),
    ("Friday", ("Friday", "Fri", "friday")),
    ("Saturday", ("Saturday", "Sat")),
    ("Sunday", ("Sunday", "Sun")),
)
_HOURS = ("twelve", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven")


@dataclass(frozen=True)
class Appointment:
    event: str
    who: str | None
    where: str | None
    day: str | None
    time: str | None

    def as_json(self) -> str:
        return json.dumps(self.__dict__, ensure_ascii=False, separators=(",", ":"))


def deal(pool: Sequence[str], split: str) -> list[str]:
    """The part of a pool that a split may use: of every ten entries seven train, one validates, two test."""
    lane = {"train": range(7), "validation": range(7, 8), "test": range(8, 10)}[split]
    shuffled = list(pool)
    random.Random("kitae-appointments").shuffle(shuffled)
    return [entry for i, entry in enumerate(shuffled) if i % 10 in lane]


@lru_cache(maxsize=1)
def all_phrases() -> dict[str, list[str]]:
    """Every phrase of the task, by pool."""
    text = (Path(__file__).parent / "appointment_words.txt").read_text(encoding="utf-8")
    sections = (section.partition("\n") for section in text.split("## ")[1:])
    return {name: [entry.strip() for entry in body.split("|") if entry.strip()] for name, _, body in sections}


class _Pools:
    """The phrases that one split may use."""

    def __init__(self, split: str) -> None:
        def part(name: str) -> list[str]:
            return deal(all_phrases()[name], split)

        self._coins = split == "train"
        self.names, self.surnames = part("names"), part("surnames")
        self.places, self.place_words, self.place_kinds = part("places"), part("place_words"), all_phrases()["place_kinds"]
        self.events, self.event_words, self.event_kinds = part("events"), part("event_words"), all_phrases()["event_kinds"]
        self.frames, self.openers = part("frames"), part("openers")
        self.tails, self.chatter = part("tails"), part("chatter")

    def word(self, rng: random.Random, pool: Sequence[str]) -> str:
        """A word of the pool or, in training, sometimes one that nobody knows."""
        word = rng.choice(pool)
        if not self._coins or rng.random() >= _COINED:
            return word
        coined = _coin(rng)
        return coined.capitalize() if word[0].isupper() else coined


def _coin(rng: random.Random) -> str:
    """A word like "brelana" or "stouk"."""
    while True:
        parts = (rng.choice(_ONSETS) + rng.choice(_CORES) + rng.choice(_CODAS) for _ in range(rng.randint(1, 3)))
        word = "".join(parts)
        if len(word) > 3 and word not in _known_words():
            return word


@lru_cache(maxsize=1)
def _known_words() -> frozenset[str]:
    return frozenset(word for pool in all_phrases().values() for entry in pool for word in entry.casefold().split())


def rows(split: str, count: int, seed: int = 0, system: str = SYSTEM) -> Iterator[dict[str, object]]:
    """`count` different conversations of a split; the same arguments always give the same rows."""
    rng = random.Random(f"{split}-{seed}")
    pools = _Pools(split)
    seen: set[str] = set()
    while len(seen) < count:
        message, answer = _compose(rng, pools)
        if message in seen:
            continue
        seen.add(message)
        yield {
            "messages": [
                {"role": "system", "content": system},
                {"role": "user", "content": message},
                {"role": "assistant", "content": answer.as_json()},
            ]
        }


def write_splits(folder: Path, counts: dict[str, int], seed: int = 0, system: str = SYSTEM) -> dict[str, Path]:
    """Writes one JSONL file a split and returns their paths."""
    paths = {split: folder / f"{split}.jsonl" for split in counts}
    for split, path in paths.items():
        write_jsonl(path, rows(split, counts[split], seed, system))
    return paths


def _compose(rng: random.Random, pools: _Pools) -> tuple[str, Appointment]:
    lower = rng.random() < 0.1
    missing = rng.choice(_MISSING)
    frame = rng.choice([f for f in pools.frames if missing not in f] or pools.frames)
    event = _event(rng, pools)
    who = _person(rng, pools) if "{who}" in frame else None
    where = _place(rng, pools) if "{where}" in frame else None
    day_text, day = _day(rng) if "{day}" in frame else ("", None)
    time_text, time = _time(rng) if "{time}" in frame else ("", None)
    article = "an" if event[0].lower() in "aeiou" else "a"
    core = frame.format(a_event=f"{article} {event}", event=event, who=who, where=where, day=day_text, time=time_text)

    opener = rng.choice(pools.openers) if rng.random() < 0.45 else ""
    tail = rng.choice(pools.tails) if rng.random() < 0.35 else ""
    chatter = rng.choice(pools.chatter) if rng.random() < 0.25 else ""
    if (not opener or opener[-1] in ".!?") and not frame.startswith("{where}"):  # a place is copied as written
        core = core[0].upper() + core[1:]
    sentence = " ".join(part for part in (opener, core) if part)
    if sentence[-1] not in ".!?":
        sentence += "."
    parts = [chatter, sentence, tail] if rng.random() < 0.5 else [sentence, chatter, tail]
    message = " ".join(part for part in parts if part)
    protected = [text for text in (event, who, where, day_text, time_text) if text]
    if rng.random() < 0.2:
        message = _typo(rng, message, protected)
    if rng.random() < 0.15:
        message = message.rstrip(".")
    if lower:
        message = message.lower()
        event, who, where = event.lower(), who and who.lower(), where and where.lower()
    return message, Appointment(event, who, where, day, time)


def _person(rng: random.Random, pools: _Pools) -> str:
    style = rng.random()
    if style < 0.45:
        return pools.word(rng, pools.names)
    if style < 0.55:
        return f"{pools.word(rng, pools.names)} {pools.word(rng, pools.surnames)}"
    if style < 0.85:
        return f"{rng.choice(TITLES)} {pools.word(rng, pools.surnames)}"
    first, second = rng.sample(pools.names, 2)
    return f"{pools.word(rng, [first])} and {second}"


def _event(rng: random.Random, pools: _Pools) -> str:
    """Mostly built from two words, so that nearly every row copies an event that no other row has."""
    if rng.random() < 0.4:
        return rng.choice(pools.events)
    while (built := f"{pools.word(rng, pools.event_words)} {rng.choice(pools.event_kinds)}") in all_phrases()["events"]:
        pass  # that one may belong to another split
    return built


def _place(rng: random.Random, pools: _Pools) -> str:
    if rng.random() < 0.4:
        return rng.choice(pools.places)
    name = f"{pools.word(rng, pools.place_words)} {rng.choice(pools.place_kinds)}"
    return f"the {name}" if rng.random() < 0.3 else name


def _day(rng: random.Random) -> tuple[str, str]:
    name, forms = rng.choice(DAYS)
    return rng.choice(forms), name


def _time(rng: random.Random) -> tuple[str, str]:
    """A time as people write it, and normalised: "15:30" stays, every other wording becomes "3:30 pm"."""
    hour = rng.randint(7, 21)
    minute = rng.choice((0, 0, 0, 15, 30, 30, 45, 10, 20, 40, 50))
    twelve, half = hour % 12 or 12, "am" if hour < 12 else "pm"
    part = "in the morning" if hour < 12 else "in the afternoon" if hour < 18 else "in the evening"
    value = f"{twelve}:{minute:02d} {half}"
    style = rng.random()
    if hour == 12 and minute == 0 and style < 0.5:
        return "noon", value
    if style < 0.25:
        return f"{hour:02d}:{minute:02d}", f"{hour:02d}:{minute:02d}"
    if style < 0.55:
        clock = f"{twelve}" if minute == 0 else f"{twelve}:{minute:02d}"
        return f"{clock}{rng.choice(('', ' '))}{half}", value
    if minute == 0:
        return f"{rng.choice((str(twelve), _HOURS[twelve % 12]))} {part}", value
    if minute == 30:
        return f"half past {_HOURS[twelve % 12]} {part}", value
    return f"{twelve}.{minute:02d} {part}", value


def _typo(rng: random.Random, message: str, protected: Sequence[str]) -> str:
    """Drops, doubles or swaps one letter outside the values, as hurried fingers do."""
    free = [True] * len(message)
    lowered = message.lower()  # a sentence may begin with the event, capitalised
    for text in protected:
        start = lowered.find(text.lower())
        while start >= 0:
            free[start : start + len(text)] = [False] * len(text)
            start = lowered.find(text.lower(), start + 1)
    spots = [i for i in range(1, len(message) - 1) if free[i] and free[i + 1] and message[i : i + 2].isalpha()]
    if not spots:
        return message
    i = rng.choice(spots)
    kind = rng.randrange(3)
    if kind == 0:
        return message[:i] + message[i + 1 :]
    if kind == 1:
        return message[:i] + message[i] + message[i:]
    return message[:i] + message[i + 1] + message[i] + message[i + 2 :]
