"""What this machine has, and what is made of it."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from transformers import AutoModelForCausalLM

import kitae.core.hardware
from kitae.core.errors import InputError, KitaeError
from kitae.core.hardware import computes_in_bf16, ran_out_of_memory
from kitae.core.libraries import quiet_libraries
from kitae.generate.open import device_for
from kitae.models import open_model, peek


def test_bf16_where_torch_multiplies_it_faster() -> None:
    if not torch.accelerator.is_available():
        cpu = torch.cpu
        assert computes_in_bf16("auto") == (cpu._is_avx512_bf16_supported() or cpu._is_amx_tile_supported())
    assert computes_in_bf16("bf16")
    assert not computes_in_bf16("fp32")


@pytest.mark.parametrize(
    "flags", ["flags : sse avx512_bf16 rtm", "flags : amx_tile amx_bf16", "flags : sse avx512_bf160", None]
)
def test_bf16_as_the_system_tells_of_its_processors(flags: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kitae.core.hardware, "_GPUS", ())
    monkeypatch.setattr(kitae.core.hardware, "_CPUS", str(tmp_path / "cpuinfo"))
    if flags:
        (tmp_path / "cpuinfo").write_text(flags)
    assert computes_in_bf16("auto") == (flags is not None and "bf160" not in flags)


@pytest.mark.parametrize(
    ("limit", "fast"),
    [("AVX2", False), ("AVX512_CORE", False), ("AVX512_CORE_BF16", True), ("avx512_core_amx", True), ("DEFAULT", True)],
)
def test_a_person_may_keep_the_library_from_it(limit: str, fast: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kitae.core.hardware, "_GPUS", ())
    monkeypatch.setattr(kitae.core.hardware, "_CPUS", str(tmp_path / "cpuinfo"))
    (tmp_path / "cpuinfo").write_text("flags : avx512_bf16")
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)
    assert computes_in_bf16("auto") == fast


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("not enough memory: you tried to allocate"), RuntimeError("shape")]
)
def test_a_model_for_which_there_is_no_room_is_not_called_damaged(
    starter: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", refuse)
    with pytest.raises(KitaeError) as caught:
        open_model(starter, torch.float32)
    assert caught.value.kind == ("too-little-memory" if ran_out_of_memory(error) else "model-unreadable")
    assert isinstance(caught.value, InputError) != ran_out_of_memory(error)


def test_a_model_that_a_gpu_has_no_room_for_answers_on_the_cpu(
    starter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = peek(str(starter)).parameters
    monkeypatch.setattr(kitae.core.hardware, "_GPUS", (str(tmp_path),))
    for there, free, dtype, wanted in (
        (True, 5 * size, torch.float32, "cuda"),
        (True, 4.5 * size, torch.float32, "cpu"),
        (True, 4.5 * size, torch.bfloat16, "cuda"),
        (False, 5 * size, torch.float32, "cpu"),
    ):
        monkeypatch.setattr(
            torch, "cuda", SimpleNamespace(is_available=lambda there=there: there, mem_get_info=lambda free=free: (free, 0))
        )
        assert device_for(starter, dtype) == wanted


def test_threads_are_patient_before_libraries_are_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.setenv(name, "")  # which is put back
        monkeypatch.delenv(name)
    quiet_libraries()
    assert os.environ["GOMP_SPINCOUNT"] == "1000"
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    quiet_libraries()
    assert os.environ["GOMP_SPINCOUNT"] == "7"
