# What the core is told of a layer: one function for each kind, which fills the fg_layer that `Plan._add_layer` began.
# Arrays that it points to are kept alive in `keep` until the core has packed them.

#: as far out as the bounds of a slice may lie in the core
FAR = 2**61


cdef int describe(Plan plan, object layer, fg_layer *c, list keep) except -1:
    kind = layer.kind
    if kind == "Embedding":
        return describe_embedding(plan, layer, c)
    if kind == "OneHot":
        return describe_one_hot(plan, layer, c)
    if kind == "Masking":
        return describe_masking(plan, layer, c)
    if kind == "JoinMasks":
        return describe_join_masks(plan, layer, c, keep)
    if kind == "StepMask":
        return describe_step_mask(plan, layer, c)
    if kind == "GRU":
        return describe_gru(plan, layer, c, keep)
    if kind == "Dense":
        return describe_dense(layer, c, keep)
    if kind == "Activate":
        return describe_activate(plan, layer, c)
    if kind == "Scale":
        return describe_scale(plan, layer, c, keep)
    if kind == "PReLU":
        return describe_prelu(plan, layer, c, keep)
    if kind == "Normalize":
        return describe_normalize(plan, layer, c, keep)
    if kind == "Combine":
        return describe_combine(plan, layer, c, keep)
    if kind == "Where":
        return describe_where(plan, layer, c, keep)
    if kind == "Reshape":
        return describe_reshape(plan, layer, c)
    if kind == "Concatenate":
        return describe_concatenate(plan, layer, c, keep)
    if kind == "Transpose":
        return describe_transpose(plan, layer, c)
    if kind in ("Slice", "Pad", "Repeat"):
        return describe_select(plan, layer, c)
    if kind == "Conv":
        return describe_conv(plan, layer, c, keep)
    if kind == "Pool":
        return describe_pool(plan, layer, c)
    if kind == "Reduce":
        return describe_reduce(plan, layer, c)
    if kind == "ArgMax":
        return describe_argmax(plan, layer, c)
    if kind == "Attention":
        return describe_attention(plan, layer, c, keep)
    if kind == "MatMul":
        return describe_matmul(plan, layer, c, keep)
    if kind == "TimeDistributed":
        return describe_time_distributed(plan, layer, c)
    raise BadModelFile(f"the core has no layer of kind {kind!r}")


cdef int describe_embedding(Plan plan, object layer, fg_layer *c) except -1:
    c.kind = FG_EMBEDDING
    c.y_mask = plan._id_if_read(f"{layer.name}:mask")
    c.embedding.table = weights_of(layer.table, plan.kept)
    c.embedding.vocabulary, c.embedding.features = layer.table.shape
    c.embedding.mask_zero = layer.mask_zero
    plan._limit(layer, layer.table.shape[0])
    return 0


cdef int describe_one_hot(Plan plan, object layer, fg_layer *c) except -1:
    c.kind = FG_EMBEDDING
    c.embedding.vocabulary = c.embedding.features = layer.vocabulary
    plan._limit(layer, layer.vocabulary)
    return 0


cdef int describe_masking(Plan plan, object layer, fg_layer *c) except -1:
    c.kind = FG_MASKING
    c.y_mask = plan._id_if_read(f"{layer.name}:mask")
    c.masking.mask_value = layer.mask_value
    return 0


cdef int describe_join_masks(Plan plan, object layer, fg_layer *c, list keep) except -1:
    c.kind = FG_APPEND_MASKS if layer.over_time else FG_OR_MASKS if layer.any_of else FG_AND_MASKS
    plan.inputs_of(layer, c, keep)
    return 0


cdef int describe_step_mask(Plan plan, object layer, fg_layer *c) except -1:
    c.kind = FG_STEP_MASK
    c.h0 = plan.ids[layer.inputs[1]]
    plan.note_lengths(layer)
    return 0


cdef int describe_gru(Plan plan, object layer, fg_layer *c, list keep) except -1:
    c.kind = FG_GRU
    c.y_state = plan._id_if_read(f"{layer.name}:state")
    if len(layer.inputs) > 1:
        c.h0 = plan.ids[layer.inputs[1]]
    c.gru.units = layer.units
    c.gru.kernel = weights_of(layer.kernel, keep)
    c.gru.recurrent_kernel = weights_of(layer.recurrent_kernel, keep)
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
    c.gru.zero_state_without_steps = layer.zero_state_without_steps
    c.gru.clip = math.inf if layer.clip is None else layer.clip
    return 0


