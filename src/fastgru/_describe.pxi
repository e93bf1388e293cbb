# What the core is told of a layer: one function for each kind, which fills the fg_layer that `Plan._add_layer` began.
# Arrays that it points to are kept alive in `keep` until the core has packed them.

cdef int describe(Plan plan, object layer, fg_layer *c, list keep) except -1:
    kind = layer.kind
    if kind == "Embedding":
        return describe_embedding(plan, layer, c)
    if kind == "Masking":
        return describe_masking(plan, layer, c)
    if kind == "JoinMasks":
        return describe_join_masks(plan, layer, c, keep)
    if kind == "GRU":
        return describe_gru(plan, layer, c, keep)
    if kind == "Dense":
        return describe_dense(layer, c, keep)
    if kind == "Activate":
        return describe_activate(plan, layer, c)
    if kind == "Reshape":
        return describe_reshape(plan, layer, c)
    if kind == "Concatenate":
        return describe_concatenate(plan, layer, c, keep)
    if kind == "Conv":
        return describe_conv(plan, layer, c, keep)
    if kind == "Pool":
        return describe_pool(plan, layer, c)
    if kind == "Reduce":
        return describe_reduce(plan, layer, c)
    raise BadModelFile(f"the core has no layer of kind {kind!r}")


cdef int describe_embedding(Plan plan, object layer, fg_layer *c) except -1:
    c.kind = FG_EMBEDDING
    c.y_mask = plan._id_if_read(f"{layer.name}:mask")
    c.embedding.table = floats(layer.table, plan.kept)
    c.embedding.vocabulary, c.embedding.features = layer.table.shape
    c.embedding.mask_zero = layer.mask_zero
    plan._limit(layer)
    return 0


cdef int describe_masking(Plan plan, object layer, fg_layer *c) except -1:
    c.kind = FG_MASKING
    c.y_mask = plan._id_if_read(f"{layer.name}:mask")
    c.masking.mask_value = layer.mask_value
    return 0


cdef int describe_join_masks(Plan plan, object layer, fg_layer *c, list keep) except -1:
    c.kind = FG_APPEND_MASKS if layer.over_time else FG_AND_MASKS
    plan.inputs_of(layer, c, keep)
    return 0


cdef int describe_gru(Plan plan, object layer, fg_layer *c, list keep) except -1:
    c.kind = FG_GRU
    c.y_state = plan._id_if_read(f"{layer.name}:state")
    if len(layer.inputs) > 1:
        c.h0 = plan.ids[layer.inputs[1]]
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
    return 0


cdef int describe_dense(object layer, fg_layer *c, list keep) except -1:
    c.kind = FG_DENSE
    c.dense.kernel = floats(layer.kernel, keep)
    c.dense.bias = floats(layer.bias, keep)
    c.dense.inputs, c.dense.units = layer.kernel.shape
    c.dense.activation = activation_of(layer.activation)
    return 0


cdef int describe_activate(Plan plan, object layer, fg_layer *c) except -1:
    c.kind = FG_ACTIVATE
    c.activate.activation = activation_of(layer.activation)
    c.activate.row = plan.graph.specs[layer.inputs[0]].inner[-1]
    return 0


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


#: by their names in the Graph
cdef dict PADDINGS = {"explicit": FG_PAD_EXPLICIT, "same": FG_PAD_SAME, "same_lower": FG_PAD_SAME_LOWER}
cdef dict REDUCTIONS = {
    "mean": FG_MEAN, "average": FG_MEAN, "sum": FG_SUM, "maximum": FG_MAXIMUM, "minimum": FG_MINIMUM
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
    c.conv.kernel = floats(layer.kernel, keep)
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
