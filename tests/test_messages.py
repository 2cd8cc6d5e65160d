"""Every sentence exists in both languages, fits where it is used, and is used somewhere."""

from __future__ import annotations

import ast
import re
import string
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import get_args

import pytest

import kitae
from kitae.core import errors
from kitae.core.i18n import LANGUAGES, catalogue, language, set_language, t
from kitae.curate.selecting import _REASONS
from kitae.curate.synth.grow import Ended
from kitae.data.catalogue import catalogue as data_sets
from kitae.recipe.wrong import KINDS
from kitae.verify.gate import Outcome
from kitae.verify.registry import GATES

SOURCE = Path(kitae.__file__).parent
TREES = {path.relative_to(SOURCE).as_posix(): ast.parse(path.read_text(encoding="utf-8")) for path in SOURCE.rglob("*.py")}
ERRORS = {name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, errors.KitaeError)}
# Keys that are put together from values that only exist while the program runs.
COMPUTED = {
    *(f"report.{outcome}" for outcome in get_args(Outcome)),
    *(f"report.verdict.{verdict}" for verdict in ("ship", "refuse", "incomplete")),
    *(f"runs.{column}" for column in ("run", "began", "method", "state", "exact_match", "verdict")),
    *(f"report.{column}" for column in ("form", "exact", "stops", "speed")),
    *(f"error.refused-{kind}.{part}" for kind in ("gate", "incomplete") for part in ("message", "fix")),
    *("say.over-patience", "say.over-perplexity"),
    *(f"compare.{name}" for name in ("validation_loss", "parameters", "learned", "tokens_per_second", "seconds", "memory_mb")),
    *(f"compare.{name}" for name in ("bits_per_byte", "share")),
    *(f"rate.{kind}" for kind in ("adapter", "whole", "new", "dpo", "soft-prompt")),
    *(f"error.recipe.{part}" for part in ("message", "fix")),
    *(key for key in catalogue() if key.startswith("finding.")),  # tests/data/test_rules.py looks for each kind
    *(key for key in catalogue() if key.startswith("licence.because.")),  # and tests/data/test_licences.py for each reason
    *(f"data.done.{done}" for done in ("rejected", "repaired", "noticed")),
    *(f"data.length.{name}" for name in ("tokens", "learned", "asked", "answered", "turns")),
    *(
        f"data.report.{name}"
        for name in ["title", "in", "kept", "rejected", "repaired", "where", "evidence", "kind", "gate", "rows", "again"]
    ),
    *(f"data.report.{name}" for name in ["examples", "sources", "lengths", "languages"]),
    *(f"catalogue.{name}" for name in data_sets()),
    *(f"select.left-out.{reason}" for reason in _REASONS),
    *(f"recipe.wrong.{kind}" for kind in KINDS.values()),
    *(f"synth.ended.{ended}" for ended in get_args(Ended)),
    *(key for key in catalogue() if key.startswith("synth.because.")),  # tests/data/test_synth.py looks for each
}


def name_of(call: ast.Call) -> str:
    return call.func.id if isinstance(call.func, ast.Name) else call.func.attr if isinstance(call.func, ast.Attribute) else ""


def constants(node: ast.expr | None) -> list[str]:
    """The texts that an expression may be, as far as it says so itself."""
    if isinstance(node, ast.IfExp):
        return constants(node.body) + constants(node.orelse)
    return [node.value] if isinstance(node, ast.Constant) and isinstance(node.value, str) else []


def calls(tree: ast.AST) -> Iterator[ast.Call]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def fields_of(call: ast.Call) -> set[str] | None:
    """The keywords of a call; None where it passes on a mapping."""
    names = [keyword.arg for keyword in call.keywords]
    return None if None in names else {name for name in names if name}


class Gates:
    """Which gates a call makes: `gate` may be a literal, a local name, or a parameter that callers fill."""

    def __init__(self) -> None:
        self.functions = [
            node
            for path, tree in TREES.items()
            if path.startswith("verify/") and path != "verify/gate.py"
            for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef)
        ]

    def made(self) -> Iterator[tuple[str, str, str, set[str]]]:
        """(outcome, gate, case, fields)"""
        for function in self.functions:
            for call in calls(function):
                outcome = name_of(call)
                if outcome == "with_missing":
                    yield from (("skipped", "?", case, set()) for case in constants(call.args[2]))
                if outcome in ("refused", "warned", "passed", "skipped", "build"):
                    cases = ["pass"] if outcome == "passed" else constants(call.args[1])
                    assert cases, ast.unparse(call)
                    ids = self.ids(call.args[0], function) or (["?"] if outcome == "skipped" else [])
                    assert ids, ast.unparse(call)
                    for gate, case in product(ids, cases):
                        yield outcome, gate, case, fields_of(call) or set()

    def ids(self, node: ast.expr, function: ast.FunctionDef) -> list[str]:
        if found := constants(node):
            return found
        if isinstance(node, ast.JoinedStr):
            parts = [
                self.ids(part.value, function) if isinstance(part, ast.FormattedValue) else constants(part)
                for part in node.values
                if isinstance(part, (ast.Constant, ast.FormattedValue))
            ]
            return ["".join(texts) for texts in product(*parts)]
        if not isinstance(node, ast.Name):
            return []
        for assign in (n for n in ast.walk(function) if isinstance(n, ast.Assign)):
            target, value = assign.targets[0], assign.value
            if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
                for part, given in zip(target.elts, value.elts, strict=True):
                    if isinstance(part, ast.Name) and part.id == node.id:
                        return constants(given)
            elif isinstance(target, ast.Name) and target.id == node.id:
                return constants(value)
        parameters = [a.arg for a in function.args.args if a.arg != "self"]
        if node.id not in parameters:
            return []
        at = parameters.index(node.id)
        return [
            gate
            for caller in self.functions
            for call in calls(caller)
            if name_of(call) == function.name and len(call.args) > at and caller is not function
            for gate in self.ids(call.args[at], caller)
        ]


