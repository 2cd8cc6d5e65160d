"""Schemas and answers by chance: what is asked of constraints, and what a model that knows nothing says under them."""

from __future__ import annotations

import random
from typing import Any

import numpy as np

from kitae.chat import Vocabulary
from kitae.generate.constraints import Matcher
from kitae.generate.pieces import token_bytes

Schema = Any
NAMES = ("a", "b", "name", "a b", "é", 'say "so"', "back\\slash", "new\nline", "", "$ref", "$id", "type", "日本")
PATTERNS = ("^[a-c]{2,4}$", "x", r"^\d{3}-[A-Z]+$", r"^(red|green)$", r"[0-9]$", r"^[^x]*$", r"^.{1,3}$", r"^\w+@\w+$")
FORMATS = ("date", "time", "date-time", "duration", "email", "ipv4", "ipv6", "uuid", "hostname", "uri")
CONSTANTS = ("red", "", "a\nb", "ü", 0, 1, -3, 2.5, True, False, None, [1, "x"], {"k": 1, "l": [None]})


class Schemas:
    """Of supported keywords. Some contradict themselves, or say what is refused beside others."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def one(self) -> Schema:
        schema = self.any(3)
        names = ["d0", "d1"]
        schema["$defs"] = {name: self.any(2) for name in names}
        return schema

    def any(self, depth: int) -> dict[str, Schema]:
        kinds = ["string", "string", "number", "integer", "boolean", "constant", "several", "untyped"]
        if depth > 0:
            kinds += ["array", "object", "object", "anyOf", "allOf", "oneOf", "ref"]
        made: dict[str, Schema] = getattr(self, f"_{self.random.choice(kinds)}")(depth - 1)
        if self.random.random() < 0.2:
            made["description"] = "what it is"
        return made

    def _some(self, **words: Schema) -> dict[str, Schema]:
        return {word: value() for word, value in words.items() if self.random.random() < 0.35}

    def _string(self, _: int) -> dict[str, Schema]:
        if self.random.random() < 0.25:
            return {"type": "string", "format": self.random.choice(FORMATS)}
        count = self.random.randint
        words = {
            "minLength": lambda: count(0, 4),
            "maxLength": lambda: count(3, 9),
            "pattern": lambda: self.random.choice(PATTERNS),
        }
        return {"type": "string", **self._some(**words)}

    def _bounds(self, whole: bool) -> dict[str, Schema]:
        def number() -> float:
            return (
                self.random.randint(-120, 120) if whole or self.random.random() < 0.5 else round(self.random.uniform(-9, 9), 2)
            )

        steps = [1, 2, 3, 7, 10] if whole else [0.5, 0.25, 2, 5]
        words = {"minimum": number, "maximum": number, "exclusiveMinimum": number, "exclusiveMaximum": number}
        few = dict(self.random.sample(sorted(words.items()), 2))
        return self._some(**few, multipleOf=lambda: self.random.choice(steps))

    def _number(self, _: int) -> dict[str, Schema]:
        return {"type": "number", **self._bounds(whole=False)}

    def _integer(self, _: int) -> dict[str, Schema]:
        return {"type": "integer", **self._bounds(whole=True)}

    def _boolean(self, _: int) -> dict[str, Schema]:
        return {"type": self.random.choice(["boolean", "null"])}

    def _constant(self, _: int) -> dict[str, Schema]:
        values = self.random.sample(CONSTANTS, self.random.randint(1, 4))
        return {"enum": values} if self.random.random() < 0.7 else {"const": values[0]}

    def _several(self, depth: int) -> dict[str, Schema]:
        types = self.random.sample(["string", "integer", "number", "boolean", "null", "array", "object"], 2)
        return {"type": types, **self._bounds(whole=True), **self._some(minLength=lambda: 2, maxItems=lambda: 2)}

    def _untyped(self, depth: int) -> dict[str, Schema]:
        return {**self._bounds(whole=True), **self._some(maxLength=lambda: 4, minItems=lambda: 1, required=lambda: ["a"])}

    def _array(self, depth: int) -> dict[str, Schema]:
        words = {
            "items": lambda: self.any(depth) if self.random.random() < 0.8 else False,
            "minItems": lambda: self.random.randint(0, 3),
        }
        words |= {"maxItems": lambda: self.random.randint(1, 4), "prefixItems": lambda: [self.any(depth), self.any(depth)]}
        return {"type": "array", **self._some(**words)}

    def _object(self, depth: int) -> dict[str, Schema]:
        names = self.random.sample(NAMES, self.random.randint(0, 4))
        made: dict[str, Schema] = {"type": "object", "properties": {name: self.any(depth) for name in names}}
        made["required"] = [name for name in names if self.random.random() < 0.6]
        if self.random.random() < 0.3:
            made["additionalProperties"] = self.random.choice([False, True, self.any(depth)])
        if self.random.random() < 0.15:
            made["patternProperties"] = {"^p[0-9]+$": self.any(depth)}
        return made | self._some(minProperties=lambda: len(made["required"]) + 1) if self.random.random() < 0.2 else made

    def _anyOf(self, depth: int) -> dict[str, Schema]:  # noqa: N802
        return {"anyOf": [self.any(depth) for _ in range(self.random.randint(1, 3))]}

    def _allOf(self, depth: int) -> dict[str, Schema]:  # noqa: N802
        kind = self.random.choice([self._object, self._string, self._integer])
        return {"allOf": [kind(depth), kind(depth)]}

    def _oneOf(self, depth: int) -> dict[str, Schema]:  # noqa: N802
        if self.random.random() < 0.5:
            return {"oneOf": [self._string(depth), self._integer(depth), self._array(depth)]}
        options = [self._object(depth) for _ in range(2)]
        for number, option in enumerate(options):
            option["properties"]["kind"] = {"const": f"k{number}"}
            option["required"].append("kind")
        return {"oneOf": options}

    def _ref(self, _: int) -> dict[str, Schema]:
        return {"$ref": self.random.choice(["#", "#/$defs/d0", "#/$defs/d1"])}


class Walker:
    """A model that knows nothing, and wants to come to an end."""

    def __init__(self, vocabulary: Vocabulary, stop: int) -> None:
        piece = token_bytes(vocabulary)
        self.pieces = [piece(token) for token in range(vocabulary.size)]
        self.stop = stop
        self._closing = np.array([text[:1] in (b'"', b"}", b"]") for text in self.pieces])
        self._short = np.array([len(text) == 1 for text in self.pieces])

    def said(self, matcher: Matcher, chance: np.random.Generator, most: int = 250) -> bytes | None:
        """What comes of it; None if it has no end after so many tokens, or if the grammar gives up."""
        text = b""
        flat = np.zeros(len(self.pieces), np.float32)
        for length in range(most):
            allowed = matcher.masked(flat) == 0
            token = self._chosen(allowed, length, chance)
            matcher.accept(token)
            if token == self.stop:
                return text
            text += self.pieces[token]
        return None

    def _chosen(self, allowed: np.ndarray[Any, Any], length: int, chance: np.random.Generator) -> int:
        if allowed[self.stop] and (allowed.sum() == 1 or chance.random() < 0.3):
            return self.stop
        some = allowed.copy()
        some[self.stop] = False
        for kind in (self._closing, self._short):
            if (length > 40 or chance.random() < 0.4) and (some & kind).any():
                some = some & kind
                break
        return int(chance.choice(np.nonzero(some)[0]))
