"""Limits in seconds are those of a usual machine; a slower one may take longer."""

from __future__ import annotations

import time

_USUAL = 0.05  # seconds that the loop takes there


def slowness() -> float:
    """How many times slower this machine is at the moment, and never less than 1."""
    began = time.process_time()
    sum(number * number % 7 for number in range(10**6))
    return max(1.0, (time.process_time() - began) / _USUAL)
