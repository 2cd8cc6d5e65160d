"""Gates on what a model does when it is asked: does it stop, does it loop, is it better at its task."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from kitae.core.quants import larger_than
from kitae.evaluate import Share, exact_match, looping, mean_difference, stopped, worse_p_value
from kitae.recipe import Thresholds
from kitae.verify.compare import log_likelihoods
from kitae.verify.equal import targets
from kitae.verify.gate import Gate, passed, refused, skipped, warned
from kitae.verify.observe import Observation

_SHOWN = 3
_SURE = 0.05  # a loss is counted against a form only when chance would rarely make it


def stops(gate: str, seen: Observation, limits: Thresholds) -> Gate:
    """Greedy and sampled answers end by themselves."""
    if not seen.answers:
        return skipped(gate, "no-prompts", required=not seen.job.sequences)  # plain text has no answers to end
    greedy, sampled = Share(sum(stopped(seen.answers)), len(seen.answers)), None
    worst = greedy
    if seen.sampled:
        sampled = Share(sum(stopped(seen.sampled)), len(seen.sampled))
        worst = min(greedy, sampled, key=lambda share: share.value)
    measured = {"greedy": greedy.value, "sampled": sampled.value if sampled else None, "prompts": greedy.total}
    counts = f"stopped: greedy {greedy}" + (f", sampled {sampled}" if sampled else "")
    share = f"{greedy.value:.0%}" + (f" / {sampled.value:.0%}" if sampled else "")
    evidence = [counts, *_endless(seen)]
    if any(share.interval[1] < limits.stop_rate for share in (greedy, sampled or greedy)):
        return refused(gate, "endless", measured, limits.stop_rate, evidence, share=share)
    if worst.value < limits.stop_rate:  # one answer in sixteen: too few to tell
        return warned(gate, "unsure", measured, limits.stop_rate, evidence, share=share)
    return passed(gate, measured, limits.stop_rate, evidence)


def _endless(seen: Observation) -> list[str]:
    return [f"…{a.text[-80:]!r}" for a in [*seen.answers, *seen.sampled] if a.finish != "stop"][:_SHOWN]


def stops_like(gate: str, reference: Observation, seen: Observation) -> Gate:
    """For two forms of a model about whose task nothing is known: on the same questions, one stops no less than the other."""
    before, now = stopped(reference.answers), stopped(seen.answers)
    if not now:
        return skipped(gate, "no-prompts", required=not seen.job.sequences)
    p = worse_p_value(before, now)
    shares = Share(sum(before), len(before)), Share(sum(now), len(now))
    measured = {"reference": shares[0].value, "greedy": shares[1].value, "p": p, "prompts": len(now)}
    evidence = [f"stopped: {shares[0]} → {shares[1]}, p = {p:.2g}", *_endless(seen)]
    if p < _SURE:
        return refused(gate, "stops-less", measured, f"p ≥ {_SURE}", evidence, before=sum(before), now=sum(now), total=len(now))
    if sum(now) < sum(before):
        return warned(gate, "unsure", measured, f"p ≥ {_SURE}", evidence, share=f"{shares[1].value:.0%} / –")
    if sum(now) < len(now):
        return warned(gate, "as-before", measured, f"p ≥ {_SURE}", evidence)
    return passed(gate, measured, f"p ≥ {_SURE}", evidence)


def rambles(gate: str, seen: Observation, limits: Thresholds) -> Gate:
    """For a model alone: general questions are off the task of a narrow one, and too much for a small one. That it goes on is
    told, and refuses nothing."""
    found = stops(gate, seen, limits)
    if found.verdict not in ("refuse", "warn"):
        return found
    return warned(gate, "off-task", found.measured, found.limit, found.evidence, share=found.fields["share"])


def loops_off_task(gate: str, seen: Observation, limits: Thresholds) -> Gate:
    found = loops(gate, seen, limits)
    if found.verdict != "refuse":
        return found
    return warned(gate, "off-task", found.measured, found.limit, found.evidence, share=found.fields["share"])


def loops(gate: str, seen: Observation, limits: Thresholds) -> Gate:
    answers = [*seen.answers, *seen.sampled]
    if not answers:
        return skipped(gate, "no-prompts", required=not seen.job.sequences)  # plain text has no answers to end
    # Every looping answer is a defect; one in a small sample is not yet a rate.
    bad = [f"…{a.text[-80:]!r}" for a in answers if looping(a.tokens)]
    share = Share(len(bad), len(answers))
    if share.value > limits.loop_rate and len(bad) > 1:
        return refused(gate, "loops", share.value, limits.loop_rate, bad[:_SHOWN], share=f"{share.value:.0%}")
    return passed(gate, share.value, limits.loop_rate, bad)


def improved(
    base: Observation, seen: Observation, truths: Sequence[str], exact: bool, limits: Thresholds, preferences: bool = False
) -> Gate:
    """Better than the model it started from: on held-out tokens always, on whole answers where the recipe asks for that. Of
    preferences, the better answers gain on the worse ones."""
    gate = "hf.task"
    if base.logits is None or seen.logits is None:
        return skipped(gate, "no-rows")
    before, after = (_behind(base), _behind(seen)) if preferences else (row_losses(base), row_losses(seen))
    mean, error = mean_difference(before, after)
    measured: dict[str, object] = {"loss_before": float(np.mean(before)), "loss_after": float(np.mean(after))}
    change = f"(difference {mean:+.4f} ± {1.96 * error:.4f})"
    evidence = [f"loss {np.mean(before):.4f} → {np.mean(after):.4f} {change}"]
    if preferences:
        gained = Share(sum(now < then for then, now in zip(before, after, strict=True)), len(before))
        measured["gained"] = gained.value
        evidence = [f"better answers gained on worse ones: {gained}; log P apart {change}"]
        sunk, sunk_error = mean_difference(row_losses(base)[0::2], row_losses(seen)[0::2])
        evidence.append(f"a token of the better answers costs {sunk:+.4f} ± {1.96 * sunk_error:.4f}")
    if exact:
        hits_before, hits = exact_match(base.answers, truths), exact_match(seen.answers, truths)
        exact_before, exact_after = Share(sum(hits_before), len(truths)), Share(sum(hits), len(truths))
        measured |= {
            "exact_before": exact_before.value,
            "exact": exact_after.value,
        }
        evidence.append(f"exact match {exact_before} → {exact_after}")
        if worse_p_value(hits_before, hits) < _SURE:
            return refused(gate, "fewer-exact", measured, "≥ base", evidence)
    if mean > 0:
        return refused(gate, "no-better", measured, "< base", evidence)
    if mean + 1.96 * error > 0:
        return warned(gate, "unsure", measured, "< base", evidence)
    if preferences and sunk - 1.96 * sunk_error > 0:
        return warned(gate, "both-unlikely", measured, "< base", evidence)
    return passed(gate, measured, "< base", evidence)


def kept(
    gate: str,
    trained: Observation,
    seen: Observation,
    quant: str,
    truths: Sequence[str],
    exact: bool,
    limits: Thresholds,
) -> Gate:
    """It still does what the trained form did."""
    if trained.logits is None or seen.logits is None:
        return skipped(gate, "no-rows")
    before, after = row_losses(trained), row_losses(seen)
    ratio = float(np.exp(np.mean(after) - np.mean(before)))
    measured: dict[str, object] = {"ppl_ratio": ratio}
    evidence = [f"PPL ratio {ratio:.4f}"]
    if exact:
        if refusal := lost(gate, trained, seen, truths, limits, larger=larger_than(quant)):
            return refusal
        exact_measured, exact_evidence = _answers_kept(trained, seen, truths)
        measured |= exact_measured
        evidence += exact_evidence
    if ratio > 1.25:
        return refused(gate, "lost", measured, limits.task_drop, evidence, drop=f"PPL × {ratio:.2f}", larger=larger_than(quant))
    return passed(gate, measured, limits.task_drop, evidence)


def lost(
    gate: str, trained: Observation, seen: Observation, truths: Sequence[str], limits: Thresholds, larger: str = ""
) -> Gate | None:
    """A refusal if more answers than chance would take are wrong now that the trained form had right; None if not."""
    hits, now = exact_match(trained.answers, truths), exact_match(seen.answers, truths)
    drop = (sum(hits) - sum(now)) / len(truths)
    if drop <= limits.task_drop or worse_p_value(hits, now) >= _SURE:
        return None
    measured, evidence = _answers_kept(trained, seen, truths)
    return refused(gate, "lost", measured, limits.task_drop, evidence, drop=f"{drop:.0%}", larger=larger)


def row_losses(seen: Observation) -> list[float]:
    """The mean negative log-likelihood of each row's compared tokens."""
    return [float(tokens.mean()) for tokens in _token_losses(seen)]


