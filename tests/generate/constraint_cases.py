"""What answers may be under a constraint and what not, and constraints that are refused."""

from __future__ import annotations

import json

from kitae.generate.constraints import Constraint, Kind


def schema(value: object) -> Constraint:
    return Constraint("json_schema", json.dumps(value))


PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 5}, "age": {"type": "integer", "minimum": 0, "maximum": 150}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
TREE = {"type": "object", "properties": {"kids": {"type": "array", "items": {"$ref": "#"}}}, "additionalProperties": False}
TAGGED = {
    "oneOf": [{"$ref": "#/definitions/cat"}, {"$ref": "#/definitions/dog"}],
    "definitions": {
        name: {"type": "object", "properties": {"kind": {"const": name}}, "required": ["kind"], "additionalProperties": False}
        for name in ("cat", "dog")
    },
}
JSON_CASES: list[tuple[object, list[str], list[str]]] = [
    (
        PERSON,
        ['{"name":"Ada","age":36}', '{\n  "name": "Ada",\n  "age": 0\n}'],
        ['{"name":"Ada"}', '{"name":"Ada","age":151}', '{"name":"Adabel","age":1}'],
    ),
    (
        PERSON,
        [],
        [
            '{"name":"Ada","age":36,"x":1}',
            '{"name":"Ada","age":3.0}',
            '{"name":"Ada","age":36} ',
            "{}",
            "",
            '{"name": \t"A","age":1}',
        ],
    ),
    (TREE, ["{}", '{"kids":[{"kids":[]},{}]}'], ['{"kids":[1]}', '{"kids":{}}', '{"kids":[{"x":1}]}']),
    (TAGGED, ['{"kind":"cat"}', '{"kind":"dog"}'], ['{"kind":"cow"}', "{}"]),
    ({"type": ["string", "null"]}, ['"a"', "null", '"a\\nb"'], ["1", '"a', '"\\u0061"', '"\\ud800"']),
    ({"type": "string", "minLength": 2, "maxLength": 3}, ['"日本"', '"😀😀😀"'], ['"a"', '"abcd"', '"😀"']),
    (
        {"enum": ["a", 1, None, [True], {"k": 2}]},
        ['"a"', "1", "null", "[true]", '{"k":2}'],
        ['"b"', "2", "true", "[]", '{"k":3}'],
    ),
    ({"type": "integer", "exclusiveMinimum": 1, "multipleOf": 3}, ["3", "12"], ["0", "1", "4", "3.5", "-3"]),
    ({"type": "number", "minimum": -1.5, "exclusiveMaximum": 2}, ["-1.5", "0", "1.99"], ["-1.51", "2", "2.0", "1e9"]),
    ({"type": "array", "prefixItems": [{"type": "integer"}], "items": False, "minItems": 1}, ["[1]"], ["[]", "[1,1]", '["a"]']),
    (
        {"$schema": "http://json-schema.org/draft-07/schema#", "items": [{"type": "null"}], "additionalItems": False},
        ["[null]", "[]"],
        ["[1]", "[null,1]"],
    ),
    ({"type": "array", "maxItems": 2, "uniqueItems": False}, ["[]", "[1,2]"], ["[1,2,3]"]),
    (
        {"type": "object", "additionalProperties": {"type": "integer"}, "maxProperties": 1},
        ["{}", '{"a":1}'],
        ['{"a":"b"}', '{"a":1,"b":2}'],
    ),
    (
        {"type": "object", "patternProperties": {"^a": {"type": "null"}}, "additionalProperties": False},
        ['{"ab":null}'],
        ['{"b":null}', '{"a":1}'],
    ),
    (
        {"type": "object", "properties": {"a\nb": {"type": "null"}, "c": {"type": "null"}}},
        ['{"a\\nb":null,"d":1}'],
        ['{"a\\u000ab":1}', '{"c":1}', '{"\\u0063":1}'],
    ),
    ({"allOf": [{"type": "integer", "minimum": 2}, {"maximum": 4}]}, ["2", "4"], ["1", "5"]),
    ({"anyOf": [{"type": "integer"}, {"type": "string", "maxLength": 1}]}, ["12", '"a"'], ['"ab"', "1.5"]),
    ({"type": "string", "pattern": "^a.c$"}, ['"abc"'], ['"a\\rc"', '"a\\nc"', '"abc\\n"', '"xabc"']),
    ({"type": "string", "pattern": "[a&&b]"}, ['"&"', '"xa"'], ['"c"', '""']),
    ({"type": "string", "pattern": "^\\d[^\\s][\\s\\S]?$"}, ['"1a"'], ['"١a"', '"1\u00a0"', '"1 "']),
    (
        {"type": "string", "format": "date"},
        ['"2024-02-29"'],
        ['"2023-02-29"', '"2024-02-30"', '"2024-2-1"', '"0000-01-01"', '"1900-02-29"'],
    ),
    (
        {"type": "string", "format": "date-time"},
        ['"2024-02-29T01:02:03Z"'],
        ['"2023-02-29T01:02:03Z"', '"2024-02-29T23:59:60Z"', '"2024-02-29"'],
    ),
    (
        {"type": "string", "format": "uuid"},
        ['"01234567-89ab-cdef-0123-456789ABCDEF"'],
        ['"01234567"', '"g1234567-89ab-cdef-0123-456789abcdef"'],
    ),
    ({"type": "string", "format": "email"}, ['"a.b@example.org"'], ['"a@"', '"a..b@example.org"', '"a@b--c"']),
    ({"x-guidance": {"lenient": True, "item_separator": "x"}, "type": "array"}, ["[1,2]"], ["[1x2]"]),
    (True, ["1", '{"a":[]}'], ["", "x"]),
]


