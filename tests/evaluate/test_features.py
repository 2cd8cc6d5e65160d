"""What a model reads from rows is what single forward passes say of them, however rows are put together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from kitae.chat import Conversation
from kitae.evaluate.features import EncodedRow, FeatureReader
from kitae.evaluate.language import by_engine
from kitae.generate import open_engine
from kitae.generate.engines.torch_engine import TorchEngine
from kitae.models import Target

Tiny = Callable[..., Path]
ROWS = [
    [("user", "Name a river in Austria."), ("assistant", "The Danube flows through Vienna.")],
    [("user", "Hi"), ("assistant", "Hello. " * 30), ("user", "Again"), ("assistant", "No.")],
    [("system", "Be brief."), ("user", "What is 2 + 2? " * 12), ("assistant", "4")],
]


def row(said: list[tuple[str, str]]) -> Conversation:
    return Conversation.of([{"role": role, "content": text} for role, text in said])


def read(engine: TorchEngine, one: Conversation) -> EncodedRow:
    return EncodedRow.of(engine.codec.encode_answer(one))


@pytest.fixture(scope="module")
def engine(tiny_llama: Tiny) -> TorchEngine:
    made = open_engine(Target(tiny_llama()))
    assert isinstance(made, TorchEngine)
    return made


@pytest.fixture
def reader(engine: TorchEngine) -> FeatureReader:
    made = FeatureReader(engine)
    made._dtype = torch.float32
    return made


def test_difficulty_is_that_of_single_rows(engine: TorchEngine, reader: FeatureReader) -> None:
    encoded = [read(engine, row(said)) for said in ROWS]
    found = reader.read(encoded, difficulty=True, vectors=False).difficulty
    assert found is not None
    nats = by_engine(engine)
    heading = engine.codec.vocabulary.encode("<|im_end|>\n<|im_start|>assistant\n", parse_control=True)
    for one, value in zip(encoded, found, strict=True):
        ids = one.ids.tolist()
        answer = ids[one.start : one.end]
        behind = nats(ids)[0][one.start - 1 : one.end - 1].sum()
        alone = nats([*heading, *answer])[0][len(heading) - 1 :].sum()
        assert value == pytest.approx(np.exp((behind - alone) / len(answer)), rel=1e-4)


def test_vectors_do_not_depend_on_the_company(engine: TorchEngine, reader: FeatureReader) -> None:
    encoded = [read(engine, row(said)) for said in ROWS]
    together = reader.read(encoded, difficulty=True, vectors=True).vectors
    assert together is not None
    for one, vector in zip(encoded, together, strict=True):
        alone = reader.read([one], difficulty=False, vectors=True).vectors
        assert alone is not None
        np.testing.assert_allclose(alone[0], vector, atol=1e-4)
        assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-4)
    states = (
        engine.model(torch.tensor([encoded[0].ids.tolist()]), output_hidden_states=True).hidden_states[-1][0].detach().numpy()
    )
    weighted = (states * np.arange(1, len(states) + 1)[:, None]).sum(0)
    np.testing.assert_allclose(together[0], weighted / np.linalg.norm(weighted), atol=1e-4)


def test_what_has_no_question_or_answer_has_no_difficulty(engine: TorchEngine, reader: FeatureReader) -> None:
    rows = [Conversation.of_text("Rain fell on the town all day."), row([("user", "Anyone?")]), row(ROWS[0])]
    found = reader.read([read(engine, one) for one in rows], difficulty=True, vectors=True)
    assert found.difficulty is not None and found.vectors is not None
    assert np.isnan(found.difficulty[:2]).all() and np.isfinite(found.difficulty[2])
    assert np.isfinite(found.vectors).all()


@pytest.mark.parametrize("kind", ["newllm", "gemma"])
def test_other_models_are_read_too(kind: str, starter: Path, tmp_path: Path) -> None:
    from kitae.models import open_tokenizer
    from kitae.models.newllm.config import NewLLMConfig
    from kitae.models.newllm.modeling import NewLLMForCausalLM

    open_tokenizer(starter).save_pretrained(tmp_path / "model")
    if kind == "newllm":
        NewLLMForCausalLM(NewLLMConfig(vocab_size=49152, hidden_size=32)).save_pretrained(tmp_path / "model")
    else:
        from transformers import Gemma2Config, Gemma2ForCausalLM

        shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "head_dim": 16}
        config = Gemma2Config(vocab_size=49152, num_key_value_heads=2, max_position_embeddings=256, **shape)
        Gemma2ForCausalLM(config).save_pretrained(tmp_path / "model")
    engine = open_engine(Target(tmp_path / "model"))
    assert isinstance(engine, TorchEngine)
    encoded = [read(engine, row(said)) for said in ROWS]
    found = FeatureReader(engine).read(encoded, difficulty=True, vectors=True)
    assert found.difficulty is not None and found.vectors is not None
    assert np.isfinite(found.difficulty).all() and found.vectors.shape == (3, 32)
