# cython: cdivision=True, initializedcheck=False, embedsignature=True
"""The only door to the C core: checks arguments, releases the GIL where it pays, turns a status into an exception."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcpy, memmove, memset

from fastgru._native cimport *

cimport numpy as cnp
from cython cimport final, freelist, no_gc_clear
from cpython.exc cimport PyErr_CheckSignals, PyErr_SetObject, PyErr_WriteUnraisable
from cpython.object cimport PyObject
from cpython.pythread cimport PyThread_get_thread_ident
from cpython.ref cimport Py_DECREF, Py_INCREF, Py_XDECREF

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from . import graph as _graph
from .errors import BadInput, BadModelFile, Closed, FastGRUError, QueueFull, StreamBusy, UnsupportedModel
from .ports import Port
from .rates import rate_changes

cnp.import_array()

# ---- status and machine ----------------------------------------------------------------------------------------------

cdef int check(fg_status status) except -1:
    if status == FG_OK:
        return 0
    text = fg_status_text(status).decode()
    if status == FG_NO_MEMORY:
        raise MemoryError(text)
    raise BadInput(text) if status == FG_BAD_CALL else FastGRUError(text)


def isa_names():
    """Names of the kernel sets in this build, worst first."""
    names, i = [], 0
    while fg_isa_name(i) != NULL:
        names.append(fg_isa_name(i).decode())
        i += 1
    return list(dict.fromkeys(names))  # one may stand for two ways to encode the same


def isa_available(name):
    """Whether this CPU can run the kernel set `name`."""
    return bool(fg_isa_available(name.encode()))


#: a limit's number is its place in fg_limit
cdef dict LIMITS = {name: i for i, name in enumerate((
    "fma", "fma_chain", "sweep", "inputs", "gru_inputs", "states", "states_chain", "gates", "gates_chain",
))}
assert len(LIMITS) == FG_LIMITS


def limit_ns(isa, limit, int64_t nbytes=0, dtype="float32"):
    """What one thread can do at most, as fg_limit says; `nbytes` of a sweep. Takes some ten milliseconds."""
    cdef double ns = 0
    cdef bytes name = isa.encode()
    cdef const char *c_name = name
    cdef fg_limit which = <fg_limit><int>LIMITS[limit]
    cdef fg_dtype weights = <fg_dtype><int>DTYPES[dtype]
    cdef fg_status status
    with nogil:
        status = fg_limit_ns(c_name, which, weights, nbytes, &ns)
    check(status)
    return ns


def core_rate():
    """Dependent additions in a nanosecond of this thread: about the clock in GHz, half of it on a core that another
    thread computes on as well. Takes 300 µs."""
    cdef double rate
    with nogil:
        rate = fg_core_rate()
    return rate


def release_pages():
    """Give pages that nobody holds any more back to the system, where the C library would keep them for later."""
    with nogil:
        fg_release_pages()


def cpu_count():
    """CPUs that affinity and the cgroup quota allow."""
    return fg_cpu_count()


def blas_open(path, prefix):
    """Open the CBLAS library at `path`; raises FastGRUError where it cannot be used."""
    check(fg_blas_open(path.encode(), prefix.encode()))


def blas_config():
    """The open BLAS library's description of itself, or None."""
    return fg_blas_config().decode() if fg_blas_config() != NULL else None

#: what `Runner._get_state` and `_set_state` know of a GRU's row; fastgru.h says what they mean
HAS_OUTPUT, HAS_RUN = FG_HAS_OUTPUT, FG_HAS_RUN

# ---- the rest, one room each ------------------------------------------------------------------------------------------

include "_plan.pxi"
include "_describe.pxi"
include "_arrays.pxi"
include "_rows.pxi"
include "_fast.pxi"
include "_carried.pxi"
include "_runner.pxi"
include "_ticket.pxi"
include "_scheduler.pxi"
include "_sample.pxi"
include "_generate.pxi"
include "_beams.pxi"

# ---- doors for the kernel tests --------------------------------------------------------------------------------------

def kernel_activate(isa, name, params, x):
    """Apply one activation with one kernel set, for the tests: x float32 (rows, n) C-contiguous."""
    graph = _graph.Graph(
        (_graph.tensor_spec("x", False, (x.shape[1],)),),
        (_graph.Activate(name="y", inputs=("x",), activation=_graph.Activation(name, tuple(params))),),
        ("y",),
    )
    return Runner(Plan(graph, isa))._run((x,), None, None, 1, None, False)[0]
