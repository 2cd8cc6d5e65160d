"""Beam search against transformers' own, on the same model."""

from __future__ import annotations

import pytest
import torch
from tests.conftest import Tiny

from kitae.chat import Message
from kitae.core.errors import InputError
from kitae.generate import Settings, TorchEngine, answers, open_engine
from kitae.models import Target, starter_file


@pytest.fixture(scope="module")
def engine(tiny_llama: Tiny) -> TorchEngine:
    made = open_engine(Target(tiny_llama()))
    assert isinstance(made, TorchEngine)
    return made


@pytest.mark.parametrize("penalty", [0.0, 0.7, 1.0, 1.5])
@pytest.mark.parametrize("beams", [2, 3, 5])
def test_it_finds_what_transformers_finds(engine: TorchEngine, beams: int, penalty: float) -> None:
    stops = sorted(engine.stop_tokens)
    for number, text in enumerate(("one", "and another one", "?")):
        prompt = engine.codec.prompt([Message("user", text)])
        rare = answers(engine, prompt, Settings(max_tokens=1))[0].tokens[0]
        ends = [*stops, rare] if number == 2 else stops  # and where answers end early
        found = engine.model.generate(
            torch.tensor([prompt]),
            max_new_tokens=9,
            num_beams=beams,
            num_return_sequences=beams,
            length_penalty=penalty,
            early_stopping=False,
            do_sample=False,
            eos_token_id=ends,
            pad_token_id=stops[0],
            return_dict_in_generate=True,
            output_scores=True,
        )
        settings = Settings(max_tokens=9, beams=beams, n=beams, length_penalty=penalty, stop_tokens=tuple(ends))
        ours = answers(engine, prompt, settings)
        for mine, theirs in zip(ours, found.sequences[:, len(prompt) :].tolist(), strict=True):
            assert list(mine.tokens) == theirs[: len(mine.tokens)]
            assert all(token == stops[0] for token in theirs[len(mine.tokens) :])


def test_llama_cpp_searches_as_well() -> None:
    """The best of several beams is at least as likely as the greedy answer."""
    engine = open_engine(Target(starter_file()))
    prompt = engine.codec.prompt([Message("user", "Name a colour.")])
    best, *others = answers(engine, prompt, Settings(max_tokens=8, beams=4, n=4))
    greedy = answers(engine, prompt, Settings(max_tokens=8))[0]

    def logprob(tokens: tuple[int, ...]) -> float:
        rows = engine.logits([*prompt, *tokens, 0], len(prompt) - 1)[:-1].astype("float64")
        rows -= rows.max(1, keepdims=True)
        return float(sum(row[t] - torch.tensor(row).exp().sum().log() for row, t in zip(rows, tokens, strict=True)))

    assert logprob(best.tokens) >= logprob(greedy.tokens) - 1e-3
    assert len({answer.tokens for answer in [best, *others]}) == 4
    engine.close()


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        (Settings(beams=3, temperature=0.5), "beams-settings"),
        (Settings(beams=3, top_k=5), "beams-settings"),
        (Settings(beams=2, n=3), "beams-n"),
        (Settings(n=3, best_of=2), "best-of"),
    ],
)
def test_what_does_not_go_together_is_refused(engine: TorchEngine, settings: Settings, kind: str) -> None:
    with pytest.raises(InputError) as told:
        answers(engine, [5, 6], settings)
    assert told.value.kind == kind


def test_best_of_keeps_the_likeliest(engine: TorchEngine) -> None:
    prompt = engine.codec.prompt([Message("user", "one")])
    settings = Settings(max_tokens=6, temperature=1.5, seed=3, n=2, best_of=6)
    best = answers(engine, prompt, settings)
    every = answers(engine, prompt, Settings(max_tokens=6, temperature=1.5, seed=3, n=6, logprobs=0))
    assert [answer.tokens for answer in best] == [
        answer.tokens for answer in sorted(every, key=lambda answer: -answer.mean_logprob)[:2]
    ]
    assert len({answer.tokens for answer in every}) > 2
