"""Loop and Scan: their bodies are GRU cells, or they are not supported."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ...algebra import Expression
from ...sizes import Dim, Size, same
from ..arrange import as_sequence
from ..body import Body, Count, Symbol, Trips, Unclear, Vector
from ..node import Node, Refusal, axis_in
from ..raised import State, Walk
from ..reroll import DOMAIN as STEPS
from ..values import UNKNOWN, Constant, Tensor, Unknown, Value
from .picking import cut
from .table import reads

#: a number of trips that means: until the condition says no
FOREVER = 2**31 - 1


@reads("Loop", note="whose body is a GRU cell, as Keras' exporter writes it")
def loop(node: Node) -> list[Value]:
    net, graph = node.network, node.graph("body")
    scope = _scope(node, graph)
    entries, results = list(graph.input), [entry.name for entry in graph.output]
    initial = [node.needed(index) for index in range(2, len(node.inputs))]
    if len(entries) != 2 + len(initial) or len(results) < 1 + len(initial):
        raise Refusal(f"its body has {len(entries)} inputs and {len(results)} outputs for {len(initial)} values")
    makers = _sources(graph)
    given: dict[str, Symbol] = {entries[0].name: Count(), entries[1].name: Trips()}
    states: dict[int, State] = {}
    for index, (entry, value) in enumerate(zip(entries[2:], initial, strict=True)):
        if makers(results[1 + index]) == entry.name:
            given[entry.name] = _known(value)
        elif _is_whole(value):
            given[entry.name] = _count(value)
        else:
            states[index] = State(entry.name, results[1 + index], value, _width(entry, value))
            given[entry.name] = Vector(Expression.input(entry.name, states[index].size))
    body = Body(net, scope, given)
    values = body.run()
    for index in range(len(initial)):
        if isinstance(given[entries[2 + index].name], Count):
            _check_counts(given[entries[2 + index].name], values[results[1 + index]])
    steps = _steps(body, values)
    _check_trips(node, values[results[0]], steps)
    walk = Walk(node, body, list(states.values()), results[1 + len(initial) :])
    outputs: list[Value] = []
    for index, value in enumerate(initial):
        outputs.append(_final(node, walk, index, states.get(index), given[entries[2 + index].name], value, steps))
    return [*outputs, *(walk.sequence(name) for name in results[1 + len(initial) :])]


@reads("Scan", note="whose body is a GRU cell, or computes each step by itself")
@reads("Steps", domain=STEPS)
def scan(node: Node) -> list[Value]:
    if node.opset < 9 and node.op == "Scan":
        raise Refusal("is of opset 8, whose Scan is another operator")
    graph, count = node.graph("body"), node.whole("num_scan_inputs")
    kept, outputs = len(node.inputs) - count, len(node.outputs) - len(node.inputs) + count
    entries, results = list(graph.input), [entry.name for entry in graph.output]
    if count < 1 or kept < 0 or len(entries) != len(node.inputs) or len(results) != kept + outputs:
        raise Refusal(f"its body has {len(entries)} inputs for {len(node.inputs)} values")
    backwards = node.wholes("scan_input_directions", (0,) * count)
    written = node.wholes("scan_output_directions", (0,) * outputs)
    axes = node.wholes("scan_input_axes", (0,) * count)
    places = node.wholes("scan_output_axes", (0,) * outputs)
    if len(backwards) != count or len(axes) != count:
        raise Refusal("has not one axis and direction for each sequence")
    walked = []
    for index, (axis, is_backwards) in enumerate(zip(axes, backwards, strict=True)):
        x = node.runtime(kept + index)
        x = as_sequence(node.network, node.name, _first(x, axis), 0)
        walked.append(replace(x, flipped=x.flipped != bool(is_backwards)))
    length = node.whole("count") if node.op == "Steps" else None
    if length is not None:
        walked = [cut(node, x, 0, 0, length, 1) for x in walked]
    steps = walked[0].steps if length is None else length
    if any(not same(x.steps, steps) for x in walked):
        raise Refusal(f"walks along sequences of {', '.join(str(x.steps) for x in walked)} steps")
    if kept:
        found = _raised(node, graph, walked, kept, steps)
    else:
        found = [_each_step(node, graph, name, walked) for name in results]
    for index, (place, is_reversed) in enumerate(zip(places, written, strict=True), kept):
        y = found[index]
        if isinstance(y, Tensor):
            found[index] = _moved(replace(y, flipped=y.flipped != bool(is_reversed)), place)
    return found


def _raised(node: Node, graph: Any, walked: Sequence[Tensor], kept: int, steps: Dim) -> list[Value]:
    """The outputs of a Scan with states."""
    entries, results = list(graph.input), [entry.name for entry in graph.output]
    makers = _sources(graph)
    given: dict[str, Symbol] = {}
    body = Body(node.network, _scope(node, graph), given)
    states: dict[int, State] = {}
    for index, entry in enumerate(entries[:kept]):
        value = node.needed(index)
        if makers(results[index]) == entry.name:
            given[entry.name] = _known(value)
        else:
            states[index] = State(entry.name, results[index], value, _width(entry, value))
            given[entry.name] = Vector(Expression.input(entry.name, states[index].size))
    for entry, x in zip(entries[kept:], walked, strict=True):
        given[entry.name] = body.step_of(entry.name, x)
    walk = Walk(node, body, list(states.values()), results[kept:])
    found = [
        _final(node, walk, index, states.get(index), given[entry.name], node.needed(index), steps)
        for index, entry in enumerate(entries[:kept])
    ]
    return [*found, *(walk.sequence(name) for name in results[kept:])]


def _each_step(node: Node, graph: Any, name: str, walked: Sequence[Tensor]) -> Value:
    """What a body without states makes of each step: the same layers, of all steps at once.

    Inside, a step is a view of the whole sequence that does not show its time axis.
    """
    scope = _scope(node, graph)
    for entry, x in zip(graph.input, walked, strict=True):
        scope.values[entry.name] = replace(x, axes=x.axes[1:])
    for outside in _from_outside(node, graph):
        if isinstance(outside, Tensor) and outside.spec.is_sequence:
            raise Refusal(f"its body reads all steps of {outside.name!r} in each")
    node.network.refuse_foreign(scope, [name])
    y = node.network.value(scope, name)
    if isinstance(y, Unknown):
        return y
    if not isinstance(y, Tensor) or not y.spec.is_sequence or any(1 in parts for parts in y.axes):
        raise Refusal("its body does not compute each step by itself")
    hidden = set(range(y.lead, y.lead + len(y.sizes))) - {part for parts in y.axes for part in parts}
    is_whole = all(y.sizes[part - y.lead] == 1 for part in hidden)
    if not is_whole or not same(y.steps, walked[0].steps) or y.flipped != walked[0].flipped:
        raise Refusal("its body does not keep the steps apart")
    return replace(y, axes=((1,), *y.axes))


def _from_outside(node: Node, graph: Any) -> Iterator[Value]:
    """What a body reads of the graph around it."""
    inside = {name for proto in graph.node for name in proto.output} | {entry.name for entry in graph.input}
    inside |= {tensor.name for tensor in graph.initializer}
    for name in {name for proto in graph.node for name in proto.input if name} - inside:
        yield node.network.value(node.scope, name)


def _first(x: Tensor, axis: int) -> Tensor:
    """With an axis moved to the front."""
    axis = axis_in(axis, x.rank)
    return x.permuted((axis, *(other for other in range(x.rank) if other != axis)))


def _moved(x: Tensor, place: int) -> Tensor:
    """With the first axis moved to a place."""
    others = list(range(1, x.rank))
    others.insert(axis_in(place, x.rank), 0)
    return x.permuted(tuple(others))


def _scope(node: Node, graph: Any) -> Any:
    from ..network import Scope

    return Scope(graph, node.scope)


def _sources(graph: Any) -> Any:
    """name → the name that it is a copy of."""
    copies = {proto.output[0]: proto.input[0] for proto in graph.node if proto.op_type == "Identity"}

    def source(name: str) -> str:
        for _ in range(len(copies) + 1):
            name = copies.get(name, name)
        return name

    return source


def _known(value: Value) -> Symbol:
    return value if isinstance(value, (Constant, Tensor)) else Unclear("it reads a value that is not supported")


def _is_whole(value: Value) -> bool:
    return isinstance(value, Constant) and value.array.size == 1 and value.array.dtype.kind == "i"


def _count(value: Value) -> Count:
    assert isinstance(value, Constant)
    return Count(int(value.array.reshape(-1)[0]))


def _check_counts(before: Symbol, after: Symbol) -> None:
    """A counter grows by one."""
    if not isinstance(before, Count) or after != Count(before.offset + 1):
        raise Refusal("its body changes a whole number otherwise than by counting")


def _width(entry: Any, value: Value) -> int:
    """Units of a state: what its initial value has, or the body's declaration."""
    size: Dim | None = None
    if isinstance(value, Constant) and len(value.shape) == 2:
        size = value.shape[1]
    elif isinstance(value, Tensor) and value.rank == 2:
        size = int(np.prod([value.sizes[part - value.lead] for part in value.axes[1] if part >= value.lead]))
    dims = entry.type.tensor_type.shape.dim
    if not isinstance(size, int) and len(dims) == 2 and dims[1].dim_value:
        size = dims[1].dim_value
    if not isinstance(size, int):
        raise Refusal(f"its state {entry.name!r} is no (batch, units)")
    return size


