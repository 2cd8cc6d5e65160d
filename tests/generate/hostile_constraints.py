"""What nobody should ask for. Run as a program: each constraint gives a matcher or is refused, in bounded time and memory."""

from __future__ import annotations

import json
import random
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from kitae.core.errors import BadConstraint, KitaeError
from kitae.generate.constraints import Constraint, Grammars
from kitae.models import open_codec

_SECONDS = float(sys.argv[2])
_MEMORY = 3 << 30  # bytes more than before


def schemas() -> Iterator[object]:
    yield from (
        [],
        1,
        "x",
        None,
        True,
        False,
        {},
        {"type": 5},
        {"type": []},
        {"type": "text"},
        {"properties": []},
        {"items": 3},
    )
    yield from ({"required": [1]}, {"required": [["a"]]}, {"enum": {}}, {"enum": []}, {"anyOf": []}, {"allOf": {}}, {"$ref": 3})
    yield from ({"minimum": 3, "maximum": 1}, {"type": "object", "required": ["a"], "properties": {"a": False}}, {"$defs": 4})
    yield from ({"$ref": "#/$defs/a"}, {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}}, {"$ref": "#/0/~2/%"})
    yield from ({"$schema": 4}, {"$schema": "http://x"}, {"$id": 3}, {"type": {"a": 1}}, {"format": []}, {"pattern": 3})
    yield from ({"minLength": -1}, {"minLength": 10**30}, {"minLength": 1.5}, {"minLength": True}, {"minItems": 10**9})
    yield from ({"multipleOf": 0}, {"multipleOf": 1e-300}, {"multipleOf": 1e300}, {"minimum": 1e300}, {"minimum": 10**400})
    yield {"allOf": [{"multipleOf": step} for step in (9973, 9967, 9949, 9941)]}
    yield {"type": "integer", "multipleOf": 99991, "minimum": 1, "maximum": 99990}
    yield {"enum": [f"value {number}" for number in range(20_000)]}
    yield {"enum": list(range(20_000))}
    yield {"enum": ["x" * 100_000]}
    yield {"const": "x" * 1_000_000}
    yield {"type": "object", "properties": {f"p{number}": {"type": "integer"} for number in range(5_000)}}
    names = [f"p{number}" for number in range(2_000)]
    yield {"type": "object", "properties": {name: {"pattern": "^a+$"} for name in names}, "required": names}
    yield {"type": "object", "minProperties": 1, "properties": {name: {} for name in names}, "additionalProperties": False}
    yield {"type": "array", "minItems": 90_000, "maxItems": 100_000, "items": {"type": "array", "minItems": 90_000}}
    yield {"type": "array", "prefixItems": [{"enum": [number]} for number in range(5_000)]}
    yield {"anyOf": [{"type": "object", "properties": {f"k{number}": {"const": number}}} for number in range(3_000)]}
    yield {"oneOf": [{"const": f"v{number}"} for number in range(1_500)]}
    wide = {"type": "object", "properties": {f"k{number}": {"anyOf": [{}, {"minLength": number}]} for number in range(30)}}
    yield {"allOf": [wide] * 30}
    yield {"allOf": [{"anyOf": [{"type": "object", "properties": {f"a{i}{j}": {}}} for j in range(4)]} for i in range(12)]}
    yield {"allOf": [{"pattern": f"a.{{{number}}}b"} for number in range(1, 40)]}
    double = {f"d{number}": {"allOf": [{"$ref": f"#/$defs/d{number + 1}"}] * 2} for number in range(40)}
    yield {"$ref": "#/$defs/d0", "$defs": {**double, "d40": {"type": "object", "properties": {"a": {"type": "integer"}}}}}
    pairs = {
        f"d{i}": {"properties": {"l": {"$ref": f"#/$defs/d{i + 1}"}, "r": {"$ref": f"#/$defs/d{i + 1}"}}} for i in range(30)
    }
    yield {"allOf": [{"$ref": "#/$defs/d0"}, {"$ref": "#/$defs/d1"}], "$defs": {**pairs, "d30": {}}}
    for kind in ("anyOf", "allOf", "items", "properties", "additionalProperties"):
        for depth in (25, 50, 150, 300):
            schema: object = {"type": "integer"}
            for _ in range(depth):
                schema = {kind: [schema] if kind.endswith("Of") else {"a": schema} if kind == "properties" else schema}
            yield schema


