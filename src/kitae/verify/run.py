"""The gates of one run: every form is put to the same exam and compared with the form before it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from kitae.chat import Encoded
from kitae.data import Rows
from kitae.evaluate import exact_match, stopped
from kitae.files import read_json, write_json
from kitae.models import is_adapter, locate, open_codec
from kitae.recipe import Recipe, load_recipe
from kitae.runs import Run
from kitae.verify import behaviour, gguf, merged
from kitae.verify.exam import Exam, Form, own_exam
from kitae.verify.gate import Gate, skipped
from kitae.verify.observe import Observation


class RunVerifier:
    def __init__(self, run: Run) -> None:
        self.run = run
        self._seen: dict[str, Observation] = {}

    @cached_property
    def recipe(self) -> Recipe:
        return load_recipe(self.run.recipe_path)

    @cached_property
    def base_folder(self) -> Path:
        return locate(self.recipe.model.source)

    @cached_property
    def exam(self) -> Exam:
        rows = Rows.load(self.run.data)
        codec = open_codec(self.base_folder, self.recipe.model.chat_template)
        return own_exam(self.recipe, codec, rows.test or rows.validation)

    def training_sequences(self, rows: int = 200) -> list[Encoded]:
        """Some of the rows that were trained on, as they were encoded."""
        chosen = Rows.load(self.run.data).train[:rows]
        return [sequence for row in chosen for sequence in self.exam.codec.encode(row)]

    def shares(self, seen: Observation) -> tuple[float | None, float | None]:
        """(exact match, stop rate) of an exam."""
        if not seen.answers:
            return None, None
        hits = exact_match(seen.answers, self.exam.truths)
        return sum(hits) / len(hits), sum(stopped(seen.answers)) / len(seen.answers)

    @cached_property
    def stop_tokens(self) -> tuple[int, ...]:
        control = self.exam.codec.vocabulary.control
        return tuple(control[text] for text in self.recipe.model.stop_tokens)

    # Forms

    @property
    def base(self) -> Form:
        return Form("base", self.base_folder, None, self.recipe.model.chat_template, self.stop_tokens)

    @property
    def trained(self) -> Form:
        output = self.run.output
        base = self.base_folder if is_adapter(output) else None
        return Form("trained", output, base, self.recipe.model.chat_template, self.stop_tokens)

    def seen(self, form: Form) -> Observation:
        """A form's exam, taken at most once. The base is not in doubt, so its exam is kept between commands."""
        if form.name not in self._seen:
            kept = self._scratch / "base.json"
            if form.name == "base" and kept.exists():
                observation = Observation.from_dict(read_json(kept))
                if observation.logits is not None and observation.logits.exists():
                    self._seen["base"] = observation
                    return observation
            observation = self.exam.ask(form, self._scratch, sampled=form.name != "base")
            if form.name == "base":
                write_json(kept, observation.as_dict())
            self._seen[form.name] = observation
        return self._seen[form.name]

    @property
    def observations(self) -> dict[str, Observation]:
        """What has been seen so far, from the base to the smallest file."""
        first = [name for name in ("base", "trained") if name in self._seen]
        return {name: self._seen[name] for name in [*first, *(n for n in self._seen if n not in first)]}

    @property
    def _scratch(self) -> Path:
        return self.run.path / "observations"

    def clean(self) -> None:
        """The compared logits are large, and of no use once they have been compared."""
        shutil.rmtree(self._scratch, ignore_errors=True)

    # Gates

    def stop_probability(self) -> float:
        terminator = self.exam.codec.terminator
        return 0.0 if terminator is None else behaviour.stop_probability(self.seen(self.base), terminator)

    def merge_gates(self, folder: Path) -> Iterator[Gate]:
        """`merge.*`: cheap checks of the files first; only a folder that is whole is loaded."""
        complete = merged.complete(self.base_folder, folder)
        yield complete
        if complete.verdict != "pass":
            yield skipped("merge.changed", "not-whole")
            yield skipped("merge.equivalent", "not-whole")
            return
        if is_adapter(self.run.output):
            yield merged.changed(self.base_folder, self.run.output, folder)
        else:
            yield merged.changed_whole(self.base_folder, folder)
        yield merged.equivalent(
            "merge.equivalent", self.seen(self.trained), self.seen(Form("merged", folder)), self.exam.limits
        )

    def hf_gates(self, form: Form) -> Iterator[Gate]:
        seen, exam = self.seen(form), self.exam
        yield behaviour.stops("hf.stops", seen, exam.limits)
        yield behaviour.loops("hf.loops", seen, exam.limits)
        yield behaviour.improved(self.seen(self.base), seen, exam.truths, exam.exact, exam.limits)

    def gguf_gates(self, path: Path, reference: Form) -> Iterator[Gate]:
        ours, theirs = self.seen(reference), self.seen(Form("F16", path))
        yield gguf.tokens(ours, theirs)
        yield gguf.template(ours, theirs)
        yield merged.equivalent("gguf.equivalent", ours, theirs, self.exam.limits)
        yield gguf.stop_ids("gguf.stops", ours, theirs) or behaviour.stops("gguf.stops", theirs, self.exam.limits)

    def quant_gates(self, path: Path, quant: str, reference: Form) -> Iterator[Gate]:
        exam, theirs = self.exam, self.seen(Form(quant, path))
        ours = self.seen(reference)
        yield gguf.types(path, quant)
        yield gguf.quant_divergence(ours, theirs, quant, exam.limits)
        yield gguf.stop_ids("quant.stops", ours, theirs) or behaviour.stops("quant.stops", theirs, exam.limits)
        yield behaviour.kept("quant.task", self.seen(self.trained), theirs, exam.truths, exam.exact, exam.limits)
