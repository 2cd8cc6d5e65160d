"""/v1/completions: text goes on as it is, without a template."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import Any

from kitae.generate import Settings, TokenLogprob, mean_logprob
from kitae.serve.asking import Asking
from kitae.serve.chat import ended, head, usage
from kitae.serve.errors import ApiError
from kitae.serve.limits import Limits
from kitae.serve.requests import CompletionRequest
from kitae.serve.service import Model, Service


@dataclass(frozen=True)
class Wanted:
    model: Model
    prompts: list[list[int]]
    echoes: list[str]  # what stands before each answer
    settings: Settings


def understood(model: Model, limits: Limits, request: CompletionRequest) -> Wanted:
    vocabulary = model.codec.vocabulary
    texts = request.prompts()
    if len(texts) * (request.best_of or request.n or 1) > limits.answers:
        raise ApiError(400, f"at most {limits.answers} answers to a request", "too_many_answers", "prompt")
    prompts = [ids_of(model, text) for text in texts]
    constraint = request.constraint_of(request.response_format)
    most = request.max_tokens or max(1, model.lane.length - max(map(len, prompts)))
    logprobs = request.logprobs
    if request.best_of is not None and logprobs is None:
        logprobs = 0  # to know which are best
    settings = request.settings(most, logprobs, constraint, vocabulary.size)
    settings = replace(settings, n=request.n or 1, best_of=request.best_of)
    echoes = [(text if isinstance(text, str) else vocabulary.decode(text)) if request.echo else "" for text in texts]
    return Wanted(model, prompts, echoes, settings)


def ids_of(model: Model, text: str | list[int], param: str = "prompt") -> list[int]:
    vocabulary = model.codec.vocabulary
    if isinstance(text, str):
        ids = vocabulary.encode(text, parse_control=False)
        beginning = model.codec.template.special_tokens.get("beginning") or ""
        ids = [*(vocabulary.encode(beginning) if beginning else []), *ids]
    else:
        ids = text
    if not ids:
        raise ApiError(400, "it is empty", "invalid_value", param)
    if any(not 0 <= token < vocabulary.size for token in ids):
        raise ApiError(400, f"token ids are 0 to {vocabulary.size - 1}", "invalid_value", param)
    return ids


@dataclass
class _Answer:
    text: str = ""
    tokens: int = 0
    logprobs: list[TokenLogprob] = field(default_factory=list)
    finish: str | None = None


async def whole(service: Service, wanted: Wanted, owner: str, asked_logprobs: bool) -> dict[str, Any]:
    settings = wanted.settings
    each = settings.best_of or settings.n
    answers = [_Answer() for _ in range(len(wanted.prompts) * each)]
    async with Asking(service, wanted.model, wanted.prompts, settings, owner) as asking:
        async for some in asking.chunks():
            for job, chunk in some:
                answer = answers[job.index]
                answer.text, answer.finish = answer.text + chunk.text, chunk.finish
                answer.tokens, answer.logprobs = answer.tokens + len(chunk.tokens), [*answer.logprobs, *chunk.logprobs]
    choices: list[dict[str, Any]] = []
    for number in range(len(wanted.prompts)):
        group = answers[number * each : (number + 1) * each]
        if settings.best_of is not None:
            group = sorted(group, key=lambda answer: -mean_logprob(answer.logprobs))[: settings.n]
        for answer in group:
            choices.append(
                {
                    "index": len(choices),
                    "text": wanted.echoes[number] + answer.text,
                    "logprobs": _told(wanted.model, answer.logprobs, len(wanted.echoes[number])) if asked_logprobs else None,
                    **ended(answer.finish),
                }
            )
    said = sum(answer.tokens for answer in answers)
    counted = usage(sum(map(len, wanted.prompts)), asking.jobs, said)
    return {**head("text_completion", wanted.model, "cmpl"), "choices": choices, "usage": counted}


async def streamed(
    service: Service, wanted: Wanted, owner: str, with_usage: bool, asked_logprobs: bool
) -> AsyncIterator[bytes]:
    beginning = head("text_completion", wanted.model, "cmpl")
    more = {"usage": None} if with_usage else {}
    said = 0
    offsets: dict[int, int] = {}
    async with Asking(service, wanted.model, wanted.prompts, wanted.settings, owner) as asking:
        async for some in asking.chunks():
            data = []
            for job, chunk in some:
                echo = wanted.echoes[job.index // wanted.settings.n]
                text = chunk.text if job.index in offsets else echo + chunk.text
                begin = offsets.setdefault(job.index, len(echo))
                logprobs = _told(wanted.model, chunk.logprobs, begin) if asked_logprobs else None
                offsets[job.index] += sum(len(_text(wanted.model, found.token)) for found in chunk.logprobs)
                said += len(chunk.tokens)
                if text or logprobs or chunk.finish is not None:
                    choice = {"index": job.index, "text": text, "logprobs": logprobs, **ended(chunk.finish)}
                    line = json.dumps({**beginning, "choices": [choice], **more}, ensure_ascii=False)
                    data.append(f"data: {line}\n\n".encode())
            if data:
                yield b"".join(data)
        if with_usage:
            counted = usage(sum(map(len, wanted.prompts)), asking.jobs, said)
            yield f"data: {json.dumps({**beginning, 'choices': [], 'usage': counted})}\n\n".encode()
        yield b"data: [DONE]\n\n"


def _text(model: Model, token: int) -> str:
    return model.lane.piece(token).decode("utf-8", "replace")


def _told(model: Model, logprobs: list[TokenLogprob] | tuple[TokenLogprob, ...], offset: int) -> dict[str, Any]:
    def text(token: int) -> str:
        return _text(model, token)

    offsets = []
    for found in logprobs:
        offsets.append(offset)
        offset += len(text(found.token))
    return {
        "tokens": [text(found.token) for found in logprobs],
        "token_logprobs": [max(found.logprob, -9999.0) for found in logprobs],
        "top_logprobs": [{text(token): max(value, -9999.0) for token, value in found.top} for found in logprobs],
        "text_offset": offsets,
    }
