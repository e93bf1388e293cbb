"""Which inputs of a network are states that outputs of the call before feed: by its GRUs, else by their names."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterable, Iterator

import numpy as np

from .graph import GRU, Concatenate, Graph, Layer, Reshape, Slice, TensorSpec, Transpose
from .ports import Port, state_fault

#: parts of names that say "what came in" or "what goes out"
_ENDS = frozenset((
    "in", "out", "input", "output", "prev", "previous", "next", "new", "old", "last", "initial", "init", "final",
    "updated", "current", "cur", "0", "n", "t", "1",
))  # fmt: skip


def with_states(graph: Graph) -> Graph:
    """The Graph with the pairs (input, output) that a Stream may carry, and notes that say so."""
    pairs, are_guessed = find_states(graph)
    why = ": their names and shapes fit" if are_guessed else ""
    notes = [f"stream() carries output {target!r} back to input {source!r}{why}" for source, target in pairs]
    return dataclasses.replace(graph, states=pairs, notes=(*graph.notes, *notes)) if pairs else graph


def find_states(graph: Graph) -> tuple[tuple[tuple[str, str], ...], bool]:
    """The pairs (input, output) of a network's states, by the names that callers see.

    Returns
    -------
    pairs : tuple of (str, str)
    are_guessed : bool
        Whether only names and shapes say so, not what GRUs begin and end with.
    """
    inputs, outputs = _ported(graph, graph.inputs, graph.input_ports), list(_outputs(graph))
    pairs = _by_wiring(graph, inputs, outputs)
    return (pairs, False) if pairs else (_by_names(inputs, outputs), True)


def last_states(graph: Graph) -> set[str]:
    """The outputs that hold last states of GRUs and nothing else, by the names that callers see."""
    numbers = _Numbers()  # which knows no inputs, so that all numbers are those of states
    for layer in graph.layers:
        numbers.follow(layer, graph)
    return {name for name, spec, _ in _outputs(graph) if spec.name in numbers.known}


# ---- by what GRUs start from and end with ----------------------------------------------------------------------------


def _by_wiring(graph: Graph, inputs: _Ports, outputs: _Ports) -> tuple[tuple[str, str], ...]:
    """An input each of whose numbers one unit of a GRU starts from, and an output that holds where those end."""
    numbers = _Numbers()
    for spec in graph.inputs:
        if not spec.is_sequence and spec.dtype == "float32":
            numbers.known[spec.name] = numbers.fresh(spec.inner)
    for layer in graph.layers:
        numbers.follow(layer, graph)
    pairs = []
    for name, spec, port in inputs:
        held = numbers.known.get(spec.name)
        if held is None:
            continue
        ends = _seen(np.vectorize(lambda number: numbers.ends.get(number, -1), otypes=[int])(held), spec, port)
        if np.any(ends < 0):
            continue
        fits = [
            other
            for other, value, shown in outputs
            if value.name in numbers.known and np.array_equal(_seen(numbers.known[value.name], value, shown), ends)
        ]
        if fits and _is_state(graph, name, fits[0]):
            pairs.append((name, fits[0]))
    return tuple(pairs)


class _Numbers:
    """Every number of a row of values without time has a number of its own, and values say which they hold.

    Attributes
    ----------
    known : dict of str to array of int
        By value, in the shape of a row.
    ends : dict of int to int
        A number that one unit of a GRU starts from → that which this unit ends with.
    """

    def __init__(self) -> None:
        self.known: dict[str, np.ndarray] = {}
        self.ends: dict[int, int] = {}
        self._next = 0

    def fresh(self, shape: tuple[int, ...]) -> np.ndarray:
        count = math.prod(shape)
        self._next += count
        return np.arange(self._next - count, self._next).reshape(shape)

    def follow(self, layer: Layer, graph: Graph) -> None:
        """What a layer's value holds, if it moves numbers alone or is a GRU."""
        given = [self.known.get(name) for name in layer.inputs]
        if isinstance(layer, GRU):
            self._follow_gru(layer, given[1] if len(given) > 1 else None)
            return
        held = [array for array in given if array is not None]
        if isinstance(layer, (Reshape, Slice)) and not held:
            self._follow_last(layer, graph)
            return
        if len(held) < len(given):
            return
        if isinstance(layer, Reshape):
            self.known[layer.name] = held[0].reshape(graph.specs[layer.name].inner)
        elif isinstance(layer, Transpose):
            self.known[layer.name] = held[0].transpose([axis - 1 for axis in layer.order])
        elif isinstance(layer, Slice):
            axis = layer.axis % (held[0].ndim + 1) - 1
            entries = held[0][(slice(None),) * axis + (slice(layer.start, layer.stop, layer.step),)]
            self.known[layer.name] = entries.squeeze(axis) if layer.drop else entries
        elif isinstance(layer, Concatenate):
            axis = layer.axis % (held[0].ndim + 1) - 1
            self.known[layer.name] = np.concatenate(held, axis)

    def _follow_gru(self, layer: GRU, start: np.ndarray | None) -> None:
        if layer.go_backwards:
            return
        end = self.fresh((layer.units,))
        self.known[f"{layer.name}:state"] = end
        if not layer.return_sequences and layer.mask is None:
            self.known[layer.name] = end
        if start is not None:
            taken = start.ravel().tolist()
            twice = [number for number in taken if number in self.ends]
            self.ends.update(dict.fromkeys(twice, -1) or zip(taken, end.tolist(), strict=True))

    def _follow_last(self, layer: Reshape | Slice, graph: Graph) -> None:
        """The last step of a GRU's output is its state; so is the only one."""
        source = next((found for found in graph.layers if found.name == layer.inputs[0]), None)
        if not isinstance(source, GRU) or source.mask is not None or f"{source.name}:state" not in self.known:
            return
        is_last = isinstance(layer, Slice) and layer.axis == 1 and layer.takes_last
        is_only = isinstance(layer, Reshape) and not layer.per_step and graph.specs[source.name].shape[1] == 1
        if is_last or (is_only and not graph.specs[layer.name].is_sequence):
            self.known[layer.name] = self.known[f"{source.name}:state"]


