"""What clients of the OpenAI API rely on, asked of a real server."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openai import BadRequestError, NotFoundError, OpenAI

from .conftest import Served

pytestmark = pytest.mark.slow(30)


def client(server: Served) -> OpenAI:
    return OpenAI(base_url=f"{server.url}/v1", api_key=server.key or "none", max_retries=0)


def test_a_reply_has_every_key(server: Served) -> None:
    status, reply = server.chat()
    assert status == 200
    (choice,) = reply["choices"]
    assert choice["message"]["role"] == "assistant" and choice["message"]["refusal"] is None
    assert choice["logprobs"] is None and choice["finish_reason"] in ("stop", "length")
    usage = reply["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert reply["model"] == "m" and isinstance(reply["system_fingerprint"], str)


def test_a_stream_says_what_a_whole_reply_says(server: Served) -> None:
    asked = {"messages": [{"role": "user", "content": "Name three colours."}], "temperature": 0, "max_tokens": 20}
    _, whole = server.post("/v1/chat/completions", {"model": "m", **asked})
    *events, counted, done = server.events("/v1/chat/completions", {**asked, "stream_options": {"include_usage": True}})
    assert done == "[DONE]"
    assert events[0]["choices"][0]["delta"] == {"role": "assistant", "content": "", "refusal": None}
    said = "".join(event["choices"][0]["delta"].get("content", "") for event in events)
    assert said == whole["choices"][0]["message"]["content"]
    assert events[-1]["choices"][0]["finish_reason"] == whole["choices"][0]["finish_reason"]
    assert all(event["usage"] is None for event in events)
    assert counted["choices"] == [] and counted["usage"]["completion_tokens"] == whole["usage"]["completion_tokens"]


def test_the_official_client_is_content(server: Served) -> None:
    openai = client(server)
    assert [model.id for model in openai.models.list()] == ["m"]
    messages: Any = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    reply = openai.chat.completions.create(
        model="m", messages=messages, max_completion_tokens=6, n=3, seed=1, temperature=1.2, logprobs=True, top_logprobs=2
    )
    assert len({choice.message.content for choice in reply.choices}) > 1
    again = openai.chat.completions.create(model="m", messages=messages, max_completion_tokens=6, n=3, seed=1, temperature=1.2)
    assert [c.message.content for c in again.choices] == [c.message.content for c in reply.choices]
    told = reply.choices[0].logprobs
    assert told is not None and told.content is not None and len(told.content[0].top_logprobs) == 2
    assert "".join(bytes(t.bytes or []).decode("utf-8", "replace") for t in told.content).startswith(
        (reply.choices[0].message.content or "")[:3]
    )
    stream = openai.chat.completions.create(model="m", messages=messages, max_tokens=5, stream=True, logprobs=True)
    tokens = [
        t for event in stream if event.choices and event.choices[0].logprobs for t in event.choices[0].logprobs.content or []
    ]
    assert len(tokens) >= 1
    text = openai.completions.create(
        model="m", prompt=["Once", "Twice"], max_tokens=4, n=2, best_of=3, logprobs=1, temperature=1
    )
    assert [choice.index for choice in text.choices] == [0, 1, 2, 3] and text.choices[0].logprobs is not None
    answer = openai.responses.create(model="m", input="Hi", max_output_tokens=5, instructions="Be kind.")
    assert answer.output_text and answer.usage is not None and answer.usage.output_tokens <= 5
    kinds = [event.type for event in openai.responses.create(model="m", input="Hi", max_output_tokens=5, stream=True)]
    assert kinds[0] == "response.created" and kinds[-1] in ("response.completed", "response.incomplete")
    with pytest.raises(NotFoundError) as told_so:
        openai.chat.completions.create(model="gpt", messages=messages)
    assert told_so.value.code == "model_not_found" and told_so.value.param == "model"


def test_stops_are_left_out_and_end_an_answer(gguf: Served) -> None:
    _, whole = gguf.chat("Count: one, two, three", max_tokens=40)
    content = whole["choices"][0]["message"]["content"]
    stop = content[len(content) // 2 :][:3]
    _, cut = gguf.chat("Count: one, two, three", max_tokens=40, stop=[stop, "never said"])
    assert cut["choices"][0]["message"]["content"] == content[: content.index(stop)]
    assert cut["choices"][0]["finish_reason"] == "stop"


def schema(value: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "a", "schema": value}}


SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 12}, "age": {"type": "integer", "minimum": 0, "maximum": 120}},
    "required": ["name", "age"],
    "additionalProperties": False,
}


def test_a_schema_is_kept_to(gguf: Served) -> None:
    wish: Any = {"type": "json_schema", "json_schema": {"name": "person", "schema": SCHEMA, "strict": True}}
    reply = client(gguf).chat.completions.create(
        model="m", messages=[{"role": "user", "content": "Invent a person"}], response_format=wish, max_tokens=80, n=3
    )
    for choice in reply.choices:
        assert choice.finish_reason == "stop"
        found = json.loads(choice.message.content or "")
        assert set(found) == {"name", "age"} and 0 <= found["age"] <= 120


@pytest.mark.parametrize(
    ("wish", "fits"),
    [
        ({"regex": r"\d{3}-\d{4}"}, lambda text: len(text) == 8 and text[3] == "-"),
        ({"choice": ["yes", "no"]}, lambda text: text in ("yes", "no")),
        ({"grammar": 'root ::= "<" [a-z]+ ">"'}, lambda text: text.startswith("<")),
    ],
)
def test_other_constraints(gguf: Served, wish: dict[str, Any], fits: Any) -> None:
    _, reply = gguf.chat("Say something", structured_outputs=wish, max_tokens=20)
    assert fits(reply["choices"][0]["message"]["content"])


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"response_format": schema({"unheardOf": 1, "not": {}})}, "response_format"),
        ({"response_format": schema({"uniqueItems": True, "type": "array"})}, "response_format"),
        ({"structured_outputs": {"grammar": "root ::= ("}}, "structured_outputs"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
        ({"made_up": 1}, "made_up"),
        ({"temperature": 3}, "temperature"),
        ({"n": 0}, "n"),
        ({"n": 100}, "n"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "user"}]}, "messages.0"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages.0.content"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages.0.role"),
        ({"stop": ["a"] * 50}, "stop"),
        ({"logit_bias": {"x": 1}}, "logit_bias"),
        ({"top_logprobs": 3}, None),
        ({"stream_options": {"include_usage": True}}, None),
        ({"chat_template": "{{ 1 }}"}, "chat_template"),
        ({"logit_bias": {"999999": 1}}, "logit_bias"),
        ({"stop": ["x"], "response_format": {"type": "json_object"}}, "stop"),
    ],
)  # fmt: skip
def test_what_is_not_honoured_is_refused(gguf: Served, more: dict[str, Any], param: str | None) -> None:
    status, reply = gguf.chat(**more)
    assert status == 400, reply
    error = reply["error"]
    assert set(error) == {"message", "type", "param", "code"} and error["type"] == "invalid_request_error"
    assert error["message"] and error["code"] and error["param"] == param


def test_an_unsupported_keyword_is_named(gguf: Served) -> None:
    with pytest.raises(BadRequestError) as told:
        wish: Any = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "array", "uniqueItems": True}}}
        client(gguf).chat.completions.create(model="m", messages=[{"role": "user", "content": "x"}], response_format=wish)
    assert "uniqueItems" in str(told.value)


def test_what_is_too_long_is_refused_or_cut_by_turns(gguf: Served) -> None:
    turns = [
        {"role": role, "content": f"{role} {number} " + "word " * 60} for number in range(12) for role in ("user", "assistant")
    ]
    messages = [{"role": "system", "content": "Be brief."}, *turns, {"role": "user", "content": "Hello?"}]
    status, reply = gguf.chat(messages=messages)
    assert status == 400 and reply["error"]["code"] == "context_length_exceeded"
    status, reply = gguf.chat(messages=messages, truncation="auto")
    assert status == 200 and reply["usage"]["prompt_tokens"] < 1024
    status, reply = gguf.chat("word " * 2000, truncation="auto")
    assert status == 400 and reply["error"]["code"] == "context_length_exceeded"


def test_settings_of_other_servers_work_by_their_names(gguf: Served) -> None:
    plain = gguf.chat("Tell me a story", temperature=1.0, seed=7)[1]["choices"][0]["message"]["content"]
    greedy = gguf.chat("Tell me a story")[1]["choices"][0]["message"]["content"]
    narrow = gguf.chat("Tell me a story", temperature=1.0, seed=7, top_k=1)[1]["choices"][0]["message"]["content"]
    assert narrow == greedy != plain
    _, long = gguf.chat("Hi", ignore_eos=True, max_tokens=60)
    assert long["usage"]["completion_tokens"] == 60 and long["choices"][0]["finish_reason"] == "length"
    banned = gguf.chat("Tell me a story", logprobs=True)[1]["choices"][0]["logprobs"]["content"][0]["token"]
    _, told = gguf.post("/v1/completions", {"model": "m", "prompt": [1, 2, 3], "max_tokens": 3, "echo": True, "temperature": 0})
    assert told["choices"][0]["text"] and banned
    _, circles = gguf.post(
        "/v1/completions",
        {"model": "m", "prompt": "la la la la la la la la la la", "max_tokens": 200, "temperature": 0, "stop_repeating": True},
    )
    if circles["choices"][0]["stop_reason"] == "repetition":
        assert circles["choices"][0]["finish_reason"] == "length" and circles["usage"]["completion_tokens"] < 200


def test_what_was_read_before_is_counted(gguf: Served) -> None:
    text = "A long beginning that is the same for both. " * 6
    gguf.chat(text + "One?")
    _, reply = gguf.chat(text + "Two?")
    assert reply["usage"]["prompt_tokens_details"]["cached_tokens"] > 50


def test_the_document_describes_the_routes(gguf: Served) -> None:
    _, document = gguf.get("/openapi.json")
    assert {
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/responses",
        "/v1/embeddings",
        "/v1/models",
        "/health",
        "/ready",
        "/metrics",
    } <= set(document["paths"])


def test_metrics_count(gguf: Served) -> None:
    def value(name: str) -> float:
        _, text = gguf.get("/metrics")
        return float(next(line for line in text.splitlines() if line.startswith(name + " ")).split()[1])

    before = value("kitae_generated_tokens_total")
    gguf.chat(max_tokens=5, ignore_eos=True)
    assert value("kitae_generated_tokens_total") == before + 5
    assert value("kitae_running") == 0 and value("kitae_waiting") == 0


def test_a_language_model_makes_no_embeddings(server: Served) -> None:
    status, reply = server.post("/v1/embeddings", {"model": "m", "input": "text"})
    assert status == 400 and reply["error"]["code"] == "no_embeddings"


def test_the_prompt_can_be_seen(gguf: Served) -> None:
    _, shown = gguf.post("/apply-template", {"messages": [{"role": "user", "content": "Hi"}]})
    assert shown["prompt"].endswith("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n")
