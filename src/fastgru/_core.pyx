# cython: cdivision=True, initializedcheck=False, embedsignature=True
"""The only door to the C core: checks arguments, releases the GIL where it pays, turns a status into an exception."""

from libc.stdint cimport int32_t, int64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memset

from fastgru._native cimport *

cimport numpy as cnp
from cpython.object cimport PyObject

from collections.abc import Mapping

import numpy as np

from . import graph as _graph
from .errors import BadInput, BadModelFile, Closed, FastGRUError, StreamBusy

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
    return names


def isa_available(name):
    """Whether this CPU can run the kernel set `name`."""
    return bool(fg_isa_available(name.encode()))


#: a limit's number is its place in fg_limit
cdef dict LIMITS = {name: i for i, name in enumerate(("fma", "fma_chain", "gates", "gates_chain", "sweep"))}
assert len(LIMITS) == FG_LIMITS


def limit_ns(isa, limit, int64_t nbytes=0):
    """What one thread can do at most, as fg_limit says; `nbytes` of a sweep. Takes some ten milliseconds."""
    cdef double ns = 0
    cdef bytes name = isa.encode()
    cdef const char *c_name = name
    cdef fg_limit which = <fg_limit><int>LIMITS[limit]
    cdef fg_status status
    with nogil:
        status = fg_limit_ns(c_name, which, nbytes, &ns)
    check(status)
    return ns


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


cdef enum:
    MAX_AXES = 8


cdef struct InputInfo:
    # an input or output in the form that the fast path compares arrays with
    bint ids
    bint sequence
    int64_t batch, steps       # sizes that the network fixes, or -1
    int inner                  # number of axes after batch and time
    int64_t elements           # of the inner axes
    int64_t limit              # ids lie below it
    int64_t sizes[MAX_AXES]    # of the inner axes


