"""Gates on a running server: what it makes of a conversation, where its answers end, and what they say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from kitae.ask import Reply
from kitae.chat import ChatCodec, Message
from kitae.evaluate import Share, worse_p_value
from kitae.generate import Completion
from kitae.recipe import Thresholds
from kitae.verify import behaviour
from kitae.verify.evidence import texts_apart
from kitae.verify.gate import Gate, passed, refused, skipped, warned
from kitae.verify.observe import Observation
from kitae.verify.parting import Compared

_SHOWN = 3
_SURE = 0.05  # a loss is counted against a server only when chance would rarely make it


@dataclass(frozen=True)
class Prompted:
    """A conversation, and what the proven model and the server make of it."""

    messages: Sequence[Message]
    ids: list[int]
    text: str
    reply: Reply
    shown: str | list[int] | None = None  # by a server that says so
    opened: Prompted | None = None  # the same behind the system message that the rows of training shared

    def apart(self, codec: ChatCodec) -> tuple[list[str], int | None]:
        """Where the two part, and how many tokens more the server counts; None if it counts none. A server that says the shared
        system message where nobody says another does what was proven, too."""
        found = self._apart(codec)
        if found[0] and self.opened is not None:
            as_trained = self.opened.apart(codec)
            return found if as_trained[0] else as_trained
        return found

    def _apart(self, codec: ChatCodec) -> tuple[list[str], int | None]:
        name = f"…{self.messages[-1].content[-40:]!r}"
        if self.reply.failed:
            return [f"{name}: {self.reply.failed}"], None
        more = self.reply.asked - len(self.ids) if self.reply.asked > 0 else None
        lines = []
        if isinstance(self.shown, list) and self.shown != self.ids:
            lines.append(f"tokens as text, {texts_apart(*map(codec.vocabulary.decode, (self.shown, self.ids)))}")
        elif isinstance(self.shown, str):
            begins = codec.template.special_tokens.get("bos_token", "")  # some put it there later
            if self.shown.removeprefix(begins) != self.text.removeprefix(begins):
                lines.append(f"rendered, {texts_apart(self.shown, self.text)}")
        if more:
            lines.append(f"{name}: {self.reply.asked} tokens ≠ {len(self.ids)}")
        return lines, more


def template(seen: Sequence[Prompted], codec: ChatCodec) -> Gate:
    """The same prompts, as far as the server lets that be seen: how many tokens it counts, and what it renders."""
    gate = "endpoint.template"
    found = [one.apart(codec) for one in seen]
    wrong = [lines for lines, _ in found if lines]
    counts = [more for _, more in found if more is not None]
    total, evidence = len(seen), [line for lines in wrong for line in lines][:_SHOWN]
    failed = [one.reply.failed for one in seen if one.reply.failed]
    if len(failed) == total:
        return refused(gate, "unanswered", len(failed), 0, evidence, count=len(failed), total=total)
    if wrong and set(counts) == {1} and not any("rendered" in line for line in evidence):
        return refused(gate, "one-more", 1, 0, evidence)
    if wrong:
        return refused(gate, "differ", len(wrong), 0, evidence, count=len(wrong), total=total)
    if not counts and all(one.shown is None for one in seen):
        return skipped(gate, "no-usage")
    shown = sum(one.shown is not None for one in seen)
    return passed(gate, 0, 0, [f"{len(counts)} / {total} conversations counted alike, {shown} shown alike"])


def control_text(named: Prompted, plain: Prompted, codec: ChatCodec) -> Gate:
    """What a user writes must not become a control token. The conversations differ in such a text only, so that a template that
    is another one doesn't count here."""
    gate = "endpoint.control-text"
    if not (named.reply.asked > 0 and plain.reply.asked > 0):
        return skipped(gate, "no-usage", required=False)
    read = len(codec.vocabulary.encode(codec.template.render(named.messages, add_generation_prompt=True)))
    ours, parsed, theirs = (
        count - less
        for count, less in (
            (len(named.ids), len(plain.ids)),
            (read, len(plain.ids)),
            (named.reply.asked, plain.reply.asked),
        )
    )
    if theirs == ours:
        return passed(gate, theirs, ours)
    evidence = [f"{named.messages[-1].content!r}: {named.reply.asked} tokens ≠ {len(named.ids)}"]
    if theirs == parsed:
        return warned(gate, "parsed", theirs, ours, evidence)
    return warned(gate, "other", theirs, ours, evidence)