def _seen(held: np.ndarray, spec: TensorSpec, port: Port | None) -> np.ndarray:
    """The numbers of a row in the order in which callers see them."""
    if port is None:
        return held.ravel()
    order = [part - 1 for parts in port.axes for part in parts if part]
    return held.reshape(port.sizes).transpose(order).ravel()


# ---- by names --------------------------------------------------------------------------------------------------------


def _by_names(inputs: _Ports, outputs: _Ports) -> tuple[tuple[str, str], ...]:
    """Inputs and outputs of one shape without time, whose names differ by words for in and out alone."""
    found = []
    for name, spec, port in inputs:
        fits = [
            other
            for other, value, shown in outputs
            if stem(other) == stem(name)
            and state_fault([(name, other)], [(spec, port)], [(value, shown)]) is None
        ]
        rivals = [other for other, _, _ in inputs if stem(other) == stem(name)]
        if len(fits) == 1 and len(rivals) == 1:
            found.append((name, fits[0]))
    return tuple(found)


def stem(name: str) -> tuple[str, ...]:
    """What a name says without its words for in and out: ``h_in`` and ``h_out``, ``h0`` and ``hn`` are one.

    >>> stem("state_h_in") == stem("state_h_out") == ("state", "h")
    True
    """
    words = [word for word in re.split(r"[^a-z0-9]+", name.lower()) if word]
    words = [re.sub(r"^([hc])[0nt]$", r"\1", word) for word in words]
    words = [re.sub(r"^([a-z]+?\d*)(in|out)$", r"\1", word) for word in words]
    return tuple(word for word in words if word not in _ENDS)


# ---- helpers ---------------------------------------------------------------------------------------------------------

_Ports = list[tuple[str, TensorSpec, Port | None]]


def _ported(graph: Graph, specs: Iterable[TensorSpec], ports: tuple[Port | None, ...]) -> _Ports:
    listed = list(specs)
    shown = ports or (None,) * len(listed)
    return [(port.name if port else spec.name, spec, port) for spec, port in zip(listed, shown, strict=True)]


def _outputs(graph: Graph) -> Iterator[tuple[str, TensorSpec, Port | None]]:
    yield from _ported(graph, [graph.specs[name] for name in graph.outputs], graph.output_ports)


def _is_state(graph: Graph, source: str, target: str) -> bool:
    inputs = [(spec, port) for _, spec, port in _ported(graph, graph.inputs, graph.input_ports)]
    outputs = [(spec, port) for _, spec, port in _outputs(graph)]
    return state_fault([(source, target)], inputs, outputs) is None
