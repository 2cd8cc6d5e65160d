"""What a user gets: weights, GGUF files, and everything another person needs to run and to judge them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from kitae.core.files import read_json, write_json, write_text
from kitae.models import STARTERS, open_tokenizer, save_tokenizer
from kitae.ship.deployment import FOLDER, deployment_of, write_deployment
from kitae.ship.export import has_gguf_form
from kitae.ship.merge import write_stops
from kitae.ship.report import render_html
from kitae.ship.results import ShipReport
from kitae.verify import RunVerifier, obligations

BASE = "base"  # a soft prompt's own model, in its package


def fill_package(folder: Path, model: Path, files: Sequence[Path], verifier: RunVerifier, report: ShipReport) -> None:
    """`model`: merged weights, or a soft prompt, which is nothing without its base."""
    for path in [*(p for p in sorted(model.iterdir()) if p.is_file()), *files]:
        _link_or_copy(path, folder / path.name)
    if not verifier.merges:
        _add_base(folder, verifier)
    write_deployment(folder, deployment_of(verifier, files))
    write_text(folder / "README.md", model_card(verifier, report, files))
    write_text(folder / "NOTICE.txt", notices(verifier))
    write_json(folder / "report.json", report)
    write_text(folder / "report.html", render_html(report))


def _add_base(folder: Path, verifier: RunVerifier) -> None:
    tokenizer = open_tokenizer(verifier.base_folder)
    tokenizer.chat_template = verifier.exam.codec.template.source
    for place in (folder, folder / BASE):
        save_tokenizer(tokenizer, place)
    if verifier.stop_tokens:
        write_stops(folder / BASE, verifier.base_folder, verifier.recipe.model.chat_template, verifier.stop_tokens)
    for path in sorted(verifier.base_folder.iterdir()):
        if path.is_file() and not (folder / BASE / path.name).exists():
            _link_or_copy(path, folder / BASE / path.name)
    config = folder / "adapter_config.json"
    named = {**read_json(config), "base_model_name_or_path": BASE}
    config.unlink()  # a link to that of the run
    write_json(config, named)


def model_card(verifier: RunVerifier, report: ShipReport, files: Sequence[Path]) -> str:
    recipe, manifest = verifier.recipe, verifier.run.manifest
    new = recipe.model.new
    base = f"base_model: {recipe.model.source}\n" if new is None else ""
    blend = recipe.train.blend
    origin = (
        f"A new {new.arch} model, trained"
        if new is not None
        else f"Made from `{recipe.model.source}` by blending ({blend.how}) {', '.join(blend.models)}, and judged"
        if blend is not None
        else f"Fine-tuned from `{recipe.model.source}` with {recipe.train.method}"
    )
    weights = ["model.safetensors"] if verifier.merges else ["adapter_model.safetensors", f"{BASE}/"]
    names = [*(path.name for path in files), *weights]
    runners = "llama.cpp, Ollama or transformers" if files else "transformers"
    if not verifier.merges:
        runners += f' and peft:\n`PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained("{BASE}"), ".")`'
    if not has_gguf_form(verifier.base_folder):
        runners += " after `kitae.register_newllm()`. There is no GGUF file, because llama.cpp has no model of this kind"
    rows = "\n".join(
        f"| {row['form']} | {_percent(row['exact_match'])} | {_percent(row['stop_rate'])} "
        f"| {row['size_mb']} | {row['tokens_per_second'] or '–'} |"
        for row in report["table"]
    )
    gates = "\n".join(f"| {g['id']} | {g['verdict']} | {'; '.join(g['evidence'][:1])} |" for g in report["gates"])
    licences = ", ".join(manifest["licences"])
    return f"""\
---
{base}library_name: transformers
pipeline_tag: text-generation
tags: [kitae{", gguf" if files else ""}]
---

# {recipe.name}

{origin} on {manifest["rows"]["train"]} conversations, and verified by
Kitae {manifest["kitae"]}: every file in this folder was compared with the form it was made from.

| form | exact match | stops | MB | tokens/s |
|---|---|---|---|---|
{rows}

Files: {", ".join(f"`{name}`" for name in names)}. Run with {runners}.
[How to serve it]({FOLDER}/README.md)

## Verification

| gate | verdict | evidence |
|---|---|---|
{gates}

Data licences: {licences}. See NOTICE.txt.
"""


def notices(verifier: RunVerifier) -> str:
    recipe = verifier.recipe
    lines = [
        *_origin(verifier),
        "",
        "Training data:",
        *(f"- {Path(source.path).name}: {source.licence}" for source in recipe.data.train),
        "",
        *obligations(recipe),
    ]
    return "\n".join(lines) + "\n"


def _origin(verifier: RunVerifier) -> list[str]:
    recipe = verifier.recipe
    if recipe.model.new is not None:
        return [f"This model began with random weights. Its tokenizer is that of {Path(recipe.model.new.tokenizer).name}."]
    source = recipe.model.source
    licence = STARTERS[source][1] if source in STARTERS else "see the base model's own licence"
    lines = [f"This model is a modified version of {source} ({licence})."]
    if not verifier.merges:
        lines = [f"A soft prompt for {source} ({licence}), whose weights are as they were; they are in {BASE}/."]
    elif recipe.train.blend is not None:
        lines.append("Its weights are a blend of other models', which have licences of their own:")
        lines += [f"- {model}" for model in recipe.train.blend.models]
    else:
        lines.append(f"It was fine-tuned with {recipe.train.method}; its weights differ from the original.")
    if recipe.train.distill is not None:
        lines.append(f"It learned from {recipe.train.distill.teacher}, whose licence may say what its outputs may be used for.")
    return lines


def _link_or_copy(source: Path, target: Path) -> None:
    """A hard link costs no disk; where links are not possible, a copy."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"
