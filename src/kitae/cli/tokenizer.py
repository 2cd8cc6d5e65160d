"""`kitae tokenizer train` and `inspect`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kitae.cli.help import Group
from kitae.cli.result import Result, grid
from kitae.core.i18n import t

if TYPE_CHECKING:
    from kitae.workflows import TokenizerFacts, TokenizerReport

_SHOWN = 8

tokenizer_app = typer.Typer(help=t("help.tokenizer"), no_args_is_help=True, rich_markup_mode=None, cls=Group)


@tokenizer_app.command("train", help=t("help.tokenizer-train"))
def tokenizer_train(
    files: Annotated[list[Path], typer.Argument(help=t("help.texts"))],
    out: Annotated[Path, typer.Option("--out", help=t("help.out"))],
    kind: Annotated[str, typer.Option(help=t("help.tokenizer-kind"))] = "bpe",
    vocab_size: Annotated[int | None, typer.Option(help=t("help.vocab-size"))] = None,
    pre: Annotated[str | None, typer.Option(help=t("help.tokenizer-pre"))] = None,
    special: Annotated[list[str] | None, typer.Option(help=t("help.special"))] = None,
    sample_mb: Annotated[int, typer.Option(min=1, help=t("help.sample-mb"))] = 64,
) -> Result:
    from kitae.workflows import train_tokenizer

    value = train_tokenizer(files, out, kind, vocab_size, pre, special or [], sample_mb)
    return Result(value, "\n".join([t("say.tokenizer-made", **value), _verdict(value), value["folder"]]))


@tokenizer_app.command("inspect", help=t("help.tokenizer-inspect"))
def tokenizer_inspect(
    target: Annotated[str, typer.Argument(help=t("help.tokenizer-target"))],
    on: Annotated[list[Path] | None, typer.Option(help=t("help.on"))] = None,
    rare: Annotated[int, typer.Option(min=1, help=t("help.rare"))] = 10,
) -> Result:
    from kitae.workflows import inspect_tokenizer

    value = inspect_tokenizer(target, on or [], rare)
    return Result(value, "\n\n".join([_facts(value), _texts(value), _rare(value), _verdict(value)]))


def _facts(value: TokenizerFacts) -> str:
    none = t("tokenizer.none")
    specials = list(value["special_tokens"])
    more = f" … ({len(specials)})" if len(specials) > _SHOWN else ""
    rows = [
        [t("tokenizer.name"), value["tokenizer"]],
        [t("tokenizer.kind"), value["kind"]],
        [t("tokenizer.size"), f"{value['vocabulary']:,}"],
        [t("tokenizer.pre"), value["pre_tokenizer"] or none],
        [t("tokenizer.specials"), (" ".join(specials[:_SHOWN]) or none) + more],
        [t("tokenizer.stop"), value["stop_token"] or none],
        [t("tokenizer.template"), t("tokenizer.answers-end", token=value["answers_end_with"]) if value["template"] else none],
    ]
    return grid(rows)


def _texts(value: TokenizerFacts) -> str:
    names = {"sample.en": t("tokenizer.sample-en"), "sample.ja": t("tokenizer.sample-ja")}
    head = [
        t("tokenizer.text"),
        t("tokenizer.bytes"),
        t("tokenizer.characters"),
        t("tokenizer.tokens"),
        t("tokenizer.bytes-per-token"),
        t("tokenizer.unknown"),
    ]
    rows = [
        [
            names.get(text["name"], text["name"]),
            f"{text['bytes']:,}",
            f"{text['characters']:,}",
            f"{text['tokens']:,}",
            f"{text['bytes_per_token']:.2f}",
            f"{text['unknown']:.1%}",
        ]
        for text in value["texts"]
    ]
    return grid([head, *rows])


def _rare(value: TokenizerFacts) -> str:
    rare = value["rare"]
    longest = t("tokenizer.longest", examples=" ".join(map(repr, value["longest"])))
    if rare is None:
        return f"{longest}\n{t('tokenizer.rare-unmeasured')}"
    lines = [longest, t("tokenizer.rare", unused=rare["unused"], rare=rare["rare"], below=rare["below"])]
    if rare["examples"]:
        lines.append(t("tokenizer.unused", examples=" ".join(map(repr, rare["examples"]))))
    return "\n".join(lines)


def _verdict(value: TokenizerFacts | TokenizerReport) -> str:
    proof = value["round_trip"]
    if proof["exact"]:
        return "✓ " + t("tokenizer.exact", characters=proof["characters"], strings=proof["strings"])
    lost = [f"    {loss['text']!r} → {loss['became']!r}" for loss in proof["lost"]]
    return "\n".join(["! " + t("tokenizer.words-lossy" if value["kind"] == "words" else "tokenizer.lossy"), *lost])
