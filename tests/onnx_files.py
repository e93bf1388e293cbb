"""ONNX files of one GRU node, of any form that the standard allows, for the tests and `tools/check_onnx_nodes.py`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import onnx_oracle

Array = np.ndarray

DTYPES = {"float32": np.float32, "float16": np.float16, "double": np.float64, "bfloat16": ml_dtypes.bfloat16}
#: the operator's inputs in order, and its outputs
INPUTS = ("X", "W", "R", "B", "sequence_lens", "initial_h")
OUTPUTS = ("Y", "Y_h")
WEIGHTS = ("W", "R", "B")


@dataclass(frozen=True)
class NodeCase:
    """A GRU node with its weights and numbers for its inputs.

    Attributes
    ----------
    attributes : dict
    arrays : dict of str to array
        The inputs that the node has, among `INPUTS`; floats are representable in `dtype`.
    opset : int
    outputs : tuple of str
        Those that the node has, among `OUTPUTS`.
    constants : tuple of str
        Inputs that stand in the file, beside the weights.
    storage : {"initializer", "default", "node", "external", "cast"}
        Constants are initializers; initializers that are graph inputs too; Constant nodes; in a file beside the file;
        float16 initializers behind a Cast.
    dtype : {"float32", "float16", "double", "bfloat16"}
    is_free : bool
        Whether the file leaves batch and time free, by name.
    """

    attributes: dict[str, Any]
    arrays: dict[str, Array]
    opset: int = 14
    outputs: tuple[str, ...] = OUTPUTS
    constants: tuple[str, ...] = ()
    storage: str = "initializer"
    dtype: str = "float32"
    is_free: bool = True
    producer: str = ""
    metadata: dict[str, str] = field(default_factory=dict)

    @property
    def fed(self) -> tuple[str, ...]:
        """The inputs that the caller gives."""
        return tuple(key for key in self.arrays if key not in WEIGHTS + self.constants)

    @property
    def feeds(self) -> dict[str, Array]:
        return {key: self._typed(key) for key in self.fed}

    @property
    def expected(self) -> dict[str, Array]:
        """Each output by the float64 oracle."""
        answers = dict(zip(OUTPUTS, onnx_oracle.gru(self.attributes, **self.arrays), strict=True))
        return {key: answers[key] for key in self.outputs}

    @property
    def model(self) -> onnx.ModelProto:
        """The file; constants of an external one are still inside."""
        count = max(INPUTS.index(key) for key in self.arrays) + 1
        last = max(OUTPUTS.index(key) for key in self.outputs) + 1
        node = helper.make_node(
            "GRU",
            [key if key in self.arrays else "" for key in INPUTS[:count]],
            [key if key in self.outputs else "" for key in OUTPUTS[:last]],
            name="the_gru",
            **self.attributes,
        )
        if self.metadata:
            helper.set_model_props(node, self.metadata)
        nodes, initializers = [node], []
        inputs = [self._info(key) for key in self.fed]
        for key in self.arrays:
            if key in self.fed:
                continue
            tensor = numpy_helper.from_array(np.ascontiguousarray(self._typed(key)), key)
            if self.storage == "node":
                nodes.insert(0, helper.make_node("Constant", [], [key], value=tensor))
            elif self.storage == "cast" and self.arrays[key].dtype.kind == "f":
                narrow = numpy_helper.from_array(self.arrays[key].astype(np.float16), f"{key}/narrow")
                initializers.append(narrow)
                nodes.insert(
                    0,
                    helper.make_node("Cast", [narrow.name], [key], to=TensorProto.FLOAT),
                )
            else:
                initializers.append(tensor)
                if self.storage == "default":
                    inputs.append(helper.make_tensor_value_info(key, tensor.data_type, tensor.dims))
        outputs = [self._info(key) for key in self.outputs]
        graph = helper.make_graph(nodes, "one_gru", inputs, outputs, initializers)
        opsets = [helper.make_opsetid("", self.opset)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=8, producer_name=self.producer)

    @property
    def plain(self) -> NodeCase:
        """The same node in the one form that ONNX Runtime always takes: opset 14, time first, float32, hidden_size."""
        attributes = {key: value for key, value in self.attributes.items() if key not in ("layout", "output_sequence")}
        attributes["hidden_size"] = self.arrays["R"].shape[2]
        turned = {key: self.arrays[key].swapaxes(0, 1) for key in ("X", "initial_h") if key in self.arrays}
        arrays = self.arrays | (turned if self.attributes.get("layout", 0) else {})
        return NodeCase(attributes, arrays, 14, self.outputs, is_free=self.is_free)

    def turned(self, answers: Mapping[str, Array]) -> dict[str, Array]:
        """What `plain` answers, in this node's layout."""
        if not self.attributes.get("layout", 0):
            return dict(answers)
        orders = {"Y": (2, 0, 1, 3), "Y_h": (1, 0, 2)}
        return {key: value.transpose(orders[key]) for key, value in answers.items()}

    def write(self, path: Path) -> Path:
        if self.storage == "external":
            external = {"save_as_external_data": True, "location": f"{path.stem}.data", "size_threshold": 0}
            onnx.save_model(self.model, path, **external)
        else:
            onnx.save_model(self.model, path)
        return path

    def _typed(self, key: str) -> Array:
        return self.arrays[key].astype(np.int32 if key == "sequence_lens" else DTYPES[self.dtype])

    def _info(self, key: str) -> onnx.ValueInfoProto:
        batch_first = self.attributes.get("layout", 0) == 1
        steps, batch, size = self.arrays["X"].transpose(1, 0, 2).shape if batch_first else self.arrays["X"].shape
        directions, _, hidden = self.arrays["R"].shape
        if self.is_free:
            steps, batch = "time", "batch"
        shapes: dict[str, list[Any]] = {
            "X": [batch, steps, size] if batch_first else [steps, batch, size],
            "sequence_lens": [batch],
            "initial_h": [batch, directions, hidden] if batch_first else [directions, batch, hidden],
            "Y": [batch, steps, directions, hidden] if batch_first else [steps, directions, batch, hidden],
            "Y_h": [batch, directions, hidden] if batch_first else [directions, batch, hidden],
        }
        kind = (
            TensorProto.INT32
            if key == "sequence_lens"
            else helper.np_dtype_to_tensor_dtype(np.dtype(DTYPES[self.dtype]))
        )
        return helper.make_tensor_value_info(key, kind, shapes[key])


