"""The Graph of a TensorFlow network as it grows: layers for values, in TensorFlow's layout of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ... import graph
from ...graph import LINEAR, Layer, TensorSpec
from ..builder import GraphBuilder
from ..sizes import Dim
from .cell import CellStep
from .nodes import Array
from .values import (
    LAZY,
    Active,
    Affine,
    Complement,
    Filled,
    Product,
    Refused,
    State,
    Step,
    Tensor,
    is_zero,
    shape_of,
)


class Assembly:
    """Appends layers to a `GraphBuilder`; an expression is computed once, whoever needs it."""

    def __init__(self) -> None:
        self.builder = GraphBuilder()
        self.notes: dict[str, None] = {}
        self._made: dict[int, tuple[Any, Tensor | Step]] = {}
        #: the sequences of unrolled GRUs, by the name of their layer: cell, input, initial state
        self._unrolled: dict[str, tuple[CellStep, str, Any]] = {}

    def weights(self, value: Any, axes: int | None = None) -> Array:
        """A constant of numbers as float32."""
        if not isinstance(value, np.ndarray) or value.dtype.kind not in "fiu":
            raise Refused("needs weights that are constants or variables of the file")
        if axes is not None and value.ndim != axes:
            raise Refused(f"needs weights with {axes} axes, has some of shape {value.shape}")
        if value.dtype != np.float32 and value.dtype.kind == "f":
            self.notes[f"weights of {value.dtype} were read as float32"] = None
        return np.asarray(value, np.float32)

    def tensor(self, value: Any) -> Tensor:
        """A value that the Graph computes outside of loops."""
        try:
            found = self.computed(value)
        except RecursionError:
            raise Refused("is an expression of too many operations inside each other") from None
        if isinstance(found, Step):
            raise Refused("needs more than the step that its loop has come to")
        return found

    def computed(self, value: Any) -> Tensor | Step:
        """A value that the Graph computes; of a step that is counted out only this step."""
        if isinstance(value, Step) and value.index is not None:
            return self._once(value, lambda: self.cut(value.sequence, value.index))
        if isinstance(value, (Tensor, Step)):
            return value
        if isinstance(value, State):
            raise Refused("reads a loop's state in a way that is no GRU cell's")
        if not isinstance(value, LAZY):
            raise Refused("needs a value that depends on the network's inputs")
        return self._once(value, lambda: self._evaluated(value))

    def _once(self, value: Any, make: Any) -> Any:
        if id(value) not in self._made:
            self._made[id(value)] = (value, make())  # the value is kept, so that its id is not used anew
        return self._made[id(value)][1]

    def _evaluated(self, value: Any) -> Tensor | Step:
        if isinstance(value, Active):
            return self._active(value)
        if isinstance(value, Affine):
            return self._affine(value, LINEAR)
        if isinstance(value, Complement):
            ones = np.ones(1, np.float32)
            return self.layer(graph.Scale, value.name, value.value, scale=-ones, offset=ones)
        if isinstance(value, Product):
            return self.layer(graph.Combine, value.name, value.left, value.right, operation="multiply")
        return self.layer(graph.Concatenate, "concat", *value.parts, axis=-1)

    def _active(self, value: Active) -> Tensor | Step:
        inner = value.value
        is_dense = isinstance(inner, Affine) and len(inner.terms) == 1 and inner.terms[0].matrix is not None
        if is_dense and id(inner) not in self._made:
            return self._affine(replace(inner, name=value.name), value.function)
        return self.layer(graph.Activate, value.name, inner, activation=value.function)

    def _affine(self, value: Affine, function: graph.Activation) -> Tensor | Step:
        """A Dense for each matrix, added up."""
        bias, parts = value.bias, []
        for term in value.terms:
            if term.matrix is None:
                parts.append(self.computed(term.value))
                continue
            kernel = np.ascontiguousarray(term.matrix)
            parts.append(self.layer(graph.Dense, value.name, term.value, kernel=kernel, bias=bias, activation=function))
            bias = None
        total = parts[0] if len(parts) == 1 else self.layer(graph.Combine, value.name, *parts, operation="add")
        return total if bias is None else self.layer(graph.Scale, value.name, total, offset=bias)

    def layer(self, kind: type[Layer], name: str, *values: Any, **attributes: Any) -> Tensor | Step:
        """Append a layer that works on the last axis of each step by itself and keeps the layout."""
        found = [self.computed(value) for value in values]
        tensors = [value.sequence if isinstance(value, Step) else value for value in found]
        first = tensors[0]
        for value, tensor in zip(found, tensors, strict=True):
            if isinstance(value, Step) != isinstance(found[0], Step):
                raise Refused("joins what a loop reads step by step with what it does not")
            if tensor.axes != first.axes or tensor.steps != first.steps:
                raise Refused(f"joins values of shapes {_shown(first)} and {_shown(tensor)}")
            if not tensor.axes or tensor.axes[-1] != (len(tensor.spec.shape) - 1,):
                raise Refused(f"works on the last axis, which is not that of the features in {_shown(tensor)}")
        spec = self.builder.add(kind, name, *(tensor.spec for tensor in tensors), **attributes)
        made = replace(first, spec=spec)
        return Step(made, None) if isinstance(found[0], Step) else made

    def shaped(self, kind: type[Layer], name: str, value: Tensor, axes: Any, steps: Dim, **attributes: Any) -> Tensor:
        """Append a layer that changes the layout."""
        return Tensor(self.builder.add(kind, name, value.spec, **attributes), tuple(axes), steps)

    def cut(self, sequence: Tensor, index: int) -> Tensor:
        """One step of a sequence; the last one is −1."""
        axes = without_axis([group for group in sequence.axes if group != (1,)], 1)
        source = self.builder.layer(sequence.spec.name)
        is_last = index == -1 or (isinstance(sequence.steps, int) and index == sequence.steps - 1)
        if is_last and isinstance(source, graph.GRU) and source.mask is None and not source.time_order:
            return Tensor(self.builder.spec(f"{source.name}:state"), axes)
        start, stop = (-1, None) if is_last else (index, index + 1)
        name = f"{sequence.spec.name}_step"
        return self.shaped(graph.Slice, name, sequence, axes, 1, axis=1, start=start, stop=stop, drop=True)

    def gru(self, step: CellStep, name: str, mask: str | None = None) -> Tensor:
        """The GRU over all steps of the sequences that a cell reads: its outputs (batch, time, units)."""
        read = [value if isinstance(value, Step) else self.computed(value) for value in step.inputs]
        if not all(isinstance(value, Step) for value in read):
            raise Refused("is a GRU cell that reads a value without steps")
        sequences = [value.sequence for value in read if isinstance(value, Step)]
        first = sequences[0]
        if len(sequences) > 1:
            joined = self.layer(graph.Concatenate, f"{name}_input", *(Step(value, None) for value in sequences))
            first = joined.sequence if isinstance(joined, Step) else joined
        if without_axis([group for group in first.axes if group != (1,)], 1) != ((0,), (1,)) or len(first.axes) != 3:
            raise Refused(f"is a GRU cell over {_shown(first)}, not over steps of (batch, features)")
        state, constant = self._initial(step)
        spec = self.builder.add(
            graph.GRU, name, *([first.spec] if state is None else [first.spec, state]), **step.cell.attributes,
            initial_state=constant, return_sequences=True, mask=mask, zero_output_for_mask=mask is not None,
        )  # fmt: skip
        return replace(first, spec=spec)

    def unrolled(self, step: CellStep, name: str) -> Step:
        """A step of a GRU whose steps stand one after the other in the graph."""
        read = [value for value in step.inputs if isinstance(value, Step)]
        if len(read) != len(step.inputs) or any(value.index != read[0].index for value in read):
            raise Refused("is a GRU cell outside of a loop that does not read one step of its sequences")
        key = "/".join(value.sequence.spec.name for value in read)
        index = read[0].index
        if index == 0:
            made = self.gru(step, name)
            self._unrolled[made.spec.name] = (step, key, made)
            return Step(made, 0)
        h = step.h
        if isinstance(h, Step) and index is not None and h.index == index - 1:
            known, source, made = self._unrolled.get(h.sequence.spec.name, (step, "", h.sequence))
            if source == key and step.computes_as(known):
                return Step(made, index)
        raise Refused("is a GRU cell outside of a loop that does not go on from the step before")

    def _initial(self, step: CellStep) -> tuple[TensorSpec | None, Array | None]:
        """A GRU's initial state: a value, or a constant; zero is neither."""
        initial = step.h.initial if isinstance(step.h, State) else step.h
        if isinstance(initial, (Filled, np.ndarray)) and shape_of(initial)[-1:] != (step.units,):
            raise Refused(f"has {step.units} units, but an initial state of another size")
        if is_zero(initial):
            return None, None
        if isinstance(initial, Filled):
            return None, np.full(step.units, initial.value, np.float32)
        if isinstance(initial, np.ndarray):
            rows = self.weights(initial, 2)
            if not len(rows) or (rows != rows[0]).any():
                raise Refused("has an initial state that is constant but not the same for each row")
            return None, np.ascontiguousarray(rows[0])
        found = self.tensor(initial)
        if found.axes != ((0,), (1,)):
            raise Refused(f"has an initial state {_shown(found)}, not (batch, units)")
        return found.spec, None


def without_axis(axes: Any, gone: int) -> tuple[tuple[int, ...], ...]:
    """Axes after one of the spec's is gone."""
    return tuple(tuple(axis - (axis > gone) for axis in group if axis != gone) for group in axes)


def _shown(value: Tensor) -> str:
    """A shape for people: ``(batch, 28, 100)``."""
    return f"({', '.join(map(str, shape_of(value)))})"
