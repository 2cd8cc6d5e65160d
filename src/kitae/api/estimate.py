"""How much memory and time a recipe will want, from file headers and settings alone; no weights are loaded."""

from __future__ import annotations

import psutil

from kitae.api.rows import gather_rows
from kitae.errors import InputError
from kitae.files import JsonDict
from kitae.models import Design, Size, locate_tokenizer, peek, size_of
from kitae.recipe import New, Recipe

_CHARACTERS_PER_TOKEN = 3.2
# Bytes of activations that one token leaves behind for the backward pass, a layer, in multiples of the hidden size;
# measured on SmolLM2-135M with plain attention and adapters on every linear layer (docs/benchmarks.md).
_ACTIVATIONS = 110
_OVERHEAD_MB = 900  # Python, torch and transformers themselves
_FLOPS = 250e9  # what two ordinary cores reach in training, all losses included
_FASTEST = 10_000  # tokens a second; a small model's time goes into other things than multiplying


def _size(new: New, longest: int) -> Size:
    return size_of(Design(**new.design), locate_tokenizer(new.tokenizer), longest)


def estimate(recipe: Recipe) -> JsonDict:
    rows = gather_rows(recipe)
    answered, least = sum(row.teaches for row in rows.validation), recipe.verify.min_validation_rows
    if answered < least:
        raise InputError("few-validation", where=recipe.name, count=answered, least=least)
    new = recipe.model.new
    size = peek(recipe.model.source) if new is None else _size(new, recipe.model.max_length)
    parameters, hidden, layers = size.parameters, size.hidden, size.layers
    train = recipe.train
    full = train.whole
    weights = parameters * (4 if full else 2)
    trained = parameters if full else 16 * train.lora_settings.r * hidden * layers
    states = trained * 12  # gradient and two moments in fp32
    tokens_at_once = min(train.micro_batch_tokens, train.batch_tokens)
    activations = tokens_at_once * layers * hidden * _ACTIVATIONS
    logits = tokens_at_once * size.vocabulary * 4 * 2
    memory = (weights + states + activations + logits) / 1e6 + _OVERHEAD_MB
    epochs = train.epochs + (train.phases.epochs if train.method == "newllm" else 0)
    tokens = sum(len(row.text) for row in rows.train) / _CHARACTERS_PER_TOKEN * epochs
    seconds = tokens * max(parameters * (6 if full else 4) / _FLOPS, 1 / _FASTEST)
    available = psutil.virtual_memory().available / 1e6
    if memory > available:
        raise InputError("too-large", where=recipe.name, needed=round(memory), available=round(available))
    return {
        "name": recipe.name,
        "model": recipe.model.source,
        "parameters": parameters,
        "rows": len(rows.train),
        "validation": len(rows.validation),
        "duplicates": rows.duplicates,
        "tokens": round(tokens),
        "memory_mb": round(memory),
        "minutes": round(seconds / 60, 1),
    }
