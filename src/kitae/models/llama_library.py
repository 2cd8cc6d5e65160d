"""The one file that binds llama.cpp: which library is loaded, what its functions take, and how its structs are laid out.

The library comes prebuilt inside the wheel of xllamacpp, so nobody needs a compiler. One that was built on this machine is
preferred where it is installed (`pip install 'kitae[native]'`); `kitae doctor` measures both.
"""

from __future__ import annotations

import contextlib
import ctypes as c
import importlib.util
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

from kitae.core.console import console
from kitae.core.errors import InputError
from kitae.core.hardware import patient_threads
from kitae.core.i18n import t

CHOICE = "KITAE_LLAMA"  # prebuilt, native, or the path of a libllama
PREBUILT, NATIVE = "prebuilt", "native"


class Batch(c.Structure):
    _fields_ = (
        ("n_tokens", c.c_int32),
        ("token", c.POINTER(c.c_int32)),
        ("embd", c.c_void_p),
        ("pos", c.POINTER(c.c_int32)),
        ("n_seq_id", c.POINTER(c.c_int32)),
        ("seq_id", c.POINTER(c.POINTER(c.c_int32))),
        ("logits", c.POINTER(c.c_int8)),
    )


class ModelParams(c.Structure):
    _fields_ = (
        *((name, c.c_void_p) for name in ("devices", "tensor_buft_overrides")),
        *((name, c.c_int32) for name in ("n_gpu_layers", "split_mode", "load_mode", "lazy_mode", "main_gpu")),
        ("tensor_split", c.c_void_p),
        *((name, c.c_void_p) for name in ("progress_callback", "progress_callback_user_data", "kv_overrides")),
        *((name, c.c_bool) for name in ("vocab_only", "check_tensors", "use_extra_bufts", "no_host", "no_alloc", "load_mtp")),
    )


def _context_params(*added: tuple[str, Any]) -> type[c.Structure]:
    """`added`: what a newer llama.cpp has before its callbacks."""

    class ContextParams(c.Structure):
        _fields_ = (
            *((name, c.c_uint32) for name in ("n_ctx", "n_batch", "n_ubatch", "n_seq_max", "n_rs_seq")),
            *((name, c.c_uint32) for name in ("n_outputs_max", "n_outputs_max_per_seq")),
            *((name, c.c_int32) for name in ("n_threads", "n_threads_batch")),
            *((name, c.c_int32) for name in ("ctx_type", "rope_scaling_type", "pooling_type")),
            *((name, c.c_int32) for name in ("attention_type", "flash_attn_type")),
            *((name, c.c_float) for name in ("rope_freq_base", "rope_freq_scale", "yarn_ext_factor", "yarn_attn_factor")),
            *((name, c.c_float) for name in ("yarn_beta_fast", "yarn_beta_slow")),
            ("yarn_orig_ctx", c.c_uint32),
            ("defrag_thold", c.c_float),
            *((name, c.c_void_p) for name in ("cb_eval", "cb_eval_user_data")),
            *((name, c.c_int32) for name in ("type_k", "type_v")),
            *added,
            *((name, c.c_void_p) for name in ("abort_callback", "abort_callback_data")),
            *((name, c.c_bool) for name in ("embeddings", "offload_kqv", "no_perf", "op_offload", "swa_full", "kv_unified")),
            ("samplers", c.c_void_p),
            ("n_samplers", c.c_size_t),
            ("ctx_other", c.c_void_p),
            ("room", c.c_uint64 * 16),  # for fields that a newer library may have at the end
        )

    return ContextParams


