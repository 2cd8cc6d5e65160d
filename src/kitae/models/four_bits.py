"""NF4: a model's matrices in four bits, while an adapter beside them learns.

What such an adapter learns makes up for what the matrices lost when they were rounded, so it belongs to the rounded ones.
Merged into the originals, as is often done, it is another model than the one that was trained. So the rounded matrices are
written down once, as a model of their own, and everything (training, merging, proof) begins with those.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kitae.core import paths
from kitae.core.console import console
from kitae.core.errors import InputError
from kitae.core.files import hash_text, sha256, staged_folder
from kitae.core.i18n import t
from kitae.models.facts import weight_files
from kitae.models.source import check_folder, is_model_folder

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

_KIND = "nf4"
_ROUNDS = 4  # in which a matrix must come to be one that rounding leaves as it is; it takes two


def nf4(dtype: torch.dtype) -> Any:
    """How transformers is told."""
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type=_KIND, bnb_4bit_compute_dtype=dtype)


def stay_trainable(model: PreTrainedModel) -> None:
    """On some CPUs a matrix that was asked once without gradients is packed for that, stays so, and lets no gradient through:
    after its first validation a run would learn from wrong ones, without a word."""
    import bitsandbytes

    for module in model.modules():
        if isinstance(module, bitsandbytes.nn.Linear4bit):
            module.support_avx512bf16_for_cpu = False


def rounded(folder: Path) -> Path:
    """The same model with every matrix as NF4 tells it. Opened in four bits it is that very model again."""
    check_folder(folder)
    digest = hash_text(*(f"{file.name} {sha256(file)}" for file in sorted(folder.iterdir()) if file.is_file()))
    target = paths.cache_dir() / "models" / f"{folder.name}-{_KIND}-{digest[:12]}"
    if not is_model_folder(target):
        console.say(t("say.four-bits", name=folder.name))
        with staged_folder(target) as stage:
            _round(folder, stage)
    return target


def _round(folder: Path, stage: Path) -> None:
    from safetensors import safe_open
    from safetensors.torch import save_file

    left = _matrices(folder)
    for file in folder.iterdir():
        if file.is_file() and file.suffix != ".safetensors":
            shutil.copyfile(file, stage / file.name)
    for file in weight_files(folder):
        with safe_open(file, framework="pt") as opened:
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - not a mapping
        for name in left & tensors.keys():
            tensors[name] = _stable(tensors[name], name)
        left -= tensors.keys()
        save_file(tensors, stage / file.name, metadata={"format": "pt"})
    if left:  # a family whose files call its matrices otherwise than transformers does
        raise InputError("four-bits", where=str(folder), why=", ".join(sorted(left)[:5]))


def _matrices(folder: Path) -> set[str]:
    """Those that are rounded when the model is opened in four bits: transformers leaves out what must stay exact."""
    import bitsandbytes
    import torch
    from torch import nn

    from kitae.models.auto import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.bfloat16, quantization_config=nf4(torch.bfloat16), local_files_only=True
    )
    found = {name: module for name, module in model.named_modules() if isinstance(module, bitsandbytes.nn.Linear4bit)}
    turned = [name for name, module in found.items() if getattr(module, "source_cls", nn.Linear) is not nn.Linear]
    if turned:  # as GPT-2's, which lie the other way in their files than they are rounded
        raise InputError("four-bits", where=str(folder), why=f"{type(model).__name__}: {turned[0]}")
    return {f"{name}.weight" for name in found}


def _stable(tensor: torch.Tensor, name: str) -> torch.Tensor:
    import torch
    from bitsandbytes import functional

    now = tensor.to(torch.bfloat16).contiguous()
    for _ in range(_ROUNDS):
        before = now
        now = functional.dequantize_4bit(*functional.quantize_4bit(before, quant_type=_KIND)).to(torch.bfloat16)
        if torch.equal(before, now):
            return before
    raise InputError("four-bits", where=name, why=f"{float((now - before).abs().max()):.3g}")
