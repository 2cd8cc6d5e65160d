"""Gates on merged weights: all there, changed exactly where the adapter says, and the same function."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kitae.errors import InputError
from kitae.evaluate.observe import Observation
from kitae.files import read_json
from kitae.models import is_adapter, weight_files
from kitae.recipe import Thresholds
from kitae.verify.compare import divergence
from kitae.verify.gate import Gate, passed, refused, skipped

if TYPE_CHECKING:
    import torch

_SHOWN = 5
_TOKEN_ROWS = ".token_adapter.trainable_tokens_delta"
_ROUNDING = {"torch.float16": 2**-10, "torch.bfloat16": 2**-7, "torch.float32": 2**-20}


def complete(base: Path, merged: Path) -> Gate:
    """A folder that holds every weight of the base, under the same names and shapes, and no adapter."""
    gate = "merge.complete"
    if is_adapter(merged) or list(merged.glob("adapter_model.*")):
        return refused(gate, "adapter", None, None, sorted(p.name for p in merged.iterdir())[:8])
    try:
        have = {name: tuple(tensor.shape) for name, tensor in _tensors(merged)}
    except (InputError, OSError) as error:
        return refused(gate, "unreadable", None, None, [str(error)])
    wanted = {name: tuple(tensor.shape) for name, tensor in _tensors(base)}
    missing = sorted(wanted.keys() - have.keys())
    lora = [name for name in have if "lora_" in name]
    shapes = [f"{n}: {have[n]} ≠ {wanted[n]}" for n in sorted(wanted.keys() & have.keys()) if have[n] != wanted[n]]
    if missing or lora or shapes:
        evidence = [*missing[:_SHOWN], *lora[:_SHOWN], *shapes[:_SHOWN]]
        return refused(gate, "missing", len(missing) + len(shapes), 0, evidence, count=len(missing), total=len(wanted))
    return passed(gate, len(have), len(wanted))


def changed(base: Path, adapter: Path, merged: Path) -> Gate:
    """Tensor by tensor: what the adapter targets moved by what it says, everything else stayed as it was."""
    gate = "merge.changed"
    adapters = _adapted(adapter)
    originals = dict(_tensors(base))
    untouched, wrong, worst = [], [], 0.0
    for name, tensor in _tensors(merged):
        original = originals.get(name)
        if original is None:
            continue
        adapted = adapters.pop(name, None)
        expected = original.float() if adapted is None else adapted(original.float())
        scale = float(expected.abs().max()) or 1.0
        error = float((tensor.float() - expected).abs().max()) / scale
        limit = _ROUNDING.get(str(tensor.dtype), 2**-7)
        worst = max(worst, error)
        if error > limit or not bool(tensor.isfinite().all()):
            wrong.append(f"{name}: {error:.3g} > {limit:.3g}")
        elif adapted is not None and bool((tensor.float() == original.to(tensor.dtype).float()).all()):
            untouched.append(name)
    if adapters:
        return refused(gate, "unmerged", len(adapters), 0, sorted(adapters)[:_SHOWN])
    if wrong:
        return refused(gate, "altered", len(wrong), 0, wrong[:_SHOWN], count=len(wrong))
    if untouched:
        return refused(gate, "same-as-base", len(untouched), 0, untouched[:_SHOWN], count=len(untouched))
    return passed(gate, worst, "rounding", [f"largest relative error {worst:.3g}"])


def changed_whole(base: Path, model: Path) -> Gate:
    """For a fully trained model: it is not the base any more."""
    originals = dict(_tensors(base))
    moved = [n for n, t in _tensors(model) if n in originals and bool((t.float() != originals[n].float()).any())]
    if not moved:
        return refused("merge.changed", "same-as-base", 0, "> 0", [], count=len(originals))
    return passed("merge.changed", len(moved), "> 0", [f"{len(moved)} / {len(originals)} tensors"])


def other_text(reference: Observation, other: Observation) -> Gate | None:
    """A folder that reads or ends text differently is another model, whatever its weights; None if it doesn't."""
    apart = [
        f"{text!r}: {theirs[:10]} ≠ {ours[:10]}"
        for text, ours, theirs in zip(
            [*other.job.texts, *(chat[-1]["content"] for chat in other.job.chats)],
            [*reference.text_ids, *reference.chat_ids],
            [*other.text_ids, *other.chat_ids],
            strict=True,
        )
        if ours != theirs
    ]
    for fact in ("template", "stop_tokens"):
        if reference.facts[fact] != other.facts[fact]:
            apart.append(f"{fact}: {str(other.facts[fact])[:80]!r} ≠ {str(reference.facts[fact])[:80]!r}")
    if apart:
        return refused("merge.equivalent", "other-text", len(apart), 0, apart[:_SHOWN])
    return None