cdef InputInfo info_of(object spec) except *:
    cdef InputInfo info
    cdef int axis
    if len(spec.inner) > MAX_AXES:
        raise BadModelFile(f"{spec.name!r}: more than {MAX_AXES} axes are not supported")
    info.ids = spec.dtype == "int32"
    info.sequence = spec.is_sequence
    info.batch = -1 if spec.shape[0] is None else spec.shape[0]
    info.steps = -1 if not spec.is_sequence or spec.shape[1] is None else spec.shape[1]
    info.inner = len(spec.inner)
    info.elements = 1
    info.limit = 2**31
    for axis in range(info.inner):
        info.sizes[axis] = spec.inner[axis]
        info.elements *= info.sizes[axis]
    return info


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
    cdef set read               # names of values that a layer or the caller reads
    cdef list kept
    cdef list layers            # names of those that the core has, in its order
    cdef int n_views
    cdef InputInfo *info        # of each input
    cdef InputInfo output_info  # of the first output
    cdef fg_value output        # the first
    cdef bint is_simple         # one sequence in, one float value out

    def __cinit__(self, graph, isa=None, blas=False):
        cdef bytes name = isa.encode() if isa is not None else b""
        self.graph = graph
        self.kept = []
        self.layers = []
        self.ids = {}
        for value in graph.specs:
            self.ids[value] = len(self.ids)
        self.read = set(graph.outputs)
        for layer in graph.layers:
            self.read.update(layer.inputs)
            self.read.add(getattr(layer, "mask", None))
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
        free(self.info)

    def _add_inputs(self):
        cdef fg_layer c
        cdef int i
        self.info = <InputInfo *>calloc(len(self.inputs), sizeof(InputInfo))
        if self.info == NULL:
            raise MemoryError()
        for i, spec in enumerate(self.inputs):
            self.info[i] = info_of(spec)
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
        cdef cnp.ndarray values
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
            c.y_mask = self._id_if_read(f"{layer.name}:mask")
            c.embedding.table = floats(layer.table, self.kept)
            c.embedding.vocabulary, c.embedding.features = layer.table.shape
            c.embedding.mask_zero = layer.mask_zero
            self._limit(layer)
        elif kind == "Masking":
            c.kind = FG_MASKING
            c.y_mask = self._id_if_read(f"{layer.name}:mask")
            c.masking.mask_value = layer.mask_value
        elif kind == "GRU":
            c.kind = FG_GRU
            c.y_state = self._id_if_read(f"{layer.name}:state")
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
            c.gru.time_order = layer.time_order
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
        elif kind == "Concatenate":
            c.kind = FG_CONCATENATE
            values = np.array([self.ids[value] for value in layer.inputs], np.int32)
            c.inputs, c.n_inputs = <const fg_value *>cnp.PyArray_DATA(values), len(layer.inputs)
            c.concatenate.inner = spec.features // spec.inner[-1]
        else:
            raise BadModelFile(f"the core has no layer of kind {kind!r}")
        status = fg_plan_add(self.plan, &c)
        if status == FG_BAD_LAYER:
            raise BadModelFile(f"{kind} layer {layer.name!r}: {fg_status_text(status).decode()}")
        check(status)
        self.layers.append(layer.name)

    def _id_if_read(self, value):
        """The number of a value that need not be computed where nobody reads it."""
        return self.ids[value] if value in self.read else FG_NONE

    def _is_relabelling(self, layer):
        x, y = self.graph.specs[layer.inputs[0]], self.graph.specs[layer.name]
        return layer.per_step or (not x.is_sequence and not y.is_sequence)

    def _limit(self, layer):
        """Remember how large an input's token ids may be."""
        cdef int i
        for i, spec in enumerate(self.inputs):
            if self.ids[spec.name] == self.ids[layer.inputs[0]]:
                self.info[i].limit = min(self.info[i].limit, <int64_t>layer.table.shape[0])

    def _finish(self):
        cdef int n = len(self.outputs)
        cdef fg_value *values = <fg_value *>calloc(n, sizeof(fg_value))
        if values == NULL:
            raise MemoryError()
        try:
            for i, spec in enumerate(self.outputs):
                values[i] = self.ids[spec.name]
            check(fg_plan_finish(self.plan, values, n))
        finally:
            free(values)
        self.output_info = info_of(self.outputs[0])
        self.output = self.ids[self.outputs[0].name]
        self.is_simple = len(self.inputs) == n == 1 and self.info[0].sequence and self.outputs[0].dtype == "float32"

    @property
    def isa(self):
        """The kernel set in use."""
        return fg_plan_isa(self.plan).decode()

    @property
    def nbytes(self):
        """Bytes of packed weights."""
        return fg_plan_bytes(self.plan)


# ---- checking arrays -------------------------------------------------------------------------------------------------

def named_inputs(given, specs):
    """Positional inputs, or one dict by name, as a dict that has exactly the names of `specs`."""
    names = [spec.name for spec in specs]
    if len(given) == 1 and isinstance(given[0], Mapping):
        if set(given[0]) != set(names):
            raise BadInput(f"expected inputs named {', '.join(map(repr, names))}; got {', '.join(map(repr, given[0])) or 'none'}")
        return dict(given[0])
    if len(given) != len(names):
        raise BadInput(f"expected {len(names)} inputs ({', '.join(map(repr, names))}), got {len(given)}")
    return dict(zip(names, given))


def _shown(shape):
    return "(" + ", ".join("any" if size is None else str(size) for size in shape) + ("," if len(shape) == 1 else "") + ")"


def _expected(spec, shape):
    words = ", ".join(word for word in spec.axes if len(spec.axes) == len(shape) or word != "time")
    return f"input {spec.name!r} takes {spec.dtype} of shape ({words}) = {_shown(shape)}"


cdef cnp.ndarray as_array(object x, object expected):
    """x as an array of numbers."""
    if type(x).__name__ == "MaskedArray":
        raise BadInput(f"{expected}; got a masked array: give its data, and its mask as mask= (True: masked there, False: masked here)")
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


