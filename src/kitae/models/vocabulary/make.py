"""From a sample of text to a folder that is proven."""

from __future__ import annotations

from pathlib import Path

from kitae.console import watched
from kitae.errors import InputError
from kitae.i18n import t
from kitae.models.vocabulary.folder import add_specials, prove_folder, write_folder
from kitae.models.vocabulary.kinds import Order
from kitae.models.vocabulary.proof import RoundTrip
from kitae.models.vocabulary.sample import Sample
from kitae.models.vocabulary.trainers import train, words_of


def check_specials(order: Order) -> None:
    """Before anything is read: what is cut as a word can be learned as a word, and then text would become a control token."""
    if order.kind == "words":  # where such words are left out
        return
    words = words_of(order)
    single = [text for text in order.specials if len(words.pre_tokenize_str(text)) < 2]
    if single:
        raise InputError("vocabulary-special", where=", ".join(single))


def make_vocabulary(order: Order, sample: Sample, folder: Path) -> RoundTrip:
    tokenizer = watched(t("say.tokenizer-learning", megabytes=round(sample.bytes_kept / 1e6, 1)), lambda: train(order, sample))
    found = tokenizer.get_vocab_size()
    if found < order.learned:
        count = order.size - order.learned + found
        if count < order.least:
            raise InputError("vocabulary-text", why=f"{count} < {order.least}")
        raise InputError("vocabulary-unfilled", size=order.size, count=count)
    add_specials(tokenizer, order)
    write_folder(tokenizer, order, folder)
    return prove_folder(order, folder)
