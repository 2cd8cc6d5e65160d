"""`kitae quickstart`: the whole journey on the starter model and the bundled task."""

from __future__ import annotations

import math
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from kitae.core import paths
from kitae.core.console import console
from kitae.core.errors import KitaeError, Refused
from kitae.core.files import creating, write_text
from kitae.core.hardware import computes_in_bf16
from kitae.core.i18n import t
from kitae.core.libraries import quiet_libraries
from kitae.data import appointments
from kitae.models import locate, open_codec
from kitae.recipe import STARTER, load_recipe
from kitae.workflows.results import QuickstartReport, ShipReport
from kitae.workflows.rows import gather_rows
from kitae.workflows.shipping import ship
from kitae.workflows.training import train

ROWS = {"train": 2200, "validation": 32, "test": 200}
_RATE, _RATE_ROWS = 3e-3, 600  # the peak rate that was best for so many rows; more rows are more steps, and each may be smaller
_SYSTEM = "Appointment as JSON."  # short, because every row has to read it; what it means is learned
_SECONDS, _SECONDS_BF16 = 420, 240  # that the whole journey should take
_FEWEST = 300  # training rows, however slow the machine is
_DISK_GB = 2
_LARGER = ("F16", "Q8_0")
_PROBED = 60  # rows on which its speed is measured
# What is done beside training, as tokens at the speed of training: the base's exam, validation, and the checks of each form.
_OTHER_TOKENS = 20_000
_OTHER_SECONDS = 50  # starting, converting, writing: the same on every machine

_RECIPE = """\
# The bundled task: a short message becomes an appointment as JSON. Test rows share no name, place, event or wording
# with training rows.
name: appointments
model: {{source: smollm2-135m-instruct, max_length: 512}}
data:
  train: [{{path: train.jsonl, licence: CC0-1.0}}]
  validation: [{{path: validation.jsonl, licence: CC0-1.0}}]
  test: [{{path: test.jsonl, licence: CC0-1.0}}]
train:
  method: lora
  lora: {{r: 16, alpha: 32}}
  epochs: 1
  learning_rate: {rate:.1e}
  batch_tokens: 250
  evaluations: 2
  seed: {seed}
evaluate: {{suites: [exact_match], prompts: {prompts}, rows: 24, max_new_tokens: 64}}
ship: {{gguf: [F16, Q4_K_M]}}
"""


def quickstart(out: Path | None = None, seed: int = 0, prompts: int = 48, full: bool = False) -> QuickstartReport:
    """Writes data and recipe to `out`, trains, proves, ships. `prompts`: how many test messages are answered. `full`: trains on
    all rows, however long that takes; otherwise on as many as the machine can learn from in a few minutes."""
    began = time.monotonic()
    folder = out or paths.home() / "quickstart"
    _prepare(folder)
    console.say(t("say.quickstart", folder=folder))
    appointments.write_splits(folder, ROWS, system=_SYSTEM)
    recipe = folder / "recipe.yaml"
    write_text(recipe, _RECIPE.format(seed=seed, prompts=prompts, rate=_RATE))
    rows = ROWS["train"] if full else _rows_in_time(recipe, began)
    if rows < ROWS["train"]:
        appointments.write_splits(folder, {"train": rows}, system=_SYSTEM)
    write_text(recipe, _RECIPE.format(seed=seed, prompts=prompts, rate=_rate(rows)))
    run = str(train(recipe)["run"])
    report = _shipped(run)
    return {
        "verdict": report["verdict"],
        "run": run,
        "package": report["package"],
        "rows": rows,
        "table": report["table"],
        "gates": report["gates"],
        "seconds": round(time.monotonic() - began, 1),
    }


def _rate(rows: int) -> float:
    return _RATE * min(1.0, math.sqrt(_RATE_ROWS / rows))


def _shipped(run: str) -> ShipReport:
    """A model that learned from few rows may lose too much in four bits; then it is shipped in eight."""
    try:
        return ship(run)
    except Refused as refusal:
        if any(gate["stage"] != "quant" for gate in refusal.gates):
            raise
        console.say(t("say.quickstart-larger", why=refusal.why))
        return ship(run, _LARGER)


def _prepare(folder: Path) -> None:
    """Everything that could be missing is fetched or named before anything slow begins."""
    from kitae.ship import converter

    for place in (folder, paths.home()):  # the rows, and the run
        with creating(place):
            place.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(place).free / 2**30
        if free < _DISK_GB:
            raise KitaeError("little-disk", where=str(place), free=f"{free:.1f}", needed=_DISK_GB)
    quiet_libraries()
    with ThreadPoolExecutor(1) as pool:  # unpacking keeps one core busy, and reading the model the other
        fetched = pool.submit(converter)
        locate(STARTER)
        fetched.result()


def _rows_in_time(path: Path, began: float) -> int:
    """How many training rows keep the journey to its time on this machine, by a few steps of training."""
    from kitae.train import tokens_per_second

    recipe = load_recipe(path)
    base = locate(recipe.model.source)
    codec = open_codec(base)
    console.say(t("say.quickstart-probe"))
    probed = gather_rows(recipe).train[:_PROBED]
    speed = tokens_per_second(base, codec, probed, recipe.train)
    length = sum(len(sequence.ids) for row in probed for sequence in codec.encode(row)) / len(probed)
    budget = _SECONDS_BF16 if computes_in_bf16(recipe.train.precision) else _SECONDS
    left = budget - (time.monotonic() - began) - _OTHER_SECONDS
    rows = math.floor((left * speed - _OTHER_TOKENS) / length)
    rows = min(max(rows, _FEWEST), ROWS["train"])

    def minutes(count: int) -> str:
        return f"{(time.monotonic() - began + _OTHER_SECONDS + (_OTHER_TOKENS + count * length) / speed) / 60:.0f}"

    every = ROWS["train"]
    if rows < every:
        longer = minutes(every)
        console.say(t("say.quickstart-rows", speed=round(speed), rows=rows, minutes=minutes(rows), every=every, longer=longer))
    else:
        console.say(t("say.quickstart-all", speed=round(speed), minutes=minutes(rows), every=every))
    return rows