cdef cnp.ndarray as_ids(cnp.ndarray array, int64_t limit, object spec, tuple shape):
    """C-contiguous int32 token ids, all in the table."""
    if array.dtype.kind == "b":
        raise BadInput(f"{_expected(spec, shape)}; got dtype bool")
    if array.size == 0:
        return np.zeros((<object>array).shape, np.int32)
    if array.dtype.kind not in "iu":
        if not np.isfinite(array).all() or (np.rint(array) != array).any():
            raise BadInput(f"{_expected(spec, shape)}; got {array.dtype} values that are not whole numbers")
    low, high = array.min(), array.max()
    if low < 0 or high >= limit:
        bad = low if low < 0 else high
        where = tuple(int(i) for i in np.argwhere(np.asarray(array) == bad)[0])
        raise BadInput(f"input {spec.name!r}: token id {int(bad)} at {where} is outside the vocabulary 0 … {limit - 1}")
    return np.ascontiguousarray(array, dtype=np.int32)


def plain_array(x, expected):
    """numpy.asarray, but a ragged list is BadInput."""
    try:
        return np.asarray(x)
    except ValueError:
        raise BadInput(f"{expected}; got a ragged {type(x).__name__}") from None


cdef cnp.ndarray make_mask(object lengths, object mask, int64_t batch, int64_t steps):
    """(batch, time) bool from a row's number of steps, an explicit mask, or both."""
    result = np.ones((batch, steps), np.bool_)
    if lengths is not None:
        n = plain_array(lengths, f"lengths should be {batch} whole numbers, one a row")
        if n.shape != (batch,) or (n.dtype.kind not in "iu" and batch):
            raise BadInput(f"lengths should be {batch} whole numbers, one a row; got {n.dtype} of shape {n.shape}")
        if batch and (n.min() < 0 or n.max() > steps):
            row = int(np.argmax((n < 0) | (n > steps)))
            raise BadInput(f"lengths[{row}] is {int(n[row])}, but the input has {steps} steps")
        result = np.arange(steps) < n[:, None]
    if mask is not None:
        m = plain_array(mask, f"mask should be bool of shape (batch, time) = ({batch}, {steps})")
        if m.shape != (batch, steps) or not (m.dtype.kind == "b" or (m.dtype.kind in "iu" and ((m == 0) | (m == 1)).all())):
            raise BadInput(f"mask should be bool of shape (batch, time) = ({batch}, {steps}); got {m.dtype} of shape {m.shape}")
        result = result & m.astype(np.bool_)
    return np.ascontiguousarray(result)


# ---- running ---------------------------------------------------------------------------------------------------------

cdef extern from *:
    """
    /* No one but the holder that asks has it, nor a weak reference to it. */
    static int is_unheld_array(PyObject *array)
    {
        return Py_REFCNT(array) == 1 && ((PyArrayObject_fields *)array)->weakreflist == NULL;
    }
    """
    bint is_unheld_array(PyObject *array) noexcept

#: in the order of fg_part
cdef tuple PARTS = ("products", "steps", "other")
assert len(PARTS) == FG_PARTS

cdef enum:
    REUSED_ELEMENTS = 1024     # results up to this size are used again once nobody holds them


cdef inline bint is_plain(cnp.ndarray array) noexcept:
    return cnp.PyArray_IS_C_CONTIGUOUS(array) and cnp.PyArray_ISBEHAVED_RO(array)


cdef inline bint has_sizes(cnp.ndarray array, int lead, const InputInfo *info) noexcept:
    cdef int axis
    for axis in range(info.inner):
        if cnp.PyArray_DIM(array, lead + axis) != info.sizes[axis]:
            return False
    return True


cdef inline bint is_like(cnp.ndarray array, int ndim, const cnp.npy_intp *sizes) noexcept:
    """Plain writable float32 of that shape."""
    cdef int axis
    if (cnp.PyArray_NDIM(array) != ndim or cnp.PyArray_TYPE(array) != cnp.NPY_FLOAT32
            or not cnp.PyArray_IS_C_CONTIGUOUS(array) or not cnp.PyArray_ISBEHAVED(array)):
        return False
    for axis in range(ndim):
        if cnp.PyArray_DIM(array, axis) != sizes[axis]:
            return False
    return True


