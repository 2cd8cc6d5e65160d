"""Only text that is certain comes out, however the bytes come in."""

from __future__ import annotations

from hypothesis import example, given, settings, strategies as st

from kitae.generate.stops import TextStream


def fed(stops: list[str], *pieces: bytes) -> tuple[list[str], TextStream]:
    stream = TextStream(stops)
    return [stream.feed(piece) for piece in pieces], stream


def test_text_comes_at_once_without_stops() -> None:
    assert fed([], b"a", b"bc")[0] == ["a", "bc"]
    assert fed([""], b"a")[0] == ["a"]


def test_half_characters_wait() -> None:
    texts, stream = fed([], "あ".encode()[:1], "あ".encode()[1:] + b"!")
    assert texts == ["", "あ!"]
    assert stream.flush() == ""


def test_broken_utf8_becomes_a_mark() -> None:
    assert fed([], b"a\xff", b"b")[0] == ["a\ufffd", "b"]
    stream = fed([], b"a\xe3")[1]
    assert (stream.flush(), stream.flush()) == ("\ufffd", "")


def test_what_may_become_a_stop_waits() -> None:
    texts, stream = fed(["END"], b"one E", b"N", b"x EN", b"D two")
    assert texts == ["one ", "", "ENx ", ""]
    assert stream.stopped
    assert stream.flush() == ""


def test_a_stop_that_never_came_is_text() -> None:
    texts, stream = fed(["END"], b"the E", b"N")
    assert texts == ["the ", ""]
    assert stream.flush() == "EN"
    assert not stream.stopped


def test_nothing_comes_after_a_stop() -> None:
    texts, stream = fed(["."], b"a.b", b"c")
    assert texts == ["a", ""]
    assert stream.flush() == ""


def test_the_earliest_stop_counts() -> None:
    assert fed(["later", "soon"], b"soon or later")[0] == [""]
    assert fed(["c", "bc"], b"abc")[0] == ["a"]


def test_a_longer_stop_that_begins_earlier_wins() -> None:
    assert fed(["abcd", "bc"], b"xabcd")[0] == ["x"]
    texts, stream = fed(["abcd", "bc"], b"xabc", b"d")
    assert ("".join(texts), stream.stopped) == ("x", True)
    texts, stream = fed(["abcd", "bc"], b"xabc", b"e")
    assert ("".join(texts), stream.stopped) == ("xa", True)
    texts, stream = fed(["abcd", "bc"], b"xabc")
    assert ("".join(texts) + stream.flush(), stream.stopped) == ("xa", True)


_text = st.text(alphabet="abcé あ😀", max_size=20)


@settings(max_examples=400, deadline=None)
@given(_text, st.lists(st.text(alphabet="abcé あ😀", max_size=4), max_size=4), st.lists(st.integers(1, 5), max_size=60))
@example("xaab", ["aab"], [1])
@example("abcc", ["abcd", "bc"], [3])
def test_chunks_do_not_matter(text: str, stops: list[str], sizes: list[int]) -> None:
    data, stream, out, at = text.encode(), TextStream(stops), "", 0
    for size in [*sizes, len(data)]:
        out += stream.feed(data[at : at + size])
        at += size
    out += stream.flush()
    cut = min((i for i in (text.find(stop) for stop in stops if stop) if i >= 0), default=len(text))
    assert out == text[:cut]
    assert stream.stopped == any(stop and stop in text for stop in stops)
