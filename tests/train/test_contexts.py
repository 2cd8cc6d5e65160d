"""Phase 1 of a New-LLM: what its losses mean, and what freezing leaves alone."""

from __future__ import annotations

import torch

from kitae.models.newllm.config import NewLLMConfig
from kitae.models.newllm.health import health
from kitae.models.newllm.modeling import NewLLMForCausalLM
from kitae.train.batches import MicroBatch
from kitae.train.contexts import ContextLoss, add_heads, freeze_contexts, sameness


def model(**settings: object) -> NewLLMForCausalLM:
    torch.manual_seed(0)
    return NewLLMForCausalLM(NewLLMConfig(**({"vocab_size": 50, "hidden_size": 32} | settings)))


IDS = torch.randint(0, 50, (8, 32), generator=torch.Generator().manual_seed(0))


def test_sameness_tells_independent_channels_from_repeated_and_dead_ones() -> None:
    noise = torch.randn(4, 500, 16, generator=torch.Generator().manual_seed(0))
    independent = sameness(noise)
    assert independent < 0.05
    assert sameness(noise[:, :, :1].expand(-1, -1, 16)) > 0.9
    assert sameness(torch.cat([noise[:, :, :8], torch.zeros(4, 500, 8)], dim=-1)) > independent + 0.4
    torch.testing.assert_close(sameness(noise * 7), independent, atol=0.02, rtol=0)


def test_the_first_head_predicts_the_next_token_and_the_second_the_one_after() -> None:
    network = model(settling=0.0).eval()
    add_heads(network, 2)
    batch = MicroBatch(IDS, IDS, torch.full((8,), 32))
    logits = network(IDS).logits  # heads begin as the identity
    expected = torch.zeros(())
    for distance in (1, 2):
        shown = logits[:, :-distance].flatten(0, 1)
        expected = expected + torch.nn.functional.cross_entropy(shown, IDS[:, distance:].flatten(), reduction="sum")
    torch.testing.assert_close(ContextLoss(network, 0.0)(batch), expected / 2)


def test_frozen_contexts_stay_while_the_output_is_learned() -> None:
    network = model()
    freeze_contexts(network)
    network.train()

    def contexts() -> list[torch.Tensor]:
        with network.model.solving(network.model.current_plan) as solutions:
            network(IDS)
            return [solution.contexts.detach().clone() for solution in solutions]

    before = contexts()
    optimiser = torch.optim.SGD([weights for weights in network.parameters() if weights.requires_grad], lr=1.0)
    first = network(IDS, labels=IDS).loss
    for _ in range(20):
        optimiser.zero_grad()
        network(IDS, labels=IDS).loss.backward()
        optimiser.step()
    assert network(IDS, labels=IDS).loss < first - 0.1
    assert all(torch.equal(old, new) for old, new in zip(before, contexts(), strict=True))


def test_health_tells_found_contexts_from_lost_and_collapsed_ones() -> None:
    good = health(model().eval(), [IDS])
    assert good.agreement == 1.0
    assert good.converged > 0.9
    assert good.effective_rank > 0.2
    assert good.distance > 0.3
    collapsed = model().eval()
    with torch.no_grad():
        for block in collapsed.model.blocks:  # what enters is always the same, and nothing is kept
            block.cell.heads.weight.zero_()
            block.cell.heads.bias[32:] = 1.0
            block.cell.forget.fill_(-20.0)
    found = health(collapsed, [IDS])
    assert found.distance < 1e-3
    chaotic = health(model(cell="seed-gated").eval(), [torch.randint(0, 50, (2, 200))])
    assert chaotic.converged < 0.9
    assert chaotic.passes == float("inf")


def test_some_rows_begin_where_others_ended() -> None:
    network = model(mixing=1.0)
    network.train()
    first = network(IDS).logits
    assert not torch.allclose(first, network(IDS).logits)
    network.eval()
    assert torch.equal(network(IDS).logits, network(IDS).logits)
