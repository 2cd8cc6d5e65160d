"""The proof chain: merge → check → F16 → check → quantise → check → package. The first refusal ends it.

Artifacts grow in the run's `work/` folder, each written whole or not at all, so a killed chain is simply run again: what
is there is used, and what is used is checked. Nothing reaches `ship/` before every gate has passed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from kitae.core.console import console
from kitae.core.errors import InputError, Refused
from kitae.core.files import read_json, remove_folder, remove_leftovers, staged_folder, write_json, write_text
from kitae.core.i18n import t
from kitae.models import Target
from kitae.runs import Run
from kitae.ship.conversion import converter
from kitae.ship.export import check_convertible, to_gguf
from kitae.ship.importance_matrix import importance
from kitae.ship.merge import merge
from kitae.ship.package import fill_package
from kitae.ship.quantisation import quantise
from kitae.ship.report import chain_report, render_html
from kitae.ship.results import ShipReport
from kitae.verify import Gate, RunVerifier, gates_of, with_missing

PLAIN = "F16"


class Chain:
    def __init__(self, run: Run, quants: Sequence[str]) -> None:
        if run.state == "running":
            raise InputError("run-running", where=run.id)
        if not run.output.exists():
            raise InputError("run-untrained", where=run.id, why=run.state)
        self.run = run
        self.asked = frozenset(quants)
        # Every smaller file is made from F16, and proven against it.
        self.quants = list(dict.fromkeys([PLAIN, *quants])) if quants else []
        self.verifier = RunVerifier(run)
        if quants:
            self._refuse_soft_prompt()
            check_convertible(self.verifier.base_folder)
            converter()  # now, and not after everything else
        self.gates: list[Gate] = []
        run.work.mkdir(exist_ok=True)
        remove_leftovers(run.work)
        remove_leftovers(run.path)

    # Single steps, each of which is also a command

    @property
    def merged(self) -> Path:
        return self.run.work / "merged"

    def gguf(self, quant: str) -> Path:
        return self.verifier.files(self.run.work, [quant])[quant]

    def _refuse_soft_prompt(self) -> None:
        if not self.verifier.merges:
            raise InputError("soft-prompt-merge", where=self.run.id)

    def make_merged(self) -> Path:
        self._refuse_soft_prompt()
        if not self.merged.exists():
            console.say(t("say.merge"))
            recipe = self.verifier.recipe
            stops = list(self.verifier.stop_tokens)
            template = recipe.model.chat_template
            merge(self.verifier.base_folder, self.run.output, self.merged, recipe.ship.dtype, template, stops)
        return self.merged

    def make_gguf(self, quant: str) -> Path:
        target = self.gguf(quant)
        if not target.exists():
            console.say(t("say.export", quant=quant))
            if quant == PLAIN:
                to_gguf(self.make_merged(), target)
            else:
                plain, rows = self.make_gguf(PLAIN), self.verifier.training_sequences()
                quantise(plain, target, quant, importance(self.merged, rows, quant))
        return target

    # The whole chain

    def run_all(self) -> ShipReport:
        try:
            self._prove()
            return self._package()
        finally:
            self.verifier.clean()

    def _prove(self) -> None:
        expected = gates_of("rows", "base", "trained")
        training = [*self._gates_of_training(), *self.verifier.training_gates()]
        self._check("training", with_missing(training, expected, "not-recorded"))
        if not self.verifier.merges:
            self._check("merge", self.verifier.unmerged_gates())
            self._check("hf", self.verifier.hf_gates(self.verifier.trained))
            return
        self.make_merged()
        merged = Target(self.merged, "merged")
        self._check("merge", self.verifier.merge_gates(self.merged), self.merged)
        self._check("hf", self.verifier.hf_gates(merged), self.merged)
        for quant in self.quants:
            if quant == PLAIN:
                plain = self.make_gguf(PLAIN)
                self._check("gguf", self.verifier.gguf_gates(plain, merged), plain)
                continue
            path = self.make_gguf(quant)
            self._check(quant, self.verifier.quant_gates(path, quant, merged), path)

    def _gates_of_training(self) -> list[Gate]:
        """What was found before the first step; the rows it was found on are in the run's folder."""
        path = self.run.reports / "train.json"
        return [Gate.from_dict(gate) for gate in read_json(path)["before"]] if path.exists() else []

    def _check(self, stage: str, gates: Iterable[Gate], artifact: Path | None = None) -> None:
        console.say(t("say.check", stage=stage))
        subject = artifact.name if artifact and artifact.is_file() else ""
        found = [replace(gate, subject=subject) for gate in gates]
        self.gates += found
        for gate in found:
            console.say(f"  {_MARK[gate.verdict]} {gate.id}  {gate.evidence[0] if gate.evidence else ''}"[:150])
        refusing = [gate for gate in found if gate.verdict == "refuse"]
        if refusing:
            self._refuse("gate", refusing, artifact)
        missing = [gate for gate in found if gate.verdict == "skip" and gate.required]
        if missing:
            self._refuse("incomplete", missing)

    def _remove(self, artifact: Path) -> None:
        """A refused artifact and what was made from it: the next try makes them again."""
        if artifact == self.merged:
            remove_folder(artifact)
        for file in [artifact] if artifact.is_file() and artifact != self.gguf(PLAIN) else self.run.work.glob("*.gguf"):
            file.unlink()

    def _refuse(self, kind: str, gates: Sequence[Gate], artifact: Path | None = None) -> None:
        report = chain_report(self.run, self.verifier, self.gates, None)
        self._write_report(report)
        if self.run.ship.exists():  # what passed once is not ours to destroy, but it is no package any more
            remove_folder(self.run.withdrawn)
            self.run.ship.replace(self.run.withdrawn)
        if artifact:
            self._remove(artifact)
        self.run.set_state("refused")
        why = "\n".join(f"{gate.id}: {gate.why()}\n    {'; '.join(gate.evidence[:2])}\n    → {gate.fix()}" for gate in gates)
        where = str(self.run.reports / "report.html")
        raise Refused(f"refused-{kind}", [gate.as_dict() for gate in gates], where=where, why=why)

    def _package(self) -> ShipReport:
        files = [self.gguf(quant) for quant in self.quants if quant in self.asked]
        report = chain_report(self.run, self.verifier, self.gates, self.run.ship)
        with staged_folder(self.run.ship) as stage:
            fill_package(stage, self.merged if self.verifier.merges else self.run.output, files, self.verifier, report)
        self._write_report(report)
        self.run.record("packaged", quants=[quant for quant in self.quants if quant in self.asked])
        self.run.set_state("shipped")
        remove_folder(self.run.work)  # everything in it is in the package now
        return report

    def _write_report(self, report: ShipReport) -> None:
        write_json(self.run.reports / "report.json", report)
        write_text(self.run.reports / "report.html", render_html(report))


_MARK = {"pass": "✓", "refuse": "✗", "warn": "!", "skip": "–"}
