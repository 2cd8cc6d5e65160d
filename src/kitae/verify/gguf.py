"""Gates on a GGUF file against the form it was made from."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from kitae.evaluate.observe import Observation
from kitae.models import read_gguf_header
from kitae.recipe import Thresholds
from kitae.verify.compare import divergence
from kitae.verify.gate import Gate, passed, refused, skipped
from kitae.verify.merged import targets

_SHOWN = 3
_SMALL = 200_000_000
# Mean KLD that a type may cost, (under 200M parameters, above): facts measured on SmolLM2-135M and LLaMA-3-8B, docs/gates.md.
_QUANT_KLD = {
    "Q8_0": (0.01, 0.01),
    "Q6_K": (0.03, 0.02),
    "Q5_K_M": (0.05, 0.03),
    "Q5_K_S": (0.05, 0.03),
    "Q4_K_M": (0.1, 0.05),
    "Q4_K_S": (0.1, 0.06),
    "Q4_0": (0.15, 0.1),
    "Q3_K_M": (0.15, 0.1),
    "Q2_K": (0.15, 0.1),
    "other": (0.15, 0.1),
}
# Bits per weight below which a tensor is not what the name promises.
_BITS = {
    "F16": 16,
    "Q8_0": 8,
    "Q6_K": 6,
    "Q5_K_M": 5,
    "Q5_K_S": 5,
    "Q4_K_M": 4,
    "Q4_K_S": 4,
    "Q4_0": 4,
    "Q3_K_M": 3,
    "Q2_K": 2,
    "other": 2,
}


def tokens(reference: Observation, seen: Observation) -> Gate:
    """The same token ids for rendered chats and for strings chosen to be hard."""
    gate = "gguf.tokens"
    texts = [
        f"{text!r}: {theirs[:10]} ≠ {ours[:10]}"
        for text, ours, theirs in zip(seen.job.texts, reference.text_ids, seen.text_ids, strict=True)
        if ours != theirs
    ]
    chats = [
        f"{chat[-1]['content'][:60]!r} (chat): {_first_difference(ours, theirs)}"
        for chat, ours, theirs in zip(seen.job.chats, reference.chat_ids, seen.chat_ids, strict=True)
        if ours != theirs
    ]
    total = len(seen.text_ids) + len(seen.chat_ids)
    if not total:
        return skipped(gate, "no-rows")
    bad = [*chats, *texts]
    if bad:
        pre = str(seen.facts.get("pre_tokenizer"))
        return refused(gate, "differ", len(bad), 0, bad[:_SHOWN], count=len(bad), total=total, pre=pre)
    return passed(gate, 0, 0, [f"{total} texts"])


def template(reference: Observation, seen: Observation) -> Gate:
    ours, theirs = reference.facts["template"], seen.facts["template"]
    if ours != theirs:
        at = next((i for i, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), min(len(ours), len(theirs)))
        evidence = [f"{at}: {ours[at : at + 60]!r} ≠ {theirs[at : at + 60]!r}"]
        return refused("gguf.template", "altered", at, None, evidence)
    return passed("gguf.template", len(theirs), len(ours), [f"{len(ours)} characters"])


def stop_ids(gate: str, reference: Observation, seen: Observation) -> Gate | None:
    """The file names the trained terminator as its end of sequence; None if it does."""
    terminator = reference.facts["terminator"]
    stops = seen.facts["stops"]
    if terminator not in stops.values() or stops["eos"] not in reference.facts["stop_tokens"]:
        evidence = [f"GGUF: {stops}", f"HF: {reference.facts['stop_tokens']}, terminator {terminator}"]
        return refused(gate, "other-eos", stops, terminator, evidence, token=terminator)
    return None


def bos(reference: Observation, seen: Observation) -> Gate:
    """llama.cpp puts a BOS before everything if the file says so; with a template that writes one too, there are two."""
    first = seen.facts["bos"]
    starts = bool(seen.chat_ids) and seen.chat_ids[0][:1] == [first]
    if seen.facts["adds_bos"] and starts:
        return refused("chat.bos-once", "gguf-adds", True, False, [f"tokenizer.ggml.add_bos_token, bos = {first}"])
    return passed("chat.bos-once", int(starts), "≤ 1")


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
        if tensor.bits < _BITS[quant]:
            thin.append(f"{tensor.name}: {tensor.type} ({tensor.bits:.2f} bits)")
    bits_per_weight = round(8 * size / max(weights, 1), 3)
    measured = {"types": dict(histogram.most_common()), "bits_per_weight": bits_per_weight}
    evidence = [", ".join(f"{count}×{name}" for name, count in histogram.most_common())]
    if thin:
        return refused(gate, "thinner", measured, _BITS[quant], [*evidence, *thin[:_SHOWN]], quant=quant, count=len(thin))
    named = quant.removesuffix("_M").removesuffix("_S")
    if quant != "other" and named not in histogram:
        return refused(gate, "mislabelled", measured, named, evidence, quant=quant, named=named)
    if quant != "F16" and bits_per_weight >= 16:
        return refused(gate, "unquantised", measured, quant, evidence, quant=quant)
    return passed(gate, measured, f"≥ {_BITS[quant]} bits", evidence)


def quant_divergence(reference: Observation, seen: Observation, quant: str, limits: Thresholds) -> Gate:
    gate = "quant.divergence"
    if reference.logits is None or seen.logits is None:
        return skipped(gate, "no-rows")
    small, large = _QUANT_KLD[quant]
    limit = limits.quant_kld or (small if seen.facts["parameters"] < _SMALL else large)
    found = divergence(reference.row_logits(), seen.row_logits(), targets(reference))
    if not found.mean < limit:
        return refused(gate, "far", found.as_dict(), limit, [found.line()], quant=quant)
    return passed(gate, found.as_dict(), limit, [found.line()])


def _first_difference(ours: list[int], theirs: list[int]) -> str:
    at = next((i for i, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), min(len(ours), len(theirs)))
    return f"token {at}: {ours[at : at + 6]} ≠ {theirs[at : at + 6]}"
