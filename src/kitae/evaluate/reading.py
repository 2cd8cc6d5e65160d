"""What a model makes of rows as it reads them: how much a question helps its answer along, and a vector of what a row is about.

IFD, the difficulty of following an instruction, is the perplexity of an answer behind its question over that of the answer
alone. Near 1 the question hardly helps; above 1 it misleads. A vector is the mean of the last hidden states, in which later
tokens, that have read more, weigh more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch

from kitae.chat import ChatCodec, Conversation, Encoded, Message
from kitae.generate.torch_engine import TorchEngine
from kitae.hardware import computes_in_bf16

Floats = npt.NDArray[np.float32]
_LOGITS = 50_000_000  # numbers held at once: they are the largest thing in memory where a vocabulary is large
_TOKENS = 4096  # read at once, whatever the vocabulary


def readable(codec: ChatCodec, row: Conversation) -> Encoded:
    """The last answer of a row behind all that was said before it; a text as it is."""
    return codec.encode(row)[0] if row.is_text or not row.answer else codec.encode_last(row)


@dataclass(frozen=True)
class Readings:
    """One entry a row."""

    difficulty: Floats | None  # not a number where there is no question, or no answer
    vectors: Floats | None  # of length 1


class Reader:
    def __init__(self, engine: TorchEngine) -> None:
        self.codec, self.context, self._model = engine.codec, engine.context, engine.model
        config = engine.model.config.get_text_config()
        self._width = int(config.hidden_size)
        self._at_once = max(64, min(_TOKENS, _LOGITS // int(config.vocab_size)))
        self._dtype = torch.bfloat16 if computes_in_bf16("auto") else torch.float32

    def read(
        self, rows: Sequence[Encoded], difficulty: bool, vectors: bool, on_tokens: Callable[[int], None] = lambda _: None
    ) -> Readings:
        """As `readable` gives them. `on_tokens` is told how many have been read since it was last told."""
        spans = [(row.spans[-1].start, row.spans[-1].end) if row.spans else (len(row.ids), len(row.ids)) for row in rows]
        nats, states = self._pass([row.ids for row in rows], spans, vectors, on_tokens)
        if not difficulty:
            return Readings(None, states)
        answers = [row.ids[start:end] for row, (start, end) in zip(rows, spans, strict=True)]
        heading = self._heading
        ends = [(len(heading), len(heading) + len(answer)) for answer in answers]
        alone, _ = self._pass([heading + answer for answer in answers], ends, False, on_tokens)
        counts = np.array([0 if "text" in row.notes else end - start for row, (start, end) in zip(rows, spans, strict=True)])
        with np.errstate(divide="ignore", invalid="ignore"):
            found = np.exp((nats - alone) / counts)
        return Readings(np.where(counts > 0, found, np.nan).astype(np.float32), states)

    @cached_property
    def _heading(self) -> list[int]:
        """What stands before every answer, whatever was asked."""
        a, b = (self.codec.prompt([Message("user", text)]) for text in ("a", "7"))
        same = 0
        while same < min(len(a), len(b)) and a[-1 - same] == b[-1 - same]:
            same += 1
        return a[len(a) - same :] if same else a[-1:]

    def _pass(
        self, texts: Sequence[list[int]], spans: Sequence[tuple[int, int]], vectors: bool, on_tokens: Callable[[int], None]
    ) -> tuple[npt.NDArray[np.float64], Floats | None]:
        """The nats of each span, and each text's vector."""
        nats = np.zeros(len(texts))
        states = np.zeros((len(texts), self._width), np.float32) if vectors else None
        for batch in self._batches(texts):
            found, hidden = self._forward([texts[i] for i in batch], [spans[i] for i in batch], vectors)
            nats[batch] = found
            if states is not None and hidden is not None:
                states[batch] = hidden / np.maximum(np.linalg.norm(hidden, axis=1, keepdims=True), 1e-12)
            on_tokens(sum(len(texts[i]) for i in batch))
        return nats, states

    def _batches(self, texts: Sequence[list[int]]) -> Iterator[list[int]]:
        """Texts of like length together."""
        batch: list[int] = []
        for i in sorted(range(len(texts)), key=lambda i: len(texts[i])):
            if batch and (len(batch) + 1) * len(texts[i]) > self._at_once:
                yield batch
                batch = []
            batch.append(i)
        if batch:
            yield batch

    @torch.inference_mode()
    def _forward(
        self, texts: Sequence[list[int]], spans: Sequence[tuple[int, int]], vectors: bool
    ) -> tuple[list[float], Floats | None]:
        device, width = self._model.device, max(map(len, texts))
        ids = torch.tensor([[*text, *[0] * (width - len(text))] for text in texts], device=device)
        real = torch.tensor([[1] * len(text) + [0] * (width - len(text)) for text in texts], device=device)
        first = min(min(start for start, _ in spans), width - 1) - 1  # logits are needed from here on only
        hidden: list[torch.Tensor] = []
        hook = self._model.get_decoder().register_forward_hook(lambda _, __, found: hidden.append(found[0]))
        try:
            with torch.autocast(device.type, self._dtype, enabled=self._dtype != torch.float32):
                keep = torch.arange(first, width - 1, device=device)
                logits = self._model(input_ids=ids, attention_mask=real, use_cache=False, logits_to_keep=keep).logits
        finally:
            hook.remove()
        nats = [
            _nats(row[start - 1 - first : end - 1 - first], text[start:end])
            for row, text, (start, end) in zip(logits, ids, spans, strict=True)
        ]
        if not vectors:
            return nats, None
        weights = real * torch.arange(1, width + 1, device=device)
        states = (hidden[0].float() * weights[..., None]).sum(1) / weights.sum(1, keepdim=True)
        return nats, states.cpu().numpy()


def _nats(logits: torch.Tensor, wanted: torch.Tensor) -> float:
    return float(torch.nn.functional.cross_entropy(logits.float(), wanted, reduction="sum")) if len(wanted) else 0.0
