# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False, embedsignature=True
"""The only door to the C core: checks arguments, releases the GIL where it pays, turns a status into an exception."""

from libc.stdint cimport int32_t, int64_t, uint8_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset
from cpython.mem cimport PyMem_Calloc, PyMem_Free

cimport numpy as cnp

import numpy as np

from . import graph as _graph
from .errors import BadInput, BadModelFile, Closed, FastGRUError, StateMismatch, StreamBusy

cnp.import_array()

cdef extern from "fastgru.h" nogil:
    ctypedef enum fg_status:
        FG_OK, FG_NO_MEMORY, FG_BAD_LAYER, FG_BAD_CALL, FG_NO_ISA, FG_NO_BLAS
    ctypedef enum fg_function:
        FG_LINEAR, FG_SOFTMAX, FG_FUNCTIONS
    ctypedef enum fg_kind:
        FG_INPUT, FG_TOKENS, FG_MASK, FG_EMBEDDING, FG_MASKING, FG_GRU, FG_DENSE, FG_ACTIVATE, FG_RESHAPE
    ctypedef enum fg_matmul:
        FG_MATMUL_AUTO, FG_MATMUL_BLAS
    ctypedef int32_t fg_value
    ctypedef unsigned char c_bool "bool"
    const fg_value FG_NONE
    ctypedef struct fg_activation:
        fg_function function
        float p[3]
    ctypedef struct _input:
        bint sequence
        int64_t features
    ctypedef struct _embedding:
        const float *table
        int64_t vocabulary
        int64_t features
        bint mask_zero
    ctypedef struct _masking:
        float mask_value
    ctypedef struct _gru:
        int64_t units
        const float *kernel
        const float *recurrent_kernel
        const float *bias
        const float *recurrent_bias
        const float *initial_state
        fg_activation activation
        fg_activation recurrent_activation
        bint reset_after
        bint return_sequences
        bint go_backwards
        bint zero_output_for_mask
    ctypedef struct _dense:
        const float *kernel
        const float *bias
        int64_t inputs
        int64_t units
        fg_activation activation
    ctypedef struct _activate:
        fg_activation activation
        int64_t row
    ctypedef struct _reshape:
        bint sequence
        int64_t steps
        int64_t features
    ctypedef struct fg_layer:
        fg_kind kind
        fg_value x
        fg_value mask
        fg_value h0
        fg_value y
        fg_value y_mask
        fg_value y_state
        _input input
        _embedding embedding
        _masking masking
        _gru gru
        _dense dense
        _activate activate
        _reshape reshape
    ctypedef struct fg_view:
        void *data
        int64_t batch_stride
        int64_t time_stride
    ctypedef struct fg_call:
        int64_t batch
        int64_t steps
        int threads
        const fg_view *inputs
        const fg_view *outputs
    ctypedef struct fg_plan:
        pass
    ctypedef struct fg_state:
        pass
    const char *fg_status_text(fg_status status)
    fg_status fg_plan_new(int32_t n_values, const char *isa, fg_matmul matmul, fg_plan **plan)
    fg_status fg_plan_add(fg_plan *plan, const fg_layer *layer)
    fg_status fg_plan_finish(fg_plan *plan, const fg_value *outputs, int32_t n_outputs)
    void fg_plan_free(fg_plan *plan)
    const char *fg_plan_isa(const fg_plan *plan)
    bint fg_plan_causal(const fg_plan *plan)
    int64_t fg_plan_bytes(const fg_plan *plan)
    double fg_plan_cost(const fg_plan *plan)
    int64_t fg_plan_steps(const fg_plan *plan, fg_value v, int64_t steps)
    fg_status fg_state_new(const fg_plan *plan, int64_t batch, fg_state **state)
    void fg_state_free(fg_state *state)
    void fg_state_reset(fg_state *state, int64_t first, int64_t count)
    int64_t fg_state_bytes(const fg_state *state)
    fg_status fg_state_get(const fg_plan *plan, const fg_state *state, fg_value gru, int64_t row, float *h, c_bool *started)
    fg_status fg_state_set(const fg_plan *plan, fg_state *state, fg_value gru, int64_t row, const float *h, bint started)
    fg_status fg_run(const fg_plan *plan, fg_state *state, const fg_call *call)
    const char *fg_isa_name(int i)
    bint fg_isa_available(const char *name)
    int fg_cpu_count()
    fg_status fg_blas_open(const char *path, const char *prefix)
    const char *fg_blas_config()


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
    return names


