"""What clients may ask, field by field. A field that isn't here is refused, and so is one whose wish can't be met:
nothing is ignored."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, field_validator, model_validator

from kitae.chat import Message
from kitae.generate import Constraint, Settings
from kitae.serve.errors import ApiError

_MOST_STOPS = 16
Tokens = Annotated[int, Field(ge=1, le=1 << 20)]
Penalty = Annotated[float, Field(ge=-2, le=2)]
Share = Annotated[float, Field(ge=0, le=1)]


class Shape(BaseModel):
    model_config = ConfigDict(extra="forbid", str_strip_whitespace=False)


class TextPart(Shape):
    type: Literal["text", "input_text", "output_text"]
    text: str
    annotations: list[Any] | None = Field(None, max_length=0)
    logprobs: list[Any] | None = Field(None, max_length=0)


def _text(content: Any) -> Any:
    """Given as it is, or in parts."""
    if not isinstance(content, list):
        return content
    kinds = {str(part.get("type")) if isinstance(part, dict) else type(part).__name__ for part in content}
    others = kinds - {"text", "input_text", "output_text"}
    if others:
        raise ValueError(f"this model reads text only, no {', '.join(sorted(others))}")
    return "".join(TextPart.model_validate(part).text for part in content)


_parts = {"anyOf": [{"type": "string"}, {"type": "array", "items": TextPart.model_json_schema()}]}
Content = Annotated[str, BeforeValidator(_text), WithJsonSchema(_parts)]


def several(given: str | list[str] | list[int] | list[list[int]]) -> list[str | list[int]]:
    """One text or many, as text or as token ids."""
    if isinstance(given, str):
        return [given]
    if not given:
        raise ValueError("it is empty")
    if isinstance(given[0], int):
        return [given]
    return list(given)


class ChatMessage(Shape):
    role: Literal["system", "developer", "user", "assistant"]
    content: Content | None = None
    name: None = None
    refusal: None = None
    reasoning_content: str | None = None  # what the model thought before it said this

    @model_validator(mode="after")
    def _whole(self) -> ChatMessage:
        if self.content is None:
            raise ValueError("content is missing")
        if self.reasoning_content and self.role != "assistant":
            raise ValueError("only an assistant's message has reasoning_content")
        return self

    def message(self) -> Message:
        role = "system" if self.role == "developer" else self.role
        return Message(role, self.content or "", thought=self.reasoning_content or "")


class StreamOptions(Shape):
    include_usage: bool = False
    include_obfuscation: Literal[False] | None = None


class JsonSchema(Shape):
    name: str = Field(pattern=r"^[\w-]{1,64}$")
    schema_: dict[str, Any] | bool = Field(alias="schema")
    strict: bool | None = None
    description: str | None = None


class ResponseFormat(Shape):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None

    @model_validator(mode="after")
    def _whole(self) -> ResponseFormat:
        if (self.type == "json_schema") != (self.json_schema is not None):
            raise ValueError("json_schema goes with type json_schema, and only with it")
        return self

    def constraint(self) -> Constraint | None:
        if self.type == "json_object":
            return Constraint("json")
        if self.json_schema is None:
            return None
        return Constraint("json_schema", json.dumps(self.json_schema.schema_, ensure_ascii=False))


class StructuredOutputs(Shape):
    """Constraints that OpenAI's API has no field for; one of them."""

    json_: dict[str, Any] | bool | str | None = Field(None, alias="json")
    regex: str | None = None
    choice: list[str] | None = Field(None, min_length=1)
    grammar: str | None = None  # GBNF
    lark: str | None = None

    def constraint(self) -> Constraint | None:
        found = []
        if self.json_ is not None:
            schema = self.json_ if isinstance(self.json_, str) else json.dumps(self.json_, ensure_ascii=False)
            found.append(Constraint("json_schema", schema))
        if self.regex is not None:
            found.append(Constraint("regex", self.regex))
        if self.choice is not None:
            found.append(Constraint("choice", json.dumps(self.choice, ensure_ascii=False)))
        if self.grammar is not None:
            found.append(Constraint("gbnf", self.grammar))
        if self.lark is not None:
            found.append(Constraint("lark", self.lark))
        if len(found) > 1:
            raise ValueError("structured_outputs: only one constraint at a time")
        return found[0] if found else None


