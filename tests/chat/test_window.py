"""What of a long conversation is shown: never half a turn, never without its system message, never too much."""

from __future__ import annotations

import pytest
from hypothesis import given, settings, strategies as st

from kitae.chat import ChatCodec, Message, fitting
from kitae.core.errors import ContextFull


def talk(*lengths: int, system: bool = True) -> list[Message]:
    found = [Message("system", "Be brief.")] if system else []
    for number, length in enumerate(lengths):
        found.append(Message("user" if number % 2 == 0 else "assistant", f"{number} " + "word " * length))
    return found


def test_what_fits_stays_whole(codec: ChatCodec) -> None:
    messages = talk(3, 4, 5)
    assert fitting(codec, messages, len(codec.prompt(messages))) == messages


def test_the_oldest_turns_go_first(codec: ChatCodec) -> None:
    messages = talk(30, 30, 30, 30, 5)
    room = len(codec.prompt(messages)) - 1
    assert fitting(codec, messages, room) == [messages[0], *messages[3:]]


def test_a_last_turn_that_does_not_fit_is_refused(codec: ChatCodec) -> None:
    with pytest.raises(ContextFull):
        fitting(codec, talk(3, 3, 300), 100)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(0, 40), min_size=1, max_size=9).filter(lambda lengths: len(lengths) % 2),
    st.integers(30, 300),
    st.booleans(),
)
def test_it_is_the_longest_end_that_fits(codec: ChatCodec, lengths: list[int], room: int, system: bool) -> None:
    messages = talk(*lengths, system=system)
    head = messages[: int(system)]
    ends = [[*head, *messages[start:]] for start in range(len(head), len(messages), 2)]
    fit = [end for end in ends if len(codec.prompt(end)) <= room]
    if fit:
        assert fitting(codec, messages, room) == fit[0]
    else:
        with pytest.raises(ContextFull):
            fitting(codec, messages, room)
