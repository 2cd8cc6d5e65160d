"""What a server takes on at most, so that no client can take it from the others."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    body_bytes: int = 4 << 20
    body_seconds: float = 30.0  # for a request to arrive
    waiting: int = 256  # answers that have been asked for and not begun
    seconds: float = 600.0  # from a request to the end of its answer
    answers: int = 16  # n, to one request
    drain_seconds: float = 30.0  # for what is under way when the server is asked to stop
