"""A writer that does what it is asked in `prompts.json`: a model's place in tests of what is made of its replies."""

from __future__ import annotations

import hashlib
import re

SUBJECTS = (
    *("otters", "tides", "bridges", "clocks", "lemons", "glaciers", "violins", "comets", "teapots", "orchards", "lanterns"),
    *("ferries", "beetles", "ovens", "kites", "canyons", "spices", "harbours", "looms", "trams", "owls", "wells", "quilts"),
)
BEGINNINGS = (
    "Explain to a child how {} work",
    "List five uses that people once found for {}",
    "Write a short letter of complaint about {}",
    "Compare {} with something that looks alike",
    "Name three mistakes beginners make near {}",
    "Describe a morning among {} without colours",
    "Give advice to somebody afraid of {}",
)
ENDS = (
    "then add why {} were never part of it.",
    "using no sentence of more than nine words; mention {}.",
    "as if a sailor who only knows {} were listening.",
    "and finish with a riddle whose solution is {}.",
    "but leave out everything that also holds for {}.",
    "in the manner of an old cookbook about {}.",
    "so that it rhymes wherever {} come up.",
)


def task(seed: str) -> str:
    drawn = hashlib.sha256(seed.encode()).digest()
    begin, end = BEGINNINGS[drawn[0] % len(BEGINNINGS)], ENDS[drawn[1] % len(ENDS)]
    return f"{begin.format(SUBJECTS[drawn[2] % len(SUBJECTS)])}, {end.format(SUBJECTS[drawn[3] % len(SUBJECTS)])}"


def reply(text: str) -> str:
    if "numbered from 1" in text:
        return "Here they are:\n" + "\n".join(f"{i}. {task(f'{text} {i}')}" for i in range(1, 9))
    if "SAME or DIFFERENT" in text:
        return "DIFFERENT"
    if "QUESTION:" in text:
        return f"QUESTION: {task(text)}\nANSWER: {answer(text)}"
    if "=== TASK ===" in text:
        return f"They all ask for something short.\n=== TASK ===\n{task(text)}"
    if "Task:\n" in text:
        return f"New task: {task(text)}"
    if "Reply with the number alone" in text:
        return "5"
    return answer(text)


def answer(text: str) -> str:
    word = re.sub(r"\W+", " ", text).split()[-1]
    return f"It is best to begin with what is known about {word}. After that, one thing follows from another quite naturally."
