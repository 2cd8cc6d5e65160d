"""From a sample of text to a folder that is proven."""

from __future__ import annotations

from pathlib import Path

import psutil

from kitae.core.console import watched
from kitae.core.errors import InputError
from kitae.core.i18n import t
from kitae.models.vocabulary.folder import add_specials, prove_folder, write_folder
from kitae.models.vocabulary.kinds import Order
from kitae.models.vocabulary.proof import RoundTrip
from kitae.models.vocabulary.sample import Sample
from kitae.models.vocabulary.trainers import train, words_of

# Bytes that the trainers take for a byte of text with and without Japanese, at the least; measured in docs/tokenizers.md.
_MEMORY = {"bpe": (60, 5), "wordpiece": (60, 5), "unigram": (20, 10), "words": (0, 0)}


def check_specials(order: Order) -> None:
    """Before anything is read: what is cut as a word can be learned as a word, and then text would become a control token."""
    if order.kind == "words":  # where such words are left out
        return
    words = words_of(order)
    single = [text for text in order.specials if len(words.pre_tokenize_str(text)) < 2]
    if single:
        raise InputError("vocabulary-special", where=", ".join(single))


def _check_memory(order: Order, sample: Sample) -> None:
    """Better told now than by the system's killer in a quarter of an hour."""
    plain = sum(text.isascii() and len(text) for text in sample)
    dense, light = _MEMORY[order.kind]
    needed = dense * (sample.bytes_kept - plain) + light * plain
    free = psutil.virtual_memory().available
    if needed > free:
        fitting = max(int(sample.bytes_kept / 1e6 * free / needed * 0.9), 1)
        raise InputError("vocabulary-memory", needed=needed // 1_000_000, available=free // 1_000_000, fitting=fitting)


def make_vocabulary(order: Order, sample: Sample, folder: Path) -> RoundTrip:
    _check_memory(order, sample)
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