_LAYOUTS = (_context_params(("moe_cache_size", c.c_size_t)), _context_params())
# What llama.cpp itself sets; a layout under which they read otherwise is not that of the library.
_DEFAULTS = {
    "n_ctx": 512, "n_batch": 2048, "n_ubatch": 512, "n_seq_max": 1, "n_outputs_max_per_seq": 1, "flash_attn_type": -1,
    "yarn_ext_factor": -1.0, "type_k": 1, "type_v": 1, "abort_callback": None, "embeddings": False, "offload_kqv": True,
    "no_perf": True, "op_offload": True, "swa_full": True, "kv_unified": False, "samplers": None, "n_samplers": 0,
}  # fmt: skip
_MODEL_DEFAULTS = {
    "devices": None, "n_gpu_layers": -1, "split_mode": 1, "main_gpu": 0, "kv_overrides": None,
    "vocab_only": False, "check_tensors": False, "use_extra_bufts": True, "no_host": False, "no_alloc": False,
}  # fmt: skip

_told: list[Place] = []  # that another one was passed over; once is enough
LogCallback = c.CFUNCTYPE(None, c.c_int, c.c_char_p, c.c_void_p)
_P, _I, _U, _B, _S, _F = c.c_void_p, c.c_int32, c.c_uint64, c.c_bool, c.c_char_p, c.POINTER(c.c_float)
_FUNCTIONS: dict[str, tuple[Any, Sequence[Any]]] = {
    "llama_backend_init": (None, ()),
    "llama_print_system_info": (_S, ()),
    "llama_log_set": (None, (LogCallback, _P)),
    "llama_model_default_params": (ModelParams, ()),
    "llama_model_load_from_file": (_P, (_S, ModelParams)),
    "llama_model_free": (None, (_P,)),
    "llama_model_get_vocab": (_P, (_P,)),
    "llama_model_meta_val_str": (_I, (_P, _S, _S, c.c_size_t)),
    "llama_model_n_params": (_U, (_P,)),
    "llama_model_n_ctx_train": (_I, (_P,)),
    "llama_model_is_recurrent": (_B, (_P,)),
    "llama_model_is_hybrid": (_B, (_P,)),
    "llama_vocab_n_tokens": (_I, (_P,)),
    "llama_vocab_bos": (_I, (_P,)),
    "llama_vocab_eos": (_I, (_P,)),
    "llama_vocab_eot": (_I, (_P,)),
    "llama_vocab_get_add_bos": (_B, (_P,)),
    "llama_vocab_is_eog": (_B, (_P, _I)),
    "llama_vocab_get_attr": (_I, (_P, _I)),
    "llama_vocab_get_text": (_S, (_P, _I)),
    "llama_tokenize": (_I, (_P, _S, _I, c.POINTER(_I), _I, _B, _B)),
    "llama_token_to_piece": (_I, (_P, _I, _S, _I, _I, _B)),
    "llama_free": (None, (_P,)),
    "llama_get_memory": (_P, (_P,)),
    "llama_memory_seq_rm": (_B, (_P, _I, _I, _I)),
    "llama_state_seq_get_size": (c.c_size_t, (_P, _I)),
    "llama_state_seq_get_data": (c.c_size_t, (_P, _P, c.c_size_t, _I)),
    "llama_state_seq_set_data": (c.c_size_t, (_P, _P, c.c_size_t, _I)),
    "llama_batch_init": (Batch, (_I, _I, _I)),
    "llama_batch_free": (None, (Batch,)),
    "llama_decode": (_I, (_P, Batch)),
    "llama_get_logits": (_F, (_P,)),
    "llama_get_embeddings_seq": (_F, (_P, _I)),
    "llama_model_n_embd": (_I, (_P,)),
    "ggml_quantize_chunk": (c.c_size_t, (c.c_int, _P, _P, c.c_int64, c.c_int64, c.c_int64, _P)),
}


class Place(NamedTuple):
    kind: str  # PREBUILT, NATIVE, or the path that was chosen
    path: Path
    package: str  # with its version


def llama_places() -> list[Place]:
    """Every llama.cpp that is installed, the preferred one first."""
    chosen = os.environ.get(CHOICE, "")
    if chosen and chosen not in (PREBUILT, NATIVE):
        return [Place(chosen, Path(chosen).expanduser(), chosen)]
    found = [*_native(), *_prebuilt()]
    return [place for place in found if chosen in ("", place.kind)]