def _steps(body: Body, values: Mapping[str, Symbol]) -> Dim:
    """The number of steps of what is walked along."""
    if not body.walked:
        unclear = (value.reason for value in values.values() if isinstance(value, Unclear))
        raise Refusal(f"its body walks along no sequence: {next(unclear, 'it reads none')}")
    sizes = [x.steps for x in body.walked.values()]
    if any(not same(size, sizes[0]) for size in sizes):
        raise Refusal(f"walks along sequences of {', '.join(map(str, sizes))} steps")
    return sizes[0]


def _check_trips(node: Node, condition: Symbol, steps: Dim) -> None:
    """The body runs once for each step."""
    start: Any = node.input(1)
    if start is not None and not (isinstance(start, Constant) and start.array.dtype != object and start.array.all()):
        raise Refusal("does not begin for certain")
    if isinstance(condition, Constant) and condition.array.size == 1 and condition.array.all():
        condition = Trips()
    if not isinstance(condition, Trips):
        raise Refusal(f"goes on under a condition that is not understood{_why(condition)}")
    limits = list(condition.limits)
    trips = node.input(0)
    if trips is not None:
        given: Any = trips.array.reshape(-1)[0] if isinstance(trips, Constant) and trips.array.size == 1 else None
        if given is None:
            raise Refusal("runs a number of times that is not known")
        limits.append(given if isinstance(given, Size) else int(given))
    wrong = [limit for limit in limits if not _reaches(limit, steps)]
    if wrong or not any(same(limit, steps) for limit in limits):
        raise Refusal(f"runs {', '.join(map(str, wrong or limits))} times over {steps} steps")