def node_case(**changes: Any) -> NodeCase:
    """Two directions, 4 rows of 6 steps, 3 features, 5 units, every input; `changes`: arrays, or as NodeCase has it."""
    rng = np.random.default_rng(3)
    arrays = {
        "X": rng.uniform(-2, 2, (6, 4, 3)),
        "W": rng.uniform(-1, 1, (2, 15, 3)),
        "R": rng.uniform(-0.6, 0.6, (2, 15, 5)),
        "B": rng.uniform(-0.5, 0.5, (2, 30)),
        "sequence_lens": np.array([6, 2, 5, 1], np.int32),
        "initial_h": rng.uniform(-1, 1, (2, 4, 5)),
    }
    arrays |= {key: changes.pop(key) for key in list(changes) if key in arrays}
    arrays = {key: np.float32(value) if key != "sequence_lens" else value for key, value in arrays.items()}
    attributes = {"hidden_size": 5, "direction": "bidirectional", "linear_before_reset": 1}
    attributes |= changes.pop("attributes", {})
    arrays = {key: value for key, value in arrays.items() if key not in changes.get("without", ())}
    changes.pop("without", None)
    return NodeCase({key: value for key, value in attributes.items() if value is not None}, arrays, **changes)


def onnxruntime_answer(model: onnx.ModelProto | Path, feeds: Mapping[str, Array]) -> dict[str, Array] | str:
    """Each output by ONNX Runtime, on one thread; a text, its first line, where it refuses."""
    import onnxruntime

    onnxruntime.set_default_logger_severity(4)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    source = str(model) if isinstance(model, Path) else model.SerializeToString()
    try:
        session = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        answers = session.run(None, dict(feeds))
    except Exception as refusal:  # onnxruntime has a class of its own for each of its codes
        return str(refusal).splitlines()[0]
    return dict(zip([output.name for output in session.get_outputs()], answers, strict=True))
