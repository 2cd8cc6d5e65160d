"""Requests to a real server on loopback that answers well, badly, slowly and not at all."""

from __future__ import annotations

import json
import time
from itertools import pairwise
from pathlib import Path

import pytest
from tests.openai_server import Answer, endpoint

from kitae.ask import Budget, Endpoint, Ledger, Reply, Request, without_thought
from kitae.chat import Message
from kitae.core.errors import InputError, KitaeError


def asked(*texts: str, max_tokens: int = 20) -> list[Request]:
    return [Request((Message("user", text),), max_tokens) for text in texts]


def replies(made: Endpoint, requests: list[Request]) -> list[Reply]:
    found = dict(pair for some in made.answer(iter(enumerate(requests))) for pair in some)
    return [found[i] for i in range(len(requests))]


def made(url: str, **options: object) -> Endpoint:
    return Endpoint(url, "model", **{"timeout": 5.0, **options})  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kitae.ask.endpoint._PAUSE", 0.01)


def echo(body: dict, _: int) -> Answer:
    return Answer(body["messages"][0]["content"].upper())


def test_replies_come_in_the_order_of_requests() -> None:
    def slow_first(body: dict, number: int) -> Answer:
        return Answer(body["messages"][0]["content"].upper(), pause=0.3 if number == 0 else 0.0)

    with endpoint(slow_first) as server:
        found = replies(made(server.url, key="secret"), asked("a", "b", "c"))
        assert [reply.text for reply in found] == ["A", "B", "C"]
        assert found[0].asked == 50 and found[0].said == 1 and found[0].finish == "stop"
        assert set(server.keys) == {"Bearer secret"}
        assert {request["path"] for request in server.asked} == {"/v1/chat/completions"}
        assert server.asked[0]["max_tokens"] == 20 and server.asked[0]["model"] == "model"


def test_so_many_at_once_and_no_more() -> None:
    with endpoint(lambda body, number: Answer("x", pause=0.1)) as server:
        replies(made(server.url, at_once=3), asked(*"abcdefgh"))
        assert server.most == 3


def test_so_many_a_minute_and_no_more() -> None:
    with endpoint(echo) as server:
        replies(made(server.url, per_minute=600), asked(*"abcd"))
        times = sorted(request["at"] for request in server.asked)
        assert all(later - earlier > 0.08 for earlier, later in pairwise(times))


