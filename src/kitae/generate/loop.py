"""The only decode loop: every answer that Kitae ever generates comes through here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from kitae.errors import InputError
from kitae.generate.engine import Engine
from kitae.generate.pieces import token_bytes
from kitae.generate.sampling import choose
from kitae.generate.settings import Chunk, Completion, Settings
from kitae.generate.stops import TextStream


def stream(engine: Engine, prompts: Sequence[Sequence[int]], settings: Settings) -> Iterator[Chunk]:
    """Decodes up to `engine.width` prompts together, and yields text as soon as it is certain."""
    longest = max(len(prompt) for prompt in prompts)
    room = min(settings.max_tokens, engine.context - longest)
    if room <= 0:
        raise InputError("context-full", tokens=longest, limit=engine.context)
    piece = token_bytes(engine.codec.vocabulary)
    texts = [TextStream(settings.stop) for _ in prompts]
    histories: list[list[int]] = [list(prompt) for prompt in prompts]
    seeds = np.random.SeedSequence(settings.seed).spawn(len(prompts))
    generators = [np.random.default_rng(seed) for seed in seeds]
    live = list(range(len(prompts)))
    session = engine.begin(prompts, room)
    try:
        for step in range(room):
            logits = session.next_logits()
            going: list[int] = []
            for position, row in enumerate(live):
                token = choose(logits[position], settings, histories[row], generators[row])
                if token in engine.stop_tokens:
                    yield Chunk(row, texts[row].flush(), (token,), "stop")
                    continue
                histories[row].append(token)
                text = texts[row].feed(piece(token))
                if texts[row].stopped:
                    yield Chunk(row, text, (token,), "stop")
                elif step + 1 == room:
                    text += texts[row].flush()
                    yield Chunk(row, text, (token,), "stop" if texts[row].stopped else "length")
                else:
                    yield Chunk(row, text, (token,))
                    going.append(position)
            if not going:
                return
            if len(going) < len(live):
                session.keep(going)
                live = [live[position] for position in going]
            session.feed([histories[row][-1] for row in live])
    finally:
        session.close()


def complete(
    engine: Engine,
    prompts: Sequence[Sequence[int]],
    settings: Settings,
    on_progress: Callable[[int], None] = lambda ended: None,
) -> list[Completion]:
    """The answers to any number of prompts, in their order. Prompts of like length are decoded together. `on_progress` hears at
    each token how many answers have ended."""
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    answers: dict[int, Completion] = {}
    for start in range(0, len(order), engine.width):
        group = order[start : start + engine.width]
        texts = dict.fromkeys(group, "")
        tokens: dict[int, list[int]] = {i: [] for i in group}
        for chunk in stream(engine, [prompts[i] for i in group], settings):
            index = group[chunk.row]
            texts[index] += chunk.text
            tokens[index] += chunk.tokens
            if chunk.finish is not None:
                answers[index] = Completion(texts[index], tuple(tokens[index]), chunk.finish)
            on_progress(len(answers))
    return [answers[i] for i in range(len(prompts))]
