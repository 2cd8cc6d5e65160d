"""What a recipe may say of rows and data/ does: their forms, and what is examined in them."""

from __future__ import annotations

from typing import Literal, get_args

_Known = Literal[
    "auto",
    "messages",
    "sharegpt",
    "utterances",
    "ultrachat",
    "alpaca",
    "dolly",
    "codealpaca",
    "math",
    "gsm8k",
    "squad",
    "self-instruct",
    "mbpp",
    "prompt-completion",
    "hh",
    "preference",
    "text",
]
FORMATS: tuple[str, ...] = get_args(_Known)
Format = str  # one of these, or a person's own fields


def own_fields(form: Format) -> tuple[list[str], str] | None:
    """What is asked, and what is answered, of `question+context=answer`."""
    asked, equals, answer = form.partition("=")
    names = [name.strip() for name in asked.split("+")]
    right = equals and all(names) and answer.strip() and not set("=+") & set(answer)
    return (names, answer.strip()) if right else None


def is_format(form: Format) -> bool:
    return form in FORMATS or own_fields(form) is not None


# What rows are examined for, and what may be done with those that are found.
RowGate = Literal[
    "data.empty",
    "data.encoding",
    "data.tags",
    "data.repetition",
    "data.private",
    "data.truncated",
    "data.language",
    "data.leak",
    "data.duplicates",
]
Action = Literal["drop", "repair", "keep"]
REPAIRABLE: tuple[RowGate, ...] = ("data.encoding", "data.tags", "data.private")
NEAR = 0.85  # likeness from which two rows are nearly the same
# Of answers: what `data.language` can tell apart.
LANGUAGES_KNOWN = (
    "en", "ja", "zh", "ko", "de", "fr", "es", "it", "pt", "nl", "pl",
    "sv", "tr", "id", "vi", "ro", "ru", "el", "ar", "he", "th", "hi",
)  # fmt: skip

# By what rows are chosen; several with + between them together.
Way = Literal["random", "longest", "ifd", "diverse", "similar", "judge"]
