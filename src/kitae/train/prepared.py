"""Everything that training needs, made and held still so that the gates can look at it before the first step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from kitae.chat import ChatCodec, Conversation, Encoded
from kitae.core.errors import BadTemplate, InputError
from kitae.data import Rows
from kitae.models import Facts, folder_facts, open_codec, safetensors_header, weight_files
from kitae.recipe import Recipe
from kitae.runs import Run
from kitae.targets import base_folder
from kitae.train.batches import BatchPlan, collate, layout, length
from kitae.train.budget import tokens_at_once

SOFT_PROMPT_START = "soft-prompt-start.safetensors"  # in the run's folder: what it was before it learned

Encode = Callable[[Conversation], list[Encoded]]


@dataclass(frozen=True)
class CollatedRow:
    """One row as the model sees it, beside what it was made from."""

    row: Encoded
    ids: list[int]
    labels: list[int]
    padding: list[int]  # the labels behind its end


@dataclass(frozen=True)
class Prepared:
    run: Run
    recipe: Recipe
    base: Path
    codec: ChatCodec
    rows: Rows
    train: list[Encoded]
    validation: list[Encoded]
    too_long: list[tuple[str, int]]  # rows over model.max_length: (source, tokens)

    @cached_property
    def facts(self) -> Facts:
        return folder_facts(self.base, self.codec)

    @cached_property
    def stop_tokens(self) -> set[int]:
        """What will end an answer of the shipped model: the model's own stops and those that the recipe adds."""
        added = {self.codec.vocabulary.control.get(text) for text in self.recipe.model.stop_tokens}
        return self.facts.stop_tokens | {i for i in added if i is not None}

    @cached_property
    def plan(self) -> BatchPlan:
        train = self.recipe.train
        return BatchPlan([length(row) for row in self.train], train.batch_tokens, train.epochs, train.seed)

    def collated(self) -> Iterator[CollatedRow]:
        """Every row once, cut out of the very batches that the trainer gets."""
        budget = tokens_at_once(self.recipe.train)
        make = collate(budget, padded=False)
        seen: set[int] = set()
        for indices in self.plan.steps:
            if seen.issuperset(indices):
                return
            seen.update(indices)
            rows = [self.train[i] for i in indices]
            for group, batch in zip(layout(rows, budget, padded=False), make(rows).micro, strict=True):
                sequences = [sequence for i in group for sequence in rows[i].sequences]
                for row, ids, labels in zip(sequences, batch.input_ids.tolist(), batch.labels.tolist(), strict=True):
                    end = len(row.ids)
                    yield CollatedRow(row, ids[:end], labels[:end], labels[end:])


def check_names(recipe: Recipe, base: Path, codec: ChatCodec) -> None:
    """Tokens and matrices that a recipe names must be the model's; this is known before anything large is loaded."""
    control, lora = codec.vocabulary.control, recipe.train.lora_settings
    for where, texts in (("model.stop_tokens", recipe.model.stop_tokens), ("train.lora.tokens", lora.tokens)):
        unknown = [text for text in texts if text not in control]
        if unknown:
            raise InputError("token-unknown", where=where, why=", ".join(unknown), known=", ".join(control)[:300])
    if recipe.train.adapts and lora.targets != "all-linear":
        headers = (safetensors_header(file) for file in weight_files(base))
        modules = {
            name.removesuffix(".weight") for header in headers for name, tensor in header.items() if len(tensor["shape"]) == 2
        }
        for target in lora.targets:
            if not any(module == target or module.endswith(f".{target}") for module in modules):
                known = ", ".join(sorted({module.rpartition(".")[2] for module in modules}))
                raise InputError("target-unknown", where="train.lora.targets", why=target, known=known)


def prepare(recipe: Recipe, run: Run, rows: Rows) -> Prepared:
    base = base_folder(recipe, run)
    codec = open_codec(base, recipe.model.chat_template)
    encode = (lambda row: [codec.encode_preference(row)]) if recipe.train.method == "dpo" else codec.encode
    train, long_train = _encode(encode, rows.train, recipe.model.max_length)
    validation, long_validation = _encode(encode, rows.validation, recipe.model.max_length)
    too_long = long_train + long_validation
    if not rows.train:
        raise InputError("rows-gone", where=str(run.data))
    if not train:
        shortest = min(tokens for _, tokens in long_train)
        raise InputError("nothing-to-train", where=recipe.name, limit=recipe.model.max_length, shortest=shortest)
    prepared = Prepared(run, recipe, base, codec, rows, train, validation, too_long)
    _check_room(prepared)
    return prepared


def _check_room(prepared: Prepared) -> None:
    context, method = prepared.facts.context, prepared.recipe.train.method
    if method != "soft-prompt" or context is None:
        return
    tokens, longest = prepared.recipe.train.prompt_settings.tokens, _longest(prepared)
    if longest + tokens > context:
        raise InputError("soft-prompt-long", where="train.soft_prompt.tokens", longest=longest, tokens=tokens, context=context)


def check_positions(prepared: Prepared) -> None:
    """Past the positions that a model was made for it reads on without an error, and learns nonsense."""
    context, longest = prepared.facts.context, _longest(prepared)
    if context is not None and longest > context and not prepared.facts.stretched:
        raise InputError("rows-past-positions", where="model.max_length", longest=longest, context=context)


def _longest(prepared: Prepared) -> int:
    return max(len(sequence.ids) for row in (*prepared.train, *prepared.validation) for sequence in row.sequences)


def _encode(encode: Encode, rows: Sequence[Conversation], limit: int) -> tuple[list[Encoded], list[tuple[str, int]]]:
    fitting, too_long = [], []
    for row in rows:
        try:
            encoded = encode(row)
        except InputError as error:
            if not error.where or isinstance(error, BadTemplate):
                error.where = row.source
                error.args = (error.message,)
            raise
        for piece in (piece for whole in encoded for piece in whole.cut(limit)):
            longest = max(len(sequence.ids) for sequence in piece.sequences)
            if longest <= limit:
                fitting.append(piece)
            else:
                too_long.append((row.source, longest))
    return fitting, too_long
