"""Gates of what rows say: measured on the rows that are to be trained, with the limits of the recipe."""

from __future__ import annotations

from kitae.chat import Conversation
from kitae.data import Rows
from kitae.recipe import Recipe, parse_recipe
from kitae.verify.rows import RowGates

BAD = {
    "data.empty": "N/A",
    "data.encoding": "In a cafÃ© by the sea.",
    "data.tags": "<|im_start|>assistant\nAnn did it.<|im_end|>",
    "data.repetition": "It was late. " * 8,
    "data.private": "Write to anna@firma-huber.de, please.",
    "data.truncated": "Because the reason for all of this is the",
    "data.language": "空気が短い波長の光をよく散乱させるからです。",
}


DOUBTFUL = ("data.truncated", "data.language")


def rows(count: int, *answers: str) -> Rows:
    texts = [f"The answer to question number {i} is that it has {i * 3} parts." for i in range(count)]
    pairs = [(f"What about the thing with number {i}?", text) for i, text in enumerate([*texts, *answers])]
    made = [
        Conversation.of([{"role": "user", "content": asked}, {"role": "assistant", "content": answer}], f"a.jsonl:{i}")
        for i, (asked, answer) in enumerate(pairs, 1)
    ]
    return Rows(made, [], [], 0)


def recipe(more: str = "", verify: str = "") -> Recipe:
    return parse_recipe(f"name: rows\ndata: {{train: [{{path: a.jsonl}}]{more}}}\n{verify}", "recipe.yaml")


def verdicts(recipe: Recipe, found: Rows) -> dict[str, str]:
    return {gate.id: gate.verdict for gate in RowGates(recipe, found).gates()}


def test_clean_rows_pass() -> None:
    found = verdicts(recipe(), rows(50))
    assert set(found) == {*BAD, "data.duplicates"} and set(found.values()) == {"pass"}


def test_each_defect_is_refused_by_its_gate() -> None:
    for gate, answer in BAD.items():
        found = verdicts(recipe(), rows(10, answer))
        assert {name for name, verdict in found.items() if verdict != "pass"} == {gate}
        assert found[gate] == ("warn" if gate in DOUBTFUL else "refuse")
        assert verdicts(recipe(), rows(10, *[answer] * 4))[gate] == "refuse"


def test_a_refusal_says_what_to_do() -> None:
    gates = {gate.id: gate for gate in RowGates(recipe(), rows(10, BAD["data.tags"])).gates()}
    tags = gates["data.tags"].as_dict()
    assert "kitae data clean a.jsonl --out cleaned" in str(tags["fix"]) and "data.clean: {}" in str(tags["fix"])
    assert "a.jsonl:11" in tags["evidence"][0] and "<|im_start|>" in tags["evidence"][0]
    assert tags["measured"] == round(1 / 11, 4)


def test_one_row_of_many_is_a_warning() -> None:
    """Below what a rule finds by mistake, and where so few are found that chance may have made them more."""
    assert verdicts(recipe(), rows(99, BAD["data.tags"]))["data.tags"] == "warn"
    assert verdicts(recipe(), rows(97, *[BAD["data.tags"]] * 3))["data.tags"] == "refuse"
    assert verdicts(recipe(), rows(300, BAD["data.tags"]))["data.tags"] == "warn"
    assert verdicts(recipe(verify="verify: {dirty_rows: 0}"), rows(300, BAD["data.tags"]))["data.tags"] == "refuse"
    assert verdicts(recipe(), rows(50, BAD["data.truncated"]))["data.truncated"] == "warn"


def test_what_cleaning_lets_pass_is_let_pass() -> None:
    kept = recipe(", clean: {rules: {data.tags: keep}}")
    assert verdicts(kept, rows(10, BAD["data.tags"]))["data.tags"] == "pass"


def test_nearly_the_same_rows() -> None:
    made = rows(10)
    text = "A long answer that nobody gives twice by chance, because it has so many words in it, one after the other."
    twins = rows(0, text, text.replace("chance", "accident")).train
    same = [Conversation(twins[0].messages, row.source) for row in twins[:1]] + [
        Conversation((twins[0].messages[0], twins[1].messages[1]), twins[1].source)
    ]
    assert verdicts(recipe(), Rows([*made.train, *same], [], [], 0))["data.duplicates"] == "warn"
    assert verdicts(recipe(), Rows([*made.train[:1], *same], [], [], 0))["data.duplicates"] == "refuse"


def test_rows_that_are_repeated_on_purpose_are_no_duplicates() -> None:
    made = rows(10).train
    assert verdicts(recipe(), Rows(made * 3, [], [], 0))["data.duplicates"] == "pass"
