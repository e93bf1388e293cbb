"""Layout: a network's ports at work, between the arrays of its callers and those of the core."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ._openmp import core
from .errors import BadInput
from .graph import Graph
from .layers.base import Array, TensorSpec
from .ports import Port


def seen(values: Sequence[tuple[TensorSpec, Port | None]]) -> tuple[TensorSpec, ...]:
    """Values with their ports as callers see them."""
    return tuple(value if port is None else port.spec(value) for value, port in values)


class Layout:
    """The inputs and outputs of a Graph that has ports, as callers see them.

    Attributes
    ----------
    inputs, outputs : tuple of TensorSpec
    """

    def __init__(self, graph: Graph) -> None:
        self.inputs, self.outputs = seen(graph.ported_inputs), seen(graph.ported_outputs)
        self._inputs = [(value, port if port and port.moves(value) else None) for value, port in graph.ported_inputs]
        self._outputs = [
            (value, port if port and (port.moves(value) or spec.dtype != value.dtype) else None)
            for (value, port), spec in zip(graph.ported_outputs, self.outputs, strict=True)
        ]
        self._places = {spec.name: place for place, spec in enumerate(self.inputs)}

    @classmethod
    def of(cls, graph: Graph) -> Layout | None:
        """A Graph's layout; None where the core takes and gives what callers see."""
        layout = cls(graph)
        return layout if any(port is not None for _, port in (*layout._inputs, *layout._outputs)) else None

    def taken(self, name: str, x: Any) -> Any:
        """What a caller gives for an input, as (batch, …) or (batch, time, …), without a copy where strides can
        express it.

        Raises
        ------
        BadInput
            It is no array of numbers of the port's shape; names the port.
        """
        place = self._places[name]
        value, port = self._inputs[place]
        return x if port is None else port.to_value(core.checked_array(x, self.inputs[place]), value)

    def all_taken(self, inputs: Sequence[Any]) -> tuple[Any, ...]:
        """`taken` of every input, in order."""
        return tuple(self.taken(spec.name, x) for spec, x in zip(self.inputs, inputs, strict=True))

    def given(self, name: str, value: Array) -> Array:
        """A batch-first array as a caller would give it for an input."""
        place = self._places[name]
        spec, port = self._inputs[place]
        return value if port is None else port.from_value(value, spec)

    def run(
        self, runner: Any, inputs: Sequence[Any], lengths: Any, mask: Any, threads: int, out: Any
    ) -> tuple[Any, ...]:
        """A whole call that is not for the fast path: `Runner._run` between the callers' arrays."""
        arrays = self.all_taken(inputs)
        given = self._checked(out, arrays)
        places = [
            array if port is None else _Place(port, value, spec, array)
            for (value, port), spec, array in zip(self._outputs, self.outputs, given, strict=True)
        ]
        results = runner._run(arrays, lengths, mask, threads, tuple(places), False)
        pairs = zip(places, results, strict=True)
        return tuple(place.finished() if isinstance(place, _Place) else result for place, result in pairs)

    def _checked(self, out: Any, arrays: Sequence[Any]) -> tuple[Any, ...]:
        """What `out=` holds for each output; no two arrays of it overlap, nor one of them an input."""
        if out is None:
            return (None,) * len(self.outputs)
        given = (out,) if isinstance(out, np.ndarray) else tuple(out)
        if len(given) != len(self.outputs):
            raise BadInput(f"out= should hold {len(self.outputs)} arrays, holds {len(given)}")
        others = [array for array in arrays if isinstance(array, np.ndarray)]
        for spec, array in zip(self.outputs, given, strict=True):
            if array is not None and any(np.may_share_memory(array, other) for other in others):
                raise BadInput(f"out= for {spec.name!r} overlaps another array of this call")
            others.append(array)
        return given


class _Place:
    """Where one output of one call goes: called with a value's shape it says where the core should write it."""

    def __init__(self, port: Port, value: TensorSpec, spec: TensorSpec, out: Any) -> None:
        self._port, self._value, self._spec = port, value, spec
        self._out: Any = out
        self._written: Array | None = None  # by the core, where that cannot write to `_out`

    def __call__(self, shape: tuple[int, ...], dtype: Any) -> Array:
        port, value = self._port, self._value
        if shape[0] != 1 and not port.has_batch:
            raise BadInput(f"output {port.name!r} has no batch axis, so a batch has one row; got {shape[0]}")
        wanted = port.shape(shape, value.is_sequence)
        own = np.dtype(port.dtype or dtype)
        if self._out is None:
            self._out = np.empty(wanted, own)
        else:
            core.check_output(self._out, self._spec, wanted, own)
        direct = port.place(self._out, shape, value) if own == dtype else None
        if direct is not None:
            return direct
        self._written = np.empty(shape, dtype)
        return self._written

    def finished(self) -> Array:
        """The caller's array, after the run."""
        if self._written is not None:
            self._port.copy(self._written, self._out, self._value)
        return self._out  # type: ignore[no-any-return]


