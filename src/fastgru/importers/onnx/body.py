"""The body of a Loop or Scan, run with symbols: what one step computes of its inputs and of the states before it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import BadModelFile, UnsupportedModel
from ...graph import Activation
from ..algebra import Expression, join
from ..sizes import Dim, Size
from .arrange import as_sequence
from .fold import folded, slices
from .node import Node, Refusal, axis_in, label
from .values import Constant, Tensor

if TYPE_CHECKING:
    from .network import Network, Scope


@dataclass(frozen=True, eq=False)
class Vector:
    """Numbers of one step: (batch, size) or, of rank 1, (batch,)."""

    expression: Expression
    rank: int = 2


@dataclass(frozen=True)
class Count:
    """The number of the step, from 0 on, plus `offset`."""

    offset: int = 0


@dataclass(frozen=True)
class Trips:
    """A condition that holds until the body has run as often as the least of these says."""

    limits: tuple[Dim, ...] = ()


@dataclass(frozen=True)
class Unclear:
    """A value that no symbol stands for, and why."""

    reason: str


Symbol = Constant | Tensor | Vector | Count | Trips | Unclear


class Body:
    """Runs a body.

    Parameters
    ----------
    net : Network
    scope : Scope
        The body's own.
    given : dict of str to Symbol
        The body's inputs.
    """

    def __init__(self, net: Network, scope: Scope, given: Mapping[str, Symbol]) -> None:
        self.net = net
        self.scope = scope
        self.given = given
        #: values of outside that the body reads step by step, by the keys of their vectors
        self.walked: dict[str, Tensor] = {}

    def run(self, known: Mapping[Expression, Expression] | None = None) -> dict[str, Symbol]:
        """All values of the body.

        Parameters
        ----------
        known : dict of Expression to Expression, optional
            What to write for vectors that are equal to the keys.
        """
        values = dict(self.given)
        for proto in self.scope.proto.node:
            inputs = [self._input(values, name) if name else None for name in proto.input]
            unclear = next((value for value in inputs if isinstance(value, Unclear)), None)
            results = [unclear] * len(proto.output) if unclear else self._results(proto, inputs)
            for name, value in zip(proto.output, results, strict=False):
                if known and isinstance(value, Vector) and value.expression in known:
                    value = Vector(known[value.expression], value.rank)
                values[name] = value or Unclear(f"{label(proto)!r} gives no {name!r}")
        for entry in self.scope.proto.output:
            values[entry.name] = self._input(values, entry.name)
        return values

    def _input(self, values: Mapping[str, Symbol], name: str) -> Symbol:
        if name in values:
            return values[name]
        if name in self.scope.makers:
            raise BadModelFile(f"{name!r} is read before it is defined")
        value = self.net.value(self.scope, name)
        if isinstance(value, (Constant, Tensor)):
            return value
        return Unclear(f"it reads {name!r}, which is not supported")

    def _results(self, proto: Any, inputs: Sequence[Symbol | None]) -> Sequence[Symbol | None]:
        node = Node(proto, inputs, self.net, self.scope)  # type: ignore[arg-type]
        try:
            results = self._read(node)
            if node.has:
                raise Refusal(f"attribute {', '.join(sorted(node.has))} is not known")
        except (Refusal, BadModelFile, UnsupportedModel) as error:
            results = [Unclear(f"{node.name!r} ({node.op}) {error}")] * len(node.outputs)
        return results

    def _read(self, node: Node) -> Sequence[Symbol | None]:
        if all(value is None or isinstance(value, Constant) for value in node.inputs):
            return self._constants(node)
        read = _READERS.get(node.op) if node.proto.domain in ("", "ai.onnx") else None
        if read is None:
            raise Refusal("is no operator of a cell")
        result = read(self, node)
        return result if isinstance(result, list) else [result]

    def _constants(self, node: Node) -> Sequence[Symbol | None]:
        from .operators import OPERATORS

        results: Any = folded(node)
        operator = OPERATORS.get((node.proto.domain, node.op))
        if results is None and operator is not None:
            results = operator.read(node)
        if results is None:
            raise Refusal("is not known of constants")
        listed = list(results) if isinstance(results, (list, tuple)) else [results]
        return [value if isinstance(value, (Constant, Tensor)) else None for value in listed]

    def step_of(self, name: str, x: Tensor) -> Vector:
        """One step of a sequence (time, batch, features), or of a mask."""
        if x.rank not in (2, 3) or (x.rank == 2 and not x.is_mask):
            raise Refusal(f"walks along {name!r}, which has {x.rank} axes; time, batch and features are expected")
        x = self.walked[name] = as_sequence(self.net, name, x, 0)
        if x.is_mask:
            return Vector(Expression.mask(name), x.rank - 1)
        size = int(np.prod([x.sizes[part - x.lead] for part in x.axes[2] if part >= x.lead], dtype=np.int64))
        return Vector(Expression.input(name, size))


# ---- readers -------------------------------------------------------------------------------------------------------

Result = Symbol | list[Symbol | None]
_READERS: dict[str, Callable[[Body, Node], Result]] = {}


def _reads(*names: str) -> Callable[[Callable[[Body, Node], Result]], Callable[[Body, Node], Result]]:
    def declare(read: Callable[[Body, Node], Result]) -> Callable[[Body, Node], Result]:
        _READERS.update(dict.fromkeys(names, read))
        return read

    return declare


def _vector(node: Node, index: int) -> Expression:
    """An input (batch, size)."""
    value: Any = node.needed(index)
    if isinstance(value, Constant):
        return Expression.constant(_row(value))
    if isinstance(value, Vector) and value.rank == 2:
        return value.expression
    what = {Count: "the number of a step", Trips: "a condition", Vector: "a mask without a features axis"}
    raise Refusal(f"computes with {what.get(type(value), 'a whole value of outside')}")


def _row(constant: Constant) -> np.ndarray:
    array = constant.array
    if array.dtype == object:
        raise Refusal("computes with a size that is free")
    if array.ndim > 1 and any(size != 1 for size in array.shape[:-1]):
        raise Refusal(f"computes with a constant of shape {array.shape}, not a row")
    return array.reshape(array.shape[-1:])


@_reads("Identity", "Dropout")
def _identity(body: Body, node: Node) -> Result:
    node.ignore("ratio", "seed")
    return node.needed(0)  # type: ignore[return-value]


@_reads("Cast")
def _cast(body: Body, node: Node) -> Result:
    value: Any = node.needed(0)
    node.ignore("to", "saturate", "round_mode")
    if isinstance(value, Tensor):
        raise Refusal("casts a whole value of outside")
    return value  # type: ignore[no-any-return]


_BINARY: dict[str, Callable[[Any, Any], Expression]] = {
    "Add": lambda a, b: a + b,
    "Sum": lambda a, b: a + b,
    "Sub": lambda a, b: a - b,
    "Mul": lambda a, b: a * b,
    "And": lambda a, b: a * b,
}


@_reads(*_BINARY)
def _binary(body: Body, node: Node) -> Result:
    given: list[Any] = node.inputs[:2]
    counts = [value for value in given if isinstance(value, Count)]
    if counts:
        return _counted(node, counts)
    limits = [value for value in given if isinstance(value, Trips)]
    if limits:
        return _both(node, limits)
    result = _vector(node, 0)
    for index in range(1, len(node.inputs)):
        result = _BINARY[node.op](result, _vector(node, index))
    return Vector(result)


def _counted(node: Node, counts: list[Count]) -> Count:
    """The number of the step and a whole constant."""
    others = [value for value in node.inputs if isinstance(value, Constant) and value.array.size == 1]
    if node.op != "Add" or len(counts) != 1 or len(others) != 1 or others[0].array.dtype.kind != "i":
        raise Refusal("computes with the number of the step")
    return Count(counts[0].offset + int(others[0].array.reshape(-1)[0]))


def _both(node: Node, conditions: list[Trips]) -> Trips:
    others = [value for value in node.inputs if isinstance(value, Constant)]
    if node.op != "And" or len(conditions) + len(others) != 2 or not all(other.array.all() for other in others):
        raise Refusal("computes with the condition to go on")
    return Trips(tuple(limit for condition in conditions for limit in condition.limits))


@_reads("Less", "LessOrEqual", "Greater", "GreaterOrEqual")
def _compare(body: Body, node: Node) -> Result:
    """step + offset < bound: the step after this one runs, so there are bound − offset + 1."""
    inputs: list[Any] = list(node.inputs)
    if node.op.startswith("Greater"):
        inputs.reverse()
    count, bound = inputs
    if not isinstance(count, Count) or not isinstance(bound, Constant) or bound.array.size != 1:
        raise Refusal("compares something that is not the number of the step with a constant")
    limit = bound.array.reshape(-1)[0]
    limit = limit if isinstance(limit, Size) else int(np.ceil(limit)) if "Equal" not in node.op else int(limit) + 1
    if isinstance(limit, Size) and "Equal" in node.op:
        limit = limit + 1
    return Trips((limit - count.offset + 1,))


@_reads("Neg")
def _negative(body: Body, node: Node) -> Result:
    return Vector(-_vector(node, 0))


@_reads("Div")
def _divided(body: Body, node: Node) -> Result:
    divisor: Any = node.needed(1)
    if not isinstance(divisor, Constant) or not _row(divisor).all():
        raise Refusal("divides by something that is no constant, or 0")
    return Vector(_vector(node, 0) * (1.0 / _row(divisor).astype(np.float64)))


@_reads("Not")
def _contrary(body: Body, node: Node) -> Result:
    value: Any = node.needed(0)
    if not isinstance(value, Vector):
        raise Refusal("negates something that is no mask")
    return Vector(1.0 - value.expression, value.rank)


@_reads("Where")
def _where(body: Body, node: Node) -> Result:
    condition = _vector(node, 0)
    return Vector(condition * _vector(node, 1) + (1.0 - condition) * _vector(node, 2))


@_reads("MatMul")
def _matmul(body: Body, node: Node) -> Result:
    return Vector(_vector(node, 0) @ node.constant(1, "matrix"))


@_reads("Gemm")
def _gemm(body: Body, node: Node) -> Result:
    alpha, beta = node.number("alpha", 1.0), node.number("beta", 1.0)
    if alpha != 1 or beta != 1 or node.flag("transA"):
        raise Refusal("scales or transposes (alpha, beta, transA)")
    matrix = node.constant(1, "matrix")
    node.ignore("broadcast")
    product = _vector(node, 0) @ (matrix.T if node.flag("transB") else matrix)
    return Vector(product if node.input(2) is None else product + _vector(node, 2))


#: operator → activation, and attribute of the operator and its default by parameter
_ACTIVATIONS: dict[str, tuple[str, dict[str, tuple[str, float]]]] = {
    "Sigmoid": ("sigmoid", {}),
    "Tanh": ("tanh", {}),
    "Relu": ("relu", {}),
    "LeakyRelu": ("relu", {"negative_slope": ("alpha", 0.01)}),
    "HardSigmoid": ("hard_sigmoid", {"slope": ("alpha", 0.2), "offset": ("beta", 0.5)}),
    "Elu": ("elu", {"alpha": ("alpha", 1.0)}),
    "Celu": ("celu", {"alpha": ("alpha", 1.0)}),
    "Softplus": ("softplus", {}),
    "Softsign": ("softsign", {}),
    "HardSwish": ("hard_silu", {}),
    "Mish": ("mish", {}),
    "Exp": ("exponential", {}),
}


@_reads(*_ACTIVATIONS)
def _activate(body: Body, node: Node) -> Result:
    name, parameters = _ACTIVATIONS[node.op]
    params = {key: node.number(attribute, default) for key, (attribute, default) in parameters.items()}
    return Vector(_vector(node, 0).activate(Activation.of(name, **params)))


@_reads("Clip")
def _clip(body: Body, node: Node) -> Result:
    bounds = []
    for index, (attribute, default) in enumerate((("min", -np.inf), ("max", np.inf)), 1):
        if node.opset < 11:
            bounds.append(node.number(attribute, default))
        else:
            bounds.append(default if node.input(index) is None else float(node.constant(index, attribute)))
    return Vector(_vector(node, 0).clip(*bounds))


@_reads("Min", "Max")
def _bounded(body: Body, node: Node) -> Result:
    values = [index for index, value in enumerate(node.inputs) if not isinstance(value, Constant)]
    if len(node.inputs) != 2 or len(values) != 1:
        raise Refusal("takes the larger or smaller of two values")
    bound = np.unique(node.constant(1 - values[0], "bound"))
    if len(bound) != 1:
        raise Refusal("has bounds that differ from unit to unit")
    limit = float(bound[0])
    low, high = (limit, np.inf) if node.op == "Max" else (-np.inf, limit)
    return Vector(_vector(node, values[0]).clip(low, high))


@_reads("Split")
def _split(body: Body, node: Node) -> Result:
    x = _vector(node, 0)
    axis = axis_in(node.whole("axis", 0), 2)
    given = node.wholes("split") if node.opset < 13 else None
    if node.input(1) is not None:
        given = node.whole_numbers(1, "split")
    node.ignore("num_outputs")
    count = len(node.outputs)
    sizes = list(given) if given else [x.size // count] * count
    if axis != 1 or sum(sizes) != x.size or len(sizes) != count:
        raise Refusal(f"splits axis {axis} of (batch, {x.size}) into {sizes}")
    starts = np.cumsum([0, *sizes])
    return [Vector(x.columns(range(start, start + size))) for start, size in zip(starts, sizes, strict=False)]


@_reads("Slice")
def _slice(body: Body, node: Node) -> Result:
    x = _vector(node, 0)
    for axis, start, stop, step in slices(node, 2):
        if axis == 0 and (start, stop, step) == (0, None, 1):
            continue
        if axis == 0 or not all(isinstance(bound, (int, type(None))) for bound in (start, stop)):
            raise Refusal("cuts the batch, or at a free size")
        x = x.columns(range(*slice(start, stop, step).indices(x.size)))
    return Vector(x)


@_reads("Concat")
def _concat(body: Body, node: Node) -> Result:
    if axis_in(node.whole("axis", 1), 2) != 1:
        raise Refusal("joins rows of the batch")
    return Vector(join(_vector(node, index) for index in range(len(node.inputs))))


@_reads("Gather")
def _gather(body: Body, node: Node) -> Result:
    x: Any = node.needed(0)
    place: Any = node.needed(1)
    axis = node.whole("axis", 0)
    if isinstance(x, Tensor) and place == Count():
        time = axis_in(axis, x.rank)
        first = (time, *(other for other in range(x.rank) if other != time))
        return body.step_of(node.proto.input[0], x.permuted(first))
    if isinstance(x, Vector) and isinstance(place, Constant) and axis_in(axis, 2) == 1 and place.array.ndim == 1:
        return Vector(_vector(node, 0).columns(place.array % x.expression.size))
    raise Refusal("takes something else than the step of a sequence whose turn it is")


@_reads("Unsqueeze", "Squeeze")
def _mask_axis(body: Body, node: Node) -> Result:
    value: Any = node.needed(0)
    axes = node.axes("axes", 1, since=13)
    rank = getattr(value, "rank", 0) if isinstance(value, Vector) else 0
    if isinstance(value, Vector) and axes and len(axes) == 1 and value.expression.size == 1:
        wanted = 2 if node.op == "Unsqueeze" else 1
        if rank == 3 - wanted and axis_in(axes[0], 2) == 1:
            return Vector(value.expression, wanted)
    raise Refusal("changes the axes of a vector")


@_reads("Shape")
def _shape(body: Body, node: Node) -> Result:
    sizes: Iterable[Dim] = (body.net.batch, _vector(node, 0).size)
    array = np.empty(2, object)
    array[:] = list(sizes)
    node.ignore("start", "end") if not node.has else None
    return Constant.of(array)
