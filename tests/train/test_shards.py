"""Weights that processes share. What two of them make of it: tests/journeys/test_processes.py."""

from __future__ import annotations

import os

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from kitae.chat import Encoded
from kitae.core import processes
from kitae.core.errors import InputError, KitaeError
from kitae.train.batches import Part, collate
from kitae.train.shards import spread
from kitae.train.trainer import KitaeTrainer


def rows(count: int) -> list[Encoded]:
    return [Encoded(list(range(10 + 7 * i)), [False] * 5 + [True] * (5 + 7 * i), [], str(i)) for i in range(count)]


@pytest.mark.parametrize("padded", [True, False])
@pytest.mark.parametrize("count", [1, 2, 7])
def test_all_take_as_many_micro_batches(count: int, padded: bool) -> None:
    """Else one would wait in a layer for others that have none left."""
    steps = [collate(40, padded, Part(number, 3, even=True))(rows(count)) for number in range(3)]
    assert len({len(step.micro) for step in steps}) == 1
    counted = [source for step in steps for batch in step.micro for source in batch.sources if batch.labelled]
    assert sorted(counted) == [row.source for row in rows(count)]
    apart = [collate(40, padded, Part(number, 3))(rows(count)) for number in range(3)]
    assert max(len(step.micro) for step in apart) == len(steps[0].micro)


def test_micro_batches_are_not_halved_while_others_wait() -> None:
    trainer = object.__new__(KitaeTrainer)
    trainer._part, trainer.micro_batch_tokens = Part(even=True), 64

    def work() -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(KitaeError) as caught:
        trainer._fitting(work)
    assert caught.value.kind == "out-of-memory-shared"
    assert "64" in caught.value.message


@pytest.mark.parametrize("count", ["1", "2"])
def test_libraries_below_are_translated(count: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", count)
    said = "[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:534] Connection closed by peer [127.0.0.1]:4711"
    with pytest.raises(KitaeError if count == "2" else RuntimeError) as caught, processes.others_needed():
        raise RuntimeError(said)
    assert "closed by peer" in (caught.value.why if count == "2" else str(caught.value))
    with pytest.raises(RuntimeError, match="shapes"), processes.others_needed():
        raise RuntimeError("shapes cannot be multiplied")


def test_a_model_without_a_stack_of_layers_is_told() -> None:
    network = GPT2LMHeadModel(GPT2Config(n_embd=8, n_layer=2, n_head=2, vocab_size=50))
    network.extra = torch.nn.ModuleList([torch.nn.Linear(1, 1), torch.nn.Linear(1, 1)])
    with pytest.raises(InputError) as caught:
        spread(network)
    assert caught.value.kind == "shard"


def test_what_a_launcher_asks_for_is_left_to_no_other_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    assert processes.launcher_shares_weights()
    assert "ACCELERATE_USE_FSDP" not in os.environ
    assert not processes.launcher_shares_weights()
