"""The files that a stranger serves a model with."""

from __future__ import annotations

import configparser
import json
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import xllamacpp

from kitae.chat import ChatCodec, ollama_template, read_modelfile
from kitae.ship.deployment import Deployment, deployment_files, service, write_deployment
from kitae.verify.files import modelfile

GOOD = Deployment("tiny", "tiny-Q4_K_M.gguf", True, 4096, ("<|im_end|>", "<|endoftext|>"), "Be brief.", "{{ .Prompt }}")
ODD = replace(GOOD, name="it's $HOME 100%n", file='a "b" c\'s $x.gguf')
# llama-server's options, and where its library keeps what they set
OPTIONS = {
    "--model": "model.path",
    "--alias": "model_alias",
    "--jinja": "use_jinja",
    "--ctx-size": "n_ctx",
    "--temp": "sampling.temp",
    "--host": "hostnames",
    "--port": "port",
}
INSTRUCTIONS = {"FROM", "COPY", "USER", "EXPOSE", "CMD"}


def said_by(script: str, model: Deployment, folder: Path) -> list[str]:
    """What a script starts, by a program in its place that says what it was told."""
    write_deployment(folder / "a package", model)
    name = {"llama-server.sh": "llama-server", "vllm.sh": "vllm"}[script]
    program = folder / name
    program.write_text('#!/bin/sh\nprintf "%s\\n" "$PWD" "$@"\n')
    program.chmod(0o755)
    path = folder / "a package" / "deploy" / script
    done = subprocess.run(
        ["sh", path, "--port", "9"],
        env={"PATH": f"{folder}:/usr/bin:/bin"},
        cwd="/",
        capture_output=True,
        text=True,
        check=True,
    )
    where, *arguments = done.stdout.splitlines()
    assert Path(where) == folder / "a package"
    assert arguments[-2:] == ["--port", "9"], "what is added is passed on, and comes last"
    return arguments[:-2]


@pytest.mark.parametrize("model", [GOOD, ODD], ids=["usual", "odd"])
def test_llama_server_is_told_what_it_knows(model: Deployment, tmp_path: Path) -> None:
    arguments = said_by("llama-server.sh", model, tmp_path)
    flags = [word for word in arguments if word.startswith("--")]
    assert flags == list(OPTIONS)
    parameters = xllamacpp.CommonParams()
    for place in OPTIONS.values():
        value: object = parameters
        for part in place.split("."):
            assert hasattr(value, part), place
            value = getattr(value, part)
    values = dict(pairwise(arguments))
    assert (values["--model"], values["--alias"], values["--ctx-size"]) == (model.file, model.name, "4096")
    assert (values["--temp"], values["--host"]) == ("0", "127.0.0.1")


@pytest.mark.parametrize("model", [GOOD, ODD], ids=["usual", "odd"])
def test_vllm_serves_the_folder(model: Deployment, tmp_path: Path) -> None:
    arguments = said_by("vllm.sh", model, tmp_path)
    values = dict(pairwise(arguments))
    assert arguments[:2] == ["serve", "."]
    assert (values["--served-model-name"], values["--max-model-len"], values["--host"]) == (model.name, "4096", "127.0.0.1")
    assert json.loads(values["--override-generation-config"]) == {"temperature": 0.0}


@pytest.mark.parametrize("model", [GOOD, ODD], ids=["usual", "odd"])
def test_shells_can_read_the_scripts(model: Deployment, tmp_path: Path) -> None:
    write_deployment(tmp_path, model)
    scripts = sorted((tmp_path / "deploy").glob("*.sh"))
    assert len(scripts) == 2
    for script in scripts:
        subprocess.run(["sh", "-n", script], check=True)


