"""A real llama-server on loopback, in a process of its own, which ends with whoever started it.

As a script: python llama_server.py FILE [SETTINGS], where SETTINGS are JSON values of its parameters.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_THREADS = 1


@contextmanager
def llama_server(file: Path, **settings: object) -> Iterator[str]:
    """Its address. `settings` are parameters of llama.cpp's own program, by the names they have in xllamacpp."""
    command = [sys.executable, __file__, str(file), json.dumps(settings)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None and process.stdin is not None
        lines = iter(process.stdout.readline, "")
        try:
            yield next(line.removeprefix("address ").strip() for line in lines if line.startswith("address "))
        finally:
            process.stdin.close()
            process.kill()


def main(file: str, settings: str = "{}") -> None:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = file
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.n_ctx, params.n_parallel = 4096, 2
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = _THREADS
    params.warmup = False
    for name, value in json.loads(settings).items():
        setattr(params, name, value)
    server = xllamacpp.Server(params)
    print(f"address {server.listening_address}", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