def isa_available(name):
    """Whether this CPU can run the kernel set `name`."""
    return bool(fg_isa_available(name.encode()))


def cpu_count():
    """CPUs that affinity and the cgroup quota allow."""
    return fg_cpu_count()


def blas_open(path, prefix):
    """Open the CBLAS library at `path`; raises FastGRUError where it cannot be used."""
    check(fg_blas_open(path.encode(), prefix.encode()))


def blas_config():
    """The open BLAS library's description of itself, or None."""
    return fg_blas_config().decode() if fg_blas_config() != NULL else None


# ---- Graph -> Plan ---------------------------------------------------------------------------------------------------

#: a function's number is its place in the Graph's tables, as fastgru.h says
cdef dict FUNCTIONS = {name: i for i, name in enumerate([*_graph.ELEMENTWISE, *_graph.ROWWISE])}
assert len(FUNCTIONS) == FG_FUNCTIONS and FUNCTIONS["softmax"] == FG_SOFTMAX

#: kernels are predicted to do this many multiply-adds in 50 µs, above which a run releases the GIL
cdef double GIL_COST = 1.0e6


cdef fg_activation activation_of(object activation) except *:
    cdef fg_activation f
    memset(&f, 0, sizeof(f))
    f.function = <fg_function><int>FUNCTIONS[activation.name]
    for i, value in enumerate(activation.params):
        f.p[i] = value
    return f


cdef const float *floats(object array, list keep) except? NULL:
    """The array's numbers as C-contiguous float32, kept alive in `keep`; NULL for None."""
    if array is None:
        return NULL
    cdef cnp.ndarray dense = np.ascontiguousarray(array, dtype=np.float32)
    keep.append(dense)
    return <const float *>cnp.PyArray_DATA(dense)


