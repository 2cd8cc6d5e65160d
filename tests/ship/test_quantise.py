"""Quantised files are those that llama.cpp's own quantiser makes, byte for byte."""

from __future__ import annotations

import json
import platform
from pathlib import Path

import numpy as np
import pytest

from kitae.core.errors import InputError
from kitae.core.quants import QUANTS
from kitae.models import read_gguf_header
from kitae.ship import quantise
from tests.ship.gguf_files import CASES, MADE_BY_LLAMA_CPP, case_name, digest, importance_of, write_file

MADE = json.loads(MADE_BY_LLAMA_CPP.read_text())


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the files were made on x86-64")
@pytest.mark.slow(5)
@pytest.mark.parametrize(("shape", "weighted"), CASES, ids=[case_name(*case) for case in CASES])
def test_the_file_is_llama_cpps(shape: str, weighted: bool, tmp_path: Path) -> None:
    source = write_file(tmp_path / "source.gguf", shape)
    weights = importance_of(source) if weighted else None
    found = {quant: digest(quantise(source, tmp_path / f"{quant}.gguf", quant, weights)) for quant in QUANTS[1:]}
    assert found == MADE[case_name(shape, weighted)]


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_weights_come_back(dtype: type, tmp_path: Path) -> None:
    import gguf

    source = write_file(tmp_path / "source.gguf", "usual", dtype)
    target = quantise(source, tmp_path / "target.gguf", "Q8_0")
    before, after = (
        {tensor.name: gguf.dequantize(tensor.data, tensor.tensor_type) for tensor in gguf.GGUFReader(path).tensors}
        for path in (source, target)
    )
    assert before.keys() == after.keys()
    for name, values in before.items():
        np.testing.assert_allclose(after[name], values, atol=0.01, err_msg=name)


def test_a_quantised_file_is_no_source(tmp_path: Path) -> None:
    small = quantise(write_file(tmp_path / "source.gguf", "usual"), tmp_path / "small.gguf", "Q4_K_M")
    with pytest.raises(InputError) as raised:
        quantise(small, tmp_path / "smaller.gguf", "Q2_K")
    assert raised.value.kind == "quantise" and "Q4_K" in raised.value.why
    assert not (tmp_path / "smaller.gguf").exists()


def test_importance_of_another_model_is_refused(tmp_path: Path) -> None:
    source = write_file(tmp_path / "source.gguf", "usual")
    weights = {name: values[:-1] for name, values in importance_of(source).items()}
    with pytest.raises(InputError):
        quantise(source, tmp_path / "target.gguf", "Q4_K_M", weights)
    assert not (tmp_path / "target.gguf").exists()


def test_the_head_says_what_the_file_is(tmp_path: Path) -> None:
    header = read_gguf_header(quantise(write_file(tmp_path / "a.gguf", "usual"), tmp_path / "b.gguf", "Q6_K"))
    assert header.facts["general.file_type"] == 18 and header.facts["general.name"] == "usual"
