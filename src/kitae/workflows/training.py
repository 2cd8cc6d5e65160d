"""`kitae train`: rows, gates, training, gates."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kitae.chat import Conversation
from kitae.core import interruption, processes
from kitae.core.console import console
from kitae.core.errors import InputError, Interrupted, KitaeError, Refused, first_line
from kitae.core.files import read_text, remove_leftovers, write_json
from kitae.core.hardware import ran_out_of_memory
from kitae.core.i18n import t
from kitae.core.libraries import quiet_libraries
from kitae.data import UNREADABLE, Rows, overlap, spelled_languages, spelled_warning
from kitae.models import locate, open_codec
from kitae.recipe import Recipe, load_recipe, parse_recipe, recipe_yaml, resolve_paths
from kitae.runs import Run, create_run, find_run
from kitae.targets import run_named
from kitae.train import check_parts, check_template, find_base, find_packages, fitted, taught
from kitae.workflows.results import TrainReport
from kitae.workflows.rows import gather_rows

if TYPE_CHECKING:
    from kitae.train import Prepared
    from kitae.verify import Gate, RunVerifier


def train(recipe: Recipe | str | Path | None = None, overrides: Sequence[str] = (), resume: str | None = None) -> TrainReport:
    """Trains, and returns the run with the gates before and after. Raises `Refused` when a gate says no."""
    shared = ["train.shard=true"] if processes.launcher_shares_weights() else []
    if processes.number() > 0:
        return _help(shared)
    with interruption.heard():
        return _lead(recipe, overrides, resume, shared)


def _lead(
    recipe: Recipe | str | Path | None, overrides: Sequence[str], resume: str | None, shared: Sequence[str]
) -> TrainReport:
    """What the first process does, or the only one."""
    rows: Rows | None = None
    if resume is not None:
        if recipe is not None or overrides:
            raise InputError("resume-alone", where=resume)
        run = find_run(resume)
    elif recipe is None:
        raise InputError("recipe-or-resume")
    else:
        run, rows = _begin(recipe, [*overrides, *shared])
    quiet_libraries()
    with run.alone():
        if rows is None:
            _go_on(run)
        with _states(run):
            return _train(run, rows, shared)


def _train(run: Run, rows: Rows | None, shared: Sequence[str]) -> TrainReport:
    """`rows`: those of a new run; None goes on with an interrupted one. `shared`: what a launcher sets."""
    from kitae.train import check_positions, fit, manifest, prepare
    from kitae.verify import RunVerifier, Verdict, after_training, inputs

    recipe, resumed = load_recipe(run.recipe_path, shared), rows is None
    if run.data.exists():
        rows = Rows.load(run.data)
    else:  # a new run, or one that was killed before it had kept its rows
        rows = rows or gather_rows(recipe)
        if recipe.train.distill is not None and recipe.train.distill.learn == "answers":
            rows = taught(run, recipe, rows)
        rows.save(run.data)
    prepared = prepare(recipe, run, rows)
    if run.has_manifest:
        _stop_if_refused(run, [inputs(run, prepared.base, prepared.codec)])
    else:
        check_positions(prepared)
        run.write_manifest({**manifest(prepared), "system": _shared_system(rows.train)})
    report: TrainReport = {"run": run.id, "path": str(run.path)}
    before = list(_before_gates(prepared, RunVerifier(run)))
    report["before"] = [gate.as_dict() for gate in before]
    write_json(run.reports / "train.json", report)
    _stop_if_refused(run, before)
    processes.first_says((run.path, resumed))
    if not run.output.exists():
        try:
            with processes.others_needed():
                fit(prepared, resume=resumed)
        except Interrupted:
            run.set_state("interrupted")
            raise
    interruption.check()
    after = list(after_training(run))
    report["after"] = [gate.as_dict() for gate in after]
    report["verdict"] = Verdict([*before, *after]).verdict
    write_json(run.reports / "train.json", report)
    _stop_if_refused(run, after)
    run.set_state("trained")
    shutil.rmtree(run.checkpoints, ignore_errors=True)
    return report


def _before_gates(prepared: Prepared, verifier: RunVerifier) -> Iterator[Gate]:
    from kitae.verify import BeforeTraining, stop_token_trainable

    found = list(BeforeTraining(prepared).gates())
    yield from found
    if not any(gate.verdict == "refuse" for gate in found):  # no use in asking a model with a broken template
        yield stop_token_trainable(prepared, verifier.stop_probability)


def _help(shared: Sequence[str]) -> TrainReport:
    """One of several processes: takes its share of the steps of a run that the first has begun, and writes nothing."""
    quiet_libraries()
    from kitae.train import fit, prepare

    console.quiet = True
    said: tuple[Path, bool] = processes.first_says(None)
    path, resumed = said
    run = Run(path, silent=True)
    if not run.output.exists():
        recipe = load_recipe(run.recipe_path, shared)
        with processes.others_needed():
            fit(prepare(recipe, run, Rows.load(run.data)), resume=resumed)
    return {"run": run.id, "path": str(run.path)}


@contextlib.contextmanager
def _states(run: Run) -> Iterator[None]:
    """Whatever ends a run is written into its folder."""
    try:
        with interruption.not_an_error():
            yield
    except Refused:
        raise
    except KitaeError as error:
        if run.state == "running":
            run.record("error", **error.as_dict())
            run.set_state("failed")
        raise
    except KeyboardInterrupt as error:
        run.set_state("interrupted")
        raise Interrupted("interrupted", run=run.id) from error
    except Exception as error:
        run.record("error", kind=type(error).__name__, message=str(error)[:500])
        run.set_state("failed")
        if ran_out_of_memory(error):
            raise KitaeError("out-of-memory", why=first_line(error)) from error
        raise


def _begin(recipe: Recipe | str | Path, overrides: Sequence[str]) -> tuple[Run, Rows]:
    """A new run, once everything that the user may have got wrong has been read; no large library is needed to say so."""
    if isinstance(recipe, Recipe):
        wanted = resolve_paths(parse_recipe(recipe_yaml(recipe), recipe.name, overrides), Path.cwd(), recipe.name)
    else:
        wanted = load_recipe(Path(recipe), overrides)
    find_packages(wanted.train)
    check_template(wanted)
    rows = gather_rows(wanted)
    quiet_libraries()
    base = find_base(wanted)
    check_parts(wanted)
    if wanted.train.kernels == "liger" and wanted.model.new is None:
        from kitae.train import check_liger

        check_liger(base)
    _find_others(wanted, base, rows)
    wanted = _settled(wanted)
    spelled = spelled_languages(open_codec(base, wanted.model.chat_template).vocabulary, rows.train)
    if spelled:
        console.say(spelled_warning(spelled))
    run = _new_run(fitted(wanted, rows))
    console.say(t("say.run", run=run.id))
    if rows.unreadable:
        console.say(t("say.unreadable", count=len(rows.unreadable), file=run.data / UNREADABLE))
    if rows.duplicates:
        console.say(t("say.duplicates", count=rows.duplicates))
    return run, rows


def _settled(recipe: Recipe) -> Recipe:
    """With whole ids in the place of their beginnings, which may mean another run one day."""
    train = recipe.train
    if train.blend is not None:
        train = train.model_copy(update={"blend": train.blend.model_copy(update={"models": [*map(_id, train.blend.models)]})})
    if train.distill is not None:
        train = train.model_copy(update={"distill": train.distill.model_copy(update={"teacher": _id(train.distill.teacher)})})
    return recipe.model_copy(update={"train": train})


def _id(source: str) -> str:
    run = run_named(source)
    return source if run is None else run.id


def _find_others(recipe: Recipe, base: Path, rows: Rows) -> None:
    """The models that a recipe names beside the one it trains. No part of a blend may have been trained on the rows that judge
    it."""
    train = recipe.train
    for model in train.blend.models if train.blend else []:
        if (run := run_named(model)) and run.data.exists():
            known = overlap([*rows.validation, *rows.test], Rows.load(run.data).train).exact
            if known:
                raise InputError("blend-trained", where=run.id, why=" = ".join(known[0]), count=len(known))
    for other in [*([train.distill.teacher] if train.distill else []), *(train.blend.models if train.blend else [])]:
        if run_named(other) is None:
            locate(other)
    if train.distill is not None and train.distill.learn == "logits":
        from kitae.train import check_teacher

        check_teacher(base, train.distill.teacher)


def _new_run(recipe: Recipe) -> Run:
    """The run keeps its own copy of a template, which the user is free to edit afterwards."""
    if recipe.model.chat_template is None:
        return create_run(recipe.name, recipe_yaml(recipe))
    template = read_text(Path(recipe.model.chat_template))
    own = recipe.model.model_copy(update={"chat_template": "chat_template.jinja"})
    return create_run(recipe.name, recipe_yaml(recipe.model_copy(update={"model": own})), {"chat_template.jinja": template})


def _go_on(run: Run) -> None:
    if run.state == "running":
        raise InputError("run-running", where=run.id)
    if run.state in ("trained", "shipped"):
        raise InputError("run-finished", where=run.id, why=run.state)
    find_packages(load_recipe(run.recipe_path).train)
    run.set_state("running")
    console.say(t("say.resume", run=run.id))
    remove_leftovers(run.path)
    remove_leftovers(run.checkpoints)


def _stop_if_refused(run: Run, gates: Sequence[Gate]) -> None:
    for gate in gates:
        if gate.verdict == "warn":
            console.say(f"  ! {gate.id}: {gate.why()} {gate.fix()}")
    refusing = [gate for gate in gates if gate.verdict == "refuse"]
    if refusing:
        run.set_state("refused")
        why = "\n".join(line for gate in refusing for line in _told(gate))
        where = str(run.reports / "train.json")
        raise Refused("refused-gate", [gate.as_dict() for gate in refusing], where=where, why=why)


def _told(gate: Gate) -> list[str]:
    evidence = "; ".join(gate.evidence[:3])
    return [f"{gate.id}: {gate.why()}", *([f"    {evidence}"] if evidence else []), f"    → {gate.fix()}"]


def _shared_system(rows: Sequence[Conversation]) -> str | None:
    systems = {row.messages[0].content if row.messages[0].role == "system" else None for row in rows if not row.is_text}
    return systems.pop() if len(systems) == 1 else None
