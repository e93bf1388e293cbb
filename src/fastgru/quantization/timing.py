"""How fast a narrow network is beside the float32 one, on the same rows."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..model import Model
from .running import Data

#: seconds that one turn of one network lasts at least
_TURN = 0.005
#: turns of each network at least, however long they take
_TURNS = 5
#: of longer sequences the first steps are timed
_STEPS = 1000


@dataclass(frozen=True)
class Speed:
    """Medians of calls that took turns.

    Attributes
    ----------
    rows : int
        Of the data, from its beginning, in each call.
    threads : int
        At most so many.
    float32, narrow : float
        Seconds of a call.
    turns : int
        Of each network; a turn is as many calls as take 5 ms.
    """

    rows: int
    threads: int
    float32: float
    narrow: float
    turns: int

    @property
    def gain(self) -> float:
        """How many times faster the narrow network is."""
        return self.float32 / self.narrow


def compare_speed(
    model: Model, narrow_model: Model, data: Data, *, rows: int = 1, threads: int = 1, seconds: float = 1.0
) -> Speed:
    """Time whole calls of both networks on the first rows of the data, one network after the other, again and again.

    Of sequences of any length only the first 1,000 steps are run.

    Parameters
    ----------
    model, narrow_model : Model
    data : Data
    rows, threads : int
    seconds : float
        To go on for, with at least five turns of each.

    Returns
    -------
    Speed
    """
    inputs, lengths = data.first(model, rows, _STEPS)
    calls = [_call(one, inputs, lengths, threads) for one in (model, narrow_model)]
    counts = [_calls_of_a_turn(call) for call in calls]
    times: tuple[list[float], list[float]] = ([], [])
    end = time.perf_counter() + seconds
    while len(times[0]) < _TURNS or time.perf_counter() < end:
        for call, count, taken in zip(calls, counts, times, strict=True):
            start = time.perf_counter()
            for _ in range(count):
                call()
            taken.append((time.perf_counter() - start) / count)
    return Speed(rows, threads, statistics.median(times[0]), statistics.median(times[1]), len(times[0]))


def _call(model: Model, inputs: dict[str, Any], lengths: Any, threads: int) -> Callable[[], Any]:
    return lambda: model(inputs, lengths=lengths, threads=threads)


def _calls_of_a_turn(call: Callable[[], Any]) -> int:
    """How many calls fill a turn; the first call, which allocates, does not count."""
    call()
    start = time.perf_counter()
    call()
    return max(1, math.ceil(_TURN / max(time.perf_counter() - start, 1e-9)))
