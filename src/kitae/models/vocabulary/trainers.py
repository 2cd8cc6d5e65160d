"""From texts to a tokenizer without special tokens, one function a kind.

Three kinds are byte-level: the text is first spelled in 256 letters, one a byte, all of which are tokens. So nothing is
unknown and every text comes back exactly, whatever was in the training text. The other usual ways lose something: byte
fallback reads a text that spells `<0xE3>` as that byte, `▁` for a space turns a real `▁` into one, BERT's `##` swallows a
real `##`.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from kitae.core.errors import InputError
from kitae.models.pre_tokenizers import pre_tokenizer, takes_whole_words, words_as_bytes
from kitae.models.vocabulary.kinds import UNKNOWN, Order

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from tokenizers.pre_tokenizers import PreTokenizer
    from tokenizers.trainers import BpeTrainer

_LONGEST = 48  # bytes of a learned token, sixteen Japanese characters: longer ones are boilerplate
_OFTEN = 2  # a pair that occurs once saves nothing
_LONG_WORD = 1024
_CONTINUES = "＃＃"  # marks a piece inside a word; not among the letters for bytes, so no text can spell it
# WordPiece tries every length at every place and gives up from 100 letters, so words have a limit: 1 + 20 characters of up to
# 4 bytes in Latin script, 8 in others, whose words are short or not marked at all.
_SHORT_WORDS = r" ?\p{Latin}{1,20}| ?\p{L}{1,8}|\p{N}| ?[^\s\p{L}\p{N}]{1,4}|\s{1,16}"
_SENTENCE_WORDS = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_BORDER = "\x1f"
_TAB = "\ue009"  # a tab is a border to SentencePiece, so it reads this private character instead
_COVERAGE = 0.9995  # of all characters; the rest are too rare for a token of their own


def train(order: Order, texts: Iterable[str]) -> Tokenizer:
    if order.kind == "bpe":
        return _bpe(order, texts)
    if order.kind == "unigram":
        return _unigram(order, texts)
    return _wordpiece(order, texts) if order.kind == "wordpiece" else _words(order, texts)


def words_of(order: Order) -> PreTokenizer:
    """How a vocabulary of this order cuts text into words."""
    from tokenizers.pre_tokenizers import WhitespaceSplit

    if order.pre is not None:
        return pre_tokenizer(order.pre)
    if order.kind == "words":
        return WhitespaceSplit()
    return words_as_bytes(_SHORT_WORDS if order.kind == "wordpiece" else _SENTENCE_WORDS)


def _bpe(order: Order, texts: Iterable[str]) -> Tokenizer:
    from tokenizers import Tokenizer, decoders, models

    tokenizer = Tokenizer(models.BPE(ignore_merges=takes_whole_words(order.pre)))
    tokenizer.pre_tokenizer = _without_long(words_of(order))
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(texts, _merging(order))
    tokenizer.pre_tokenizer = words_of(order)
    return tokenizer


def _merging(order: Order, **settings: Any) -> BpeTrainer:
    from tokenizers.trainers import BpeTrainer

    return BpeTrainer(
        vocab_size=order.learned,
        min_frequency=_OFTEN,
        max_token_length=_LONGEST,
        initial_alphabet=_letters(),
        show_progress=False,
        **settings,
    )


def _without_long(words: PreTokenizer) -> PreTokenizer:
    """Learning takes time by the square of a word's length, so the longest are cut for it."""
    from tokenizers import Regex
    from tokenizers.pre_tokenizers import Sequence, Split

    return Sequence([words, Split(Regex(rf"[\s\S]{{{_LONG_WORD}}}"), "isolated")])


def _wordpiece(order: Order, texts: Iterable[str]) -> Tokenizer:
    """Pieces as BERT's: found by merging the most frequent pairs, used by taking the longest that fits."""
    from tokenizers import Tokenizer, decoders, models

    merging = Tokenizer(models.BPE())
    merging.pre_tokenizer = words_of(order)
    # Letters inside words that are not named here get a number when they occur, in an order that changes, and with it which
    # of two pairs wins a tie.
    inside = [_CONTINUES + letter for letter in _letters()]
    merging.train_from_iterator(texts, _merging(order, continuing_subword_prefix=_CONTINUES, special_tokens=inside))
    tokenizer = Tokenizer(models.WordPiece(merging.get_vocab(), unk_token=UNKNOWN, continuing_subword_prefix=_CONTINUES))
    tokenizer.pre_tokenizer = words_of(order)
    tokenizer.decoder = decoders.Sequence([decoders.Replace(_CONTINUES, ""), decoders.ByteLevel()])
    return tokenizer


