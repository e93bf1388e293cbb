"""A case as a LiteRT model of one GRU cell, with the operators that TensorFlow's converter makes of a Keras GRUCell."""

from __future__ import annotations

from typing import Any

import numpy as np

from .cases import Array, Case

#: operator, inputs, outputs; x: the input, h: the state, everything else is defined here or a constant of the cell
RESET_AFTER = (
    ("FULLY_CONNECTED", "x kernel bias", "xw"),
    ("FULLY_CONNECTED", "h recurrent_kernel recurrent_bias", "hr"),
    ("SPLIT", "axis xw", "xz xr xn"),
    ("SPLIT", "axis hr", "hz hr_ hn"),
    ("ADD", "xz hz", "sum_z"),
    ("LOGISTIC", "sum_z", "z"),
    ("ADD", "xr hr_", "sum_r"),
    ("LOGISTIC", "sum_r", "r"),
    ("MUL", "r hn", "reset"),
    ("ADD", "xn reset", "sum_n"),
    ("TANH", "sum_n", "n"),
    ("MUL", "z h", "kept"),
    ("SUB", "one z", "rest"),
    ("MUL", "rest n", "new"),
    ("ADD", "kept new", "h'"),
)
RESET_BEFORE = (
    ("FULLY_CONNECTED", "x kernel bias", "xw"),
    ("FULLY_CONNECTED", "h gates_kernel", "hr"),
    ("SPLIT", "axis xw", "xz xr xn"),
    ("SPLIT", "axis hr", "hz hr_"),
    ("ADD", "xz hz", "sum_z"),
    ("LOGISTIC", "sum_z", "z"),
    ("ADD", "xr hr_", "sum_r"),
    ("LOGISTIC", "sum_r", "r"),
    ("MUL", "r h", "rh"),
    ("FULLY_CONNECTED", "rh candidate_kernel", "reset"),
    *RESET_AFTER[9:],
)


def litert_gru_cell(case: Case) -> bytes:
    """The model: inputs ``x`` (1, input) and ``h`` (1, hidden), output ``h'`` (1, hidden)."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    operators = RESET_AFTER if case.row.reset_after else RESET_BEFORE
    builder = _Builder(schema, case)
    made = [builder.operator(*operator) for operator in operators]
    graph = schema.SubGraphT(
        tensors=builder.tensors, inputs=[builder.tensor("x"), builder.tensor("h")], outputs=[builder.tensor("h'")],
        operators=made,
    )  # fmt: skip
    model = schema.ModelT(
        version=3, operatorCodes=builder.codes, subgraphs=[graph], buffers=builder.buffers, description="GRU cell"
    )
    packer = flatbuffers.Builder(1024)
    packer.Finish(model.Pack(packer), file_identifier=b"TFL3")
    return bytes(packer.Output())


class _Builder:
    """Numbers tensors, buffers and operator codes as they are first named."""

    def __init__(self, schema: Any, case: Case) -> None:
        units, weights = case.row.units, case.directions[0]
        recurrent = weights.recurrent_kernel
        self.schema, self.units = schema, units
        self.constants: dict[str, Array] = {
            "kernel": weights.kernel.T, "recurrent_kernel": recurrent.T, "bias": weights.bias,
            "recurrent_bias": weights.recurrent_bias, "gates_kernel": recurrent[:, : 2 * units].T,
            "candidate_kernel": recurrent[:, 2 * units :].T, "one": np.ones((), np.float32),
            "axis": np.ones((), np.int32),
        }  # fmt: skip
        gates = 3 if case.row.reset_after else 2
        self.widths = {"x": case.row.inputs, "xw": 3 * units, "hr": gates * units}
        self.tensors: list[Any] = []
        self.buffers = [schema.BufferT()]  # the first one is empty: tensors that are computed
        self.codes: list[Any] = []
        self._tensor_index: dict[str, int] = {}
        self._code_index: dict[str, int] = {}

    def tensor(self, name: str) -> int:
        if name not in self._tensor_index:
            self._tensor_index[name] = len(self.tensors)
            self.tensors.append(self._new_tensor(name))
        return self._tensor_index[name]

    def _new_tensor(self, name: str) -> Any:
        value = self.constants.get(name)
        if value is None:
            return self.schema.TensorT(shape=[1, self.widths.get(name, self.units)], name=name)
        self.buffers.append(self.schema.BufferT(data=np.frombuffer(value.tobytes(), np.uint8)))
        kind = self.schema.TensorType.INT32 if value.dtype == np.int32 else self.schema.TensorType.FLOAT32
        return self.schema.TensorT(shape=list(value.shape), type=kind, buffer=len(self.buffers) - 1, name=name)

    def operator(self, name: str, inputs: str, outputs: str) -> Any:
        if name not in self._code_index:
            self._code_index[name] = len(self.codes)
            number = getattr(self.schema.BuiltinOperator, name)
            self.codes.append(self.schema.OperatorCodeT(deprecatedBuiltinCode=number, builtinCode=number))
        operator = self.schema.OperatorT(
            opcodeIndex=self._code_index[name],
            inputs=[self.tensor(value) for value in inputs.split()],
            outputs=[self.tensor(value) for value in outputs.split()],
        )
        if name == "FULLY_CONNECTED" and len(operator.inputs) == 2:
            operator.inputs.append(-1)  # no bias
        kind = {"FULLY_CONNECTED": "FullyConnected", "SPLIT": "Split", "ADD": "Add", "MUL": "Mul", "SUB": "Sub"}
        if name in kind:
            options = f"{kind[name]}Options"
            operator.builtinOptionsType = getattr(self.schema.BuiltinOptions, options)
            operator.builtinOptions = getattr(self.schema, f"{options}T")()
        if name == "SPLIT":
            operator.builtinOptions.numSplits = len(operator.outputs)
        return operator
