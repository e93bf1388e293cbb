"""Loop and Scan: their bodies are GRU cells, or they are not supported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ....graph import GRU, Concatenate, Dense, TensorSpec
from ...algebra import Expression
from ...cell import Cell, recognise
from ..arrange import as_sequence, features_last
from ..body import Body, Count, Symbol, Trips, Unclear, Vector
from ..node import Node, Refusal, axis_in
from ..reroll import DOMAIN as STEPS
from ..sizes import Dim, Size, same
from ..values import UNKNOWN, Constant, Tensor, Unknown, Value
from .table import reads

#: a number of trips that means: until the condition says no
FOREVER = 2**31 - 1


@dataclass(frozen=True, eq=False)
class _State:
    """A value that a body hands to its next run."""

    key: str
    name: str  # of the body's output
    initial: Value
    size: int


@dataclass(frozen=True, eq=False)
class _Layer:
    """A cell, its state, and what stands for its new state where the mask computes."""

    cell: Cell
    state: _State
    output: Expression


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
    states: dict[int, _State] = {}
    for index, (entry, value) in enumerate(zip(entries[2:], initial, strict=True)):
        if makers(results[1 + index]) == entry.name:
            given[entry.name] = _known(value)
        elif _is_whole(value):
            given[entry.name] = _count(value)
        else:
            states[index] = _State(entry.name, results[1 + index], value, _width(entry, value))
            given[entry.name] = Vector(Expression.input(entry.name, states[index].size))
    body = Body(net, scope, given)
    values = body.run()
    for index in range(len(initial)):
        if isinstance(given[entries[2 + index].name], Count):
            _check_counts(given[entries[2 + index].name], values[results[1 + index]])
    steps = _steps(body, values)
    _check_trips(node, values[results[0]], steps)
    walk = _Walk(node, body, list(states.values()), results[1 + len(initial) :])
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
    if any(len(given) != wanted for given, wanted in zip((backwards, axes), (count,) * 2, strict=True)):
        raise Refusal("has not one axis and direction for each sequence")
    walked = []
    for index, (axis, is_backwards) in enumerate(zip(axes, backwards, strict=True)):
        x = node.runtime(kept + index)
        x = as_sequence(node.network, node.name, _first(x, axis), 0)
        walked.append(replace(x, flipped=x.flipped != bool(is_backwards)))
    steps = walked[0].steps
    wanted = node.whole("count", None) if node.op == "Steps" else None
    if any(not same(x.steps, steps) for x in walked) or (wanted is not None and not same(steps, wanted)):
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
    states: dict[int, _State] = {}
    for index, entry in enumerate(entries[:kept]):
        value = node.needed(index)
        if makers(results[index]) == entry.name:
            given[entry.name] = _known(value)
        else:
            states[index] = _State(entry.name, results[index], value, _width(entry, value))
            given[entry.name] = Vector(Expression.input(entry.name, states[index].size))
    for entry, x in zip(entries[kept:], walked, strict=True):
        given[entry.name] = body.step_of(entry.name, x)
    walk = _Walk(node, body, list(states.values()), results[kept:])
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
    node.network.refuse_foreign(scope, [name])
    y = node.network.value(scope, name)
    if isinstance(y, Unknown):
        return y
    if not isinstance(y, Tensor) or not y.spec.is_sequence or any(1 in parts for parts in y.axes):
        raise Refusal("its body does not compute each step by itself")
    if not same(y.steps, walked[0].steps) or y.flipped != walked[0].flipped:
        raise Refusal("its body does not keep the steps apart")
    return replace(y, axes=((1,), *y.axes))


def _first(x: Tensor, axis: int) -> Tensor:
    """With an axis moved to the front."""
    axis = axis_in(axis, x.rank)
    return x.permuted((axis, *(other for other in range(x.rank) if other != axis)))


def _moved(x: Tensor, place: int) -> Tensor:
    """With the first axis moved to a place."""
    others = list(range(1, x.rank))
    others.insert(axis_in(place, x.rank), 0)
    return x.permuted(tuple(others))


class _Walk:
    """The layers that a body is, and what they give.

    Raises
    ------
    Refusal
        The body is no GRU.
    """

    def __init__(self, node: Node, body: Body, states: Sequence[_State], given: Sequence[str]) -> None:
        self.node = node
        self.layers: list[_Layer] = []
        known: dict[Expression, Expression] = {}
        left = list(states)
        reason = "it has no state" if not states else ""
        while left:
            self.values = body.run(known)
            reasons = []
            for state in left:
                new = _expression(self.values[state.name])
                cell = recognise(new, state.key, list(body.walked))
                known_inputs = {*body.walked, *(_key(layer.state.key) for layer in self.layers)}
                if not isinstance(cell, str) and known_inputs.issuperset(cell.inputs):
                    break
                reasons.append(cell if isinstance(cell, str) else "it reads another state")
            else:
                break
            output = Expression.input(_key(state.key), new.size)
            known[new if cell.mask is None else new.where({cell.mask: cell.computes_where})] = output
            self.layers.append(_Layer(cell, state, output))
            left.remove(state)
        self.values = body.run(known)
        self.kept = {state.key: state for state in left}
        if not self.layers:
            raise Refusal(f"its body is no GRU: {reason or reasons[0]}")
        self.built: dict[str, tuple[Tensor, Tensor]] = {}
        self.zero_output = self._zero_output(given)
        for layer in self.layers:
            self._build(layer, body.walked)

    def _of(self, expression: Expression) -> _Layer | None:
        """The layer whose output an expression is where its mask computes."""
        for layer in self.layers:
            cell = layer.cell
            computed = expression if cell.mask is None else expression.where({cell.mask: cell.computes_where})
            if computed == layer.output:
                return layer
        return None

    def _kept(self, layer: _Layer, expression: Expression) -> Expression:
        assert layer.cell.mask is not None
        return expression.where({layer.cell.mask: not layer.cell.computes_where})

    def _repeats(self, state: _State, layer: _Layer) -> bool:
        """Whether a state is the last output of a layer that was not left out, at first zero."""
        new = _expression(self.values[state.name])
        is_kept = self._kept(layer, new) == Expression.input(state.key, layer.output.size)
        return self._of(new) is layer and is_kept and _is_zero(state.initial)

    def _zero_output(self, given: Sequence[str]) -> dict[str, bool]:
        """Of layers by their states: whether what the body gives of a step that is left out is zero."""
        found: dict[str, bool] = {}
        for name in given:
            value = self.values[name]
            layer = self._of(value.expression) if isinstance(value, Vector) else None
            if layer and layer.cell.mask and not self._kept(layer, value.expression).terms:
                found[layer.state.key] = True
        return found

    def sequence(self, name: str) -> Tensor:
        """What the body gives step by step."""
        expression = _expression(self.values[name])
        layer = self._of(expression)
        if layer is None:
            raise Refusal(f"its body gives {name!r} step by step, which is not the output of a GRU")
        if layer.cell.mask is not None:
            kept = self._kept(layer, expression)
            is_zero = not kept.terms
            size = layer.output.size
            held = [state for key, state in self.kept.items() if kept == Expression.input(key, size)]
            is_repeated = bool(held) and self._repeats(held[0], layer)
            is_state = kept == Expression.input(layer.state.key, size) and _is_zero(layer.state.initial)
            if is_zero != self.zero_output.get(layer.state.key, False) or not (is_zero or is_repeated or is_state):
                raise Refusal(f"what its body gives of masked steps ({name!r}) is neither the output before nor zero")
        return self.built[layer.state.key][0]

    def _build(self, layer: _Layer, walked: Mapping[str, Tensor]) -> None:
        node, net, cell, units = self.node, self.node.network, layer.cell, layer.output.size
        before = {_key(key): sequence for key, (sequence, _) in self.built.items()}
        tensors = [before[key] if key in before else walked[key] for key in cell.inputs]
        views = [_input(node, x) for x in tensors]
        first = views[0]
        if any(x.flipped != first.flipped or x.axes[1] != first.axes[1] for x in views):
            raise Refusal("walks along its inputs in several directions")
        spec, cell = _projected(node, [x.spec for x in views], cell)
        options: dict[str, Any] = {"go_backwards": True, "time_order": True} if first.flipped else {}
        if cell.mask is not None:
            options["mask"] = _mask(walked[cell.mask], cell.computes_where, first)
            options["zero_output_for_mask"] = self.zero_output.get(layer.state.key, False)
        inputs = [spec]
        initial = layer.state.initial
        if isinstance(initial, Tensor):
            inputs.append(_initial(node, initial, units))
        elif not _is_zero(initial):
            options["initial_state"] = _initial_row(initial, units)
        made = net.build.add(
            GRU, node.name.removesuffix("/while_loop"), *inputs,
            units=units, kernel=cell.kernel, recurrent_kernel=cell.recurrent_kernel, bias=cell.bias,
            recurrent_bias=cell.recurrent_bias, reset_after=cell.reset_after, activation=cell.activation,
            recurrent_activation=cell.recurrent_activation, return_sequences=True, **options,
        )  # fmt: skip
        y = Tensor(made, (units,), ((1,), first.axes[1], (2,)), first.steps, first.flipped)
        state = Tensor(net.build.spec(f"{made.name}:state"), (units,), (first.axes[1], (1,)))
        self.built[layer.state.key] = y, state


def _key(state: str) -> str:
    """What stands for the output of the cell of a state; no name of a file has this form."""
    return f"\0{state}"


def _input(node: Node, x: Tensor) -> Tensor:
    """A sequence (time, batch, features) as the Graph's (batch, time, features)."""
    view = features_last(node.network, node.name, as_sequence(node.network, node.name, x, 0), 2)
    if view.axes[1] not in ((0,), ()) or len(view.spec.inner) != 1:
        raise Refusal(f"reads {x.name!r}, whose axes are not time, batch and features")
    return view


