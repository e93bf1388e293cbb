"""Loads the core with an OpenMP runtime that sleeps between runs.

libgomp's threads poll for milliseconds after a parallel region, burning a CPU that a server's other work could use. Its
own switch for that is an environment variable that it reads once, when it is loaded; a value that the user has set
stays.
"""

from __future__ import annotations

import os

_SPIN = "GOMP_SPINCOUNT"
_chosen = _SPIN in os.environ or "OMP_WAIT_POLICY" in os.environ
if not _chosen:
    os.environ[_SPIN] = "1000"
try:
    from . import _core as core
finally:
    if not _chosen:
        del os.environ[_SPIN]

__all__ = ["core"]
