"""What a package needs to be served elsewhere: a Modelfile, and one command each for the usual servers, in `deploy/`."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kitae.chat import ollama_template, takes_system
from kitae.core.files import write_text
from kitae.core.i18n import LANGUAGES, t
from kitae.ship.export import has_gguf_form
from kitae.verify import RunVerifier

FOLDER = "deploy"
_USUAL_CONTEXT = 8192  # a longer one costs memory that few chats need
_NOBODY = "65534:65534"
_MODELS = "/opt/models"


@dataclass(frozen=True)
class Deployment:
    """What servers have to be told of a model."""

    name: str
    file: str | None  # the GGUF file to serve
    folder: bool  # whether others can serve the folder itself
    context: int
    stops: tuple[str, ...]
    system: str | None = None  # the message that all training rows shared
    template: str = ""  # for Ollama; empty if its language can't say it
    takes_system: bool = True

    @property
    def target(self) -> str:
        """What `kitae serve` is told, within the package."""
        return self.file or "."


def deployment_of(verifier: RunVerifier, files: Sequence[Path]) -> Deployment:
    """`files`: GGUF files, the one to serve last."""
    template, facts = verifier.exam.codec.template, verifier.seen(verifier.trained).facts
    longest = max(_USUAL_CONTEXT, verifier.recipe.model.max_length)
    seen = (o for o in verifier.observations.values() if files and o.job.target.path == files[-1])
    return Deployment(
        name=verifier.recipe.name,
        file=files[-1].name if files else None,
        folder=verifier.merges and has_gguf_form(verifier.base_folder),
        context=min(facts["context"] or longest, longest),
        stops=tuple(verifier.exam.codec.vocabulary.decode([token]) for token in facts["stop_tokens"]),
        system=verifier.run.manifest.get("system"),
        template=next((ollama_template(template, o.facts["adds_bos"]) for o in seen), ""),
        takes_system=takes_system(template),
    )


def write_deployment(folder: Path, model: Deployment) -> None:
    for name, text in deployment_files(model).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, text)


def deployment_files(model: Deployment) -> dict[str, str]:
    """By their names within the package."""
    found = {"README.md": readme(model), "kitae.service": service(model)}
    if model.folder:
        found["vllm.sh"] = _script("vllm", "serve", *vllm_arguments(model))
    if model.file is not None:
        found["llama-server.sh"] = _script("llama-server", *llama_server_arguments(model, model.file, "127.0.0.1"))
        found["Dockerfile"] = dockerfile(model, model.file)
    inside = {f"{FOLDER}/{name}": text for name, text in found.items()}
    if model.file is not None and model.template:
        inside["Modelfile"] = modelfile(model, model.file)
    return inside


def modelfile(model: Deployment, file: str) -> str:
    lines = [f"FROM ./{file}", f'TEMPLATE """{model.template}"""']
    if not model.takes_system:
        lines.insert(0, "# This model takes no system messages. Ollama leaves them out.")
    elif model.system and '"""' not in model.system and not model.system.endswith('"'):
        lines.append(f'SYSTEM """{model.system}"""')
    lines += [f'PARAMETER stop "{stop}"' for stop in model.stops]
    lines += [f"PARAMETER num_ctx {model.context}", "PARAMETER temperature 0", "PARAMETER repeat_penalty 1"]
    return "\n".join(lines) + "\n"


def llama_server_arguments(model: Deployment, path: str, host: str) -> list[str]:
    return [
        *("--model", path, "--alias", model.name, "--jinja", "--ctx-size", str(model.context), "--temp", "0"),
        *("--host", host, "--port", "8080"),
    ]


def vllm_arguments(model: Deployment) -> list[str]:
    """The tokens that end answers are in generation_config.json, which vLLM reads."""
    return [
        *(".", "--served-model-name", model.name, "--max-model-len", str(model.context)),
        *("--override-generation-config", json.dumps({"temperature": 0.0}), "--host", "127.0.0.1", "--port", "8000"),
    ]


def _script(*command: str) -> str:
    return f'#!/bin/sh\nset -eu\ncd "$(dirname "$0")/.."\nexec {shlex.join(command)} "$@"\n'


def dockerfile(model: Deployment, file: str) -> str:
    """The image listens within its container; `docker run` publishes one address. Its own health check asks port 8080."""
    path = f"/model/{file}"
    return f"""\
FROM ghcr.io/ggml-org/llama.cpp:server
COPY --chmod=0444 {json.dumps([file, path])}
USER {_NOBODY}
EXPOSE 8080
CMD {json.dumps(llama_server_arguments(model, path, "0.0.0.0"))}
"""