cdef class Runner:
    """A Plan with a State: what a Stream is, and what a Model's plain call takes from its free list.

    Parameters
    ----------
    plan : Plan
    batch_size : int
        Rows to make room for; a call with more rows makes more room.
    threads : int
        Upper bound of the threads of `step` and `run`.
    static : dict
        Inputs without a time axis by name, for `step` and `run`.
    mask_drop : str or None
        Why `run` takes no lengths; None where it does.
    """

    cdef readonly Plan plan
    cdef readonly int64_t batch_size
    cdef readonly int threads
    cdef dict static
    cdef object mask_drop
    cdef fg_state *state
    cdef fg_view *views
    cdef fg_view *results
    cdef fg_profile *profile   # of each layer; NULL: nothing is measured
    cdef int32_t *ids          # token ids, converted
    cdef int64_t ids_room
    cdef object older          # the last two small results
    cdef object newer
    cdef bint busy
    cdef bint closed

    def __cinit__(self, Plan plan not None, int64_t batch_size=1, int threads=1, dict static=None, mask_drop=None):
        self.plan = plan
        self.batch_size = batch_size
        self.threads = threads
        self.static = {} if static is None else self._static(static)
        self.mask_drop = mask_drop
        self.views = <fg_view *>calloc(plan.n_views, sizeof(fg_view))
        self.results = <fg_view *>calloc(len(plan.outputs), sizeof(fg_view))
        if self.views == NULL or self.results == NULL:
            raise MemoryError()
        check(fg_state_new(plan.plan, batch_size, &self.state))

    def __dealloc__(self):
        fg_state_free(self.state)
        free(self.views)
        free(self.results)
        free(self.profile)
        free(self.ids)

    def _static(self, given):
        """Own copies of the inputs without a time axis."""
        static = {}
        for i, spec in enumerate(self.plan.inputs):
            if spec.name not in given:
                continue
            array = <object>checked_input(given[spec.name], spec, False, self.plan.info[i].limit)
            if array.shape[0] != self.batch_size:
                raise BadInput(f"input {spec.name!r} has shape {array.shape}, the stream batch_size={self.batch_size}")
            static[spec.name] = array.copy()
        return static

    # ---- one thread at a time: what is between _enter and _leave has the runner to itself ----

    cdef int enter(self) except -1:
        if self.closed:
            raise Closed("this stream is closed")
        if self.busy:
            raise StreamBusy("another thread is inside this stream; a stream serves one thread at a time, so give each its own")
        self.busy = True
        return 0

    def _enter(self):
        self.enter()

    def _leave(self):
        self.busy = False

    # ---- what a Stream does ----

    def step(self, x, out=None):
        """One step of every row.

        Parameters
        ----------
        x : array (batch, features) float, or (batch,) token ids
            Of several sequence inputs: a dict by name or a tuple.
        out : array or tuple of arrays, optional
            Where to put the result; C-contiguous float32.

        Returns
        -------
        array (batch, features) or tuple of arrays
            Of a sequence output its newest step; of another what ``model(all steps so far)`` gives.

        Raises
        ------
        BadInput
            Wrong shape, dtype or token id. The state is unchanged.
        Closed, StreamBusy

        Examples
        --------
        >>> import fastgru, numpy as np
        >>> model = fastgru.load(fastgru.demo_path())
        >>> with model.stream() as stream:
        ...     for token in (4, 8, 15):
        ...         y = stream.step(np.array([token]))
        >>> bool(np.array_equal(y, model(np.array([[4, 8, 15]]))))
        True
        """
        cdef fg_call call
        self.enter()
        try:
            if not isinstance(out, (tuple, list)) and self._take(x, True, &call) and call.batch == self.batch_size:
                call.threads = self.threads
                return self._go_simple(out, True, &call)
            return self._call(x, None, out, True)
        finally:
            self.busy = False

    def run(self, x, lengths=None, out=None):
        """A chunk of steps of every row; chunks one after the other give what the whole sequence gives, to the bit.

        Parameters
        ----------
        x : array (batch, time, features) float, or (batch, time) token ids
        lengths : array of int (batch,), optional
            Steps of each row; what lies past them is masked.
        out : array or tuple of arrays, optional
            Where to put the result; C-contiguous float32.

        Returns
        -------
        array or tuple of arrays
            Sequence outputs (batch, time, …), others as after the last step.

        Raises
        ------
        BadInput
            As `step`; also where a layer drops the mask that `lengths` makes.
        Closed, StreamBusy

        Examples
        --------
        >>> import fastgru, numpy as np
        >>> model = fastgru.load(fastgru.demo_path())
        >>> stream = model.stream()
        >>> _ = stream.run(np.array([[4, 8]]))
        >>> bool(np.array_equal(stream.run(np.array([[15]])), model(np.array([[4, 8, 15]]))))
        True
        """
        cdef fg_call call
        self.enter()
        try:
            if lengths is None and not isinstance(out, (tuple, list)) and self._take(x, False, &call) and call.batch == self.batch_size:
                call.threads = self.threads
                return self._go_simple(out, False, &call)
            if lengths is not None and self.mask_drop is not None:
                raise BadInput(self.mask_drop)
            return self._call(x, lengths, out, False)
        finally:
            self.busy = False

    cdef object _call(self, object x, object lengths, object out, bint one_step):
        cdef Plan plan = self.plan
        if len(plan.inputs) == 1 and not isinstance(x, Mapping):
            arrays = (x,)
        else:
            sequences = [spec for spec in plan.inputs if spec.is_sequence]
            given = {**named_inputs(x if isinstance(x, tuple) else (x,), sequences), **self.static}
            arrays = tuple(given[spec.name] for spec in plan.inputs)
        results = self._run(arrays, lengths, None, self.threads, out, one_step, self.batch_size)
        return results[0] if len(results) == 1 else results

    # ---- the fast path: one sequence in, one float value out, nothing to convert and nothing to complain about ----

    cdef bint _take(self, object x, bint one_step, fg_call *call):
        """Point the input's view at x and note batch and steps; False where x is for the slow path."""
        cdef InputInfo *info = &self.plan.info[0]
        cdef int lead = 1 if one_step else 2
        cdef int64_t count
        cdef cnp.ndarray array
        if not self.plan.is_simple or not cnp.PyArray_CheckExact(x):
            return False
        array = <cnp.ndarray>x
        if cnp.PyArray_NDIM(array) != lead + info.inner or not is_plain(array) or not has_sizes(array, lead, info):
            return False
        call.batch = cnp.PyArray_DIM(array, 0)
        call.steps = 1 if one_step else cnp.PyArray_DIM(array, 1)
        count = call.batch * call.steps
        if count == 0 or (info.batch >= 0 and info.batch != call.batch):
            return False
        if info.ids:
            if not self._take_ids(array, count, info.limit):
                return False
        elif cnp.PyArray_TYPE(array) == cnp.NPY_FLOAT32:
            self.views[0].data = cnp.PyArray_DATA(array)
        else:
            return False
        self.views[0].time_stride = info.elements
        self.views[0].batch_stride = call.steps * info.elements
        self.views[1].data = NULL  # no mask
        return True

    cdef bint _take_ids(self, cnp.ndarray array, int64_t count, int64_t limit):
        cdef int64_t i
        cdef int kind = cnp.PyArray_TYPE(array)
        cdef int64_t *wide = <int64_t *>cnp.PyArray_DATA(array)
        cdef int32_t *ids = <int32_t *>cnp.PyArray_DATA(array)
        if kind == cnp.NPY_INT64:
            if count > self.ids_room:
                ids = <int32_t *>realloc(self.ids, count * sizeof(int32_t))
                if ids == NULL:
                    return False
                self.ids, self.ids_room = ids, count
            ids = self.ids
            for i in range(count):
                if wide[i] < 0 or wide[i] >= limit:
                    return False
                ids[i] = <int32_t>wide[i]
        elif kind == cnp.NPY_INT32:
            for i in range(count):
                if ids[i] < 0 or ids[i] >= limit:
                    return False
        else:
            return False
        self.views[0].data = ids
        return True

    cdef object _go_simple(self, object out, bint one_step, fg_call *call):
        cdef Plan plan = self.plan
        cdef InputInfo *info = &plan.output_info
        cdef cnp.npy_intp sizes[MAX_AXES + 2]
        cdef cnp.ndarray array
        cdef int axis, lead = 1
        cdef int64_t elements = info.elements
        sizes[0] = call.batch
        if info.sequence and not one_step:
            lead = 2
            sizes[1] = fg_plan_steps(plan.plan, plan.output, call.steps)
            elements *= sizes[1]
        for axis in range(info.inner):
            sizes[lead + axis] = info.sizes[axis]
        if out is None:
            array = self._output(lead + info.inner, sizes, call.batch * elements)
        else:
            if not cnp.PyArray_CheckExact(out) or not is_like(<cnp.ndarray>out, lead + info.inner, sizes):
                _given_output(out, plan.outputs[0], tuple([sizes[axis] for axis in range(lead + info.inner)]), np.float32)
            array = <cnp.ndarray>out
            if overlaps(array, &self.views[0], call.batch):
                raise BadInput("out= overlaps the input")
        self.results[0].data = cnp.PyArray_DATA(array)
        self.results[0].time_stride = info.elements
        self.results[0].batch_stride = elements
        self._go(call.batch, call.steps, call.threads)
        return array

    cdef cnp.ndarray _output(self, int ndim, cnp.npy_intp *sizes, int64_t elements):
        """A new array; a small one may be an earlier result that nobody holds any more."""
        cdef cnp.ndarray array
        if elements > REUSED_ELEMENTS:
            return cnp.PyArray_EMPTY(ndim, sizes, cnp.NPY_FLOAT32, 0)
        if is_unheld_array(<PyObject *>self.older) and is_like(<cnp.ndarray>self.older, ndim, sizes):
            array = <cnp.ndarray>self.older
        elif is_unheld_array(<PyObject *>self.newer) and is_like(<cnp.ndarray>self.newer, ndim, sizes):
            return <cnp.ndarray>self.newer
        else:
            array = cnp.PyArray_EMPTY(ndim, sizes, cnp.NPY_FLOAT32, 0)
        self.older, self.newer = self.newer, array
        return array

    cdef int _go(self, int64_t batch, int64_t steps, int threads) except -1:
        cdef fg_call call
        cdef fg_status status
        call.batch, call.steps, call.threads = batch, steps, threads
        call.inputs, call.outputs, call.profile = self.views, self.results, self.profile
        if self.plan.cost * batch * steps > GIL_COST:
            with nogil:
                status = fg_run(self.plan.plan, self.state, &call)
        else:
            status = fg_run(self.plan.plan, self.state, &call)
        return check(status)

    # ---- any call ----

    def _run_fresh(self, tuple arrays, lengths, mask, int threads, out):
        """As _run, whole sequences, every row from its initial state."""
        cdef fg_call call
        self.enter()
        try:
            fg_state_reset(self.state, 0, 2**62)
            if (lengths is None and mask is None and not isinstance(out, (tuple, list)) and self._take(arrays[0], False, &call)
                    and (self.plan.info[0].steps < 0 or self.plan.info[0].steps == call.steps)):
                call.threads = threads
                return (self._go_simple(out, False, &call),)
            return self._run(arrays, lengths, mask, threads, out, False)
        finally:
            self.busy = False

    def _run(self, tuple arrays, lengths, mask, int threads, out, bint one_step, int64_t expected=-1):
        """Run the inputs, given in the order of the plan's, from where the state stands; returns a tuple of outputs.

        With one_step sequence inputs and outputs have no time axis. `lengths` and `mask` hold for every sequence input.
        `expected` is the number of rows that a stream has, or -1. The caller has the runner to itself.
        """
        cdef Plan plan = self.plan
        cdef int64_t batch = -1, steps = -1, rows
        cdef int i, view = 0
        cdef cnp.ndarray array
        cdef list alive = []
        for i in range(len(plan.inputs)):
            spec = plan.inputs[i]
            array = checked_input(arrays[i], spec, one_step, plan.info[i].limit, expected >= 0)
            alive.append(array)
            rows = cnp.PyArray_DIM(array, 0)
            if expected >= 0 and rows != expected:
                raise BadInput(f"this stream has batch_size={expected}; got {rows} rows (shape {(<object>array).shape})")
            if batch >= 0 and rows != batch:
                raise BadInput(f"input {spec.name!r} has {rows} rows, the inputs before it {batch}")
            batch = rows
            self.views[view].data = cnp.PyArray_DATA(array)
            self.views[view].batch_stride = cnp.PyArray_STRIDE(array, 0) // 4
            self.views[view].time_stride = 0
            view += 1
            if not plan.info[i].sequence:
                continue
            rows = 1 if one_step else cnp.PyArray_DIM(array, 1)
            if steps >= 0 and rows != steps:
                raise BadInput(f"input {spec.name!r} has {rows} steps, the sequence before it {steps}")
            steps = rows
            if not one_step:
                self.views[view - 1].time_stride = cnp.PyArray_STRIDE(array, 1) // 4
            self.views[view].data = NULL
            if lengths is not None or mask is not None:
                array = make_mask(lengths, mask, batch, steps)
                alive.append(array)
                self.views[view].data = cnp.PyArray_DATA(array)
                self.views[view].batch_stride, self.views[view].time_stride = steps, 1
            view += 1
        steps = 1 if steps < 0 else steps
        results = self._outputs(out, batch, steps, one_step, alive)
        self._go(batch, steps, threads)
        return results

    cdef tuple _outputs(self, object out, int64_t batch, int64_t steps, bint one_step, list alive):
        cdef Plan plan = self.plan
        cdef int n = len(plan.outputs), i
        cdef cnp.ndarray array
        given = (None,) * n if out is None else (out,) if isinstance(out, np.ndarray) else tuple(out)
        if len(given) != n:
            raise BadInput(f"out= should hold {n} arrays, holds {len(given)}")
        results = []
        for i in range(n):
            spec = plan.outputs[i]
            timed = spec.is_sequence and not one_step
            shape = (batch, *spec.inner)
            if timed:
                shape = (batch, fg_plan_steps(plan.plan, plan.ids[spec.name], steps), *spec.inner)
            dtype = np.bool_ if spec.dtype == "bool" else np.float32
            if given[i] is None:
                array = np.empty(shape, dtype)
            else:
                array = _given_output(given[i], spec, shape, dtype)
                if any(np.may_share_memory(array, other) for other in alive):
                    raise BadInput(f"out= for {spec.name!r} overlaps another array of this call")
            size = array.itemsize
            self.results[i].data = cnp.PyArray_DATA(array)
            self.results[i].batch_stride = cnp.PyArray_STRIDE(array, 0) // size
            self.results[i].time_stride = cnp.PyArray_STRIDE(array, 1) // size if timed else 0
            results.append(array)
            alive.append(array)
        return tuple(results)

    # ---- where the time goes ----

    def _start_profile(self):
        """Measure the layers in the calls from here on."""
        self.enter()
        try:
            free(self.profile)
            self.profile = <fg_profile *>calloc(len(self.plan.layers), sizeof(fg_profile))
            if self.profile == NULL:
                raise MemoryError()
        finally:
            self.busy = False

    def _stop_profile(self):
        """What the calls since `_start_profile` did, as fg_profile says: a dict for each layer that the core has."""
        self.enter()
        try:
            if self.profile == NULL:
                return []
            found = []
            for i, name in enumerate(self.plan.layers):
                profile = <object>self.profile[i]
                ns = dict(zip(PARTS, profile.pop("ns")))
                found.append({"name": name, "folded": fg_plan_folded(self.plan.plan, i), "ns": ns, **profile})
            free(self.profile)
            self.profile = NULL
            return found
        finally:
            self.busy = False

    # ---- the state ----

    def close(self):
        """Free the state. Further calls raise Closed; closing again does nothing.

        Raises
        ------
        StreamBusy
        """
        if self.closed:
            return
        self.enter()
        self.closed = True
        fg_state_free(self.state)
        self.state = NULL

    @property
    def nbytes(self):
        """Bytes of state and workspace."""
        self.enter()
        try:
            return fg_state_bytes(self.state)
        finally:
            self.busy = False

    # the following are for a caller between _enter and _leave

    def _begin(self):
        """Take fresh rows to their initial state: a run of no steps."""
        arrays = tuple(
            np.zeros((self.batch_size, 0, *spec.inner), spec.dtype) if spec.is_sequence else self.static[spec.name]
            for spec in self.plan.inputs
        )
        self._run(arrays, None, None, 1, None, False)

    def _reset(self, int64_t first, int64_t count):
        fg_state_reset(self.state, first, count)

    def _get_state(self, value, int64_t row):
        """(h, has_output) of one row of the GRU layer whose value is named."""
        cdef c_bool has_output = 0
        cdef cnp.ndarray h = np.empty(self.plan.graph.specs[value].features, np.float32)
        check(fg_state_get(self.plan.plan, self.state, self.plan.ids[value], row, <float *>cnp.PyArray_DATA(h), &has_output))
        return h, bool(has_output)

    def _set_state(self, value, int64_t row, h, bint has_output):
        cdef cnp.ndarray dense = np.ascontiguousarray(h, np.float32)
        check(fg_state_set(self.plan.plan, self.state, self.plan.ids[value], row, <const float *>cnp.PyArray_DATA(dense), has_output))


