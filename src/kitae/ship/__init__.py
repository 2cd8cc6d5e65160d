"""Merge, GGUF, quantise, package: the proof chain."""

from kitae.callable import make_callable
from kitae.ship.calibration import general_sequences
from kitae.ship.chain import Chain
from kitae.ship.converter import converter
from kitae.ship.export import to_gguf
from kitae.ship.importance import importance, weighs
from kitae.ship.quantise import check_plain, quantise

__all__ = ["Chain", "check_plain", "converter", "general_sequences", "importance", "quantise", "to_gguf", "weighs"]

make_callable(__name__)