class Sampling(Shape):
    """What all requests for text have in common. Beside OpenAI's fields those that other servers have, by the same names."""

    model: str = Field(min_length=1, max_length=512)
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Share | None = None
    n: Annotated[int, Field(ge=1, le=128)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    stop: str | list[str] | None = None
    seed: Annotated[int, Field(ge=-(1 << 63), lt=1 << 64)] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    logit_bias: dict[str, Annotated[float, Field(ge=-100, le=100)]] | None = None
    user: str | None = Field(None, max_length=512)  # kept with the request where requests are kept
    metadata: dict[str, str] | None = None  # the same

    top_k: Annotated[int, Field(ge=-1)] | None = None
    min_p: Share | None = None
    typical_p: Share | None = None
    repetition_penalty: Annotated[float, Field(ge=0.1, le=10)] | None = None
    dry_multiplier: Annotated[float, Field(ge=0, le=100)] | None = None
    dry_base: Annotated[float, Field(ge=1, le=10)] | None = None
    dry_allowed_length: Annotated[int, Field(ge=0)] | None = None
    stop_token_ids: list[int] | None = None
    banned_token_ids: list[int] | None = None
    ignore_eos: bool | None = None
    stop_repeating: bool | None = None
    max_seconds: Annotated[float, Field(gt=0)] | None = None
    priority: Annotated[int, Field(ge=-100, le=100)] | None = None
    structured_outputs: StructuredOutputs | None = None

    @field_validator("stop")
    @classmethod
    def _stops(cls, stop: str | list[str] | None) -> str | list[str] | None:
        if isinstance(stop, list) and len(stop) > _MOST_STOPS:
            raise ValueError(f"at most {_MOST_STOPS}")
        if stop is not None and "" in ([stop] if isinstance(stop, str) else stop):
            raise ValueError("a stop may not be empty")
        return stop

    @field_validator("logit_bias")
    @classmethod
    def _biases(cls, bias: dict[str, float] | None) -> dict[str, float] | None:
        if bias and not all(key.isdecimal() and key.isascii() for key in bias):
            raise ValueError("keys are token ids")
        return bias

    @model_validator(mode="after")
    def _streamed(self) -> Sampling:
        if self.stream_options is not None and not self.stream:
            raise ValueError("stream_options goes with stream")
        return self

    @property
    def stops(self) -> tuple[str, ...]:
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    def settings(self, max_tokens: int, logprobs: int | None, constraint: Constraint | None, size: int) -> Settings:
        """`size`: of the vocabulary."""
        bias = tuple((int(token), value) for token, value in (self.logit_bias or {}).items())
        named = {"logit_bias": [token for token, _ in bias], "stop_token_ids": self.stop_token_ids}
        for field, tokens in {**named, "banned_token_ids": self.banned_token_ids}.items():
            if any(not 0 <= token < size for token in tokens or ()):
                raise ApiError(400, f"{field}: token ids are 0 to {size - 1}", "invalid_value", field)
        if constraint is not None and (self.stop or self.stop_token_ids):
            field = "stop" if self.stop else "stop_token_ids"
            raise ApiError(400, f"{field}: a stop could cut an answer short that has to fit a constraint", "unsupported", field)
        return Settings(
            max_tokens=max_tokens,
            temperature=1.0 if self.temperature is None else self.temperature,
            top_k=max(0, self.top_k or 0),
            top_p=1.0 if self.top_p is None else self.top_p,
            min_p=self.min_p or 0.0,
            typical_p=1.0 if self.typical_p is None else self.typical_p,
            repetition_penalty=self.repetition_penalty or 1.0,
            presence_penalty=self.presence_penalty or 0.0,
            frequency_penalty=self.frequency_penalty or 0.0,
            dry_multiplier=self.dry_multiplier or 0.0,
            dry_base=self.dry_base or 1.75,
            dry_allowed=2 if self.dry_allowed_length is None else self.dry_allowed_length,
            logit_bias=bias,
            bans=tuple(self.banned_token_ids or ()),
            seed=None if self.seed is None else self.seed % (1 << 64),
            stop=self.stops,
            stop_tokens=tuple(self.stop_token_ids or ()),
            ignore_stops=bool(self.ignore_eos),
            stop_repeating=bool(self.stop_repeating),
            max_seconds=self.max_seconds,
            priority=self.priority or 0,
            constraint=constraint,
            logprobs=logprobs,
        )

    def constraint_of(self, response_format: ResponseFormat | None) -> Constraint | None:
        found = [part.constraint() for part in (response_format, self.structured_outputs) if part is not None]
        found = [constraint for constraint in found if constraint is not None]
        if len(found) > 1:
            raise ValueError("response_format and structured_outputs: only one constraint at a time")
        return found[0] if found else None


class TemplateOptions(Shape):
    enable_thinking: bool | None = None


class ChatRequest(Sampling):
    messages: list[ChatMessage] = Field(min_length=1)
    max_tokens: Tokens | None = None
    max_completion_tokens: Tokens | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    response_format: ResponseFormat | None = None
    chat_template_kwargs: TemplateOptions | None = None
    truncation: Literal["auto", "disabled"] | None = None  # auto: what doesn't fit is left out, the oldest turns first
    # Fields of OpenAI's that ask for what isn't done here, in the one form that asks for nothing
    store: Literal[False] | None = None
    modalities: list[Literal["text"]] | None = None
    service_tier: Literal["auto", "default"] | None = None
    tools: Annotated[Sequence[Any], Field(max_length=0)] | None = None
    tool_choice: Literal["none"] | None = None
    parallel_tool_calls: None = None

    @field_validator("tools", mode="before")
    @classmethod
    def _no_tools(cls, tools: Any) -> Any:
        if tools:
            raise ValueError("this model has not learned to use tools; leave them out")
        return tools

    @model_validator(mode="after")
    def _consistent(self) -> ChatRequest:
        if self.top_logprobs is not None and not self.logprobs:
            raise ValueError("top_logprobs goes with logprobs")
        if self.max_tokens is not None and self.max_completion_tokens is not None:
            raise ValueError("max_tokens and max_completion_tokens: only one of them")
        return self

    @property
    def most(self) -> int | None:
        return self.max_tokens or self.max_completion_tokens


class TemplateRequest(Shape):
    model: str | None = None
    messages: list[ChatMessage] = Field(min_length=1)


class CompletionRequest(Sampling):
    prompt: str | list[str] | list[int] | list[list[int]]
    max_tokens: Tokens | None = 16
    logprobs: Annotated[int, Field(ge=0, le=5)] | None = None
    echo: bool | None = None
    best_of: Annotated[int, Field(ge=1, le=128)] | None = None
    suffix: None = None
    response_format: ResponseFormat | None = None

    @model_validator(mode="after")
    def _consistent(self) -> CompletionRequest:
        if self.best_of is not None and self.best_of < (self.n or 1):
            raise ValueError("best_of is at least n")
        if self.best_of is not None and self.stream:
            raise ValueError("best_of can't be streamed: which answers are best is known at the end")
        if self.echo and self.logprobs is not None:
            raise ValueError("echo with logprobs is not offered: the prompt's own logprobs are not kept")
        return self

    def prompts(self) -> list[str | list[int]]:
        return several(self.prompt)


class EmbeddingRequest(Shape):
    model: str = Field(min_length=1, max_length=512)
    input: str | list[str] | list[int] | list[list[int]]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: None = None
    user: str | None = None

    def texts(self) -> list[str | list[int]]:
        return several(self.input)
