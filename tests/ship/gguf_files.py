"""Small F16 files of every shape that a choice of types depends on. Run as a script with the path of a native libllama, it
writes down what llama.cpp itself makes of them: python -m tests.ship.gguf_files PATH"""

from __future__ import annotations

import ctypes
import hashlib
import json
import sys
import tempfile
from pathlib import Path

import numpy as np

from kitae.core.quants import QUANTS, file_type
from kitae.models import read_gguf_header

MADE_BY_LLAMA_CPP = Path(__file__).parent / "made_by_llama_cpp.json"
_SHAPE = {"hidden": 256, "inner": 256, "layers": 8, "heads": 4, "kv_heads": 2, "tied": True, "experts": 0}
# K-quants want rows of 256. Where a shape is about something else its rows are short, and types with smaller blocks stand in
# for them, each for another.
SHAPES: dict[str, dict[str, int]] = {
    "usual": {},
    "many-layers": {"layers": 16, "hidden": 64, "inner": 64},
    "own-head": {"tied": False, "layers": 2},
    "many-share-a-key": {"heads": 8, "kv_heads": 1, "layers": 2},
    "rows-of-32": {"hidden": 96, "inner": 160},
    "rows-of-16": {"hidden": 80, "inner": 144},
    "experts": {"experts": 8, "hidden": 32},
    "few-experts": {"experts": 4, "hidden": 32},
}
WEIGHTED = ("usual", "experts")  # of these also with an importance for each weight
CASES = [*((name, False) for name in SHAPES), *((name, True) for name in WEIGHTED)]


def case_name(shape: str, weighted: bool) -> str:
    return f"{shape}{'-weighted' * weighted}"


def write_file(path: Path, name: str, dtype: type = np.float16) -> Path:
    import gguf

    shape = {**_SHAPE, **SHAPES[name]}
    hidden, inner, heads, kv_heads = (int(shape[key]) for key in ("hidden", "inner", "heads", "kv_heads"))
    rng = np.random.default_rng(0)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name(name)
    writer.add_file_type(file_type("F16").number)  # not at the end, where a quantised file has it
    writer.add_block_count(int(shape["layers"]))
    writer.add_context_length(512)
    writer.add_embedding_length(hidden)
    writer.add_feed_forward_length(inner)
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(64)
    experts = int(shape["experts"])
    if experts:
        writer.add_expert_count(experts)
        writer.add_expert_used_count(2)

    def matrix(name: str, *size: int) -> None:
        writer.add_tensor(name, (rng.standard_normal(size) * 0.05).astype(dtype))

    def norm(name: str) -> None:
        writer.add_tensor(name, np.ones(hidden, np.float32))

    matrix("token_embd.weight", 64, hidden)
    norm("output_norm.weight")
    if not shape["tied"]:
        matrix("output.weight", 64, hidden)
    for layer in range(int(shape["layers"])):
        block = f"blk.{layer}"
        norm(f"{block}.attn_norm.weight")
        norm(f"{block}.ffn_norm.weight")
        size = hidden // heads * kv_heads
        matrix(f"{block}.attn_q.weight", hidden, hidden)
        matrix(f"{block}.attn_k.weight", size, hidden)
        matrix(f"{block}.attn_v.weight", size, hidden)
        matrix(f"{block}.attn_output.weight", hidden, hidden)
        if experts:
            matrix(f"{block}.ffn_gate_inp.weight", experts, hidden)
        for part, rows, columns in (("gate", inner, hidden), ("up", inner, hidden), ("down", hidden, inner)):
            if experts:
                matrix(f"{block}.ffn_{part}_exps.weight", experts, rows, columns)
            else:
                matrix(f"{block}.ffn_{part}.weight", rows, columns)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def importance_of(path: Path) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    found = {}
    for tensor in read_gguf_header(path).tensors:
        if tensor.name.startswith("blk.") and len(tensor.shape) > 1 and "gate_inp" not in tensor.name:
            count = tensor.shape[0] * (tensor.shape[2] if len(tensor.shape) > 2 else 1)
            found[tensor.name] = rng.uniform(0.1, 2.0, count).astype(np.float32)
    return found


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


class _Imatrix(ctypes.Structure):
    _fields_ = (("name", ctypes.c_char_p), ("data", ctypes.POINTER(ctypes.c_float)), ("size", ctypes.c_size_t))


class _Params(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_int32) for name in ("nthread", "ftype", "output_type", "embedding_type")),
        *((name, ctypes.c_bool) for name in ("requantize", "output", "copy", "pure", "keep_split", "dry_run")),
        ("imatrix", ctypes.POINTER(_Imatrix)),
        *((name, ctypes.c_void_p) for name in ("overrides", "types", "prune")),
        ("buffer", ctypes.c_size_t),
    )


def main(library: str) -> None:
    lib = ctypes.CDLL(library)
    lib.llama_model_quantize_default_params.restype = _Params
    made: dict[str, dict[str, str]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, weighted in CASES:
            source = write_file(Path(folder) / "source.gguf", name)
            weights = importance_of(source)
            for quant in QUANTS[1:]:
                params = lib.llama_model_quantize_default_params()
                params.nthread, params.ftype = 2, file_type(quant).number
                if weighted:
                    entries = (_Imatrix * (len(weights) + 1))()
                    for entry, (key, values) in zip(entries, weights.items(), strict=False):
                        data = values.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
                        entry.name, entry.data, entry.size = key.encode(), data, values.size
                    params.imatrix = entries
                target = Path(folder) / "target.gguf"
                if lib.llama_model_quantize(str(source).encode(), str(target).encode(), ctypes.byref(params)):
                    raise SystemExit(f"{name} {quant}")
                made.setdefault(case_name(name, weighted), {})[quant] = digest(target)
    MADE_BY_LLAMA_CPP.write_text(json.dumps(made, indent=1))


if __name__ == "__main__":
    main(sys.argv[1])
