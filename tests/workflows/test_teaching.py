"""What a teacher is asked."""

from __future__ import annotations

import pytest

from kitae.chat import Conversation
from kitae.core.errors import InputError
from kitae.recipe import Distillation
from kitae.train.teaching import _asked, _shown


def row(number: int, answer: str = "A") -> Conversation:
    said = [("system", "S"), ("user", f"Q{number}"), ("assistant", f"{answer}{number}" if answer else "")]
    return Conversation.of([{"role": role, "content": text} for role, text in said])


def test_a_teacher_is_shown_other_rows_before_a_question() -> None:
    rows = [row(0), row(1, answer=""), row(2), row(3), row(4)]
    shown = _shown(Distillation(teacher="t", learn="answers", shots=2), rows)
    for asked, seen in ((0, (2, 3)), (2, (0, 3)), (1, (0, 2)), (4, (0, 2))):
        turns = [text for other in seen for text in (f"Q{other}", f"A{other}")]
        assert [m.content for m in _asked(rows[asked], shown)] == ["S", *turns, f"Q{asked}"]
    assert _asked(rows[0], _shown(Distillation(teacher="t", learn="answers"), rows)) == list(rows[0].prompt)


def test_examples_must_have_answers() -> None:
    with pytest.raises(InputError) as caught:
        _shown(Distillation(teacher="t", learn="answers", shots=2), [row(0), row(1), row(2, answer="")])
    assert caught.value.kind == "few-shots"
