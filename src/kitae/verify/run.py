"""The gates of one run: every form is put to the same exam and compared with the form before it."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from kitae.chat import Encoded
from kitae.core.console import console
from kitae.core.files import read_json, write_json
from kitae.core.i18n import t
from kitae.core.quants import QUANTS
from kitae.data import Rows
from kitae.evaluate import exact_match, stopped
from kitae.models import Target, folder_facts, is_adapter, is_soft_prompt, open_codec
from kitae.recipe import Recipe, Thresholds, load_recipe
from kitae.runs import Run
from kitae.targets import base_folder, base_target, trained_target
from kitae.verify import behaviour, equal, files, gguf, weights
from kitae.verify.after import after_training, inputs
from kitae.verify.exam import Exam, own_exam
from kitae.verify.gate import Gate, skipped
from kitae.verify.observe import Observation, observe
from kitae.verify.registry import gates_of


class RunVerifier:
    def __init__(self, run: Run, scratch: Path | None = None) -> None:
        """`scratch`: where answers are kept while they are compared; by default the run's own folder."""
        self.run = run
        self._scratch = scratch or run.path / "observations"
        self._seen: dict[tuple[str, Path], Observation] = {}

    @cached_property
    def recipe(self) -> Recipe:
        return load_recipe(self.run.recipe_path)

    @cached_property
    def base_folder(self) -> Path:
        return base_folder(self.recipe, self.run)

    @cached_property
    def exam(self) -> Exam:
        rows = Rows.load(self.run.data)
        codec = open_codec(self.base_folder, self.recipe.model.chat_template)
        context = folder_facts(self.base_folder, codec).context
        return own_exam(self.recipe, codec, context, rows.test, rows.validation)

    def training_sequences(self, rows: int = 200) -> list[Encoded]:
        """Some of the rows that were trained on, as they were encoded."""
        chosen = Rows.load(self.run.data).train[:rows]
        return [sequence for row in chosen for sequence in self.exam.codec.encode(row)]

    def shares(self, seen: Observation) -> tuple[float | None, float | None]:
        """(exact match, stop rate) of an exam."""
        if not seen.answers:
            return None, None
        hits = exact_match(seen.answers, self.exam.truths[: len(seen.answers)])  # a refused F16 was asked for few
        return sum(hits) / len(hits), sum(stopped(seen.answers)) / len(seen.answers)

    @cached_property
    def stop_tokens(self) -> tuple[int, ...]:
        return tuple(sorted(self.base.stop_ids(self.exam.codec)))

    # Forms

    def files(self, folder: Path, quants: Iterable[str]) -> dict[str, Path]:
        """The run's GGUF file of each type."""
        return {quant: folder / f"{self.recipe.name}-{quant}.gguf" for quant in quants}

    @property
    def wanted_files(self) -> dict[str, Path]:
        """The files that the last shipping was asked for, or the recipe if there was none; and others that were exported."""
        packaged = list(self.run.events("packaged"))
        shipped = self.run.ship.exists()
        folder = self.run.ship if shipped else self.run.work
        wanted = packaged[-1]["quants"] if shipped and packaged else self.recipe.quants
        made = [quant for quant, path in self.files(folder, QUANTS).items() if path.exists()]
        return self.files(folder, dict.fromkeys([*wanted, *made]))

    @property
    def base(self) -> Target:
        return base_target(self.run)

    @property
    def trained(self) -> Target:
        return trained_target(self.run)

    def seen(self, form: Target, exam: Exam | None = None) -> Observation:
        """A form's exam, taken at most once. `train.inputs` vouches for the base, so its exam is kept between commands.
        `exam`: a shorter one, for a form that is about to be proven equal to another."""
        key = (form.name, form.path)
        known = self._seen.get(key)
        if known is None or (exam is None and len(known.answers) < len(self.exam.prompts)):
            is_base = form.name == "base"
            kept = self._kept_base() if is_base else None
            asked = self.exam.start(form) if is_base else (exam or self.exam).job(form)
            self._seen[key] = kept or observe(asked, self._scratch)
            if is_base and kept is None:
                write_json(self._scratch / "base.json", self._seen[key].as_dict())
        return self._seen[key]

    def _kept_base(self) -> Observation | None:
        """The base's answers to these very questions, if they were asked before."""
        file = self._scratch / "base.json"
        if not file.exists():
            return None
        said = read_json(file)
        if "target" not in said["job"]:  # of an earlier version
            return None
        kept = Observation.from_dict(said)
        same = kept.job == self.exam.start(self.base) and {"defaults", "control"} <= kept.facts.keys()  # of this version
        return kept if same and kept.logits is not None and kept.logits.exists() else None

    @property
    def observations(self) -> dict[str, Observation]:
        """What has been seen so far, from the base to the smallest file."""
        by_name = {name: seen for (name, _), seen in self._seen.items()}
        return {name: by_name.pop(name) for name in ("base", "trained") if name in by_name} | by_name

    def clean(self) -> None:
        """The compared logits are large, and of no use once they have been compared."""
        shutil.rmtree(self._scratch, ignore_errors=True)

    # Gates

    def inputs(self) -> Gate:
        return inputs(self.run, self.base_folder, self.exam.codec)

    def training_gates(self) -> Iterator[Gate]:
        yield self.inputs()
        yield from after_training(self.run)

    def stop_probability(self) -> float:
        console.say(t("say.exam", form="base"))
        terminator = self.exam.codec.terminator
        if terminator is None:
            return 0.0
        # Answers that count will be needed again; others can wait until there is something to compare them with.
        base = self.seen(self.base) if self.exam.exact else self.exam.ask(self.base, self._scratch, answers=False)
        return behaviour.stop_probability(base, terminator)

    @property
    def merges(self) -> bool:
        """Whether what was trained becomes one set of weights."""
        return not is_soft_prompt(self.run.output)

    def unmerged_gates(self) -> Iterator[Gate]:
        for gate in gates_of("merge"):
            yield skipped(gate, "soft-prompt")

    def merge_gates(self, folder: Path) -> Iterator[Gate]:
        """`merge.*`: cheap checks of the files first; only a folder that is whole is loaded."""
        complete = weights.complete(folder, self.base_folder)
        yield complete
        if complete.verdict != "pass":
            yield skipped("merge.changed", "not-whole")
            yield skipped("merge.equivalent", "not-whole")
            return
        if is_adapter(self.run.output):
            changed = weights.changed(self.base_folder, self.run.output, folder)
        else:
            changed = weights.changed_whole(self.base_folder, folder)
        yield changed
        trained, whole = self.seen(self.trained, self.exam.without_answers()), self.seen(Target(folder, "merged"))
        rounded = changed.verdict == "pass" and weights.in_bf16(folder)
        same = equal.other_text(trained, whole) or equal.equivalent(
            "merge.equivalent", trained, whole, self.exam.limits, rounded
        )
        yield same
        self._proven(self.trained, "merged", whole, same)

    def hf_gates(self, form: Target) -> Iterator[Gate]:
        seen, exam = self.seen(form), self.exam
        yield behaviour.stops("hf.stops", seen, exam.limits)
        yield behaviour.loops("hf.loops", seen, exam.limits)
        better = behaviour.improved(self.seen(self.base), seen, exam.truths, exam.exact, exam.limits, exam.preferences)
        lost = self._lost("hf.task", seen)
        yield better if better.verdict == "refuse" or lost is None else lost
        yield files.defaults(seen, self.seen(self.base))
        yield files.tokenizer(seen, self.seen(self.base))
        yield files.modelfile(form.path / "Modelfile", exam.codec)

    def gguf_gates(self, path: Path, reference: Target) -> Iterator[Gate]:
        form, short = Target(path, "F16"), self.exam.with_few_answers()
        ours, theirs = self.seen(reference), self.seen(form, short)
        yield gguf.tokens(ours, theirs)
        yield gguf.template(ours, theirs)
        same = equal.equivalent("gguf.equivalent", ours, theirs, self.exam.limits)
        lost = self._lost("gguf.equivalent", theirs)
        proof = same if same.verdict == "refuse" or lost is None else lost
        yield proof
        yield gguf.stop_ids("gguf.stops", ours, theirs) or behaviour.stops("gguf.stops", theirs, self.exam.limits)
        self._proven(form, reference.name, ours, proof)

    def quant_gates(self, path: Path, quant: str, reference: Target) -> Iterator[Gate]:
        exam, theirs = self.exam, self.seen(Target(path, quant))
        ours = self.seen(reference)
        yield gguf.tokens(ours, theirs)
        yield gguf.template(ours, theirs)
        yield gguf.types(path, quant)
        yield gguf.quant_divergence(ours, theirs, quant, exam.limits)
        yield gguf.stop_ids("quant.stops", ours, theirs) or behaviour.stops("quant.stops", theirs, exam.limits)
        yield behaviour.kept("quant.task", self.seen(self.trained), theirs, quant, exam.truths, exam.exact, exam.limits)

    def _lost(self, gate: str, seen: Observation) -> Gate | None:
        """A refusal if a form lost answers of the trained form; None also where whole answers don't count."""
        exam = self.exam
        if not exam.exact:
            return None
        count = len(seen.answers)
        trained = replace(self.seen(self.trained), answers=self.seen(self.trained).answers[:count])
        return behaviour.lost(gate, trained, seen, exam.truths[:count], exam.limits)

    def _proven(self, form: Target, name: str, like: Observation, proof: Gate) -> None:
        """Two forms that give every token the same probability answer alike, so one of them is asked for all of its answers."""
        key = (form.name, form.path)
        measured = proof.measured if isinstance(proof.measured, dict) else {}
        alike = measured.get("mean", math.inf) < Thresholds().equivalent_kld  # a recipe may be content with less
        if alike and proof.verdict == "pass" and len(self._seen[key].answers) < len(like.answers):
            self._seen[key] = replace(
                self._seen[key], answers=like.answers, sampled=like.sampled, answers_of=name, tokens_per_second=0.0
            )
