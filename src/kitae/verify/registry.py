"""Every gate, in the order of reports. A new one is added here, its sentences in core/messages/gates.json,
and it is measured in `before`, `after`, `run`, `command` or `endpoint`. Limits that a recipe can set are `recipe.Thresholds`.

`when`: the moment at which it can be measured; `answers`: it needs whole answers of the model, which take longest;
`reference`: it compares with another model, so it can't be measured of one alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from kitae.core.row_options import RowGate

When = Literal["rows", "base", "trained", "merge", "folder", "gguf", "f16", "quant", "endpoint"]
# rows: before the first step · base: of the model that is to be trained · trained: of what training left · merge: of a folder
# beside its base · folder: of a folder · gguf: of any GGUF file · f16, quant: of one that is not quantised, or is
# endpoint: of a running server


@dataclass(frozen=True)
class GateSpec:
    id: str
    when: When
    answers: bool = False
    reference: bool = False


REGISTRY: tuple[GateSpec, ...] = (
    *(GateSpec(gate, "rows") for gate in get_args(RowGate)),
    GateSpec("data.licence", "rows"),
    GateSpec("chat.labels-present", "rows"),
    GateSpec("chat.terminator-labelled", "rows"),
    GateSpec("chat.mask-boundary", "rows"),
    GateSpec("chat.prefix-kept", "rows"),
    GateSpec("chat.bos-once", "rows"),
    GateSpec("chat.system-default", "rows"),
    GateSpec("chat.stop-tokens", "rows"),
    GateSpec("train.inputs", "trained"),
    GateSpec("train.validation", "rows"),
    GateSpec("train.finite", "trained"),
    GateSpec("train.adapter-moved", "trained"),
    GateSpec("train.stop-token-trainable", "base"),
    GateSpec("train.overfit", "trained"),
    GateSpec("merge.complete", "merge"),
    GateSpec("merge.changed", "merge", reference=True),
    GateSpec("merge.equivalent", "merge", reference=True),
    GateSpec("hf.stops", "folder", answers=True),
    GateSpec("hf.loops", "folder", answers=True),
    GateSpec("hf.task", "folder", answers=True, reference=True),
    GateSpec("hf.defaults", "folder"),
    GateSpec("hf.tokenizer", "folder"),
    GateSpec("hf.modelfile", "folder"),
    GateSpec("gguf.tokens", "gguf", reference=True),
    GateSpec("gguf.template", "gguf", reference=True),
    GateSpec("gguf.equivalent", "f16", reference=True),
    GateSpec("gguf.stops", "f16", answers=True),
    GateSpec("quant.types", "quant"),
    GateSpec("quant.divergence", "quant", reference=True),
    GateSpec("quant.stops", "quant", answers=True),
    GateSpec("quant.task", "quant", answers=True, reference=True),
    GateSpec("endpoint.template", "endpoint", reference=True),
    GateSpec("endpoint.control-text", "endpoint", reference=True),
    GateSpec("endpoint.stops", "endpoint", answers=True, reference=True),
    GateSpec("endpoint.answers", "endpoint", answers=True, reference=True),
    GateSpec("endpoint.sampling", "endpoint", answers=True, reference=True),
)
GATES: tuple[str, ...] = tuple(gate.id for gate in REGISTRY)

# Why a gate may not be measured, and whether the verdict can do without it.
SKIPS: dict[str, Literal["required", "optional"]] = {
    "no-adapter": "optional",
    "no-gguf": "optional",
    "no-modelfile": "optional",
    "no-prompts": "required",  # but for a model of plain text, which has no answers to end
    "no-reference": "optional",
    "no-rows": "required",
    "no-run": "optional",
    "no-template": "optional",
    "no-tokenizer-json": "optional",
    "no-validation": "required",
    "no-usage": "required",
    "not-answered": "required",
    "not-applicable": "required",
    "not-kept": "optional",
    "not-made": "required",
    "not-recorded": "required",
    "not-trained": "required",
    "not-whole": "required",
    "soft-prompt": "optional",
}


def gates_of(*moments: When) -> list[str]:
    return [gate.id for gate in REGISTRY if gate.when in moments]


def compared_in(*moments: When) -> list[str]:
    """Those that have nothing to say of a model alone."""
    return [gate.id for gate in REGISTRY if gate.when in moments and gate.reference]


def needs_answers(ids: set[str]) -> bool:
    return any(gate.answers for gate in REGISTRY if gate.id in ids)
