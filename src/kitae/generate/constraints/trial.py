"""A grammar is compiled for once in a process of its own, whose memory and time are limited.

llguidance's limits don't reach everything: `/a{9999}/{9999}` takes all memory, and then the process is gone. How much a schema
or an expression takes is seen by reading it. Grammars can say too much for that.
"""

from __future__ import annotations

import subprocess
import sys

from kitae.core.errors import BadConstraint

_SECONDS = 10  # by the clock; of computing, a third
_PROGRAM = f"""
import sys
from llguidance import LLMatcher, LLTokenizer
try:
    import resource
    resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
    resource.setrlimit(resource.RLIMIT_CPU, ({_SECONDS // 3}, {_SECONDS // 3}))
except ImportError:
    pass  # Windows has no such limits: there only the clock ends it
matcher = LLMatcher(LLTokenizer("byte"), sys.stdin.buffer.read().decode(), log_level=0)
if not matcher.is_error():
    matcher.compute_bitmask()
print("survived")
"""


def survives(grammar: str, where: str) -> None:
    """Refuses a grammar that can't be compiled with reasonable means. Whether it is right is seen when it is used."""
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-c", _PROGRAM],
            input=grammar.encode("utf-8"),
            capture_output=True,
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise BadConstraint("constraint-size", where=where) from error
    if b"survived" not in done.stdout and b"ValueError" not in done.stderr:  # a mask that can't be made says why itself
        raise BadConstraint("constraint-size", where=where)
