"""The servers that benchmarks/serve.py compares: how each is started, and in which settings."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import psutil

PATIENCE = 180  # seconds until a server is ready
CONTEXT = 1024  # tokens of one client's conversation
PATIENT = {"OMP_WAIT_POLICY": "passive"}  # threads that wait without spinning, for a machine with other work
XLLAMACPP = """
import sys, threading, xllamacpp
model, port, clients, threads, context = sys.argv[1], *map(int, sys.argv[2:])
params = xllamacpp.CommonParams()
params.model.path, params.hostnames, params.port = model, ["127.0.0.1"], port
params.n_parallel, params.n_ctx, params.cache_prompt, params.kv_unified = clients, clients * context, False, False
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
server = xllamacpp.Server(params)
threading.Event().wait()
"""


@dataclass(frozen=True)
class Setting:
    """A server as somebody would start it for so many clients."""

    server: str
    label: str
    command: Sequence[str]
    body: Mapping[str, object] = field(default_factory=dict)  # what its requests hold beside the usual
    env: Mapping[str, str] = field(default_factory=dict)
    ready: str = "/health"
    model: str = "model"


@dataclass(frozen=True)
class Peers:
    """Where the programs lie; None: not on this machine."""

    llama_server: Path | None
    llama_cpp_python: Path | None  # a Python that has llama_cpp.server
    xllamacpp: Path | None  # a Python that has xllamacpp
    vllm: Path | None  # its program
    folder: Path | None  # the same model, for what reads no GGUF


def settings(server: str, peers: Peers, model: Path, clients: int, threads: int, port: int) -> list[Setting]:
    """All that are tried for so many clients; the best one counts. Empty: the server is missing."""
    if server == "kitae":
        return [_kitae(model, port)]
    if server == "llama_server" and peers.llama_server:
        return _llama_server(peers.llama_server, model, clients, threads, port)
    if server == "llama_cpp_python" and peers.llama_cpp_python:
        return _both_ways(_llama_cpp_python(peers.llama_cpp_python, model, threads, port))
    if server == "xllamacpp" and peers.xllamacpp:
        command = [str(peers.xllamacpp), "-c", XLLAMACPP, str(model), *map(str, (port, clients, threads, CONTEXT))]
        return _both_ways(Setting("xllamacpp", "a slot a client", command, {"ignore_eos": True}))
    if server == "transformers" and peers.folder:
        return _transformers(peers.folder, port)
    if server == "vllm" and peers.vllm and peers.folder:
        return [_vllm(peers.vllm, peers.folder, clients, port)]
    return []


def _both_ways(setting: Setting) -> list[Setting]:
    """Spinning threads are faster on a quiet machine, and slower by far on a busy one."""
    return [setting, replace(setting, label=f"{setting.label}, patient threads", env=PATIENT)]


def _kitae(model: Path, port: int) -> Setting:
    command = [str(Path(sys.executable).parent / "kitae"), "serve", f"model={model}", "--port", str(port)]
    library = os.environ.get("KITAE_LLAMA")  # for one that was built for this machine, as llama-server is
    return Setting("kitae", f"KITAE_LLAMA={Path(library).name}" if library else "as it comes", command, {"ignore_eos": True})


def _llama_server(program: Path, model: Path, clients: int, threads: int, port: int) -> list[Setting]:
    command = [str(program), "-m", str(model), "--host", "127.0.0.1", "--port", str(port), "-t", str(threads), "--offline"]
    slots = ["-np", str(clients), "-c", str(clients * CONTEXT)]
    lean = ["--no-ui", "--no-slots", "--cache-ram", "0"]
    body = {"ignore_eos": True}
    return [
        Setting("llama_server", "as it comes", command, body),
        *_both_ways(Setting("llama_server", "a slot a client", [*command, *slots, *lean], body)),
        *_both_ways(Setting("llama_server", "a slot a client, no reuse", [*command, *slots, *lean, "--no-cache-prompt"], body)),
        *_both_ways(Setting("llama_server", "a slot a client, choosing in the graph", [*command, *slots, *lean, "-bs"], body)),
        *_both_ways(Setting("llama_server", "a slot a client, one cache", [*command, *slots, *lean, "--kv-unified"], body)),
    ]


def _llama_cpp_python(python: Path, model: Path, threads: int, port: int) -> Setting:
    """It knows no ignore_eos, so the tokens that end an answer are banned."""
    from kitae.models import read_gguf_header

    ends = ("bos_token_id", "eos_token_id", "eot_token_id", "eom_token_id")
    facts = read_gguf_header(model).facts
    banned = {str(facts[f"tokenizer.ggml.{end}"]): -100 for end in ends if f"tokenizer.ggml.{end}" in facts}
    settings = {
        "--model": model,
        "--host": "127.0.0.1",
        "--port": port,
        "--n_ctx": CONTEXT,
        "--n_threads": threads,
        "--n_threads_batch": threads,
        "--flash_attn": True,
        "--interrupt_requests": False,
    }
    command = [str(python), "-m", "llama_cpp.server", *(str(part) for pair in settings.items() for part in pair)]
    return Setting("llama_cpp_python", "requests wait", command, {"logit_bias": banned}, ready="/v1/models")


def _transformers(folder: Path, port: int) -> list[Setting]:
    command = [str(Path(sys.executable).parent / "transformers"), "serve", str(folder), "--host", "127.0.0.1"]
    ends = {"generation_config": json.dumps({"eos_token_id": [-1], "do_sample": False})}
    return [
        Setting("transformers", label, [*command, "--port", str(port), "--device", "cpu", *more], ends, model=str(folder))
        for label, more in (("as it comes", []), ("continuous batching", ["--continuous-batching"]))
    ]


def _vllm(program: Path, folder: Path, clients: int, port: int) -> Setting:
    given = {
        "--host": "127.0.0.1",
        "--port": port,
        "--max-model-len": CONTEXT,
        "--max-num-seqs": clients,
        "--dtype": "bfloat16",
    }
    command = [str(program), "serve", str(folder), *(str(part) for pair in given.items() for part in pair)]
    env = {"VLLM_CPU_KVCACHE_SPACE": "2", "HF_HUB_OFFLINE": "1"}
    return Setting("vllm", "bf16", command, {"ignore_eos": True}, env, model=str(folder))


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@contextlib.contextmanager
def running(setting: Setting, port: int) -> Iterator[psutil.Process]:
    """The server, once it answers; it and all that it started are ended afterwards."""
    with tempfile.TemporaryFile() as log:
        env = {**os.environ, **setting.env}
        started = psutil.Popen(list(setting.command), env=env, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
        try:
            for _ in range(PATIENCE * 10):
                if _answers(port, setting.ready):
                    break
                if started.poll() is not None:
                    log.seek(0)
                    raise RuntimeError(f"{setting.server} ended: {log.read()[-600:].decode(errors='replace')}")
                time.sleep(0.1)
            else:
                raise RuntimeError(f"{setting.server} was not ready after {PATIENCE} s")
            yield started
        finally:
            _end(started)


def _answers(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def _end(process: psutil.Process) -> None:
    family = [*process.children(recursive=True), process] if process.is_running() else []
    for member in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.terminate()
    for member in psutil.wait_procs(family, timeout=10)[1]:
        member.kill()


def cpu_seconds(process: psutil.Process) -> float:
    """Of a server and of all that it started."""
    times = [member.cpu_times() for member in (process, *process.children(recursive=True))]
    return float(sum(time_.user + time_.system for time_ in times))