cdef class Plan:
    """A Graph compiled for this machine. Immutable; may be used by any number of Runners at once.

    Parameters
    ----------
    graph : Graph
    isa : str or None
        A name of `isa_names`; None takes the best that the CPU has.
    blas : bool
        Send large products to the open BLAS library.
    """

    cdef fg_plan *plan
    cdef readonly object graph
    cdef readonly tuple inputs, outputs
    cdef readonly bint causal
    cdef readonly double cost
    cdef dict ids
    cdef list kept
    cdef list limits
    cdef int n_views

    def __cinit__(self, graph, isa=None, blas=False):
        cdef bytes name = isa.encode() if isa is not None else b""
        self.graph = graph
        self.kept = []
        self.ids = {}
        for value in graph.specs:
            self.ids[value] = len(self.ids)
        check(fg_plan_new(len(self.ids), <const char *>name if isa is not None else NULL,
                          FG_MATMUL_BLAS if blas else FG_MATMUL_AUTO, &self.plan))
        self.inputs = graph.inputs
        self.outputs = tuple(graph.specs[value] for value in graph.outputs)
        self._add_inputs()
        for layer in graph.layers:
            self._add_layer(layer)
        self._finish()
        self.causal = fg_plan_causal(self.plan)
        self.cost = fg_plan_cost(self.plan)

    def __dealloc__(self):
        fg_plan_free(self.plan)

    def _add_inputs(self):
        cdef fg_layer c
        self.limits = [None] * len(self.inputs)
        for spec in self.inputs:
            memset(&c, 0, sizeof(c))
            c.kind = FG_TOKENS if spec.dtype == "int32" else FG_INPUT
            c.y = self.ids[spec.name]
            c.input.sequence = spec.is_sequence
            c.input.features = spec.features
            if spec.dtype == "int32" and spec.inner:
                raise BadModelFile(f"input {spec.name!r}: token ids of shape {spec.shape} are not supported")
            check(fg_plan_add(self.plan, &c))
            self.n_views += 1
            if spec.is_sequence:
                c.kind = FG_MASK
                c.y = self.ids[f"{spec.name}:mask"]
                check(fg_plan_add(self.plan, &c))
                self.n_views += 1

    def _add_layer(self, layer):
        cdef fg_layer c
        cdef list keep = []
        kind = layer.kind
        if kind == "Identity" or (kind == "Reshape" and self._is_relabelling(layer)):
            # the same numbers in the same places: one value under two names
            self.ids[layer.name] = self.ids[layer.inputs[0]]
            return
        memset(&c, 0, sizeof(c))
        mask = getattr(layer, "mask", None)
        c.x = self.ids[layer.inputs[0]]
        c.mask = self.ids[mask] if mask is not None else FG_NONE
        c.h0 = c.y_mask = c.y_state = FG_NONE
        c.y = self.ids[layer.name]
        spec = self.graph.specs[layer.name]
        if kind == "Embedding":
            c.kind = FG_EMBEDDING
            c.y_mask = self.ids.get(f"{layer.name}:mask", FG_NONE)
            c.embedding.table = floats(layer.table, self.kept)
            c.embedding.vocabulary, c.embedding.features = layer.table.shape
            c.embedding.mask_zero = layer.mask_zero
            self._limit(layer)
        elif kind == "Masking":
            c.kind = FG_MASKING
            c.y_mask = self.ids[f"{layer.name}:mask"]
            c.masking.mask_value = layer.mask_value
        elif kind == "GRU":
            c.kind = FG_GRU
            c.y_state = self.ids[f"{layer.name}:state"]
            if len(layer.inputs) > 1:
                c.h0 = self.ids[layer.inputs[1]]
            c.gru.units = layer.units
            c.gru.kernel = floats(layer.kernel, keep)
            c.gru.recurrent_kernel = floats(layer.recurrent_kernel, keep)
            c.gru.bias = floats(layer.bias, keep)
            c.gru.recurrent_bias = floats(layer.recurrent_bias, keep)
            c.gru.initial_state = floats(layer.initial_state, keep)
            c.gru.activation = activation_of(layer.activation)
            c.gru.recurrent_activation = activation_of(layer.recurrent_activation)
            c.gru.reset_after = layer.reset_after
            c.gru.return_sequences = layer.return_sequences
            c.gru.go_backwards = layer.go_backwards
            c.gru.zero_output_for_mask = layer.zero_output_for_mask
        elif kind == "Dense":
            c.kind = FG_DENSE
            c.dense.kernel = floats(layer.kernel, keep)
            c.dense.bias = floats(layer.bias, keep)
            c.dense.inputs, c.dense.units = layer.kernel.shape
            c.dense.activation = activation_of(layer.activation)
        elif kind == "Activate":
            c.kind = FG_ACTIVATE
            c.activate.activation = activation_of(layer.activation)
            c.activate.row = self.graph.specs[layer.inputs[0]].inner[-1]
        elif kind == "Reshape":
            c.kind = FG_RESHAPE
            c.reshape.sequence = spec.is_sequence
            c.reshape.steps = (spec.shape[1] or 0) if spec.is_sequence else 0
            c.reshape.features = spec.features
        else:
            raise BadModelFile(f"the core has no layer of kind {kind!r}")
        status = fg_plan_add(self.plan, &c)
        if status == FG_BAD_LAYER:
            raise BadModelFile(f"{kind} layer {layer.name!r}: {fg_status_text(status).decode()}")
        check(status)

    def _is_relabelling(self, layer):
        x, y = self.graph.specs[layer.inputs[0]], self.graph.specs[layer.name]
        return layer.per_step or (not x.is_sequence and not y.is_sequence)

    def _limit(self, layer):
        """Remember how large an input's token ids may be."""
        for i, spec in enumerate(self.inputs):
            if self.ids[spec.name] == self.ids[layer.inputs[0]]:
                limit = layer.table.shape[0]
                self.limits[i] = limit if self.limits[i] is None else min(limit, self.limits[i])

    def _finish(self):
        cdef int n = len(self.outputs)
        cdef fg_value *values = <fg_value *>PyMem_Calloc(n, sizeof(fg_value))
        if values == NULL:
            raise MemoryError()
        try:
            for i, spec in enumerate(self.outputs):
                values[i] = self.ids[spec.name]
            check(fg_plan_finish(self.plan, values, n))
        finally:
            PyMem_Free(values)

    @property
    def isa(self):
        """The kernel set in use."""
        return fg_plan_isa(self.plan).decode()

    @property
    def nbytes(self):
        """Bytes of packed weights."""
        return fg_plan_bytes(self.plan)


# ---- checking arrays -------------------------------------------------------------------------------------------------