def _reaches(limit: Dim, steps: Dim) -> bool:
    """Whether a limit is no less than the number of steps."""
    if same(limit, steps) or (isinstance(limit, int) and limit >= FOREVER):
        return True
    more = limit - steps
    return isinstance(more, int) and more >= 0


def _why(condition: Symbol) -> str:
    return f": {condition.reason}" if isinstance(condition, Unclear) else ""


def _final(node: Node, walk: Walk, index: int, state: State | None, given: Symbol, initial: Value, steps: Dim) -> Value:
    """What is left of a value when the loop has ended."""
    if state is not None and state.key in walk.built:
        return walk.built[state.key][1]
    if state is None and isinstance(given, Count):
        return _number(given.offset + steps)
    if state is None:
        return initial
    if _is_read(node, node.outputs[index]):
        raise Refusal(f"gives the last {state.key!r}, which is not the state of a GRU")
    return UNKNOWN


def _number(value: Dim) -> Constant:
    return Constant.of(np.array(value, object) if isinstance(value, Size) else np.array(value, np.int64))


def _is_read(node: Node, name: str) -> bool:
    """Whether anything reads one of the node's outputs."""
    from ..network import captured

    graph = node.scope.proto
    reads = (source for proto in graph.node for source in (*proto.input, *captured(proto)))
    return bool(name) and (name in set(reads) or any(entry.name == name for entry in graph.output))
