"""/v1/responses: the newer form of chat. What is kept between requests is kept by the client: nothing is stored here."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from kitae.serve import chat
from kitae.serve.asking import Asking
from kitae.serve.requests import ChatMessage, ChatRequest, Content, JsonSchema, ResponseFormat, Shape, Tokens
from kitae.serve.service import Service


class InputMessage(Shape):
    type: Literal["message"] | None = None
    role: Literal["system", "developer", "user", "assistant"]
    content: Content
    id: str | None = None
    status: Literal["completed", "incomplete"] | None = None


class TextFormat(Shape):
    type: Literal["text", "json_object", "json_schema"]
    name: str | None = None
    schema_: dict[str, Any] | bool | None = Field(None, alias="schema")
    strict: bool | None = None
    description: str | None = None

    @model_validator(mode="after")
    def _whole(self) -> TextFormat:
        given = self.model_fields_set - {"type"}
        if self.type == "json_schema" and self.schema_ is None:
            raise ValueError("json_schema needs a schema")
        if self.type != "json_schema" and given:
            raise ValueError(f"only json_schema has {', '.join(sorted(name.rstrip('_') for name in given))}")
        return self


class TextWish(Shape):
    format: TextFormat | None = None


class ResponsesRequest(Shape):
    model: str = Field(min_length=1, max_length=512)
    input: str | list[InputMessage]
    instructions: str | None = None
    max_output_tokens: Tokens | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    stream: bool | None = None
    text: TextWish | None = None
    truncation: Literal["auto", "disabled"] | None = None
    metadata: dict[str, str] | None = None
    user: str | None = Field(None, max_length=512)
    # Fields that ask for what isn't done here, in the one form that asks for nothing
    store: Literal[False] | None = None
    previous_response_id: None = None
    tools: Annotated[list[Any], Field(max_length=0)] | None = None
    background: Literal[False] | None = None
    service_tier: Literal["auto", "default"] | None = None

    @model_validator(mode="after")
    def _whole(self) -> ResponsesRequest:
        if not self.input:
            raise ValueError("input is empty")
        return self

    def as_chat(self) -> ChatRequest:
        said = [InputMessage(role="user", content=self.input)] if isinstance(self.input, str) else self.input
        messages = [ChatMessage(role=message.role, content=message.content) for message in said]
        if self.instructions:
            messages.insert(0, ChatMessage(role="system", content=self.instructions))
        return ChatRequest(
            model=self.model,
            messages=messages,
            max_tokens=self.max_output_tokens,
            temperature=self.temperature,
            top_p=self.top_p,
            truncation=self.truncation,
            response_format=self._format(),
        )

    def _format(self) -> ResponseFormat | None:
        wish = self.text.format if self.text else None
        if wish is None or wish.type != "json_schema":
            return None if wish is None else ResponseFormat(type=wish.type)
        return ResponseFormat(type="json_schema", json_schema=JsonSchema(name=wish.name or "answer", schema=wish.schema_ or {}))


class _Reply:
    """A response as it grows."""

    def __init__(self, request: ResponsesRequest, wanted: chat.Wanted) -> None:
        self._request, self._wanted = request, wanted
        self.id, self.item = f"resp_{uuid.uuid4().hex}", f"msg_{uuid.uuid4().hex}"
        self._created = int(time.time())

    def body(self, choice: chat.Choice, status: str, asking: Asking | None = None) -> dict[str, Any]:
        request, wanted = self._request, self._wanted
        counted = None
        if asking is not None:
            counted = {
                "input_tokens": len(wanted.prompt),
                "input_tokens_details": {"cached_tokens": max(job.known for job in asking.jobs)},
                "output_tokens": choice.tokens,
                "output_tokens_details": {"reasoning_tokens": choice.thinking_tokens},
                "total_tokens": len(wanted.prompt) + choice.tokens,
            }
        cut = status == "incomplete"
        return {
            "id": self.id,
            "object": "response",
            "created_at": self._created,
            "status": status,
            "model": wanted.model.name,
            "output": [] if status == "in_progress" else self.items(choice, status),
            "usage": counted,
            "error": None,
            "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
            "instructions": request.instructions,
            "max_output_tokens": request.max_output_tokens,
            "metadata": request.metadata or {},
            "parallel_tool_calls": False,
            "previous_response_id": None,
            "reasoning": {"effort": None, "summary": None},
            "store": False,
            "temperature": wanted.settings.temperature,
            "text": {"format": {"type": "text"}} if request.text is None else request.text.model_dump(by_alias=True),
            "completed_at": None if status == "in_progress" else int(time.time()),
            "presence_penalty": 0.0,
            "frequency_penalty": 0.0,
            "top_logprobs": 0,
            "max_tool_calls": None,
            "background": False,
            "service_tier": "default",
            "safety_identifier": None,
            "prompt_cache_key": None,
            "tool_choice": "none",
            "tools": [],
            "top_p": wanted.settings.top_p,
            "truncation": request.truncation or "disabled",
            "user": request.user,
        }

    def items(self, choice: chat.Choice, status: str) -> list[dict[str, Any]]:
        thought = []
        if choice.thought:
            summary = {"type": "reasoning_text", "text": choice.thought}
            thought = [{"type": "reasoning", "id": f"rs_{self.id[5:]}", "summary": [], "content": [summary]}]
        return [*thought, {**self.message(status), "content": [self.part(choice.content)]}]

    def message(self, status: str) -> dict[str, Any]:
        return {"type": "message", "id": self.item, "status": status, "role": "assistant", "content": []}

    def part(self, text: str) -> dict[str, Any]:
        return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


async def whole(service: Service, request: ResponsesRequest, wanted: chat.Wanted, owner: str) -> dict[str, Any]:
    choice = chat.new_choice(wanted)
    async with Asking(service, wanted.model, [wanted.prompt], wanted.settings, owner) as asking:
        async for some in asking.chunks():
            for _, chunk in some:
                choice.take(chunk)
    return _Reply(request, wanted).body(choice, _status(choice), asking)


async def streamed(service: Service, request: ResponsesRequest, wanted: chat.Wanted, owner: str) -> AsyncIterator[bytes]:
    reply, choice = _Reply(request, wanted), chat.new_choice(wanted)
    number = -1

    def event(kind: str, **fields: Any) -> bytes:
        nonlocal number
        number += 1
        line = json.dumps({"type": kind, "sequence_number": number, **fields}, ensure_ascii=False)
        return f"event: {kind}\ndata: {line}\n\n".encode()

    place: dict[str, Any] = {"item_id": reply.item, "output_index": 0, "content_index": 0}
    async with Asking(service, wanted.model, [wanted.prompt], wanted.settings, owner) as asking:
        begun = opened = False
        async for some in asking.chunks():
            data = []
            if not begun:
                begun = True
                for kind in ("response.created", "response.in_progress"):
                    data.append(event(kind, response=reply.body(choice, "in_progress")))
            for _, chunk in some:
                _, content = choice.take(chunk)
                if not opened and (content or chunk.finish is not None):  # behind the thought, which is an item of its own
                    opened, place["output_index"] = True, int(bool(choice.thought))
                    added = {"output_index": place["output_index"], "item": reply.message("in_progress")}
                    data.append(event("response.output_item.added", **added))
                    data.append(event("response.content_part.added", **place, part=reply.part("")))
                if content:
                    data.append(event("response.output_text.delta", **place, delta=content, logprobs=[]))
            if data:
                yield b"".join(data)
        status = _status(choice)
        yield event("response.output_text.done", **place, text=choice.content, logprobs=[])
        yield event("response.content_part.done", **place, part=reply.part(choice.content))
        yield event("response.output_item.done", output_index=place["output_index"], item=reply.items(choice, status)[-1])
        yield event(f"response.{status}", response=reply.body(choice, status, asking))


def _status(choice: chat.Choice) -> str:
    return "completed" if choice.finish == "stop" else "incomplete"
