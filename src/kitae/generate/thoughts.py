"""What a model thinks before it answers is no part of the answer."""

from __future__ import annotations

from kitae.chat import ChatCodec

_OPEN, _CLOSE = "<think>", "</think>"


def has_thoughts(codec: ChatCodec) -> bool:
    """Whether the model's own template knows them."""
    return _CLOSE in codec.template.source


class Thoughts:
    """Told a text piece by piece, it says what of it is thought and what is answer. Tags may come in pieces, too."""

    def __init__(self, begun: bool = False) -> None:
        """`begun`: the prompt ended with the tag that opens a thought."""
        self._state = "thought" if begun else "before"
        self._held = ""

    def feed(self, text: str) -> tuple[str, str]:
        self._held += text
        thought = ""
        if self._state == "before":
            start = self._held.lstrip()
            if start.startswith(_OPEN):
                self._state, self._held = "opened", start[len(_OPEN) :]
            elif _OPEN.startswith(start):  # also if there is nothing yet but blanks
                return "", ""
            else:
                self._state = "answer"
        if self._state == "opened":
            self._held = self._held.lstrip("\n")
            if not self._held:
                return "", ""
            self._state = "thought"
        if self._state == "thought":
            thought, found, rest = self._held.partition(_CLOSE)
            if not found:
                sure = len(thought) - _undecided(thought)
                self._held = thought[sure:]
                return thought[:sure], ""
            self._state, self._held = "gap", rest
        if self._state == "gap":
            self._held = self._held.lstrip("\n")
            if not self._held:
                return thought, ""
            self._state = "answer"
        answer, self._held = self._held, ""
        return thought, answer

    def flush(self) -> tuple[str, str]:
        """What was held back, when there is no more."""
        held, self._held = self._held, ""
        return (held, "") if self._state == "thought" else ("", held)


def _undecided(text: str) -> int:
    return next((size for size in range(len(_CLOSE) - 1, 0, -1) if text.endswith(_CLOSE[:size])), 0)
