"""Knows when it was imported."""

import time

WHEN = time.time_ns()
