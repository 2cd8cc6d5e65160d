"""Knows when it was imported, and with which setting."""

import os
import time

WHEN = time.time_ns()
WORD = os.environ.get("KITAE_WORD")
