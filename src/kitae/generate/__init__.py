"""The only decode loop: samplers, stops, engines."""

from kitae.callable import make_callable
from kitae.generate.engine import Engine
from kitae.generate.loop import complete, stream
from kitae.generate.open import open_engine
from kitae.generate.settings import Chunk, Completion, Settings

__all__ = ["Chunk", "Completion", "Engine", "Settings", "complete", "open_engine", "stream"]

make_callable(__name__)