def stops(answers: Sequence[Compared], codec: ChatCodec, limits: Thresholds) -> Gate:
    """Answers end where the proven ones do, and nothing of the template gets into them."""
    gate, limit = "endpoint.stops", limits.stop_rate
    answered = [one for one in answers if not one.served.failed]
    if not answered:
        return skipped(gate, "no-prompts")
    before, now = ([a.finish == "stop" for a in side] for side in _sides(answered))
    shares = Share(sum(before), len(before)), Share(sum(now), len(now))
    on = [one for one in answered if one.went_on]
    measured = {"proven": shares[0].value, "served": shares[1].value, "went_on": len(on), "answers": len(answered)}
    evidence = [f"stopped: {shares[0]} → {shares[1]}"]
    if leaks := [(text, one) for one in answered if (text := _leaked(one, codec))]:
        text, one = leaks[0]
        shown = [f"{text!r} in {len(leaks)} of {len(answered)} answers", *one.lines()]
        return refused(gate, "leaks", measured, 0, shown, count=len(leaks), text=text)
    if not any(before):
        return warned(gate, "never", measured, limit, evidence)
    went_on = Share(len(on), sum(before))
    if went_on.interval[0] > 1 - limit:
        return refused(gate, "runs-on", measured, limit, [*evidence, *on[0].lines()], count=len(on), total=sum(before))
    if worse_p_value(before, now) < _SURE:  # it says something else, and comes to no end
        endless = next(one for one in answered if one.proven.finish == "stop" != one.served.finish)
        return refused(gate, "ends-less", measured, limit, [*evidence, *endless.lines()], before=sum(before), now=sum(now))
    short = [one for one in answered if one.kind == "shorter"]
    if Share(len(short), len(answered)).interval[0] > 1 - limit:
        return refused(gate, "cut", measured, limit, [*evidence, *short[0].lines()], count=len(short), total=len(answered))
    if on:
        return warned(gate, "unsure", measured, limit, [*evidence, *on[0].lines()], count=len(on), total=sum(before))
    return passed(gate, measured, limit, evidence)


def _sides(answers: Sequence[Compared]) -> tuple[list[Completion], list[Reply]]:
    return [one.proven for one in answers], [one.served for one in answers]


def _leaked(one: Compared, codec: ChatCodec) -> str | None:
    """A control token, or what the template puts behind answers, as text of an answer that has it not."""
    ends = codec.template.closing.strip()
    texts = [*codec.vocabulary.control, *([ends] if len(ends) > 1 else [])]
    return next((text for text in texts if text in one.served.text and text not in one.proven.text), None)


def answers(
    found: Sequence[Compared], proven: Observation, truths: Sequence[str], exact: bool, limits: Thresholds, tie: float
) -> Gate:
    """The same answers, but where the proven model found two tokens as likely as its own proof allows."""
    gate, total = "endpoint.answers", len(found)
    failed = [one for one in found if one.served.failed]
    apart = [one for one in found if one.kind not in ("equal", "tied") and not one.served.failed]
    tied = sum(one.kind == "tied" and not one.served.failed for one in found)
    equal = total - len(failed) - len(apart) - tied
    measured: dict[str, object] = {"equal": equal, "tied": tied, "different": len(apart), "answers": total, "tie": tie}
    evidence = [f"equal {equal} of {total}, near ties {tied}, different {len(apart)}"]
    if failed:
        shown = [*evidence, *(f"{one.question[-60:]!r}: {one.served.failed}" for one in failed[:_SHOWN])]
        return refused(gate, "unanswered", measured, 0, shown, count=len(failed), total=total)
    if not total:
        return skipped(gate, "no-prompts")
    evidence += apart[0].lines() if apart else []
    if exact:
        served = replace(proven, answers=[replace(one.proven, text=one.served.text) for one in found])
        if lost := behaviour.lost("endpoint.answers", proven, served, truths, limits):
            evidence[0] += f"; {lost.evidence[0]}"
            return replace(lost, measured={**measured, **_as_dict(lost.measured)}, evidence=evidence)
    share = Share(len(apart), total)
    if share.interval[0] > limits.task_drop:
        return refused(gate, "differ", measured, limits.task_drop, evidence, count=len(apart), total=total)
    if apart:
        return warned(gate, "some", measured, limits.task_drop, evidence, count=len(apart), total=total)
    return passed(gate, measured, limits.task_drop, evidence)


def _as_dict(measured: object) -> dict[str, object]:
    return measured if isinstance(measured, dict) else {}
