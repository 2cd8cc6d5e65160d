"""Settings of libraries, which they read when they are loaded. Some print on stdout or draw bars, which would break `--json`
and the progress line."""

from __future__ import annotations

import logging
import os
import warnings

from kitae.core import paths
from kitae.core.console import console
from kitae.core.hardware import patient_threads


def quiet_libraries() -> None:
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # On a CPU each size of matrices leaves half a megabyte of prepared program behind, and by default a thousand are kept.
    for cache in ("LRU_CACHE_CAPACITY", "ONEDNN_PRIMITIVE_CACHE_CAPACITY"):
        os.environ.setdefault(cache, "128")
    os.environ.update(patient_threads())
    if paths.offline():
        os.environ["HF_HUB_OFFLINE"] = "1"
    if not console.debug:
        warnings.filterwarnings("ignore")
        logging.disable(logging.WARNING)
    from transformers.utils import logging as hf_logging

    hf_logging.disable_progress_bar()
