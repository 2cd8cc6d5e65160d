"""Each command as a function. Rooms that may not know each other are joined here: the CLI has no logic of its own."""

from kitae.api.estimate import estimate
from kitae.api.preview import preview
from kitae.api.quickstart import quickstart
from kitae.api.shipping import export, merge, ship, verify
from kitae.api.talking import answer, conversation, generate, open_target
from kitae.api.training import train

__all__ = [
    "answer",
    "conversation",
    "estimate",
    "export",
    "generate",
    "merge",
    "open_target",
    "preview",
    "quickstart",
    "ship",
    "train",
    "verify",
]
