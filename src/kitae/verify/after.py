"""Gates that look at what training left: `train.inputs`, `train.finite`, `train.adapter-moved`, `train.overfit`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from kitae.chat import ChatCodec
from kitae.models import check_adapter, check_safetensors, is_adapter, is_soft_prompt, weight_files
from kitae.runs import Run
from kitae.train import SOFT_PROMPT_START, ingredients
from kitae.verify.gate import Gate, passed, refused, skipped, warned

if TYPE_CHECKING:
    import torch

_SHOWN = 5
_WORSE = 1.05  # a validation loss this many times the best one, at the end, is a trend and not noise


def after_training(run: Run) -> Iterator[Gate]:
    yield finite(run)
    yield moved(run)
    yield overfit(run)


def inputs(run: Run, base: Path, codec: ChatCodec) -> Gate:
    """A run's forms are compared with its base, on its rows: these must still be the ones it was trained from."""
    gate = "train.inputs"
    recorded: dict[str, str] = run.manifest.get("ingredients", {}) if run.has_manifest else {}
    if not recorded:
        return skipped(gate, "not-recorded")
    now = ingredients(run, base, codec)
    names = (recorded.keys() | now.keys()) - ({"recipe"} - recorded.keys())  # which runs of earlier versions did not record
    changed = sorted(name for name in names if recorded.get(name) != now.get(name))
    if changed:
        return refused(gate, "changed", len(changed), 0, [f"{base}: {', '.join(changed[:_SHOWN])}"])
    return passed(gate, 0, 0, [f"{len(recorded)} hashes"])


def finite(run: Run) -> Gate:
    bad = [f"step {e['step']}: loss {e['loss']}" for e in run.events("step") if not _is_finite(e["loss"])]
    for file in _files(run.output):
        bad += [f"{file.name}: {name}" for name, tensor in _tensors(file) if not bool(tensor.isfinite().all())]
    if bad:
        return refused("train.finite", "not-finite", len(bad), 0, bad[:_SHOWN])
    return passed("train.finite", 0, 0)


def moved(run: Run) -> Gate:
    """Every adapter's second matrix starts at zero; one that is still zero was never trained. A soft prompt starts as what the
    run wrote down."""
    gate = "train.adapter-moved"
    if not is_adapter(run.output):
        return skipped(gate, "no-adapter")
    tensors = {name: tensor.float() for file in _files(run.output) for name, tensor in _tensors(file)}
    if is_soft_prompt(run.output):
        if not (run.path / SOFT_PROMPT_START).exists():
            return skipped(gate, "not-recorded")
        start = dict(_tensors(run.path / SOFT_PROMPT_START))
        norms = {name: float((tensor - start[name].float()).norm()) for name, tensor in tensors.items()}
    else:
        norms = {name: float(tensor.norm()) for name, tensor in tensors.items() if "lora_B" in name}
    still = [name for name, norm in norms.items() if norm == 0.0]
    if still or not norms:
        return refused(gate, "still", len(still), 0, still[:_SHOWN], count=len(still), total=len(norms))
    smallest = min(norms, key=lambda name: norms[name])
    return passed(gate, len(norms), "> 0", [f"moved by ≥ {norms[smallest]:.3g} ({smallest})"])


def overfit(run: Run) -> Gate:
    """A low training loss alone is not overfitting; getting worse on rows that were held back is."""
    gate = "train.overfit"
    before = next((float(e["validation_loss"]) for e in run.events("before")), None)
    fitted = next(iter(run.events("fitted")), None)
    validations = [(int(e["step"]), float(e["loss"])) for e in run.events("validation") if int(e["step"]) > 0]
    if fitted is None or not validations:
        return skipped(gate, "no-validation")
    best = min(loss for _, loss in validations)
    last = validations[-1][1]
    curve = [f"step {step}: {loss:.4f}" for step, loss in validations]
    evidence = [f"step 0: {before:.4f}" if before is not None else "", *curve]
    if before is not None and best >= before:
        return refused(gate, "worse-than-base", best, before, evidence)
    if last > best * _WORSE:
        return warned(gate, "turned", last, round(best * _WORSE, 4), evidence, step=fitted["best_step"])
    return passed(gate, last, round(best * _WORSE, 4), evidence)


def _files(folder: Path) -> list[Path]:
    if is_adapter(folder):
        check_adapter(folder)
        return [folder / "adapter_model.safetensors"]
    check_safetensors(folder)
    return weight_files(folder)


def _tensors(file: Path) -> Iterator[tuple[str, torch.Tensor]]:
    from safetensors import safe_open

    with safe_open(file, framework="pt") as opened:
        for name in opened.keys():  # noqa: SIM118 - not a mapping
            yield name, opened.get_tensor(name)


def _is_finite(value: object) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)