def _native() -> Iterator[Place]:
    folder = _package("llama_cpp")
    for path in sorted((folder / "lib").glob("*llama.*")) if folder else []:
        if path.suffix in (".so", ".dylib", ".dll"):
            yield Place(NATIVE, path, f"llama-cpp-python {_version('llama-cpp-python')}")


def _prebuilt() -> Iterator[Place]:
    folder = _package("xllamacpp")  # an extension module, of which only the llama.cpp inside is used
    for path in sorted(folder.glob("xllamacpp*")) if folder else []:
        if path.suffix in (".so", ".pyd"):
            yield Place(PREBUILT, path, f"xllamacpp {_version('xllamacpp')}")


def _package(name: str) -> Path | None:
    spec = importlib.util.find_spec(name)  # found, not imported
    return Path(spec.origin).parent if spec and spec.origin else None


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "?"


def library() -> Any:
    """llama.cpp as ctypes functions, with its chatter switched off."""
    return _first_that_loads()[1]


def llama_version() -> str:
    """The package of the library that is used, which need not be the preferred one."""
    return _first_that_loads()[0].package


def _first_that_loads() -> tuple[Place, Any]:
    wrong: list[str] = []
    for place in llama_places():
        try:
            found = load(place.path)
        except (OSError, AttributeError, LookupError) as error:
            wrong.append(f"{place.package}: {error}")
            continue
        if wrong and not _told:
            console.say(t("say.llama-skipped", used=place.package, why="; ".join(wrong)))
            _told.append(place)
        return place, found
    raise InputError("llama-library", why="\n".join(wrong) or os.environ.get(CHOICE) or "xllamacpp")


@lru_cache(maxsize=4)
def load(path: Path) -> Any:
    with _patient_threads():
        lib = _open(path)
    for name, (result, arguments) in _FUNCTIONS.items():
        function = getattr(lib, name)
        function.restype, function.argtypes = result, arguments
    lib.silence = LogCallback(lambda level, text, data: None)  # llama.cpp keeps only a pointer
    lib.llama_log_set(lib.silence, None)
    _check(lib.llama_model_default_params(), _MODEL_DEFAULTS)
    layout = _layout(lib)
    lib.llama_context_default_params.restype = layout
    lib.llama_init_from_model.restype, lib.llama_init_from_model.argtypes = _P, (_P, layout)
    lib.llama_backend_init()
    return lib


def _open(path: Path) -> Any:
    try:
        return c.CDLL(str(path))
    except OSError as error:
        torch = _package("torch")
        if torch is None or "libgomp" not in str(error):
            raise
        # A system without a compiler often lacks OpenMP's library, too; torch brings its own.
        c.CDLL(str(torch / "lib" / "libgomp.so.1"), mode=c.RTLD_GLOBAL)
        return c.CDLL(str(path))


def _layout(lib: Any) -> type[c.Structure]:
    """The layout under which the library's own defaults read as they should: one word off, and a flag is a pointer."""
    for layout in _LAYOUTS:
        lib.llama_context_default_params.restype = layout
        with contextlib.suppress(LookupError):
            _check(lib.llama_context_default_params(), _DEFAULTS)
            return layout
    raise LookupError("llama_context_params: unknown layout")


def _check(params: c.Structure, defaults: Mapping[str, object]) -> None:
    read = {name: getattr(params, name) for name in defaults}
    if read != defaults:
        raise LookupError(f"{type(params).__name__}: {[name for name in defaults if read[name] != defaults[name]]}")


@contextlib.contextmanager
def _patient_threads() -> Iterator[None]:
    """Also in a program that calls functions and has torch loaded already, whose settings stay its own."""
    settings = patient_threads()
    os.environ.update(settings)
    try:
        yield
    finally:
        for name in settings:
            del os.environ[name]
