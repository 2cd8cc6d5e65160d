"""A newer shipped run of the same recipe takes over while the server runs."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from kitae.core.console import console
from kitae.core.errors import first_line
from kitae.core.i18n import t
from kitae.runs import Run, all_runs

if TYPE_CHECKING:
    from kitae.serve.run import Serving
    from kitae.serve.service import Service

_EVERY = 3.0  # seconds


class Follower:
    def __init__(self, service: Service, serving: Serving) -> None:
        self._service, self._serving = service, serving
        self._done = threading.Event()
        self._failed: set[str] = set()  # said once
        self._thread = threading.Thread(target=self._watch, name="kitae-follow", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._done.set()

    def _watch(self) -> None:
        while not self._done.wait(_EVERY):
            for model in [model for model in self._service.models.values() if model.run]:
                newest = newest_shipped(model.name)
                if newest is not None and newest.id > model.version and newest.id not in self._failed:
                    self._take(model.name, newest)

    def _take(self, name: str, run: Run) -> None:
        from kitae.serve.run import open_model

        try:
            self._service.offer(open_model(self._serving, name, run.id))
            console.say(t("serve.newer", name=name, run=run.id))
        except Exception as error:  # whatever it is, the one that is served goes on
            self._failed.add(run.id)
            console.say(t("serve.newer-failed", run=run.id, why=first_line(error)))


def newest_shipped(name: str) -> Run | None:
    shipped = [run for run in all_runs() if run.recipe_name == name and run.state == "shipped"]
    return max(shipped, key=lambda run: run.id, default=None)
