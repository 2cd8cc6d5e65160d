"""Gates on a GGUF file against the form it was made from."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from kitae.chat import RAW
from kitae.core.quants import SMALLER_BLOCKS, file_type, larger_than
from kitae.models import read_gguf_header
from kitae.recipe import Thresholds
from kitae.verify.compare import divergence
from kitae.verify.equal import ids_in_words, long_divergence, targets
from kitae.verify.evidence import first_difference, texts_apart
from kitae.verify.gate import Gate, passed, refused, skipped, warned
from kitae.verify.observe import Observation

_SHOWN = 3
_SMALL = 200_000_000
_FAR_IN = 5  # times the limit, at the end of a long text: few tokens are compared there; positions gone wrong cost nats
# How much more is still no sign of damage: without an importance matrix, or with rows that don't fit a type's blocks, five bits
# can cost as much as four usually do.
_UNUSUAL = 3
_FOUR_BITS = "Q4_K_M"


def tokens(reference: Observation, seen: Observation) -> Gate:
    """The same token ids for rendered chats and for strings chosen to be hard. Chats that render otherwise are for
    `gguf.template` to tell."""
    gate = "gguf.tokens"
    total = len(seen.text_ids) + len(seen.chat_ids)
    if not total:
        return skipped(gate, "no-rows")
    bad = ids_in_words(reference, seen)
    if bad:
        pre = str(seen.facts.get("pre_tokenizer"))
        return refused(gate, "differ", len(bad), 0, bad[:_SHOWN], count=len(bad), total=total, pre=pre)
    return passed(gate, 0, 0, [f"{total} texts"])


def template(reference: Observation, seen: Observation) -> Gate:
    """Jinja drops a line's end at the end, and so do programs that copy a template."""
    gate = "gguf.template"
    ours, theirs = (facts["template"].removesuffix("\n") for facts in (reference.facts, seen.facts))
    rendered = zip(reference.facts["rendered"], seen.facts["rendered"], strict=True)
    apart = [texts_apart(found, wanted) for wanted, found in rendered if wanted != found]
    if ours != theirs:
        at = first_difference(ours, theirs)
        evidence = [*(f"rendered, {line}" for line in apart[:1]), f"template, {texts_apart(theirs, ours)}"]
        return refused(gate, "altered", at, None, evidence)
    if apart:  # the same template, given other names of control tokens
        return refused(gate, "altered", len(apart), 0, [f"rendered, {line}" for line in apart[:_SHOWN]])
    return passed(gate, len(theirs), len(ours), [f"{len(ours)} characters"])


def stop_ids(gate: str, reference: Observation, seen: Observation) -> Gate | None:
    """The file names the trained terminator as its end of sequence; None if it does."""
    terminator = reference.facts["terminator"]
    stops = seen.facts["stops"]
    if (terminator is not None and terminator not in stops.values()) or stops["eos"] not in reference.facts["stop_tokens"]:
        evidence = [f"GGUF: {stops}", f"HF: {reference.facts['stop_tokens']}, terminator {terminator}"]
        return refused(gate, "other-eos", stops, terminator, evidence, token=terminator)
    return None


def bos(seen: Observation) -> Gate:
    """llama.cpp puts a BOS before everything if the file says so; where a template writes one too, some programs read two."""
    gate, first = "chat.bos-once", seen.facts["bos"]
    starts = bool(seen.chat_ids) and seen.chat_ids[0][:1] == [first]
    if starts and seen.chat_ids[0][1:2] == [first]:
        return refused(gate, "twice", 2, 1, [f"{seen.chat_ids[0][:4]}"])
    if seen.facts["adds_bos"] and starts and seen.job.target.template != RAW:  # without one, it is us who write it
        return warned(gate, "gguf-adds", True, False, [f"tokenizer.ggml.add_bos_token, bos = {first}"])
    return passed(gate, int(starts), "≤ 1")


def types(path: Path, quant: str) -> Gate:
    """What the tensors really are. K-quants fall back where rows don't divide by 256, so a name alone says little."""
    gate = "quant.types"
    histogram: Counter[str] = Counter()
    thin = []
    weights = size = 0
    for tensor in read_gguf_header(path).tensors:
        if len(tensor.shape) < 2:
            continue
        histogram[tensor.type] += 1
        weights += tensor.weights
        size += tensor.size
        if tensor.bits < file_type(quant).bits:
            thin.append(f"{tensor.name}: {tensor.type} ({tensor.bits:.2f} bits)")
    bits_per_weight = round(8 * size / max(weights, 1), 3)
    measured = {"types": dict(histogram.most_common()), "bits_per_weight": bits_per_weight}
    evidence = [", ".join(f"{count}×{name}" for name, count in histogram.most_common())]
    if thin:
        least, shown = file_type(quant).bits, [*evidence, *thin[:_SHOWN]]
        return refused(gate, "thinner", measured, least, shown, quant=quant, count=len(thin))
    named = file_type(quant).tensor
    instead = SMALLER_BLOCKS.get(named)  # where no row can be cut into the blocks of the type
    if quant != "other" and named not in histogram and instead not in histogram:
        return refused(gate, "mislabelled", measured, named, evidence, quant=quant, named=named)
    if quant != "F16" and bits_per_weight >= 16:
        return refused(gate, "unquantised", measured, quant, evidence, quant=quant)
    if quant != "other" and named not in histogram:
        return warned(gate, "smaller-blocks", measured, named, evidence, quant=quant, named=named, instead=instead)
    return passed(gate, measured, f"≥ {file_type(quant).bits} bits", evidence)


def kld_limits(quant: str, parameters: int, limits: Thresholds) -> tuple[float, float]:
    """What is usual for a type, and above what a file is refused."""
    size = 0 if parameters < _SMALL else 1
    usual, four_bits = file_type(quant).usual_kld[size], file_type(_FOUR_BITS).usual_kld[size]
    return usual, limits.quant_kld or max(usual, min(_UNUSUAL * usual, four_bits))


def quant_divergence(reference: Observation, seen: Observation, quant: str, limits: Thresholds) -> Gate:
    gate = "quant.divergence"
    if reference.logits is None or seen.logits is None:
        return skipped(gate, "no-rows")
    usual, limit = kld_limits(quant, seen.facts["parameters"], limits)
    found = divergence(reference.row_logits(), seen.row_logits(), targets(reference))
    if not found.mean < limit:
        return refused(gate, "far", found.as_dict(), limit, [found.line()], quant=quant, larger=larger_than(quant))
    far = long_divergence(reference, seen)
    if far is not None and not far.mean < _FAR_IN * limit:
        evidence = [f"{len(reference.job.long)} tokens: {far.line()}", found.line()]
        return refused(gate, "far-in", far.as_dict(), _FAR_IN * limit, evidence, tokens=len(reference.job.long))
    ours, theirs = reference.facts["context"], seen.facts["context"]
    if ours and theirs and theirs < ours:
        return refused(gate, "shorter", theirs, ours, [f"{theirs} ≠ {ours}"], theirs=theirs, ours=ours)
    if found.mean > usual and limits.quant_kld is None:
        return warned(gate, "unusual", found.as_dict(), usual, [found.line()], quant=quant, usual=usual)
    return passed(gate, found.as_dict(), limit, [found.line()])
