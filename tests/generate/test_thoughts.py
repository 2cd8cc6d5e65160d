"""Thoughts are told from answers, in whatever pieces they come."""

from __future__ import annotations

import pytest

from kitae.generate import Thoughts


def told(text: str, size: int, begun: bool = False) -> tuple[str, str]:
    thoughts = Thoughts(begun)
    parts = [thoughts.feed(text[at : at + size]) for at in range(0, len(text), size)] + [thoughts.flush()]
    return "".join(thought for thought, _ in parts), "".join(answer for _, answer in parts)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 1000])
@pytest.mark.parametrize(
    ("text", "begun", "thought", "answer"),
    [
        ("<think>\nHm.\n</think>\n\nBlue.", False, "Hm.\n", "Blue."),
        ("\n<think>Hm</think>Blue", False, "Hm", "Blue"),
        ("Hm.\n</think>\n\nBlue.", True, "Hm.\n", "Blue."),
        ("Blue.", False, "", "Blue."),
        ("  Blue", False, "", "  Blue"),
        ("<thin air", False, "", "<thin air"),
        ("Say <think>x</think>", False, "", "Say <think>x</think>"),
        ("<think>never ends </thi", False, "never ends </thi", ""),
        ("<think>a</think>", False, "a", ""),
        ("<think></think>Blue", False, "", "Blue"),
        ("", False, "", ""),
    ],
)
def test_they_are_told_apart(text: str, begun: bool, thought: str, answer: str, size: int) -> None:
    assert told(text, size, begun) == (thought, answer)
