"""What a user can ask for. Every field is read by the code; every default is a choice that was measured or argued."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

STARTER = "smollm2-135m-instruct"
QUANTS = ("F16", "Q8_0", "Q6_K", "Q5_K_M", "Q5_K_S", "Q4_K_M", "Q4_K_S", "Q4_0", "Q3_K_M", "Q2_K")
ADAPTERS = ("lora", "dora")  # methods that leave the model's own weights as they are
NO_GGUF = ("gru", "mingru", "newllm")  # llama.cpp has no graph for them
Quant = Literal["F16", "Q8_0", "Q6_K", "Q5_K_M", "Q5_K_S", "Q4_K_M", "Q4_K_S", "Q4_0", "Q3_K_M", "Q2_K"]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
Share = Annotated[float, Field(ge=0.0, le=1.0)]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _yes_is_no_number(cls, value: object, info: ValidationInfo) -> object:
        values = value if isinstance(value, list) else [value]
        annotation = cls.model_fields[info.field_name].annotation if info.field_name else None
        if annotation is not bool and any(isinstance(each, bool) for each in values):
            raise PydanticCustomError("not_bool", "Input should not be true or false")
        return value


class New(Section):
    """A model that begins with random weights. One changed line, `arch`, compares architectures."""

    arch: Literal["llama", "sliding", "alibi", "gru", "mingru", "newllm"]
    tokenizer: str = Field(
        min_length=1, description="a folder of `kitae tokenizer train`, or any model whose tokenizer is taken"
    )
    hidden_size: int = Field(256, ge=8, le=65536)
    parameters: int | None = Field(
        None, ge=1000, le=10**10, description="instead of hidden_size: as wide as it takes to have about so many parameters"
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
    tolerance: float = Field(1e-5, gt=0.0, description="newllm: relative change at which contexts count as found")
    longest_memory: float = Field(256.0, ge=1.0, description="newllm, mingru: slowest time-scale at the start, in tokens")
    dropout: float = Field(0.0, ge=0.0, lt=1.0)
    block_dropout: float = Field(0.0, ge=0.0, lt=1.0, description="newllm: share of blocks that a training step passes over")
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
    stop_tokens: list[str] = Field([], description="tokens that must end an answer, beside those that the model names")


class Source(Section):
    path: str = Field(min_length=1, description="a .jsonl or .txt file, or either as .gz; relative to the recipe")
    format: Literal["auto", "messages", "prompt-completion", "text"] = Field(
        "auto", description="text: plain text, from .txt files or the field `text` of each row; all of it is learned"
    )
    licence: str = Field("unknown", description="SPDX name; printed in the model card and the notices")
    limit: int | None = Field(None, ge=1, description="only the first rows")


class Fraction(Section):
    fraction: float = Field(0.2, gt=0.0, lt=0.9, description="share of the training rows that is held back")


class Data(Section):
    train: list[Source] = Field(min_length=1)
    validation: Fraction | list[Source] = Fraction(fraction=0.2)
    test: list[Source] = Field([], description="never seen by training or by any choice")
    too_long: Literal["refuse", "drop"] = Field("refuse", description="rows over model.max_length; never cut")


class Lora(Section):
    r: int = Field(16, ge=1, le=1024)
    alpha: float = Field(32, gt=0.0)
    rslora: bool = Field(False, description="scale by alpha/sqrt(r) instead of alpha/r")
    dropout: float = Field(0.0, ge=0.0, lt=1.0)
    targets: Literal["all-linear"] | list[str] = "all-linear"


class EarlyStopping(Section):
    patience: int = Field(3, ge=1)
    min_delta: float = Field(0.001, ge=0.0)


class Phases(Section):
    """A New-LLM in two phases: its contexts first, then what follows from them. docs/newllm.md says what that is worth."""

    epochs: int = Field(1, ge=0, le=1000, description="of phase 1; 0 leaves contexts as they began")
    ahead: int = Field(4, ge=1, le=16, description="how many next tokens phase 1 predicts from a context")
    variety: float = Field(
        1.0, ge=0.0, description="weight of the loss that keeps the channels of contexts apart, within a micro-batch"
    )
    converged: Share = Field(0.99, description="share of held-out contexts that must be found before phase 1 may stop early")
    patience: int = Field(3, ge=1, description="scorings without a better loss after which it then stops")
    freeze: bool = Field(False, description="phase 2 leaves contexts as they are, and learns to read them only")
    remember_mb: int = Field(2048, ge=0, description="with freeze: contexts kept on disk for the next epoch and run; 0: none")


class Train(Section):
    method: Literal["lora", "dora", "full", "newllm"] = Field(
        "lora",
        description="dora: lora that learns lengths and directions apart; a new model needs full, or newllm: in two phases",
    )
    newllm: Phases | None = None
    lora: Lora | None = Field(None, description="of lora and dora")
    epochs: int = Field(2, ge=1, le=1000)
    learning_rate: float | None = Field(
        None, gt=0.0, lt=1.0, description="default: 1e-3 for adapters, 1e-4 for full, 3e-3 for a new model"
    )
    schedule: Literal["cosine", "restarts", "linear", "constant", "plateau"] = Field(
        "cosine", description="restarts: cosine several times over; plateau: halved where validation stops getting better"
    )
    restarts: int = Field(3, ge=1, le=100, description="how many cosines, with schedule: restarts")
    warmup: float = Field(0.05, ge=0.0, lt=1.0, description="share of the steps")
    weight_decay: float = Field(0.0, ge=0.0)
    max_grad_norm: float = Field(1.0, gt=0.0)
    batch_tokens: int = Field(2048, ge=16, description="tokens of an optimiser step")
    micro_batch_tokens: int = Field(
        1024, ge=16, description="tokens held in memory at once; changes no result but those of newllm.variety and mixing"
    )
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    evaluations: int = Field(4, ge=1, description="times the validation rows are scored, evenly over the run")
    early_stopping: EarlyStopping | None = EarlyStopping(patience=3, min_delta=0.001)
    seed: int = Field(0, ge=0)

    @property
    def whole(self) -> bool:
        """Whether the model's own weights are trained, and not an adapter."""
        return self.method not in ADAPTERS

    @property
    def phases(self) -> Phases:
        return self.newllm or Phases.model_validate({})

    @property
    def lora_settings(self) -> Lora:
        return self.lora or Lora(r=16, alpha=32, rslora=False, dropout=0.0, targets="all-linear")


