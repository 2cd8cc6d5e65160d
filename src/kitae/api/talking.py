"""`kitae generate` and `chat`: an engine for whatever the user names."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from kitae.api.libraries import quiet_libraries
from kitae.chat import RAW, Message, template_text
from kitae.errors import InputError
from kitae.files import JsonDict, hash_text, sha256
from kitae.generate import Chunk, Engine, Settings, open_engine, stream
from kitae.models import STARTERS, base_of, deciding_files, is_adapter, locate
from kitae.recipe import load_recipe
from kitae.runs import all_runs, find_run, is_run

_MODEL_ID = re.compile(r"[\w.-]+/[\w.-]+")
_SHOWN = 5


@dataclass(frozen=True)
class Found:
    """What a user names, on this disk."""

    path: Path
    base: Path | None = None  # of an adapter
    template: str | None = None  # instead of the folder's own
    system: str | None = None  # the message that its training rows shared
    stops: tuple[str, ...] = ()  # control tokens that end its answers, beside the folder's own

    def open(self) -> Engine:
        engine = open_engine(self.path, self.base, template=self.template)
        engine.stop_tokens = engine.stop_tokens | {engine.codec.vocabulary.control[text] for text in self.stops}
        return engine

    def fingerprint(self) -> list[str]:
        """Hashes of all that decides what it says."""
        folders = [folder for folder in (self.base, self.path) if folder is not None]
        files = [file for folder in folders for file in (deciding_files(folder) if folder.is_dir() else [folder])]
        template = [] if self.template is None else [hash_text(template_text(self.template))]
        return [*(sha256(file) for file in files), *template, *self.stops]


def find_target(target: str, trained: bool = False) -> Found:
    """Of a run, the smallest file that was shipped, or with `trained` what training left."""
    if is_run(target):
        run = find_run(target)
        recipe = load_recipe(run.recipe_path)
        system, stops = run.manifest.get("system"), tuple(recipe.model.stop_tokens)
        files = [] if trained else sorted(run.ship.glob("*.gguf"), key=lambda p: p.stat().st_size)
        if files:
            return Found(files[0], system=system, stops=stops)
        if not run.output.exists():
            raise InputError("run-untrained", where=run.id, why=run.state)
        from kitae.train import base_folder

        return Found(run.output, base_folder(recipe, run), recipe.model.chat_template, system, stops)
    path = Path(target).expanduser()
    if path.suffix == ".gguf":
        return Found(path)
    if is_adapter(path):
        return Found(path.absolute(), base_of(path))
    if target not in STARTERS and not path.exists() and not _MODEL_ID.fullmatch(target):
        known = [*(run.id for run in all_runs()[:_SHOWN]), *STARTERS]
        raise InputError("model-missing", where=target, why="\n".join(known))
    return Found(locate(target))


def open_target(target: str, trained: bool = False, template: str | None = None) -> tuple[Engine, str | None]:
    """An engine for it, and its system message. `template`: a name or a file, instead of its own."""
    quiet_libraries()
    found = find_target(target, trained)
    if template is not None:
        found = replace(found, template=template, system=None if template == RAW else found.system)
    return found.open(), found.system


def generate(
    target: str, prompt: str, system: str | None = None, settings: Settings | None = None, template: str | None = None
) -> JsonDict:
    """One answer to one message. `template`: "raw", "chatml" or a Jinja file, instead of the model's own."""
    engine, own_system = open_target(target, template=template)
    try:
        text, tokens, finish = "", 0, "length"
        for chunk in answer(engine, conversation(prompt, system if system is not None else own_system), settings or Settings()):
            text += chunk.text
            tokens += len(chunk.tokens)
            finish = chunk.finish or finish
        return {"text": text, "tokens": tokens, "finish": finish}
    finally:
        engine.close()


def conversation(prompt: str, system: str | None) -> list[Message]:
    return [*([Message("system", system)] if system else []), Message("user", prompt)]


def answer(engine: Engine, messages: Sequence[Message], settings: Settings) -> Iterator[Chunk]:
    if not messages[-1].content.strip():
        raise InputError("prompt-empty")
    for message in messages:
        try:
            message.content.encode("utf-8")  # a terminal or pipe may deliver bytes that are no text
        except UnicodeEncodeError as error:
            raise InputError("not-text", where=ascii(message.content)[:80], why=str(error)) from error
    return stream(engine, [engine.codec.prompt(messages)], settings)
