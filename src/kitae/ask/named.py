"""Whoever a user names to answer: a model on this machine, or an endpoint."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kitae.targets import Address, address_named, resolve

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
    def model(self) -> str:
        address = address_named(self.who)
        return self.who if address is None else address.model

    def fingerprint(self) -> list[str]:
        """What its answers depend on, as far as that can be seen from here."""
        return [] if address_named(self.who) else resolve(self.who).fingerprint()

    def check(self) -> None:
        """Whether there is such a model, or may be such an endpoint. No endpoint is asked."""
        address = address_named(self.who)
        if address is None:
            resolve(self.who)
        else:
            self._endpoint(address)

    def open(self) -> Client:
        from kitae.ask.answering import open_target
        from kitae.ask.client import LocalClient

        address = address_named(self.who)
        if address is None:
            engine, _ = open_target(self.who)
            return LocalClient(engine, self.who)
        return self._endpoint(address)

    def _endpoint(self, address: Address) -> Endpoint:
        from kitae.ask.endpoint import Endpoint

        return Endpoint(address.url, address.model, key_in(self.key_env), self.at_once, self.per_minute, self.timeout)


def key_in(variable: str) -> str | None:
    """An endpoint's key, by the name of the environment variable that holds it."""
    return os.environ.get(variable) or None if variable else None
