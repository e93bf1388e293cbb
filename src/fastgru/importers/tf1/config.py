"""A checkpoint without its graph: the layers, as `config=` lists them in order, over the checkpoint's variables.

A list (or a JSON file with one) of dicts, each with its ``"kind"``; nothing is guessed, so every key must be there::

    [
      {"kind": "Embedding", "table": "embedding"},
      {"kind": "GRUCell", "scope": "rnn/multi_rnn_cell/cell_0/gru_cell", "activation": "tanh",
       "return_sequences": true},
      {"kind": "CudnnCompatibleGRUCell", "scope": "rnn/multi_rnn_cell/cell_1/cudnn_compatible_gru_cell",
       "activation": "tanh", "return_sequences": false},
      {"kind": "Dense", "kernel": "dense/kernel", "bias": "dense/bias", "activation": "softmax"}
    ]

``"bias": null`` is a Dense without one. `lengths=` of a call does what `sequence_length` did: zeros past the end of a
row, and its last state.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ... import graph
from ...errors import BadInput
from ...graph import ROWWISE, Activation, Graph, TensorSpec, tensor_spec
from ..builder import GraphBuilder
from ..cell import Cell
from ..recurrent import add_stack
from .nodes import Array

#: by the names that TensorFlow gives its functions
ACTIVATIONS = {
    name: Activation.of(name)
    for name in (
        "linear", "relu", "sigmoid", "tanh", "elu", "selu", "softplus", "softsign", "softmax", "log_softmax",
    )
} | {
    "identity": Activation.of("linear"),
    "relu6": Activation.of("relu", max_value=6),
    "leaky_relu": Activation.of("relu", negative_slope=0.2),
}  # fmt: skip


def build(arrays: Mapping[str, Array], config: Any) -> Graph:
    """The Graph of listed layers over a checkpoint's arrays.

    Raises
    ------
    BadInput
        All that is wrong with the list at once, and which variables there are.
    """
    layers = _loaded(config)
    reader = _Reader(arrays)
    for index, entry in enumerate(layers):
        reader.read(index, entry)
    if reader.faults:
        faults = "".join(f"\n  - {fault}" for fault in reader.faults)
        raise BadInput(f"config= does not describe the checkpoint, whose variables are {listed(arrays)}:{faults}")
    return reader.graph()


def listed(arrays: Mapping[str, Array]) -> str:
    """The variables for people, with their shapes."""
    shape = getattr(arrays, "shape", lambda name: arrays[name].shape)
    return ", ".join(f"{name} {tuple(shape(name))}" for name in sorted(arrays)) or "none"


def _loaded(config: Any) -> list[Any]:
    if isinstance(config, (str, os.PathLike)):
        path = Path(config)
        try:
            config = json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:
            raise BadInput(f"config={str(path)!r} is not JSON: {error}") from error
    if isinstance(config, Mapping) and set(config) == {"layers"}:
        config = config["layers"]
    if not isinstance(config, Sequence) or isinstance(config, (str, bytes)) or not config:
        raise BadInput(f"config= should be a list of layers, is {type(config).__name__}")
    return list(config)


class _Reader:
    """Turns entries into layers one after the other; what is wrong with them comes together in `faults`."""

    def __init__(self, arrays: Mapping[str, Array]) -> None:
        self.arrays = arrays
        self.faults: list[str] = []
        self.steps: list[Callable[[GraphBuilder, TensorSpec], TensorSpec]] = []
        self.input: TensorSpec | None = None
        self._used: set[str] = set()
        self._where = ""

    def read(self, index: int, entry: Any) -> None:
        kind = entry.get("kind") if isinstance(entry, Mapping) else None
        self._where = f"layer {index} ({kind})"
        readers: dict[Any, tuple[Callable[[dict[str, Any]], None], tuple[str, ...]]] = {
            "Embedding": (self._embedding, ("table",)),
            "GRUCell": (self._gru, ("scope", "activation", "return_sequences")),
            "CudnnCompatibleGRUCell": (self._cudnn_gru, ("scope", "activation", "return_sequences")),
            "Dense": (self._dense, ("kernel", "bias", "activation")),
        }
        if not isinstance(kind, str) or kind not in readers:
            self._fault(f"should be of a kind among {', '.join(readers)}")
            return
        reader, keys = readers[kind]
        missing = [key for key in keys if key not in entry]
        foreign = sorted(str(key) for key in set(entry) - {"kind", *keys})
        if missing:
            self._fault(f"lacks {', '.join(missing)}")
        if foreign:
            self._fault(f"has {', '.join(foreign)}, which it does not take")
        if not missing and not foreign:
            reader(dict(entry))

    def graph(self) -> Graph:
        builder = GraphBuilder()
        assert self.input is not None
        value = builder.input(self.input)
        for step in self.steps:
            value = step(builder, value)
        unused = sorted(set(self.arrays) - self._used)
        notes = (f"variables that config= does not name: {', '.join(unused)}",) if unused else ()
        return builder.graph([value], notes=notes)

    # ---- kinds -----------------------------------------------------------------------------------------------------

    def _embedding(self, entry: dict[str, Any]) -> None:
        table = self._array(entry["table"], 2)
        if table is None:
            return
        if self.input is not None:
            self._fault("should come first")
            return
        self.input = tensor_spec("x", None, (), "int32")
        self.steps.append(lambda builder, x: builder.add(graph.Embedding, str(entry["table"]), x, table=table))

    def _gru(self, entry: dict[str, Any]) -> None:
        gates, late = self._scoped(entry, "gates/kernel", 2), self._scoped(entry, "candidate/kernel", 2)
        bias, late_bias = self._scoped(entry, "gates/bias", 1), self._scoped(entry, "candidate/bias", 1)
        if gates is None or late is None or bias is None or late_bias is None:
            return
        units, depth = late.shape[1], len(late) - late.shape[1]
        if not self._fits(gates, (depth + units, 2 * units)) or not self._fits(bias, (2 * units,)):
            return
        if depth < 1 or not self._fits(late_bias, (units,)):
            return
        self._add_gru(entry, Cell.of_tf1(gates, late, bias, late_bias))

    def _cudnn_gru(self, entry: dict[str, Any]) -> None:
        gates, bias = self._scoped(entry, "gates/kernel", 2), self._scoped(entry, "gates/bias", 1)
        ahead = self._scoped(entry, "candidate/input_projection/kernel", 2)
        ahead_bias = self._scoped(entry, "candidate/input_projection/bias", 1)
        late = self._scoped(entry, "candidate/hidden_projection/kernel", 2)
        late_bias = self._scoped(entry, "candidate/hidden_projection/bias", 1)
        if gates is None or bias is None or ahead is None or ahead_bias is None or late is None or late_bias is None:
            return
        depth, units = ahead.shape
        if not all((
            self._fits(gates, (depth + units, 2 * units)), self._fits(bias, (2 * units,)),
            self._fits(ahead_bias, (units,)), self._fits(late, (units, units)), self._fits(late_bias, (units,)),
        )):  # fmt: skip
            return
        self._add_gru(entry, Cell.of_tf1_cudnn(gates, bias, ahead, ahead_bias, late, late_bias))

    def _add_gru(self, entry: dict[str, Any], cell: Cell) -> None:
        activation = self._activation(entry["activation"])
        sequences = entry["return_sequences"]
        if not isinstance(sequences, bool):
            self._fault(f"return_sequences should be true or false, is {sequences!r}")
            return
        if activation is None:
            return
        if activation.name in ROWWISE:
            self._fault(f"activation {activation.name!r} looks at a whole row; a cell takes an elementwise one")
            return
        if self.input is None:
            self.input = tensor_spec("x", None, (cell.input_size,))
        cells = [[replace(cell, activation=activation)]]

        def step(builder: GraphBuilder, x: TensorSpec) -> TensorSpec:
            mask = f"{builder.inputs[0].name}:mask"
            return add_stack(builder, str(entry["scope"]), x, cells, mask=mask, sequences=sequences).output

        self.steps.append(step)

    def _dense(self, entry: dict[str, Any]) -> None:
        kernel = self._array(entry["kernel"], 2)
        bias = None if entry["bias"] is None else self._array(entry["bias"], 1)
        activation = self._activation(entry["activation"])
        if kernel is None or activation is None or (bias is None and entry["bias"] is not None):
            return
        if bias is not None and not self._fits(bias, kernel.shape[1:]):
            return
        if self.input is None:
            self.input = tensor_spec("x", None, (len(kernel),))
        weights = {"kernel": kernel, "bias": bias, "activation": activation}
        name = str(entry["kernel"]).rpartition("/")[0] or str(entry["kernel"])
        self.steps.append(lambda builder, x: builder.add(graph.Dense, name, x, **weights))

    # ---- values ----------------------------------------------------------------------------------------------------

    def _scoped(self, entry: dict[str, Any], name: str, axes: int) -> Array | None:
        return self._array(f"{entry['scope']}/{name}", axes)

    def _array(self, name: Any, axes: int) -> Array | None:
        if not isinstance(name, str) or name not in self.arrays:
            self._fault(f"there is no variable {name!r}")
            return None
        self._used.add(name)
        array = self.arrays[name]
        if array.ndim != axes or array.dtype.kind != "f" or not array.size:
            self._fault(f"{name} should hold numbers in {axes} axes, has {array.dtype} of shape {array.shape}")
            return None
        return np.ascontiguousarray(array, np.float32)

    def _activation(self, name: Any) -> Activation | None:
        if not isinstance(name, str) or name not in ACTIVATIONS:
            self._fault(f"activation should be one of {', '.join(ACTIVATIONS)}, is {name!r}")
            return None
        return ACTIVATIONS[name]

    def _fits(self, array: Array, shape: tuple[int, ...]) -> bool:
        if array.shape != shape:
            self._fault(f"an array should have shape {shape}, has {array.shape}")
        return array.shape == shape

    def _fault(self, text: str) -> None:
        self.faults.append(f"{self._where}: {text}")
