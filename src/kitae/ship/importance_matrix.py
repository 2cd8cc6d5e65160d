"""Which columns of each matrix matter: the mean square of what flows into it, over the user's own training rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kitae.chat import Encoded
from kitae.core.console import console
from kitae.core.i18n import t
from kitae.models import open_model

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch
    from transformers import PreTrainedModel

_UNWEIGHTED = ("Q8_0",)  # every weight is rounded to the nearest of 256 steps, whatever it is worth
_TOKENS = 3_000  # of calibration; ten thousand took a minute on two cores with AVX2


def weighs(quant: str) -> bool:
    return quant not in _UNWEIGHTED


def importance(folder: Path, rows: Sequence[Encoded], quant: str) -> dict[str, npt.NDArray[np.float32]] | None:
    """E[x²] for every linear layer, under the layer's GGUF name; None for a type that doesn't ask for it."""
    if not weighs(quant):
        return None
    console.say(t("say.importance"))
    import numpy as np
    import torch

    model = open_model(folder, torch.float32).eval()
    names = _gguf_names(model)
    sums: dict[str, torch.Tensor] = {}
    counts: dict[str, int] = {}

    def collect(name: str) -> Callable[[torch.nn.Module, tuple[torch.Tensor, ...]], None]:
        def hook(_: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            x = inputs[0].reshape(-1, inputs[0].shape[-1]).float()
            square = torch.einsum("td,td->d", x, x)
            sums[name] = sums[name] + square if name in sums else square
            counts[name] = counts.get(name, 0) + len(x)

        return hook

    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and f"{name}.weight" in names:
            module.register_forward_pre_hook(collect(names[f"{name}.weight"]))
    seen = 0
    with torch.inference_mode():
        for row in rows:
            model(input_ids=torch.tensor([row.ids]), use_cache=False)
            seen += len(row.ids)
            if seen >= _TOKENS:
                break
    return {name: np.ascontiguousarray((total / counts[name]).numpy(), dtype=np.float32) for name, total in sums.items()}


def _gguf_names(model: PreTrainedModel) -> dict[str, str]:
    """HF tensor name → GGUF tensor name, from the table that the converter itself uses."""
    import gguf

    config = model.config
    kinds = {name: kind for kind, name in gguf.MODEL_ARCH_NAMES.items()}
    architecture = kinds.get(config.model_type) or kinds.get(config.model_type.replace("_text", "").replace("_", ""))
    if architecture is None:
        return {}
    table = gguf.get_tensor_name_map(architecture, config.num_hidden_layers)
    found = {}
    for name, _ in model.named_parameters():
        mapped = table.get_name(name, try_suffixes=(".weight",))
        if mapped:
            found[name] = mapped
    if config.tie_word_embeddings:  # the head is the embedding, and llama.cpp quantises it under that name
        found["lm_head.weight"] = "token_embd.weight"
    return found