cdef int describe_dense(object layer, fg_layer *c, list keep) except -1:
    c.kind = FG_DENSE
    c.dense.kernel = weights_of(layer.kernel, keep)
    c.dense.bias = floats(layer.bias, keep)
    c.dense.inputs, c.dense.units = layer.kernel.shape
    c.dense.activation = activation_of(layer.activation)
    return 0


cdef int describe_activate(Plan plan, object layer, fg_layer *c) except -1:
    c.kind = FG_ACTIVATE
    c.activate.activation = activation_of(layer.activation)
    c.activate.row = plan.graph.specs[layer.inputs[0]].inner[-1]
    return 0


cdef object spread(object tensor, object spec, int64_t steps):
    """A tensor that spreads over a value as (steps, features); None for None."""
    if tensor is None:
        return None
    return np.broadcast_to(tensor, (steps, *spec.inner)).reshape(steps, spec.features)


cdef int describe_scale(Plan plan, object layer, fg_layer *c, list keep) except -1:
    spec = plan.graph.specs[layer.name]
    c.kind = FG_SCALE
    c.scale.steps = spec.shape[1] if layer.has_own_steps(plan.graph.specs) else 1
    c.scale.scale = floats(spread(layer.scale, spec, c.scale.steps), keep)
    c.scale.offset = floats(spread(layer.offset, spec, c.scale.steps), keep)
    return 0


cdef int describe_prelu(Plan plan, object layer, fg_layer *c, list keep) except -1:
    spec = plan.graph.specs[layer.name]
    c.kind = FG_PRELU
    c.scale.steps = spec.shape[1] if layer.has_own_steps(plan.graph.specs) else 1
    c.scale.scale = floats(spread(layer.alpha, spec, c.scale.steps), keep)
    return 0


cdef int describe_normalize(Plan plan, object layer, fg_layer *c, list keep) except -1:
    spec = plan.graph.specs[layer.name]
    c.kind = FG_NORMALIZE
    c.normalize.function = <fg_normalization><int>layer.FUNCTIONS.index(layer.function)
    c.normalize.epsilon = layer.epsilon
    c.normalize.size = math.prod(spec.inner[-layer.axes:])
    c.normalize.scale = floats(layer.scale, keep)
    c.normalize.offset = floats(layer.offset, keep)
    return 0


cdef int describe_combine(Plan plan, object layer, fg_layer *c, list keep) except -1:
    specs = plan.graph.specs
    counts, strides = merged_axes(specs[layer.name].inner, [specs[value].inner for value in layer.inputs])
    if len(counts) > FG_MAX_DIMS:
        raise BadModelFile(f"Combine layer {layer.name!r}: more than {FG_MAX_DIMS} axes that spread are not supported")
    one_step = np.array(layer.one_step(specs), np.uint8)
    keep += [counts, strides, one_step]
    c.kind = FG_COMBINE
    c.combine.operation = <fg_operation><int>layer.OPERATIONS.index(layer.operation)
    c.combine.dims = len(counts)
    c.combine.counts = <const int64_t *>cnp.PyArray_DATA(counts)
    c.combine.strides = <const int64_t *>cnp.PyArray_DATA(strides)
    c.combine.one_step = <const uint8_t *>cnp.PyArray_DATA(one_step)
    plan.inputs_of(layer, c, keep)
    return 0


cdef int describe_where(Plan plan, object layer, fg_layer *c, list keep) except -1:
    c.kind = FG_WHERE
    c.where.value = layer.value
    plan.inputs_of(layer, c, keep)
    return 0


