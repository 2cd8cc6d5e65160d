"""Early stopping, which has to hold when a run is killed at its worst moment; and what is recorded of a step."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from transformers import TrainerControl, TrainerState

from kitae.runs import Run
from kitae.train.batches import BatchPlan
from kitae.train.callbacks import EarlyStop, Recorder

UNUSED: Any = None


def score(stop: EarlyStop, *losses: float) -> bool:
    control = TrainerControl()
    for loss in losses:
        stop.on_evaluate(UNUSED, UNUSED, control, {"eval_loss": loss})
    return control.should_training_stop


def resumed(stop: EarlyStop) -> tuple[EarlyStop, bool]:
    again = EarlyStop.from_state(stop.state())
    control = TrainerControl()
    again.on_train_begin(UNUSED, UNUSED, control)
    return again, control.should_training_stop


def test_stops_after_so_many_scorings_without_a_better_loss() -> None:
    assert not score(EarlyStop(2, 0.1), 3.0, 2.0, 1.95)
    assert score(EarlyStop(2, 0.1), 3.0, 2.0, 1.95, 1.91)
    assert not score(EarlyStop(2, 0.1), 3.0, 2.95, 2.8, 2.75)


def test_what_had_stopped_stays_stopped_when_resumed() -> None:
    stop = EarlyStop(1, 0.1)
    assert score(stop, 3.0, 3.0)
    assert resumed(stop)[1]


def test_what_had_waited_goes_on_waiting() -> None:
    stop = EarlyStop(2, 0.1)
    assert not score(stop, 3.0, 3.0)
    again, over = resumed(stop)
    assert not over
    assert score(again, 3.0)


def test_speed_is_that_of_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    run = Run(tmp_path)
    recorder = Recorder(run, BatchPlan([100, 100], 100, 1, 0), [100, 100], "tokens")
    recorder.on_train_begin(UNUSED, UNUSED, UNUSED)
    for number, (taken, validating) in enumerate([(2.0, 50.0), (3.0, 50.0)], 1):
        recorder.on_step_begin(UNUSED, UNUSED, UNUSED)
        now += taken
        recorder.on_step_end(UNUSED, UNUSED, UNUSED)
        recorder.on_log(UNUSED, TrainerState(global_step=number), UNUSED, {"loss": 1.0})
        now += validating
    found = [(step["tokens_per_second"], step["step_seconds"], step["seconds"]) for step in run.events("step")]
    assert found == [(50.0, 2.0, 2.0), (40.0, 3.0, 55.0)]
