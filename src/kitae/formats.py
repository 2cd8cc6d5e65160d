"""The forms of rows that a recipe may name and data/ reads."""

from __future__ import annotations

from typing import Literal

Format = Literal[
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
    "prompt-completion",
    "hh",
    "preference",
    "text",
]
