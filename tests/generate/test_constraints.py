"""Answers keep to what was asked for, whatever the model would rather say; what can't be kept to is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.generate.constrained import PATTERNS, Walker
from tests.generate.constraint_cases import BAD_TEXTS, CASES, JSON_CASES, REFUSED, schema
from tests.machine_speed import slowness
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from kitae.chat import HfVocabulary, Vocabulary
from kitae.core.errors import BadConstraint, KitaeError
from kitae.core.i18n import set_language
from kitae.generate.constraints import Constraint, Grammars, Kind, Matcher, first_problem
from kitae.models import LlamaModel, starter_file

STOPS = (0, 2)


@pytest.fixture(scope="module", params=["torch", "llama.cpp"])
def vocabulary(request: pytest.FixtureRequest, codec: Any) -> Vocabulary:
    return codec.vocabulary if request.param == "torch" else LlamaModel(starter_file(), vocab_only=True).vocabulary


@pytest.fixture(scope="module")
def grammars(vocabulary: Vocabulary) -> Grammars:
    return Grammars(vocabulary, STOPS)


Asked = Callable[[Constraint, str], bool]


@pytest.fixture
def fits(grammars: Grammars, vocabulary: Vocabulary) -> Asked:
    def asked(constraint: Constraint, text: str) -> bool:
        matcher = grammars.begin(constraint)
        for token in vocabulary.encode(text, parse_control=False):
            if not matcher.allowed()[token] and not matcher.accepts([token]):
                return False
            matcher.accept(token)
        return bool(matcher.allowed()[list(STOPS)].all())

    return asked


@pytest.mark.parametrize(("asked", "good", "bad"), JSON_CASES, ids=lambda value: json.dumps(value)[:60])
def test_json_keeps_to_its_schema(fits: Asked, asked: object, good: list[str], bad: list[str]) -> None:
    assert [text for text in good if not fits(schema(asked), text)] == []
    assert [text for text in bad if fits(schema(asked), text)] == []


@pytest.mark.parametrize(("constraint", "good", "bad"), CASES, ids=lambda value: str(value)[:60])
def test_texts_keep_to_their_grammar(fits: Asked, constraint: Constraint, good: list[str], bad: list[str]) -> None:
    assert [text for text in good if not fits(constraint, text)] == []
    assert [text for text in bad if fits(constraint, text)] == []


@pytest.mark.parametrize(("asked", "kind", "told"), REFUSED, ids=lambda value: json.dumps(value)[:60])
def test_what_cannot_be_enforced_is_refused_by_name(grammars: Grammars, asked: object, kind: str, told: str) -> None:
    with pytest.raises(BadConstraint) as caught:
        grammars.begin(schema(asked))
    assert caught.value.kind == kind
    assert told in f"{caught.value.message} {caught.value.where} {caught.value.why}"
    for language in ("en", "ja"):
        set_language(language)
        try:
            assert caught.value.message and caught.value.fix
        finally:
            set_language(None)


@pytest.mark.parametrize(("kind", "text", "refusal"), BAD_TEXTS, ids=lambda value: value[:40])
def test_bad_texts_are_refused(grammars: Grammars, kind: Kind, text: str, refusal: str) -> None:
    with pytest.raises(BadConstraint) as caught:
        grammars.begin(Constraint(kind, text))
    assert caught.value.kind == refusal


def test_every_stop_is_allowed_exactly_where_the_grammar_may_end(grammars: Grammars, vocabulary: Vocabulary) -> None:
    matcher = grammars.begin(Constraint("regex", "ab?"))
    logits = np.zeros(vocabulary.size + 64, np.float32)  # an embedding with rows beyond the vocabulary
    a, b = (vocabulary.encode(letter)[0] for letter in "ab")
    first = matcher.masked(logits)
    assert (logits == 0).all()
    assert first[a] == 0 and np.isneginf(first[[*STOPS, b]]).all()
    assert np.isneginf(first[vocabulary.size :]).all()
    matcher.accept(a)
    assert set(np.nonzero(matcher.masked(logits) == 0)[0]) == {*STOPS, b}
    assert not matcher.ended
    matcher.accept(b)
    assert matcher.ended
    assert set(np.nonzero(matcher.masked(logits) == 0)[0]) == set(STOPS)
    matcher.accept(STOPS[1])
    assert matcher.ended
    with pytest.raises(KitaeError):
        matcher.accept(STOPS[0])
    early = grammars.begin(Constraint("regex", "ab?"))
    early.accept(a)
    early.accept(STOPS[0])
    assert early.ended and early.fork().ended and early.accepts([b]) == 0


def test_control_tokens_are_no_text(grammars: Grammars, vocabulary: Vocabulary) -> None:
    control = sorted(vocabulary.control.values())
    for constraint in (
        Constraint("regex", r"[\s\S]*"),
        Constraint("lark", "start: <[*]>"),
        Constraint("choice", '["<|im_start|>"]'),
    ):
        allowed = grammars.begin(constraint).allowed()
        assert not allowed[[token for token in control if token not in STOPS]].any()
    matcher = grammars.begin(Constraint("choice", '["<|im_start|>"]'))
    with pytest.raises(KitaeError, match="constraint"):
        matcher.accept(vocabulary.control["<|im_start|>"])


def test_a_token_that_is_not_allowed_is_not_taken(grammars: Grammars, vocabulary: Vocabulary) -> None:
    for token in (vocabulary.encode("z")[0], STOPS[0], vocabulary.size + 3, -1):
        with pytest.raises(KitaeError) as caught:
            grammars.begin(Constraint("regex", "ab")).accept(token)
        assert caught.value.kind == "constraint-failed"


def test_a_failed_answer_does_not_go_on_without_its_grammar(grammars: Grammars, vocabulary: Vocabulary) -> None:
    matcher = grammars.begin(Constraint("regex", "ab"))
    with pytest.raises(KitaeError):
        matcher.accept(vocabulary.encode("z")[0])
    for _ in range(2):
        with pytest.raises(KitaeError) as caught:
            matcher.masked(np.zeros(vocabulary.size, np.float32))
        assert caught.value.kind == "constraint-failed" and caught.value.why != "no token can follow"
    assert not matcher.ended


def test_drafts_are_counted_without_being_taken(grammars: Grammars, vocabulary: Vocabulary) -> None:
    matcher = grammars.begin(Constraint("regex", "(ab){2}"))
    a, b = (vocabulary.encode(letter)[0] for letter in "ab")
    stop = STOPS[1]
    drafts = [
        ([a, b, a, b], 4),
        ([a, b, a, b, stop], 5),
        ([a, b, stop], 2),
        ([a, a], 1),
        ([b], 0),
        ([], 0),
        ([stop], 0),
        ([-1], 0),
    ]
    for _ in range(2):
        assert [matcher.accepts(draft) for draft, _ in drafts] == [count for _, count in drafts]
    matcher.accept(a)
    assert matcher.accepts([b, a, b, stop, stop]) == 4


def test_a_fork_goes_its_own_way(grammars: Grammars, vocabulary: Vocabulary) -> None:
    a, b, c = (vocabulary.encode(letter)[0] for letter in "abc")
    first = grammars.begin(Constraint("regex", "a(b|c)b"))
    first.accept(a)
    other = first.fork()
    first.accept(b)
    other.accept(c)
    assert first.accepts([b]) == other.accepts([b]) == 1
    other.accept(b)
    assert other.ended and not first.ended


def test_what_must_follow_is_cut_as_the_tokenizer_cuts_it(grammars: Grammars, vocabulary: Vocabulary) -> None:
    text = '{"temperature":'
    matcher = grammars.begin(
        schema({"type": "object", "properties": {"temperature": {"type": "null"}}, "required": ["temperature"]})
    )
    for token in vocabulary.encode(text, parse_control=False)[:-1]:
        allowed = matcher.allowed()
        assert allowed[token]
        matcher.accept(token)


def with_spaces_before() -> HfVocabulary:
    """As SentencePiece cuts texts: with a space before them. Some bytes have two tokens."""
    letters = [chr(code) for code in range(33, 127)]
    texts = ["</s>", *letters, "\u2581", *(f"<0x{code:02X}>" for code in range(256)), "na", "\u2581{", '"n']
    tokenizer = Tokenizer(
        models.BPE({text: number for number, text in enumerate(texts)}, [("n", "a"), ("\u2581", "{"), ('"', "n")])
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()])
    return HfVocabulary(PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>"))


def test_a_tokenizer_that_puts_a_space_before_everything() -> None:
    vocabulary = with_spaces_before()
    walker, chance = Walker(vocabulary, 0), np.random.default_rng(0)
    asked = {
        "type": "object",
        "properties": {"name": {"enum": ["Ada", "Bob"]}},
        "required": ["name"],
        "additionalProperties": False,
    }
    grammars = Grammars(vocabulary, [0])
    said = {walker.said(grammars.begin(schema(asked)), chance) for _ in range(20)}
    assert {json.loads(text)["name"] for text in said if text is not None} == {"Ada", "Bob"}
    assert None not in said
    allowed = grammars.begin(Constraint("regex", "n|a")).allowed()
    assert {token for token in range(vocabulary.size) if allowed[token]} == {
        number for number, text in enumerate(walker.pieces) if text in (b"n", b"a")
    }


def test_several_threads_may_ask(vocabulary: Vocabulary) -> None:
    grammars = Grammars(vocabulary, STOPS)

    def walked(number: int) -> int:
        matcher: Matcher = grammars.begin(schema({"enum": [f"value {number % 7}"]}))
        for token in vocabulary.encode(f'"value {number % 7}"'):
            assert matcher.accepts([token])
            matcher.accept(token)
        return int(matcher.ended)

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(walked, range(200))) == 200


def test_constraints_without_end_are_not_all_kept(vocabulary: Vocabulary) -> None:
    grammars = Grammars(vocabulary, STOPS)
    for number in range(100):
        grammars.begin(Constraint("regex", f"a{{{number + 1}}}"))
    assert len(grammars._kept) == 64


def test_patterns_of_the_walks_are_read(grammars: Grammars) -> None:
    for pattern in PATTERNS:
        grammars.begin(schema({"type": "string", "pattern": pattern}))


@pytest.mark.parametrize(
    ("text", "asked", "problem"),
    [
        ('{"a": 1}', {"required": ["a"]}, None),
        ("{", {}, "1 column 2"),
        ('{"a": [1, 1]}', {"properties": {"a": {"uniqueItems": True}}}, "/a: "),
        ("3", {"not": {"type": "integer"}}, "3"),
        ('"x"', {"format": "ipv4"}, "ipv4"),
        ("1e999", {"type": "number"}, "1e999"),
    ],
)
def test_finished_texts_are_checked(text: str, asked: object, problem: str | None) -> None:
    found = first_problem(text, json.dumps(asked))
    assert found is None if problem is None else found is not None and problem in found


@pytest.mark.parametrize("asked", [{"type": "text"}, {"$ref": "http://127.0.0.1:9/x"}, {"format": "no-such-format"}])
def test_a_schema_that_cannot_be_checked_is_refused(asked: object) -> None:
    with pytest.raises(BadConstraint):
        first_problem("1", json.dumps(asked))


@pytest.mark.slow(25)
def test_nothing_that_is_asked_ends_the_process(starter: Path) -> None:
    """In a process of its own, with little memory: llguidance is not Python, and when it fails, everything is gone."""
    program = Path(__file__).with_name("hostile_constraints.py")
    seconds = 12 * slowness()
    done = subprocess.run(
        [sys.executable, program, starter, str(seconds), "25"],
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    counts = json.loads(done.stdout)
    assert counts["matchers"] > 40 and counts["refused"] > 150
