"""Requests that nobody would think of: whatever comes, no request ends in an error of the server's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import Served

_SECONDS = int(os.environ.get("KITAE_FUZZ_SECONDS", "180"))
pytestmark = [pytest.mark.slow(_SECONDS + 10), pytest.mark.timeout(_SECONDS + 600)]
_TOO_SLOW = "504"  # of a tiny model that was asked for much, beside other tests


def test_no_request_fails_by_the_servers_fault(folder: Served, tmp_path: Path) -> None:
    command = [
        str(Path(sys.executable).parent / "st"), "run", f"{folder.url}/openapi.json",
        "--checks", "not_a_server_error,status_code_conformance,content_type_conformance",
        "--max-time", str(_SECONDS), "--max-examples", "100000", "--no-shrink", "--continue-on-failure", "--max-failures", "20",
        "--suppress-health-check", "all", "--request-timeout", "60", "--warnings", "off", "--no-color",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=_SECONDS + 500)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    status, _ = folder.chat()
    assert status == 200
