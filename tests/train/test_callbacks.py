"""Early stopping, which has to hold when a run is killed at its worst moment."""

from __future__ import annotations

from typing import Any

from transformers import TrainerControl

from kitae.train.callbacks import EarlyStop

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
