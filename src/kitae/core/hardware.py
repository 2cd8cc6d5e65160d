"""What this machine has, as far as anything depends on it.

torch takes seconds to import, so it is asked only where there may be a GPU.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import psutil

Precision = Literal["auto", "bf16", "fp32"]

_GPUS = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")
_CPUS = "/proc/cpuinfo"
_MULTIPLY_BF16 = ("avx512_bf16", "amx_bf16")  # instructions
BEYOND_AVX2 = ("avx512f", *_MULTIPLY_BF16)
# The setting by which a person keeps torch's library from using some. Below these it multiplies bf16 slowly.
_LIMIT, _LIMITS_WITH_BF16 = "ONEDNN_MAX_CPU_ISA", ("", "ALL", "DEFAULT")


def has_gpu() -> bool:
    if not any(Path(device).exists() for device in _GPUS):
        return False
    import torch

    return torch.cuda.is_available()


def patient_threads() -> dict[str, str]:
    """Settings by which OpenMP's threads soon sleep while they wait. They are read when a library is loaded.

    By default they spin for milliseconds, in which a thread that they wait for can't run where other work needs the processors
    too: `kitae verify` then took more than ten minutes instead of one and a half, and training twice as long. On a quiet
    machine training is 5 % slower for it. docs/benchmarks.md has the numbers.
    """
    chosen = "OMP_WAIT_POLICY" in os.environ or "GOMP_SPINCOUNT" in os.environ
    return {} if chosen else {"GOMP_SPINCOUNT": "1000"}


def free_memory() -> float:
    """Bytes, of the machine's own memory."""
    return float(psutil.virtual_memory().available)


def free_gpu_memory() -> float:
    """The same of the GPU that this process would take."""
    import torch

    return float(torch.cuda.mem_get_info()[0])


def computes_in_bf16(precision: Precision) -> bool:
    """Where that is left open: where it is multiplied faster than fp32."""
    if precision != "auto":
        return precision == "bf16"
    if has_gpu():
        import torch

        return bool(torch.cuda.is_bf16_supported())
    return processor_multiplies_bf16()


def processor_multiplies_bf16() -> bool:
    """Faster than fp32, as far as torch's library may use it."""
    limit = os.environ.get(_LIMIT, "").upper()
    if limit not in _LIMITS_WITH_BF16 and not any(name in limit for name in ("BF16", "FP16", "AVX10", "AMX")):
        return False
    return not cpu_flags().isdisjoint(_MULTIPLY_BF16)


def cpu_flags() -> set[str]:
    """What the processor can do, where the system says so."""
    try:
        return set(Path(_CPUS).read_text(encoding="utf-8").split())
    except OSError:
        return set()


def ran_out_of_memory(error: BaseException) -> bool:
    """Some allocators have an error of their own, others only words."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    said = ("can't allocate memory", "not enough memory", "out of memory")
    return isinstance(error, RuntimeError) and any(words in str(error) for words in said)
