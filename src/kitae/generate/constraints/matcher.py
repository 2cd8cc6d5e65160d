"""Answers that keep to a grammar: before each token, those that can't follow are left out.

One way for every engine, made of the bytes of its tokens. If anything goes wrong on the way, an answer ends with an error, and
never goes on without its grammar.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from threading import Lock

import numpy as np
import numpy.typing as npt
from llguidance import LLMatcher, LLParserLimits, LLTokenizer

from kitae.chat import Vocabulary
from kitae.core.errors import BadConstraint, KitaeError
from kitae.generate.constraints.constraint import Constraint
from kitae.generate.constraints.grammar import source
from kitae.generate.pieces import token_bytes
from kitae.generate.sampling import Logits

_KEPT = 64  # grammars that are compiled already
_COMPLETE = "NoExtension"  # llguidance's word for an answer that is whole, and can't go on; other reasons are failures
_CONTROL = b"\xff"  # no text begins with it: how llguidance tells control tokens from text
_LIMITS = LLParserLimits(max_lexer_states=50_000, verbose_errors=False)
_Bits = npt.NDArray[np.bool_]


class Grammars:
    """Of one vocabulary. Compiled grammars are kept; several threads may ask."""

    def __init__(self, vocabulary: Vocabulary, stop_tokens: Collection[int]) -> None:
        self._tokens = _Tokens(vocabulary, stop_tokens)
        self._kept: OrderedDict[Constraint, LLMatcher] = OrderedDict()
        self._lock = Lock()

    def begin(self, constraint: Constraint) -> Matcher:
        with self._lock:
            first = self._kept.get(constraint)
            if first is not None:
                self._kept.move_to_end(constraint)
        if first is None:
            first = self._compiled(constraint)
        with self._lock:
            self._kept[constraint] = first
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
            return Matcher(self._tokens, first.deep_copy())

    def _compiled(self, constraint: Constraint) -> LLMatcher:
        matcher = LLMatcher(self._tokens.of_library, source(constraint), log_level=0, limits=_LIMITS)
        problems = [matcher.get_error(), *matcher.get_grammar_warnings()]
        if why := next(filter(None, problems), ""):
            raise BadConstraint("constraint-schema", where=constraint.kind, why=_short(why))
        try:
            first = Matcher(self._tokens, matcher.deep_copy()).allowed()
        except KitaeError as error:
            raise BadConstraint("constraint-unsatisfiable", where=constraint.kind, why=error.why) from error
        assert first.any()
        return matcher


class Matcher:
    """Of one answer: what it may go on with."""

    def __init__(self, tokens: _Tokens, matcher: LLMatcher, over: bool = False) -> None:
        self._tokens = tokens
        self._matcher = matcher
        self._over = over  # a stop token was chosen
        self._bits = np.zeros(tokens.words, np.uint32)

    @property
    def ended(self) -> bool:
        """Whether nothing may follow but a stop."""
        return self._over or self._matcher.stop_reason() == _COMPLETE

    @property
    def _may_end(self) -> bool:
        return self.ended or bool(self._matcher.is_accepting())

    def masked(self, logits: Logits) -> Logits:
        """A copy, in which no token is possible that the grammar doesn't allow."""
        allowed = self.allowed()
        left = np.full_like(logits, -np.inf)
        if len(logits) < len(allowed):
            allowed = allowed[: len(logits)]
        np.copyto(left[: len(allowed)], logits[: len(allowed)], where=allowed)
        return left

    def allowed(self) -> _Bits:
        """For each token of the vocabulary, whether it may come next."""
        if self.ended:
            return self._tokens.stops
        self._matcher.unsafe_compute_mask_ptr(self._bits.ctypes.data, self._bits.nbytes)
        bits: _Bits = np.unpackbits(self._bits.view(np.uint8), count=self._tokens.size, bitorder="little").view(np.bool_)
        bits &= self._tokens.of_text
        if self._may_end:
            bits |= self._tokens.stops
        if self._matcher.is_error() or not bits.any():
            raise KitaeError("constraint-failed", why=self._why() or "no token can follow")
        return bits

    def accept(self, token: int) -> None:
        """The token that was chosen."""
        if self._over or not self._takes(token):
            raise KitaeError("constraint-failed", why=self._why() or f"token {token}")

    def _takes(self, token: int) -> bool:
        if token in self._tokens.stop_tokens:
            self._over = self._may_end
            return self._over
        return self._tokens.is_text(token) and bool(self._matcher.consume_token(token))

    def fork(self) -> Matcher:
        """Another answer that has said the same so far."""
        return Matcher(self._tokens, self._matcher.deep_copy(), self._over)

    def accepts(self, tokens: Sequence[int]) -> int:
        """How many of these could follow, from the first on. They aren't taken."""
        if self._over:
            return 0
        texts = next((at for at, token in enumerate(tokens) if not self._tokens.is_text(token)), len(tokens))
        fitting = self._matcher.validate_tokens(list(tokens[:texts])) if texts else 0
        if fitting == texts < len(tokens) and tokens[texts] in self._tokens.stop_tokens:
            ahead = self.fork()
            for token in tokens[:texts]:
                ahead.accept(token)
            return texts + ahead._may_end
        return int(fitting)

    def _why(self) -> str:
        return _short(self._matcher.get_error())


def _short(why: str) -> str:
    """What llguidance says, without its state and the names of tokens."""
    return why.strip().partition("\n")[0].partition("; following")[0].replace("<non-verbose/>", "").strip()[:200]


class _Tokens:
    """A vocabulary as llguidance sees it: bytes, and control tokens that are no text."""

    is_tokenizer_wrapper = True  # what follows is asked for by LLTokenizer
    bos_token_id = None

    def __init__(self, vocabulary: Vocabulary, stop_tokens: Collection[int]) -> None:
        self._vocabulary = vocabulary
        self._piece: Callable[[int], bytes] = token_bytes(vocabulary)
        self.size = vocabulary.size
        self.stop_tokens = frozenset(token for token in stop_tokens if 0 <= token < self.size)
        if not self.stop_tokens:
            raise KitaeError("constraint-failed", why="the model has no stop token")
        control = {*vocabulary.control.values(), *self.stop_tokens}
        self.tokens = [b"" if token in control else self._piece(token) for token in range(self.size)]
        self.of_text: _Bits = np.array([bool(text) and not text.startswith(_CONTROL) for text in self.tokens])
        for token in control:
            self.tokens[token] = b"%scontrol-%d" % (_CONTROL, token)  # by a name that no grammar will ask for
        self.stops: _Bits = np.isin(np.arange(self.size), list(self.stop_tokens))
        self.eos_token_id = min(self.stop_tokens)
        self.special_token_ids: list[int] = []
        self.words = -(-self.size // 32)
        self.of_library = LLTokenizer(self, n_vocab=self.size, eos_token=self.eos_token_id)  # type: ignore[arg-type]

    def is_text(self, token: int) -> bool:
        return 0 <= token < self.size and bool(self.of_text[token])

    def __call__(self, text: str) -> list[int]:
        """How text that must come is usually cut into tokens."""
        tokens = self._vocabulary.encode(text, parse_control=False)
        if b"".join(map(self._piece, tokens)) == text.encode("utf-8") and all(map(self.is_text, tokens)):
            return tokens
        return list(self.of_library.greedy_tokenize(text))  # a tokenizer that puts a space before what it reads
