"""Answers to prompts that are all there from the start."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from kitae.core.errors import ContextFull, InputError
from kitae.generate.beams import beam_search
from kitae.generate.engine import Engine
from kitae.generate.scheduler import Scheduler
from kitae.generate.settings import Chunk, Completion, Settings, TokenLogprob


def stream(engine: Engine, prompts: Sequence[Sequence[int]], settings: Settings) -> Iterator[Chunk]:
    """Yields text as soon as it is certain. More prompts than the engine takes together follow when others have ended."""
    longest = max(map(len, prompts))
    room = min(settings.max_tokens, engine.context - longest)
    if room <= 0:
        raise ContextFull("context-full", tokens=longest, limit=engine.context)
    scheduler = Scheduler(engine, longest + room, len(prompts))
    try:
        for prompt, seed in zip(prompts, np.random.SeedSequence(settings.seed).spawn(len(prompts)), strict=True):
            scheduler.add(prompt, settings, np.random.default_rng(seed))
        while scheduler.busy:
            for chunk in scheduler.step():
                if chunk.error is not None:
                    raise chunk.error
                yield chunk
    finally:
        scheduler.close()


def answers(engine: Engine, prompt: Sequence[int], settings: Settings) -> list[Completion]:
    """`settings.n` answers to one prompt: by chance, the likeliest of `best_of`, or found by a search with `beams`."""
    if settings.beams > 1:
        return beam_search(engine, prompt, settings)
    if settings.best_of is None:
        return complete(engine, [prompt] * settings.n, settings)
    if settings.best_of < settings.n:
        raise InputError("best-of", n=settings.n, best_of=settings.best_of)
    wish = settings if settings.logprobs is not None else replace(settings, logprobs=0)
    found = complete(engine, [prompt] * settings.best_of, wish)
    return sorted(found, key=lambda answer: -answer.mean_logprob)[: settings.n]


def complete(
    engine: Engine,
    prompts: Sequence[Sequence[int]],
    settings: Settings,
    on_progress: Callable[[int, float], None] = lambda ended, share: None,
) -> list[Completion]:
    """The answers to any number of prompts, in their order. `on_progress` hears at each token how
    many have ended, and what share of all that may have to be written is behind."""
    if not prompts:
        return []
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))  # those of like length lie best together
    texts = [""] * len(prompts)
    tokens: list[list[int]] = [[] for _ in prompts]
    logprobs: list[list[TokenLogprob]] = [[] for _ in prompts]
    answers: dict[int, Completion] = {}
    behind = 0
    for chunk in stream(engine, [prompts[i] for i in order], settings):
        index = order[chunk.row]
        texts[index] += chunk.text
        tokens[index] += chunk.tokens
        logprobs[index] += chunk.logprobs
        if chunk.finish is not None:
            answers[index] = Completion(texts[index], tuple(tokens[index]), chunk.finish, tuple(logprobs[index]))
        behind += len(chunk.tokens) if chunk.finish is None else settings.max_tokens - len(tokens[index]) + 1
        on_progress(len(answers), behind / (len(prompts) * settings.max_tokens))
    return [answers[i] for i in range(len(prompts))]
