"""Whoever a user names to answer: a model on this machine, or an endpoint."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kitae.core.errors import InputError

if TYPE_CHECKING:
    from kitae.ask.client import Client
    from kitae.ask.endpoint import Endpoint


@dataclass(frozen=True)
class ClientSpec:
    """`who`: a run, starter, folder, hub id or .gguf file; or the address of an OpenAI-compatible endpoint, # and its model."""

    who: str
    key_env: str = "OPENAI_API_KEY"  # the variable that holds the key of an endpoint; "": it gets none
    at_once: int = 4
    per_minute: float | None = None
    timeout: float = 120.0

    @property
    def is_endpoint(self) -> bool:
        return "://" in self.who

    @property
    def model(self) -> str:
        return self.who.partition("#")[2] if self.is_endpoint else self.who

    def check(self) -> None:
        """Whether there is such a model, or may be such an endpoint. No endpoint is asked."""
        if self.is_endpoint:
            self._endpoint()
            return
        from kitae.targets import resolve

        resolve(self.who)

    def open(self) -> Client:
        from kitae.ask.client import LocalClient

        if not self.is_endpoint:
            from kitae.ask.answering import open_target

            engine, _ = open_target(self.who)
            return LocalClient(engine, self.who)
        return self._endpoint()

    def _endpoint(self) -> Endpoint:
        from kitae.ask.endpoint import Endpoint

        url = self.who.partition("#")[0]
        if not self.model:
            raise InputError("endpoint-model", where=url)
        key = os.environ.get(self.key_env) or None if self.key_env else None
        return Endpoint(url, self.model, key, self.at_once, self.per_minute, self.timeout)