def texts() -> Iterator[str]:
    for depth in (1_000, 100_000):
        yield "[" * depth
        yield '{"items":' * depth + "{}" + "}" * depth
        yield '{"const":' + "[" * depth + "]" * depth + "}"
    yield from (
        "",
        "{",
        "\0",
        "\ud800",
        '{"const": "\\ud800"}',
        '{"const": "\ud800"}',
        '{"const": "\\u0000"}',
        "NaN",
        '{"minimum": NaN}',
    )
    yield from (
        '{"minimum": 1e999}',
        '{"minimum": ' + "9" * 5_000 + "}",
        '{"type": "string", "type": "integer"}',
        "x" * 1_000_000,
    )
    yield '{"properties": {"\\u0000": {}, "a\\u0001b": {}}, "required": ["\\u0000"]}'
    yield json.dumps({"description": "x" * 900_000, "type": "integer"})
    yield json.dumps({"description": "x" * 2_000_000})


def expressions() -> Iterator[str]:
    yield from (
        "",
        "(",
        ")",
        "[",
        "[]",
        "[^]",
        "a{",
        "a{2,1}",
        "a{99999}",
        "*",
        "a**",
        "\\",
        "\\1",
        "(?=a)",
        "(?<!a)b",
        "\\b",
        "\0",
        "\ud800",
    )
    yield from (
        "(a+)+$",
        "(a|a)*b",
        "(a*)*" * 30,
        "(.*a){30}",
        "(a|b)*a(a|b){25}",
        "(a|b)*a(a|b){2000}",
        ".{5000}.{5000}",
        "^" * 1000,
    )
    yield from ("((((a{100}){100}){100}){100})", "(a{9999}){9999}", "(.{0,9999}x){0,9999}", "(" * 5_000 + "a" + ")" * 5_000)
    yield from (
        "|".join(f"w{number}" for number in range(50_000)),
        "a" * 1_000_000,
        "a?" * 20_000,
        "[a-z]{1,9999}" * 20,
        "\\p{L}" * 3_000,
    )
    yield from (
        "[" + "a" * 500_000 + "]",
        "[z-a]",
        "\\u{110000}",
        "\\ud800",
        "[\\s\\S]{9999}",
        "(?:a|b|ab){500}",
        "\\cA",
        "[\\b]",
    )


def grammars() -> Iterator[str]:
    yield from (
        "",
        "start:",
        "start: start",
        "start: start start",
        "start: a",
        'start: "a" start | start "a"',
        "%json",
        "%json {",
        "\0",
    )
    yield from (
        'start: ("a"?){1000}',
        "start: /a{9999}/{9999}",
        'start: %json {"not": {}}',
        'start: %lark { start: "a" }',
        "start: <[99999999]>",
    )
    yield from (
        'start: "a"~1..100000000',
        'start: ("a" | "b"){1,1000000}',
        "start: /(/",
        '%llguidance {"x": 1}\nstart: "a"',
        "start: <[*]>",
    )
    yield from (
        "%import common.INT\nstart: INT",
        '%ignore /(a|b)*a(a|b){40}/\nstart: "c"',
        "start[max_tokens=3]: /.*/",
        'start[stop=""]: /.*/',
    )
    yield "start: " + "(" * 5_000 + '"a"' + ")" * 5_000
    yield "start: " + " | ".join(f"r{number}" for number in range(20_000)) + "".join(f'\nr{i}: "{i}"' for i in range(20_000))
    yield "start: a0\n" + "\n".join(f"a{i}: a{i + 1} a{i + 1}" for i in range(60)) + '\na60: "x" |'
    yield 'start: %json {"$ref": "http://127.0.0.1:9/x"}'
    yield 'start: %json {"x-guidance": {"lenient": true}, "type": "object", "uniqueItems": true}'


