"""The official JSON Schema suite, out of the sources of the jsonschema package: no grammar lets through what is invalid."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from kitae.core.errors import BadConstraint, KitaeError
from kitae.generate.constraints import Constraint, Grammars, Matcher
from kitae.generate.constraints.values import supported

DRAFTS = {
    "draft2020-12": "https://json-schema.org/draft/2020-12/schema",
    "draft2019-09": "https://json-schema.org/draft/2019-09/schema",
    "draft7": "http://json-schema.org/draft-07/schema#",
    "draft6": "http://json-schema.org/draft-06/schema#",
}
# Of valid values: another order of properties, whole numbers with a decimal point, rarer forms of dates.
MOST_LEFT_OUT = 0.09
STOP = 2
Group = dict[str, Any]


@pytest.fixture(scope="module")
def suite() -> Path:
    """Downloaded once, and kept with what else tests keep."""
    wanted = f"jsonschema-{version('jsonschema')}"
    archive = Path(os.environ["KITAE_CACHE"]) / f"{wanted}.tar.gz"
    if not archive.exists():
        archive.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", "jsonschema"]
        try:
            subprocess.run(
                [*command, "--dest", archive.parent, wanted.replace("-", "==")], timeout=120, check=True, capture_output=True
            )
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
            pytest.skip("the suite could not be downloaded")
    return archive


def groups(archive: Path, draft: str) -> Iterator[Group]:
    with tarfile.open(archive) as files:
        for member in files:
            if f"/json/tests/{draft}/" in member.name and member.name.endswith(".json"):
                content = files.extractfile(member)
                assert content is not None
                for group in json.load(content):
                    yield {**group, "file": member.name.partition(f"{draft}/")[2]}


def accepted(matcher: Matcher, tokens: list[int]) -> bool:
    try:
        for token in tokens:
            matcher.accept(token)
        return bool(matcher.allowed()[STOP])
    except KitaeError:
        return False


@pytest.mark.slow(10)
@pytest.mark.parametrize("draft", DRAFTS)
def test_nothing_invalid_is_let_through(suite: Path, draft: str, codec: Any) -> None:
    grammars = Grammars(codec.vocabulary, [STOP])
    used = valid = 0
    through: list[tuple[str, str, object]] = []
    left_out: list[tuple[str, str, object]] = []
    kept_to: set[str] = set()
    for group in groups(suite, draft):
        schema = group["schema"]
        if isinstance(schema, dict):
            schema = {"$schema": DRAFTS[draft], **schema}
        try:
            matcher = grammars.begin(Constraint("json_schema", json.dumps(schema)))
        except BadConstraint:
            continue
        used += 1
        kept_to |= set(schema) if isinstance(schema, dict) else set()
        for test in group["tests"]:
            text = json.dumps(test["data"], ensure_ascii=False)
            good = accepted(matcher.fork(), codec.vocabulary.encode(text, parse_control=False))
            case = (group["file"], test["description"], test["data"])
            if good and not test["valid"]:
                through.append(case)
            # In this file formats say nothing; here they do.
            if test["valid"] and group["file"] != "format.json":
                valid += 1
                left_out += [] if good else [case]
    assert through == []
    assert used > 150 and len(left_out) < MOST_LEFT_OUT * valid, left_out
    if draft == "draft2020-12":
        assert set(supported()["keywords"]) <= kept_to
