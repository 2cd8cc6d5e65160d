"""How much memory and time a recipe will want, from file headers and settings alone; no weights are loaded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from statistics import fmean

from kitae.chat import ChatCodec
from kitae.core import processes
from kitae.core.errors import InputError
from kitae.core.hardware import computes_in_bf16, free_gpu_memory, free_memory, has_gpu
from kitae.data import Rows, spelled_languages
from kitae.models import Design, Size, light_codec, locate_tokenizer, peek, size_of
from kitae.recipe import Recipe
from kitae.targets import run_named
from kitae.train.budget import tokens_at_once
from kitae.train.minutes import Amount, minutes
from kitae.train.results import Estimate

CHARACTERS_PER_TOKEN = 3.2  # where no tokenizer is at hand
_PROGRAM = 560e6  # Python and its libraries, the rows
_ASKING = 700e6  # the same in the process in which the base is asked, and what it keeps of the answers
_FOUR_BITS = 0.28  # of two bytes: half a byte, and a scale for every 64 of them
_HEAD = 60e6  # logits, block by block
_HOLES = 1.25  # memory that is free, but between what is not
_COUNTED = 1000  # rows by which the tokens of all are told
_LEAST_AT_ONCE = 64  # tokens; below that a smaller micro-batch is no advice


def estimate(recipe: Recipe, rows: Rows) -> Estimate:
    taught = recipe.train.distill is not None and recipe.train.distill.learn == "answers"
    answered, least = sum(row.teaches or taught for row in rows.validation), recipe.verify.min_validation_rows
    if answered < least:
        raise InputError("few-validation", where=recipe.name, count=answered, least=least)
    codec = None if recipe.model.new is not None else light_codec(recipe.model.source, recipe.model.chat_template)
    train, size, amount = recipe.train, _size(recipe), _counted(recipe, rows, codec)
    tokens = amount.learned
    recipe, memory = _fitting(recipe, size, tokens)
    tokens *= 0 if train.method == "blend" else train.epochs + (train.phases.epochs if train.method == "newllm" else 0)
    took = minutes(recipe, size, replace(amount, learned=tokens), len(rows.validation))
    return {
        "name": recipe.name,
        "model": recipe.model.source,
        "parameters": size.parameters,
        "rows": len(rows.train),
        "validation": len(rows.validation),
        "duplicates": rows.duplicates,
        "tokens": round(tokens),
        "memory_mb": round(memory.most / 1e6),
        "micro_batch_tokens": tokens_at_once(recipe.train),
        "minutes": round(took.all, 1),
        "minutes_asking": round(took.asking, 1),
        "minutes_training": round(took.training, 1),
        "minutes_proof": round(took.proof, 1),
        "spelled": {} if codec is None else spelled_languages(codec.vocabulary, rows.train),
        "system": "" if codec is None else codec.default_system(),
    }


def fitted(recipe: Recipe, rows: Rows) -> Recipe:
    """The recipe with micro-batches that fit, where it leaves that open; an error if none do."""
    return _fitting(recipe, _size(recipe), _tokens(recipe, rows))[0]


@dataclass(frozen=True)
class Memory:
    """Bytes: what there is, or what a recipe needs of it."""

    training: float  # of one process, where it trains
    around: float  # of the first one, on the machine: where it opens the model, asks its base, saves and reads checkpoints
    others: float = 0  # of each of the others meanwhile

    @property
    def most(self) -> float:
        """Of one process."""
        return max(self.training, self.around)

    @property
    def around_all(self) -> float:
        return self.around + self.others * (processes.count_here() - 1)

    def within(self, free: Memory) -> bool:
        return self.training <= free.training and self.around_all <= free.around


def _fitting(recipe: Recipe, size: Size, tokens: float) -> tuple[Recipe, Memory]:
    """And what training will hold; or an error that says what would fit."""
    needed, free = _memory(recipe, size, tokens), _free()
    if recipe.train.micro_batch_tokens == "auto":
        at_once = tokens_at_once(recipe.train)
        while not needed.within(free) and at_once // 2 >= _LEAST_AT_ONCE:
            at_once //= 2
            needed = _memory(_with_train(recipe, micro_batch_tokens=at_once), size, tokens)
        if needed.within(free):
            recipe = _with_train(recipe, micro_batch_tokens=at_once)
    if not needed.within(free):
        fitting = [
            f"{name} ({round(less.most / 1e6):,} MB)" for name, less in _smaller(recipe, size, tokens) if less.within(free)
        ]
        wanting = (needed.training, free.training) if needed.training > free.training else (needed.around_all, free.around)
        wanted, available = (f"{round(memory / 1e6):,}" for memory in wanting)
        raise InputError(
            "too-large" if fitting else "too-large-anyway",
            where=recipe.name,
            why="; ".join(fitting[:2]),
            needed=wanted,
            available=available,
        )
    return recipe, needed


def _with_train(recipe: Recipe, **changes: object) -> Recipe:
    return recipe.model_copy(update={"train": recipe.train.model_copy(update=changes)})


def _free() -> Memory:
    """Processes of one machine share what it has, but for its GPUs."""
    own = free_memory()
    return Memory(free_gpu_memory() if has_gpu() else own / processes.count_here(), own)


def _size(recipe: Recipe) -> Size:
    new = recipe.model.new
    if new is None:
        return peek(recipe.model.source)
    return size_of(Design(**new.design), locate_tokenizer(new.tokenizer), recipe.model.max_length)


def _tokens(recipe: Recipe, rows: Rows) -> float:
    """Of preferences, with both answers."""
    both = recipe.train.method == "dpo"
    texts = (text for row in rows.train for text in ([row.text, row.worse.text] if both else [row.text]))
    return sum(map(len, texts)) / CHARACTERS_PER_TOKEN


def _counted(recipe: Recipe, rows: Rows, codec: ChatCodec | None) -> Amount:
    """By the model's own tokenizer and template, on enough of the rows, if the model is on this disk."""
    held_out = (rows.test or rows.validation)[:_COUNTED]
    if codec is None:
        answers = [len(row.answer) / CHARACTERS_PER_TOKEN for row in held_out]
        read = _tokens(recipe, rows)
    else:
        some = rows.train[:: max(1, len(rows.train) // _COUNTED)]
        encode = codec.encode if recipe.train.method != "dpo" else lambda row: codec.encode_preference(row).sequences
        length = sum(len(sequence.ids) for row in some for sequence in encode(row)) / max(1, len(some))
        read = length * len(rows.train)
        answers = [len(codec.vocabulary.encode(row.answer, parse_control=False)) + 1 for row in held_out]
    return Amount(read, read / max(1, len(rows.train)), fmean(answers or [0]), round(max(answers, default=0)))


def _memory(recipe: Recipe, size: Size, tokens: float) -> Memory:
    """Weights, what is learned (with gradient and two moments), and what tokens leave behind for the backward pass."""
    train = recipe.train
    if train.method == "blend":  # all models at once, in fp32
        assert train.blend is not None
        blending = _PROGRAM + size.parameters * 4 * (len(train.blend.models) + 1)
        return Memory(blending, blending)
    exact = not computes_in_bf16(train.precision)
    width = 4 if exact else 2
    at_once = min(tokens_at_once(train), train.batch_tokens, tokens)
    sharing = processes.count() if train.shard else 1
    if train.whole:  # fp32 weights, their bf16 copy if there is one, and a gradient of the head on its way
        head = 6 if sharing == 1 else 20  # shared ones are sent, and arrive, in messages as large as they are
        weights = size.parameters * (4 if exact else 6) / sharing + size.vocabulary * size.hidden * head
        learned = size.parameters * 12 / sharing
    else:
        outside = size.vocabulary * size.hidden
        inside = (size.parameters - outside) * (2 * _FOUR_BITS if train.method == "qlora" else width)
        weights = (outside * width + inside) / sharing
        learned = _learned(recipe, size) * 16
    if train.method == "distill" and train.distillation.learn == "logits":
        weights += _other(train.distillation.teacher).parameters * width
    kept = at_once * size.layers * _kept(recipe, size) * width / 2
    training = _PROGRAM + weights + learned + kept * _HOLES + _HEAD
    if train.whole:
        opened, share = size.parameters * 4, 0 if has_gpu() else size.parameters * 12 / sharing
        saved = share + size.parameters * 8 if sharing > 1 else 0  # both moments are made whole
        around = _PROGRAM + max(opened, saved)
        return Memory(training, around, around)
    return Memory(training, _ASKING + size.parameters * 4)  # only the first process asks


def _other(source: str) -> Size:
    run = run_named(source)
    return peek(source if run is None else str(run.manifest["model"]["folder"]))


def _learned(recipe: Recipe, size: Size) -> int:
    """Numbers beside the model's own."""
    train = recipe.train
    if train.method != "soft-prompt":
        return _adapter(train.lora_settings.r, size) * size.layers
    of_one = size.hidden if train.prompt_settings.kind == "prompt" else 2 * size.layers * size.keys
    return train.prompt_settings.tokens * of_one


def _adapter(rank: int, size: Size) -> int:
    """Numbers in the adapters of one layer's matrices."""
    outside = 2 * (size.hidden + size.queries) + 2 * (size.hidden + size.keys)
    return rank * (outside + 3 * (size.hidden + size.feed_forward))


def _kept(recipe: Recipe, size: Size) -> float:
    """Bytes that one token leaves behind in one layer where numbers have two; see docs/benchmarks.md."""
    if size.passes > 1:
        return 48.0 * size.hidden * size.passes
    around = 8 * size.hidden + 4 * size.queries + 4 * size.keys
    if recipe.train.whole:
        return around + 8 * size.feed_forward
    if recipe.train.method == "soft-prompt":
        return around + 8 * size.feed_forward
    gated = 6 if recipe.train.kernels == "liger" else 4  # Liger keeps what a gate gives, too
    lean = around + gated * size.feed_forward + 14 * recipe.train.lora_settings.r
    if recipe.train.lean:
        return lean
    outputs = size.queries + 2 * size.keys + 2 * size.hidden + 2 * size.feed_forward
    if recipe.train.method == "qlora":
        return lean + 2 * outputs
    return lean + 8 * outputs + 4 * size.feed_forward  # PEFT's own way


def _smaller(recipe: Recipe, size: Size, tokens: float) -> Iterator[tuple[str, Memory]]:
    """Settings that need less, each with what it would need."""

    def with_train(**changes: object) -> Memory:
        return _memory(_with_train(recipe, **changes), size, tokens)

    train = recipe.train
    for section in ("dpo", "distill"):
        if train.whole and train.method == section:
            apart = getattr(train, section).model_copy(update={"whole": False})
            yield f"train.{section}.whole=false", with_train(**{section: apart})
    if train.method == "full" and recipe.model.new is None:
        yield "train.method=lora", with_train(method="lora", lora=None)
    if train.method == "blend":
        return
    if processes.count() > 1 and not train.shard and train.method != "qlora" and size.passes == 1:
        yield "train.shard=true", with_train(shard=True)
    at_once = min(tokens_at_once(recipe.train), recipe.train.batch_tokens) // 2
    while at_once >= _LEAST_AT_ONCE:
        yield f"train.micro_batch_tokens={at_once}", with_train(micro_batch_tokens=at_once)
        at_once //= 2
