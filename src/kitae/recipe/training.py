"""The section `train` of a recipe, and the sections in it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from kitae.core.hardware import Precision
from kitae.recipe.section import Section, Share

WHOLE = ("full", "newllm", "blend")  # methods that change the model's own weights
# The sections of `train` that only some methods read.
READ_BY = {
    "lora": ("lora", "dora", "qlora", "dpo", "distill"),
    "soft_prompt": ("soft-prompt",),
    "dpo": ("dpo",),
    "distill": ("distill",),
    "blend": ("blend",),
    "newllm": ("newllm",),
}


class Lora(Section):
    r: int = Field(16, ge=1, le=1024)
    alpha: float = Field(32, gt=0.0, le=1e6)
    rslora: bool = Field(False, description="scale by alpha/sqrt(r) instead of alpha/r")
    dropout: float = Field(0.0, ge=0.0, lt=1.0)
    targets: Literal["all-linear"] | Annotated[list[str], Field(min_length=1)] = "all-linear"
    tokens: list[str] = Field(
        [], description="control tokens whose rows in the vocabulary are learned too: a stop token that the base never learned"
    )


class SoftPrompt(Section):
    """Numbers before every prompt, learned while the model stays as it is."""

    kind: Literal["prompt", "prefix"] = Field("prompt", description="prompt: as embedded tokens; prefix: as keys and values")
    tokens: int = Field(20, ge=1, le=4096, description="its length in tokens")
    text: str | None = Field(None, min_length=1, description="starts from these words; default: from random tokens")


class Preferences(Section):
    """Direct preference optimisation, on rows with `chosen` and `rejected`."""

    beta: float = Field(0.1, gt=0.0, description="how strongly moving away from the original model is penalised")
    answers: float = Field(
        0.2, ge=0.0, description="weight of learning the better answers themselves; with 0 both may become unlikely"
    )
    whole: bool = Field(False, description="train every weight, not an adapter")


class Distillation(Section):
    """A small model learns from a larger one."""

    teacher: str = Field(min_length=1, description="a run, starter name, hub id, model folder or .gguf file")
    licence: str = Field("auto", description="of the teacher, whose outputs are learned from; auto: as for model.licence")
    learn: Literal["logits", "answers"] = Field(
        "logits", description="logits: from its distribution over the rows' answers; answers: from those that it writes itself"
    )
    share: float = Field(0.9, gt=0.0, le=1.0, description="logits: weight of the teacher; the rest is that of the answers")
    temperature: float = Field(2.0, gt=0.0, le=100.0, description="logits: at which both distributions are compared")
    max_new_tokens: int = Field(512, ge=1, description="answers: the longest allowed; unfinished ones are left out")
    shots: int = Field(
        0, ge=0, le=64, description="answers: training rows that the teacher is shown with their answers before each question"
    )
    whole: bool = Field(False, description="train every weight, not an adapter")


class Blend(Section):
    """Models made of the same base become one, without training."""

    models: list[Annotated[str, Field(min_length=1)]] = Field(
        min_length=2, description="runs, or models as in model.source, which is their common base"
    )
    how: Literal["linear", "slerp", "ties", "dare"] = "linear"
    weights: list[Annotated[float, Field(ge=0.0)]] | None = Field(None, description="one a model; default: equal")
    density: float = Field(0.5, gt=0.0, le=1.0, description="ties, dare: share of each model's changes that is kept")
    scale: float = Field(1.0, gt=0.0, description="ties, dare: factor that the blended change is multiplied by")


class EarlyStopping(Section):
    by: Literal["loss", "exact_match"] = Field(
        "loss",
        description="what has to improve, and whose best weights are kept; exact_match: share of whole answers that are right",
    )
    patience: int = Field(
        3,
        ge=1,
        description="validations without an improvement after which training stops; never, if no more than that take place",
    )
    min_delta: float = Field(0.001, ge=0.0, description="the smallest change that counts as an improvement")
    perplexity: float | None = Field(None, gt=1.0, description="stop as soon as validation perplexity is this or lower")


class Phases(Section):
    """A New-LLM in two phases: its contexts first, then what follows from them. docs/newllm.md says what that is worth."""

    epochs: int = Field(1, ge=0, le=1000, description="of phase 1; 0 leaves contexts as they started")
    ahead: int = Field(4, ge=1, le=16, description="how many next tokens phase 1 predicts from a context")
    variety: float = Field(
        1.0, ge=0.0, description="weight of the loss that keeps the channels of contexts apart, within a micro-batch"
    )
    converged: Share = Field(0.99, description="share of held-out contexts that must converge before phase 1 may stop early")
    patience: int = Field(3, ge=1, description="evaluations without a better loss after which it then stops")
    freeze: bool = Field(False, description="phase 2 leaves contexts as they are, and only learns to read them")
    remember_mb: int = Field(2048, ge=0, description="with freeze: contexts kept on disk for the next epoch and run; 0: none")


class Train(Section):
    method: Literal["lora", "dora", "qlora", "full", "soft-prompt", "dpo", "distill", "blend", "newllm"] = Field(
        "lora",
        description="dora: lora that learns lengths and directions separately; qlora: lora on a base in 4 bits; "
        "a new model needs full, or newllm: in two phases",
    )
    lora: Lora | None = Field(None, description="for every method that trains an adapter")
    soft_prompt: SoftPrompt | None = None
    dpo: Preferences | None = None
    distill: Distillation | None = None
    blend: Blend | None = None
    newllm: Phases | None = None
    epochs: int = Field(2, ge=1, le=1000)
    learning_rate: Annotated[float, Field(gt=0.0, lt=1.0)] | Literal["auto"] = Field(
        "auto",
        description="auto: 1e-3 for adapters, a tenth of that for whole models and for dpo, 3e-3 for new ones, "
        "1e-2 for soft prompts",
    )
    schedule: Literal["cosine", "restarts", "linear", "constant", "plateau"] = Field(
        "cosine", description="restarts: cosine several times over; plateau: halved where validation stops getting better"
    )
    restarts: int = Field(3, ge=1, le=100, description="how many cosines, with schedule: restarts")
    warmup: float = Field(0.05, ge=0.0, lt=1.0, description="share of the steps")
    weight_decay: float = Field(0.0, ge=0.0)
    max_grad_norm: float = Field(1.0, gt=0.0)
    batch_tokens: int = Field(2048, ge=16, description="tokens of an optimiser step")
    micro_batch_tokens: Annotated[int, Field(ge=16)] | Literal["auto"] = Field(
        "auto",
        description="tokens held in memory at once; changes no result but those of dropout, newllm.variety and mixing; "
        "auto: 1024, or in bf16 2048 for adapters that keep little of each (lora, dpo, distill; no dropout), or as many as fit",
    )
    precision: Precision = "auto"
    evaluations: int = Field(4, ge=1, description="times the validation rows are scored, evenly over the run")
    early_stopping: EarlyStopping | None = EarlyStopping.model_validate({})
    layer_dropout: float = Field(0.0, ge=0.0, lt=1.0, description="share of layers that each forward pass of training skips")
    keep_checkpoints: int = Field(2, ge=1, description="how many of the latest are kept, besides the best")
    shard: bool = Field(False, description="several processes share the weights too, not only the rows; see docs/scaling.md")
    report_to: list[Literal["tensorboard", "wandb", "mlflow", "trackio"]] = Field(
        [], description="trackers that also receive the numbers"
    )
    kernels: Literal["plain", "liger"] = Field(
        "plain", description="liger: use its norms and gated layers, on a GPU (pip install liger-kernel)"
    )
    seed: int = Field(0, ge=0, lt=2**32)

    @property
    def whole(self) -> bool:
        """Whether the model's own weights are trained, and nothing beside them."""
        if self.method == "dpo":
            return self.preferences.whole
        if self.method == "distill":
            return self.distill is not None and self.distill.whole
        return self.method in WHOLE

    @property
    def adapts(self) -> bool:
        """Whether an adapter is trained."""
        return not self.whole and self.method != "soft-prompt"

    @property
    def lean(self) -> bool:
        """Whether adapters are of the kind that keeps little of each token for the backward pass."""
        return self.method in ("lora", "dpo", "distill") and not self.whole and not self.lora_settings.dropout

    @property
    def phases(self) -> Phases:
        return self.newllm or Phases.model_validate({})

    @property
    def lora_settings(self) -> Lora:
        return self.lora or Lora.model_validate({})

    @property
    def prompt_settings(self) -> SoftPrompt:
        return self.soft_prompt or SoftPrompt.model_validate({})

    @property
    def preferences(self) -> Preferences:
        return self.dpo or Preferences.model_validate({})

    @property
    def distillation(self) -> Distillation:
        assert self.distill is not None  # a rule of the recipe sees to that
        return self.distill
