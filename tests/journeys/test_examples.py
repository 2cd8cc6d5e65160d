"""The recipes in examples/methods, each from rows to a package, on a model that is small enough for seconds."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ..conftest import ROOT
from .conftest import Kitae

pytestmark = pytest.mark.journey

METHODS = ROOT / "examples" / "methods"
RECIPES = sorted(path.stem for path in METHODS.glob("*.yaml"))
# The model knows nothing, so it must learn fast, and whether it stops and is right is of no interest here.
SMALL = (
    "train.learning_rate=0.01",
    "train.precision=fp32",
    "evaluate.suites=[]",
    "evaluate.max_new_tokens=8",
    "verify={stop_rate: 0.0, loop_rate: 1.0, stop_probability: 1.0e-9, equivalent_kld: 1.0e-3}",
)
MERGED = ("merge.complete", "merge.changed", "merge.equivalent")


@pytest.fixture(scope="session")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("methods")
    made = [sys.executable, str(METHODS / "prepare.py"), "--out", str(folder), "--train", "64", "--held-out", "24"]
    subprocess.run(made, check=True)
    for name in RECIPES:
        (folder / f"{name}.yaml").write_text((METHODS / f"{name}.yaml").read_text())
    return folder


def sets(model: Path, *more: str) -> list[str]:
    return [part for setting in (*SMALL, f"model.source={model}", *more) for part in ("--set", setting)]


def train(kitae: Kitae, recipe: Path, model: Path, *more: str) -> str:
    done = kitae("train", recipe, *sets(model, *more), "--json")
    assert done.code == 0, done.err + done.out
    return str(done.json["run"])


@pytest.mark.parametrize("name", RECIPES)
def test_trained_proven_and_shipped(kitae: Kitae, rows: Path, tiny_model: Path, name: str) -> None:
    teacher = {
        "distill": (f"train.distill.teacher={tiny_model}",),
        "distill-answers": ("train.distill.teacher=smollm2-135m-instruct", "train.distill.max_new_tokens=128"),
    }
    run = train(kitae, rows / f"{name}.yaml", tiny_model, *teacher.get(name, ()))
    verified = kitae("verify", run, "--json")
    assert verified.code == 0, verified.out
    shipped = kitae("ship", run, "--json")
    assert shipped.code == 0, shipped.err + shipped.out
    gates = {gate["id"]: gate["verdict"] for gate in shipped.json["gates"]}
    soft = name in ("soft-prompt", "prefix")
    assert {gates[gate] for gate in MERGED} == ({"skip"} if soft else {"pass"})
    assert gates["train.adapter-moved"] == ("skip" if name == "full" else "pass")
    asked = kitae("generate", shipped.json["package"], "lunch with Mei on friday", "--max-tokens", "4", "--json")
    assert asked.code == 0, asked.err
    assert asked.json["tokens"]