def _projected(node: Node, specs: list[TensorSpec], cell: Cell) -> tuple[TensorSpec, Cell]:
    """What a GRU reads; a projection that stands before the loop goes into its kernel."""
    build = node.network.build
    if len(specs) > 1:
        return build.add(Concatenate, f"{node.name}.inputs", *specs), cell
    before = build.layer(specs[0].name)
    if isinstance(before, Dense) and before.activation.name == "linear" and len(build.spec(before.inputs[0]).inner) == 1:
        whole = cell.behind(before.kernel, before.bias)
        if whole is not None:
            return build.spec(before.inputs[0]), whole
    return specs[0], cell


def _mask(mask: Tensor, computes_where: bool, x: Tensor) -> str:
    if not mask.is_mask or mask.axes[:2] != ((1,), x.axes[1]) or mask.flipped != x.flipped:
        raise Refusal(f"masks steps by {mask.name!r}, whose steps are not those of its input")
    if mask.negated == computes_where:
        raise Refusal(f"leaves steps out where the mask {mask.name!r} is true")
    return mask.name


def _initial(node: Node, value: Tensor, units: int) -> TensorSpec:
    view = features_last(node.network, node.name, value, 1) if value.rank == 2 else value
    if view.spec.is_sequence or view.rank != 2 or view.axes[0] not in ((0,), ()) or view.spec.inner != (units,):
        raise Refusal(f"its initial state {value.name!r} is no (batch, {units})")
    return view.spec


def _initial_row(value: Value, units: int) -> np.ndarray:
    assert isinstance(value, Constant)
    array = np.atleast_2d(value.array)
    rows = np.broadcast_to(array, (len(array), units)) if array.shape[-1] in (1, units) else np.zeros((2, 0))
    if value.array.dtype != np.float32 or array.ndim != 2 or rows.shape[1] != units or (rows != rows[:1]).any():
        raise Refusal(f"its initial state of shape {value.shape} is no (1, {units})")
    return np.ascontiguousarray(rows[0])


def _is_zero(value: Value) -> bool:
    return isinstance(value, Constant) and value.is_zero


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


def _expression(value: Symbol) -> Expression:
    if isinstance(value, Vector) and value.rank == 2:
        return value.expression
    if isinstance(value, Unclear):
        raise Refusal(f"its body is no GRU: {value.reason}")
    raise Refusal("its body is no GRU: it gives something that is no vector of a step")


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


def _final(
    node: Node, walk: _Walk, index: int, state: _State | None, given: Symbol, initial: Value, steps: Dim
) -> Value:
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
