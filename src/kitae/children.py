"""Processes that this one starts and waits for."""

from __future__ import annotations

import subprocess

from kitae.console import Progress


def finish(process: subprocess.Popen[str], label: str) -> tuple[str, str]:
    """What it printed on stdout and stderr, where those are pipes. The clock is shown meanwhile."""
    progress = Progress(label, None)
    try:
        while True:
            try:
                out, err = process.communicate(timeout=0.2)
                return out or "", err or ""
            except subprocess.TimeoutExpired:
                progress.update(0)
    finally:
        progress.close()
