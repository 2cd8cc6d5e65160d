"""GGUF files beside the folder that they were made from."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import pytest

from kitae.chat import RAW
from kitae.core.quants import FILE_TYPES, QUANTS, Quant, larger_than
from kitae.ship import to_gguf
from kitae.verify import gguf
from kitae.workflows import export

from ..journeys.breaking import rewrite_gguf
from .conftest import Verify

pytestmark = pytest.mark.slow(10)  # the first of them converts


@pytest.fixture(scope="session")
def file(good: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return to_gguf(good, tmp_path_factory.mktemp("gguf") / "good-F16.gguf")


def test_a_good_file(verify: Verify, good: Path, file: Path) -> None:
    for found in (verify(file, good), verify(file), verify(good, file)):
        assert found["verdict"] == "ship", found


@pytest.mark.parametrize("quant", ["Q8_0", "Q4_K_M"])
def test_a_good_quantised_file(verify: Verify, good: Path, tmp_path: Path, quant: str) -> None:
    """The model has short rows, so that what is called Q4_K_M holds none of it."""
    path = Path(str(export(str(good), quant, tmp_path / f"{quant}.gguf")["file"]))
    found = verify(path, good)
    assert found["verdict"] == "ship", found
    assert found["quant.types"].case == ("smaller-blocks" if quant == "Q4_K_M" else "pass")
    assert found["quant.stops"].verdict == "warn"  # it rambles, as its model does


def test_a_shorter_context(verify: Verify, good: Path, file: Path, tmp_path: Path) -> None:
    path = tmp_path / "short.gguf"
    path.write_bytes(file.read_bytes())
    rewrite_gguf(path, {"llama.context_length": 512})
    gate = verify(path, good, only=("gguf.equivalent",))["gguf.equivalent"]
    assert (gate.verdict, gate.case) == ("refuse", "shorter")


def test_the_template_is_blamed_for_what_it_does(verify: Verify, good: Path, file: Path, tmp_path: Path) -> None:
    path = tmp_path / "other.gguf"
    path.write_bytes(file.read_bytes())
    template = (good / "chat_template.jinja").read_text()
    rewrite_gguf(path, {"tokenizer.chat_template": template.replace("<|im_start|>assistant", "<|im_start|>Assistant")})
    found = verify(path, good, only=("gguf.tokens", "gguf.template"))
    assert (found["gguf.tokens"].verdict, found["gguf.template"].verdict) == ("pass", "refuse")
    assert "Assistant" in found["gguf.template"].evidence[0]


def test_advice_names_what_keeps_more() -> None:
    assert [larger_than(quant) for quant in ("Q2_K", "Q5_K_M", "Q8_0", "F16")] == ["Q3_K_M", "Q6_K", "F16", "F16"]


def test_one_table_of_types() -> None:
    """The largest first; what a recipe may ask for is what is made."""
    assert get_args(Quant) == QUANTS
    for larger, smaller in pairwise(FILE_TYPES):
        assert larger.bits >= smaller.bits and larger.usual_kld <= smaller.usual_kld
    assert len({type.number for type in FILE_TYPES}) == len(FILE_TYPES)


@pytest.mark.parametrize(("template", "verdict"), [(None, "warn"), (RAW, "pass")])
def test_who_writes_the_bos(template: str | None, verdict: str) -> None:
    """Without a template it is Kitae that begins with one, and nobody else will."""
    job = SimpleNamespace(target=SimpleNamespace(template=template))
    seen: Any = SimpleNamespace(facts={"bos": 1, "adds_bos": True}, chat_ids=[[1, 5, 6]], job=job)
    assert gguf.bos(seen).verdict == verdict
