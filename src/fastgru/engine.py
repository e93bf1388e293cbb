"""What a run is set up with: kernel set, threads, BLAS; and `cpu_info`, which tells."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

import numpy as np

from ._openmp import core
from .errors import BadInput, FastGRUError, MissingExtra

MATMULS = ("auto", "blas")


def wanted_isa() -> str | None:
    """The kernel set that FASTGRU_ISA names, checked against this machine; None where it is unset."""
    name = os.environ.get("FASTGRU_ISA", "")
    if not name:
        return None
    if name not in core.isa_names():
        raise BadInput(f"FASTGRU_ISA={name}: this build has {', '.join(core.isa_names())}")
    if not core.isa_available(name):
        raise BadInput(f"FASTGRU_ISA={name}: this CPU lacks it; it can run {', '.join(available_isas())}")
    return name


def available_isas() -> list[str]:
    """The kernel sets that this CPU can run, worst first."""
    return [name for name in core.isa_names() if core.isa_available(name)]


def whole_number(value: Any, name: str) -> int:
    """A positive whole number that fits 32 bits, Python's or NumPy's, as an int."""
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not whole or not 1 <= value < 2**31:
        raise BadInput(f"{name} should be a positive whole number below 2**31, got {value!r}")
    return int(value)


def thread_limit(threads: int | None = None) -> int:
    """`threads`, else FASTGRU_NUM_THREADS, else OMP_NUM_THREADS, else the CPUs that affinity and the cgroup quota
    allow."""
    if threads is not None:
        return whole_number(threads, "threads")
    for name in ("FASTGRU_NUM_THREADS", "OMP_NUM_THREADS"):
        value = os.environ.get(name, "")
        if value:
            first = value.split(",")[0].strip()  # OMP_NUM_THREADS may list nested levels
            return whole_number(int(first) if first.isdecimal() else value, name)
    return core.cpu_count()


def open_blas() -> None:
    """Open the library for ``matmul="blas"``: the one that FASTGRU_BLAS names, else OpenBLAS from
    scipy-openblas32."""
    if core.blas_config() is not None:
        return
    path = os.environ.get("FASTGRU_BLAS", "")
    if path:
        for prefix in ("", "scipy_"):
            try:
                return core.blas_open(path, prefix)
            except FastGRUError:
                continue
        raise BadInput(f"FASTGRU_BLAS={path}: not a library with cblas_sgemm")
    spec = importlib.util.find_spec("scipy_openblas32")
    if spec is None or spec.origin is None:
        raise MissingExtra.of("scipy-openblas32", "blas", 'matmul="blas"')
    libraries = sorted(Path(spec.origin).parent.glob("lib/libscipy_openblas*.so"))
    if not libraries:
        raise BadInput('matmul="blas": the package scipy-openblas32 holds no library; name one with FASTGRU_BLAS')
    _open_openblas(str(libraries[0]))


def _open_openblas(path: str) -> None:
    # On several virtualised CPUs OpenBLAS takes an AVX-512 machine for a Haswell and runs at half speed. It reads its
    # environment when it is opened (importing its package does that too), so the right kind is named for that moment.
    name = "OPENBLAS_CORETYPE"
    misjudged = name not in os.environ and "avx512" in available_isas()
    if misjudged:
        os.environ[name] = "SkylakeX"
    try:
        core.blas_open(path, "scipy_")
    finally:
        if misjudged:
            del os.environ[name]


def cpu_info() -> dict[str, Any]:
    """What fastgru runs on: kernel sets, threads, BLAS.

    Returns
    -------
    dict
        ``isa`` (the kernel set in use), ``isas`` (those that this CPU can run), ``threads`` (the default upper bound
        of a Model), ``cpus`` (allowed by affinity and cgroup), ``blas`` (description of the open library, or None).

    Examples
    --------
    >>> "scalar" in cpu_info()["isas"]
    True
    """
    isas = available_isas()
    return {
        "isa": wanted_isa() or isas[-1],
        "isas": isas,
        "threads": thread_limit(),
        "cpus": core.cpu_count(),
        "blas": core.blas_config(),
    }
