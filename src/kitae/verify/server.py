"""A running server that speaks the OpenAI API, asked as its users ask it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import PurePath

from kitae.ask import Endpoint, Reply, Request
from kitae.chat import Message
from kitae.core.console import Progress
from kitae.core.errors import InputError, KitaeError
from kitae.targets import server_named

_ROUNDS = 3  # in which an answer that may have been given, and got lost, is asked for again
_IN_A_ROW = 4  # such failures, each after several tries: it does not come back
_BUSY = re.compile(r"(?:429|503|529)\b")
_KEY = re.compile(r"40[13]\b")


class Server:
    def __init__(self, name: str, hints: Sequence[str], key: str | None = None, timeout: float = 120.0) -> None:
        """`hints`: what the model may be called, if it isn't named and there are several; the surest first."""
        self.url, named = server_named(name)
        self._endpoint = Endpoint(self.url, named or "", key, timeout=timeout)
        with self._explained():
            served = self._endpoint.models()
        self.model = self._endpoint.name = self._model(named, served, hints)
        self._shows = True  # until it is seen not to say what it makes of a conversation

    def _model(self, named: str | None, served: Sequence[str], hints: Sequence[str]) -> str:
        if named is not None:
            if served and named not in {*served, *(name.removesuffix(":latest") for name in served)}:
                raise InputError("server-model", where=self.url, why="\n".join(served), model=named)
            return named
        if not served:
            raise InputError("endpoint-model", where=self.url)
        for hint in hints if len(served) > 1 else ():
            fitting = [name for name in served if file_stem(name) == hint] or [name for name in served if hint in name]
            if len(fitting) == 1:
                return fitting[0]
        if len(served) > 1:
            raise InputError("server-models", where=self.url, why="\n".join(served), example=served[0])
        return served[0]

    def ask(self, requests: Sequence[Request], label: str) -> list[Reply]:
        """In their order. What it refuses comes as a reply that says so; what fails for now is asked again."""
        replies: dict[int, Reply] = {}
        progress = Progress(label, len(requests), patient=True)
        failures, why = 0, ""
        with self._explained():
            for _ in range(_ROUNDS):
                missing = [(i, request) for i, request in enumerate(requests) if i not in replies]
                for some in self._endpoint.answer(iter(missing)):
                    for number, reply in some:
                        if reply.passing:
                            failures, why = failures + 1, reply.failed
                        else:
                            failures, replies[number] = 0, reply
                    progress.update(len(replies))
                    if failures >= _IN_A_ROW:
                        raise self._silent(why)
                if len(replies) == len(requests):
                    progress.close()
                    return [replies[i] for i in range(len(requests))]
        raise self._silent(why)

    def shows(self, messages: Sequence[Message]) -> str | list[int] | None:
        """What it makes of a conversation, as text or as tokens, if it has a route that says so: llama-server and vLLM have."""
        if not self._shows:
            return None
        said = [message.as_dict() for message in messages]
        text = (self._endpoint.other("/apply-template", {"model": self.model, "messages": said}) or {}).get("prompt")
        if isinstance(text, str) and text:
            return text
        asked = {"model": self.model, "messages": said, "add_generation_prompt": True}
        ids = (self._endpoint.other("/tokenize", asked) or {}).get("tokens")
        if isinstance(ids, list) and ids and all(isinstance(token, int) for token in ids):
            return ids
        self._shows = False
        return None

    @property
    def left_out(self) -> set[str]:
        return self._endpoint.left_out

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Nothing is kept of an exam that breaks off, and nothing costs by the word, so other advice helps than elsewhere."""
        try:
            yield
        except KitaeError as error:
            if error.kind == "endpoint-unreachable":
                raise self._silent(error.why) from error
            if error.kind == "endpoint-refused":
                kind = "server-key" if _KEY.match(error.why) else "server-route"
                raise self._refused(kind, error.why) from error
            raise

    def _silent(self, why: str) -> KitaeError:
        if _BUSY.match(why):
            return KitaeError("server-busy", where=self.url, why=why)
        return KitaeError("server-silent", where=self.url, why=why)

    def _refused(self, kind: str, why: str) -> InputError:
        if kind == "server-key":
            return InputError("server-key", where=self.url, why=why)
        return InputError("server-route", where=self.url, why=why, model=self._endpoint.name)


def file_stem(model: str) -> str:
    """Of what a server calls a model, which may be the path of a file, or carry a tag."""
    name = PurePath(model).name
    return name.removesuffix(".gguf").removesuffix(":latest")
