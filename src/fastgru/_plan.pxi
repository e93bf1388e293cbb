# Graph -> Plan: a Graph compiled for this machine.

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


#: by their names in the Graph
cdef dict DTYPES = {"float32": FG_FLOAT32, "float16": FG_FLOAT16, "bfloat16": FG_BFLOAT16, "int8": FG_INT8}


cdef fg_weights weights_of(object array, list keep) except *:
    """Weights as the Graph holds them: an array of float32, or a NarrowArray."""
    cdef fg_weights weights
    cdef cnp.ndarray data
    memset(&weights, 0, sizeof(weights))
    weights.dtype = FG_FLOAT32
    if type(array) is np.ndarray:
        weights.data = floats(array, keep)
        return weights
    weights.dtype = <fg_dtype><int>DTYPES[array.dtype]
    weights.scale = floats(array.scale, keep)
    data = np.ascontiguousarray(array.data)
    keep.append(data)
    weights.data = cnp.PyArray_DATA(data)
    return weights


cdef enum:
    MAX_AXES = 8               # of a value, after batch and time
    MAX_SEEN_AXES = 16         # of an array that a caller sees

#: of ids that no table is read by
cdef int64_t NO_LIMIT = 2**31

cdef enum:
    # how a value stands in an array
    CALLED                     # as callers see it
    CHUNK                      # (batch, time, …), or (batch, …) without time
    STEP                       # (batch, …)
    FORMS


cdef struct Geometry:
    # a form, for arrays in C order: there the core can walk it if features stand behind each other
    bint fits                  # they do, but for batch and time between them; nothing else is merged with those
    int ndim
    int batch, time            # which axes they are, or -1
    bint batch_splits          # batch stands between features, and so should be 1
    bint time_splits
    int64_t sizes[MAX_SEEN_AXES]  # of the other axes


cdef struct ValueInfo:
    # an input or output in the form that the fast path goes by
    int type                   # NumPy's
    bint sequence
    int view                   # its place in a call's views; behind it, of an input with time, its mask's
    int64_t batch, steps       # sizes that the network fixes, or -1
    int64_t limit              # ids lie below it
    Geometry forms[FORMS]


cdef Geometry geometry_of(object sizes, object axes, int lead) except *:
    """Of a port's sizes and axes; `lead` is 2 for a value with time, else 1."""
    cdef Geometry g
    cdef int place
    order = [axis for group in axes for axis in group if axis < lead or sizes[axis - lead] > 1]
    features = [axis for axis in order if axis >= lead]
    behind = order[order.index(features[0]):] if features else []
    g.fits = features == sorted(features) and all([len(group) < 2 or min(group) >= lead for group in axes])
    g.ndim = len(axes)
    g.batch = g.time = -1
    g.batch_splits, g.time_splits = 0 in behind, lead == 2 and 1 in behind
    for place, group in enumerate(axes):
        if group == (0,):
            g.batch = place
        elif lead == 2 and group == (1,):
            g.time = place
        g.sizes[place] = math.prod([sizes[axis - lead] for axis in group if axis >= lead])
    return g


cdef ValueInfo info_of(object spec, object port, int view) except *:
    cdef ValueInfo info
    cdef int lead = 1 + spec.is_sequence
    if len(spec.inner) > MAX_AXES:
        raise BadModelFile(f"{spec.name!r}: more than {MAX_AXES} axes are not supported")
    info.type = np.dtype(spec.dtype).num
    info.sequence = spec.is_sequence
    info.view = view
    info.batch = -1 if spec.shape[0] is None else spec.shape[0]
    info.steps = -1 if not spec.is_sequence or spec.shape[1] is None else spec.shape[1]
    info.limit = NO_LIMIT
    plain = Port.plain(spec)
    seen = plain if port is None else port
    info.forms[CALLED] = geometry_of(seen.sizes, seen.axes, lead)
    info.forms[CHUNK] = geometry_of(plain.sizes, plain.axes, lead)
    info.forms[STEP] = geometry_of(plain.sizes, tuple([(axis,) for axis in range(1 + len(plain.sizes))]), 1)
    return info


