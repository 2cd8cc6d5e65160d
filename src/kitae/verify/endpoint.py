"""Whether a running server says what was proven: it is asked what the proven model is asked here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from kitae.ask import Reply, Request
from kitae.chat import ChatCodec, Message
from kitae.core.console import console
from kitae.core.errors import BadTemplate
from kitae.core.i18n import t
from kitae.generate import token_bytes
from kitae.models import Target
from kitae.verify.alone import Stages, quant_of
from kitae.verify.compare import tie_within
from kitae.verify.exam import Exam
from kitae.verify.gate import Gate, skipped
from kitae.verify.gguf import kld_limits
from kitae.verify.obeying import sampling
from kitae.verify.observe import Observation, observe
from kitae.verify.parting import Compared, compared
from kitae.verify.probes import probe_turns
from kitae.verify.served import Prompted, answers, control_text, stops, template
from kitae.verify.server import Server

_COUNTED = 4  # of the exam's questions that are only read, to see how many tokens they have


class EndpointVerifier:
    def __init__(self, server: Server, form: Target, exam: Exam, scratch: Path, with_answers: bool) -> None:
        """`form`: the proven one, which is asked here."""
        self._server, self._form, self._exam, self._scratch = server, form, exam, scratch
        self._with_answers = with_answers

    def stages(self) -> Stages:
        console.say(t("say.comparing-server", model=self._server.model, url=self._server.url, proven=self._form.path))
        yield ["endpoint.template", "endpoint.control-text"], self._prompts()
        yield ["endpoint.stops", "endpoint.answers"], self._answers()
        yield ["endpoint.sampling"], self._sampling()

    def _prompts(self) -> Iterator[Gate]:
        turns = self._turns
        yield template([self._prompted(number) for number in range(len(turns))], self._codec)
        if not self._named_control:
            yield skipped("endpoint.control-text", "no-template")
            return
        named, plain = (self._prompted(len(turns) + number) for number in range(2))
        yield control_text(named, plain, self._codec)

    def _answers(self) -> Iterator[Gate]:
        if not self._exam.prompts:
            yield skipped("endpoint.stops", "no-prompts", required=False)
            yield skipped("endpoint.answers", "no-prompts", required=False)
            return
        exam = self._exam
        yield stops(self._compared, self._codec, exam.limits)
        yield answers(self._compared, self._proven, exam.truths, exam.exact and exam.own_task, exam.limits, self._tie)

    def _sampling(self) -> Iterator[Gate]:
        if not self._exam.prompts:
            yield skipped("endpoint.sampling", "no-prompts", required=False)
            return
        proven = self._proven.answers
        longest = max(range(len(proven)), key=lambda number: len(proven[number].tokens))

        def alike(reply: Reply) -> bool:
            return self._beside([longest], [reply])[0].kind in ("equal", "tied")

        yield sampling(self._requests[longest], proven[longest], self._ask, alike, self._server.left_out)

    @property
    def _codec(self) -> ChatCodec:
        return self._exam.codec

    @cached_property
    def _turns(self) -> list[list[Message]]:
        """Conversations of every kind that the template allows, and some of the exam's own."""
        own = [list(row.prompt) for row in self._exam.prompts[:_COUNTED]] if self._exam.own_task else []
        return [turns for turns in [*probe_turns(), *own] if self._allowed(turns)]

    @cached_property
    def _named_control(self) -> list[list[Message]]:
        """Two questions, one of which names the token that ends answers."""
        if self._codec.terminator is None:
            return []
        end = self._codec.vocabulary.decode([self._codec.terminator])
        return [[Message("user", f"What does {what} mean?")] for what in (end, "it")]

    def _allowed(self, messages: Sequence[Message]) -> bool:
        try:
            self._codec.prompt(messages)
        except BadTemplate:  # some take no system message
            return False
        return True

    @cached_property
    def _read(self) -> list[Reply]:
        """Replies of a single token, which say how many the prompt has."""
        chats = [*self._turns, *self._named_control]
        return self._server.ask([Request(tuple(turns), max_tokens=1) for turns in chats], t("say.asking-server"))

    def _prompted(self, number: int) -> Prompted:
        chats = [*self._turns, *self._named_control]
        reply, seen = self._read[number], self._proven
        shown = self._server.shows(chats[number]) if number < len(self._turns) else None
        prompted = Prompted(chats[number], seen.chat_ids[number], seen.facts["rendered"][number], reply, shown)
        return replace(prompted, opened=self._opened(prompted))

    def _opened(self, prompted: Prompted) -> Prompted | None:
        if not self._form.system or prompted.messages[0].role == "system":
            return None
        messages = [Message("system", self._form.system), *prompted.messages]
        return replace(prompted, messages=messages, ids=self._codec.prompt(messages), text=self._codec.rendered(messages))

    @cached_property
    def _proven(self) -> Observation:
        """The proven model, asked in a fresh process."""
        prompts = [list(row.prompt) for row in self._exam.prompts]
        chats = [*self._turns, *self._named_control, *prompts]  # its questions last, where `compared` looks for them
        job = replace(
            self._exam.job(self._form, self._with_answers, sampled=False),
            texts=[],
            sequences=[],
            starts=[],
            long=[],
            chats=[[message.as_dict() for message in turns] for turns in chats],
        )
        return observe(job, self._scratch)

    @cached_property
    def _requests(self) -> list[Request]:
        return [Request(row.prompt, self._exam.max_new_tokens) for row in self._exam.prompts]

    def _ask(self, requests: Sequence[Request]) -> list[Reply]:
        return self._server.ask(requests, t("say.asking-server"))

    @cached_property
    def _compared(self) -> list[Compared]:
        return self._beside(range(len(self._requests)), self._ask(self._requests))

    def _beside(self, numbers: Sequence[int], replies: Sequence[Reply]) -> list[Compared]:
        seen, first = self._proven, len(self._proven.chat_ids) - len(self._requests)
        proven = replace(
            seen,
            answers=[seen.answers[number] for number in numbers],
            chat_ids=[seen.chat_ids[first + number] for number in numbers],
        )
        questions = [self._requests[number].messages[-1].content for number in numbers]
        return compared(proven, questions, replies, token_bytes(self._codec.vocabulary), self._tie, self._scratch)

    @cached_property
    def _tie(self) -> float:
        """In nats: as far as its proof lets the proven form be from what was trained, a server may be from the proven form."""
        limits = self._exam.limits
        quant = quant_of(self._form.path) if self._form.kind == "gguf" else None
        if quant is None:
            return tie_within(limits.equivalent_kld)
        return tie_within(kld_limits(quant, self._proven.facts["parameters"], limits)[1])
