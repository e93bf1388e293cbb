"""A GRU cell that a file computes operator by operator, once: torch's GRUCell, one step of a network with states."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from ...graph import GRU, Concatenate, Reshape
from ..algebra import Expression
from ..recognition import Recognised, recognise
from .arrange import features_last
from .body import Body, Symbol, Vector
from .node import label
from .values import Constant, Refusal, Tensor, Value

if TYPE_CHECKING:
    from .network import Network, Scope

#: a cell has fewer operators than this
MOST_NODES = 96
#: how far from the new state its update gate multiplies the old one
NEAR = 4
_ENDS = frozenset(("Add", "Sub", "Sum"))
_LINEAR = frozenset(("Add", "Concat", "Gemm", "Identity", "MatMul", "Slice", "Split"))
_PRODUCTS = frozenset(("MatMul", "Gemm"))
_JOINS = frozenset(("Concat", "Identity"))
_OTHERS = frozenset((
    "Cast", "Celu", "Clip", "Div", "Elu", "HardSigmoid", "HardSwish", "LeakyRelu", "Mish", "Mul", "Neg", "Relu",
    "Sigmoid", "Softplus", "Softsign", "Sub", "Sum", "Tanh",
))  # fmt: skip


def as_gru(net: Network, scope: Scope, proto: Any, result: Value) -> Value:
    """What a node gives; of the last operator of a GRU cell, as a GRU of one step gives it."""
    if proto.op_type not in _ENDS or not _is_row(result):
        return result
    for state in _states(scope, proto):
        found = _cell(net, scope, proto, state)
        if found is not None:
            try:
                return _step(net, scope, label(proto), found, state)
            except Refusal:
                return result
    return result


def _is_row(value: Value | None) -> bool:
    """Whether a value is (batch, size)."""
    if not isinstance(value, Tensor) or value.spec.dtype != "float32" or value.spec.is_sequence:
        return False
    return value.rank == 2 and value.axes[0] in ((0,), ()) and 0 not in value.axes[1]


def _states(scope: Scope, proto: Any) -> list[str]:
    """Values near the end of a cell that may be its old state."""
    found: dict[str, None] = {}
    rest = [(proto, 0)]
    while rest:
        node, depth = rest.pop(0)
        for name in node.input:
            maker = scope.makers.get(name)
            if node.op_type in ("Mul", "Sub", "Add", "Sum") and _is_row(scope.values.get(name)):
                found[name] = None
            if maker is not None and depth < NEAR and maker.op_type in ("Mul", "Sub", "Add", "Sum"):
                rest.append((maker, depth + 1))
        if len(found) > MOST_NODES:
            break
    return list(found)


def _cell(net: Network, scope: Scope, proto: Any, state: str) -> Recognised | None:
    """The cell whose new state a node gives, where its old one has this name."""
    from .network import Scope as Inner

    reading = _Reading(scope, state)
    if not reading.hangs_on_state(proto.output[0]):
        return None
    reading.expand(proto.output[0])
    if not any(node.op_type in _PRODUCTS for node in reading.nodes) or len(reading.nodes) > MOST_NODES:
        return None
    places = {name: index for index, node in enumerate(scope.proto.node) for name in node.output}
    nodes = sorted(reading.nodes, key=lambda node: places[node.output[0]])
    given: dict[str, Symbol] = {}
    for name in reading.leaves:
        value = scope.values.get(name)
        if not isinstance(value, Tensor) or not _is_row(value):
            return None
        given[name] = Vector(Expression.input(name, _width(value)))
    inner = Inner(SimpleNamespace(node=nodes, initializer=[], input=[], output=[]), scope)
    new = Body(net, inner, given).run()[proto.output[0]]
    cell = recognise(new.expression, state) if isinstance(new, Vector) and new.rank == 2 else None
    return cell if isinstance(cell, Recognised) else None


class _Reading:
    """The operators between a new state and what it is made of."""

    def __init__(self, scope: Scope, state: str) -> None:
        self.scope, self.state = scope, state
        self.nodes: list[Any] = []
        self.leaves: list[str] = []
        self._known = {state: True}

    def _maker(self, name: str) -> Any:
        maker = self.scope.makers.get(name)
        return maker if maker is not None and maker.op_type in _LINEAR | _OTHERS and not maker.domain else None

    def hangs_on_state(self, name: str) -> bool:
        """Whether cell operators lead from the state to a value."""
        rest = [name]
        while rest and len(self._known) < 8 * MOST_NODES:
            one = rest[-1]
            inputs = [] if one in self._known or self._maker(one) is None else list(self._maker(one).input)
            unknown = [source for source in inputs if source not in self._known and source not in rest]
            if unknown:
                rest += unknown
                continue
            rest.pop()
            self._known.setdefault(one, any(self._known.get(source, False) for source in inputs))
        return self._known.get(name, False)

    def expand(self, name: str) -> None:
        """Note what makes a value: all operators that hang on the state; of others a product and what joins inputs."""
        seen: set[str] = set()
        rest = [(name, False)]
        while rest and len(self.nodes) <= MOST_NODES:
            one, is_input = rest.pop()
            value, maker, hangs = self.scope.values.get(one), self._maker(one), self._known.get(one, False)
            if one in seen or isinstance(value, Constant):
                continue
            seen.add(one)
            opens = hangs or (maker is not None and maker.op_type in (_JOINS if is_input else _LINEAR))
            if maker is not None and opens and one != self.state:
                self.nodes.append(maker)
                seen.update(maker.output)
                inside = is_input and (not hangs or maker.op_type in _JOINS)
                rest += [(source, inside or maker.op_type in _PRODUCTS) for source in maker.input]
            elif isinstance(value, Tensor):
                self.leaves.append(one)


def _step(net: Network, scope: Scope, name: str, cell: Recognised, state: str) -> Tensor:
    """The layers of a GRU of one step."""

    def row(key: str) -> Tensor:
        value = scope.values[key]
        assert isinstance(value, Tensor)
        return features_last(net, name, value, 1)

    specs = [row(key).spec for key in cell.inputs]
    x = specs[0] if len(specs) == 1 else net.build.add(Concatenate, f"{name}.inputs", *specs)
    x = net.build.add(Reshape, f"{name}.step", x, target=(1, cell.input_size))
    old = row(state)
    made = net.build.add(GRU, name, x, old.spec, **cell.attributes)
    return Tensor(made, (cell.units,), (old.axes[0], (1,)))


def _width(value: Tensor) -> int:
    total = 1
    for part in value.axes[1]:
        total *= value.sizes[part - value.lead]
    return total