class Rows:
    """The batch axes of a network's inputs and outputs, to run it on some rows after the others.

    Parameters
    ----------
    inputs, outputs : sequence of TensorSpec
        As callers see them.
    ports : sequence of (Port or None)
        Of the outputs.
    """

    def __init__(
        self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], ports: Sequence[Port | None]
    ) -> None:
        self._inputs = {spec.name: spec.axes.index("batch") if "batch" in spec.axes else None for spec in inputs}
        self._outputs = [(spec.name, _rows_axis(port)) for spec, port in zip(outputs, ports, strict=True)]

    def count(self, arrays: Mapping[str, Any]) -> int:
        """The number of rows of all inputs; 1 where none has a batch axis.

        Raises
        ------
        BadInput
            Inputs of different numbers of rows, or without a batch axis that they should have.
        """
        counts = []
        for name, array in arrays.items():
            axis = self._inputs.get(name, 0)
            if axis is None:
                continue
            if np.ndim(array) <= axis:
                raise BadInput(f"input {name!r} should be an array with a batch axis, has shape {np.shape(array)}")
            counts.append(len(array) if axis == 0 else np.shape(array)[axis])
        if len(set(counts)) > 1 or len(arrays) != len(self._inputs):
            raise BadInput(f"expected {len(self._inputs)} inputs of one number of rows, got rows {counts}")
        return counts[0] if counts else 1

    def part(self, arrays: Mapping[str, Any], rows: slice) -> dict[str, Any]:
        """Some rows of each input; the whole of one that has no batch axis."""
        return {name: self._some(array, self._inputs.get(name, 0), rows) for name, array in arrays.items()}

    def joined(self, place: int, parts: Sequence[Array]) -> Array:
        """One output of several calls with their rows after each other.

        Raises
        ------
        BadInput
            The output has no axis along which rows follow each other.
        """
        name, axis = self._outputs[place]
        if len(parts) == 1:
            return parts[0]
        if axis is None:
            raise BadInput(f"output {name!r} has no axis along which rows follow each other: give all rows to one call")
        return np.concatenate(parts, axis)

    @staticmethod
    def _some(array: Any, axis: int | None, rows: slice) -> Any:
        if axis is None:
            return array
        return array[rows] if axis == 0 else np.asarray(array)[(slice(None),) * axis + (rows,)]


def _rows_axis(port: Port | None) -> int | None:
    if port is None:
        return 0
    return next((place for place, group in enumerate(port.axes) if group[:1] == (0,)), None)


class Feed:
    """How an output of one call becomes an input of the next one: the core's array of the one as that of the other.

    It goes the way of the callers' arrays where the two have different layouts, but keeps its dtype.

    Attributes
    ----------
    input, output : int
        Their places in the network's inputs and outputs.
    """

    def __init__(self, graph: Graph, source: str, target: str) -> None:
        self.input, self.output = graph.input_names.index(source), graph.output_names.index(target)
        self._to, to = graph.ported_inputs[self.input]
        self._from, from_ = graph.ported_outputs[self.output]
        self._inner = self._to.inner
        self._in_port = _with_batch(to or Port.plain(self._to))
        self._out_port = _with_batch(from_ or Port.plain(self._from))
        self._is_same = (self._in_port.sizes, self._in_port.axes) == (self._out_port.sizes, self._out_port.axes)

    def __call__(self, array: Array) -> Array:
        if not self._is_same:
            array = self._in_port.to_value(self._out_port.from_value(array, self._from), self._to)
        return array if array.shape[1:] == self._inner else array.reshape(len(array), *self._inner)


def _with_batch(port: Port) -> Port:
    """The port of any number of rows, where callers see a batch of one as no axis; of the value's own dtype."""
    return replace(port, dtype=None, axes=port.axes if port.has_batch else ((0,), *port.axes))
