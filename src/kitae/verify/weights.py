"""Gates on weights as they lie on disk: all there, numbers, and changed exactly where an adapter says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kitae.core.errors import InputError
from kitae.core.files import read_json
from kitae.models import is_adapter, safetensors_header, weight_files
from kitae.verify.evidence import tensors_in_words
from kitae.verify.gate import Gate, passed, refused

if TYPE_CHECKING:
    import torch

_SHOWN = 5
_STRAIGHT = 0.98  # cos² between what moved and what an adapter says, from which on it is the adapter, more or less of it
_OTHER_SCALE = 0.02
_UNMOVED = 1e-6
_OTHER_WEIGHTS = 2e-3  # of a row's length: more than adding it up in another order, or in half precision, makes
INDEX = "model.safetensors.index.json"
_TOKEN_ROWS = ".token_adapter.trainable_tokens_delta"
_ROUNDING = {"torch.float16": 2**-10, "torch.bfloat16": 2**-7, "torch.float32": 2**-20}


def complete(folder: Path, base: Path | None = None) -> Gate:
    """A folder whose weights are all there, listed, and numbers, and no adapter. `base`: has the same names and shapes."""
    gate = "merge.complete"
    if is_adapter(folder) or list(folder.glob("adapter_model.*")):
        return refused(gate, "adapter", None, None, sorted(p.name for p in folder.iterdir())[:8])
    have, infinite = {}, []
    try:
        for name, tensor in _tensors(folder):
            have[name] = tuple(tensor.shape)
            if not bool(tensor.float().isfinite().all()):
                infinite.append(name)
        unlisted = sorted(have.keys() ^ _listed(folder)) if (folder / INDEX).exists() else []
    except (InputError, OSError) as error:
        where = error.where if isinstance(error, InputError) else error.filename
        return refused(gate, "unreadable", None, None, [f"{where}: {error}"])
    if unlisted:
        evidence = [INDEX, *tensors_in_words(unlisted, len(have))]
        return refused(gate, "unlisted", len(unlisted), 0, evidence, count=len(unlisted))
    if infinite:
        return refused(gate, "not-finite", len(infinite), 0, [*tensors_in_words(infinite, len(have))], count=len(infinite))
    lora = [name for name in have if "lora_" in name]
    if lora:
        return refused(gate, "adapter", len(lora), 0, lora[:_SHOWN])
    if base is None:
        return passed(gate, len(have), None, [f"{len(have)} tensors"])
    wanted = {name: tuple(tensor.shape) for name, tensor in _tensors(base)}
    missing = sorted(wanted.keys() - have.keys())
    if missing:
        evidence = [*tensors_in_words(missing, len(wanted))]
        return refused(gate, "missing", len(missing), 0, evidence, count=len(missing), total=len(wanted))
    shapes = [f"{n}: {have[n]} ≠ {wanted[n]}" for n in sorted(wanted) if have[n] != wanted[n]]
    if shapes:
        return refused(gate, "shapes", len(shapes), 0, shapes[:_SHOWN], count=len(shapes), total=len(wanted))
    return passed(gate, len(have), len(wanted), [f"{len(have)} tensors"])


@dataclass
class _Share:
    """How much of what an adapter says is in the weights: by least squares over all tensors that it speaks of."""

    along: float = 0.0
    said: float = 0.0
    moved: float = 0.0

    def add(self, moved: torch.Tensor, said: torch.Tensor) -> None:
        moved, said = moved.double(), said.double()
        self.along += float((moved * said).sum())
        self.said += float(said.square().sum())
        self.moved += float(moved.square().sum())

    @property
    def factor(self) -> float | None:
        """None if the weights moved in other directions too."""
        if not self.said:
            return None
        straight = self.along**2 >= _STRAIGHT * self.said * self.moved
        return self.along / self.said if straight else None


def changed(base: Path, adapter: Path, merged: Path) -> Gate:
    """Tensor by tensor: what the adapter targets moved by what it says, everything else stayed as it was."""
    gate = "merge.changed"
    adapters = _adapted(adapter)
    targets = len(adapters)
    originals = dict(_tensors(base))
    untouched, wrong, worst, elsewhere, share = [], [], 0.0, [], _Share()
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
        if adapted is not None:
            share.add(tensor.float() - original.float(), expected - original.float())
        if error > limit or not bool(tensor.isfinite().all()):
            wrong.append(f"{name}: {error:.3g} > {limit:.3g}")
            elsewhere += [name] if adapted is None else []
        elif adapted is not None and bool((tensor.float() == original.to(tensor.dtype).float()).all()):
            untouched.append(name)
    if adapters:
        return refused(gate, "unmerged", len(adapters), 0, sorted(adapters)[:_SHOWN])
    factor = share.factor
    if wrong and not elsewhere and share.moved <= _UNMOVED * share.said:
        return refused(gate, "base", len(wrong), 0, [f"{targets} tensors", *wrong[:_SHOWN]], count=targets)
    if wrong and not elsewhere and factor is not None and abs(factor - 1) > _OTHER_SCALE:
        return refused(gate, "scaled", factor, 1.0, [f"× {factor:.3f}", *wrong[:_SHOWN]], factor=f"{factor:.2f}")
    if wrong:
        evidence = [*tensors_in_words([line.partition(":")[0] for line in wrong], len(originals)), *wrong[:_SHOWN]]
        return refused(gate, "altered", len(wrong), 0, evidence, count=len(wrong))
    if untouched:
        whole = len(untouched) == targets
        shown = untouched[:_SHOWN]
        return refused(gate, "base" if whole else "same-as-base", len(untouched), 0, shown, count=len(untouched))
    return passed(gate, worst, "rounding", [f"largest relative error {worst:.3g}"])


def changed_whole(base: Path, model: Path) -> Gate:
    """For a fully trained model: it is not the base any more."""
    originals = dict(_tensors(base))
    moved = [n for n, t in _tensors(model) if n in originals and bool((t.float() != originals[n].float()).any())]
    if not moved:
        return refused("merge.changed", "base", 0, "> 0", [], count=len(originals))
    return passed("merge.changed", len(moved), "> 0", [f"{len(moved)} / {len(originals)} tensors"])


@dataclass(frozen=True)
class Apart:
    """How the weights of two folders differ, in words."""

    any: list[str]
    rounded: bool  # just by being stored in bf16
    changed: list[str]  # those that are other weights, and not the same ones stored or added up in another way


def tensors_apart(reference: Path, folder: Path) -> Apart:
    import torch

    ours = dict(_tensors(reference))
    apart, changed, rounded, total = [], [], True, 0
    for name, theirs in _tensors(folder):
        total += 1
        own = ours.get(name)
        if own is None or own.shape != theirs.shape:
            rounded = False
        elif torch.equal(own.float(), theirs.float()):
            continue
        else:
            rounded &= bool((own.to(torch.bfloat16) == theirs.to(torch.bfloat16)).all())
            stored = torch.equal(own.to(theirs.dtype), theirs) or torch.equal(theirs.to(own.dtype), own)
            if not stored and _most_changed(own.float(), theirs.float()) > _OTHER_WEIGHTS:
                changed.append(name)
        apart.append(name)
    words = [*tensors_in_words(apart, total)] if apart else ["0 tensors"]
    return Apart(words, rounded and bool(apart), [*tensors_in_words(changed, total)] if changed else [])


def _most_changed(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """Of the row that changed most: its change, as a part of its length, or of what is usual if it is short."""
    rows = ours.reshape(len(ours), -1) if ours.dim() > 1 else ours[None]
    lengths = rows.norm(dim=1)
    return float(((theirs.reshape(rows.shape) - rows).norm(dim=1) / lengths.clamp(min=float(lengths.mean()))).max())


def in_bf16(folder: Path) -> bool:
    return any(t["dtype"] == "BF16" for file in weight_files(folder) for t in safetensors_header(file).values())


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


def _listed(folder: Path) -> set[str]:
    return set(read_json(folder / INDEX)["weight_map"])


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
