"""`kitae verify`: whatever the user points at, with or without something to compare it to; and a running server."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from kitae.chat import RAW
from kitae.core.errors import InputError
from kitae.data import Rows
from kitae.models import Target, check_folder, folder_facts, is_adapter, open_codec, open_tokenizer, read_gguf_header
from kitae.runs import Run
from kitae.targets import resolve, run_named, trained_target
from kitae.train import prepare
from kitae.verify import behaviour, equal, files, gguf, weights
from kitae.verify.alone import FolderAlone, GgufAlone, Stages, codec_of, quant_of
from kitae.verify.before import BeforeTraining, stop_token_trainable
from kitae.verify.endpoint import EndpointVerifier
from kitae.verify.exam import Exam, general_exam
from kitae.verify.gate import Gate, Verdict, chosen, in_order, skipped, with_missing
from kitae.verify.observe import Observation
from kitae.verify.registry import GATES, When, gates_of, needs_answers
from kitae.verify.run import RunVerifier
from kitae.verify.server import Server, file_stem


def verify_target(target: str, against: str | None = None, only: Sequence[str] = (), template: str | None = None) -> Verdict:
    """`template`: a name or a file, for models that bring none. Without one these are asked without a template."""
    _check_known(only)
    with tempfile.TemporaryDirectory(prefix="kitae-verify-") as folder:
        scratch = Path(folder)
        answers = not only or needs_answers(set(only))
        if template is not None and run_named(against or target):  # which has its own, and was trained with it
            raise InputError("template-of-run", where=against or target)
        if against is not None:
            stages = _pair(target, against, scratch, template)
        elif run := run_named(target):
            stages = _run(run, scratch)
        else:
            form = _form(target, template)
            stages = (GgufAlone if form.kind == "gguf" else FolderAlone)(form, scratch, answers).stages()
        return _verdict(stages, only)


def verify_endpoint(
    url: str,
    against: str,
    only: Sequence[str] = (),
    template: str | None = None,
    key: str | None = None,
    timeout: float = 120.0,
) -> Verdict:
    """Whether a running server says what `against` says here: a run's exam, or general questions to a model without a run."""
    _check_known(only)
    run = run_named(against)
    if template is not None and run is not None:
        raise InputError("template-of-run", where=against)
    form = _form(against, template) if run is None else resolve(against)
    server = Server(url, [form.path.stem] if run is None else _names_of(run), key, timeout)
    with tempfile.TemporaryDirectory(prefix="kitae-verify-") as folder:
        scratch = Path(folder)
        if run is None:
            exam = general_exam(codec_of(form), None)
        else:
            exam, form = RunVerifier(run, scratch).exam, _served_file(run, form, server)
        answers = not only or needs_answers(set(only))
        return _verdict(EndpointVerifier(server, form, exam, scratch, answers).stages(), only)


def _names_of(run: Run) -> list[str]:
    """What servers may call it, the surest first."""
    return [run.id, *(path.stem for path in sorted(run.ship.glob("*.gguf"))), RunVerifier(run).recipe.name]


def _served_file(run: Run, form: Target, server: Server) -> Target:
    """The very file that the server names, if it is one of those that were shipped."""
    named = [path for path in run.ship.glob("*.gguf") if path.stem == file_stem(server.model)]
    return replace(form, path=named[0]) if named else form


def _check_known(only: Sequence[str]) -> None:
    unknown = [name for name in only if name not in GATES]
    if unknown:
        raise InputError("gate-unknown", where=", ".join(unknown), why=", ".join(GATES))


def _verdict(stages: Stages, only: Sequence[str]) -> Verdict:
    gates = list(chosen(stages, only))
    gates += [skipped(name, "not-applicable") for name in only if name not in {gate.id for gate in gates}]
    return Verdict(in_order(gates))


def _form(name: str, template: str | None) -> Target:
    """What is asked. Without a template it is asked without one."""
    target = resolve(name, template=template)
    return target if template is not None or _has_template(target) else replace(target, template=RAW)


def _raw(reference: Target) -> str | None:
    """Whoever is compared with a model that has no template is asked without one, too; its own is its own."""
    return RAW if reference.template == RAW else None


