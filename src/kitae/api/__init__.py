"""Each command as a function. Rooms that may not know each other are joined here: the CLI has no logic of its own."""

from kitae.api.blending import blend
from kitae.api.cleaning import clean_data, inspect_data, split_data
from kitae.api.comparison import compare
from kitae.api.estimate import estimate
from kitae.api.evaluation import evaluate
from kitae.api.licences import licences
from kitae.api.preview import preview
from kitae.api.pulling import pull
from kitae.api.quickstart import quickstart
from kitae.api.selecting import select_data
from kitae.api.shipping import export, merge, ship, verify
from kitae.api.sweep import sweep
from kitae.api.synthesis import synthesise
from kitae.api.talking import answer, conversation, generate, open_target
from kitae.api.training import train
from kitae.api.vocabulary import inspect_tokenizer, train_tokenizer

__all__ = [
    "answer",
    "blend",
    "clean_data",
    "compare",
    "conversation",
    "estimate",
    "evaluate",
    "export",
    "generate",
    "inspect_data",
    "inspect_tokenizer",
    "licences",
    "merge",
    "open_target",
    "preview",
    "pull",
    "quickstart",
    "select_data",
    "ship",
    "split_data",
    "sweep",
    "synthesise",
    "train",
    "train_tokenizer",
    "verify",
]