def service(model: Deployment) -> str:
    place = f"{_MODELS}/{model.name}"
    path = place if model.file is None else f"{place}/{model.file}"
    command = ["/opt/kitae/bin/kitae", "serve", path, "--host", "127.0.0.1", "--port", "8000"]
    return f"""\
[Unit]
Description=Language model {_percents(model.name)}
After=network.target

[Service]
ExecStart={" ".join(map(_systemd_word, command))}
Environment=KITAE_HOME=/var/lib/kitae KITAE_OFFLINE=1
StateDirectory=kitae
DynamicUser=yes
NoNewPrivileges=yes
PrivateTmp=yes
ProtectHome=yes
ProtectSystem=strict
Restart=on-failure

[Install]
WantedBy=multi-user.target
"""


def _systemd_word(word: str) -> str:
    if re.fullmatch(r"[\w@:,./+=-]+", word, re.ASCII):
        return word
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("$", "$$")
    return f'"{_percents(escaped)}"'


def _percents(text: str) -> str:
    return text.replace("%", "%%")


def readme(model: Deployment) -> str:
    english, japanese = (_sentences(model, lang) for lang in LANGUAGES)

    def said(key: str) -> str:
        return f"{english[key]}\n\n{japanese[key]}\n\n"

    commands = {"kitae": f"kitae serve {shlex.quote(model.target)} --host 127.0.0.1 --port 8000"} | _commands(model)
    text = f"# {model.name}\n\n{said('intro')}{said('facts')}"
    if model.system:
        text += said("system") + _block(model.system)
    for key, command in commands.items():
        text += f"## {_HEADINGS[key]}\n\n{said(key) if key in english else ''}{_block(command, 'sh')}"
    if model.file is not None and not model.template:
        text += f"## {_HEADINGS['ollama']}\n\n{said('no-ollama')}"
    return f"{text}## API\n\n{said('ask')}{_block(_question(model), 'sh')}".rstrip("\n") + "\n"


_HEADINGS = {
    "kitae": "Kitae",
    "ollama": "Ollama",
    "llama-server": "llama-server",
    "vllm": "vLLM",
    "docker": "Docker",
    "systemd": "systemd",
}


def _sentences(model: Deployment, lang: str) -> dict[str, str]:
    stops = ", ".join(f"`{stop}`" for stop in model.stops) or "–"
    return {
        "intro": t("deploy.intro", lang),
        "facts": t("deploy.facts", lang, context=model.context, stops=stops),
        "system": t("deploy.system", lang),
        "ollama": t("deploy.ollama", lang),
        "no-ollama": t("deploy.no-ollama", lang),
        "llama-server": t("deploy.llama-server", lang),
        "vllm": t("deploy.vllm", lang),
        "docker": t("deploy.docker", lang),
        "systemd": t("deploy.systemd", lang),
        "ask": t("deploy.ask", lang),
    }


def _commands(model: Deployment) -> dict[str, str]:
    name, image = shlex.quote(model.name), _image(model.name)
    found = {}
    if model.file is not None:
        if model.template:
            found["ollama"] = f"ollama create {name} -f Modelfile && ollama run {name}"
        found["llama-server"] = f"sh {FOLDER}/llama-server.sh"
    if model.folder:
        found["vllm"] = f"sh {FOLDER}/vllm.sh"
    if model.file is not None:
        build = f"docker build -f {FOLDER}/Dockerfile -t {image} ."
        found["docker"] = f"{build}\ndocker run --rm --read-only --tmpfs /tmp -p 127.0.0.1:8080:8080 {image}"
    found["systemd"] = (
        f"sudo mkdir -p {_MODELS} && sudo cp -r . {shlex.quote(f'{_MODELS}/{model.name}')}\n"
        f"sudo cp {FOLDER}/kitae.service /etc/systemd/system/\n"
        "sudo systemctl daemon-reload && sudo systemctl enable --now kitae"
    )
    return found


def _image(name: str) -> str:
    """Docker's names are in small letters, with single separators between them."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "model"


def _question(model: Deployment) -> str:
    system = [{"role": "system", "content": model.system}] if model.system and model.takes_system else []
    asked = {"model": model.name, "messages": [*system, {"role": "user", "content": "Hello."}]}
    body = json.dumps(asked, ensure_ascii=False)
    return f"curl http://127.0.0.1:8000/v1/chat/completions -H 'Content-Type: application/json' -d {shlex.quote(body)}"


def _block(text: str, language: str = "") -> str:
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{fence}{language}\n{text}\n{fence}\n\n"