CASES: list[tuple[Constraint, list[str], list[str]]] = [
    (Constraint("json"), ["{}", '{"a": [1, "b"]}'], ["[]", "1", '{"a"}', "{} "]),
    (
        Constraint("choice", '["yes", "no", "not yet", "a|b", "日本"]'),
        ["yes", "no", "not yet", "a|b", "日本"],
        ["", "ye", "no ", "a", "not"],
    ),
    (Constraint("regex", r"^[A-Z]{2}-\d+$"), ["AB-1", "ZZ-123"], ["A-1", "AB-", "xAB-1", "AB-1\n"]),
    (Constraint("regex", "a|b+"), ["a", "bbb"], ["ab", "", "c"]),
    (Constraint("regex", r"\u{1f600}.\x41\/"), ["😀xA/"], ["😀A/", "xA/"]),
    (Constraint("lark", 'start: "x=" %json {"type": "integer", "maximum": 9, "minimum": 0}'), ["x=4"], ["x=10", "x=", 'x="4"']),
    (Constraint("gbnf", 'root ::= [a-z]+ "b" # greedy\n'), ["ab", "aabb", "bb"], ["b", "a", "Ab"]),
    (
        Constraint("gbnf", 'root ::= ("a" | "ab") "bc" | Other-rule{2}\nOther-rule ::=\n  "\\u0041" | [^a-z\\]] .'),
        ["abc", "abbc", "AA", "A1\n", "1x2y"],
        ["ab", "A", "]x]x"],
    ),
    (Constraint("gbnf", 'root ::= list\nlist ::= "(" (list ("," list)*)? ")"'), ["()", "((),())"], ["(", "(,)", "())"]),
]