@pytest.mark.parametrize("model", [GOOD, ODD], ids=["usual", "odd"])
def test_the_unit(model: Deployment, tmp_path: Path) -> None:
    text = service(model)
    unit = configparser.ConfigParser(interpolation=None, strict=True)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(text)
    assert unit.sections() == ["Unit", "Service", "Install"]
    words = shlex.split(unit["Service"]["ExecStart"])
    assert words[:2] == ["/opt/kitae/bin/kitae", "serve"]
    assert "%" not in text.replace("%%", "") and "$" not in words[2].replace("$$", ""), (
        "systemd would put something in its place"
    )
    assert words[2].replace("$$", "$").replace("%%", "%") == f"/opt/models/{model.name}/{model.file}"
    assert words[3:] == ["--host", "127.0.0.1", "--port", "8000"]
    assert unit["Service"]["DynamicUser"] == "yes"
    if shutil.which("systemd-analyze"):
        file = tmp_path / "kitae.service"
        file.write_text(text.replace(words[0], sys.executable))
        done = subprocess.run(["systemd-analyze", "verify", file], capture_output=True, text=True, check=False)
        assert "kitae.service" not in done.stderr, done.stderr


@pytest.mark.parametrize("model", [GOOD, ODD], ids=["usual", "odd"])
def test_the_image(model: Deployment) -> None:
    lines = deployment_files(model)["deploy/Dockerfile"].splitlines()
    assert {line.split()[0] for line in lines} == INSTRUCTIONS
    said = {line.split()[0]: line.split(None, 1)[1] for line in lines}
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", said["USER"]), "nobody with root rights"
    source, inside = json.loads(said["COPY"].split(None, 1)[1])
    assert source == model.file
    command = json.loads(said["CMD"])
    values = dict(pairwise(command))
    assert values["--model"] == inside
    assert (values["--host"], values["--port"]) == ("0.0.0.0", said["EXPOSE"])
    readme = deployment_files(model)["deploy/README.md"]
    assert f"-p 127.0.0.1:8080:{said['EXPOSE']}" in readme
    assert re.search(r"-t [a-z0-9]+(-[a-z0-9]+)* \.\n", readme)


def test_the_modelfile_is_the_models(codec: ChatCodec, tmp_path: Path) -> None:
    own = replace(GOOD, template=ollama_template(codec.template))
    write_deployment(tmp_path, own)
    assert modelfile(tmp_path / "Modelfile", codec, own.file).verdict == "pass"
    text = (tmp_path / "Modelfile").read_text()
    assert read_modelfile(text).stops == ["<|im_end|>", "<|endoftext|>"]
    assert {'SYSTEM """Be brief."""', "PARAMETER num_ctx 4096", "PARAMETER temperature 0"} <= set(text.splitlines())
    assert "SYSTEM" not in deployment_files(replace(own, takes_system=False))["Modelfile"]
    assert "SYSTEM" not in deployment_files(replace(own, system='Say """ often.'))["Modelfile"]


@pytest.mark.parametrize(
    ("model", "files"),
    [
        (GOOD, {"Modelfile", "deploy/Dockerfile", "deploy/llama-server.sh", "deploy/vllm.sh"}),
        (replace(GOOD, template=""), {"deploy/Dockerfile", "deploy/llama-server.sh", "deploy/vllm.sh"}),
        (replace(GOOD, file=None), {"deploy/vllm.sh"}),
        (replace(GOOD, file=None, folder=False), set()),
    ],
    ids=["all", "a template that Ollama can't say", "no GGUF", "only Kitae"],
)
def test_only_what_can_serve_it_is_named(model: Deployment, files: set[str]) -> None:
    found = deployment_files(model)
    assert set(found) == files | {"deploy/README.md", "deploy/kitae.service"}
    readme = found["deploy/README.md"]
    named = set(re.findall(r"deploy/[\w.-]+", readme))
    assert named == set(found) - {"deploy/README.md", "Modelfile"}
    assert ("ollama create" in readme) == ("Modelfile" in found)
    assert f"kitae serve {model.file or '.'} " in readme
    assert "Context: 4096" in readme and "コンテキスト: 4096" in readme


def test_the_example_is_json_whatever_the_system_message_says() -> None:
    readme = deployment_files(replace(GOOD, system='It\'s ```code``` "and" more.\n日本語'))["deploy/README.md"]
    command = readme.split("```sh\n")[-1].split("\n```")[0]
    body = json.loads(shlex.split(command)[-1])
    assert body["messages"][0]["content"] == 'It\'s ```code``` "and" more.\n日本語'
    assert "````\nIt's ```code```" in readme
    refuses = deployment_files(replace(GOOD, takes_system=False))["deploy/README.md"]
    assert '"system"' not in refuses
