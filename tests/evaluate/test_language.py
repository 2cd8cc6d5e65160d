"""Which rows count when text is predicted, and what a score of few rows may say."""

from __future__ import annotations

import pytest
import torch

from kitae.chat import Conversation
from kitae.evaluate import difference
from kitae.evaluate.language import by_engine, contexts, predict
from kitae.generate.engines.torch_engine import TorchEngine
from kitae.models import open_codec
from kitae.models.newllm.config import NewLLMConfig
from kitae.models.newllm.modeling import NewLLMForCausalLM
from kitae.workflows.tokenizer import train_tokenizer

LONGEST = 32


def chat(answer: str) -> Conversation:
    return Conversation.of([{"role": "user", "content": "a"}, {"role": "assistant", "content": answer}], "chat:1")


SHORT, LONG = chat("b"), chat("b" * 2 * LONGEST)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> TorchEngine:
    folder = tmp_path_factory.mktemp("vocabulary")
    (folder / "text.txt").write_text("one and two")
    train_tokenizer([folder / "text.txt"], folder / "tokenizer", size=260)
    codec = open_codec(folder / "tokenizer")
    torch.manual_seed(0)
    return TorchEngine(NewLLMForCausalLM(NewLLMConfig(vocab_size=codec.vocabulary.size, hidden_size=16)), codec, set(), None)


def test_rows_too_long_to_predict_are_left_out_whole(engine: TorchEngine) -> None:
    found = predict(engine.codec, [LONG, SHORT], LONGEST, by_engine(engine))
    assert [row.row for row in found] == [1]
    assert found[0].bytes == 1


def test_contexts_are_judged_on_rows_that_fit(engine: TorchEngine) -> None:
    assert contexts(engine, engine.codec, [LONG], LONGEST) is None
    alone = contexts(engine, engine.codec, [SHORT], LONGEST)
    assert alone is not None
    assert contexts(engine, engine.codec, [LONG, SHORT], LONGEST) == alone


def test_one_row_says_nothing_of_how_sure_it_is() -> None:
    assert difference({"language": {0: 1.0, 7: 9.0}}, {"language": {0: 3.0, 8: 9.0}})["language"] == {
        "mean": -2.0,
        "plus_minus": None,
    }
