"""The routes."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import ExitStack
from typing import Any

from anyio import CapacityLimiter, to_thread
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from kitae import __version__
from kitae.core.errors import KitaeError
from kitae.core.i18n import t
from kitae.serve import chat, completions, embeddings, responses
from kitae.serve.asking import EventStream, unless_gone
from kitae.serve.errors import ApiError, api_error, of_validation
from kitae.serve.guard import Guard
from kitae.serve.keys import Keys
from kitae.serve.limits import Limits
from kitae.serve.log import RequestLog
from kitae.serve.requests import ChatRequest, CompletionRequest, EmbeddingRequest, TemplateRequest
from kitae.serve.service import Model, Service

Asked = ChatRequest | CompletionRequest | responses.ResponsesRequest
Understand = Callable[[Model, Limits, Any], Any]
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
    service: Service, keys: Keys, origins: Sequence[str] = (), local: str | None = None, log: RequestLog | None = None
) -> FastAPI:
    app = FastAPI(title="Kitae", version=__version__, docs_url=None, redoc_url=None, responses=_ERRORS)
    app.add_middleware(Guard, service=service, keys=keys, origins=origins, local=local)
    if origins:  # around the guard, so that pages may read its refusals, too
        app.add_middleware(CORSMiddleware, allow_origins=list(origins), allow_methods=["GET", "POST"], allow_headers=["*"])
    one_at_a_time = CapacityLimiter(1)  # embeddings: threads are for those who want to be understood
    _tell_errors(app)
    _tell_state(app, service)

    async def answered(request: Request, asked: Asked, model: Model, work: Awaitable[dict[str, Any]]) -> Response:
        """A whole reply."""
        try:
            reply = await unless_gone(request, work)
        except ApiError as error:
            _keep(log, request, asked, model, error.body, error.status)
            raise
        _keep(log, request, asked, model, reply, 200)
        return JSONResponse(reply)

    async def streamed(
        request: Request, asked: Asked, model: Model, events: AsyncIterator[bytes], at_end: Callable[[], None]
    ) -> Response:
        """Until the first event a mistake has a status of its own."""
        try:
            first = await unless_gone(request, anext(events))
        except ApiError as error:
            _keep(log, request, asked, model, error.body, error.status)
            raise

        async def all_of_them() -> AsyncIterator[bytes]:
            kept, status = [first], 200
            try:
                yield first
                async for data in events:
                    if log is not None:
                        kept.append(data)
                    yield data
            except ApiError as error:
                kept, status = [*kept, json.dumps(error.body).encode()], error.status
                yield b"data: " + json.dumps(error.body, ensure_ascii=False).encode() + b"\n\n"
            finally:
                await events.aclose()  # type: ignore[attr-defined]
                _keep(log, request, asked, model, b"".join(kept).decode(), status)

        return EventStream(request, all_of_them(), at_end)

    async def reply_to(
        request: Request, asked: Asked, understand: Understand, whole: Callable[[Any], Any], stream: Callable[[Any], Any]
    ) -> Response:
        """The model is known, and so stays open, until the reply has been given."""
        with ExitStack() as stack:
            model = stack.enter_context(service.knowing(asked.model))
            wanted = await _understood(understand, model, service.limits, asked)
            if not asked.stream:
                return await answered(request, asked, model, whole(wanted))
            later = stack.pop_all()
            try:
                return await streamed(request, asked, model, stream(wanted), later.close)
            except BaseException:
                later.close()
                raise

    @app.post("/v1/chat/completions")
    async def chat_completions(request: Request, asked: ChatRequest) -> Response:
        owner, with_usage = request.state.owner, bool(asked.stream_options and asked.stream_options.include_usage)
        return await reply_to(
            request,
            asked,
            chat.understood,
            lambda wanted: chat.whole(service, wanted, owner),
            lambda wanted: chat.streamed(service, wanted, owner, with_usage),
        )

    @app.post("/v1/completions")
    async def text_completions(request: Request, asked: CompletionRequest) -> Response:
        owner, with_usage = request.state.owner, bool(asked.stream_options and asked.stream_options.include_usage)
        told = asked.logprobs is not None
        return await reply_to(
            request,
            asked,
            completions.understood,
            lambda wanted: completions.whole(service, wanted, owner, told),
            lambda wanted: completions.streamed(service, wanted, owner, with_usage, told),
        )

    @app.post("/v1/responses")
    async def new_responses(request: Request, asked: responses.ResponsesRequest) -> Response:
        owner = request.state.owner
        return await reply_to(
            request,
            asked,
            lambda model, limits, request: chat.understood(model, limits, request.as_chat()),
            lambda wanted: responses.whole(service, asked, wanted, owner),
            lambda wanted: responses.streamed(service, asked, wanted, owner),
        )

    @app.post("/apply-template")
    async def applied(asked: TemplateRequest) -> dict[str, str]:
        """The prompt as the model sees it, as llama-server tells it."""
        if asked.model is None and len(service.models) > 1:
            raise ApiError(400, t("serve.which-model", known=", ".join(service.models)), "invalid_value", "model")
        with service.knowing(asked.model or next(iter(service.models))) as model:
            messages = model.opened([message.message() for message in asked.messages])
            return {"prompt": await run_in_threadpool(model.codec.rendered, messages)}

    @app.post("/v1/embeddings")
    async def new_embeddings(request: Request, asked: EmbeddingRequest) -> Response:
        service.admit(1)
        with service.knowing(asked.model) as model:
            work = to_thread.run_sync(embeddings.embedded, model, asked, limiter=one_at_a_time, abandon_on_cancel=True)
            try:
                return JSONResponse(await unless_gone(request, asyncio.wait_for(work, service.limits.seconds)))
            except TimeoutError:
                raise ApiError(504, t("serve.too-slow", seconds=round(service.limits.seconds)), "timeout") from None

    return app


async def _understood(understand: Understand, model: Model, limits: Limits, asked: Asked) -> Any:
    """Off the loop: rendering, tokenising and compiling a grammar take their time."""

    def work() -> Any:
        wanted = understand(model, limits, asked)
        if wanted.settings.constraint is not None:
            model.lane.engine.grammars.begin(wanted.settings.constraint)  # refused now, or known when its turn comes
        return wanted

    try:
        return await run_in_threadpool(work)
    except KitaeError as error:
        prompt = next(field for field in ("messages", "prompt", "input") if hasattr(asked, field))
        constraint = "structured_outputs" if getattr(asked, "structured_outputs", None) is not None else "response_format"
        raise api_error(error, prompt, "text" if prompt == "input" else constraint) from error
    except ValidationError:
        raise
    except ValueError as error:
        raise ApiError(400, str(error), "invalid_value") from error


def _keep(log: RequestLog | None, request: Request, asked: Asked, model: Model, reply: Any, status: int) -> None:
    if log is None:
        return
    said = asked.model_dump(mode="json", by_alias=True, exclude_unset=True)
    seconds = time.monotonic() - request.state.began
    id_ = reply.get("id") if isinstance(reply, dict) else None
    log.add(
        id_ or f"request-{uuid.uuid4().hex}",
        request.url.path,
        request.state.owner,
        model.name,
        model.version,
        said,
        reply,
        status,
        seconds,
    )


def _tell_errors(app: FastAPI) -> None:
    @app.exception_handler(ApiError)
    async def api(_: Request, error: ApiError) -> Response:
        return JSONResponse(error.body, error.status)

    @app.exception_handler(KitaeError)
    async def ours(_: Request, error: KitaeError) -> Response:
        return await api(_, api_error(error))

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
