"""Servers that serve what was proven, or something else: a real llama-server, and one that is made to fail."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from kitae.chat import ChatCodec, Conversation
from kitae.cli.main import run as command
from kitae.core.console import console
from kitae.core.errors import KitaeError
from kitae.core.files import write_text
from kitae.data import Rows
from kitae.models import light_codec, open_codec
from kitae.recipe import load_recipe, recipe_yaml
from kitae.runs import Run, create_run
from kitae.ship import to_gguf
from kitae.verify import Gate, endpoint as comparing, observe as observing, parting, verify_endpoint
from kitae.verify.compare import tie_within
from tests.llama_server import llama_server
from tests.openai_server import Answer, Endpoint, endpoint

from ..conftest import Tiny
from ..journeys.breaking import rewrite_gguf

pytestmark = pytest.mark.slow(25)

WORDS = ("It", " is", " a", " good", " time", ".")
ANSWER = "".join(WORDS)
END = "<|im_end|>"
ROWS = "".join(json.dumps({"prompt": f"say {i}", "completion": ANSWER}) + "\n" for i in range(12))


@pytest.fixture(scope="session")
def says(tiny_llama: Tiny) -> Callable[[Path, Mapping[str, Mapping[str, float]]], Path]:
    """A model in which each token is followed by what a table says, and how surely: an answer that is known beforehand."""
    made = tiny_llama(tokens=4096, tie_word_embeddings=False)
    tensors = load_file(made / "model.safetensors")
    for name in tensors:
        if "o_proj" in name or "down_proj" in name:
            tensors[name].zero_()
    codec = open_codec(made)

    def make(folder: Path, follows: Mapping[str, Mapping[str, float]]) -> Path:
        shutil.copytree(made, folder)
        own = {name: tensor.clone() for name, tensor in tensors.items()}
        own["lm_head.weight"].zero_()
        for place, (before, nexts) in enumerate(follows.items()):
            own["model.embed_tokens.weight"][_id(codec, before)] = 0.0
            own["model.embed_tokens.weight"][_id(codec, before), place] = 1.0
            for after, weight in nexts.items():
                own["lm_head.weight"][_id(codec, after), place] = weight
        save_file(own, folder / "model.safetensors", metadata={"format": "pt"})
        return folder

    return make


def _id(codec: ChatCodec, text: str) -> int:
    return codec.vocabulary.encode(text)[-1]


def chain(words: tuple[str, ...] = WORDS) -> dict[str, dict[str, float]]:
    return {before: {after: 2.0} for before, after in zip(("\n", *words, END), (*words, END, words[0]), strict=True)}


@pytest.fixture(scope="session")
def folder(says: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(says(tmp_path_factory.mktemp("served") / "model", chain()))


@pytest.fixture(scope="session")
def file(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return to_gguf(folder, tmp_path_factory.mktemp("served") / "good-F16.gguf")


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """The proven model is asked in this process, and nothing waits for long."""

    def observe(job: observing.Job, folder: Path) -> observing.Observation:
        folder.mkdir(parents=True, exist_ok=True)
        return observing._look(job, folder)

    for module in (comparing, parting):
        monkeypatch.setattr(module, "observe", observe)
    monkeypatch.setattr("kitae.ask.endpoint._PAUSE", 0.01)
    monkeypatch.setattr(console, "quiet", False)  # as it was before a command is told to be


def gates(url: str, against: Path | str, only: tuple[str, ...] = ()) -> dict[str, Gate]:
    verdict = verify_endpoint(url, str(against), only)
    return {gate.id: gate for gate in verdict.gates} | {"verdict": verdict.verdict}  # type: ignore[dict-item]


def outcomes(found: Mapping[str, Gate]) -> dict[str, str]:
    return {name.removeprefix("endpoint."): gate.case for name, gate in found.items() if name != "verdict"}


GOOD = {"template": "pass", "control-text": "parsed", "stops": "pass", "answers": "pass", "sampling": "pass"}


# A real llama-server


def test_the_proven_file(file: Path) -> None:
    with llama_server(file) as url:
        found = gates(url, file)
    assert found["verdict"] == "ship" and outcomes(found) == GOOD
    assert found["endpoint.template"].evidence == ["4 / 4 conversations counted alike, 4 shown alike"]
    assert found["endpoint.answers"].measured["equal"] == 12  # type: ignore[index]


def test_another_template(file: Path) -> None:
    with llama_server(file, chat_template="vicuna", use_jinja=False) as url:
        found = gates(url, file)
    assert found["verdict"] == "refuse"
    gate = found["endpoint.template"]
    assert (gate.verdict, gate.case) == ("refuse", "differ")
    assert "USER: And 2 + 2?" in gate.evidence[0] and "<|im_start|>system" in gate.evidence[0] and " ≠ " in gate.evidence[0]
    assert found["endpoint.answers"].verdict == "refuse"


def test_one_word_of_the_template(file: Path, tmp_path: Path) -> None:
    """As many tokens, so that counting them shows nothing."""
    path = tmp_path / "other.gguf"
    shutil.copyfile(file, path)
    codec = light_codec(str(file))
    assert codec is not None
    rewrite_gguf(path, {"tokenizer.chat_template": codec.template.source.replace("helpful", "useful")})
    with llama_server(path) as url:
        gate = gates(url, file, ("endpoint.template",))["endpoint.template"]
    assert gate.case == "differ" and "useful" in gate.evidence[0] and "helpful" in gate.evidence[0]


def test_a_terminator_that_ends_nothing(file: Path, tmp_path: Path) -> None:
    """The same token, of another name, so that llama.cpp doesn't know it for an end."""
    path = tmp_path / "endless.gguf"
    shutil.copyfile(file, path)
    codec = light_codec(str(file))
    assert codec is not None
    texts = [codec.vocabulary.token_text(i) for i in range(codec.vocabulary.size)]  # type: ignore[attr-defined]
    renamed = {
        "tokenizer.ggml.tokens": ["<|IM_END|>" if text == END else text for text in texts],
        "tokenizer.chat_template": codec.template.source.replace(END, "<|IM_END|>"),
        "tokenizer.ggml.eos_token_id": 0,
    }
    rewrite_gguf(path, renamed)
    with llama_server(path) as url:
        found = gates(url, file)
    gate = found["endpoint.stops"]
    assert (gate.verdict, gate.case) == ("refuse", "runs-on")
    assert gate.measured == {"proven": 1.0, "served": 0.0, "went_on": 12, "answers": 12}
    assert found["endpoint.sampling"].case == "pass"


