"""A case as an ONNX model of one GRU node, for the peers that read ONNX."""

from __future__ import annotations

import numpy as np

from .cases import Case

OPSET, IR_VERSION = 14, 8


def onnx_gru(case: Case) -> bytes:
    """The model: input ``x`` (steps, batch, input), for a padded batch ``lengths`` (batch,), output ``y`` (steps,
    directions, batch, hidden); or, for single steps, inputs ``x`` and ``h`` (1, 1, hidden) and output ``h'``.

    ONNX has the gates in our order z, r, h, one output a row, and both biases end to end.
    """
    from onnx import TensorProto, helper, numpy_helper

    row = case.row
    tensors = {
        "w": np.stack([weights.kernel.T for weights in case.directions]),
        "r": np.stack([weights.recurrent_kernel.T for weights in case.directions]),
        "b": np.stack([np.concatenate([weights.bias, weights.recurrent_bias]) for weights in case.directions]),
    }
    state, floats = (row.directions, row.batch, row.units), TensorProto.FLOAT
    inputs = [helper.make_tensor_value_info("x", floats, (row.steps, row.batch, row.inputs))]
    if case.lengths is not None:
        inputs.append(helper.make_tensor_value_info("lengths", TensorProto.INT32, (row.batch,)))
    if row.is_step:
        inputs.append(helper.make_tensor_value_info("h", floats, state))
        output = helper.make_tensor_value_info("h'", floats, state)
    else:
        output = helper.make_tensor_value_info("y", floats, (row.steps, *state))
    node = helper.make_node(
        "GRU",
        ["x", "w", "r", "b", "lengths" if case.lengths is not None else "", "h" if row.is_step else ""],
        ["", "h'"] if row.is_step else ["y"],
        hidden_size=row.units,
        linear_before_reset=int(row.reset_after),
        direction="bidirectional" if row.bidirectional else "forward",
    )
    constants = [numpy_helper.from_array(np.ascontiguousarray(value), name) for name, value in tensors.items()]
    graph = helper.make_graph([node], "gru", inputs, [output], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    return model.SerializeToString()  # type: ignore[no-any-return]
