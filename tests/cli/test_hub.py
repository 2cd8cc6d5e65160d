"""Data sets of a hub that answers on loopback, read by whole commands."""

from __future__ import annotations

import gzip
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.hub_server import REVISION, Hub, hub

ROWS = [{"instruction": f"Question {i}?", "context": "", "response": f"Answer {i}."} for i in range(40)]
BIG = [{"instruction": f"Question {i}?", "response": f"Answer {i}. " + "And more of it. " * 700} for i in range(1500)]  # 17 MB


def lines(rows: list[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def parquet(rows: list[dict[str, Any]]) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), buffer)
    return buffer.getvalue()


SETS = {
    "databricks/databricks-dolly-15k": {"README.md": b"# Dolly", "databricks-dolly-15k.jsonl": lines([*ROWS, {"nothing": 1}])},
    "someone/parts": {
        "data/train-0.parquet": parquet(ROWS[:10]),
        "data/train-1.parquet": parquet(ROWS[10:20]),
        "data/test-0.parquet": parquet(ROWS[20:]),
        "extra/more.jsonl.gz": gzip.compress(lines(ROWS[30:])),
    },
    "someone/large": {"rows.jsonl": lines(BIG)},
    "someone/pictures": {"README.md": b"#", "cat.png": b"\x89PNG"},
}


@pytest.fixture
def there() -> Iterator[Hub]:
    with hub(SETS) as made:
        yield made


@pytest.fixture
def kitae(there: Hub, tmp_path: Path):
    def run(*arguments: object, code: int = 0, **variables: str) -> Any:
        environment = {**os.environ, "HF_ENDPOINT": there.url, "HF_HOME": str(tmp_path / "hf"), **variables}
        command = [sys.executable, "-m", "kitae.cli.main", *map(str, arguments), "--json"]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=120)
        assert done.returncode == code, done.stdout + done.stderr
        return json.loads(done.stdout)

    return run


def read(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_set_of_the_catalogue_is_pulled_once(kitae, there: Hub, tmp_path: Path) -> None:
    value = kitae("data", "pull", "dolly")
    assert value["rows"] == 40 and value["rejected"] == 1 and value["licence"] == "CC-BY-SA-3.0"
    assert read(tmp_path / "dolly" / "rows.jsonl") == ROWS
    assert read(tmp_path / "dolly" / "rejected.jsonl")[0]["nothing"] == 1
    card = json.loads((tmp_path / "dolly" / "source.json").read_text())
    assert card["files"] == [f"hub:databricks/databricks-dolly-15k@{REVISION}:databricks-dolly-15k.jsonl"]
    sent = there.sent
    assert kitae("data", "pull", "dolly", "--out", "again")["sha256"] == value["sha256"]
    assert there.sent == sent  # it is in the hub's own cache
    assert kitae("data", "pull", "dolly", code=2)["error"]["kind"] == "out-not-empty"


def test_parts_of_a_set(kitae, tmp_path: Path) -> None:
    assert kitae("data", "pull", "hub:someone/parts", "--out", "train")["rows"] == 20  # test rows stay where they are
    assert kitae("data", "pull", "hub:someone/parts:extra/*", "--out", "extra")["rows"] == 10
    assert kitae("data", "pull", f"hub:someone/parts@{REVISION}:data/test-*", "--out", "test")["rows"] == 20
    assert read(tmp_path / "train" / "rows.jsonl")[15]["instruction"] == "Question 15?"


def test_only_what_is_read_is_fetched(kitae, there: Hub, tmp_path: Path) -> None:
    value = kitae("data", "clean", "hub:someone/large", "--out", "clean", "--limit", 20, "--rule", "repetition=keep")
    assert value["rows"] == 20
    assert 0 < there.sent < 6_000_000 < len(SETS["someone/large"]["rows.jsonl"])
    assert read(tmp_path / "clean" / "kept.jsonl")[0]["instruction"] == "Question 0?"


def test_what_is_sent_instead_of_a_file_is_not_read(kitae, there: Hub, tmp_path: Path) -> None:
    there.instead = b"<html>Please sign in.</html>"
    error = kitae("data", "clean", "hub:someone/large", "--out", "clean", code=1)["error"]
    assert error["kind"] == "hub-data" and "200" in error["why"]
    assert not (tmp_path / "clean" / "kept.jsonl").exists()


def test_a_recipe_may_name_one(kitae, tmp_path: Path) -> None:
    recipe = "name: x\ndata:\n  train: [{path: 'hub:someone/parts', licence: MIT}]\n  validation: {fraction: 0.4}\n"
    (tmp_path / "recipe.yaml").write_text(recipe)
    value = kitae("recipe", "check", "recipe.yaml")
    assert value["rows"] + value["validation"] == 20


@pytest.mark.parametrize(
    ("name", "kind", "code"),
    [
        ("hub:someone/nothing", "hub-missing", 2),
        ("hub:someone/pictures", "hub-files", 2),
        ("hub:someone/parts:none/*", "hub-files", 2),
        ("hub:nothing", "hub-name", 2),
        ("dollly", "catalogue", 2),
    ],
)
def test_what_is_not_there(kitae, name: str, kind: str, code: int, tmp_path: Path) -> None:
    error = kitae("data", "pull", name, code=code)["error"]
    assert error["kind"] == kind and error["fix"]
    assert not list(tmp_path.glob("*/rows.jsonl"))


def test_without_a_network(kitae, there: Hub) -> None:
    assert kitae("data", "pull", "dolly", code=2, KITAE_OFFLINE="1")["error"]["kind"] == "offline"
    there.server.shutdown()
    there.server.server_close()
    assert kitae("data", "pull", "dolly", code=1)["error"]["kind"] == "hub-data"


def test_the_catalogue_is_shown(kitae) -> None:
    found = {entry["name"]: entry for entry in kitae("data", "pull")["data_sets"]}
    assert found["dolly"]["claims"] == [{"licence": "CC-BY-SA-3.0", "source": "data set card"}]