REFUSED: list[tuple[object, str, str]] = [  # what is asked, the kind of refusal, and what the person is told
    *(
        ({word: value}, "constraint-keyword", word)
        for word, value in [
            ("not", {}),
            ("if", {}),
            ("then", {}),
            ("else", {}),
            ("contains", {}),
            ("minContains", 0),
            ("maxContains", 1),
            ("uniqueItems", True),
            ("propertyNames", {}),
            ("dependentRequired", {}),
            ("dependentSchemas", {}),
            ("dependencies", {}),
            ("unevaluatedItems", False),
            ("unevaluatedProperties", False),
            ("contentEncoding", "base64"),
            ("contentMediaType", "text/html"),
            ("contentSchema", {}),
            ("$dynamicRef", "#"),
            ("$anchor", "a"),
            ("additionalItems", {}),
            ("nullable", True),
            ("minLenght", 3),
            ("id", "x"),
        ]
    ),
    ({"items": {"properties": {"a/b": {"not": {}}}}}, "constraint-keyword", "#/items/properties/a~1b"),
    ({"$defs": {"d": {"uniqueItems": True}}, "items": {"$ref": "#/$defs/d"}}, "constraint-keyword", "#/$defs/d"),
    ({"items": {"$id": "http://x/"}}, "constraint-keyword", "$id"),
    ({"oneOf": [{"type": "integer"}, {"minimum": 2}]}, "constraint-keyword", "oneOf"),
    (
        {"items": {"oneOf": [{"type": "object", "required": ["a"]}, {"type": "object", "required": ["b"]}]}},
        "constraint-keyword",
        "#/items",
    ),
    ({"$ref": "http://127.0.0.1:9/schema"}, "constraint-value", "http://127.0.0.1:9"),
    ({"$ref": "other.json#/a"}, "constraint-value", "other.json"),
    ({"$ref": "#/$defs/none"}, "constraint-value", "no such place"),
    ({"$schema": "http://json-schema.org/draft-04/schema#"}, "constraint-value", "draft-04"),
    ({"format": "iri"}, "constraint-value", "iri"),
    *(
        ({"pattern": text}, "constraint-value", text)
        for text in ("(?=a)b", "a\\b", "(a)\\1", "(?i)a", "a++", "[", "a{2,1}", "a{,5}", "\\p{Greek}")
    ),
    ({"const": 2**53 + 1}, "constraint-value", str(2**53 + 1)),
    ({"enum": [1.0000000000000002]}, "constraint-value", "too exact"),
    ({"minimum": 1e300}, "constraint-value", "too large"),
    ({"minimum": "3"}, "constraint-value", "#/minimum"),
    ({"exclusiveMinimum": True}, "constraint-value", "exclusiveMinimum"),
    ({"multipleOf": 0}, "constraint-value", "multipleOf"),
    ({"allOf": [{"multipleOf": 65521}, {"multipleOf": 65519}]}, "constraint-value", "multipleOf"),
    ({"minLength": -1}, "constraint-value", "minLength"),
    ({"minProperties": 2, "required": []}, "constraint-value", "minProperties"),
    ({"const": "\u0001"}, "constraint-value", "const"),
    ({"type": "int"}, "constraint-value", "int"),
    ({"items": [{}]}, "constraint-value", "#/items"),
    (3, "constraint-value", "3"),
    ({"type": "integer", "minimum": 3, "maximum": 1}, "constraint-schema", "minimum"),
    ({"type": "object", "required": ["a"], "properties": {"a": False}}, "constraint-schema", "a"),
    (False, "constraint-schema", ""),
    ({"enum": []}, "constraint-schema", ""),
    ({"$ref": "#"}, "constraint-endless", "#"),
    ({"anyOf": [{"$ref": "#"}, {"type": "null"}]}, "constraint-endless", "#"),
    (
        {
            "items": {"$ref": "#/$defs/a"},
            "$defs": {"a": {"type": "object", "properties": {"b": {"$ref": "#/$defs/a"}}, "required": ["b"]}},
        },
        "constraint-endless",
        "#/$defs/a",
    ),
]


BAD_TEXTS: list[tuple[Kind, str, str]] = [
    ("json_schema", "{", "constraint-json"),
    ("json_schema", '{"type": "null", "type": "string"}', "constraint-json"),
    ("json_schema", '{"minimum": NaN}', "constraint-json"),
    ("json_schema", '{"const": "\\ud800"}', "constraint-json"),
    ("json_schema", "[" * 100_000, "constraint-json"),
    ("json_schema", " " * (1 << 21), "constraint-size"),
    ("regex", "a^b", "constraint-grammar"),
    ("regex", "^a|b", "constraint-grammar"),
    ("regex", "(a{9999}){9999}", "constraint-grammar"),
    ("choice", "[]", "constraint-grammar"),
    ("choice", '["a", ""]', "constraint-grammar"),
    ("choice", "yes", "constraint-json"),
    ("gbnf", 'root ::= "a" x', "constraint-grammar"),
    ("gbnf", 'root ::= "a"\nroot ::= "b"', "constraint-grammar"),
    ("gbnf", "root ::= <think>", "constraint-grammar"),
    ("gbnf", 'a ::= "a"', "constraint-grammar"),
    ("lark", 'start: "a" <|im_end|>', "constraint-schema"),
    ("lark", "start: <[5]>", "constraint-unsatisfiable"),
    ("lark", 'start: %json {"not": {}}', "constraint-keyword"),
    ("lark", "start: %json", "constraint-grammar"),
    ("lark", "start: /a{9999}/{9999}", "constraint-size"),
    ("lark", "\ud800", "constraint-grammar"),
]
