"""What suites report."""

from __future__ import annotations

from typing import Any

Scores = dict[str, dict[str, Any]]  # by suite: its numbers by their names
