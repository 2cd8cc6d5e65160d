"""Claims to verdicts: unknown is never free, doubt and conflict take the stricter, and what is asked for is said."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kitae.core.i18n import catalogue
from kitae.data.licences import ACTS, Act, Claim, judge, terms_of, verdict

GEMMA, LLAMA, TONGYI, OPENAI = (
    f"LicenseRef-{name}" for name in ("Gemma-Terms", "Llama-3.1", "Tongyi-Qianwen", "OpenAI-ToS-output")
)


def claims(**works: str) -> list[Claim]:
    return [Claim(f"{kind} {licence}", kind, licence) for kind, found in works.items() for licence in found.split()]


@pytest.mark.parametrize(
    ("works", "act", "strict", "loose"),
    [
        ({"model": GEMMA, "data": "CC-BY-SA-3.0"}, "publish-weights", "conflict", "ok"),
        ({"model": GEMMA, "data": "MIT"}, "publish-weights", "ok", "ok"),
        ({"model": "Apache-2.0", "data": "CC-BY-SA-3.0 CC-BY-SA-4.0"}, "publish-weights", "ok", "ok"),
        ({"data": "CC-BY-SA-4.0 CC-BY-NC-SA-4.0"}, "publish-data", "conflict", "conflict"),
        ({"model": "Apache-2.0", "data": "CC-BY-NC-4.0"}, "commercial", "conflict", "conflict"),
        ({"model": "Apache-2.0", "data": "CC-BY-NC-4.0"}, "publish-weights", "ok", "ok"),
        ({"model": "Apache-2.0", "outputs": LLAMA}, "publish-weights", "ok", "ok"),
        ({"model": "Apache-2.0", "outputs": TONGYI}, "private", "forbidden", "forbidden"),
        ({"model": "Apache-2.0", "outputs": OPENAI}, "publish-weights", "warn", "warn"),
        ({"data": "CC-BY-NC-ND-4.0"}, "private", "forbidden", "forbidden"),
        ({"data": "CC-BY-SA-4.0 CC-BY-NC-4.0"}, "publish-data", "conflict", "conflict"),
        ({"model": "Apache-2.0", "data": "unknown"}, "publish-weights", "block", "block"),
        ({"model": "Apache-2.0", "data": "unknown"}, "commercial", "block", "block"),
        ({"model": "Apache-2.0", "data": "unknown"}, "private", "warn", "warn"),
        ({"model": "Apache-2.0", "data": "My-Own-Licence"}, "publish-data", "block", "block"),
        ({"model": "MIT", "data": "CC0-1.0"}, "commercial", "ok", "ok"),
        ({}, "publish-weights", "block", "block"),
    ],
)
def test_verdicts(works: dict[str, str], act: Act, strict: str, loose: str) -> None:
    assert judge(claims(**works), act).outcome == strict
    assert judge(claims(**works), act, strict=False).outcome == loose


def test_the_licence_of_the_result() -> None:
    works = claims(model="Apache-2.0", data="CC-BY-SA-3.0 CC-BY-SA-4.0")
    assert judge(works, "publish-weights").licence == "CC-BY-SA-4.0"
    assert judge(works, "publish-weights", strict=False).licence == "Apache-2.0"
    assert judge(claims(model="Apache-2.0", data="CC-BY-NC-4.0"), "publish-weights").licence == "CC-BY-NC-4.0"
    assert judge(claims(data="CC-BY-SA-4.0 CC-BY-NC-SA-4.0"), "publish-data").licence is None


def test_what_must_be_shipped() -> None:
    verdict = judge(claims(model="Apache-2.0", outputs=LLAMA, data="CC-BY-4.0 CC0-1.0"), "publish-weights")
    assert verdict.name == "Llama" and any("Copyright © Meta" in notice for notice in verdict.notices)
    assert "data CC-BY-4.0" in verdict.attribution and "data CC0-1.0" not in verdict.attribution


def test_several_claims_of_one_work_all_count() -> None:
    """Also those that somebody doubts; and the reasons name each."""
    works = [Claim("UltraChat", "data", licence) for licence in ("MIT", "CC-BY-NC-4.0?", OPENAI)]
    verdict = judge(works, "commercial")
    assert verdict.outcome == "conflict"
    assert {licence for _, _, licence in verdict.reasons} >= {"CC-BY-NC-4.0", OPENAI}


@pytest.mark.parametrize("name", ["cc by-sa 4.0", "CC-BY-SA-4.0", "cc-by-sa-4.0"])
def test_spellings(name: str) -> None:
    found = terms_of(name)
    assert found is not None and found.id == "CC-BY-SA-4.0"


def test_no_name_means_two_licences() -> None:
    for act in ACTS:
        assert judge(claims(data="cc-by-nc"), act).outcome == ("conflict" if act == "commercial" else "ok")
    assert terms_of("cc-by-nc-sa-4.0") != terms_of("cc-by-nc-4.0") and terms_of("free") is None and terms_of("") is None
    for said in ("CC BY 4.0 非商用", "MIT 以外", "GPL-3.0+", "not MIT"):
        assert terms_of(said) is None


def test_every_reason_has_its_sentence() -> None:
    source = Path(verdict.__file__).read_text(encoding="utf-8")
    said = set(re.findall(r'case\.add\([^\n]*?, "([a-z-]+)", claim', source)) | {"unknown", "no-terms"}
    assert {f"licence.because.{reason}" for reason in said} == {
        key for key in catalogue() if key.startswith("licence.because.")
    }


def test_conditions_add_up() -> None:
    verdict = judge(claims(model=GEMMA, data="CC-BY-NC-4.0"), "publish-weights")
    assert verdict.licence == f"{GEMMA} + CC-BY-NC-4.0" and "stays-non-commercial" in [key for key, _, _ in verdict.reasons]
    both = judge(claims(model="LicenseRef-Qwen", outputs=LLAMA), "publish-weights")
    assert both.name == "Built with Qwen / Llama" and LLAMA in str(both.licence)
    assert judge(claims(model=GEMMA, data="MIT"), "publish-data").licence == "MIT"


def test_a_name_that_nobody_knows_is_told_from_none() -> None:
    for licence, reason in (("FooBar", "no-terms"), ("unknown", "unknown"), ("", "unknown")):
        verdict = judge(claims(data=licence), "publish-data")
        assert verdict.outcome == "block" and [key for key, _, _ in verdict.reasons] == [reason]