def _shown(shape):
    return "(" + ", ".join("any" if size is None else str(size) for size in shape) + ("," if len(shape) == 1 else "") + ")"


def _expected(spec, shape):
    words = ", ".join(word for word in spec.axes if len(spec.axes) == len(shape) or word != "time")
    return f"input {spec.name!r} takes {spec.dtype} of shape ({words}) = {_shown(shape)}"


cdef cnp.ndarray as_array(object x, object expected):
    """x as an array of numbers."""
    if isinstance(x, (list, tuple)) and any(isinstance(item, np.ndarray) for item in x):
        raise BadInput(f"{expected}; got a {type(x).__name__} of {len(x)} arrays: stack them (numpy.stack), or pad them to one "
                       "length and give lengths=")
    if isinstance(x, (str, bytes)) or x is None:
        raise BadInput(f"{expected}; got {type(x).__name__}")
    try:
        array = np.asarray(x)
    except ValueError:
        raise BadInput(f"{expected}; got a ragged {type(x).__name__}: pad the rows to one length and give lengths=") from None
    if array.dtype.kind not in "fiub" and array.dtype.name != "bfloat16":
        raise BadInput(f"{expected}; got dtype {array.dtype}")
    return array


def _check_shape(array, shape, spec, expected):
    got = array.shape
    if len(got) != len(shape):
        hint = ""
        if len(got) == len(shape) - 1:
            hint = "; for a batch of one use x[None]"
        elif len(got) == len(shape) + 1 and got[-1] == 1:
            hint = "; drop the last axis with x[..., 0]"
        raise BadInput(f"{expected}; got shape {got}{hint}")
    for size, want, word in zip(got, shape, [w for w in spec.axes if len(spec.axes) == len(shape) or w != "time"]):
        if want is not None and size != want:
            raise BadInput(f"{expected}; got shape {got}: {word} should be {want}, not {size}")


cdef cnp.ndarray as_floats(cnp.ndarray array, object spec):
    """float32 with every axis after batch and time contiguous; a copy only where that is not so."""
    if cnp.PyArray_TYPE(array) == cnp.NPY_FLOAT32 and cnp.PyArray_ISBEHAVED_RO(array):
        inner = len(spec.inner)
        step, fits = 4, True
        for axis in range(array.ndim - 1, array.ndim - 1 - inner, -1):
            fits = fits and (array.shape[axis] == 1 or array.strides[axis] == step)
            step *= array.shape[axis]
        if fits and all(stride % 4 == 0 for stride in (<object>array).strides):
            return array
    return np.ascontiguousarray(array, dtype=np.float32)


cdef cnp.ndarray as_ids(cnp.ndarray array, object limit, object spec, tuple shape):
    """C-contiguous int32 token ids, all in the table."""
    if array.dtype.kind == "b":
        raise BadInput(f"{_expected(spec, shape)}; got dtype bool")
    if array.size == 0:
        return np.zeros((<object>array).shape, np.int32)
    if array.dtype.kind == "f":
        if not np.isfinite(array).all() or (np.rint(array) != array).any():
            raise BadInput(f"{_expected(spec, shape)}; got {array.dtype} values that are not whole numbers")
    low, high = array.min(), array.max()
    limit = 2**31 if limit is None else limit
    if low < 0 or high >= limit:
        bad = low if low < 0 else high
        where = tuple(int(i) for i in np.argwhere(np.asarray(array) == bad)[0])
        raise BadInput(f"input {spec.name!r}: token id {int(bad)} at {where} is outside the vocabulary 0 … {limit - 1}")
    return np.ascontiguousarray(array, dtype=np.int32)


cdef cnp.ndarray make_mask(object lengths, object mask, int64_t batch, int64_t steps):
    """(batch, time) bool from a row's number of steps, an explicit mask, or both."""
    result = np.ones((batch, steps), np.bool_)
    if lengths is not None:
        n = np.asarray(lengths)
        if n.shape != (batch,) or n.dtype.kind not in "iu":
            raise BadInput(f"lengths should be {batch} whole numbers, one a row; got {n.dtype} of shape {n.shape}")
        if batch and (n.min() < 0 or n.max() > steps):
            row = int(np.argmax((n < 0) | (n > steps)))
            raise BadInput(f"lengths[{row}] is {int(n[row])}, but the input has {steps} steps")
        result = np.arange(steps) < n[:, None]
    if mask is not None:
        m = np.asarray(mask)
        if m.shape != (batch, steps) or not (m.dtype.kind == "b" or (m.dtype.kind in "iu" and ((m == 0) | (m == 1)).all())):
            raise BadInput(f"mask should be bool of shape (batch, time) = ({batch}, {steps}); got {m.dtype} of shape {m.shape}")
        result = result & m.astype(np.bool_)
    return np.ascontiguousarray(result)


