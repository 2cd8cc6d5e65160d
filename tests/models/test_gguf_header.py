"""The head of a GGUF file is read as the gguf package reads it, and damage is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from gguf import GGMLQuantizationType, GGUFReader, GGUFWriter
from hypothesis import given, settings, strategies as st

from kitae.core.errors import InputError
from kitae.models import read_gguf_header


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("gguf") / "small.gguf"
    writer = GGUFWriter(path, "llama")
    writer.add_block_count(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_bool("general.yes", True)
    writer.add_string("general.note", "日本語 👩‍👩‍👧")
    writer.add_array("tokenizer.ggml.tokens", ["a", "", "日本"])
    writer.add_array("tokenizer.ggml.scores", [0.5, 1.5])
    writer.add_tensor("token_embd.weight", np.zeros((3, 64), dtype=np.float32))
    writer.add_tensor("blk.0.w", np.zeros((2, 2 * 34), dtype=np.uint8), raw_dtype=GGMLQuantizationType.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_it_reads_what_the_gguf_package_reads(file: Path) -> None:
    ours, theirs = read_gguf_header(file), GGUFReader(file)
    wanted = {name: field.contents() for name, field in theirs.fields.items() if not name.startswith("GGUF.")}
    assert ours.facts == {name: len(value) if isinstance(value, list) else value for name, value in wanted.items()}
    assert [(t.name, t.shape, t.type, t.size, t.weights) for t in ours.tensors] == [
        (t.name, tuple(t.shape.tolist()), t.tensor_type.name, t.n_bytes, t.n_elements) for t in theirs.tensors
    ]
    assert [t.bits for t in ours.tensors] == [32.0, 8.5]


def test_a_file_cut_anywhere_is_refused(file: Path, tmp_path: Path) -> None:
    whole = file.read_bytes()
    cut = tmp_path / "cut.gguf"
    for length in range(0, len(whole) - 32, 7):  # what pads the end may be missing
        cut.write_bytes(whole[:length])
        with pytest.raises(InputError) as refused:
            read_gguf_header(cut)
        assert (refused.value.kind, refused.value.where) == ("gguf-unreadable", str(cut))


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_no_damage_breaks_the_reader(file: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    content = bytearray(file.read_bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, 700))] = data.draw(st.integers(0, 255))
    damaged = tmp_path_factory.mktemp("damaged") / "d.gguf"
    damaged.write_bytes(content)
    try:
        read_gguf_header(damaged)
    except InputError as error:
        assert error.kind == "gguf-unreadable"


def test_a_missing_file_is_missing(tmp_path: Path) -> None:
    with pytest.raises(InputError) as refused:
        read_gguf_header(tmp_path / "none.gguf")
    assert refused.value.kind == "file-missing"
