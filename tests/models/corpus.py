"""A small text in two languages to learn tokens from."""

from __future__ import annotations

from pathlib import Path

from kitae.models.vocabulary import LANGUAGES, sample_text

ROOT = Path(__file__).parents[2]
FILES = ("README.md", "README.ja.md", "CONTRIBUTING.md", "docs/gates.md", "docs/benchmarks.md")


def corpus() -> list[str]:
    """Paragraphs of the project's own documents, each once more with control-token text in it."""
    texts = [(ROOT / name).read_text(encoding="utf-8") for name in FILES] + [sample_text(name) for name in LANGUAGES]
    paragraphs = [paragraph + "\n\n" for text in texts for paragraph in text.split("\n\n")]
    return [*paragraphs, *("<|im_start|>user\n" + paragraph + "<|im_end|>\n" for paragraph in paragraphs)]
