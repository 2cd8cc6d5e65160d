"""`kitae data preview`: what a model will really be trained on."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import groupby
from pathlib import Path

from kitae.chat import ChatCodec, Conversation, Encoded
from kitae.core.errors import InputError
from kitae.core.files import JsonDict
from kitae.core.i18n import t
from kitae.core.libraries import quiet_libraries
from kitae.core.row_options import Format
from kitae.data import read_conversations
from kitae.models import locate, open_codec
from kitae.workflows.results import PreviewReport


def preview_data(path: Path, model: str, count: int, form: Format = "auto") -> PreviewReport:
    """Rendered rows, with the tokens that carry loss between ⟦ and ⟧."""
    quiet_libraries()
    unreadable: list[InputError] = []
    conversations = read_conversations(path, form, count, reject=unreadable.append)
    if unreadable and not conversations:
        raise unreadable[0]
    codec = open_codec(locate(model))
    return {
        "rows": [_shown(codec, sequence) for row in conversations for sequence in _sequences(codec, row)],
        "unread": dict(Counter(name for row in conversations for name in row.unread).most_common()),
        "unreadable": [{"where": error.where, "what": error.message, "why": error.why} for error in unreadable],
    }


def _sequences(codec: ChatCodec, row: Conversation) -> list[Encoded]:
    """Of a preference also the worse answer, which no method learns; dpo weighs it against the other."""
    if row.rejected is None:
        return codec.encode(row)
    worse = codec.encode_last(row.worse)
    unlearned = replace(worse, loss_mask=[False] * len(worse.ids), notes=[*worse.notes, "rejected"])
    return [*codec.encode(row), unlearned]


def _shown(codec: ChatCodec, sequence: Encoded) -> JsonDict:
    text = ""
    for labelled, run in groupby(zip(sequence.ids, sequence.loss_mask, strict=True), key=lambda pair: pair[1]):
        part = codec.vocabulary.decode([token for token, _ in run])
        text += f"⟦{part}⟧" if labelled else part
    head = t("say.preview", source=sequence.source, tokens=len(sequence.ids), labelled=sequence.labelled)
    note = f" ({', '.join(sequence.notes)})" if sequence.notes else ""
    return {
        "source": sequence.source,
        "ids": sequence.ids,
        "mask": sequence.loss_mask,
        "notes": sequence.notes,
        "text": f"── {head}{note}\n{text}",
    }