def _unigram(order: Order, texts: Iterable[str]) -> Tokenizer:
    """Pieces found by SentencePiece on characters, then spelled in bytes.

    The trainer in `tokenizers` gives other pieces each time and is three times slower.
    """
    from tokenizers import Regex, Tokenizer, decoders, models
    from tokenizers.pre_tokenizers import ByteLevel, Split

    words = Split(Regex(_SENTENCE_WORDS), "isolated")
    bytes_of = ByteLevel(add_prefix_space=False, use_regex=False)
    scores: dict[str, float] = {}
    for piece, score in _sentence_pieces(order.learned, words, texts):
        spelled = bytes_of.pre_tokenize_str(piece)[0][0]
        if len(spelled) <= _LONGEST:
            scores.setdefault(spelled, score)
    letters = _letters()
    unseen = min(scores.values(), default=0.0) - 10
    likeliest = sorted(scores.items(), key=lambda item: (-item[1], item[0]))
    longer = [(piece, score) for piece, score in likeliest if len(piece) > 1][: order.learned - len(letters)]
    tokenizer = Tokenizer(models.Unigram([*((letter, scores.get(letter, unseen)) for letter in letters), *longer]))
    tokenizer.pre_tokenizer = words_of(order)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _sentence_pieces(size: int, words: PreTokenizer, texts: Iterable[str]) -> Iterator[tuple[str, float]]:
    from sentencepiece import SentencePieceProcessor, SentencePieceTrainer

    counts = Counter[str]()
    for text in texts:
        counts.update(word for word, _ in words.pre_tokenize_str(text))
    wanted = size - 128 + 1  # letters that are ASCII may come twice; the unknown piece goes
    model = io.BytesIO()
    try:
        SentencePieceTrainer.train(
            sentence_iterator=(f"{part}\t{count}" for part, count in _parts(counts, wanted // 3)),
            input_format="tsv",
            model_writer=model,
            model_type="unigram",
            vocab_size=wanted,
            hard_vocab_limit=False,
            character_coverage=1.0,
            normalization_rule_name="identity",
            add_dummy_prefix=False,
            remove_extra_whitespaces=False,
            split_by_whitespace=False,  # they are words already
            allow_whitespace_only_pieces=True,
            max_sentence_length=1 << 30,
            bos_id=-1,
            eos_id=-1,
            num_threads=1,  # sums of other threads round in another order
            minloglevel=2,
        )
    except RuntimeError as error:  # what it says when nothing is left to learn from
        raise InputError("vocabulary-text", why=str(error)) from error
    processor = SentencePieceProcessor(model_proto=model.getvalue())
    for i in range(1, processor.get_piece_size()):
        yield processor.id_to_piece(i).replace("▁", " ").replace(_TAB, "\t"), processor.get_score(i)


def _parts(counts: Counter[str], most: int) -> list[tuple[str, int]]:
    """Words cut at rare characters: each that the trainer sees takes a place, so these are left to bytes."""
    characters = Counter[str]()
    for word, count in counts.items():
        for char in word:
            characters[char] += count
    ranked = sorted(characters.items(), key=lambda item: (-item[1], item[0]))
    left, rest = characters.total(), characters.total() * (1 - _COVERAGE)
    spelling = {0: _BORDER, ord("\t"): _TAB}  # a NUL would make it skip the word
    for rank, (char, count) in enumerate(ranked):
        if rank >= most or left <= rest:
            spelling[ord(char)] = _BORDER
        left -= count
    parts = Counter[str]()
    for word, count in counts.items():
        for part in word.translate(spelling).split(_BORDER):
            for start in range(0, len(part), _LONG_WORD):
                parts[part[start : start + _LONG_WORD]] += count
    return sorted(parts.items())


def _words(order: Order, texts: Iterable[str]) -> Tokenizer:
    """The most frequent words between spaces, in lower case. Everything else is unknown, and lost."""
    from tokenizers import Tokenizer, models, normalizers

    counts = Counter[str]()
    for text in texts:
        counts.update(text.lower().split())
    for special in order.specials:  # such a word stays text: an unknown one
        counts.pop(special, None)
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    vocab = {word: i for i, word in enumerate([UNKNOWN, *(word for word, _ in ranked)][: order.learned])}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = words_of(order)
    return tokenizer


def _letters() -> list[str]:
    from tokenizers.pre_tokenizers import ByteLevel

    return sorted(ByteLevel.alphabet())