def test_other_weights(says: Any, file: Path, tmp_path: Path) -> None:
    words = (*WORDS[:3], " long", " year", ".")
    other = to_gguf(says(tmp_path / "other", chain(words)), tmp_path / "other-F16.gguf")
    with llama_server(other) as url:
        found = gates(url, file)
    assert outcomes(found) == GOOD | {"answers": "differ"}
    gate = found["endpoint.answers"]
    assert gate.measured["different"] == 12 and ANSWER in gate.evidence[2] and "".join(words) in gate.evidence[3]  # type: ignore[index]


@pytest.mark.parametrize(("weight", "case"), [(1.998, "pass"), (1.97, "differ")])
def test_a_near_tie(says: Any, tmp_path: Path, weight: float, case: str) -> None:
    """16 nats for the proven word; the other one, which the server prefers, has 0.02 less here, or 0.24."""
    follows = chain() | {" long": {" time": 2.0}}
    ours = follows | {" a": {" good": 2.0, " long": weight}}
    theirs = follows | {" a": {" good": 2.0, " long": 2.02}}
    proven = to_gguf(says(tmp_path / "proven", ours), tmp_path / "proven-F16.gguf")
    served = to_gguf(says(tmp_path / "served", theirs), tmp_path / "served-F16.gguf")
    with llama_server(served) as url:
        found = gates(url, proven)
    assert outcomes(found) == GOOD | {"answers": case}
    assert found["endpoint.answers"].measured["tied"] == (12 if case == "pass" else 0)  # type: ignore[index]


def test_ties_follow_what_the_proof_allows() -> None:
    assert tie_within(1e-4) == 0.03 and 0.89 < tie_within(0.1) < 0.9


@pytest.fixture
def run(folder: Path, file: Path, tmp_path: Path) -> Run:
    (tmp_path / "rows.jsonl").write_text(ROWS)
    (tmp_path / "more.jsonl").write_text(ROWS.replace("say", "tell"))
    (tmp_path / "last.jsonl").write_text(ROWS.replace("say", "repeat"))
    parts = {"train": "rows", "validation": "more", "test": "last"}
    data = json.dumps({part: [{"path": f"{name}.jsonl"}] for part, name in parts.items()})
    asked = "{suites: [exact_match], prompts: 12}"
    (tmp_path / "recipe.yaml").write_text(f"name: served\nmodel: {{source: {folder}}}\ndata: {data}\nevaluate: {asked}\n")
    recipe = load_recipe(tmp_path / "recipe.yaml")
    made = create_run("served", "")
    write_text(made.recipe_path, recipe_yaml(recipe))
    write_text(made.path / "manifest.json", json.dumps({"model": {"folder": str(folder)}}))
    Rows.gather(recipe.data.train, recipe.data.validation, recipe.data.test, 0).save(made.data)
    made.ship.mkdir()
    shutil.copyfile(file, made.ship / "served-F16.gguf")
    return made


