"""A model on this disk, with all that decides what it says: what is opened, asked, compared and hashed."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from kitae.chat import ChatCodec, template_text
from kitae.core.files import JsonDict, hash_text, sha256
from kitae.models.facts import deciding_files
from kitae.models.source import is_adapter, locate


@dataclass(frozen=True)
class Target:
    path: Path  # a model folder, an adapter or a GGUF file
    name: str = ""  # in reports: base, trained, merged, F16, …
    base: Path | None = None  # of an adapter
    template: str | None = None  # a name or a Jinja file, instead of its own
    system: str | None = None  # the message that its training rows shared
    stops: tuple[str, ...] = ()  # control tokens that end its answers, beside its own

    @property
    def kind(self) -> Literal["gguf", "adapter", "folder"]:
        if self.path.is_file():
            return "gguf"
        return "adapter" if is_adapter(self.path) else "folder"

    @property
    def folder(self) -> Path:
        """With its configuration and tokenizer."""
        return self.base if self.base is not None and self.kind == "adapter" else self.path

    def stop_ids(self, codec: ChatCodec) -> set[int]:
        return {codec.vocabulary.control[text] for text in self.stops}

    def fingerprint(self) -> list[str]:
        """Hashes of all that decides what it says."""
        folders = [folder for folder in (self.base, self.path) if folder is not None]
        files = [file for folder in folders for file in (deciding_files(folder) if folder.is_dir() else [folder])]
        template = [] if self.template is None else [hash_text(template_text(self.template))]
        return [*(sha256(file) for file in files), *template, *self.stops]

    def weights(self) -> Target:
        """A GGUF file as the folder that it becomes for torch."""
        return replace(self, path=locate(str(self.path))) if self.kind == "gguf" else self

    def as_dict(self) -> JsonDict:
        base = str(self.base) if self.base else None
        return {**asdict(self), "path": str(self.path), "base": base, "stops": list(self.stops)}

    @staticmethod
    def from_dict(value: JsonDict) -> Target:
        base = Path(value["base"]) if value["base"] else None
        return Target(**{**value, "path": Path(value["path"]), "base": base, "stops": tuple(value["stops"])})