def gbnf() -> Iterator[str]:
    yield from (
        "",
        "root",
        "root ::=",
        "root ::= root",
        "root ::= x",
        'root ::= "a" root | root "a"',
        "root ::= [",
        'root ::= "',
        "root ::= (",
    )
    yield from (
        "root ::= []",
        "root ::= [z-a]",
        'root ::= "\\q"',
        'root ::= "\\ud800"',
        "root ::= <think>",
        "root ::= <[5]>",
        "\0",
        "\ud800",
    )
    yield from (
        "root ::= " + "(" * 50_000,
        'root ::= "a"{1,9999}',
        'root ::= ("a"{1,9999}){1,9999}',
        'root ::= "a"\nroot ::= "b"',
        "root ::= " + "a " * 9_999,
    )
    yield 'root ::= "' + "x" * 100_000 + '"'
    yield from (
        'root ::= ("a"?)*',
        'root ::= ("a"*)*',
        "root ::= " + '"a"? ' * 3_000,
        "# nothing",
        'root ::= "a" ! "b"',
        "root ::= |",
    )


def chance(seed: int, count: int) -> Iterator[tuple[str, str]]:
    """Pieces of all of these put together anyhow."""
    some = random.Random(seed)
    for kind, make in (("json_schema", texts), ("regex", expressions), ("lark", grammars), ("gbnf", gbnf)):
        pool = [text for text in make() if len(text) < 300] or [""]
        if kind == "json_schema":
            pool += [text for text in map(json.dumps, schemas()) if len(text) < 300]
        for _ in range(count):
            one, other = some.choice(pool), some.choice(pool)
            cut, from_here = some.randint(0, len(one)), some.randint(0, len(other))
            yield (
                kind,
                one[:cut] + some.choice(["", "\\", '"', "}", "{", "[", "(", "*", ":", ",", "\0", "é"]) + other[from_here:],
            )


def everything() -> Iterator[tuple[str, str]]:
    yield from (("json_schema", json.dumps(schema)) for schema in schemas())
    yield from (("json_schema", text) for text in texts())
    yield from (("regex", text) for text in expressions())
    yield from (
        ("json_schema", json.dumps({"type": "string", "pattern": text})) for text in expressions() if len(text) < 100_000
    )
    yield from (("lark", text) for text in grammars())
    yield from (("gbnf", text) for text in gbnf())
    yield from (("choice", text) for text in ("", "[]", "{}", '[""]', "[1]", '["a", 1]', '["\\ud800"]', '["\\u0000"]'))
    yield "choice", json.dumps([f"choice {number}" for number in range(20_000)])
    yield from chance(0, int(sys.argv[3]))


def main() -> None:
    vocabulary = open_codec(Path(sys.argv[1])).vocabulary
    made = Grammars(vocabulary, [0, 2])
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    resource.setrlimit(resource.RLIMIT_DATA, (used + _MEMORY, used + _MEMORY))
    flat, random_numbers = np.zeros(vocabulary.size, np.float32), np.random.default_rng(0)
    matchers = refused = failed = 0
    for kind, text in everything():
        if "-v" in sys.argv:
            print(kind, repr(text[:90]), end="\r", flush=True)
        begin = time.process_time()
        try:
            matcher = made.begin(Constraint(kind, text))  # type: ignore[arg-type]
            matchers += 1
            for _ in range(8):
                matcher.accept(int(random_numbers.choice(np.nonzero(matcher.masked(flat) == 0)[0])))
                if matcher.ended:
                    break
        except BadConstraint as error:
            refused += 1
            assert error.message and error.fix
        except KitaeError as error:
            failed += 1
            assert error.kind == "constraint-failed", error
        seconds = time.process_time() - begin
        if "-v" in sys.argv and seconds > 0.3:
            print(
                kind, repr(text[:90]), round(seconds, 2), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10, flush=True
            )
        assert seconds < _SECONDS, (kind, text[:200], seconds)
    print(json.dumps({"matchers": matchers, "refused": refused, "failed": failed}))


if __name__ == "__main__":
    main()
