"""Whatever llama.cpp is installed is bound with a layout that was checked, or not at all."""

from __future__ import annotations

import ctypes
from pathlib import Path

import pytest

from kitae.core.errors import InputError
from kitae.models import CHOICE, NATIVE, PREBUILT, library, llama_library as binding, llama_places, llama_version


def test_defaults_read_as_llama_cpp_sets_them() -> None:
    params = library().llama_context_default_params()
    assert {name: getattr(params, name) for name in binding._DEFAULTS} == binding._DEFAULTS
    assert params.n_samplers == 0 and not params.samplers


def test_a_layout_that_is_one_word_off_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """An older or newer llama.cpp would otherwise take a flag for a pointer."""
    lib = library()
    layout = lib.llama_context_default_params.restype
    wrong = binding._context_params(("moe_cache_size", ctypes.c_size_t), ("new", ctypes.c_void_p))
    monkeypatch.setattr(binding, "_LAYOUTS", (wrong,))
    try:
        with pytest.raises(LookupError):
            binding._layout(lib)
    finally:
        lib.llama_context_default_params.restype = layout


def test_a_chosen_library_that_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "libllama.so").write_bytes(b"no library")
    monkeypatch.setenv(CHOICE, str(tmp_path / "libllama.so"))
    with pytest.raises(InputError) as raised:
        library()
    assert raised.value.kind == "llama-library" and "libllama.so" in raised.value.why


def test_another_library_has_no_such_functions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CHOICE, "libc.so.6")
    with pytest.raises(InputError) as raised:
        library()
    assert "llama_backend_init" in raised.value.why


def test_places_are_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = [place.kind for place in llama_places()]
    assert PREBUILT in kinds and kinds == sorted(kinds, key=[NATIVE, PREBUILT].index)
    monkeypatch.setenv(CHOICE, PREBUILT)
    assert [place.kind for place in llama_places()] == [PREBUILT]


def test_a_native_build_that_can_not_be_used_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And what is recorded is what was used."""
    (prebuilt,) = (place for place in llama_places() if place.kind == PREBUILT)
    (tmp_path / "libllama.so").write_bytes(b"no library")
    broken = binding.Place(NATIVE, tmp_path / "libllama.so", "llama-cpp-python 9.9")
    monkeypatch.setattr(binding, "llama_places", lambda: [broken, prebuilt])
    monkeypatch.setattr(binding, "_told", [])
    assert library() is library()
    assert llama_version() == prebuilt.package
    told = capsys.readouterr().err
    assert told.count("llama-cpp-python 9.9") == 1 and prebuilt.package in told
