"""What a server does, for Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300)


class Metrics:
    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        registry = self._registry
        self._requests = Counter("kitae_requests", "Requests, by route and status", ["route", "status"], registry=registry)
        self._answers = Counter("kitae_answers", "Answers that ended, by why they did", ["finish"], registry=registry)
        self._asked = Counter("kitae_prompt_tokens", "Tokens of prompts", registry=registry)
        self._known = Counter("kitae_cached_tokens", "Tokens of prompts that need not be read again", registry=registry)
        self._said = Counter("kitae_generated_tokens", "Tokens of answers", registry=registry)
        self._running = Gauge("kitae_running", "Answers that are being written", registry=registry)
        self._waiting = Gauge("kitae_waiting", "Answers that wait for their turn", registry=registry)
        self._first = Histogram("kitae_first_token_seconds", "To the first token", buckets=_SECONDS, registry=registry)
        self._whole = Histogram("kitae_answer_seconds", "To the end of an answer", buckets=_SECONDS, registry=registry)

    def replied(self, route: str, status: int) -> None:
        self._requests.labels(route, str(status)).inc()

    def began(self, asked: int, known: int, seconds: float) -> None:
        self._asked.inc(asked)
        self._known.inc(known)
        self._first.observe(seconds)

    def stepped(self, tokens: int) -> None:
        self._said.inc(tokens)

    def ended(self, finish: str, seconds: float) -> None:
        self._answers.labels(finish).inc()
        self._whole.observe(seconds)

    def loaded(self, running: int, waiting: int) -> None:
        self._running.set(running)
        self._waiting.set(waiting)

    def text(self) -> bytes:
        return generate_latest(self._registry)
