"""Answers that go round in circles."""

from __future__ import annotations

import numpy as np

_PERIOD = 64  # tokens of the longest circle that is looked for
_TIMES = 3
_LEAST = 24  # tokens of all rounds together: a short word said three times is no circle


class Circles:
    """Told each token of an answer, it says when the answer ends with the same tokens over and over."""

    def __init__(self) -> None:
        self._last = np.full(_PERIOD, -1, dtype=np.int64)  # the latest first
        self._runs = np.zeros(_PERIOD, dtype=np.int64)  # of each period: how many tokens in a row are those of one round before

    def goes_on(self, token: int) -> bool:
        self._runs = np.where(self._last == token, self._runs + 1, 0)
        self._last = np.concatenate([[token], self._last[:-1]])
        period = np.arange(1, _PERIOD + 1)
        return bool(np.any((self._runs > 0) & (self._runs + period >= np.maximum(_TIMES * period, _LEAST))))
