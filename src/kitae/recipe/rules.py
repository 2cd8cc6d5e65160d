"""Settings that are fine alone and wrong together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

from kitae.core.i18n import t
from kitae.core.row_options import FORMATS, LANGUAGES_KNOWN, REPAIRABLE, Way, is_format
from kitae.recipe.schema import NO_GGUF, New, Recipe, Select
from kitae.recipe.section import Section
from kitae.recipe.training import READ_BY, Blend

KeyPath = tuple[str | int, ...]


def contradictions(recipe: Recipe) -> Iterator[tuple[KeyPath, str]]:
    train, data, model = recipe.train, recipe.data, recipe.model
    if (model.source == "new") != (model.new is not None):
        yield ("model", "source" if model.new else "new"), t("recipe.new-and-source")
    if model.new is not None:
        if not train.whole:
            yield ("train", "method"), t("recipe.new-needs-full")
        if recipe.ship.gguf and model.new.arch in NO_GGUF:
            yield ("ship", "gguf"), t("recipe.no-gguf", arch=model.new.arch)
        yield from _unused(model.new)
    yield from _methods(recipe)
    yield from _phases(recipe)
    yield from _unread(recipe)
    if isinstance(data.validation, list) and not data.validation:
        yield ("data", "validation"), t("recipe.no-validation")
    used = {source.path: "data.train" for source in data.train}
    held_out = list(enumerate(data.validation)) if isinstance(data.validation, list) else []
    for part, named in (("train", list(enumerate(data.train))), ("validation", held_out), ("test", list(enumerate(data.test)))):
        for i, source in named:
            if not is_format(source.format):
                yield ("data", part, i, "format"), t("recipe.format", known=", ".join(FORMATS))
    for part, sources in (("validation", held_out), ("test", list(enumerate(data.test)))):
        for i, source in sources:
            if source.path in used:
                yield ("data", part, i, "path"), t("recipe.same-file", path=source.path, part=used[source.path])
        used |= {source.path: f"data.{part}" for _, source in sources}
    for language in data.clean.languages if data.clean else []:
        if language not in LANGUAGES_KNOWN:
            yield (
                ("data", "clean", "languages"),
                t("recipe.language-unknown", language=language, known=", ".join(LANGUAGES_KNOWN)),
            )
    for gate, action in (data.clean.rules if data.clean else {}).items():
        if action == "repair" and gate not in REPAIRABLE:
            yield ("data", "clean", "rules", gate), t("recipe.no-repair", gates=", ".join(REPAIRABLE))
    if data.select is not None:
        yield from _select(data.select)
    if "exact_match" in recipe.evaluate.suites and not data.test:
        yield ("evaluate", "suites"), t("recipe.suite-without-test")


def _select(select: Select) -> Iterator[tuple[KeyPath, str]]:
    path, ways = ("data", "select"), [way.strip() for way in select.by.split("+")]
    if not set(ways) <= set(get_args(Way)) or len(set(ways)) < len(ways):
        yield (*path, "by"), t("recipe.ways", known=", ".join(get_args(Way)))
    if sum(value is not None for value in (select.rows, select.share, select.tokens)) != 1:
        yield path, t("recipe.amount")
    for name, way, given in (("targets", "similar", select.targets), ("judge", "judge", select.judge)):
        if bool(given) != (way in ways):
            yield (*path, name), t("recipe.way-without" if given else "recipe.way-needs", name=name, way=way)


def _methods(recipe: Recipe) -> Iterator[tuple[KeyPath, str]]:
    train = recipe.train
    for section, methods in READ_BY.items():
        if getattr(train, section) is not None and train.method not in methods:
            yield ("train", section), t("recipe.section-unread", methods=", ".join(methods), method=train.method)
    if train.lora is not None and train.method in READ_BY["lora"] and train.whole:
        yield ("train", "lora"), t("recipe.unread", beside="whole: true")
    for section in ("distill", "blend"):
        if train.method == section and getattr(train, section) is None:
            yield ("train", section), t("recipe.section-missing", method=section)
    if train.method == "soft-prompt" and recipe.ship.gguf:
        yield ("ship", "gguf"), t("recipe.soft-prompt-gguf")
    if train.method == "qlora" and recipe.model.source.endswith(".gguf"):
        yield ("model", "source"), t("recipe.qlora-gguf")
    if train.blend is not None:
        yield from _blend(train.blend)


def _blend(blend: Blend) -> Iterator[tuple[KeyPath, str]]:
    models, path = len(blend.models), ("train", "blend")
    if blend.weights is not None and (len(blend.weights) != models or not sum(blend.weights)):
        yield (*path, "weights"), t("recipe.blend-weights", count=models)
    if len(set(blend.models)) < models:
        yield (*path, "models"), t("recipe.blend-same")
    if blend.how == "slerp" and models != 2:
        yield (*path, "models"), t("recipe.slerp-two")


def _phases(recipe: Recipe) -> Iterator[tuple[KeyPath, str]]:
    train, new = recipe.train, recipe.model.new
    if train.method != "newllm":
        return
    if new is None or new.arch != "newllm":
        yield ("train", "method"), t("recipe.phases-need-newllm")
    elif new.cell.startswith("seed") and train.phases.epochs:
        yield ("model", "new", "cell"), t("recipe.phases-of-seed")
    elif not train.phases.epochs and not train.phases.freeze:
        yield ("train", "newllm", "epochs"), t("recipe.no-phases")


_OF_STEPS = (
    *("epochs", "learning_rate", "schedule", "warmup", "weight_decay", "max_grad_norm", "batch_tokens", "evaluations"),
    *("early_stopping", "layer_dropout", "keep_checkpoints", "report_to", "shard", "kernels"),
)


def _unread(recipe: Recipe) -> Iterator[tuple[KeyPath, str]]:
    """A setting that nothing reads beside another would look like a choice that was made."""
    train, new, phases = recipe.train, recipe.model.new, recipe.train.newllm
    found: list[tuple[bool, KeyPath, Section, tuple[str, ...], str]] = [
        (train.schedule != "restarts", ("train",), train, ("restarts",), f"schedule: {train.schedule}"),
        (train.schedule == "plateau", ("train",), train, ("warmup",), "schedule: plateau"),
        (train.method in ("qlora", "newllm"), ("train",), train, ("shard",), f"method: {train.method}"),
        (
            train.method == "full" and new is not None and new.arch == "newllm",
            ("train",),
            train,
            ("shard", "kernels"),
            "arch: newllm",
        ),
        (train.shard, ("train",), train, ("layer_dropout",), "shard: true"),
        (train.method == "newllm", ("train",), train, ("layer_dropout", "kernels"), "method: newllm"),
        (train.method == "blend", ("train",), train, _OF_STEPS, "method: blend"),
    ]
    if train.early_stopping is not None:
        at = ("train", "early_stopping")
        taught = train.distill is not None and train.distill.learn == "logits"
        found += [
            (train.method == "dpo", at, train.early_stopping, ("by", "perplexity"), "method: dpo"),
            (taught, at, train.early_stopping, ("perplexity",), "learn: logits"),
        ]
    if train.distill is not None:
        answers, beside = train.distill.learn == "answers", f"learn: {train.distill.learn}"
        found += [
            (answers, ("train", "distill"), train.distill, ("share", "temperature"), beside),
            (not answers, ("train", "distill"), train.distill, ("max_new_tokens", "shots"), beside),
        ]
    if train.blend is not None:
        plain = train.blend.how in ("linear", "slerp")
        found.append((plain, ("train", "blend"), train.blend, ("density", "scale"), f"how: {train.blend.how}"))
    if phases is not None:
        found += [
            (not phases.freeze, ("train", "newllm"), phases, ("remember_mb",), "freeze: false"),
            (not phases.epochs, ("train", "newllm"), phases, ("ahead", "variety", "converged", "patience"), "epochs: 0"),
        ]
    if new is not None and new.arch == "newllm":
        of = ("model", "new")
        found += [
            (new.solver == "sequential", of, new, ("passes", "settling"), "solver: sequential"),
            (new.solver != "sequential" and new.passes == 1, of, new, ("settling",), "passes: 1"),
            (new.cell.startswith("seed"), of, new, ("longest_memory",), f"cell: {new.cell}"),
        ]
    for unread, path, section, names, beside in found:
        for name in names:
            if unread and getattr(section, name) != type(section).model_fields[name].default:
                yield (*path, name), t("recipe.unread", beside=beside)


_ATTENTION = {"layers", "heads", "kv_heads", "feed_forward"}
_READ = {  # beside arch, tokenizer, hidden_size and dropout
    "llama": _ATTENTION,
    "sliding": _ATTENTION | {"window"},
    "alibi": {"layers", "heads"},
    "gru": {"layers"},
    "mingru": {"layers", "longest_memory"},
    "newllm": {
        *("blocks", "cell", "heads", "longest_memory", "block_dropout", "mixing"),
        *("solver", "passes", "settling", "tolerance"),
    },
}


def _unused(new: New) -> Iterator[tuple[KeyPath, str]]:
    """A setting that an architecture doesn't read would look like a choice that was made."""
    if new.parameters is not None and new.hidden_size != New.model_fields["hidden_size"].default:
        yield ("model", "new", "parameters"), t("recipe.parameters-and-width")
    read: set[str] = _READ[new.arch]
    kind: str = new.arch
    if new.arch == "newllm" and new.cell != "matrix":
        read, kind = read - {"heads"}, f"newllm, cell {new.cell},"
    every = set().union(*_READ.values())
    for name in sorted(new.model_fields_set & (every - read)):
        if getattr(new, name) != New.model_fields[name].default:
            yield ("model", "new", name), t("recipe.not-for-arch", name=name, arch=kind)
    if "heads" in read and new.parameters is None and new.hidden_size % new.heads:
        yield ("model", "new", "heads"), t("recipe.heads", heads=new.heads, width=new.hidden_size)
    if new.cell == "matrix" and new.solver in ("jacobi", "newton"):
        yield ("model", "new", "solver"), t("recipe.matrix-solver", solver=new.solver)
    if "kv_heads" in read and new.heads % new.kv_heads:
        yield ("model", "new", "kv_heads"), t("recipe.kv-heads", kv=new.kv_heads, heads=new.heads)
