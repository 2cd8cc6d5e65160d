"""What a user can ask for. Every field is read by the code; every default is a choice that was measured or argued."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from kitae.core.quants import Quant
from kitae.core.row_options import FORMATS, NEAR, Action, Format, RowGate
from kitae.recipe.section import Name, Section
from kitae.recipe.thresholds import Thresholds
from kitae.recipe.training import Train

STARTER = "smollm2-135m-instruct"
NO_GGUF = ("gru", "mingru", "newllm")  # llama.cpp has no graph for them
_LEAST_ROOM, _SPARE_ROOM, _MOST_ROOM = 32, 1.25, 512  # tokens of an answer


class New(Section):
    """A model that begins with random weights. One changed line, `arch`, compares architectures."""

    arch: Literal["llama", "sliding", "alibi", "gru", "mingru", "newllm"]
    tokenizer: str = Field(
        min_length=1, description="a folder made by `kitae tokenizer train`, or any model, to use its tokenizer"
    )
    hidden_size: int = Field(256, ge=8, le=65536)
    parameters: int | None = Field(
        None, ge=1000, le=10**10, description="instead of hidden_size: chooses the width that gives about this many parameters"
    )
    layers: int = Field(4, ge=1, le=1024, description="not for newllm, which has blocks")
    heads: int = Field(4, ge=1, description="of attention, or of a matrix")
    kv_heads: int = Field(4, ge=1, description="of attention: how many keys and values the heads share")
    feed_forward: int = Field(0, ge=0, description="width within the layers of attention models; 0: 8/3 of hidden_size")
    window: int = Field(256, ge=1, description="how far back `sliding` sees")
    blocks: list[Annotated[int, Field(ge=1, le=64)]] = Field([2, 2], min_length=1, description="newllm: layers of each block")
    cell: Literal["gated", "residual", "matrix", "seed-gated", "seed-residual"] = "gated"
    solver: Literal["sequential", "jacobi", "gate-scan", "newton"] = "gate-scan"
    passes: int = Field(3, ge=1, le=64, description="newllm: how often training refines all contexts")
    settling: float = Field(2.0, ge=0.0, description="newllm: weight in the loss of what the last pass still changed")
    tolerance: float = Field(1e-5, gt=0.0, description="newllm: relative change at which contexts count as converged")
    longest_memory: float = Field(256.0, ge=1.0, description="newllm, mingru: slowest time-scale at the start, in tokens")
    dropout: float = Field(0.0, ge=0.0, lt=1.0)
    block_dropout: float = Field(0.0, ge=0.0, lt=1.0, description="newllm: share of blocks that a training step skips")
    mixing: float = Field(
        0.0, ge=0.0, le=1.0, description="newllm: share of training rows that begin where another row of their micro-batch ends"
    )

    @property
    def design(self) -> dict[str, Any]:
        return self.model_dump(exclude={"tokenizer"})


class Model(Section):
    source: str = Field(STARTER, min_length=1, description="starter name, hub id, model folder, .gguf file, or new")
    new: New | None = Field(None, description="what a new model is made of; with source: new")
    chat_template: str | None = Field(None, description="a Jinja file that replaces the model's own template")
    max_length: int = Field(2048, ge=16, description="longest sequence in tokens; longer rows: data.too_long")
    licence: str = Field(
        "auto", description="of the base; auto: as known for a starter, or as stated in the folder's README.md"
    )
    stop_tokens: list[str] = Field([], description="tokens that must end an answer, besides those that the model names")


class Source(Section):
    path: str = Field(
        min_length=1,
        description="a .jsonl, .json, .csv, .tsv, .parquet or .txt file, each also as .gz or .zst; or a folder, or a pattern "
        "(chats/*.jsonl); relative to the recipe; or hub:owner/name, perhaps with @revision and :pattern of its files",
    )
    format: Format = Field(
        "auto",
        description="auto: by each row's fields; text: plain text, from .txt files or the field `text` of each row; all of it "
        f"is learned; one of {', '.join(FORMATS)}; or your own fields, such as question+context=answer",
    )
    licence: str = Field("unknown", description="SPDX name, or several claims with commas between them: all of them count")
    limit: int | None = Field(None, ge=1, description="only the first rows")
    sample: int | None = Field(None, ge=1, description="only this many of them, chosen at random with train.seed")
    weight: float = Field(
        1.0, gt=0.0, le=100.0, description="how often each training row is learned; below 1 some are not. After the split"
    )


class Fraction(Section):
    fraction: float = Field(0.2, gt=0.0, lt=0.9, description="share of the training rows that is held back")


class Clean(Section):
    """Rows are repaired or left out before they are split, as `kitae data clean` does it."""

    rules: dict[RowGate, Action] = Field({}, description="what to do with the rows that a gate flags, if not the default")
    languages: list[str] = Field([], description="that answers must be in; default: the language of the question")
    near: float = Field(NEAR, ge=0.5, le=1.0, description="similarity from which two rows count as nearly the same")


class Select(Section):
    """Of the training rows, after the split, those that are worth their time, as `kitae data select` chooses them."""

    by: str = Field(
        min_length=1, description="random, longest, ifd, diverse, similar or judge; several together with + between them"
    )
    rows: int | None = Field(None, ge=1, description="how many; or share, or tokens")
    share: Annotated[float, Field(gt=0.0, le=1.0)] | None = None
    tokens: int | None = Field(None, ge=1)
    model: str = Field(STARTER, min_length=1, description="the model that reads the rows, for ifd, diverse and similar")
    targets: list[Annotated[str, Field(min_length=1)]] = Field(
        [], description="similar: files of rows that the chosen ones should resemble"
    )
    judge: str | None = Field(
        None, min_length=1, description="judge: a run, starter, folder or .gguf file; or an endpoint's URL#model"
    )
    sample: int | None = Field(None, ge=1, description="consider only this many rows, chosen at random with train.seed")


class Data(Section):
    train: list[Source] = Field(min_length=1)
    validation: Fraction | list[Source] = Fraction(fraction=0.2)
    test: list[Source] = Field([], description="never seen by training or by any choice")
    clean: Clean | None = Field(None, description="{}: clean the training rows; without it, gates refuse dirty ones")
    select: Select | None = Field(None, description="train on the best rows only")
    evaluations: list[Annotated[str, Field(min_length=1)]] = Field(
        [], description="files that the model will be evaluated on; training rows that contain their items are leaks"
    )
    too_long: Literal["refuse", "drop"] = Field("refuse", description="rows over model.max_length; never cut")
    unreadable: Literal["refuse", "drop"] = Field(
        "refuse", description="rows in no known format; drop: they are listed in the run's data/unreadable.jsonl"
    )


class Evaluate(Section):
    suites: list[Literal["exact_match"]] = Field([], description="exact_match: the whole answer, character by character")
    prompts: int = Field(48, ge=8, description="held-out prompts on which answers are generated")
    rows: int = Field(24, ge=4, description="held-out rows on which distributions are compared, up to 8,192 tokens")
    max_new_tokens: Annotated[int, Field(ge=1)] | Literal["auto"] = Field(
        "auto",
        description="of an answer; auto: a quarter more than the longest held-out one, at most 512. Longer ones are not asked",
    )

    def room(self, answers: Sequence[int]) -> int:
        """Tokens that an answer may have, if right ones have so many."""
        if self.max_new_tokens != "auto":
            return self.max_new_tokens
        return min(max(_LEAST_ROOM, math.ceil(_SPARE_ROOM * max(answers, default=0))), _MOST_ROOM)


class Ship(Section):
    use: Literal["private", "publish-weights", "commercial"] = Field(
        "private", description="what you intend to do with the model; data.licence refuses what licences don't allow"
    )
    gguf: list[Quant] | None = Field(
        None, description="default: F16 and Q4_K_M, or none where llama.cpp does not support the model"
    )
    dtype: Literal["float16", "float32"] = "float16"


class Recipe(Section):
    name: Name
    model: Model = Model()
    data: Data
    train: Train = Train()
    evaluate: Evaluate = Evaluate()
    verify: Thresholds = Thresholds()
    ship: Ship = Ship()

    @property
    def quants(self) -> list[Quant]:
        """The GGUF files that are wanted."""
        if self.ship.gguf is not None:
            return self.ship.gguf
        none = self.train.method == "soft-prompt" or (self.model.new and self.model.new.arch in NO_GGUF)
        return [] if none else ["F16", "Q4_K_M"]

    @property
    def peak_learning_rate(self) -> float:
        train = self.train
        if train.learning_rate != "auto":
            return train.learning_rate
        if self.model.new:
            return 3e-3
        if train.method == "soft-prompt":
            return 1e-2
        return 1e-3 * (0.1 if train.whole else 1) * (0.1 if train.method == "dpo" else 1)