def _has_template(form: Target) -> bool:
    if form.kind == "gguf":
        return bool(read_gguf_header(form.path).facts.get("tokenizer.chat_template"))
    return bool(open_tokenizer(form.folder).chat_template)


def _run(run: Run, scratch: Path) -> Stages:
    verifier = RunVerifier(run, scratch)
    expected = gates_of("rows", "base", "trained", "merge", "folder")
    measured: list[Gate] = []
    for ids, gates in _folder_stages(run, verifier):
        yield ids, _noted(gates, measured)
    yield expected, with_missing(measured, expected, "not-made" if run.output.exists() else "not-trained")[len(measured) :]
    folder = _merged_folder(run)
    for quant, path in verifier.wanted_files.items():
        yield (
            gates_of("gguf", _moment(quant)),
            (replace(gate, subject=path.name) for gate in _file_gates(verifier, quant, path, folder)),
        )
    if "F16" not in verifier.wanted_files:  # it was not asked for; the other files are proven without it
        absent = gates_of("f16")
        yield absent, (skipped(name, "not-kept" if verifier.wanted_files else "no-gguf") for name in absent)


def _noted(gates: Iterable[Gate], into: list[Gate]) -> Iterator[Gate]:
    for gate in gates:
        into.append(gate)
        yield gate


def _merged_folder(run: Run) -> Path | None:
    return next((p for p in (run.ship, run.work / "merged") if (p / "config.json").exists()), None)


def _file_gates(verifier: RunVerifier, quant: str, path: Path, folder: Path | None) -> Iterator[Gate]:
    if folder is None or not path.exists():
        for name in gates_of("gguf", "f16") if quant == "F16" else gates_of("quant"):
            yield skipped(name, "not-made")
    elif quant == "F16":
        yield from verifier.gguf_gates(path, Target(folder, "merged"))
    else:
        yield from verifier.quant_gates(path, quant, Target(folder, "merged"))


def _folder_stages(run: Run, verifier: RunVerifier) -> Stages:
    yield gates_of("rows"), _before(run, verifier)
    yield gates_of("base"), _trainable(run, verifier)
    if not run.output.exists():
        return
    yield gates_of("trained"), verifier.training_gates()
    folder = _merged_folder(run)
    merging, asking = gates_of("merge"), gates_of("folder")
    if folder is None:
        if not verifier.merges:
            yield merging, verifier.unmerged_gates()
        yield asking, verifier.hf_gates(verifier.trained)
        return
    yield merging, verifier.merge_gates(folder)
    yield asking, verifier.hf_gates(Target(folder, "merged"))


def _before(run: Run, verifier: RunVerifier) -> Iterator[Gate]:
    yield from BeforeTraining(prepare(verifier.recipe, run, Rows.load(run.data))).gates()


def _trainable(run: Run, verifier: RunVerifier) -> Iterator[Gate]:
    yield stop_token_trainable(prepare(verifier.recipe, run, Rows.load(run.data)), verifier.stop_probability)


def _pair(target: str, against: str, scratch: Path, template: str | None) -> Stages:
    """`target` was made from `against`, or claims to be."""
    run = run_named(against)
    verifier = RunVerifier(run, scratch) if run else None
    if verifier is not None:
        yield ["train.inputs"], _inputs(verifier)
        reference, exam = verifier.trained, verifier.exam
    else:
        reference = _form(against, template)
        exam = general_exam(codec_of(reference), _context(reference))
    path, made = Path(target).expanduser(), run_named(target)
    if path.is_dir() and made is None and (is_adapter(path) or reference.kind != "gguf"):
        yield gates_of("merge", "folder"), _folder_pair(path.absolute(), reference, verifier, exam, scratch, template)
        if verifier is None:
            yield _own_task("hf.stops", "hf.loops", "hf.task")
        return
    form = trained_target(made) if made else _form(target, template or _raw(reference))
    yield (
        [*gates_of("merge", "folder", "gguf", "f16", "quant"), "chat.bos-once"],
        _file_pair(form, reference, verifier, exam, scratch),
    )
    if verifier is None and form.kind == "gguf" and quant_of(form.path) is not None:
        yield _own_task("quant.task")


