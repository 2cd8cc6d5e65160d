"""What Ollama makes of a talk, and of a Modelfile."""

from __future__ import annotations

import pytest
from templates import BY_NAME, FAMILIES, Family

from kitae.chat import ChatTemplate, Message, ollama_template, read_modelfile, render_ollama, sample_talks, takes_system

TALK = [Message("user", "P"), Message("assistant", "A"), Message("user", "Q")]
SYSTEM = Message("system", "S")
DATED = "llama3_2"  # says today's date
# As Ollama's own library writes them: once with all messages, once for each turn.
MESSAGES = """\
{{- if .System }}<s>{{ .System }}</s>
{{ end }}
{{- range $i, $_ := .Messages }}
{{- $last := eq (len (slice $.Messages $i)) 1 }}
{{- if eq .Role "user" }}<u>{{ .Content }}</u>
{{ else if eq .Role "assistant" }}<a>{{ .Content }}{{ if not $last }}</a>
{{ end }}
{{- end }}
{{- if and (ne .Role "assistant") $last }}<a>{{ end }}
{{- end }}"""
TURNS = "{{ if .System }}<s>{{ .System }}{{ else }}none{{- end }} <u>{{ .Prompt }}<a>{{ .Response }}</a>"


@pytest.mark.parametrize("family", [f for f in FAMILIES if f.name != DATED], ids=lambda f: f.name)
def test_a_dialogue_is_rendered_as_by_the_models_own_template(family: Family) -> None:
    own = family.template()
    said = ollama_template(own)
    assert takes_system(own) == family.system
    talks = [TALK, *([[SYSTEM, *TALK], [SYSTEM, TALK[0]]] if family.system else []), *sample_talks(own)]
    assert max(map(len, talks)) == (6 if family.system else 5)
    for talk in talks:
        assert render_ollama(said, talk) == own.render(talk, add_generation_prompt=True)


def test_the_beginning_that_ollama_writes_itself_is_left_to_it() -> None:
    own = BY_NAME["llama3"].template()
    assert ollama_template(own).count("<|begin_of_text|>") == 2
    left = ollama_template(own, adds_beginning=True)
    assert left and "<|begin_of_text|>" not in left


@pytest.mark.parametrize(
    "source",
    [
        "{% for m in messages %}<{{ m.content }}{{ m.content }}>{% endfor %}",  # says everything twice
        "{% for m in messages %}<{{ m.role }} {{ m.content }} {{ loop.index }}>{% endfor %}",  # counts
        "{{ strftime_now('%d %b') }}{% for m in messages %}<{{ m.role }} {{ m.content }}>{% endfor %}",
        "{% for m in messages %}{{ '{{' }}{{ m.content }}{{ '}}' }}{% endfor %}",  # would be read as an action
        "{% for m in messages %}<{{ m.role }} {{ m.content | upper }}>{% endfor %}",
    ],
)
def test_templates_that_ollamas_language_cannot_say(source: str) -> None:
    assert ollama_template(ChatTemplate(source, {})) == ""


def test_a_template_of_all_messages() -> None:
    assert render_ollama(MESSAGES, TALK) == "<u>P</u>\n<a>A</a>\n<u>Q</u>\n<a>"
    assert render_ollama(MESSAGES, [SYSTEM, TALK[0]]) == "<s>S</s>\n<u>P</u>\n<a>"
    assert render_ollama(MESSAGES, TALK[:2]) == "<u>P</u>\n<a>A", "an answer that is begun is gone on with"


def test_neighbours_of_one_role_are_one_message() -> None:
    assert render_ollama(MESSAGES, [TALK[0], TALK[2]]) == "<u>P\n\nQ</u>\n<a>"


def test_a_template_of_one_turn_is_repeated() -> None:
    """With everything in it: what it says where there is no system message, it says in every later turn."""
    assert render_ollama(TURNS, [SYSTEM, TALK[0]]) == "<s>S <u>P<a>"
    assert render_ollama(TURNS, [TALK[0]]) == "none <u>P<a>"
    assert render_ollama(TURNS, [SYSTEM, *TALK]) == "<s>S <u>P<a>A</a>none <u>Q<a>"


def test_what_stands_behind_the_answer_is_cut_wherever_it_stands() -> None:
    for branches in (
        "{{ if .System }}{{ .Response }}{{ else }}{{ end }}",
        "{{ if .System }}{{ else }}{{ .Response }}{{ end }}",
    ):
        assert render_ollama("<u>" + branches + "{{ .Prompt }}", [TALK[0]]) == "<u>"
    assert render_ollama("<u>{{ .Prompt }}", [TALK[0]]) == "<u>P"


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ('{{ if and .System (ne .Prompt "x") }}both{{ else }}not{{ end }}', "both"),
        ("{{ with .System }}<{{ . }}>{{ end }}", "<S>"),
        ('{{ $x := "a" }}{{ if .System }}{{ $x = "b" }}{{ end }}{{ $x }}', "b"),
        ('{{ $x := "a" }}{{ if .System }}{{ $x := "b" }}{{ end }}{{ $x }}', "a"),
        ("{{ .System | len }}{{/* said to nobody */}}", "1"),
        ("a  {{- ` b` -}}  c", "a bc"),
        ("{{ if .Tools }}t{{ else if .Think }}k{{ else }}n{{ end }}", "n"),
    ],
)
def test_gos_language(template: str, text: str) -> None:
    assert render_ollama(template + "{{ .Response }}", [SYSTEM, TALK[0]]) == text


@pytest.mark.parametrize(
    "template",
    ["{{ template }}", '{{ printf "%s" .Prompt }}', "{{ .Unknown }}", "{{ if .Prompt }}", "{{ end }}", "{{ $x }}", "{{ ( }}"],
)
def test_what_is_not_understood_is_not_guessed(template: str) -> None:
    assert render_ollama(template, [TALK[0]]) is None


def test_a_modelfile_is_read() -> None:
    said = read_modelfile('FROM ./a.gguf\nTEMPLATE """x\ny"""\nSYSTEM """Be\nFROM ./b.gguf"""\nPARAMETER stop "</a>"\n')
    assert (said.source, said.template, said.stops) == ("./a.gguf", "x\ny", ["</a>"])