# ---- running ---------------------------------------------------------------------------------------------------------

cdef class Runner:
    """A Plan with a State: what a Stream is, and what a Model's plain call takes from its free list.

    Parameters
    ----------
    plan : Plan
    batch_size : int
        Rows to make room for; a call with more rows makes more room.
    """

    cdef readonly Plan plan
    cdef fg_state *state
    cdef fg_view *views
    cdef fg_view *results
    cdef bint busy
    cdef bint closed

    def __cinit__(self, Plan plan, batch_size=1, *args, **kwargs):
        self.plan = plan
        self.views = <fg_view *>calloc(plan.n_views, sizeof(fg_view))
        self.results = <fg_view *>calloc(len(plan.outputs), sizeof(fg_view))
        if self.views == NULL or self.results == NULL:
            raise MemoryError()
        check(fg_state_new(plan.plan, batch_size, &self.state))

    def __dealloc__(self):
        fg_state_free(self.state)
        free(self.views)
        free(self.results)

    cdef int enter(self) except -1:
        if self.closed:
            raise Closed("this stream is closed")
        if self.busy:
            raise StreamBusy("another thread is inside this stream; a stream serves one thread at a time, so give each its own")
        return 0

    def _close(self):
        self.enter()
        self.closed = True
        fg_state_free(self.state)
        self.state = NULL

    @property
    def nbytes(self):
        """Bytes of state and workspace."""
        self.enter()
        return fg_state_bytes(self.state)

    def _reset(self, int64_t first, int64_t count):
        self.enter()
        fg_state_reset(self.state, first, count)

    def _get_state(self, value, int64_t row):
        """(h, started) of one row of the GRU layer whose value is named."""
        self.enter()
        cdef c_bool started = 0
        cdef cnp.ndarray h = np.empty(self.plan.graph.specs[value].features, np.float32)
        check(fg_state_get(self.plan.plan, self.state, self.plan.ids[value], row, <float *>cnp.PyArray_DATA(h), &started))
        return h, bool(started)

    def _set_state(self, value, int64_t row, h, bint started):
        self.enter()
        cdef cnp.ndarray dense = np.ascontiguousarray(h, np.float32)
        check(fg_state_set(self.plan.plan, self.state, self.plan.ids[value], row, <const float *>cnp.PyArray_DATA(dense), started))

    def _run_fresh(self, tuple arrays, object lengths, object mask, int threads, object out):
        """As _run, every row from its initial state."""
        self.enter()
        fg_state_reset(self.state, 0, 2**62)
        return self._run(arrays, lengths, mask, threads, out, False)

    def _run(self, tuple arrays, object lengths, object mask, int threads, object out, bint one_step):
        """Run the inputs, given in the order of the plan's, from where the state stands; returns a tuple of outputs.

        With one_step sequence inputs and outputs have no time axis. `lengths` and `mask` hold for every sequence input.
        """
        self.enter()
        cdef Plan plan = self.plan
        cdef int64_t batch = -1, steps = 1
        cdef fg_call call
        cdef int view = 0, i
        cdef cnp.ndarray array
        cdef list alive = []
        for i in range(len(plan.inputs)):
            spec = plan.inputs[i]
            sequence = spec.is_sequence
            shape = spec.shape if not (sequence and one_step) else (spec.shape[0], *spec.shape[2:])
            array = self._input(arrays[i], spec, shape, plan.limits[i])
            alive.append(array)
            if batch >= 0 and array.shape[0] != batch:
                raise BadInput(f"input {spec.name!r} has {array.shape[0]} rows, the inputs before it {batch}")
            batch = array.shape[0]
            self.views[view].data = cnp.PyArray_DATA(array)
            self.views[view].batch_stride = cnp.PyArray_STRIDE(array, 0) // 4
            self.views[view].time_stride = 0
            view += 1
            if sequence:
                if not one_step:
                    if i and steps != array.shape[1] and any(s.is_sequence for s in plan.inputs[:i]):
                        raise BadInput(f"input {spec.name!r} has {array.shape[1]} steps, the sequence before it {steps}")
                    steps = array.shape[1]
                    self.views[view - 1].time_stride = cnp.PyArray_STRIDE(array, 1) // 4
                if lengths is not None or mask is not None:
                    array = make_mask(lengths, mask, batch, steps)
                    alive.append(array)
                    self.views[view].data = cnp.PyArray_DATA(array)
                    self.views[view].batch_stride, self.views[view].time_stride = steps, 1
                else:
                    self.views[view].data = NULL
                view += 1
        results = self._outputs(out, batch, steps, one_step, alive)
        call.batch, call.steps, call.threads = batch, steps, threads
        call.inputs, call.outputs = self.views, self.results
        cdef fg_status status
        if plan.cost * batch * steps > GIL_COST:
            self.busy = True
            try:
                with nogil:
                    status = fg_run(plan.plan, self.state, &call)
            finally:
                self.busy = False
        else:
            status = fg_run(plan.plan, self.state, &call)
        check(status)
        return results

    cdef cnp.ndarray _input(self, object x, object spec, tuple shape, object limit):
        cdef cnp.ndarray array
        if isinstance(x, np.ndarray) and x.dtype.kind in "fiu":
            array = x
            if (<object>array).ndim == len(shape) and all(w is None or w == s for w, s in zip(shape, (<object>array).shape)):
                if spec.dtype == "int32":
                    return as_ids(array, limit, spec, shape)
                return as_floats(array, spec)
        expected = _expected(spec, shape)
        array = as_array(x, expected)
        _check_shape(array, shape, spec, expected)
        if spec.dtype == "int32":
            return as_ids(array, limit, spec, shape)
        return as_floats(array, spec)

    cdef tuple _outputs(self, object out, int64_t batch, int64_t steps, bint one_step, list alive):
        cdef Plan plan = self.plan
        cdef int n = len(plan.outputs), i
        cdef cnp.ndarray array
        given = (None,) * n if out is None else (out,) if n == 1 and isinstance(out, np.ndarray) else tuple(out)
        if len(given) != n:
            raise BadInput(f"out= should hold {n} arrays, holds {len(given)}")
        results = []
        for i in range(n):
            spec = plan.outputs[i]
            lead = (batch,)
            if spec.is_sequence and not one_step:
                lead = (batch, fg_plan_steps(plan.plan, plan.ids[spec.name], steps))
            shape = (*lead, *spec.inner)
            dtype = np.bool_ if spec.dtype == "bool" else np.float32
            array = np.empty(shape, dtype) if given[i] is None else _given_output(given[i], spec, shape, dtype, alive)
            size = array.itemsize
            self.results[i].data = cnp.PyArray_DATA(array)
            self.results[i].batch_stride = cnp.PyArray_STRIDE(array, 0) // size
            self.results[i].time_stride = cnp.PyArray_STRIDE(array, 1) // size if len(lead) == 2 else 0
            results.append(array)
            alive.append(array)
        return tuple(results)


def _given_output(array, spec, shape, dtype, others):
    if not isinstance(array, np.ndarray) or array.dtype != dtype or array.shape != shape or not array.flags.writeable:
        got = f"{array.dtype} of shape {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
        raise BadInput(f"out= for {spec.name!r} should be a writable {np.dtype(dtype).name} array of shape {shape}; got {got}")
    if not array.flags.c_contiguous:
        raise BadInput(f"out= for {spec.name!r} should be C-contiguous")
    if any(np.may_share_memory(array, other) for other in others):
        raise BadInput(f"out= for {spec.name!r} overlaps another array of this call")
    return array


# ---- doors for the kernel tests --------------------------------------------------------------------------------------

def kernel_activate(isa, name, params, x):
    """Apply one activation with one kernel set, for the tests: x float32 (rows, n) C-contiguous."""
    graph = _graph.Graph(
        (_graph.tensor_spec("x", False, (x.shape[1],)),),
        (_graph.Activate(name="y", inputs=("x",), activation=_graph.Activation(name, tuple(params))),),
        ("y",),
    )
    return Runner(Plan(graph, isa))._run((x,), None, None, 1, None, False)[0]
