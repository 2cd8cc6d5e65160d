"""Commands as a shell starts them: nothing is imported beforehand, not even in the processes that they start themselves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ..conftest import Tiny
from .conftest import Kitae

pytestmark = pytest.mark.journey


def test_a_file_is_made_and_looked_at(kitae: Kitae, tiny_llama: Tiny, tmp_path: Path) -> None:
    model = tiny_llama()  # with all of its tokens, by which the converter knows it
    file = tmp_path / "tiny-F16.gguf"
    for command in (["export", model, "--gguf", "F16", "--out", file], ["verify", file, "--against", model]):
        process = kitae.from_nothing(*command, "--json")
        out, err = process.communicate(timeout=240)
        assert process.returncode == 0, out + err
    gates = {gate["id"]: gate["verdict"] for gate in json.loads(out)["gates"]}
    assert gates["gguf.equivalent"] == "pass", gates