def uses() -> Iterator[tuple[str, set[str] | None, str]]:
    """(key, fields that it gets, where) of every use in the source."""
    for path, tree in TREES.items():
        for call in calls(tree):
            name, first = name_of(call), constants(call.args[0] if call.args else None)
            where = f"{path}:{call.lineno}"
            fields = fields_of(call)
            for text in first:
                if name == "t":
                    yield text, fields, where
                elif name in ERRORS:
                    # An error keeps its reason apart from its sentences.
                    known = (
                        None if fields is None else fields - {"why"} | {"where"} | ({"gates"} if name == "Refused" else set())
                    )
                    yield f"error.{text}.message", known, where
                    yield f"error.{text}.fix", known, where
                elif name == "note" and path == "recipe/starter.py":
                    yield f"recipe.note.{text}", set(), where
                elif name == "say" and path == "ship/report.py":
                    yield f"report.{text}", set(), where
    for outcome, gate, case, fields in Gates().made():
        if outcome == "skipped":
            yield f"gate.skip.{case}", fields, gate
            continue
        yield f"gate.{gate}.{case}.why", fields, gate
        if outcome != "passed":
            yield f"gate.{gate}.{case}.fix", fields, gate


def placeholders(sentence: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(sentence) if name is not None}


USES = list(uses())


def test_the_search_finds_uses() -> None:
    assert len({key for key, _, _ in USES}) > 200
    assert {gate for _, gate, _, _ in Gates().made()} >= set(GATES)


def test_every_used_key_exists() -> None:
    assert [(key, where) for key, _, where in USES if key not in catalogue()] == []
    assert set(catalogue()) >= COMPUTED


def test_every_key_is_used() -> None:
    assert sorted(set(catalogue()) - {key for key, _, _ in USES} - COMPUTED) == []


def test_every_sentence_gets_what_it_names() -> None:
    lacking = [
        (key, where, placeholders(catalogue()[key]["en"]) - fields)
        for key, fields, where in USES
        if fields is not None and key in catalogue() and not placeholders(catalogue()[key]["en"]) <= fields
    ]
    assert lacking == []


@pytest.mark.parametrize("key", sorted(catalogue()))
def test_both_languages(key: str) -> None:
    entry = catalogue()[key]
    assert set(entry) == set(LANGUAGES)
    assert all(sentence.strip() for sentence in entry.values())
    assert placeholders(entry["en"]) == placeholders(entry["ja"])


def test_no_key_stands_in_two_files() -> None:
    files = sorted((SOURCE / "core/messages").glob("*.json"))
    keys = re.findall(r'^  "([^"]+)": \{', "\n".join(path.read_text(encoding="utf-8") for path in files), re.MULTILINE)
    assert len(keys) == len(set(keys)) == len(catalogue())


@pytest.mark.parametrize(
    ("flag", "variables", "expected"),
    [
        (None, {}, "en"),
        (None, {"LANG": "ja_JP.UTF-8"}, "ja"),
        (None, {"LANG": "de_DE.UTF-8"}, "en"),
        (None, {"LANG": "C.UTF-8"}, "en"),
        (None, {"LANG": "en_GB", "LC_ALL": "ja_JP"}, "ja"),
        (None, {"LANG": "ja_JP", "KITAE_LANG": "en"}, "en"),
        ("ja", {"KITAE_LANG": "en", "LANG": "en_US"}, "ja"),
        ("xx", {"KITAE_LANG": "ja"}, "ja"),
    ],
)
def test_the_language_is_chosen(
    monkeypatch: pytest.MonkeyPatch, flag: str | None, variables: dict[str, str], expected: str
) -> None:
    for name in ("KITAE_LANG", "LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    set_language(flag)
    try:
        assert language() == expected
        assert t("report.gates") == catalogue()["report.gates"][expected]
    finally:
        set_language(None)


def test_a_missing_key_fails_loudly() -> None:
    with pytest.raises(KeyError):
        t("no.such.key")
