"""What TensorFlow's operations make of the values that they read: one function each, in the table `OPERATIONS`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ...graph import Activation
from ..cell import Cell
from ..sizes import Size
from . import arrays, entries, layout, loops
from .cell import CellStep, cell_of
from .nodes import Array
from .values import (
    VALUES,
    Active,
    Affine,
    Below,
    Complement,
    Counter,
    Filled,
    Joined,
    Longest,
    Outputs,
    PastEnd,
    Product,
    Range,
    Refused,
    Tensor,
    Term,
    as_size,
    shape_of,
)

if TYPE_CHECKING:
    from .network import Call

Operation = Callable[..., Any]

# ---- constants -------------------------------------------------------------------------------------------------------


def _const(call: Call) -> Any:
    return call.node.value


def _variable(call: Call, *_: Any) -> Array:
    return call.array(call.name)


def _same(call: Call, value: Any, *_: Any) -> Any:
    return value


def _placeholder(call: Call, *_: Any) -> Any:
    return call.network.placeholder(call.node)


def _placeholder_with_default(call: Call, value: Any) -> Any:
    """A number that training sets, such as a rate of dropout, keeps its default; anything else is an input."""
    if isinstance(value, np.ndarray) and value.shape == ():
        call.assembly.notes[f"{call.name} has its default {value.item()!r}"] = None
        return value
    return call.network.placeholder(call.node)


def _cast(call: Call, value: Any) -> Any:
    dtype = call.option("DstT", "")
    if isinstance(value, np.ndarray) and value.dtype != object:
        return value.astype(dtype)
    is_ids = isinstance(value, Tensor) and value.spec.dtype == "int32"
    kept = ("int32", "int64") if is_ids else ("float16", "bfloat16", "float32", "float64")
    if isinstance(value, VALUES) and dtype not in kept:
        raise Refused(f"casts what the network computes to {dtype}")
    return value


def _fill(call: Call, sizes: Any, value: Any) -> Filled:
    return Filled(tuple(as_size(size) for size in np.asarray(sizes).reshape(-1)[:, None]), float(np.asarray(value)))


def _zeros_like(call: Call, value: Any) -> Filled:
    return Filled(shape_of(value), 0.0)


def _range(call: Call, start: Any, stop: Any, step: Any) -> Any:
    start, stop, step = as_size(start), as_size(stop), as_size(step)
    if start == 0 and step == 1:
        return Range(stop)
    if isinstance(start, Size) or isinstance(stop, Size) or isinstance(step, Size):
        raise Refused("counts in another way than 0, 1, 2, …")
    numbers = range(start, stop, step)
    if len(numbers) > 64:  # they are axes of a shape
        raise Refused(f"counts {len(numbers)} numbers")
    return np.array(numbers, np.int64)


def _reduced(function: str) -> Operation:
    def reduce(call: Call, value: Any, axes: Any) -> Any:
        if isinstance(value, np.ndarray):
            over = tuple(np.asarray(axes).reshape(-1).tolist())
            return getattr(np, function)(value, axis=over, keepdims=bool(call.option("keep_dims", False)))
        if function == "max" and isinstance(value, Tensor) and value.spec.dtype == "int32" and len(value.axes) == 1:
            return Longest(value)
        if function == "prod":
            raise Refused("multiplies numbers that the network computes")
        return entries.reduced(call, value, axes, {"max": "maximum", "min": "minimum"}.get(function, function))

    return reduce


def _bounded(function: Any) -> Operation:
    def bound(call: Call, left: Any, right: Any) -> Any:
        """min(steps, max(1, longest)), as dynamic_rnn bounds its loop, or of constants, or of values."""
        for value, other in ((left, right), (right, left)):
            if isinstance(value, Longest) and isinstance(other, np.ndarray):
                if function is np.minimum:
                    return Longest(value.lengths, as_size(other))
                if other.dtype.kind in "iu" and other <= 1:
                    return value
        if isinstance(left, np.ndarray) and isinstance(right, np.ndarray):
            return _bounded_sizes(function, left, right)
        return _combined("maximum" if function is np.maximum else "minimum")(call, left, right)

    return bound


def _bounded_sizes(function: Any, left: Array, right: Array) -> Array:
    """A free size is one or more, and so is what is added and multiplied of some: max(1, n) is n."""
    if left.dtype != object and right.dtype != object:
        return _of_constants(function, left, right)
    sizes = as_size(left), as_size(right)
    if sizes[0] == sizes[1]:
        return left
    for least, size, array in ((*sizes, right), (*sizes[::-1], left)):
        grows = isinstance(size, Size) and all(coefficient > 0 for _, coefficient in size.terms)
        if function is np.maximum and isinstance(least, int) and least <= 1 and grows:
            return array
    raise Refused("bounds a free size")


# ---- loops' conditions -----------------------------------------------------------------------------------------------


def _less(call: Call, left: Any, right: Any) -> Any:
    if isinstance(left, Counter) and left.ahead == 0:
        return Below((right if isinstance(right, Longest) else as_size(right),))
    raise Refused("compares numbers")


def _and(call: Call, left: Any, right: Any) -> Below:
    if isinstance(left, Below) and isinstance(right, Below):
        return Below(left.bounds + right.bounds)
    raise Refused("joins conditions")


def _greater_equal(call: Call, left: Any, right: Any) -> PastEnd:
    is_lengths = isinstance(right, Tensor) and right.spec.dtype == "int32" and right.axes == ((0,),)
    if isinstance(left, Counter) and left.ahead == 0 and is_lengths:
        return PastEnd(right)
    raise Refused("compares numbers")


# ---- arithmetic ------------------------------------------------------------------------------------------------------


def _of_constants(function: Any, left: Array, right: Array) -> Array:
    layout.check_room(np.broadcast(left, right).size)
    return function(left, right)  # type: ignore[no-any-return]


def _mat_mul(call: Call, left: Any, right: Any) -> Affine:
    if call.option("transpose_a", call.option("adj_x", False)):
        raise Refused("transposes what it multiplies")
    matrix = call.assembly.weights(right, 2)
    if call.option("transpose_b", call.option("adj_y", False)):
        matrix = matrix.T
    return Affine(_terms(left, matrix), None, call.name)


def _terms(value: Any, matrix: Array) -> tuple[Term, ...]:
    """The rows of a matrix, shared out among what stands side by side."""
    parts = value.parts if isinstance(value, Joined) else (value,)
    sizes = [size for part in parts if isinstance(size := shape_of(part)[-1], int)]
    if len(sizes) != len(parts) or sum(sizes) != len(matrix):
        raise Refused(f"multiplies {' + '.join(map(str, sizes))} numbers with a matrix of shape {matrix.shape}")
    rows = np.split(matrix, np.cumsum(sizes)[:-1].tolist())
    return tuple(Term(part, block) for part, block in zip(parts, rows, strict=True))


def _bias_add(call: Call, value: Any, bias: Any) -> Any:
    if call.option("data_format", "NHWC") != "NHWC" and len(shape_of(value)) > 2:
        raise Refused("adds a bias along another axis than the last")
    return _plus(call, value, call.assembly.weights(bias, 1))


def _plus(call: Call, value: Any, bias: Array) -> Affine:
    units = shape_of(value)[-1]
    bias = np.broadcast_to(bias.reshape(-1), (units,))  # type: ignore[arg-type]
    if isinstance(value, Affine):
        return Affine(value.terms, bias if value.bias is None else value.bias + bias, call.name)
    return Affine((Term(value),), bias, call.name)


def _add(call: Call, left: Any, right: Any) -> Any:
    for counter, one in ((left, right), (right, left)):
        if isinstance(counter, Counter) and isinstance(one, np.ndarray) and one.shape == () and one == 1:
            return Counter(counter.ahead + 1)
    if isinstance(left, np.ndarray) and isinstance(right, np.ndarray):
        return _of_constants(np.add, left, right)
    for value, constant in ((left, right), (right, left)):
        if isinstance(value, VALUES) and _is_row(constant, value):
            return _plus(call, value, call.assembly.weights(constant))
    if not (isinstance(left, VALUES) and isinstance(right, VALUES)) or shape_of(left) != shape_of(right):
        raise Refused("adds values whose shapes differ")
    cell = cell_of(left, right)
    if cell is not None:
        return loops.gru_step(call, cell)
    terms: list[Term] = []
    bias = None
    for value in (left, right):
        whole = value if isinstance(value, Affine) else Affine((Term(value),), None, call.name)
        terms += whole.terms
        if whole.bias is not None:
            bias = whole.bias if bias is None else bias + whole.bias
    return Affine(tuple(terms), bias, call.name)


def _add_n(call: Call, first: Any, *others: Any) -> Any:
    for other in others:
        first = _add(call, first, other)
    return first


def _sub(call: Call, left: Any, right: Any) -> Any:
    if isinstance(left, np.ndarray) and isinstance(right, np.ndarray):
        return _of_constants(np.subtract, left, right)
    if isinstance(right, VALUES) and isinstance(left, np.ndarray) and left.size == 1 and left == 1:
        return Complement(right, call.name)
    if isinstance(left, VALUES) and _is_row(right, left):
        return _plus(call, left, -call.assembly.weights(right))
    return _combined("subtract")(call, left, right)


def _mul(call: Call, left: Any, right: Any) -> Any:
    if isinstance(left, np.ndarray) and isinstance(right, np.ndarray):
        return _of_constants(np.multiply, left, right)
    for value, constant in ((left, right), (right, left)):
        if isinstance(value, VALUES) and _is_row(constant, value):
            return _scaled(call, value, call.assembly.weights(constant))
    if not all(isinstance(value, (*VALUES, Filled, np.ndarray)) for value in (left, right)):
        raise Refused("multiplies what are no numbers of the network")
    if isinstance(left, VALUES) and isinstance(right, VALUES) and shape_of(left) != shape_of(right):
        raise Refused("multiplies values whose shapes differ")
    return Product(left, right, call.name)


def _divide(call: Call, left: Any, right: Any) -> Any:
    if isinstance(left, np.ndarray) and isinstance(right, np.ndarray):
        if left.dtype.kind in "iu" and right.dtype.kind in "iu":
            raise Refused("divides whole numbers")
        return _of_constants(np.divide, left, right)
    if isinstance(left, VALUES) and _is_row(right, left):
        return _scaled(call, left, 1 / call.assembly.weights(right))
    return _combined("divide")(call, left, right)


def _scaled(call: Call, value: Any, scale: Array) -> Any:
    from ...graph import Scale

    return call.assembly.layer(Scale, call.name, value, scale=np.ascontiguousarray(scale.reshape(-1)))


def _is_row(constant: Any, value: Any) -> bool:
    """Whether a constant is one number, or one for each feature."""
    if not isinstance(constant, np.ndarray) or constant.dtype.kind not in "fiu":
        return False
    if constant.ndim > len(shape_of(value)):  # it would give the value further axes
        return False
    return constant.size == 1 or constant.shape[-1] == shape_of(value)[-1] == constant.size


def _combined(operation: str) -> Operation:
    from ...graph import Combine

    def combine(call: Call, left: Any, right: Any) -> Any:
        return call.assembly.layer(Combine, call.name, left, right, operation=operation)

    return combine


# ---- activations -----------------------------------------------------------------------------------------------------

_ACTIVATIONS = {
    "Tanh": "tanh", "Sigmoid": "sigmoid", "Relu": "relu", "Elu": "elu", "Selu": "selu", "Softplus": "softplus",
    "Softsign": "softsign", "Exp": "exponential", "Expm1": "expm1", "Log": "log", "Log1p": "log1p", "Abs": "abs",
    "Neg": "negative", "Square": "square", "Sqrt": "sqrt", "Rsqrt": "rsqrt", "Reciprocal": "reciprocal",
    "Inv": "reciprocal", "Softmax": "softmax", "LogSoftmax": "log_softmax",
}  # fmt: skip


#: what a frozen batch normalization makes of its variables
_OF_CONSTANTS: dict[str, Callable[[Array], Array]] = {
    "rsqrt": lambda array: 1 / np.sqrt(array), "sqrt": np.sqrt, "negative": np.negative,
}  # fmt: skip


def _active(name: str) -> Operation:
    def activate(call: Call, value: Any) -> Any:
        if isinstance(value, np.ndarray) and value.dtype.kind == "f" and name in _OF_CONSTANTS:
            return _OF_CONSTANTS[name](value)
        if not isinstance(value, VALUES):
            raise Refused("needs a value that depends on the network's inputs")
        return Active(Activation.of(name), value, call.name)

    return activate


def _relu6(call: Call, value: Any) -> Active:
    return Active(Activation.of("relu", max_value=6), value, call.name)


def _leaky_relu(call: Call, value: Any) -> Active:
    return Active(Activation.of("relu", negative_slope=float(call.option("alpha", 0.2))), value, call.name)


# ---- the fused cell --------------------------------------------------------------------------------------------------


def _gru_block_cell(call: Call, x: Any, h: Any, w_ru: Any, w_c: Any, b_ru: Any, b_c: Any) -> Outputs:
    """contrib's GRUBlockCell: GRUCell in one operation."""
    assembly = call.assembly
    gates, candidate = assembly.weights(w_ru, 2), assembly.weights(w_c, 2)
    bias, late = assembly.weights(b_ru, 1), assembly.weights(b_c, 1)
    units = candidate.shape[1]
    depth = len(candidate) - units
    if depth < 1 or gates.shape != (depth + units, 2 * units) or bias.shape != (2 * units,) or late.shape != (units,):
        raise Refused(f"has weights of shapes {gates.shape} and {candidate.shape}")
    cell = Cell.of_tf1(gates, candidate, bias, late)
    return Outputs([None, None, None, loops.gru_step(call, CellStep((x,), h, cell))])


