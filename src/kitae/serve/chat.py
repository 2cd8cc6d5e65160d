"""/v1/chat/completions."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from kitae.generate import Chunk, Settings, Thoughts, TokenLogprob
from kitae.serve.asking import Asking
from kitae.serve.errors import ApiError
from kitae.serve.limits import Limits
from kitae.serve.requests import ChatRequest
from kitae.serve.service import Model, Service
from kitae.serve.worker import Job

_ENDS = {"stop": "stop", "length": "length"}  # others are told beside it: clients know only these


@dataclass(frozen=True)
class Wanted:
    """A request that has been understood."""

    model: Model
    prompt: list[int]
    settings: Settings
    thinking: bool  # whether thoughts are to be told from the answer
    begun: bool  # and the prompt has begun one


def understood(model: Model, limits: Limits, request: ChatRequest) -> Wanted:
    codec = model.codec
    constraint = request.constraint_of(request.response_format)
    thinking = request.chat_template_kwargs.enable_thinking if request.chat_template_kwargs else None
    if thinking is not None and not codec.template.thinks:
        raise ApiError(400, "this model's template knows no enable_thinking", "unsupported", "chat_template_kwargs")
    if constraint is not None and codec.template.thinks:
        if thinking:
            raise ApiError(400, "an answer that is constrained can't be thought about first", "unsupported", "response_format")
        thinking = False
    window = request.truncation == "auto"
    prompt = model.prompt([message.message() for message in request.messages], thinking, window, request.most)
    logprobs = (request.top_logprobs or 0) if request.logprobs else None
    most = request.most or max(1, model.lane.length - len(prompt))
    settings = request.settings(most, logprobs, constraint, codec.vocabulary.size)
    settings = replace(settings, n=_answers(limits, request.n))
    begun = model.thinks and codec.vocabulary.decode(prompt[-8:]).rstrip("\n").endswith("<think>")
    if begun and constraint is not None:
        raise ApiError(
            400, "this model always thinks first, so its answer can't be constrained", "unsupported", "response_format"
        )
    return Wanted(model, prompt, settings, model.thinks, begun)


def _answers(limits: Limits, n: int | None) -> int:
    if (n or 1) > limits.answers:
        raise ApiError(400, f"at most {limits.answers}", "too_many_answers", "n")
    return n or 1


@dataclass
class Choice:
    """One answer, as far as it is there."""

    thoughts: Thoughts | None
    content: str = ""
    thought: str = ""
    tokens: int = 0
    thinking_tokens: int = 0
    logprobs: list[TokenLogprob] = field(default_factory=list)
    finish: str | None = None

    def take(self, chunk: Chunk) -> tuple[str, str]:
        """The thought and the answer in it."""
        thought, content = ("", chunk.text) if self.thoughts is None else self.thoughts.feed(chunk.text)
        if chunk.finish is not None and self.thoughts is not None:
            last = self.thoughts.flush()
            thought, content = thought + last[0], content + last[1]
        self.thought, self.content = self.thought + thought, self.content + content
        self.tokens += len(chunk.tokens)
        self.thinking_tokens += len(chunk.tokens) if thought and not content else 0
        self.logprobs += chunk.logprobs
        self.finish = chunk.finish
        return thought, content


def usage(prompts: int, jobs: list[Job], said: int, thought: int = 0) -> dict[str, Any]:
    return {
        "prompt_tokens": prompts,
        "completion_tokens": said,
        "total_tokens": prompts + said,
        "prompt_tokens_details": {"cached_tokens": max((job.known for job in jobs), default=0), "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": thought, "audio_tokens": 0},
    }


def ended(finish: str | None) -> dict[str, Any]:
    if finish is None:
        return {"finish_reason": None}
    return {"finish_reason": _ENDS.get(finish, "length"), "stop_reason": None if finish in _ENDS else finish}


def told(model: Model, logprobs: Sequence[TokenLogprob]) -> list[dict[str, Any]]:
    def one(token: int, logprob: float) -> dict[str, Any]:
        data = model.lane.piece(token)
        return {"token": data.decode("utf-8", "replace"), "logprob": max(logprob, -9999.0), "bytes": list(data)}

    return [{**one(p.token, p.logprob), "top_logprobs": [one(*top) for top in p.top]} for p in logprobs]


def head(kind: str, model: Model, prefix: str = "chatcmpl") -> dict[str, Any]:
    return {
        "id": f"{prefix}-{uuid.uuid4().hex}",
        "object": kind,
        "created": int(time.time()),
        "model": model.name,
        "system_fingerprint": model.version,
    }


async def whole(service: Service, wanted: Wanted, owner: str) -> dict[str, Any]:
    choices = _choices(wanted)
    async with Asking(service, wanted.model, [wanted.prompt], wanted.settings, owner) as asking:
        async for some in asking.chunks():
            for job, chunk in some:
                choices[job.index].take(chunk)
    found = [
        {
            "index": index,
            "message": _message(choice),
            "logprobs": _logprobs(wanted, choice.logprobs),
            **ended(choice.finish),
        }
        for index, choice in enumerate(choices)
    ]
    return {**head("chat.completion", wanted.model), "choices": found, "usage": _usage(wanted, asking.jobs, choices),
            "service_tier": "default"}  # fmt: skip


async def streamed(service: Service, wanted: Wanted, owner: str, with_usage: bool) -> AsyncIterator[bytes]:
    """Nothing is said before the first token: until then a mistake has a status of its own."""
    choices = _choices(wanted)
    beginning = head("chat.completion.chunk", wanted.model)
    more = {"usage": None} if with_usage else {}

    def event(index: int, delta: dict[str, Any], logprobs: Any, finish: str | None) -> bytes:
        choice = {"index": index, "delta": delta, "logprobs": logprobs, **ended(finish)}
        return b"data: " + json.dumps({**beginning, "choices": [choice], **more}, ensure_ascii=False).encode() + b"\n\n"

    begun: set[int] = set()
    async with Asking(service, wanted.model, [wanted.prompt], wanted.settings, owner) as asking:
        async for some in asking.chunks():
            data = []
            for job, chunk in some:
                index, choice = job.index, choices[job.index]
                if index not in begun:
                    begun.add(index)
                    data.append(event(index, {"role": "assistant", "content": "", "refusal": None}, None, None))
                thought, content = choice.take(chunk)
                logprobs = _logprobs(wanted, chunk.logprobs) if chunk.logprobs else None
                delta = {**({"reasoning_content": thought} if thought else {}), **({"content": content} if content else {})}
                if delta or logprobs:
                    data.append(event(index, delta, logprobs, None))
                if chunk.finish is not None:
                    data.append(event(index, {}, None, chunk.finish))
            if data:
                yield b"".join(data)
        if with_usage:
            last = {**beginning, "choices": [], "usage": _usage(wanted, asking.jobs, choices)}
            yield b"data: " + json.dumps(last, ensure_ascii=False).encode() + b"\n\n"
        yield b"data: [DONE]\n\n"


def _logprobs(wanted: Wanted, found: Sequence[TokenLogprob]) -> dict[str, Any] | None:
    return None if wanted.settings.logprobs is None else {"content": told(wanted.model, found), "refusal": None}


def _choices(wanted: Wanted) -> list[Choice]:
    return [new_choice(wanted) for _ in range(wanted.settings.n)]


def new_choice(wanted: Wanted) -> Choice:
    return Choice(Thoughts(wanted.begun) if wanted.thinking else None)


def _message(choice: Choice) -> dict[str, Any]:
    thought = {"reasoning_content": choice.thought} if choice.thought else {}
    return {"role": "assistant", "content": choice.content, "refusal": None, "annotations": [], **thought}


def _usage(wanted: Wanted, jobs: list[Job], choices: list[Choice]) -> dict[str, Any]:
    return usage(len(wanted.prompt), jobs, sum(c.tokens for c in choices), sum(c.thinking_tokens for c in choices))
