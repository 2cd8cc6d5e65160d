"""Phase 1 of a New-LLM: contexts that few passes find, that tell what comes next, and that don't become one.

As its inventors defined it this phase only asked that contexts stop changing, which a context that is always the same does
best. So small heads predict the next tokens from them, and what they cost is the signal. A loss on variety keeps channels
apart. What the last pass still changed is in the model's own loss, as in any training of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from kitae.core.console import console
from kitae.core.i18n import t
from kitae.core.paths import cache_dir
from kitae.models.newllm.health import health
from kitae.models.newllm.modeling import NewLLMForCausalLM
from kitae.models.newllm.remembered import RememberedContexts
from kitae.train.batches import IGNORED, MicroBatch, in_batches
from kitae.train.callbacks import EarlyStop
from kitae.train.trainer import KitaeTrainer

_LOOKED_AT = 32  # held-out sequences on which contexts are judged
_SAMPLE = 2048  # tokens whose contexts are kept apart


class ContextLoss:
    """Of each row, the summed loss of the heads, one for each of the next tokens; `added` is what the model and variety add."""

    padded = True

    def __init__(self, model: NewLLMForCausalLM, variety: float) -> None:
        self._model = model
        self._variety = variety
        self.added: torch.Tensor | None = None

    def count(self, batch: MicroBatch) -> int:
        return batch.labelled

    def __call__(self, batch: MicroBatch) -> torch.Tensor:
        model = self._model
        heads: nn.ModuleList = model.ahead
        with model.model.solving(model.model.current_plan) as solutions:
            found = model.model(input_ids=batch.input_ids, attention_mask=batch.real)
            contexts = [solution.contexts[batch.real] for solution in solutions]
        total = found.last_hidden_state.new_zeros(len(batch.lengths), dtype=torch.float32)
        for distance, head in enumerate(heads, 1):
            targets = batch.labels[:, distance:]
            rows, places = (targets != IGNORED).nonzero(as_tuple=True)
            logits = model.lm_head(head(found.last_hidden_state[rows, places])).float()
            total = total.index_add(0, rows, functional.cross_entropy(logits, targets[rows, places], reduction="none"))
        self.added = None
        if found.unsettled is not None:
            same = sum((sameness(block) for block in contexts), start=found.unsettled.new_zeros(()))
            self.added = model.config.settling * found.unsettled + self._variety * same
        mean: torch.Tensor = total / len(heads)
        return mean


def sameness(contexts: torch.Tensor) -> torch.Tensor:
    """Of [tokens, channels]: 0 where channels vary alike and independently; dead ones add, and pairs that say the same."""
    if not len(contexts):  # the stand-in of a process that has no row of a step
        return contexts.new_zeros(())
    flat = contexts[torch.randperm(len(contexts))[:_SAMPLE].to(contexts.device)].float()
    centred = flat - flat.mean(0)
    deviation = (centred.square().mean(0) + 1e-8).sqrt()
    dead = functional.relu(1 - 2 * deviation / deviation.mean().clamp(min=1e-6)).mean()
    unit = centred / deviation
    together = (unit.T @ unit / len(unit)).square()
    width = together.shape[0]
    return dead + (together.sum() - together.diagonal().sum()) / max(1, width * (width - 1))


class ContextTrainer(KitaeTrainer):
    def __init__(self, *arguments: Any, variety: float, **more: Any) -> None:
        self._variety = variety
        super().__init__(*arguments, **more)

    def make_loss(self) -> ContextLoss:
        return ContextLoss(self.model, self._variety)

    def more_metrics(self) -> dict[str, float]:
        rows = self.validation[:_LOOKED_AT]
        model: Any = self.model
        model.eval()
        batches = [batch.to(self.args.device) for batch in in_batches(rows, self.micro_batch_tokens, padded=True)]
        found = health(model, [(batch.input_ids, batch.real) for batch in batches])
        shown = {name: f"{value:.1%}" for name, value in found.as_dict().items() if name != "passes"}
        console.say("  " + t("say.contexts", step=self.state.global_step, passes=f"{found.passes:.1f}", **shown))
        return {f"eval_{name}": value for name, value in found.as_dict().items()}


class EnoughConverged(EarlyStop):
    """Stops when enough held-out contexts are found by training's passes, and the heads' loss has stopped falling."""

    def __init__(self, patience: int, min_delta: float, converged: float) -> None:
        super().__init__(patience, min_delta)
        self.converged = converged

    def may_stop(self, metrics: dict[str, float]) -> bool:
        return metrics["eval_converged"] >= self.converged

    def state(self) -> dict[str, Any]:
        value = super().state()
        value["args"] = {name: getattr(self, name) for name in ("patience", "min_delta", "converged")}
        return value


def add_heads(model: NewLLMForCausalLM, ahead: int) -> None:
    """They are the model's own while phase 1 lasts, so checkpoints hold them."""
    width = model.config.hidden_size
    model.ahead = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(ahead))
    for head in model.ahead:
        nn.init.eye_(head.weight)


def freeze_contexts(model: NewLLMForCausalLM) -> None:
    """Leaves to training only what no context depends on: how the last block is read, and the output layer."""
    for weights in model.parameters():
        weights.requires_grad_(False)
    if model.config.tie_word_embeddings:
        model.config.tie_word_embeddings = False
        model.lm_head.weight = nn.Parameter(model.lm_head.weight.detach().clone())
    for part in readers(model):
        for weights in part.parameters():
            weights.requires_grad_(True)
    model.model.contexts_frozen = True


def readers(model: NewLLMForCausalLM) -> Sequence[nn.Module]:
    last = model.model.blocks[-1].cell
    return [model.lm_head, model.model.norm, *(getattr(last, name) for name in ("reading", "to_stream") if hasattr(last, name))]


def remember_contexts(model: NewLLMForCausalLM, limit_mb: int) -> RememberedContexts | None:
    """For a model whose contexts no training changes any more."""
    if not limit_mb:
        return None
    digest = hashlib.sha256(model.config.to_json_string().encode())
    for name, weights in model.named_parameters():
        if not weights.requires_grad:
            digest.update(name.encode() + weights.detach().float().cpu().numpy().tobytes())
    folder = cache_dir() / "contexts"
    model.model.remembered = RememberedContexts(folder, digest.hexdigest(), str(model.config.blocks), limit_mb)
    return model.model.remembered
