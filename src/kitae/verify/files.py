"""Gates on what files tell the programs that run a model: defaults of decoding, `tokenizer.json` by itself, a Modelfile."""

from __future__ import annotations

from pathlib import Path

from kitae.chat import ChatCodec, read_modelfile, render_ollama, sample_talks
from kitae.models import changes_greedy, tokenizer_parts
from kitae.verify.evidence import first_difference, ids_apart, texts_apart, values_apart
from kitae.verify.gate import Gate, passed, refused, skipped, warned
from kitae.verify.observe import Observation

_SHOWN = 3
_HOT = 1.0  # a higher temperature makes unlikely tokens likelier than the model says


def defaults(seen: Observation, reference: Observation | None = None) -> Gate:
    """What tokens are chosen by when nobody says. Compared with a reference they have to be the same."""
    gate, said = "hf.defaults", seen.facts["defaults"]
    shown = [f"{name}: {value}" for name, value in sorted(said.items())]
    if reference is not None:
        wanted = reference.facts["defaults"]
        ggufs = [o.facts["defaults"] for o in (seen, reference) if o.facts["engine"] == "llama.cpp"]
        names = None if not ggufs else sorted(set.intersection(*(set(found) for found in ggufs)))  # a file need not have any
        apart = values_apart(said, wanted, names)
        if apart:
            return refused(gate, "differ", len(apart), 0, apart, count=len(apart))
        return passed(gate, said, wanted, shown)
    greedy = [name for name in said if changes_greedy(name)]
    if greedy:
        return warned(gate, "greedy", said, None, shown, names=", ".join(greedy))
    if said.get("temperature", 0) > _HOT:
        return warned(gate, "hot", said, _HOT, shown, temperature=said["temperature"])
    return passed(gate, said, None, shown)


def tokenizer(seen: Observation, reference: Observation | None = None) -> Gate:
    """Some programs know `tokenizer.json` and nothing else. They have to read the same ids."""
    gate, alone = "hf.tokenizer", seen.facts.get("alone")
    if alone is None:
        return skipped(gate, "no-tokenizer-json")
    wrong = [
        f"{seen.facts['rendered'][int(number)][-40:]!r}: {ids_apart(ids, seen.chat_ids[int(number)])}"
        for number, ids in alone["ids"].items()
        if ids != seen.chat_ids[int(number)]
    ]
    known = reference.facts.get("alone") if reference is not None else None
    lost = _parts_apart(reference.job.target.folder, seen.job.target.folder) if reference is not None and known else []
    if lost:
        return refused(gate, "other-parts", len(lost), 0, [*lost, *wrong[:_SHOWN]])
    if wrong and known is not None and known["ids"] == alone["ids"]:  # a library may rebuild them
        return warned(gate, "as-before", len(wrong), 0, wrong[:_SHOWN], count=len(wrong), total=len(alone["ids"]))
    if wrong and (reference is not None or _lost_control(seen)):
        return refused(gate, "other-ids", len(wrong), 0, wrong[:_SHOWN], count=len(wrong), total=len(alone["ids"]))
    if wrong:
        return warned(gate, "as-before", len(wrong), 0, wrong[:_SHOWN], count=len(wrong), total=len(alone["ids"]))
    context = seen.facts["context"]
    if alone["cut"] is not None and alone["cut"] < (context or alone["cut"] + 1):
        return refused(gate, "cut", alone["cut"], context, [f"truncation: max_length = {alone['cut']}"], length=alone["cut"])
    if alone["fills"]:
        return refused(gate, "filled", alone["fills"], None, [f"padding: {alone['fills']}"], length=alone["fills"])
    around = {"begins": alone["begins"], "ends": alone["ends"]}
    if known is not None:
        apart = values_apart(around, {name: known[name] for name in around})
        if apart:
            return refused(gate, "wraps", around, known, [f"post_processor: {line}" for line in apart])
    elif len(set(around["begins"])) < len(around["begins"]):
        return refused(gate, "wraps", around, "≤ 1", [f"post_processor: {around['begins']}"])
    return passed(gate, len(alone["ids"]), None, [f"{len(alone['ids'])} chats"])


def _parts_apart(reference: Path, folder: Path) -> list[str]:
    """Texts that nobody thought of are read by these, too. What a tokenizer has beside the reference's matters only where it
    can stand in a text: a control token can't."""
    ours, theirs = tokenizer_parts(reference), tokenizer_parts(folder)
    if ours is None or theirs is None:
        return []
    found = []
    more = [] if ours.merges else [text for text in theirs.vocabulary if text not in ours.vocabulary]
    words = [text for text in (*ours.vocabulary, *more) if text not in theirs.added]
    if apart := values_apart(theirs.vocabulary, ours.vocabulary, words):
        found.append(f"vocab: {len(apart)} / {len(ours.vocabulary)}: {apart[0]}")
    if ours.merges != theirs.merges:
        at = first_difference(ours.merges, theirs.merges)
        there, here = (part[at] if at < len(part) else "–" for part in (theirs.merges, ours.merges))
        found.append(f"merges: {len(theirs.merges)} ≠ {len(ours.merges)}; {at}: {there!r} ≠ {here!r}")
    added = [*ours.added, *(text for text in theirs.added if text not in ours.added and not theirs.added[text]["special"])]
    if apart := values_apart(theirs.added, ours.added, added):
        found.append(f"added_tokens: {', '.join(apart[:_SHOWN])}")
    return found


def _lost_control(seen: Observation) -> bool:
    """Whether tokenizer.json by itself doesn't know control tokens that the folder does."""
    return not set(seen.facts["control"]) <= set(seen.facts["alone"]["control"])


def modelfile(path: Path, codec: ChatCodec, file: str | None = None) -> Gate:
    """What Ollama is told of the template and the stops. `file`: the GGUF file that it has to be about."""
    gate = "hf.modelfile"
    if not path.exists():
        return skipped(gate, "no-modelfile")
    said = read_modelfile(path.read_text(encoding="utf-8", errors="replace"))
    if file is not None and said.source is not None and Path(said.source).name != file:
        return skipped(gate, "no-modelfile")
    end = codec.vocabulary.decode([codec.terminator]) if codec.terminator is not None else None
    if end is not None and end not in said.stops:
        return refused(gate, "stops", said.stops, end, [f"PARAMETER stop: {said.stops}", f"template: {end!r}"], token=end)
    if said.template is None:
        return warned(gate, "no-template", said.stops, end, [f"PARAMETER stop: {said.stops}"])
    begins = codec.template.special_tokens.get("bos_token", "")
    for talk in sample_talks(codec.template):
        theirs, wanted = render_ollama(said.template, talk), codec.template.render(talk, add_generation_prompt=True)
        if theirs is None:
            return warned(gate, "not-read", None, None, [said.template[:160]])
        if theirs.removeprefix(begins) != wanted.removeprefix(begins):  # Ollama puts it there itself
            shown = [f"{len(talk)} messages", texts_apart(theirs, wanted)]
            return refused(gate, "template", None, None, shown)
    return passed(gate, said.stops, end, [f"PARAMETER stop: {said.stops}"])