@pytest.mark.parametrize(
    "bad",
    [
        *(Answer("busy", status) for status in (408, 429, 500, 502, 503, 529)),
        Answer("wait", 429, headers={"Retry-After": "0"}),
        Answer("wait", 503, headers={"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}),
        Answer(None),
        *(
            Answer(raw=raw)
            for raw in (b"", b"not json", b"[]", b'{"choices": []}', b'{"choices": [{"message": {"content": 3}}]}')
        ),
        Answer(raw=b'{"choices": [{"message": {"content": "cut', headers={"Content-Length": "900"}),
        Answer(raw=b"[" * 100_000),
        Answer("late", pause=0.9),
        Answer("an error, drop by drop", 503, drip=0.02),
        Answer(raw=b'{"choices": [{"message": {"content": "x"}}], "usage": {"prompt_tokens": 1e999}}'),
        Answer("drop by drop", drip=0.02),
    ],
    ids=lambda answer: f"{answer.status} {str(answer.text)[:12]} {(answer.raw or b'')[:24]!r}",
)
def test_what_passes_is_waited_for(bad: Answer, tmp_path: Path) -> None:
    with endpoint(lambda body, number: bad if number < 2 else Answer("fine")) as server:
        ledger = Ledger(tmp_path / "calls.jsonl")
        (found,) = ledger.ask(made(server.url, timeout=0.5), asked("a"))
        assert found is not None and found.text == "fine" and not found.failed
        assert len(server.asked) == 3


def test_it_waits_as_long_as_it_is_told() -> None:
    with endpoint(
        lambda body, number: Answer("wait", 429, headers={"Retry-After": "1"}) if number == 0 else Answer("x")
    ) as server:
        began = time.monotonic()
        replies(made(server.url, at_once=1), asked("a", "b"))
        assert 1 <= time.monotonic() - began < 3


@pytest.mark.parametrize("status", [401, 403, 404])
def test_what_no_patience_mends_is_told_at_once(status: int) -> None:
    with endpoint(lambda body, number: Answer("no such thing for secret-key", status)) as server:
        with pytest.raises(InputError) as caught:
            replies(made(server.url, key="secret-key", at_once=1), asked("a", "b"))
        assert caught.value.kind == "endpoint-refused" and caught.value.why.startswith(str(status))
        assert "secret-key" not in str(caught.value.as_dict()) and len(server.asked) == 1


def test_errors_under_a_status_of_success() -> None:
    with endpoint(lambda body, number: Answer(raw=b'{"error": {"message": "no credits", "code": 402}}')) as server:
        (found,) = replies(made(server.url), asked("a"))
        assert found.failed == "no credits" and not found.passing


@pytest.mark.parametrize("usage", [{"prompt_tokens": 50}, {"prompt_tokens": -9, "completion_tokens": -9}, {}, None, "x"])
def test_what_is_not_counted_is_estimated(tmp_path: Path, usage: object) -> None:
    raw = json.dumps({"choices": [{"message": {"content": "one two three"}}], "usage": usage}).encode()
    with endpoint(lambda body, number: Answer(raw=raw)) as server:
        ledger = Ledger(tmp_path / "calls.jsonl")
        if usage == "x":
            with pytest.raises(KitaeError):
                ledger.ask(made(server.url), asked("a"))
            return
        ledger.ask(made(server.url), asked("a"))
        assert ledger.spent.asked >= 1 and ledger.spent.said >= 3


def test_a_request_that_is_refused_takes_no_other_with_it() -> None:
    with endpoint(
        lambda body, number: Answer("filtered", 400) if "bad" in body["messages"][0]["content"] else echo(body, 0)
    ) as server:
        found = replies(made(server.url), asked("a", "bad", "c"))
        assert [reply.text for reply in found] == ["A", "", "C"]
        assert found[1].failed == "400: filtered" and len(server.asked) == 3


def test_fields_that_an_endpoint_does_not_take_are_left_out() -> None:
    def picky(body: dict, _: int) -> Answer:
        if "max_tokens" in body:
            return Answer("Unsupported parameter: use 'max_completion_tokens' instead", 400)
        return Answer("extra field: seed", 422) if "seed" in body else Answer("fine")

    with endpoint(picky) as server:
        assert [reply.text for reply in replies(made(server.url), asked(*"abcdefgh"))] == ["fine"] * 8
        assert server.asked[-1]["max_completion_tokens"] == 20


def test_fields_are_given_where_only_the_question_speaks_of_them() -> None:
    def says(body: dict, number: int) -> Answer:
        return Answer("content filter: room temperature superconductors", 400) if number == 0 else Answer("fine")

    with endpoint(says) as server:
        replies(made(server.url, at_once=1), asked("a", "b"))
        assert "temperature" in server.asked[1]


def test_nobody_there() -> None:
    with endpoint(echo) as server:
        url = server.url
    with pytest.raises(KitaeError) as caught:
        replies(made(url, tries=2), asked("a"))
    assert caught.value.kind == "endpoint-unreachable" and caught.value.exit_code == 1


def test_a_key_does_not_follow_to_another_address() -> None:
    with endpoint(echo) as other:
        there = {"Location": f"{other.url}/chat/completions"}
        with endpoint(lambda body, number: Answer("moved", 302, headers=there)) as server:
            with pytest.raises(InputError) as caught:
                replies(made(server.url, key="secret"), asked("a"))
            assert caught.value.kind == "endpoint-moved" and other.url in caught.value.why and not other.asked


@pytest.mark.parametrize("url", ["localhost:80", "ftp://x/v1", "http://", "file:///etc/passwd", "http://me:secret@host/v1"])
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(InputError) as caught:
        made(url)
    assert "secret" not in str(caught.value.as_dict())


def test_without_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KITAE_OFFLINE", "1")
    with pytest.raises(InputError) as caught:
        made("http://127.0.0.1:1/v1")
    assert caught.value.kind == "offline"


def test_nothing_is_paid_for_twice(tmp_path: Path) -> None:
    with endpoint(echo) as server:
        client, file = made(server.url), tmp_path / "calls.jsonl"
        first = Ledger(file)
        assert [reply.text for reply in first.ask(client, asked("a", "b")) if reply] == ["A", "B"]
        second = Ledger(file)
        assert [reply.text for reply in second.ask(client, asked("b", "c", "a")) if reply] == ["B", "C", "A"]
        assert len(server.asked) == 3
        assert second.spent.calls == 3 and second.spent.asked == 150


def test_what_failed_for_good_stays_so(tmp_path: Path) -> None:
    """Else everything that was made after it would be made anew."""

    def says(body: dict, number: int) -> Answer:
        return Answer("filtered", 400) if number == 1 else Answer("fine")

    with endpoint(says) as server:
        client, file = made(server.url, at_once=1), tmp_path / "calls.jsonl"
        first = Ledger(file).ask(client, asked("a", "b"))
        assert first[1] is not None and first[1].failed == "400: filtered"
        again = Ledger(file)
        assert again.ask(client, asked("a", "b")) == first and len(server.asked) == 2
        assert again.spent.calls == 1 and again.spent.lost == 0


def test_what_stays_broken_ends_it_and_is_asked_again_the_next_time(tmp_path: Path) -> None:
    well = False

    def says(body: dict, number: int) -> Answer:
        return Answer("fine") if number < 2 or well else Answer(raw=b"half a rep")

    with endpoint(says) as server:
        with pytest.raises(KitaeError) as caught:
            Ledger(tmp_path / "calls.jsonl").ask(made(server.url, at_once=1), asked(*"abcdefghij"))
        assert caught.value.kind == "endpoint-failing" and len(server.asked) == 2 + 8
        well = True
        ledger = Ledger(tmp_path / "calls.jsonl")
        assert ledger.spent.calls == 2 and ledger.spent.lost == 8  # each may have been paid for
        found = ledger.ask(made(server.url, at_once=1), asked(*"abcdefghij"))
        assert [reply.text for reply in found if reply] == ["fine"] * 10 and len(server.asked) == 10 + 8
        assert Ledger(tmp_path / "calls.jsonl").spent == ledger.spent


def test_wrong_settings_leave_no_trace(tmp_path: Path) -> None:
    file = tmp_path / "calls.jsonl"
    with endpoint(lambda body, number: Answer("no such option", 400)) as server:
        with pytest.raises(KitaeError):
            Ledger(file).ask(made(server.url, at_once=2), asked(*map(str, range(20))))
        server.says = echo
        found = Ledger(file).ask(made(server.url), asked(*map(str, range(20))))
        assert [reply.text for reply in found if reply] == [str(i) for i in range(20)]


def test_equal_requests_are_asked_once(tmp_path: Path) -> None:
    with endpoint(echo) as server:
        found = Ledger(tmp_path / "calls.jsonl").ask(made(server.url), asked("a", "b", "a", "a"))
        assert [reply.text for reply in found if reply] == ["A", "B", "A", "A"] and len(server.asked) == 2


@pytest.mark.parametrize("budget", [Budget(tokens=900), Budget(money=0.9, price=(1000, 1000))])
@pytest.mark.parametrize("usage", [True, False])
@pytest.mark.parametrize("fails", [0, 3])
def test_a_budget_is_not_passed(tmp_path: Path, budget: Budget, usage: bool, fails: int) -> None:
    """The server counts 50 tokens of a prompt of one letter, and now and then takes the money and says nothing."""
    paid = 0

    def says(body: dict, number: int) -> Answer:
        nonlocal paid
        broken = bool(fails) and number % fails == 1
        paid += 50 + (body["max_tokens"] if broken else 3)
        return Answer(raw=b"{") if broken else Answer("one two three", usage=usage)

    with endpoint(says) as server:
        ledger, requests = Ledger(tmp_path / "calls.jsonl", budget), asked(*map(str, range(30)), max_tokens=20)
        found = ledger.ask(made(server.url, at_once=4), requests)
        answered = [reply for reply in found if reply is not None]
        assert len(answered) > 0 and (len(answered) < 30 or not usage)
        assert ledger.spent.asked + ledger.spent.said <= 900
        assert paid <= 900 or not usage  # who doesn't count can't be counted with
        more = Ledger(tmp_path / "calls.jsonl", Budget(tokens=100_000)).ask(made(server.url), requests)
        assert None not in more


def test_calls_that_a_kill_lost_count_as_paid(tmp_path: Path) -> None:
    file = tmp_path / "calls.jsonl"
    (request,) = asked("a")
    file.write_text(json.dumps({"begun": [[f"model {request.key}", 100, 20]], "messages": []}) + '\n{"replies": [["mod')
    ledger = Ledger(file)
    assert ledger.spent.lost == 1 and ledger.spent.asked == 100
    with endpoint(echo) as server:
        (found,) = ledger.ask(made(server.url), [request])
        assert found is not None and found.text == "A"
    assert Ledger(file).spent.lost == 1 and Ledger(file).spent.calls == 1  # for ever


def test_a_call_that_two_kills_lost_counts_twice(tmp_path: Path) -> None:
    file = tmp_path / "calls.jsonl"
    file.write_text(2 * (json.dumps({"begun": [["model k", 100, 20]]}) + "\n"))
    spent = Ledger(file).spent
    assert (spent.lost, spent.asked, spent.said) == (2, 200, 40)


def test_an_endpoint_that_counts_more_than_a_text_has_is_expected_to_go_on_so(tmp_path: Path) -> None:
    raw = json.dumps({"choices": [{"message": {"content": "A"}}], "usage": {"prompt_tokens": 500, "completion_tokens": 1}})
    with endpoint(lambda body, number: Answer(raw=raw.encode())) as server:
        ledger = Ledger(tmp_path / "calls.jsonl", Budget(tokens=1650))
        found = ledger.ask(made(server.url, at_once=1), asked(*"abcdef"))
        assert [reply is not None for reply in found] == [True] * 3 + [False] * 3
        assert ledger.spent.asked + ledger.spent.said == 1503


def test_a_reply_without_an_end_is_not_listened_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kitae.ask.endpoint._LARGEST", 1000)
    with endpoint(lambda body, number: Answer("long " * 1000)) as server:
        (found,) = replies(made(server.url, tries=1), asked("a"))
        assert not found.text and "more than 1000 bytes" in found.failed


@pytest.mark.parametrize(
    "line", ["[]", "3", '{"replies": 5}', '{"replies": [[1]]}', '{"begun": [["k", "x", {}]]}', '{"lost": {}}']
)
def test_lines_of_another_shape_say_nothing(tmp_path: Path, line: str) -> None:
    file = tmp_path / "calls.jsonl"
    file.write_text(f'{line}\n{{"replies": [["model k", {{"text": "A", "later": 1}}]]}}\n')
    assert Ledger(file).spent.calls == 1


def test_thoughts_and_half_characters(tmp_path: Path) -> None:
    raw = json.dumps({"choices": [{"message": {"content": "<think>\nHm. 7?\n</think>\n\nIt is \ud800 8."}}]}).encode()
    with endpoint(lambda body, number: Answer(raw=raw)) as server:
        (found,) = Ledger(tmp_path / "calls.jsonl").ask(made(server.url), asked("a"))
        assert found is not None and found.text == "It is ? 8."
    assert without_thought("<think>never ends") == "" and without_thought("no <think>") == "no <think>"


@pytest.mark.parametrize("key", ["sk-secret\n", " sk-secret "])
def test_keys_as_files_hold_them(key: str) -> None:
    def says(body: dict, number: int) -> Answer:
        return Answer(raw=b'{"said": "Bearer sk-secret is no key"}') if number == 0 else Answer("fine")

    with endpoint(says) as server:
        (found,) = replies(made(server.url, key=key), asked("a"))
        assert set(server.keys) == {"Bearer sk-secret"}
        assert found.failed and "sk-secret" not in found.failed
    with pytest.raises(InputError) as caught:
        made(server.url, key="sk\nsecret")
    assert caught.value.kind == "endpoint-key" and "secret" not in str(caught.value.as_dict())


def test_addresses(tmp_path: Path) -> None:
    with endpoint(echo) as server:
        for url in (server.url, f"{server.url}/", f"{server.url}/chat/completions"):
            replies(made(url), asked("a"))
        replies(made(f"{server.url}?api-version=2"), asked("a"))
        assert [asked["path"] for asked in server.asked] == ["/v1/chat/completions"] * 3 + [
            "/v1/chat/completions?api-version=2"
        ]
