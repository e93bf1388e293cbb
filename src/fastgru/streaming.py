"""Opening a Stream: what it is given, which inputs it feeds with outputs of the call before, and how."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from . import engine
from .errors import BadInput, UnsupportedModel
from .feedback import FeedbackStream
from .graph import GRU, Array, Concatenate, Graph, Identity, Layer, Reshape, Slice, Transpose
from .layout import Feed, Layout
from .obstacles import streaming_obstacles
from .ports import state_fault
from .stream import Carried, Stream

#: layers that move numbers and change none
_MOVES = (Identity, Reshape, Slice, Concatenate, Transpose)


def open_stream(
    plan: Any,
    batch_size: int,
    threads: int,
    inputs: Mapping[str, Any] | None,
    mask_drops: dict[str, str],
    layout: Layout | None,
    state: Mapping[str, str] | None,
) -> Stream:
    """A Stream, after the checks that a network can stream and that the inputs without time are all there.

    Parameters
    ----------
    plan : Plan
    batch_size, threads, inputs, state
        As `Model.stream`.
    mask_drops : dict
        As `Runner`.
    layout : Layout or None
        Of the network, where it has ports.
    """
    graph: Graph = plan.graph
    pairs = _pairs(graph, state)
    reasons = _obstacles(plan)
    starts = None if reasons else _starts(graph, pairs)
    if reasons and not pairs:
        raise UnsupportedModel(reasons)
    rows = 0 if batch_size == 0 and type(batch_size) is not bool else engine.whole_number(batch_size, "batch_size")
    static = _static(plan, rows, inputs, layout, pairs)
    args = plan, rows, engine.thread_limit(threads), static, mask_drops
    if not pairs:
        stream = Stream(*args)
    elif starts is None:
        feeds = {source: Feed(graph, source, target) for source, target in pairs.items()}
        stream = FeedbackStream(*args).carry(feeds)
    else:
        stream = NativeStream(*args).carry(pairs, starts)
    stream._static_inputs = partial(_static_of_one, plan, tuple(static), layout, pairs)
    return stream


def _pairs(graph: Graph, state: Any) -> dict[str, str]:
    """Inputs by the names that callers see, each with the output that feeds it."""
    if state is None:
        return dict(graph.states)
    if not isinstance(state, Mapping):
        raise BadInput(f"stream(state=…) should be a dict of inputs' names to outputs', got {type(state).__name__}")
    fault = state_fault(state.items(), graph.ported_inputs, graph.ported_outputs)
    if fault is not None:
        raise BadInput(f"stream(state=…): {fault}")
    return dict(state)


def _obstacles(plan: Any) -> list[str]:
    reasons = streaming_obstacles(plan.graph)
    if not reasons and not plan.causal:  # the core's own word, should a new layer be missing from the list
        reasons = ["the network must see the whole sequence, so it cannot stream"]
    return reasons


def _static(plan: Any, rows: int, given: Any, layout: Layout | None, pairs: Mapping[str, str]) -> dict[str, Any]:
    """What `inputs=` holds, as the core takes it; states that it lacks begin at zero.

    It holds all inputs without time but states; none of no rows. Where no input has a time axis, those that it lacks
    are the streamed ones.
    """
    needed = [spec.name for spec in plan.inputs if not spec.is_sequence]
    streams = any(spec.is_sequence for spec in plan.inputs)
    optional = set(pairs) if streams and rows else set(needed)
    inputs = _named(given, needed, optional, pairs)
    if not streams and set(inputs) | set(pairs) == set(needed):
        raise BadInput("stream(inputs=…, state=…) hold every input of the network, so there is nothing to stream")
    absent = needed if streams else pairs
    return _zeros(plan, rows, [name for name in absent if name not in inputs]) | _taken(inputs, layout)


def _static_of_one(
    plan: Any, names: Sequence[str], layout: Layout | None, pairs: Mapping[str, str], given: Any
) -> dict[str, Any]:
    """The same for a row of a stream that has inputs of these names without time."""
    inputs = _named(given, names, set(pairs), pairs)
    return _zeros(plan, 1, [name for name in names if name not in inputs]) | _taken(inputs, layout)


def _named(given: Any, names: Sequence[str], optional: set[str], pairs: Mapping[str, str]) -> Mapping[str, Any]:
    """A dict of inputs that has all of `names`, but those that are optional, and no others."""
    inputs = {} if given is None else given
    if isinstance(inputs, Mapping) and set(names) - optional <= set(inputs) <= set(names):
        return inputs
    got = sorted(map(str, inputs)) if isinstance(inputs, Mapping) else type(inputs).__name__
    needed = [name for name in names if name not in pairs]
    states = f" and, if they should not begin at zero, of the states {sorted(pairs)}" if pairs else ""
    raise BadInput(f"inputs=… should be a dict of the inputs without time, {needed}{states}; got {got}")


def _zeros(plan: Any, rows: int, names: Sequence[str]) -> dict[str, Any]:
    return {spec.name: np.zeros((rows, *spec.inner), spec.dtype) for spec in plan.inputs if spec.name in names}


def _taken(inputs: Mapping[str, Any], layout: Layout | None) -> dict[str, Any]:
    return {name: x if layout is None else layout.taken(name, x) for name, x in inputs.items()}


class NativeStream(Stream):
    """A Stream of a network whose carried inputs are where its GRUs begin: their states stay where they are."""

    def carry(self, pairs: Mapping[str, str], starts: Mapping[str, Mapping[str, Array]]) -> NativeStream:
        """Say what is carried.

        Parameters
        ----------
        pairs : dict
            Output by input.
        starts : dict of dict of int array (units,)
            By input: which of its numbers each GRU begins with.
        """
        self.states = tuple(Carried(source, target, "native") for source, target in pairs.items())
        self._starts = starts
        carried = set(pairs.values())
        kept = [place for place, name in enumerate(self.plan.graph.output_names) if name not in carried]
        if kept:
            self._return_only(kept)
        return self

    def _get(self, places: np.ndarray) -> dict[str, np.ndarray]:
        state = super()._get(places)
        carried = {}
        for name, starts in self._starts.items():
            first = self.static[name]
            whole = np.empty((len(places), math.prod(first.shape[1:])), np.float32)
            for layer, numbers in starts.items():
                whole[:, numbers] = state.pop(f"{layer}/h")
            carried[name] = whole.reshape(len(places), *first.shape[1:])
        return {**carried, **state}

    def _shapes(self, rows: int) -> dict[str, tuple[int, ...]]:
        shapes = super()._shapes(rows)
        for starts in self._starts.values():
            for layer in starts:
                del shapes[f"{layer}/h"]
        return {name: (rows, *self.static[name].shape[1:]) for name in self._starts} | shapes

    def _carried(self, state: Mapping[str, np.ndarray]) -> dict[str, Any]:
        own = {name: array for name, array in state.items() if name not in self._starts}
        for name, starts in self._starts.items():
            whole = state[name].reshape(len(state[name]), math.prod(state[name].shape[1:]))
            own |= {f"{layer}/h": whole[:, numbers] for layer, numbers in starts.items()}
        return super()._carried(own)


def carried_natively(graph: Graph) -> bool:
    """Whether a Stream's own state stands for all that `Graph.states` carries."""
    return _starts(graph, dict(graph.states)) is not None


