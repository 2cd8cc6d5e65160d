"""The routes."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from pydantic import BaseModel, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from kitae import __version__
from kitae.core.errors import KitaeError
from kitae.serve import chat, completions, embeddings, responses
from kitae.serve.asking import EventStream, unless_gone
from kitae.serve.errors import ApiError, api_error, of_validation
from kitae.serve.guard import Guard
from kitae.serve.keys import Keys
from kitae.serve.log import RequestLog
from kitae.serve.requests import ChatRequest, CompletionRequest, EmbeddingRequest, TemplateRequest
from kitae.serve.service import Model, Service

_ERRORS: dict[int | str, dict[str, Any]] = {
    code: {"description": what, "content": {"application/json": {"schema": {"type": "object", "required": ["error"]}}}}
    for code, what in {
        400: "the request can't be met",
        401: "no key, or a wrong one",
        403: "not from there",
        404: "no such model",
        405: "not with this method",
        408: "it came too slowly",
        413: "it is too large",
        422: "",
        429: "too many wait",
        503: "the server is stopping",
        504: "it took too long",
    }.items()
    if what
}


def make_app(
    service: Service, keys: Keys, origins: Sequence[str] = (), local: bool = True, log: RequestLog | None = None
) -> FastAPI:
    app = FastAPI(title="Kitae", version=__version__, docs_url=None, redoc_url=None, responses=_ERRORS)
    if origins:
        app.add_middleware(CORSMiddleware, allow_origins=list(origins), allow_methods=["GET", "POST"], allow_headers=["*"])
    app.add_middleware(Guard, service=service, keys=keys, origins=origins, local=local)
    _tell_errors(app)
    _tell_state(app, service)

    async def answered(request: Request, asked: BaseModel, model: Model, work: Any) -> Response:
        """A whole reply, kept if requests are kept."""
        reply = await unless_gone(request, work)
        if log is not None:
            _keep(log, request, asked, model, reply, 200)
        return JSONResponse(reply)

    async def streamed(request: Request, asked: BaseModel, model: Model, events: AsyncIterator[bytes]) -> Response:
        first = await unless_gone(request, anext(events))

        async def all_of_them() -> AsyncIterator[bytes]:
            kept = [first] if log is not None else []
            try:
                yield first
                async for data in events:
                    if log is not None:
                        kept.append(data)
                    yield data
            except ApiError as error:
                yield b"data: " + json.dumps(error.body, ensure_ascii=False).encode() + b"\n\n"
            finally:
                await events.aclose()  # type: ignore[attr-defined]
                if log is not None:
                    _keep(log, request, asked, model, b"".join(kept).decode(), 200)

        return EventStream(request, all_of_them())

    @app.post("/v1/chat/completions")
    async def chat_completions(request: Request, asked: ChatRequest) -> Response:
        wanted = await _understood(chat.understood, service, asked)
        owner = request.state.owner
        if asked.stream:
            with_usage = asked.stream_options is not None and asked.stream_options.include_usage
            return await streamed(request, asked, wanted.model, chat.streamed(service, wanted, owner, with_usage))
        return await answered(request, asked, wanted.model, chat.whole(service, wanted, owner))

    @app.post("/v1/completions")
    async def text_completions(request: Request, asked: CompletionRequest) -> Response:
        wanted = await _understood(completions.understood, service, asked)
        owner, with_logprobs = request.state.owner, asked.logprobs is not None
        if asked.stream:
            with_usage = asked.stream_options is not None and asked.stream_options.include_usage
            events = completions.streamed(service, wanted, owner, with_usage, with_logprobs)
            return await streamed(request, asked, wanted.model, events)
        return await answered(request, asked, wanted.model, completions.whole(service, wanted, owner, with_logprobs))

    @app.post("/v1/responses")
    async def new_responses(request: Request, asked: responses.ResponsesRequest) -> Response:
        wanted = await _understood(chat.understood, service, asked.as_chat())
        owner = request.state.owner
        if asked.stream:
            return await streamed(request, asked, wanted.model, responses.streamed(service, asked, wanted, owner))
        return await answered(request, asked, wanted.model, responses.whole(service, asked, wanted, owner))

    @app.post("/apply-template")
    async def applied(asked: TemplateRequest) -> dict[str, str]:
        """The prompt as the model sees it, as llama-server tells it."""
        model = service.model(asked.model) if asked.model else next(iter(service.models.values()))
        messages = model.opened([message.message() for message in asked.messages])
        return {"prompt": await run_in_threadpool(model.codec.rendered, messages)}

    @app.post("/v1/embeddings")
    async def new_embeddings(request: Request, asked: EmbeddingRequest) -> Response:
        reply = await run_in_threadpool(embeddings.embedded, service, asked)
        return JSONResponse(reply)

    return app


async def _understood(understand: Any, service: Service, asked: Any) -> Any:
    """Off the loop: rendering, tokenising and compiling a grammar take their time."""

    def work() -> Any:
        wanted = understand(service, asked)
        if wanted.settings.constraint is not None:
            wanted.model.lane.engine.grammars.begin(wanted.settings.constraint)  # refused now, or known when its turn comes
        return wanted

    try:
        return await run_in_threadpool(work)
    except KitaeError as error:
        raise api_error(error) from error
    except ValidationError:
        raise
    except ValueError as error:
        raise ApiError(400, str(error), "invalid_value") from error


def _keep(log: RequestLog, request: Request, asked: BaseModel, model: Model, reply: Any, status: int) -> None:
    said = asked.model_dump(mode="json", by_alias=True, exclude_unset=True)
    seconds = time.monotonic() - request.state.began
    id_ = reply["id"] if isinstance(reply, dict) else f"stream-{uuid.uuid4().hex}"
    log.add(id_, request.url.path, request.state.owner, model.name, model.version, said, reply, status, seconds)


def _tell_errors(app: FastAPI) -> None:
    @app.exception_handler(ApiError)
    async def api(_: Request, error: ApiError) -> Response:
        return JSONResponse(error.body, error.status)

    @app.exception_handler(RequestValidationError)
    async def wrong(_: Request, error: RequestValidationError) -> Response:
        return await api(_, of_validation(error.errors()))

    @app.exception_handler(ValidationError)
    async def inner(_: Request, error: ValidationError) -> Response:
        return await api(_, of_validation(error.errors()))

    @app.exception_handler(HTTPException)
    async def http(_: Request, error: HTTPException) -> Response:
        code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "http")
        reply = await api(_, ApiError(error.status_code, str(error.detail), code))
        reply.headers.update(error.headers or {})
        return reply

    @app.exception_handler(Exception)
    async def unexpected(_: Request, error: Exception) -> Response:
        return await api(_, ApiError(500, f"{type(error).__name__}", "unexpected"))


def _tell_state(app: FastAPI, service: Service) -> None:
    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/ready")
    async def ready() -> Response:
        return JSONResponse({"status": "ready" if service.ready else "not ready"}, 200 if service.ready else 503)

    @app.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> Response:
        return PlainTextResponse(service.metrics.text(), media_type="text/plain; version=0.0.4")

    def told(model: Model) -> dict[str, Any]:
        return {"id": model.name, "object": "model", "created": model.since, "owned_by": "kitae"}

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        return {"object": "list", "data": [told(model) for model in service.models.values()]}

    @app.get("/v1/models/{name:path}")
    async def one_model(name: str) -> dict[str, Any]:
        return told(service.model(name))