def _behind(seen: Observation) -> list[float]:
    """By how much each better answer is less likely than the worse one, which follows it."""
    losses = [float(tokens.sum()) for tokens in _token_losses(seen)]
    return [better - worse for better, worse in zip(losses[0::2], losses[1::2], strict=True)]


def _token_losses(seen: Observation) -> Iterator[npt.NDArray[np.float64]]:
    """Row by row."""
    flat = -log_likelihoods(seen.row_logits(), targets(seen))
    position = 0
    for ids, start in zip(seen.job.sequences, seen.job.starts, strict=True):
        length = len(ids) - start - 1
        yield flat[position : position + length]
        position += length


def stop_probability(seen: Observation, terminator: int) -> float:
    """The geometric mean of what a model gives the terminator where answers end."""
    wanted = targets(seen)
    logs = log_likelihoods(seen.row_logits(), wanted)
    at_ends = logs[wanted == terminator]
    return float(np.exp(at_ends.mean())) if len(at_ends) else 0.0


def _answers_kept(trained: Observation, seen: Observation, truths: Sequence[str]) -> tuple[dict[str, object], list[str]]:
    """How many answers were right and are, and some that no longer are."""
    hits, now = exact_match(trained.answers, truths), exact_match(seen.answers, truths)
    wrong = [i for i, (before, after) in enumerate(zip(hits, now, strict=True)) if before and not after]
    evidence = [
        f"exact match {sum(hits)} → {sum(now)} of {len(truths)}",
        *(f"{truths[i]} → {seen.answers[i].text.strip()[:160]}" for i in wrong[:_SHOWN]),
    ]
    return {"exact_before": sum(hits) / len(truths), "exact": sum(now) / len(truths)}, evidence