def test_the_command(run: Run, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["verify", "--against", run.id, "--quiet"]
    smaller = run.ship / "served-Q8_0.gguf"  # it would be taken, if the server didn't name the other one
    smaller.write_bytes(b"no model")
    with llama_server(run.ship / "served-F16.gguf") as url:
        assert command([*asked, "--endpoint", url.removeprefix("http://"), "--json"]) == 0
        value = json.loads(capsys.readouterr().out)
        assert value["verdict"] == "ship" and value["gates"][3]["measured"]["answers"] == 12
        assert command([*asked, "--endpoint", f"{url}/v1", "--only", "endpoint.template"]) == 0
        assert "endpoint.template" in (said := capsys.readouterr().out) and "endpoint.stops" not in said
    smaller.unlink()
    with llama_server(file, chat_template="vicuna", use_jinja=False) as url:
        assert command([*asked, "--endpoint", url]) == 3
    out, err = capsys.readouterr()
    assert "✗ endpoint.template" in out and "exact match 12 → 0 of 12" in out and not err


@pytest.mark.parametrize("arguments", [[], ["some", "--endpoint", "localhost:1"], ["--endpoint", "localhost:1"]])
def test_what_to_verify(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["verify", *arguments]) == 2
    assert "--endpoint URL --against RUN" in capsys.readouterr().err


# One that is made to fail


class Server:
    """Answers rightly, but for what a test changes."""

    def __init__(self, server: Endpoint, codec: ChatCodec) -> None:
        self._codec, self.server = codec, server
        server.says = self.says
        self.change: Callable[[dict[str, Any], Answer], Answer] = lambda body, answer: answer
        self.counts: int | None = 0  # tokens more than there are; None: it says nothing of them

    @property
    def url(self) -> str:
        return f"{self.server.url}#m"

    def says(self, body: dict[str, Any], number: int) -> Answer:
        if "max_tokens" not in body:
            return Answer("no such route", 404)
        text, finish = (WORDS[0], "length") if body["max_tokens"] == 1 else (ANSWER, "stop")
        for stop in body.get("stop", []):
            text = text.partition(stop)[0]
        answer = self.change(body, Answer(text, finish=finish))
        if answer.status != 200 or answer.raw is not None:
            return answer
        choice = {"message": {"content": answer.text}, "finish_reason": answer.finish}
        count = len(self._codec.prompt(Conversation.of(body["messages"]).messages)) + (self.counts or 0)
        said = len(WORDS) + 1 if len(answer.text or "") > 5 else 1
        usage = {"prompt_tokens": count, "completion_tokens": said}
        return Answer(raw=json.dumps({"choices": [choice], "usage": usage if self.counts is not None else None}).encode())


@pytest.fixture
def fake(file: Path) -> Iterator[Server]:
    codec = light_codec(str(file))
    assert codec is not None
    with endpoint(lambda body, number: Answer()) as server:
        yield Server(server, codec)


def test_a_server_that_speaks_as_it_should(fake: Server, file: Path) -> None:
    found = gates(fake.url, file)
    assert found["verdict"] == "ship" and outcomes(found) == GOOD | {"control-text": "pass"}


def test_one_that_counts_nothing(fake: Server, file: Path) -> None:
    fake.counts = None
    found = gates(fake.url, file)
    assert found["verdict"] == "incomplete"
    assert outcomes(found) == GOOD | {"template": "no-usage", "control-text": "no-usage"}


def test_a_second_bos(fake: Server, file: Path) -> None:
    fake.counts = 1
    assert outcomes(gates(fake.url, file)) == GOOD | {"template": "one-more", "control-text": "pass"}


def long(body: dict[str, Any]) -> bool:
    return bool(body["max_tokens"] > 1 and "stop" not in body)


SEEN = [0]


def other_each_time(body: dict[str, Any], answer: Answer) -> Answer:
    SEEN[0] += 1
    return Answer(f"{ANSWER} {SEEN[0]}") if long(body) else answer


BROKEN: dict[str, tuple[Callable[[dict[str, Any], Answer], Answer], dict[str, str]]] = {
    "leaks": (
        lambda body, answer: Answer(f"{answer.text}{END}") if long(body) else answer,
        {"stops": "leaks", "answers": "differ"},
    ),
    "cut": (lambda body, answer: Answer(ANSWER[:5]) if long(body) else answer, {"stops": "cut", "answers": "differ"}),
    "runs-on": (
        lambda body, answer: Answer(f"{ANSWER} user", finish="length") if long(body) else answer,
        {"stops": "runs-on", "answers": "differ"},
    ),
    "cut-off": (lambda body, answer: Answer(answer.text, finish="length"), {"stops": "runs-on", "sampling": "not-stopped"}),
    "max_tokens": (lambda body, answer: Answer(ANSWER) if body["max_tokens"] == 1 else answer, {"sampling": "not-short"}),
    "stop": (lambda body, answer: Answer(ANSWER) if "stop" in body else answer, {"sampling": "not-stopped"}),
    "temperature": (other_each_time, {"sampling": "not-greedy", "answers": "differ", "stops": "runs-on"}),
    "seed": (
        lambda body, answer: other_each_time(body, answer) if body["temperature"] else answer,
        {"sampling": "no-seed"},
    ),
    "ends-less": (
        lambda body, answer: Answer("No, no, no", finish="length") if long(body) else answer,
        {"stops": "ends-less", "answers": "differ"},
    ),
    "one of twelve": (
        lambda body, answer: Answer("No.") if "haiku" in str(body) and long(body) else answer,
        {"answers": "some"},
    ),
    "refuses some": (
        lambda body, answer: Answer("too long", 400) if "haiku" in str(body) else answer,
        {"answers": "unanswered"},
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_each_fault_has_its_gate(fake: Server, file: Path, name: str) -> None:
    change, wanted = BROKEN[name]
    fake.change = change
    found = gates(fake.url, file)
    assert {gate: case for gate, case in outcomes(found).items() if case != "pass"} == wanted


def test_a_field_that_is_not_taken(fake: Server, file: Path) -> None:
    fake.change = lambda body, answer: Answer("unsupported field: seed", 400) if "seed" in body else answer
    gate = gates(fake.url, file)["endpoint.sampling"]
    assert (gate.verdict, gate.case, gate.measured) == ("warn", "not-taken", "seed")


def test_a_busy_server_is_waited_for(fake: Server, file: Path) -> None:
    fake.change = lambda body, answer: Answer("busy", 503) if len(fake.server.asked) % 3 == 1 else answer
    assert gates(fake.url, file)["verdict"] == "ship"


@pytest.mark.parametrize(
    ("answer", "kind", "code"),
    [
        (Answer("no key", 401), "server-key", 2),
        (Answer("no such model", 404), "server-route", 2),
        (Answer("Loading model", 503), "server-busy", 1),
        (Answer("slow down", 429, headers={"Retry-After": "0"}), "server-busy", 1),
        (Answer(raw=b"<html>"), "server-silent", 1),
    ],
)
def test_what_is_no_verdict(fake: Server, file: Path, answer: Answer, kind: str, code: int) -> None:
    fake.change = lambda body, good: answer
    with pytest.raises(KitaeError) as caught:
        gates(fake.url, file)
    assert (caught.value.kind, caught.value.exit_code) == (kind, code)
    assert caught.value.where == fake.server.url and caught.value.why and caught.value.fix


def test_nobody_there(file: Path) -> None:
    with endpoint(lambda body, number: Answer()) as server:
        url = server.url
    with pytest.raises(KitaeError) as caught:
        gates(url, file)
    assert caught.value.kind == "server-silent" and "refused" in caught.value.why


@pytest.mark.parametrize(
    ("models", "named", "wanted"),
    [
        (["only"], "", "only"),
        (["a", "good-F16"], "", "good-F16"),
        (["/models/good-F16.gguf", "my-good-F16"], "", "/models/good-F16.gguf"),
        (["a", "b:latest"], "#b", "b"),
        (None, "#b", "b"),
        (["a", "b"], "", "server-models"),
        (["a", "b"], "#c", "server-model"),
        (None, "", "endpoint-model"),
    ],
)
def test_which_model(fake: Server, file: Path, models: list[str] | None, named: str, wanted: str) -> None:
    fake.server.models = models
    url = fake.server.url + named
    if "-model" in wanted:
        with pytest.raises(KitaeError) as caught:
            gates(url, file, ("endpoint.template",))
        assert caught.value.kind == wanted
        return
    gates(url, file, ("endpoint.template",))
    assert {asked["model"] for asked in fake.server.asked if "max_tokens" in asked} == {wanted}
