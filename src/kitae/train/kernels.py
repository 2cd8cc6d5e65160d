"""Liger's kernels for the norms and gated layers of a model that trains on a GPU."""

from __future__ import annotations

import sys

from transformers import PreTrainedModel

from kitae.errors import InputError
from kitae.train.layers import name_of, without_adapters


def use_liger(model: PreTrainedModel) -> None:
    """In this model only. Liger also puts its classes in the place of the library's, where models that are opened later, on a
    CPU or to be merged, would find them; those are put back. The loss and the rotation of positions stay the usual ones: the
    first is taken block by block here, the second can't be replaced for one model."""
    from liger_kernel.transformers.monkey_patch import MODEL_TYPE_TO_APPLY_LIGER_FN, _apply_liger_kernel_to_instance

    inner = without_adapters(model)
    if inner.config.model_type not in MODEL_TYPE_TO_APPLY_LIGER_FN:
        raise InputError("kernels-model", where=name_of(model))
    library = vars(sys.modules[type(inner).__module__])
    usual = dict(library)
    _apply_liger_kernel_to_instance(inner, rope=False, cross_entropy=False, fused_linear_cross_entropy=False)
    library.update(usual)
