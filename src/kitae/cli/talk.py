"""`kitae generate`, `chat` and `serve`: models in use."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kitae.cli.help import Group
from kitae.cli.result import Result
from kitae.core.console import console
from kitae.core.i18n import t

talk_app = typer.Typer(cls=Group, rich_markup_mode=None)

Target = Annotated[str, typer.Argument(help=t("help.target"))]
System = Annotated[str | None, typer.Option(help=t("help.system"))]
Temperature = Annotated[float, typer.Option(min=0.0, max=100.0, help=t("help.temperature"))]
MaxTokens = Annotated[int, typer.Option(min=1, help=t("help.max-tokens"))]
TopP = Annotated[float, typer.Option(min=0.0, max=1.0, help=t("help.top-p"))]
TopK = Annotated[int, typer.Option(min=0, help=t("help.top-k"))]
MinP = Annotated[float, typer.Option(min=0.0, max=1.0, help=t("help.min-p"))]
Penalty = Annotated[float, typer.Option(min=0.1, help=t("help.repetition-penalty"))]
TypicalP = Annotated[float, typer.Option(min=0.0, max=1.0, help=t("help.typical-p"))]
Presence = Annotated[float, typer.Option("--presence-penalty", min=-2.0, max=2.0, help=t("help.presence-penalty"))]
Frequency = Annotated[float, typer.Option("--frequency-penalty", min=-2.0, max=2.0, help=t("help.frequency-penalty"))]
Dry = Annotated[float, typer.Option("--dry", min=0.0, help=t("help.dry"))]
Seed = Annotated[int | None, typer.Option(min=0, help=t("help.seed"))]
Template = Annotated[str | None, typer.Option("--chat-template", metavar="FILE|NAME", help=t("help.chat-template"))]
Raw = Annotated[bool, typer.Option("--raw", help=t("help.raw"))]
Stop = Annotated[list[str] | None, typer.Option(help=t("help.stop"))]


@talk_app.command(help=t("help.generate"))
def generate(
    target: Target,
    prompt: Annotated[str, typer.Argument(help=t("help.prompt"))],
    system: System = None,
    temperature: Temperature = 0.0,
    max_tokens: MaxTokens = 256,
    top_p: TopP = 1.0,
    top_k: TopK = 0,
    min_p: MinP = 0.0,
    repetition_penalty: Penalty = 1.0,
    typical_p: TypicalP = 1.0,
    presence: Presence = 0.0,
    frequency: Frequency = 0.0,
    dry: Dry = 0.0,
    seed: Seed = None,
    stop: Stop = None,
    stop_token: Annotated[list[int] | None, typer.Option(metavar="ID", help=t("help.stop-token"))] = None,
    stop_repeating: Annotated[bool, typer.Option("--stop-repeating", help=t("help.stop-repeating"))] = False,
    max_seconds: Annotated[float | None, typer.Option(min=0.0, help=t("help.max-seconds"))] = None,
    ban: Annotated[list[int] | None, typer.Option(metavar="ID", help=t("help.ban"))] = None,
    bias: Annotated[list[str] | None, typer.Option(metavar="ID=VALUE", help=t("help.bias"))] = None,
    answers: Annotated[int, typer.Option("--n", min=1, max=64, help=t("help.n"))] = 1,
    best_of: Annotated[int | None, typer.Option(min=1, max=64, help=t("help.best-of"))] = None,
    beams: Annotated[int, typer.Option(min=1, max=32, help=t("help.beams"))] = 1,
    length_penalty: Annotated[float, typer.Option(help=t("help.length-penalty"))] = 1.0,
    json_schema: Annotated[Path | None, typer.Option(metavar="FILE", help=t("help.json-schema"))] = None,
    json_object: Annotated[bool, typer.Option("--json-object", help=t("help.json-object"))] = False,
    regex: Annotated[str | None, typer.Option(help=t("help.regex"))] = None,
    grammar: Annotated[Path | None, typer.Option(metavar="FILE", help=t("help.grammar"))] = None,
    choice: Annotated[list[str] | None, typer.Option(help=t("help.choice"))] = None,
    check: Annotated[Path | None, typer.Option(metavar="FILE", help=t("help.check"))] = None,
    tries: Annotated[int, typer.Option(min=1, max=20, help=t("help.tries"))] = 3,
    chat_template: Template = None,
    raw: Raw = False,
) -> Result:
    from kitae.chat import RAW
    from kitae.cli.chat import say_answer, text_of
    from kitae.cli.constraint import biases, constraint_of
    from kitae.core.files import read_text
    from kitae.generate import Settings

    settings = Settings(
        max_tokens, temperature, top_k, top_p, min_p, repetition_penalty, seed, tuple(stop or ()),
        typical_p=typical_p, presence_penalty=presence, frequency_penalty=frequency, dry_multiplier=dry,
        stop_tokens=tuple(stop_token or ()), stop_repeating=stop_repeating, max_seconds=max_seconds,
        bans=tuple(ban or ()), logit_bias=biases(bias or []), n=answers, best_of=best_of,
        beams=beams, length_penalty=length_penalty,
        constraint=constraint_of(json_schema, json_object, regex, grammar, choice),
    )  # fmt: skip
    schema = None if check is None else read_text(check)
    found = say_answer(target, prompt, system, settings, RAW if raw else chat_template, schema, tries)
    return Result({**found}, text_of(found) if console.quiet else "")


@talk_app.command(help=t("help.chat"))
def chat(
    target: Target,
    system: System = None,
    temperature: Temperature = 0.0,
    max_tokens: MaxTokens = 512,
    top_p: TopP = 1.0,
    top_k: TopK = 0,
    min_p: MinP = 0.0,
    repetition_penalty: Penalty = 1.0,
    typical_p: TypicalP = 1.0,
    presence: Presence = 0.0,
    frequency: Frequency = 0.0,
    dry: Dry = 0.0,
    seed: Seed = None,
    stop: Stop = None,
    chat_template: Template = None,
    raw: Raw = False,
) -> Result:
    from kitae.chat import RAW
    from kitae.cli.chat import chat
    from kitae.generate import Settings

    settings = Settings(
        max_tokens, temperature, top_k, top_p, min_p, repetition_penalty, seed, tuple(stop or ()),
        typical_p=typical_p, presence_penalty=presence, frequency_penalty=frequency, dry_multiplier=dry,
    )  # fmt: skip
    return Result({"messages": chat(target, system, settings, RAW if raw else chat_template)})


@talk_app.command(help=t("help.serve"))
def serve(
    targets: Annotated[list[str], typer.Argument(metavar="TARGET", help=t("help.serve-targets"))],
    adapter: Annotated[list[str] | None, typer.Option(metavar="NAME=RUN", help=t("help.serve-adapter"))] = None,
    host: Annotated[str, typer.Option(help=t("help.serve-host"))] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help=t("help.serve-port"))] = 8000,
    context: Annotated[int | None, typer.Option(min=16, help=t("help.serve-context"))] = None,
    at_once: Annotated[int | None, typer.Option(min=1, max=256, help=t("help.serve-at-once"))] = None,
    api_key_env: Annotated[str | None, typer.Option(metavar="NAME", help=t("help.serve-api-key-env"))] = None,
    cors: Annotated[list[str] | None, typer.Option(metavar="ORIGIN", help=t("help.serve-cors"))] = None,
    log: Annotated[Path | None, typer.Option(metavar="FILE", help=t("help.serve-log"))] = None,
    follow: Annotated[bool, typer.Option("--follow", help=t("help.serve-follow"))] = False,
    prompt_lookup: Annotated[bool, typer.Option("--prompt-lookup", help=t("help.serve-lookup"))] = False,
    draft: Annotated[str | None, typer.Option(metavar="TARGET", help=t("help.serve-draft"))] = None,
    waiting: Annotated[int, typer.Option(min=1, help=t("help.serve-waiting"))] = 256,
    max_seconds: Annotated[float, typer.Option(min=1.0, help=t("help.serve-max-seconds"))] = 600.0,
    max_body: Annotated[int, typer.Option(min=1024, help=t("help.serve-max-body"))] = 4 << 20,
    chat_template: Template = None,
) -> Result:
    from kitae.serve import Limits, Serving, run_server

    limits = Limits(body_bytes=max_body, waiting=waiting, seconds=max_seconds)
    serving = Serving(
        tuple(targets), tuple(adapter or ()), host, port, context, at_once, chat_template, api_key_env,
        tuple(cors or ()), log, follow, prompt_lookup, draft, limits,
    )  # fmt: skip
    return Result(run_server(serving))
