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
    if kind == "Attention":
        return describe_attention(plan, layer, c, keep)
    if kind == "MatMul":
        return describe_matmul(plan, layer, c, keep)
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
