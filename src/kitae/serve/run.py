"""`kitae serve`: opens what is named, listens, and stops when it is asked to."""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import os
import socket
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kitae.core.console import console
from kitae.core.errors import EXIT_INTERRUPTED, InputError
from kitae.core.files import hash_text
from kitae.core.i18n import t
from kitae.core.libraries import quiet_libraries
from kitae.generate import DraftModel, PromptLookup, Speculation, open_adapters, open_engine, room
from kitae.serve.follow import Follower, newest_shipped
from kitae.serve.keys import Keys, keys_from
from kitae.serve.limits import Limits
from kitae.serve.log import RequestLog, check_log
from kitae.serve.service import Model, Service
from kitae.serve.worker import Lane
from kitae.targets import resolve, run_named

if TYPE_CHECKING:
    from kitae.generate import Engine
    from kitae.models import Target


@dataclass(frozen=True)
class Serving:
    """`targets` and `adapters`: a run, folder, file, hub id or starter; with NAME= before it, that is what it is called."""

    targets: tuple[str, ...]
    adapters: tuple[str, ...] = ()  # of the one target
    host: str = "127.0.0.1"
    port: int = 8000
    context: int | None = None  # tokens of a conversation
    at_once: int | None = None  # answers that are written at a time
    template: str | None = None
    api_key_env: str | None = None  # the variable with the keys of those who may ask
    origins: tuple[str, ...] = ()  # of pages whose scripts may ask
    log: Path | None = None
    follow: bool = False  # serve the newest shipped run of a recipe, also one that comes later
    lookup: bool = False  # guess that answers repeat what was asked
    draft: str | None = None  # a small model that guesses
    limits: Limits = field(default_factory=Limits)


def run_server(serving: Serving) -> dict[str, Any]:
    quiet_libraries()
    if serving.log is not None:
        check_log(serving.log)  # before minutes go by with a model
    keys = Keys(keys_from(serving.api_key_env))
    listening = _listen(serving.host, serving.port)
    try:
        service = Service(serving.limits)
        for model in _opened(serving):
            service.offer(model)
        return _serve(serving, service, keys, listening)
    finally:
        listening.close()


def _opened(serving: Serving) -> list[Model]:
    named = [_named(name) for name in serving.targets]
    called = [name for name, _ in (*named, *map(_named, serving.adapters))]
    if len(set(called)) < len(called):
        raise InputError("serve-names", where=", ".join(sorted({name for name in called if called.count(name) > 1})))
    if serving.follow and (serving.adapters or len(named) > 1):
        raise InputError("serve-follow")
    if serving.adapters:
        if len(named) != 1:
            raise InputError("serve-one-base", where=" ".join(serving.targets))
        (name, target), *_ = named
        base = resolve(target, template=serving.template)
        adapters = {name: resolve(adapter, True, serving.template) for name, adapter in map(_named, serving.adapters)}
        engines = open_adapters(base, adapters)
        return [
            Model(called or name, _lane(serving, engine, len(engines)), owner.system, _version(owner))
            for called, engine in engines.items()
            for owner in [adapters.get(called, base)]
        ]
    return [open_model(serving, name, target, len(named)) for name, target in named]


def open_model(serving: Serving, name: str, target: str, share: int = 1) -> Model:
    """`share`: how many divide the memory."""
    newest = newest_shipped(target) if serving.follow else None
    target = newest.id if newest is not None else target
    found = resolve(target, template=serving.template)
    run = run_named(target)
    engine = open_engine(found)
    if serving.follow and run is not None:
        name = run.recipe_name
    return Model(name, _lane(serving, engine, share), found.system, run.id if run else _version(found), run is not None)


def _lane(serving: Serving, engine: Engine, share: int = 1) -> Lane:
    length, places = room(engine, serving.context, serving.at_once, share)

    def speculation() -> Speculation | None:
        if serving.draft is not None:
            small = open_engine(resolve(serving.draft))
            if small.codec.vocabulary.size != engine.codec.vocabulary.size:
                raise InputError("serve-draft", where=serving.draft)
            return Speculation(DraftModel(small, places, length))
        return Speculation(PromptLookup()) if serving.lookup else None

    return Lane(engine, length, places, speculation)


def _version(target: Target) -> str:
    """Of its files, without reading them all: a server should be there soon."""
    files = [target.path] if target.path.is_file() else sorted(target.path.glob("*.safetensors"))
    return "fp_" + hash_text(*(f"{file} {file.stat().st_size} {file.stat().st_mtime_ns}" for file in files))[:12]


def _named(text: str) -> tuple[str, str]:
    name, equals, target = text.partition("=")
    if equals and name and "/" not in name:
        return name, target
    path = Path(text)
    return (path.stem if path.suffix == ".gguf" else text), text


def _listen(host: str, port: int) -> socket.socket:
    """First of all: nobody wants to wait for a model to hear that the port is taken."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=2048)
    except (OSError, OverflowError) as error:
        raise InputError("serve-port", where=f"{host}:{port}", why=str(error)) from error


def _serve(serving: Serving, service: Service, keys: Keys, listening: socket.socket) -> dict[str, Any]:
    import uvicorn

    from kitae.serve.app import make_app

    local = _is_local(serving.host)
    log = RequestLog(serving.log) if serving.log is not None else None
    host, port = listening.getsockname()[:2]
    name = f"[{host}]" if ":" in host else host
    url = f"http://{name}:{port}"
    app = make_app(service, keys, serving.origins, name if local else None, log)

    class Server(uvicorn.Server):
        until = 0.0

        def handle_exit(self, sig: int, frame: Any) -> None:
            """What is under way goes on, and what is new is told that it is too late. Who asks twice doesn't want to wait."""
            if service.draining:
                os._exit(EXIT_INTERRUPTED)
            service.draining, self.until = True, time.monotonic() + serving.limits.drain_seconds
            with contextlib.suppress(OSError):  # nobody may be there to read it
                console.say(t("serve.stopping", seconds=round(serving.limits.drain_seconds)))

        async def on_tick(self, counter: int) -> bool:
            if service.draining and (not service.users or time.monotonic() > self.until):
                self.should_exit = True
            return await super().on_tick(counter)

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            _tell(service, url, local, bool(serving.api_key_env))

    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="off",
        server_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=round(serving.limits.drain_seconds),
    )
    logging.getLogger("uvicorn.error").setLevel(logging.DEBUG if console.debug else logging.CRITICAL)
    service.worker.start()
    follower = Follower(service, serving) if serving.follow else None
    try:
        Server(config).run(sockets=[listening])
    finally:
        if follower is not None:
            follower.stop()
        service.worker.stop()
        if log is not None:
            log.close()
    return {"url": url, "models": list(service.models)}


def _tell(service: Service, url: str, local: bool, guarded: bool) -> None:
    for model in service.models.values():
        lane = model.lane
        console.say(t("serve.model", name=model.name, places=lane.places, length=lane.length, engine=lane.engine.name))
    console.say(t("serve.ready", url=url))
    if not local and not guarded:
        console.say(t("serve.open"))


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
