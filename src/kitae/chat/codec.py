"""From a conversation to token ids and a loss mask, by construction.

A rendering is built from pieces whose meaning is known: what the template says before an answer, the answer with its
terminator, what follows it. The mask grows with the pieces, so nothing is ever searched for in finished text or tokens.
Training, evaluation, serving and the gates all call this one codec.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from kitae.chat.conversation import Conversation, Message
from kitae.chat.template import ChatTemplate
from kitae.chat.vocabulary import Vocabulary
from kitae.core.errors import InputError


@dataclass(frozen=True)
class Piece:
    text: str
    labelled: bool


@dataclass(frozen=True)
class Span:
    """Tokens `start` to `end` (not included) of one answer, its terminator among them."""

    start: int
    end: int


@dataclass(frozen=True)
class Encoded:
    ids: list[int]
    loss_mask: list[bool]
    spans: list[Span]
    source: str = ""
    # "turn-by-turn": see encode; "joined": see _alone; "pieces": see _join; "text": it is plain text; "cut": and goes on
    notes: list[str] = field(default_factory=list)
    worse: Encoded | None = None  # the same with the worse answer of a preference

    @property
    def sequences(self) -> list[Encoded]:
        """What a model has to read for it."""
        return [self] if self.worse is None else [self, self.worse]

    @property
    def labelled(self) -> int:
        return sum(self.loss_mask)

    def cut(self, longest: int) -> list[Encoded]:
        """Plain text in pieces. A piece begins with the token that the one before it ended with, so each is predicted once."""
        starts = range(0, max(1, len(self.ids) - 1), longest - 1)
        return [self._piece(start, start + longest) for start in starts] if "text" in self.notes else [self]

    def _piece(self, start: int, end: int) -> Encoded:
        ids = self.ids[start:end]
        notes = self.notes if end >= len(self.ids) else [*self.notes, "cut"]
        return Encoded(ids, [False, *self.loss_mask[start + 1 : end]], [Span(1, len(ids))], self.source, notes)


class ChatCodec:
    def __init__(self, vocabulary: Vocabulary, template: ChatTemplate) -> None:
        self.vocabulary = vocabulary
        self.template = template

    @cached_property
    def _closing(self) -> tuple[str, str, int | None]:
        """What follows an answer, cut behind its first control token: (labelled, unlabelled, the control token's id)."""
        closing = self.template.closing
        match = self._control_pattern.search(closing)
        if match is None:
            return "", closing, None
        return closing[: match.end()], closing[match.end() :], self.vocabulary.control[match.group()]

    @property
    def terminator(self) -> int | None:
        """The token with which the template ends an answer: the one that must be learned, and must stop the model."""
        return self._closing[2]

    @cached_property
    def _control_pattern(self) -> re.Pattern[str]:
        texts = sorted(self.vocabulary.control, key=len, reverse=True)
        return re.compile("|".join(map(re.escape, texts)) if texts else r"(?!)")

    def prompt(self, messages: Sequence[Message], thinking: bool | None = None) -> list[int]:
        """The ids after which the model should answer: exactly those that training puts before an answer. `thinking`: whether
        it is to think first, where its template knows that wish."""
        masked, disguise = self._disguised(messages)
        wish = {} if thinking is None else {"enable_thinking": thinking}
        return self._encode(self.template.render(masked, add_generation_prompt=True, **wish), disguise)

    def rendered(self, messages: Sequence[Message]) -> str:
        """The text of a prompt. Where messages name control tokens, these are disguised in it."""
        return self.template.render(self._disguised(messages)[0], add_generation_prompt=True)

    def names_control(self, messages: Sequence[Message]) -> bool:
        """Whether a message has the text of a control token in it."""
        return any(self._control_pattern.search(text) for message in messages for text in (message.content, message.thought))

    def default_system(self) -> str:
        """What the template tells the model where no system message does; empty if it says nothing but who speaks."""
        text = self._control_pattern.sub(" ", self.template.default_system()).strip()
        said = re.sub(r"^system\s+", "", re.sub(r"\s*user$", "", text))
        return said if len(said.split()) > 2 or not said.isascii() else ""

    def encode(self, conversation: Conversation) -> list[Encoded]:
        """One sequence a conversation; one an answer where earlier turns, or their tokens, would not stay as they were."""
        if conversation.is_text:
            return [self._text(conversation)]
        messages, disguise = self._disguised(conversation.messages)
        answers = [i for i, message in enumerate(messages) if message.role == "assistant"]
        learned = [i for i in answers if messages[i].learned]
        pieces: list[Piece] = []
        for i in answers:
            turn = self._turn(messages, i)
            done = "".join(piece.text for piece in pieces)
            if turn is None or not turn[0].text.startswith(done):
                return [self._alone(messages, j, disguise, conversation.source, len(answers)) for j in learned]
            answer = turn[1] if messages[i].learned else Piece(turn[1].text, False)
            pieces += [Piece(turn[0].text[len(done) :], False), answer, *turn[2:]]
        if not answers:
            pieces = [Piece(self.template.render(messages), False)]
        joined = self._join(pieces, disguise, conversation.source, [])
        if len(answers) > 1 and "pieces" in joined.notes:  # later prompts would show the pieces, which no server does
            return [self._alone(messages, j, disguise, conversation.source, len(answers)) for j in learned]
        return [joined]

    def encode_last(self, conversation: Conversation) -> Encoded:
        """Only the last answer is labelled."""
        messages, disguise = self._disguised(conversation.messages)
        last = len(conversation.prompt)
        return self._alone(messages, last, disguise, conversation.source, answers=1)

    def encode_answer(self, conversation: Conversation) -> Encoded:
        """The last answer of a row behind all that was said before it; a text as it is."""
        return (
            self.encode(conversation)[0] if conversation.is_text or not conversation.answer else self.encode_last(conversation)
        )

    def encode_preference(self, conversation: Conversation) -> Encoded:
        return replace(self.encode_last(conversation), worse=self.encode_last(conversation.worse))

    def _text(self, conversation: Conversation) -> Encoded:
        """The text between two terminators, the first of which is there to predict the text's own first token."""
        end = [] if self.terminator is None else [self.terminator]
        ids = [*end, *self.vocabulary.encode(conversation.messages[0].content, parse_control=False), *end]
        return Encoded(ids, [False, *[True] * (len(ids) - 1)], [Span(1, len(ids))], conversation.source, ["text"])

    def _turn(self, messages: Sequence[Message], i: int) -> list[Piece] | None:
        """The pieces up to the end of answer i, or None if the rendering is not prompt + answer + closing."""
        prompt = self.template.render(messages[:i], add_generation_prompt=True)
        whole = self.template.render(messages[: i + 1])
        head, tail, _ = self._closing
        if not whole.startswith(prompt) or not whole[len(prompt) :].endswith(head + tail):
            return None
        body = whole[len(prompt) : len(whole) - len(head + tail)]
        return [Piece(prompt, False), Piece(body + head, True), Piece(tail, False)]

    def _alone(self, messages: Sequence[Message], i: int, disguise: dict[str, str], source: str, answers: int) -> Encoded:
        """Answer i with what the model would see before it, as a sequence of its own."""
        turn = self._turn(messages, i)
        notes = ["turn-by-turn"] if answers > 1 else []
        if turn is None:
            head, tail, _ = self._closing
            prompt = self.template.render(messages[:i], add_generation_prompt=True)
            turn = [Piece(prompt, False), Piece(messages[i].content + head, True), Piece(tail, False)]
            notes.append("joined")
        return self._join(turn, disguise, source, notes)

    def _join(self, pieces: Sequence[Piece], disguise: dict[str, str], source: str, notes: list[str]) -> Encoded:
        """Ids of the whole text where its tokens respect the borders of the pieces, else of each piece by itself.

        A tokenizer may merge the end of a prompt with the beginning of an answer ("\\n" + "\\n" → "\\n\\n"). A model that
        is prompted never sees that token, so training must not either.
        """
        pieces = [piece for piece in pieces if piece.text]
        borders = [0]
        text = ""
        whole = self._encode("".join(piece.text for piece in pieces), disguise)
        for piece in pieces:
            text += piece.text
            prefix = self._encode(text, disguise)
            if whole[: len(prefix)] != prefix:
                break
            borders.append(len(prefix))
        else:
            return _masked(whole, pieces, borders, source, notes)
        parts = [self._encode(piece.text, disguise, inner=number > 0) for number, piece in enumerate(pieces)]
        borders = [0]
        for part in parts:
            borders.append(borders[-1] + len(part))
        return _masked([i for part in parts for i in part], pieces, borders, source, [*notes, "pieces"])

    # Control-token text inside a message must stay text. Before rendering, the first character of each such text is
    # exchanged for a private one that no message uses; after rendering, only the template's own control tokens are left
    # to be recognised, and the exchanged characters are put back while recognition is switched off.

    def _disguised(self, messages: Sequence[Message]) -> tuple[list[Message], dict[str, str]]:
        if not self.names_control(messages):
            return list(messages), {}
        used = {char for message in messages for char in message.content + message.thought}
        texts = list(self.vocabulary.control)
        free = (chr(code) for code in range(0xF0000, 0xFFFFE) if chr(code) not in used)
        stand_in = dict(zip(texts, free, strict=False))

        def disguise(match: re.Match[str]) -> str:
            return stand_in[match.group()] + match.group()[1:]

        def masked(text: str) -> str:
            previous = ""
            while text != previous:  # overlapping texts take more than one round
                previous, text = text, self._control_pattern.sub(disguise, text)
            return text

        changed = [replace(m, content=masked(m.content), thought=masked(m.thought)) for m in messages]
        return changed, {stand: text[0] for text, stand in stand_in.items()}

    def _encode(self, text: str, disguise: dict[str, str], inner: bool = False) -> list[int]:
        if not any(stand in text for stand in disguise):
            return self._inner(text) if inner else self.vocabulary.encode(text)
        restore = str.maketrans(disguise)
        segments: list[tuple[str, bool]] = []
        position = 0
        for match in self._control_pattern.finditer(text):
            segments += [(text[position : match.start()], False), (match.group(), True)]
            position = match.end()
        segments.append((text[position:], False))
        segments = [(part, control) for part, control in segments if part]
        whole = self._inner(text) if inner else self.vocabulary.encode(text)
        for encode in (self.vocabulary.encode, self._inner):
            first = self._inner if inner else self.vocabulary.encode
            encoders = [first, *[encode] * (len(segments) - 1)]
            as_seen = [i for (part, control), f in zip(segments, encoders, strict=True) for i in f(part, control)]
            if as_seen == whole:
                break
        else:
            raise InputError("control-text", why=text.translate(restore)[:200])
        ids: list[int] = []
        for (part, control), f in zip(segments, encoders, strict=True):
            found = f(part.translate(restore), control)
            if not control and not self._control_ids.isdisjoint(found):  # a Unigram model holds these texts itself
                raise InputError("control-text", why=text.translate(restore)[:200])
            ids += found
        return ids

    @cached_property
    def _control_ids(self) -> frozenset[int]:
        return frozenset(self.vocabulary.control.values())

    @cached_property
    def _adds_space(self) -> bool:
        """Whether the tokenizer puts a space before whatever it is given first, and so before a piece of a text."""
        encode, decode = self.vocabulary.encode, self.vocabulary.decode
        return any(decode([i, *encode("x")]) != text + "x" for text, i in list(self.vocabulary.control.items())[:1])

    def _inner(self, text: str, parse_control: bool = True) -> list[int]:
        """The ids that `text` has behind other text."""
        encode = self.vocabulary.encode
        if self._adds_space:
            for before in ("\n", "a", "。"):
                known, ids = encode(before, parse_control), encode(before + text, parse_control)
                if ids[: len(known)] == known:
                    return ids[len(known) :]
        return encode(text, parse_control)


def _masked(ids: list[int], pieces: Sequence[Piece], borders: Sequence[int], source: str, notes: list[str]) -> Encoded:
    mask = [False] * len(ids)
    spans = []
    for piece, start, end in zip(pieces, borders, borders[1:], strict=False):
        if piece.labelled:
            mask[start:end] = [True] * (end - start)
            spans.append(Span(start, end))
    return Encoded(ids, mask, spans, source, notes)