def equivalent(gate: str, reference: Observation, other: Observation, limits: Thresholds) -> Gate:
    """The same distribution over the same tokens, within the noise of the arithmetic."""
    if reference.logits is None or other.logits is None:
        return skipped(gate, "no-rows")
    found = divergence(reference.row_logits(), other.row_logits(), targets(reference))
    measured = found.as_dict()
    limit = {"mean": limits.equivalent_kld, "top1": limits.equivalent_top1}
    if not (found.mean < limits.equivalent_kld and found.top1 >= limits.equivalent_top1):
        return refused(gate, "differs", measured, limit, [found.line()])
    return passed(gate, measured, limit, [found.line()])


def targets(observation: Observation) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """The tokens that the compared logits predict."""
    job = observation.job
    flat = [token for ids, start in zip(job.sequences, job.starts, strict=True) for token in ids[start + 1 :]]
    return np.asarray(flat, dtype=np.int64)


def _tensors(folder: Path) -> Iterator[tuple[str, torch.Tensor]]:
    from safetensors import safe_open

    for file in weight_files(folder):
        if not file.exists():
            raise InputError("file-missing", where=str(file))
        try:
            with safe_open(file, framework="pt") as opened:
                for name in opened.keys():  # noqa: SIM118 - not a mapping
                    yield name, opened.get_tensor(name)
        except OSError:
            raise
        except Exception as error:  # safetensors has its own error type for damaged files
            raise InputError("weights-unreadable", where=str(file), why=str(error)) from error


def _adapted(adapter: Path) -> dict[str, Callable[[torch.Tensor], torch.Tensor]]:
    """For each targeted tensor, what the adapter makes of it, in fp32: W + scale · B · A, and with DoRA its rows at the
    lengths that were learned."""
    from safetensors.torch import load_file

    config = read_json(adapter / "adapter_config.json")
    tensors = load_file(adapter / "adapter_model.safetensors")
    rank, alpha = int(config["r"]), float(config["lora_alpha"])
    scale = alpha / rank**0.5 if config.get("use_rslora") else alpha / rank

    def of(a: torch.Tensor, b: torch.Tensor, lengths: torch.Tensor | None) -> Callable[[torch.Tensor], torch.Tensor]:
        def adapted(weight: torch.Tensor) -> torch.Tensor:
            moved = weight + scale * (b.float() @ a.float())
            return moved if lengths is None else moved * (lengths.float() / moved.norm(dim=1))[:, None]

        return adapted

    found = {}
    for name, a in tensors.items():
        if name.endswith("lora_A.weight"):
            stem = name.removesuffix("lora_A.weight")
            target = stem.removeprefix("base_model.model.") + "weight"
            found[target] = of(a, tensors[stem + "lora_B.weight"], tensors.get(stem + "lora_magnitude_vector"))
        elif name.endswith(_TOKEN_ROWS):
            stem = name.removesuffix(_TOKEN_ROWS).removeprefix("base_model.model.")
            chosen = config["trainable_token_indices"][stem.rpartition(".")[2]]
            found[f"{stem}.weight"] = _with_rows(chosen, a.float())
    return found


def _with_rows(chosen: list[int], rows: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
    """Some tokens' rows of the vocabulary in place of the base's."""

    def adapted(weight: torch.Tensor) -> torch.Tensor:
        moved = weight.clone()
        moved[chosen] = rows.to(moved)
        return moved

    return adapted
