"""How fast the llama.cpp that is loaded reads and writes, measured on a GGUF file in a process of its own."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

from kitae.generate.engine import Part
from kitae.generate.engines.llama_engine import LlamaDecoder, LlamaEngine
from kitae.generate.sampling import Logits

_PROMPT, _SEQUENCES, _STEPS = 64, 8, 32
_TIMES = 3


def measure(file: str) -> None:
    """Prints tokens a second as JSON: of reading prompts, and of writing with one sequence and with several."""
    engine = LlamaEngine(Path(file))
    found = [(_read(engine), _write(engine, 1), _write(engine, _SEQUENCES)) for _ in range(_TIMES)]
    names = ("read", "write", f"write_{_SEQUENCES}")
    print(json.dumps({name: round(max(speeds)) for name, speeds in zip(names, zip(*found, strict=True), strict=True)}))


def _prompts(count: int) -> list[list[int]]:
    return [[100 + 37 * number + 11 * i for i in range(_PROMPT)] for number in range(count)]


def _read(engine: LlamaEngine) -> float:
    return _speed(_PROMPT * _SEQUENCES, lambda: _begun(engine, _SEQUENCES)[0].close())


def _write(engine: LlamaEngine, count: int) -> float:
    decoder, logits = _begun(engine, count)

    def steps(found: Logits = logits) -> None:
        for _ in range(_STEPS):
            found = decoder.read([Part(number, [token]) for number, token in enumerate(found.argmax(1).tolist())])

    try:
        return _speed(count * _STEPS, steps)
    finally:
        decoder.close()


def _begun(engine: LlamaEngine, count: int) -> tuple[LlamaDecoder, Logits]:
    decoder = engine.open(count, _PROMPT + _STEPS)
    prompts = _prompts(count)
    for number, prompt in enumerate(prompts):
        decoder.begin(number, prompt)
    return decoder, decoder.read([Part(number, prompt) for number, prompt in enumerate(prompts)])


def _speed(tokens: int, work: Callable[[], None]) -> float:
    began = time.monotonic()
    work()
    return tokens / (time.monotonic() - began)