OPERATIONS: dict[str, Operation] = {
    "Const": _const,
    **dict.fromkeys(("VariableV2", "Variable", "VarHandleOp"), _variable),
    **dict.fromkeys(
        ("Identity", "Enter", "ReadVariableOp", "StopGradient", "PreventGradient", "CheckNumerics", "Snapshot"), _same
    ),
    **dict.fromkeys(("Placeholder", "PlaceholderV2"), _placeholder),
    "PlaceholderWithDefault": _placeholder_with_default,
    "Cast": _cast,
    "Fill": _fill,
    "ZerosLike": _zeros_like,
    "Range": _range,
    **{op: _reduced(function) for op, function in
       {"Max": "max", "Min": "min", "Mean": "mean", "Sum": "sum", "Prod": "prod"}.items()},
    "Maximum": _bounded(np.maximum),
    "Minimum": _bounded(np.minimum),
    "Less": _less,
    "LogicalAnd": _and,
    "GreaterEqual": _greater_equal,
    "Select": loops.choose,
    **dict.fromkeys(("MatMul", "BatchMatMul", "BatchMatMulV2"), _mat_mul),
    "BiasAdd": _bias_add,
    "Add": _add,
    "AddV2": _add,
    "AddN": _add_n,
    "Sub": _sub,
    "Mul": _mul,
    **dict.fromkeys(("RealDiv", "Div"), _divide),
    **{op: _active(name) for op, name in _ACTIVATIONS.items()},
    "Relu6": _relu6,
    "LeakyRelu": _leaky_relu,
    "GRUBlockCell": _gru_block_cell,
    **layout.OPERATIONS,
    **entries.OPERATIONS,
    **arrays.OPERATIONS,
}  # fmt: skip
