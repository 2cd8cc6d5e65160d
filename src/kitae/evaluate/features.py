"""What a model makes of rows as it reads them: how much a question helps its answer along, and a vector of what a row is about.

IFD, the difficulty of following an instruction, is the perplexity of an answer behind its question over that of the answer
alone. Near 1 the question hardly helps; above 1 it misleads. A vector is the mean of the last hidden states, in which later
tokens, that have read more, weigh more.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch

from kitae.chat import Encoded, Message
from kitae.core.hardware import computes_in_bf16
from kitae.generate import TorchEngine

Floats = npt.NDArray[np.float32]
_LOGITS = 50_000_000  # numbers held at once, but for a row that has more: where a vocabulary is large, nothing is larger
_TOKENS = 4096  # read at once, whatever the vocabulary
_PART = 256  # tokens whose logits are in fp32 at once


@dataclass(frozen=True)
class EncodedRow:
    """A row as it is read: tokens, and from which to which of them its last answer goes."""

    ids: npt.NDArray[np.uint32]
    start: int
    end: int
    asked: bool  # whether anything came before it

    @staticmethod
    def of(row: Encoded) -> EncodedRow:
        start, end = (row.spans[-1].start, row.spans[-1].end) if row.spans else (len(row.ids), len(row.ids))
        return EncodedRow(np.array(row.ids, np.uint32), start, end, "text" not in row.notes)

    @property
    def answer(self) -> int:
        return self.end - self.start


@dataclass(frozen=True)
class RowFeatures:
    """One entry a row."""

    difficulty: Floats | None  # not a number where there is no answer, and for texts
    vectors: Floats | None  # of length 1


class FeatureReader:
    def __init__(self, engine: TorchEngine) -> None:
        self._codec, self._model = engine.codec, engine.model
        config = engine.model.config.get_text_config()
        self._width = int(config.hidden_size)
        self._at_once = max(64, min(_TOKENS, _LOGITS // int(config.vocab_size)))
        self._dtype = torch.bfloat16 if computes_in_bf16("auto") else torch.float32

    def read(self, rows: Sequence[EncodedRow], difficulty: bool, vectors: bool) -> RowFeatures:
        texts, spans = [row.ids.tolist() for row in rows], [(row.start, row.end) for row in rows]
        nats, states = self._pass(texts, spans if difficulty else None, vectors)
        if not difficulty:
            return RowFeatures(None, states)
        answers = [text[start:end] for text, (start, end) in zip(texts, spans, strict=True)]
        heading = self._heading
        ends = [(len(heading), len(heading) + len(answer)) for answer in answers]
        alone, _ = self._pass([heading + answer for answer in answers], ends, False)
        counts = np.array([row.answer if row.asked else 0 for row in rows])
        with np.errstate(divide="ignore", invalid="ignore"):
            found = np.exp((nats - alone) / counts)
        return RowFeatures(np.where(counts > 0, found, np.nan).astype(np.float32), states)

    @cached_property
    def _heading(self) -> list[int]:
        """What stands before every answer, whatever was asked."""
        a, b = (self._codec.prompt([Message("user", text)]) for text in ("a", "7"))
        same = 0
        while same < min(len(a), len(b)) and a[-1 - same] == b[-1 - same]:
            same += 1
        return a[len(a) - same :] if same else a[-1:]

    def _pass(
        self, texts: Sequence[list[int]], spans: Sequence[tuple[int, int]] | None, vectors: bool
    ) -> tuple[npt.NDArray[np.float64], Floats | None]:
        """The nats of each span, if there are any, and each text's vector."""
        nats = np.zeros(len(texts))
        states = np.zeros((len(texts), self._width), np.float32) if vectors else None
        for batch in self._batches(texts):
            some = [texts[i] for i in batch]
            found, hidden = self._forward(some, None if spans is None else [spans[i] for i in batch])
            nats[batch] = found
            if states is not None:
                states[batch] = _means(hidden, [len(text) for text in some])
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
    def _forward(self, texts: Sequence[list[int]], spans: Sequence[tuple[int, int]] | None) -> tuple[list[float], torch.Tensor]:
        """Without spans the head, which is half of a small model's work, is left out."""
        device, width = self._model.device, max(map(len, texts))
        ids = torch.tensor([[*text, *[0] * (width - len(text))] for text in texts], device=device)
        real = torch.tensor([[1] * len(text) + [0] * (width - len(text)) for text in texts], device=device)
        decoder = self._model.get_decoder()
        with torch.autocast(device.type, self._dtype, enabled=self._dtype != torch.float32):
            if spans is None:
                return [0.0] * len(texts), decoder(input_ids=ids, attention_mask=real, use_cache=False)[0]
            first = min(min(start for start, _ in spans), width - 1) - 1  # logits are needed from here on only
            keep = torch.arange(first, width - 1, device=device)
            hidden: list[torch.Tensor] = []
            hook = decoder.register_forward_hook(lambda _, __, found: hidden.append(found[0]))
            try:
                logits = self._model(input_ids=ids, attention_mask=real, use_cache=False, logits_to_keep=keep).logits
            finally:
                hook.remove()
        nats = [
            _nats(row[start - 1 - first : end - 1 - first], text[start:end])
            for row, text, (start, end) in zip(logits, ids, spans, strict=True)
        ]
        return nats, hidden[0]


def _nats(logits: torch.Tensor, wanted: torch.Tensor) -> float:
    """In parts: in fp32 the logits of a long answer are larger than the model."""
    parts = (slice(start, start + _PART) for start in range(0, len(wanted), _PART))
    return sum(float(torch.nn.functional.cross_entropy(logits[part].float(), wanted[part], reduction="sum")) for part in parts)


def _means(hidden: torch.Tensor, lengths: Sequence[int]) -> Floats:
    places = torch.arange(1, hidden.shape[1] + 1, device=hidden.device, dtype=torch.float32)
    means = [(row[:length].float() * places[:length, None]).sum(0) for row, length in zip(hidden, lengths, strict=True)]
    found: Floats = torch.nn.functional.normalize(torch.stack(means)).cpu().numpy()
    return found
