"""Counts of allocations, locks and waits, where the library of tests/native/counting.c is preloaded."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

from .._openmp import core

#: in the order of the library's enum
KINDS = ("allocations", "frees", "mappings", "locks", "waits")


class Counters:
    """What any thread of the process does while `counting`; a part of it by the code of fastgru's core itself.

    `find` gives them where the process has the library, else None.
    """

    def __init__(self, library: ctypes.CDLL) -> None:
        #: counts while its value is not 0
        self.flag = ctypes.c_int.in_dll(library, "fastgru_counting")
        self._counts = (ctypes.c_long * (2 * len(KINDS))).in_dll(library, "fastgru_counts")
        watched = (ctypes.c_size_t * 2).in_dll(library, "fastgru_watched")
        watched[0], watched[1] = _addresses(core.__file__)

    @classmethod
    def find(cls) -> Counters | None:
        library = ctypes.CDLL(None)
        return cls(library) if hasattr(library, "fastgru_counts") else None

    @contextmanager
    def counting(self) -> Iterator[None]:
        self.flag.value = 1
        try:
            yield
        finally:
            self.flag.value = 0

    def clear(self) -> None:
        ctypes.memset(self._counts, 0, ctypes.sizeof(self._counts))

    def read(self) -> dict[str, dict[str, int]]:
        """Counts since `clear` by kind: ``all`` of them, and those that the ``core`` asked for by itself."""
        counts = list(self._counts)
        return {
            "all": dict(zip(KINDS, counts[: len(KINDS)], strict=True)),
            "core": dict(zip(KINDS, counts[len(KINDS) :], strict=True)),
        }


def _addresses(path: str) -> tuple[int, int]:
    """First address of a file that the process has mapped, and the one behind its last."""
    with open("/proc/self/maps") as maps:
        ranges = [line.split()[0].split("-") for line in maps if line.rstrip().endswith(path)]
    return int(ranges[0][0], 16), int(ranges[-1][1], 16)
