"""Chat templates that have a name, for models that bring none."""

from __future__ import annotations

from pathlib import Path

from kitae.core.errors import InputError
from kitae.core.files import read_text

RAW = "raw"  # no template: what is said, one after another, behind what the tokenizer begins every text with
NAMED = {
    "chatml": (
        "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    ),
    RAW: "{{ beginning }}{% for message in messages %}{{ message.content }}{% endfor %}",
}


def template_text(name: str) -> str:
    """Of a name, or of a Jinja file."""
    if name in NAMED:
        return NAMED[name]
    path = Path(name).expanduser()
    if not path.is_file():
        raise InputError("template-unknown", where=name, why=", ".join(NAMED))
    return read_text(path)