cdef tuple merged_axes(tuple sizes, list parts):
    """The axes of values that spread over `sizes`: how many entries each has, and (values, axes) by how many elements a
    value moves along it, 0 where it spreads. Neighbours that every value walks through in one go are one axis."""
    counts, columns = [], []
    elements = [1] * len(parts)  # of each value behind the axis at hand
    for axis in reversed(range(len(sizes))):
        here = [part[axis] for part in parts]
        strides = [step if size > 1 else 0 for step, size in zip(elements, here)]
        elements = [step * size for step, size in zip(elements, here)]
        if sizes[axis] == 1:
            continue
        if counts and strides == [stride * counts[0] for stride in columns[0]]:
            counts[0] *= sizes[axis]
        else:
            counts.insert(0, sizes[axis])
            columns.insert(0, strides)
    if not counts:
        counts, columns = [1], [[1] * len(parts)]
    return np.array(counts, np.int64), np.ascontiguousarray(np.array(columns, np.int64).T)


cdef int describe_reshape(Plan plan, object layer, fg_layer *c) except -1:
    spec = plan.graph.specs[layer.name]
    c.kind = FG_RESHAPE
    c.reshape.sequence = spec.is_sequence
    c.reshape.steps = (spec.shape[1] or 0) if spec.is_sequence else 0
    c.reshape.features = spec.features
    return 0


cdef int describe_concatenate(Plan plan, object layer, fg_layer *c, list keep) except -1:
    spec = plan.graph.specs[layer.name]
    axis = layer.axis % len(spec.shape)
    c.kind = FG_APPEND if spec.is_sequence and axis == 1 else FG_CONCATENATE
    c.concatenate.inner = math.prod(spec.shape[len(spec.shape) - len(spec.inner):axis])
    plan.inputs_of(layer, c, keep)
    return 0


cdef int describe_transpose(Plan plan, object layer, fg_layer *c) except -1:
    cdef int i
    spec = plan.graph.specs[layer.inputs[0]]
    # within a step, or without time: the axes behind those of batch and time, which stay
    kept = 2 if spec.is_sequence and layer.order[0] == 1 else 1
    sizes, order = spec.shape[kept:], [axis - kept for axis in layer.order[kept - 1:]]
    if len(sizes) > FG_MAX_AXES:
        raise BadModelFile(f"{layer.kind} layer {layer.name!r}: more than {FG_MAX_AXES} axes are not supported")
    c.kind = FG_TRANSPOSE_TIME if spec.is_sequence and kept == 1 else FG_TRANSPOSE
    c.transpose.axes = len(sizes)
    for i in range(len(sizes)):
        c.transpose.sizes[i], c.transpose.order[i] = sizes[i], order[i]
    return 0


cdef int describe_select(Plan plan, object layer, fg_layer *c) except -1:
    spec = plan.graph.specs[layer.inputs[0]]
    axis = layer.axis % len(spec.shape)
    over_time = spec.is_sequence and axis == 1
    if layer.kind == "Slice" and over_time and layer.takes_last:
        c.kind = FG_LAST
        return 0
    c.kind = FG_SELECT_TIME if over_time else FG_SELECT
    if not over_time:
        c.select.outer, c.select.size = math.prod(spec.shape[len(spec.shape) - len(spec.inner):axis]), spec.shape[axis]
    c.select.stop, c.select.step, c.select.times = FAR, 1, 1
    if layer.kind == "Slice":
        # what is absent is far beyond the end where the slice begins or ends
        begin, end = (0, FAR) if layer.step > 0 else (FAR, -FAR)
        c.select.start = begin if layer.start is None else max(-FAR, min(FAR, layer.start))
        c.select.stop = end if layer.stop is None else max(-FAR, min(FAR, layer.stop))
        c.select.step = max(-FAR, min(FAR, layer.step))
        c.select.drop = layer.drop
    elif layer.kind == "Pad":
        c.select.before, c.select.after, c.select.value = layer.before, layer.after, layer.value
    else:
        c.select.times = layer.times
    return 0


#: by their names in the Graph
cdef dict PADDINGS = {"explicit": FG_PAD_EXPLICIT, "same": FG_PAD_SAME, "same_lower": FG_PAD_SAME_LOWER}
cdef dict REDUCTIONS = {
    "mean": FG_OVER_MEAN, "average": FG_OVER_MEAN, "sum": FG_OVER_SUM, "maximum": FG_OVER_MAXIMUM, "minimum": FG_OVER_MINIMUM
}


