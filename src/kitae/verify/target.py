"""`kitae verify`: whatever the user points at, with or without something to compare it to."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from kitae.chat import ChatCodec
from kitae.data import Rows
from kitae.errors import InputError
from kitae.evaluate.observe import Observation
from kitae.models import base_of, check_folder, folder_facts, is_adapter, locate, open_codec, read_gguf_header
from kitae.recipe import Thresholds
from kitae.runs import Run, find_run, is_run
from kitae.train import prepare
from kitae.verify import behaviour, gguf, merged
from kitae.verify.before import BeforeTraining, bos_once, stop_token_trainable, stop_tokens
from kitae.verify.exam import Exam, Form, general_exam
from kitae.verify.gate import GATES, Gate, Verdict, in_order, skipped, with_missing
from kitae.verify.run import RunVerifier

# llama.cpp's numbers for whole-file types; 0, 1 and 32 are the unquantised ones.
_FILE_TYPES = {
    1: "F16",
    2: "Q4_0",
    7: "Q8_0",
    10: "Q2_K",
    12: "Q3_K_M",
    14: "Q4_K_S",
    15: "Q4_K_M",
    16: "Q5_K_S",
    17: "Q5_K_M",
    18: "Q6_K",
}
_PLAIN = (0, 1, 32)


def verify_target(target: str, against: str | None = None, only: Sequence[str] = ()) -> Verdict:
    unknown = [name for name in only if name not in GATES]
    if unknown:
        raise InputError("gate-unknown", where=", ".join(unknown), why=", ".join(GATES))
    with tempfile.TemporaryDirectory(prefix="kitae-verify-") as scratch:
        if against is not None:
            gates = list(_pair(target, against, Path(scratch)))
        elif is_run(target):
            gates = list(_run(target, Path(scratch)))
        else:
            gates = list(_alone(_form(target), Path(scratch)))
    if only:
        gates = [gate for gate in gates if gate.id in only]
        gates += [skipped(name, "not-applicable") for name in only if name not in {gate.id for gate in gates}]
    return Verdict(in_order(gates))


def _form(target: str) -> Form:
    path = Path(target).expanduser()
    if path.is_dir() and is_adapter(path):
        return Form(target, path.absolute(), base_of(path))
    if path.suffix == ".gguf":
        read_gguf_header(path)
        return Form(target, path.absolute())
    folder = locate(target)
    return Form(target, folder)


def _alone(form: Form, scratch: Path) -> Iterator[Gate]:
    """What can be said about a model without knowing what it was meant to be."""
    if form.kind == "gguf":
        yield from _gguf_alone(form, scratch)
        return
    folder = form.base or form.path
    codec = open_codec(folder)
    exam = general_exam(codec, Thresholds())
    facts = folder_facts(folder, codec)
    yield bos_once(codec, [codec.prompt(row.prompt) for row in exam.rows])
    yield stop_tokens(codec, facts.stop_tokens, facts.stops)
    seen = exam.ask(form, scratch)
    yield behaviour.stops("hf.stops", seen, exam.limits)
    yield behaviour.loops("hf.loops", seen, exam.limits)
    yield skipped("hf.task", "no-reference")
    for gate in ("merge.complete", "merge.changed", "merge.equivalent"):
        yield skipped(gate, "no-reference")


def _gguf_alone(form: Form, scratch: Path) -> Iterator[Gate]:
    from kitae.generate.llama_engine import LlamaEngine

    engine = LlamaEngine(form.path)
    codec, stops, places = engine.codec, engine.stop_tokens, engine.model.facts["stops"]
    exam = general_exam(codec, Thresholds())
    yield bos_once(codec, [codec.prompt(row.prompt) for row in exam.rows])
    yield stop_tokens(codec, stops, {name: [token] for name, token in places.items()})
    seen = exam.ask(form, scratch)
    engine.close()
    yield behaviour.stops("gguf.stops", seen, exam.limits)
    yield behaviour.loops("hf.loops", seen, exam.limits)
    quant = _quant(form.path)
    if quant:
        yield gguf.types(form.path, quant)
    for gate in (
        "gguf.tokens",
        "gguf.template",
        "gguf.equivalent",
        *(("quant.divergence", "quant.task") if quant else ()),
    ):
        yield skipped(gate, "no-reference")


def _run(reference: str, scratch: Path) -> Iterator[Gate]:
    run = find_run(reference)
    verifier = RunVerifier(run, scratch)
    expected = [name for name in GATES if not name.startswith(("gguf.", "quant."))]
    yield from with_missing(_folder_gates(run, verifier), expected, "not-made" if run.output.exists() else "not-trained")
    folder = _merged_folder(run)
    for quant, path in verifier.wanted_files.items():
        yield from (replace(gate, subject=path.name) for gate in _file_gates(verifier, quant, path, folder))
    if "F16" not in verifier.wanted_files:  # it was not asked for; the other files are proven without it
        for name in ("gguf.equivalent", "gguf.stops"):
            yield skipped(name, "not-kept" if verifier.wanted_files else "no-gguf", required=False)


def _merged_folder(run: Run) -> Path | None:
    return next((p for p in (run.ship, run.work / "merged") if (p / "config.json").exists()), None)


def _file_gates(verifier: RunVerifier, quant: str, path: Path, folder: Path | None) -> Iterator[Gate]:
    if folder is None or not path.exists():
        for name in GATES:
            if name.startswith("gguf." if quant == "F16" else "quant."):
                yield skipped(name, "not-made")
    elif quant == "F16":
        yield from verifier.gguf_gates(path, Form("merged", folder))
    else:
        yield from verifier.quant_gates(path, quant, Form("merged", folder))


def _folder_gates(run: Run, verifier: RunVerifier) -> Iterator[Gate]:
    prepared = prepare(verifier.recipe, run, Rows.load(run.data))
    yield from BeforeTraining(prepared).gates()
    yield stop_token_trainable(prepared, verifier.stop_probability)
    if not run.output.exists():
        return
    yield from verifier.training_gates()
    folder = _merged_folder(run)
    if folder is None:
        if not verifier.merges:
            yield from verifier.unmerged_gates()
        yield from verifier.hf_gates(verifier.trained)
        return
    yield from verifier.merge_gates(folder)
    yield from verifier.hf_gates(Form("merged", folder))


def _pair(target: str, against: str, scratch: Path) -> Iterator[Gate]:
    """`target` was made from `against`, or claims to be."""
    verifier = RunVerifier(find_run(against), scratch) if is_run(against) else None
    if verifier is not None:
        yield verifier.inputs()
        reference, exam = verifier.trained, verifier.exam
    else:
        reference = _form(against)
        exam = general_exam(_codec(reference), Thresholds())
    path = Path(target).expanduser()
    if path.is_dir() and not is_run(target) and (is_adapter(path) or reference.kind != "gguf"):
        yield from _merged_pair(path.absolute(), reference, verifier, exam, scratch)
        return
    form = RunVerifier(find_run(target)).trained if is_run(target) else _form(target)
    seen = exam.ask(form, scratch, answers=exam.own_task or form.kind == "gguf")
    ours = verifier.seen(reference) if verifier else exam.ask(reference, scratch, answers=form.kind == "gguf", sampled=False)
    if form.kind != "gguf":
        yield merged.equivalent("gguf.equivalent" if reference.kind == "gguf" else "merge.equivalent", ours, seen, exam.limits)
        return
    yield gguf.tokens(ours, seen)
    yield gguf.template(ours, seen)
    yield gguf.bos(ours, seen)
    quant = _quant(form.path)
    stage = "quant" if quant else "gguf"
    wrong = gguf.stop_ids(f"{stage}.stops", ours, seen)
    yield wrong or (
        behaviour.stops(f"{stage}.stops", seen, exam.limits)
        if verifier
        else behaviour.stops_like(f"{stage}.stops", ours, seen, exam.limits)
    )
    if quant is None:
        yield merged.equivalent("gguf.equivalent", ours, seen, exam.limits)
        return
    yield gguf.types(form.path, quant)
    yield gguf.quant_divergence(ours, seen, quant, exam.limits)
    if verifier is not None:
        yield behaviour.kept("quant.task", ours, seen, exam.truths, exam.exact, exam.limits)


def _merged_pair(folder: Path, reference: Form, verifier: RunVerifier | None, exam: Exam, scratch: Path) -> Iterator[Gate]:
    if verifier is not None:
        yield from verifier.merge_gates(folder)
        if not is_adapter(folder):
            yield from verifier.hf_gates(Form("merged", folder))
        return
    whole = merged.complete(reference.base or reference.path, folder)
    yield whole
    if whole.verdict != "pass":
        yield skipped("merge.equivalent", "not-whole")
        return
    if reference.base is not None:
        yield merged.changed(reference.base, reference.path, folder)
    check_folder(folder)

    def look(form: Form) -> Observation:
        return exam.ask(form, scratch, answers=False)

    ours, theirs = look(reference), look(Form("merged", folder))
    # An adapter alone doesn't know which template and stop tokens its run gave it.
    apart = merged.other_text(ours, theirs) if reference.base is None else None
    yield apart or merged.equivalent("merge.equivalent", ours, theirs, exam.limits)


def _codec(form: Form) -> ChatCodec:
    if form.kind == "gguf":
        return open_codec(locate(str(form.path)))
    return open_codec(form.base or form.path)


def _quant(path: Path) -> str | None:
    """The quantisation a GGUF file declares, or None if it is not quantised."""
    number = read_gguf_header(path).facts.get("general.file_type", 1)
    if number in _PLAIN:
        return None
    return _FILE_TYPES.get(number, "other")