def _own_task(*ids: str) -> tuple[Iterable[str], Iterable[Gate]]:
    """Without a run, nobody knows what the model was made for."""
    return ids, [skipped(name, "no-run") for name in ids]


def _inputs(verifier: RunVerifier) -> Iterator[Gate]:
    yield verifier.inputs()


def _file_pair(form: Target, reference: Target, verifier: RunVerifier | None, exam: Exam, scratch: Path) -> Iterator[Gate]:
    """At least one of them is a GGUF file, or both are folders of which one is a run's."""
    quant = quant_of(form.path) if form.kind == "gguf" else None
    if quant is not None:
        yield gguf.types(form.path, quant)
    seen = exam.ask(form, scratch, answers=exam.own_task or form.kind == "gguf")
    ours = verifier.seen(reference) if verifier else exam.ask(reference, scratch, answers=form.kind == "gguf", sampled=False)
    if form.kind != "gguf" and reference.kind != "gguf":
        yield equal.other_text(ours, seen) or equal.equivalent("merge.equivalent", ours, seen, exam.limits)
        return
    yield gguf.tokens(ours, seen)
    yield gguf.template(ours, seen)
    yield files.defaults(seen, ours)
    if form.kind != "gguf":
        yield files.tokenizer(seen)
        yield equal.equivalent("gguf.equivalent", ours, seen, exam.limits)
        return
    yield gguf.bos(seen)
    yield files.modelfile(form.path.with_name("Modelfile"), exam.codec, form.path.name)
    if quant is None:
        yield equal.equivalent("gguf.equivalent", ours, seen, exam.limits)
    else:
        yield gguf.quant_divergence(ours, seen, quant, exam.limits)
    gate = "gguf.stops" if quant is None else "quant.stops"
    yield (
        gguf.stop_ids(gate, ours, seen)
        or (behaviour.stops(gate, seen, exam.limits) if verifier else None)
        or behaviour.stops_like(gate, ours, seen)
    )
    if verifier is not None and quant is not None:
        yield behaviour.kept("quant.task", ours, seen, quant, exam.truths, exam.exact, exam.limits)


def _folder_pair(
    folder: Path, reference: Target, verifier: RunVerifier | None, exam: Exam, scratch: Path, template: str | None
) -> Iterator[Gate]:
    if verifier is not None:
        yield from verifier.merge_gates(folder)
        if not is_adapter(folder):
            yield from verifier.hf_gates(Target(folder, "merged"))
        return
    whole = weights.complete(folder, reference.base or reference.path)
    yield whole
    if whole.verdict != "pass":
        yield skipped("merge.equivalent", "not-whole")
        return
    changed = weights.changed(reference.base, reference.path, folder) if reference.base is not None else None
    if changed is not None:
        yield changed
    check_folder(folder)

    def look(form: Target) -> Observation:
        return exam.ask(form, scratch, answers=False)

    ours, theirs = look(reference), look(_form(str(folder), template or _raw(reference)))
    yield files.defaults(theirs, ours)
    yield files.tokenizer(theirs, ours)
    yield files.modelfile(folder / "Modelfile", exam.codec)
    if reference.base is None:
        apart = weights.tensors_apart(reference.path, folder)
        yield equal.other_text(ours, theirs) or equal.equivalent(
            "merge.equivalent", ours, theirs, exam.limits, apart.rounded, apart.any, apart.changed
        )
    else:  # an adapter alone doesn't know which template and stop tokens its run gave it
        rounded = changed is not None and changed.verdict == "pass" and weights.in_bf16(folder)
        yield equal.equivalent("merge.equivalent", ours, theirs, exam.limits, rounded)


def _context(form: Target) -> int | None:
    if form.kind == "gguf":
        return read_gguf_header(form.path).fact("context_length", 0) or None
    folder = form.folder
    return folder_facts(folder, open_codec(folder, form.template)).context


def _moment(quant: str) -> When:
    return "f16" if quant == "F16" else "quant"
