"""The GRUs that the body of a Loop or Scan is, put into the Graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...graph import GRU, Concatenate, Dense, TensorSpec
from ..algebra import Expression
from ..recognition import Recognised, recognise
from .arrange import as_sequence, features_last
from .body import Body, Symbol, Unclear, Vector
from .node import Node, Refusal
from .values import Constant, Tensor, Value


@dataclass(frozen=True, eq=False)
class State:
    """A value that a body hands to its next run."""

    key: str
    name: str  # of the body's output
    initial: Value
    size: int


@dataclass(frozen=True, eq=False)
class _Layer:
    """A cell, its state, and what stands for its new state where the mask computes."""

    cell: Recognised
    state: State
    output: Expression


class Walk:
    """The layers that a body is, and what they give.

    Raises
    ------
    Refusal
        The body is no GRU.
    """

    def __init__(self, node: Node, body: Body, states: Sequence[State], given: Sequence[str]) -> None:
        self.node = node
        self.layers: list[_Layer] = []
        known: dict[Expression, Expression] = {}
        left = list(states)
        reason = "it has no state" if not states else ""
        while left:
            self.values = body.run(known)
            reasons = []
            for state in left:
                new = expression_of(self.values[state.name])
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

    def _repeats(self, state: State, layer: _Layer) -> bool:
        """Whether a state is the last output of a layer that was not left out, at first zero."""
        new = expression_of(self.values[state.name])
        is_kept = self._kept(layer, new) == Expression.input(state.key, layer.output.size)
        return self._of(new) is layer and is_kept and _is_zero(state.initial)

    def _zero_output(self, given: Sequence[str]) -> dict[str, bool]:
        """Of layers by their states: whether what the body gives of a step that is left out is zero."""
        found: dict[str, bool] = {}
        for value in (self.values[name] for name in given):
            if isinstance(value, Vector):
                layer = self._of(value.expression)
                if layer and layer.cell.mask and not self._kept(layer, value.expression).terms:
                    found[layer.state.key] = True
        return found

    def sequence(self, name: str) -> Tensor:
        """What the body gives step by step."""
        expression = expression_of(self.values[name])
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
            **cell.attributes, return_sequences=True, **options,
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


def _projected(node: Node, specs: list[TensorSpec], cell: Recognised) -> tuple[TensorSpec, Recognised]:
    """What a GRU reads; a projection that stands before the loop goes into its kernel."""
    build = node.network.build
    if len(specs) > 1:
        return build.add(Concatenate, f"{node.name}.inputs", *specs), cell
    before = build.layer(specs[0].name)
    if isinstance(before, Dense) and before.activation.name == "linear":
        x, whole = build.spec(before.inputs[0]), cell.behind(np.asarray(before.kernel), before.bias)
        if whole is not None and len(x.inner) == 1:
            return x, whole
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


def expression_of(value: Symbol) -> Expression:
    if isinstance(value, Vector) and value.rank == 2:
        return value.expression
    if isinstance(value, Unclear):
        raise Refusal(f"its body is no GRU: {value.reason}")
    raise Refusal("its body is no GRU: it gives something that is no vector of a step")
