"""A roomy memory holds what the plain one holds, whatever is done to it; and one query attends as torch's kernel does."""

from __future__ import annotations

import random

import pytest
import torch
from transformers.cache_utils import DynamicLayer
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from kitae.generate.one_by_one import RoomyLayer, _attention


@pytest.mark.parametrize("seed", range(20))
def test_a_roomy_layer_holds_what_a_plain_one_holds(seed: int) -> None:
    rng, rows = random.Random(seed), 3
    torch.manual_seed(seed)
    plain, roomy = DynamicLayer(), RoomyLayer()
    for _ in range(60):
        length = plain.get_seq_length()
        doing = rng.choice(["one", "one", "one", "many", "cut", "choose", "repeat"])
        if doing == "cut" and length > 5:
            cut = rng.randrange(1, 5)
            plain.crop(-cut)
            roomy.crop(-cut)
        elif doing == "choose" and length:
            index = torch.tensor(rng.choices(range(rows), k=rng.randrange(1, rows + 2)))
            rows = len(index)
            plain.batch_select_indices(index)
            roomy.batch_select_indices(index)
        elif doing == "repeat" and length and rows == 1:
            rows = 3
            plain.batch_repeat_interleave(3)
            roomy.batch_repeat_interleave(3)
        elif doing in ("one", "many"):
            count = 1 if doing == "one" else rng.randrange(2, 100)
            keys, values = torch.randn(rows, 2, count, 4), torch.randn(rows, 2, count, 4)
            for mine, theirs in zip(roomy.update(keys, values), plain.update(keys, values), strict=True):
                assert torch.equal(mine, theirs)
        assert roomy.get_seq_length() == plain.get_seq_length()


@pytest.mark.parametrize("masked", [None, "bool", "float"])
def test_one_query_attends_as_the_kernel_does(masked: str | None) -> None:
    torch.manual_seed(0)
    module = torch.nn.Module()
    module.num_key_value_groups = 3  # type: ignore[assignment]
    query, key, value = torch.randn(5, 6, 1, 16), torch.randn(5, 2, 40, 16), torch.randn(5, 2, 40, 16)
    mask = None
    if masked:
        mask = torch.rand(5, 1, 1, 40) > 0.3
        mask = mask if masked == "bool" else torch.zeros(5, 1, 1, 40).masked_fill(~mask, -1e9)
    mine, _ = _attention(module, query, key, value, mask, scaling=0.2)
    theirs, _ = sdpa_attention_forward(module, query, key, value, mask, scaling=0.2)
    torch.testing.assert_close(mine, theirs)
