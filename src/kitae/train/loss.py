"""The loss: summed over labelled tokens, with logits made only where there are labels."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import DynamicCache

from kitae.train.batches import IGNORED, MicroBatch

_WORTHWHILE = 8  # tokens of shared prefix from which computing it once pays for the extra pass
_SAME = 2e-2  # bf16 rounds differently when sums are cut differently; anything else is a mistake
_BLOCK = 64


class LabelledLoss:
    """Runs a causal model's own forward pass, but lets only labelled positions reach its head.

    The head is asked through the model, not beside it, so soft-capping and logit scales stay the model's business.
    Rows of a batch often begin alike (a system message). That beginning is computed once for all of them, as a cache that
    gradients flow through; the first batch is computed both ways, and if the two disagree the plain way is kept.
    A model that carries a state gets its rows whole, and is told where they end.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._chosen: torch.Tensor | None = None
        self.added: torch.Tensor | None = None  # what the model itself adds to the loss of each token of the last batch
        self._carries_state = getattr(model, "carries_state", False)
        self.shares: bool | None = False if self._carries_state else None  # None: not tried yet
        _head(model).register_forward_pre_hook(self._choose)

    def __call__(self, batch: MicroBatch) -> torch.Tensor:
        """The summed negative log-likelihood of the labels."""
        shared = shared_prefix(batch)
        if shared < _WORTHWHILE or self.shares is False:
            return self._plain(batch)
        if self.shares is None:
            self.shares = self._agrees(batch, shared)
            return self(batch)
        return self._sharing(batch, shared)

    def _plain(self, batch: MicroBatch) -> torch.Tensor:
        targets, chosen = _predicted(batch.labels)
        return self._nll(batch.input_ids, targets, chosen, None, batch.real if self._carries_state else None)

    def _sharing(self, batch: MicroBatch, shared: int) -> torch.Tensor:
        cache = DynamicCache(config=self._model.config)
        none = torch.zeros(1, shared, dtype=torch.bool, device=batch.labels.device)
        self._forward(batch.input_ids[:1, :shared], none, cache)
        cache.batch_repeat_interleave(len(batch.input_ids))
        targets, chosen = _predicted(batch.labels[:, shared:])
        return self._nll(batch.input_ids[:, shared:], targets, chosen, cache)

    def _agrees(self, batch: MicroBatch, shared: int) -> bool:
        """Without dropout, so that no random number is drawn which a resumed run would not draw."""
        training = self._model.training
        self._model.eval()
        try:
            with torch.no_grad():
                plain = self._plain(batch)
                return bool((self._sharing(batch, shared) - plain).abs() <= _SAME * plain.abs().clamp(min=1.0))
        except (TypeError, ValueError, AttributeError, RuntimeError):  # a model with another kind of cache, or none
            return False
        finally:
            self._model.train(training)

    def _nll(
        self,
        ids: torch.Tensor,
        targets: torch.Tensor,
        chosen: torch.Tensor,
        cache: DynamicCache | None,
        real: torch.Tensor | None = None,
    ) -> torch.Tensor:
        logits = self._forward(ids, chosen, cache, real)
        loss: torch.Tensor = SummedCrossEntropy.apply(logits, targets)  # type: ignore[no-untyped-call]
        return loss

    def _forward(
        self, ids: torch.Tensor, chosen: torch.Tensor, cache: DynamicCache | None, real: torch.Tensor | None = None
    ) -> torch.Tensor:
        self._chosen = chosen
        try:
            found = self._model(input_ids=ids, attention_mask=real, past_key_values=cache, use_cache=cache is not None)
            self.added = getattr(found, "added_loss", None)
            logits: torch.Tensor = found.logits
            return logits
        finally:
            self._chosen = None

    def _choose(self, _: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...] | None:
        if self._chosen is None:
            return None
        return (arguments[0][self._chosen], *arguments[1:])


class SummedCrossEntropy(torch.autograd.Function):
    """Cross-entropy whose gradient is made together with the loss, block by block: no second pass over the vocabulary."""

    @staticmethod
    def forward(ctx: Any, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        total = torch.zeros((), device=logits.device)
        gradient = torch.empty_like(logits)
        for start in range(0, len(targets), _BLOCK):
            part = slice(start, start + _BLOCK)
            wanted = targets[part, None]
            shares = logits[part].float()
            peak = shares.amax(-1, keepdim=True)
            right = shares.gather(1, wanted)
            shares.sub_(peak).exp_()
            whole = shares.sum(-1, keepdim=True)
            total += (whole.log() + peak - right).sum()
            shares.div_(whole).scatter_add_(1, wanted, -torch.ones_like(right))
            gradient[part] = shares
        ctx.save_for_backward(gradient)
        return total

    @staticmethod
    def backward(ctx: Any, *upstream: torch.Tensor) -> tuple[torch.Tensor, None]:
        (gradient,) = ctx.saved_tensors
        return gradient.mul_(upstream[0].to(gradient.dtype)), None  # in place: it is asked for once, and large


def shared_prefix(batch: MicroBatch) -> int:
    """How many tokens all rows begin with alike, none of them predicting a label."""
    ids, labels = batch.input_ids, batch.labels
    if len(ids) < 2:
        return 0
    alike = (ids == ids[:1]).all(0) & (labels == IGNORED).all(0)
    length = int(alike.int().cumprod(0).sum())
    # The last shared token may predict the first label, which the rest then has to do.
    return max(0, min(length, ids.shape[1]) - 1)


def _predicted(labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(the tokens to predict, the positions that predict them). The last position predicts nothing that we know."""
    targets = labels[:, 1:]
    kept = targets != IGNORED
    return targets[kept], torch.cat([kept, torch.zeros_like(kept[:, :1])], dim=1)


def _head(model: nn.Module) -> nn.Module:
    inner: Any = model
    if hasattr(inner, "get_base_model"):
        inner = inner.get_base_model()
    head: nn.Module = inner.get_output_embeddings()
    return head