cdef object renamed(object spec, object name):
    return spec if spec.name == name else replace(spec, name=name)


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
    cdef readonly tuple inputs, outputs  # as the core lays them out, under the names that callers see
    cdef readonly bint causal, blas
    cdef readonly bint changes_steps  # a stream's outputs have other numbers of steps than its inputs
    cdef readonly double cost
    cdef dict ids
    cdef set read               # names of values that a layer or the caller reads
    cdef list kept
    cdef dict ids_below         # computed ids, by the number of their value, lie below this
    cdef list lengths           # (place of an input of lengths, name of the sequence whose steps they count)
    cdef list layers            # names of those that the core has, in its order
    cdef int n_inputs, n_outputs, n_views
    cdef ValueInfo *info        # of each input
    cdef ValueInfo *output_info
    cdef fg_value *values       # of the outputs
    cdef tuple names            # of the inputs
    cdef bint fits[FORMS]       # whether a call of a form may take the fast path

    def __cinit__(self, graph, isa=None, blas=False):
        cdef bytes name = isa.encode() if isa is not None else b""
        self.graph = graph
        self.blas = blas
        self.kept = []
        self.layers = []
        self.ids_below = {}
        self.lengths = []
        self.ids = {}
        for value in graph.specs:
            self.ids[value] = len(self.ids)
        self.read = set(graph.outputs)
        for layer in graph.layers:
            self.read.update(layer.inputs)
            self.read.update(layer.masks.values())
        check(fg_plan_new(len(self.ids), <const char *>name if isa is not None else NULL,
                          FG_MATMUL_BLAS if blas else FG_MATMUL_AUTO, &self.plan))
        self.inputs = tuple(map(renamed, graph.inputs, graph.input_names))
        self.outputs = tuple(renamed(graph.specs[value], name) for value, name in zip(graph.outputs, graph.output_names))
        self._add_inputs()
        for layer in graph.layers:
            self._add_layer(layer)
        self._finish()
        self.causal = fg_plan_causal(self.plan)
        self.changes_steps = fg_plan_changes_steps(self.plan)
        self.cost = fg_plan_cost(self.plan)

    def __dealloc__(self):
        fg_plan_free(self.plan)
        free(self.info)
        free(self.output_info)
        free(self.values)

    def _add_inputs(self):
        cdef fg_layer c
        cdef int i
        self.n_inputs = len(self.inputs)
        self.names = tuple([spec.name for spec in self.inputs])
        self.info = <ValueInfo *>calloc(self.n_inputs, sizeof(ValueInfo))
        if self.info == NULL:
            raise MemoryError()
        for i, (spec, port) in enumerate(self.graph.ported_inputs):
            self.info[i] = info_of(spec, port, self.n_views)
            memset(&c, 0, sizeof(c))
            c.kind = FG_TOKENS if spec.dtype == "int32" else FG_INPUT
            c.y = self.ids[spec.name]
            c.input.sequence = spec.is_sequence
            c.input.features = spec.features
            check(fg_plan_add(self.plan, &c))
            self.n_views += 1
            if spec.is_sequence:
                c.kind = FG_MASK
                c.x = c.y
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
        describe(self, layer, &c, keep)
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

    cdef object inputs_of(self, object layer, fg_layer *c, list keep):
        """Point the description at all values that a layer reads alike."""
        values = np.array([self.ids[value] for value in layer.inputs], np.int32)
        keep.append(values)
        c.inputs, c.n_inputs = <const fg_value *>cnp.PyArray_DATA(values), len(layer.inputs)

    def _limit(self, layer, int64_t limit):
        """Remember that the token ids which a layer reads lie below `limit`; BadModelFile where computed ones do not."""
        cdef int i
        computed = self.ids_below.get(self.ids[layer.inputs[0]], 0)
        if computed > limit:
            raise BadModelFile(f"{layer.kind} layer {layer.name!r}: {layer.inputs[0]!r} holds ids below {computed}, "
                               f"but the vocabulary has {limit}")
        for i, spec in enumerate(self.graph.inputs):
            if self.ids[spec.name] == self.ids[layer.inputs[0]]:
                self.info[i].limit = min(self.info[i].limit, limit)

    cdef object note_lengths(self, object layer):
        """Remember which input holds the lengths that a layer reads, and of what."""
        for i, spec in enumerate(self.graph.inputs):
            if self.ids[spec.name] == self.ids[layer.inputs[1]]:
                self.lengths.append((i, layer.inputs[0]))

    def _finish(self):
        cdef int i, form
        self.n_outputs = len(self.outputs)
        self.output_info = <ValueInfo *>calloc(self.n_outputs, sizeof(ValueInfo))
        self.values = <fg_value *>calloc(self.n_outputs, sizeof(fg_value))
        if self.output_info == NULL or self.values == NULL:
            raise MemoryError()
        for i, (spec, port) in enumerate(self.graph.ported_outputs):
            self.values[i] = self.ids[self.graph.outputs[i]]
            self.output_info[i] = info_of(spec, port, i)
            if port is not None and port.dtype and port.dtype != spec.dtype:
                self.output_info[i].forms[CALLED].fits = False  # it has to be converted
        check(fg_plan_finish(self.plan, self.values, self.n_outputs))
        for form in range(FORMS):
            self.fits[form] = not self.lengths  # which are held against the steps
            for i in range(self.n_inputs):
                self.fits[form] &= self.info[i].forms[form].fits
            for i in range(self.n_outputs):
                self.fits[form] &= self.output_info[i].forms[form].fits

    def in_order(self, tuple given):
        """Inputs by position, or one dict by name, in the network's order.

        Raises
        ------
        BadInput
            Too few or too many, or other names.
        """
        if len(given) == 1 and type(given[0]) is dict and len(<dict>given[0]) == self.n_inputs:
            try:
                return tuple([(<dict>given[0])[name] for name in self.names])
            except KeyError:
                pass  # named_inputs tells
        named = named_inputs(given, self.inputs)
        return tuple([named[name] for name in self.names])

    @property
    def isa(self):
        """The kernel set in use."""
        return fg_plan_isa(self.plan).decode()

    @property
    def nbytes(self):
        """Bytes of packed weights."""
        return fg_plan_bytes(self.plan)
