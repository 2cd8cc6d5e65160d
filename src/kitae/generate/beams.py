"""Beam search: of all answers, those that the model finds likeliest as a whole, not token by token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from kitae.core.errors import ContextFull, InputError
from kitae.generate.engine import Engine, Part
from kitae.generate.pieces import token_bytes
from kitae.generate.sampling import Logits, Probabilities, Wish, adjusted
from kitae.generate.settings import Completion, Finish, Settings
from kitae.generate.stops import TextStream


@dataclass(frozen=True)
class _Beam:
    sequence: int
    tokens: tuple[int, ...]
    score: float  # the sum of its tokens' logprobs


def beam_search(engine: Engine, prompt: Sequence[int], settings: Settings) -> list[Completion]:
    """The `n` best of `beams`, best first. It goes on until no answer that isn't finished can become better than those that
    are. What is chosen by chance has no place in it, so settings that only shape chance are refused."""
    alone = (settings.constraint, settings.max_seconds, settings.logprobs, settings.best_of, settings.stop_when)
    if settings.temperature > 0 or settings.filters or settings.stop_repeating or any(each is not None for each in alone):
        raise InputError("beams-settings")
    if settings.n > settings.beams:
        raise InputError("beams-n", n=settings.n, beams=settings.beams)
    room = min(settings.max_tokens, engine.context - len(prompt))
    if room <= 0:
        raise ContextFull("context-full", tokens=len(prompt), limit=engine.context)
    search = _Search(engine, list(prompt), settings, room)
    try:
        return search.best()
    finally:
        search.decoder.close()


class _Search:
    def __init__(self, engine: Engine, prompt: list[int], settings: Settings, room: int) -> None:
        self.engine, self.prompt, self.room = engine, prompt, room
        self.settings = replace(settings, bans=(*settings.bans, *engine.stop_tokens)) if settings.ignore_stops else settings
        self.stops = engine.stop_tokens | set(settings.stop_tokens)
        self.decoder = engine.open(settings.beams * 2, len(prompt) + room)  # children are there before their parents leave
        self.random = np.random.default_rng(0)
        self.next = 1
        self.ended: list[tuple[float, _Beam, Finish]] = []

    def best(self) -> list[Completion]:
        self.decoder.begin(0, self.prompt)
        live = [_Beam(0, (), 0.0)]
        rows = self.decoder.read([Part(0, self.prompt)])
        for _ in range(self.room):
            live = self._grown(live, rows)
            if not live or self._none_can_win(live):
                break
            rows = self.decoder.read([Part(beam.sequence, [beam.tokens[-1]]) for beam in live])
        self.ended += [(self._rated(beam), beam, "length") for beam in live]
        self.ended.sort(key=lambda found: -found[0])
        return [self._completion(beam, finish) for _, beam, finish in self.ended[: self.settings.n]]

    def _grown(self, live: list[_Beam], rows: Logits) -> list[_Beam]:
        """The likeliest continuations of all beams together. Twice as many are looked at, because some are ends."""
        width = self.settings.beams
        scores = np.stack([self._logprobs(beam, row) + beam.score for beam, row in zip(live, rows, strict=True)])
        flat = scores.ravel()
        likeliest = np.argpartition(-flat, min(2 * width, len(flat) - 1))[: 2 * width]
        chosen: list[tuple[_Beam, int, float]] = []
        for rank, place in enumerate(likeliest[np.argsort(-flat[likeliest], kind="stable")].tolist()):
            beam, token = live[place // scores.shape[1]], place % scores.shape[1]
            score = float(flat[place])
            if score == -np.inf:
                continue
            if token in self.stops:
                if rank < width:
                    end = replace(beam, tokens=(*beam.tokens, token), score=score)
                    self.ended.append((self._rated(end), end, "stop"))
            elif len(chosen) < width:
                grown = (*beam.tokens, token)
                if self._says_a_stop(grown):
                    end = replace(beam, tokens=grown, score=score)
                    self.ended.append((self._rated(end), end, "stop"))
                else:
                    chosen.append((beam, token, score))
        self.ended = sorted(self.ended, key=lambda found: -found[0])[:width]
        return self._moved(live, chosen)

    def _moved(self, live: list[_Beam], chosen: list[tuple[_Beam, int, float]]) -> list[_Beam]:
        """Each child in a sequence of its own: the first takes its parent's place."""
        taken: set[int] = set()
        children = []
        for beam, token, score in chosen:
            sequence = beam.sequence
            if sequence in taken:
                sequence, self.next = self.next, self.next + 1
                self.decoder.fork(beam.sequence, sequence)
            taken.add(sequence)
            children.append(_Beam(sequence, (*beam.tokens, token), score))
        self.decoder.drop([beam.sequence for beam in live if beam.sequence not in taken])
        return children

    def _logprobs(self, beam: _Beam, row: Logits) -> Probabilities:
        """Penalties, bias and bans change what the model itself finds likely, as they do everywhere else."""
        raw = row.astype(np.float64)
        raw -= raw.max()
        wish = Wish(self.settings, [*self.prompt, *beam.tokens], self.random, len(self.prompt))
        raw -= np.log(np.exp(raw).sum())
        return adjusted(raw.astype(np.float32), wish).astype(np.float64)

    def _rated(self, beam: _Beam) -> float:
        return float(beam.score / float(len(beam.tokens)) ** self.settings.length_penalty)

    def _none_can_win(self, live: list[_Beam]) -> bool:
        if len(self.ended) < self.settings.beams:
            return False
        worst = self.ended[-1][0]
        best = max(live, key=lambda beam: beam.score)
        length = self.room if self.settings.length_penalty > 0 else len(best.tokens)  # at which its score counts most
        return bool(best.score / float(length) ** self.settings.length_penalty <= worst)

    def _says_a_stop(self, tokens: Sequence[int]) -> bool:
        return bool(self.settings.stop) and self._text(tokens)[1]

    def _text(self, tokens: Sequence[int]) -> tuple[str, bool]:
        piece, text = token_bytes(self.engine.codec.vocabulary), TextStream(self.settings.stop)
        said = "".join(text.feed(piece(token)) for token in tokens if token not in self.stops) + text.flush()
        return said, text.stopped

    def _completion(self, beam: _Beam, finish: Finish) -> Completion:
        return Completion(self._text(beam.tokens)[0], beam.tokens, finish)