cdef fg_window window_of(Plan plan, object layer, object size) except *:
    cdef fg_window w
    cdef int axis
    spec = plan.graph.specs[layer.inputs[0]]
    memset(&w, 0, sizeof(w))
    w.padding = <fg_padding><int>PADDINGS[layer.padding]
    w.channels = spec.inner[-1]
    w.width = 1 if len(size) == 1 else spec.inner[0]
    for axis in range(2):
        used = axis < len(size)
        w.size[axis] = size[axis] if used else 1
        w.stride[axis] = layer.strides[axis] if used and layer.strides else 1
        w.dilation[axis] = layer.dilation[axis] if used and layer.dilation else 1
        if used and layer.pads and layer.padding == "explicit":
            w.before[axis] = layer.pads[2 * axis]
            w.after[axis] = layer.pads[2 * axis + 1]
    return w


cdef int describe_conv(Plan plan, object layer, fg_layer *c, list keep) except -1:
    c.kind = FG_CONV
    c.conv.window = window_of(plan, layer, layer.kernel.shape[:-2])
    c.conv.kernel = weights_of(layer.kernel, keep)
    c.conv.bias = floats(layer.bias, keep)
    c.conv.units = layer.kernel.shape[-1]
    c.conv.groups = layer.groups
    c.conv.activation = activation_of(layer.activation)
    return 0


cdef int describe_pool(Plan plan, object layer, fg_layer *c) except -1:
    c.kind = FG_POOL
    c.pool.window = window_of(plan, layer, layer.size)
    c.pool.function = <fg_reduction><int>REDUCTIONS[layer.function]
    c.pool.count_padding = layer.count_padding
    return 0


cdef int describe_reduce(Plan plan, object layer, fg_layer *c) except -1:
    spec = plan.graph.specs[layer.inputs[0]]
    axis = layer.axis % len(spec.shape)
    lead = len(spec.shape) - len(spec.inner)
    c.kind = FG_REDUCE if axis >= lead else FG_REDUCE_TIME
    c.reduce.function = <fg_reduction><int>REDUCTIONS[layer.function]
    if axis >= lead:
        c.reduce.outer = math.prod(spec.shape[lead:axis])
        c.reduce.size = spec.shape[axis]
        c.reduce.inner = math.prod(spec.shape[axis + 1 :])
    return 0


cdef int describe_argmax(Plan plan, object layer, fg_layer *c) except -1:
    c.kind = FG_ARGMAX
    c.argmax.size = plan.graph.specs[layer.inputs[0]].inner[-1]
    c.argmax.last = layer.last
    plan.ids_below[c.y] = c.argmax.size
    return 0


cdef int describe_attention(Plan plan, object layer, fg_layer *c, list keep) except -1:
    c.kind = FG_ATTENTION
    c.y_state = plan._id_if_read(f"{layer.name}:scores")
    plan.inputs_of(layer, c, keep)
    c.attention.query_mask = plan.ids[layer.query_mask] if layer.query_mask is not None else FG_NONE
    c.attention.heads = layer.heads
    c.attention.window = layer.window or 0
    c.attention.steps = plan.graph.specs[f"{layer.name}:scores"].features // layer.heads if layer.with_scores else 0
    c.attention.scale = layer.scale
    c.attention.inner_scale = layer.inner_scale
    c.attention.weight = floats(layer.weight, keep)
    c.attention.additive = layer.function == "additive"
    c.attention.causal = layer.causal
    c.attention.zero_masked_queries = layer.zero_masked_queries
    c.attention.all_masked = <fg_all_masked><int>layer.ALL_MASKED.index(layer.all_masked)
    return 0


cdef int describe_matmul(Plan plan, object layer, fg_layer *c, list keep) except -1:
    c.kind = FG_MATMUL
    plan.inputs_of(layer, c, keep)
    c.matmul.columns = plan.graph.specs[layer.name].features
    c.matmul.transpose_b = layer.transpose_b
    return 0


cdef int describe_time_distributed(Plan plan, object layer, fg_layer *c) except -1:
    cdef Plan inner = Plan(layer.fitted(plan.graph.specs[layer.inputs[0]]), plan.isa, plan.blas)
    plan.kept.append(inner)
    c.kind = FG_TIME_DISTRIBUTED
    c.y_mask = plan._id_if_read(f"{layer.name}:mask")
    c.nested.plan = inner.plan
    plan._limit(layer, inner.info[0].limit)
    return 0