cdef bint overlaps(cnp.ndarray array, fg_view *view, int64_t batch) noexcept:
    """Whether the bytes of a C-contiguous array meet those of a step's input."""
    cdef char *first = <char *>cnp.PyArray_DATA(array)
    cdef char *last = first + cnp.PyArray_NBYTES(array)
    cdef char *from_ = <char *>view.data
    return from_ < last and first < from_ + batch * view.batch_stride * 4


cdef cnp.ndarray checked_input(object x, object spec, bint one_step, int64_t limit, bint any_steps=False):
    """An input as the core takes it; the user's own array where nothing has to be converted."""
    shape = spec.shape
    if spec.is_sequence and one_step:
        shape = (shape[0], *shape[2:])
    elif spec.is_sequence and any_steps:
        shape = (shape[0], None, *shape[2:])
    if type(x) is np.ndarray and x.dtype.kind in "fiu" and x.ndim == len(shape):
        array = x
        fits = all(want is None or want == size for want, size in zip(shape, x.shape))
    else:
        array, fits = as_array(x, _expected(spec, shape)), False
    if not fits:
        _check_shape(array, shape, spec, _expected(spec, shape))
    return as_ids(array, limit, spec, shape) if spec.dtype == "int32" else as_floats(array, spec)


def _given_output(array, spec, shape, dtype):
    if not isinstance(array, np.ndarray) or array.dtype != dtype or array.shape != shape or not array.flags.writeable:
        got = f"{array.dtype} of shape {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
        raise BadInput(f"out= for {spec.name!r} should be a writable {np.dtype(dtype).name} array of shape {shape}; got {got}")
    if not array.flags.carray or type(array).__name__ == "MaskedArray":
        raise BadInput(f"out= for {spec.name!r} should be a plain C-contiguous, aligned array")
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