class Evaluate(Section):
    suites: list[Literal["exact_match"]] = Field([], description="exact_match: the whole answer, character by character")
    prompts: int = Field(48, ge=8, description="held-out prompts on which answers are generated")
    rows: int = Field(24, ge=4, description="held-out rows on which distributions are compared")
    max_new_tokens: int = Field(128, ge=1)


class Thresholds(Section):
    """Where the gates draw the line. docs/gates.md says how each was calibrated."""

    min_validation_rows: int = Field(8, ge=1)
    near_duplicate_share: Share = 0.05
    equivalent_kld: float = Field(1e-4, gt=0.0)
    equivalent_top1: Share = 0.999
    stop_rate: Share = 0.95
    loop_rate: Share = 0.01
    task_drop: Share = Field(0.05, description="exact match that a quantised file may lose against the trained form")
    quant_kld: float | None = Field(None, gt=0.0, description="default by type and model size")
    stop_probability: float = Field(1e-4, gt=0.0, description="what a frozen base must give the true stop token")


class Ship(Section):
    gguf: list[Quant] | None = Field(None, description="default: F16 and Q4_K_M, or none where llama.cpp has no such model")
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
        return [] if self.model.new and self.model.new.arch in NO_GGUF else ["F16", "Q4_K_M"]

    @property
    def peak_learning_rate(self) -> float:
        by_method = 1e-3 if not self.train.whole else 3e-3 if self.model.new else 1e-4
        return self.train.learning_rate or by_method
