"""`kitae tokenizer train` and `inspect`."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from kitae.chat import HfVocabulary
from kitae.core.console import Progress
from kitae.core.errors import InputError
from kitae.core.files import refuse_taken, staged_folder
from kitae.core.i18n import t
from kitae.core.libraries import quiet_libraries
from kitae.data import read_texts
from kitae.models import locate_tokenizer, open_codec, open_tokenizer
from kitae.models.vocabulary import (
    LANGUAGES,
    Order,
    RoundTrip,
    Sample,
    check_specials,
    kind_of,
    longest_tokens,
    made_here,
    make_vocabulary,
    measure,
    rare_tokens,
    round_trip,
    sample_text,
)
from kitae.targets import base_target, run_named
from kitae.workflows.results import RoundTripProof, TokenizerFacts, TokenizerReport

SAMPLE_MB = 64


def train_tokenizer(
    files: Sequence[Path],
    out: Path,
    kind: str = "bpe",
    size: int | None = None,
    pre: str | None = None,
    special: Sequence[str] = (),
    sample_mb: int = SAMPLE_MB,
) -> TokenizerReport:
    """A folder with a new tokenizer. Files of any size are read once, and an even sample of them is learned from."""
    start = time.monotonic()
    order = Order.of(kind, size, pre, special)
    out = out.absolute()
    refuse_taken(out)
    check_specials(order)
    with staged_folder(out) as stage:
        sample = Sample(sample_mb * 1_000_000)
        for text in _read(files, roles=order.kind != "words"):
            sample.add(text)
        if not sample.bytes_kept:
            raise InputError("text-empty", where=", ".join(map(str, files)))
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")  # elsewhere it is off, because processes fork
        quiet_libraries()
        proof = make_vocabulary(order, sample, stage)
    return {
        "folder": str(out),
        "kind": order.kind,
        "vocabulary": order.size,
        "pre_tokenizer": order.pre,
        "special_tokens": list(order.specials),
        "texts": sample.texts_seen,
        "megabytes": round(sample.bytes_seen / 1e6, 3),
        "learned_from_megabytes": round(sample.bytes_kept / 1e6, 3),
        "round_trip": _as_dict(proof),
        "seconds": round(time.monotonic() - start, 1),
    }


def inspect_tokenizer(target: str, on: Sequence[Path] = (), rare: int = 10) -> TokenizerFacts:
    """What a tokenizer is and does, on two small texts that say the same in English and Japanese and on files of the user's."""
    for path in on:
        if not path.exists():  # told before large libraries load
            raise InputError("file-missing", where=str(path))
    quiet_libraries()
    folder = _folder(target)
    vocabulary = HfVocabulary(open_tokenizer(folder))
    tokenizer = vocabulary.tokenizer
    ours = made_here(folder)
    samples = {f"sample.{language}": measure(vocabulary, [sample_text(language)]) for language in LANGUAGES}
    chats = bool(tokenizer.chat_template)
    files = {str(path): measure(vocabulary, _read([path], roles=chats)) for path in on}
    used = sum((text.used for text in files.values()), Counter[int]())
    found = rare_tokens(vocabulary, used, rare) if on else None
    return {
        "tokenizer": target,
        "kind": ours.get("kind") or kind_of(vocabulary),
        "vocabulary": vocabulary.size,
        "pre_tokenizer": ours.get("llama_cpp_pre"),
        "special_tokens": vocabulary.control,
        "stop_token": tokenizer.eos_token,
        "template": chats,
        "answers_end_with": _terminator(folder) if chats else None,
        "texts": [{"name": name, **text.as_dict()} for name, text in {**samples, **files}.items()],
        "rare": asdict(found) if found else None,
        "longest": longest_tokens(vocabulary),
        "round_trip": _as_dict(round_trip(vocabulary)),
    }


def _read(files: Sequence[Path], roles: bool = False) -> Iterator[str]:
    """Every text of the files, with progress."""
    progress = Progress(t("say.tokenizer-reading"), None)
    size = 0
    try:
        for path in files:
            for text in read_texts(path, roles):
                size += len(text)
                progress.update(0, f"{path.name} {size / 1e6:.0f} M")
                yield text
    finally:
        progress.close()


def _folder(target: str) -> Path:
    run = run_named(target)
    return locate_tokenizer(target) if run is None else base_target(run).path


def _terminator(folder: Path) -> str | None:
    codec = open_codec(folder)
    return None if codec.terminator is None else codec.vocabulary.decode([codec.terminator])


def _as_dict(proof: RoundTrip) -> RoundTripProof:
    return {
        "exact": proof.exact,
        "characters": proof.characters,
        "strings": proof.strings,
        "lost": [{"text": text, "became": became} for text, became in proof.lost],
    }
