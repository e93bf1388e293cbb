"""Whether the cores that a turn ran on were its own.

On a machine that others use too, another thread may compute on the same core: the core's second hardware thread, or
another virtual machine's. Each runtime then loses time by a factor of its own, so such turns compare neighbours.
"""

from __future__ import annotations

import os
from collections.abc import Collection

from .._core import core_rate

#: share of the best rate of all from which on a core counts as one's own; one shared all the time reaches half to two
#: thirds
ALONE = 0.97


class CoreWatch:
    """Measures, now and then, how fast some CPUs add.

    Parameters
    ----------
    cpus : collection of int
        Their numbers.
    """

    def __init__(self, cpus: Collection[int]) -> None:
        self.cpus = cpus
        self.best = 0.0

    def rate(self) -> float:
        """The least rate among the CPUs, in dependent additions a nanosecond; takes 300 µs for each of them."""
        before = os.sched_getaffinity(0)
        try:
            rates = [self._rate_of(cpu) for cpu in self.cpus]
        finally:
            os.sched_setaffinity(0, before)
        self.best = max(self.best, *rates)
        return min(rates)

    def was_alone(self, rate: float) -> bool:
        """Whether a rate is as good as the best one until now."""
        return rate >= ALONE * self.best

    @staticmethod
    def _rate_of(cpu: int) -> float:
        os.sched_setaffinity(0, {cpu})
        return core_rate()