def _starts(graph: Graph, pairs: Mapping[str, str]) -> dict[str, dict[str, Array]] | None:
    """By input, which of its numbers each GRU begins with, if the outputs are these GRUs' last states in the same
    places and no GRU begins elsewhere; else None."""
    inputs = dict(zip(graph.input_names, graph.inputs, strict=True))
    outputs = dict(zip(graph.output_names, graph.outputs, strict=True))
    found = {}
    for source, target in pairs.items():
        starts = _starts_from(graph, inputs[source].name, outputs[target], Feed(graph, source, target))
        if starts is None:
            return None
        found[source] = starts
    fed = [name for starts in found.values() for name in starts]
    return found if sorted(fed) == sorted(layer.name for layer in graph.layers if isinstance(layer, GRU)) else None


def _starts_from(graph: Graph, source: str, target: str, feed: Feed) -> dict[str, Array] | None:
    """Follow the places of an input's numbers to the GRUs that begin with them, and from their last states on."""
    whole = np.arange(graph.specs[source].features)
    before = {source: whole.reshape(1, *graph.specs[source].inner)}  # values made of the input's numbers alone
    after: dict[str, Array] = {}  # … of the last states', each at the place of the number that it began with
    fed: dict[str, Array] = {}
    for layer in graph.layers:
        if isinstance(layer, GRU) and layer.inputs[0] not in before and layer.inputs[1:] and layer.inputs[1] in before:
            after[f"{layer.name}:state"] = before[layer.inputs[1]]
            fed[layer.name] = before[layer.inputs[1]][0]
        elif any(value in before for value in layer.inputs):
            if not _moves(layer, before):
                return None
            before[layer.name] = _moved(layer, before)
        elif _moves(layer, after):
            after[layer.name] = _moved(layer, after)
    if target not in after or any(value in before for value in graph.outputs):
        return None
    carries_all = sum(map(len, fed.values())) == whole.size and np.array_equal(feed(after[target]).reshape(-1), whole)
    return fed if carries_all else None


def _moves(layer: Layer, known: Mapping[str, Array]) -> bool:
    return isinstance(layer, _MOVES) and all(value in known for value in layer.inputs)


def _moved(layer: Layer, known: Mapping[str, Array]) -> Array:
    """What a layer of `_MOVES` makes of values (1, …)."""
    x = known[layer.inputs[0]]
    match layer:
        case Reshape():
            return x.reshape(1, *layer.target)
        case Slice():
            axis = layer.axis % x.ndim
            taken = x[(slice(None),) * axis + (slice(layer.start, layer.stop, layer.step),)]
            return taken.squeeze(axis) if layer.drop else taken
        case Concatenate():
            return np.concatenate([known[value] for value in layer.inputs], layer.axis)
        case Transpose():
            return x.transpose(0, *layer.order)
    return x
