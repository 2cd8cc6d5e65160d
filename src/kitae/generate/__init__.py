"""The only decode loop: samplers, stops, engines."""

from kitae.callable import make_callable
from kitae.generate.endpoint import Endpoint
from kitae.generate.engine import Engine
from kitae.generate.ledger import Budget, Ledger, Spent
from kitae.generate.loop import complete, stream
from kitae.generate.open import open_engine
from kitae.generate.settings import Chunk, Completion, Settings
from kitae.generate.speaker import Local, Speaker

__all__ = [
    "Budget",
    "Chunk",
    "Completion",
    "Endpoint",
    "Engine",
    "Ledger",
    "Local",
    "Settings",
    "Speaker",
    "Spent",
    "complete",
    "open_engine",
    "stream",
]

make_callable(__name__)
