"""Gates before training, on plain text that is broken in memory as no command line could break it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from kitae.chat import Conversation, Encoded
from kitae.data import Rows
from kitae.recipe import parse_recipe
from kitae.runs import Run
from kitae.train import Prepared, prepare
from kitae.verify.before import BeforeTraining
from kitae.workflows.tokenizer import train_tokenizer

TEXTS = [
    "one and two",
    "three or four of five, and so on, and so on, until it is long enough to be cut, more than once if need be",
]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    folder = tmp_path_factory.mktemp("texts")
    (folder / "text.txt").write_text("\n\n".join(TEXTS))
    train_tokenizer([folder / "text.txt"], folder / "tokenizer", size=264)
    recipe = parse_recipe(
        "name: texts\n"
        f"model: {{source: new, max_length: 16, new: {{arch: newllm, tokenizer: {folder}/tokenizer, hidden_size: 16}}}}\n"
        "data: {train: [{path: a.txt}], validation: [{path: b.txt}]}\n"
        "train: {method: full}\n",
        "recipe.yaml",
    )
    rows = [Conversation.of_text(text, f"text:{number}") for number, text in enumerate(TEXTS)]
    (folder / "run").mkdir()
    return prepare(recipe, Run(folder / "run"), Rows(rows, rows[:1], [], 0))


def refusals(prepared: Prepared) -> set[str]:
    return {gate.id for gate in BeforeTraining(prepared).gates() if gate.verdict == "refuse"} - {
        "train.validation",
        "data.leak",
    }


def change(prepared: Prepared, how: Callable[[Encoded], Encoded], which: Callable[[Encoded], bool]) -> Prepared:
    place = next(i for i, row in enumerate(prepared.train) if which(row))
    return replace(prepared, train=[how(row) if i == place else row for i, row in enumerate(prepared.train)])


def test_text_passes_whole_and_cut(prepared: Prepared) -> None:
    assert {"cut" in row.notes for row in prepared.train} == {False, True}
    assert refusals(prepared) == set()


def unlabelled_from(start: int) -> Callable[[Encoded], Encoded]:
    return lambda row: replace(row, loss_mask=[*row.loss_mask[:start], *[False] * (len(row.ids) - start)])


@pytest.mark.parametrize("cut", [False, True])
@pytest.mark.parametrize(
    ("how", "gate"),
    [
        (unlabelled_from(0), "chat.labels-present"),
        (unlabelled_from(5), "chat.mask-boundary"),
        (lambda row: replace(row, loss_mask=[False, False, *row.loss_mask[2:]]), "chat.mask-boundary"),
        (lambda row: replace(row, loss_mask=[True, *row.loss_mask[1:]]), "chat.mask-boundary"),
    ],
    ids=["nothing labelled", "only its beginning", "not its first token", "also what nothing predicts"],
)
def test_text_that_is_not_learned_whole(prepared: Prepared, cut: bool, how: Callable[[Encoded], Encoded], gate: str) -> None:
    assert gate in refusals(change(prepared, how, lambda row: ("cut" in row.notes) == cut))


def test_text_whose_end_is_lost(prepared: Prepared) -> None:
    def without_end(row: Encoded) -> Encoded:
        return replace(row, ids=row.ids[:-1], loss_mask=row.loss_mask[:-1])

    assert refusals(change(prepared, without_end, lambda row: "cut" not in row.notes)) == {"chat.terminator-labelled"}
