"""The questions that every form of a model is asked, so that the answers can be compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path

from kitae.chat import ChatCodec, Conversation, Encoded
from kitae.core.errors import InputError
from kitae.evaluate import answer_sizes
from kitae.models import Target
from kitae.recipe import Recipe, Thresholds
from kitae.verify.observe import LONG_TAIL, Job, Observation, job_sequences, observe
from kitae.verify.probes import probe_answers, probe_chats, probe_texts

_SAMPLED = 16
_FEW = 8
_TOKENS = 8_192
_LEAST_ROWS = 4
_GENERAL_ANSWER = 128  # tokens in which a short question is answered, by whoever stops at all
_LONG = 640


@dataclass(frozen=True)
class Exam:
    codec: ChatCodec
    rows: Sequence[Conversation]  # whose answers' distributions are compared
    prompts: Sequence[Conversation]  # which are answered
    limits: Thresholds
    max_new_tokens: int
    exact: bool
    longest: int | None  # tokens of a piece, where texts are cut
    own_task: bool  # the user's held-out rows, not Kitae's general questions
    asked: int | None = None  # how many of the prompts are answered; None: all
    long: Sequence[int] = ()  # a text that goes on and on
    preferences: bool = False  # each row has a worse answer too, whose distribution follows that of the better

    @property
    def truths(self) -> list[str]:
        return [row.answer for row in self.prompts]

    def without_answers(self) -> Exam:
        return replace(self, asked=0)

    def with_few_answers(self) -> Exam:
        """Enough to see that another engine begins, goes on and stops like the first; the rest is proven by distributions."""
        return replace(self, asked=_FEW)

    def ask(self, form: Target, scratch: Path, answers: bool = True, sampled: bool = True) -> Observation:
        """Runs the exam on a form, in a fresh process. `answers=False` compares distributions only."""
        return observe(self.job(form, answers, sampled), scratch)

    def start(self, form: Target) -> Job:
        """Of the model that training began with: nothing is compared with it but the task."""
        return replace(self.job(form, sampled=False), long=[])

    def encoded(self, row: Conversation) -> Sequence[Encoded]:
        """What is read for a row."""
        sequences = self.codec.encode_preference(row).sequences if self.preferences else self.codec.encode(row)
        return sequences if self.longest is None else [sequence.cut(self.longest)[0] for sequence in sequences]

    def shortened(self) -> Exam:
        """To rows that have no more tokens than are worth their time and their space: each has as many logits as there are
        tokens in the vocabulary, for every form of the model."""
        lengths = (sum(len(sequence.ids) for sequence in self.encoded(row)) for row in self.rows)
        count = sum(total <= _TOKENS for total in accumulate(lengths))
        return replace(self, rows=self.rows[: max(count, _LEAST_ROWS)])

    def job(self, form: Target, answers: bool = True, sampled: bool = True) -> Job:
        sequences, starts = job_sequences([sequence for row in self.rows for sequence in self.encoded(row)])
        return Job(
            target=form,
            texts=probe_texts(),
            chats=[[m.as_dict() for m in row.messages] for row in [*self.rows, *self.prompts] if not row.is_text],
            sequences=sequences,
            starts=starts,
            long=list(self.long),
            prompts=[[m.as_dict() for m in row.prompt] for row in self.prompts[: self.asked]] if answers else [],
            sampled=_SAMPLED if answers and sampled else 0,
            max_new_tokens=self.max_new_tokens,
        )


def own_exam(
    recipe: Recipe,
    codec: ChatCodec,
    context: int | None,
    test: Sequence[Conversation],
    validation: Sequence[Conversation],
) -> Exam:
    """On rows that training never saw; test rows if there are any with an answer."""
    wanted, preferences = recipe.evaluate, recipe.train.method == "dpo"
    single = [row.learned_part for row in test if row.teaches] or [row.learned_part for row in validation if row.teaches]
    compared = [row for row in (*test, *validation) if row.rejected is not None] if preferences else single
    chats = [row for row in single if not row.is_text]
    sizes = answer_sizes(codec, chats, wanted.prompts)
    room = wanted.room(sizes)
    # Whoever answers such a row rightly would be cut off, which looks like one who can't stop.
    fitting = [row for row, size in zip(chats, sizes, strict=False) if size <= room]
    exam = Exam(
        codec=codec,
        rows=compared[: wanted.rows],
        prompts=(fitting or chats)[: wanted.prompts],
        limits=recipe.verify,
        max_new_tokens=room,
        exact="exact_match" in wanted.suites,
        longest=recipe.model.max_length,
        own_task=True,
        long=_long(codec, context),
        preferences=preferences,
    )
    return exam.shortened()


def general_exam(codec: ChatCodec, context: int | None) -> Exam:
    """For a model about whose task nothing is known."""
    return Exam(
        codec=codec,
        rows=probe_answers(),
        prompts=[Conversation.of(chat) for chat in probe_chats()],
        limits=Thresholds(),
        max_new_tokens=_GENERAL_ANSWER,
        exact=False,
        longest=None,
        own_task=False,
        long=_long(codec, context),
    )


def _long(codec: ChatCodec, context: int | None) -> list[int]:
    """Longer than a context that is said by mistake, unless the model's own is shorter; nothing without positions."""
    if context is None:
        return []
    turns = [message for row in probe_answers() for message in row.messages]
    ids: list[int] = []
    for times in range(1, 8):
        try:
            ids = codec.prompt([*turns * times, turns[0]])
        except InputError:  # a template that allows no such chat
            return []
        if len(ids) >= _LONG:
            break
    ids = ids[: min(_LONG, context)]
    return ids if len(ids) > 2 * LONG_TAIL else []
