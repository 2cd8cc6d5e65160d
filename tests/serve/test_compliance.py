"""A public checker of OpenAI-compatible servers: all that a model which reads text only, and uses no tools, can pass."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import Served

pytestmark = pytest.mark.slow(20)
_BEYOND = {  # what asks for tools, images, and phases of answers
    "openai-chat": {"chat-tool-calling", "chat-image-input"},
    "open-responses": {"tool-calling", "image-input", "assistant-phase"},
}


@pytest.mark.parametrize("kind", sorted(_BEYOND))
def test_the_checker_is_content(gguf: Served, kind: str) -> None:
    program = str(Path(sys.executable).parent / "llm-comply")
    command = [program, "--base-url", f"{gguf.url}/v1", "--api-key", "none", "--model", "m", "--format", kind, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    found = json.loads(done.stdout)
    failed = {test["id"] for test in found["results"] if test["status"] == "failed"}
    passed = {test["id"] for test in found["results"] if test["status"] == "passed"}
    assert failed <= _BEYOND[kind], done.stdout[-3000:]
    assert len(passed) >= 6
