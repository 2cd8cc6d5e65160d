"""What can be said of a model without knowing what it was meant to be."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from kitae.chat import RAW, ChatCodec
from kitae.core.quants import file_type, numbered
from kitae.models import Target, folder_facts, locate, open_codec, read_gguf_header
from kitae.verify import behaviour, files, gguf, weights
from kitae.verify.before import bos_once, stop_tokens
from kitae.verify.exam import Exam, general_exam
from kitae.verify.gate import Gate, skipped
from kitae.verify.observe import Observation
from kitae.verify.registry import compared_in, gates_of

Stages = Iterator[tuple[Iterable[str], Iterable[Gate]]]  # what gates there may be, and these, measured one after another

_PLAIN = ("F32", "F16", "BF16")


class Alone:
    """What can be said about a model without knowing what it was meant to be. The rest is not compared, which is no fault."""

    def __init__(self, form: Target, scratch: Path, answers: bool) -> None:
        self._form, self._scratch, self._answers = form, scratch, answers

    @cached_property
    def _codec(self) -> ChatCodec:
        return codec_of(self._form)

    @cached_property
    def _exam(self) -> Exam:
        return replace(general_exam(self._codec, None), rows=())  # there is nothing to compare distributions with

    @cached_property
    def _seen(self) -> Observation:
        return self._exam.ask(self._form, self._scratch, self._answers)

    def _behaviour(self, gate: str) -> Iterator[Gate]:
        yield behaviour.rambles(gate, self._seen, self._exam.limits)
        yield behaviour.loops_off_task("hf.loops", self._seen, self._exam.limits)

    def _not_compared(self, *gates: str) -> Iterator[Gate]:
        for gate in gates:
            yield skipped(gate, "no-reference")


class FolderAlone(Alone):
    """A model folder, or an adapter and its base."""

    def stages(self) -> Stages:
        compared = compared_in("merge", "folder")
        if self._form.kind == "folder":
            whole = weights.complete(self._form.path)
            yield ["merge.complete"], [whole]
            if whole.verdict != "pass":
                left = gates_of("folder")
                yield left, (skipped(name, "not-whole") for name in left)
                return
        else:
            compared.append("merge.complete")
        yield ["chat.bos-once"], self._bos()
        yield ["chat.stop-tokens"], self._stop_tokens()
        yield ["hf.modelfile"], [files.modelfile(self._form.path / "Modelfile", self._codec)]
        yield ["hf.defaults", "hf.tokenizer"], self._files()
        yield ["hf.stops", "hf.loops"], self._behaviour("hf.stops")
        yield compared, self._not_compared(*compared)

    def _stop_tokens(self) -> Iterator[Gate]:
        if self._form.template == RAW:
            yield skipped("chat.stop-tokens", "no-template")
            return
        facts = folder_facts(self._form.folder, self._codec)
        yield stop_tokens(self._codec, facts.stop_tokens, facts.stops)

    def _bos(self) -> Iterator[Gate]:
        yield bos_once(self._codec, [self._codec.prompt(row.prompt) for row in self._exam.prompts])

    def _files(self) -> Iterator[Gate]:
        yield files.defaults(self._seen)
        yield files.tokenizer(self._seen)


class GgufAlone(Alone):
    def stages(self) -> Stages:
        quant = quant_of(self._form.path)
        gate = "gguf.stops" if quant is None else "quant.stops"
        compared = compared_in("gguf", "f16" if quant is None else "quant")
        if quant is not None:
            yield ["quant.types"], [gguf.types(self._form.path, quant)]
        yield ["chat.stop-tokens"], self._stop_tokens()
        yield ["hf.modelfile"], [files.modelfile(self._form.path.with_name("Modelfile"), self._codec, self._form.path.name)]
        yield ["hf.defaults", "chat.bos-once"], self._facts()
        yield [gate, "hf.loops"], self._behaviour(gate)
        yield compared, self._not_compared(*compared)

    @cached_property
    def _codec(self) -> ChatCodec:
        return self._told[0]

    @cached_property
    def _told(self) -> tuple[ChatCodec, set[int], dict[str, int]]:
        """Its codec, where llama.cpp stops, and what the file says of that."""
        from kitae.generate import LlamaEngine

        engine = LlamaEngine(self._form.path, self._form.template)
        return engine.codec, engine.stop_tokens, engine.model.facts["stops"]  # the codec reads with the open file

    def _stop_tokens(self) -> Iterator[Gate]:
        if self._form.template == RAW:
            yield skipped("chat.stop-tokens", "no-template")
            return
        codec, stops, places = self._told
        yield stop_tokens(codec, stops, {name: [token] for name, token in places.items()})

    def _facts(self) -> Iterator[Gate]:
        yield files.defaults(self._seen)
        yield gguf.bos(self._seen)


def codec_of(form: Target) -> ChatCodec:
    if form.kind == "gguf":
        return open_codec(locate(str(form.path)), form.template)
    return open_codec(form.folder, form.template)


def quant_of(path: Path) -> str | None:
    """The quantisation a GGUF file declares, or None if it is not quantised."""
    named = numbered(read_gguf_header(path).facts.get("general.file_type", file_type("F16").number)).name
    return None if named in _PLAIN else named
