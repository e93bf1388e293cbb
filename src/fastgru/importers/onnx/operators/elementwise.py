"""Operators that work on each number by itself, or on the numbers of several values at one place."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from ....graph import Activate, Activation, Combine, Layer, PReLU, Reshape, Scale, TensorSpec, Where
from ..arrange import aligned, enlarged, filled_sequence, shape_of, spread, together, unflipped
from ..fold import spread_shape
from ..node import Node, Refusal
from ..values import Constant, Tensor, Value
from .counts import length_as_value, steps_as_value
from .table import reads

FLOAT32 = np.finfo(np.float32)


def layer(node: Node, kind: type[Layer], x: Tensor, **attributes: Any) -> Tensor:
    """The same view of what a layer that keeps all axes makes of a value."""
    return replace(x, spec=node.network.build.add(kind, node.name, _numbers(node, x), **attributes))


def activated(node: Node, x: Tensor, name: str, **params: float) -> Tensor:
    return layer(node, Activate, x, activation=Activation.of(name, **params))


def _numbers(node: Node, x: Tensor) -> TensorSpec:
    if x.spec.dtype != "float32":
        raise Refusal(f"computes with {'a mask' if x.is_mask else 'whole numbers'}, {x.name!r}")
    if not x.spec.inner:
        return node.network.build.add(Reshape, f"{node.name}.view", x.spec, target=(1,), per_step=True)
    return x.spec


def value_of(node: Node, index: int) -> Tensor:
    """An input that only a call knows, as numbers: a mask made of ids as 0 and 1."""
    x = node.runtime(index)
    return as_numbers(x)


def as_numbers(x: Tensor) -> Tensor:
    if x.numbers is None:
        return x
    return replace(x, spec=x.numbers, numbers=None)


# ---- of one value ----------------------------------------------------------------------------------------------------


def _activation(name: str, **attributes: tuple[str, float]) -> Any:
    """A reader: parameter of the activation=(attribute of the operator, its default)."""

    def read(node: Node) -> Value:
        node.ignore("consumed_inputs")
        params = {key: node.number(attribute, default) for key, (attribute, default) in attributes.items()}
        return activated(node, value_of(node, 0), name, **params)

    return read


for _operator, _reader in {
    "Relu": _activation("relu"),
    "LeakyRelu": _activation("relu", negative_slope=("alpha", 0.01)),
    "ThresholdedRelu": _activation("relu", threshold=("alpha", 1.0)),
    "Sigmoid": _activation("sigmoid"),
    "Tanh": _activation("tanh"),
    "Elu": _activation("elu", alpha=("alpha", 1.0)),
    "Celu": _activation("celu", alpha=("alpha", 1.0)),
    "Softplus": _activation("softplus"),
    "Softsign": _activation("softsign"),
    "HardSigmoid": _activation("hard_sigmoid", slope=("alpha", 0.2), offset=("beta", 0.5)),
    "HardSwish": _activation("hard_silu"),
    "Mish": _activation("mish"),
    "Exp": _activation("exponential"),
    "Log": _activation("log"),
    "Sqrt": _activation("sqrt"),
    "Reciprocal": _activation("reciprocal"),
    "Abs": _activation("abs"),
    "Neg": _activation("negative"),
    "Erf": _activation("erf"),
    "Sign": _activation("sign"),
    "Floor": _activation("floor"),
    "Ceil": _activation("ceil"),
    "Round": _activation("round"),
}.items():
    reads(_operator)(_reader)


@reads("Selu")
def selu(node: Node) -> Value:
    x = value_of(node, 0)
    node.ignore("consumed_inputs")
    alpha = node.number("alpha", 1.67326319217681884765625 if node.opset >= 6 else 1.6732)
    gamma = node.number("gamma", 1.05070102214813232421875 if node.opset >= 6 else 1.0507)
    if math.isclose(alpha, 1.6732632423543772, rel_tol=1e-7) and math.isclose(gamma, 1.0507009873554805, rel_tol=1e-7):
        return activated(node, x, "selu")
    return scaled(node, activated(node, x, "elu", alpha=alpha), np.full(1, gamma, np.float32), None)


@reads("Gelu")
def gelu(node: Node) -> Value:
    names = {"none": "gelu", "tanh": "gelu_tanh"}
    how = node.text("approximate", "none")
    if how not in names:
        raise Refusal(f"approximate should be one of {', '.join(names)}, is {how!r}")
    return activated(node, value_of(node, 0), names[how])


@reads("Swish")
def swish(node: Node) -> Value:
    x, alpha = value_of(node, 0), node.number("alpha", 1.0)
    if alpha == 1:
        return activated(node, x, "silu")
    gate = activated(node, scaled(node, x, np.full(1, alpha, np.float32), None), "sigmoid")
    return combined(node, "multiply", [x, gate])


@reads("Shrink", note="hard and soft")
def shrink(node: Node) -> Value:
    bias, bound = node.number("bias", 0.0), node.number("lambd", 0.5)
    if bias not in (0.0, bound) or bound < 0:
        raise Refusal(f"bias={bias} is neither 0 nor lambd={bound}")
    return activated(node, value_of(node, 0), "hard_shrink" if bias == 0 else "soft_shrink", threshold=bound)


@reads("Clip", note="attributes or constant inputs")
def clip(node: Node) -> Value:
    x = value_of(node, 0)
    node.ignore("consumed_inputs")
    if node.opset < 11:
        low, high = node.number("min", -math.inf), node.number("max", math.inf)
    else:
        low, high = _bound(node, 1, "min", -math.inf), _bound(node, 2, "max", math.inf)
    return clipped(node, x, low, high)


def _bound(node: Node, index: int, what: str, absent: float) -> float:
    if node.input(index) is None:
        return absent
    given = node.numbers_of(index, what)
    if given.size != 1:
        raise Refusal(f"its {what} has shape {given.shape}, not one number")
    return float(given.reshape(()))


def clipped(node: Node, x: Tensor, low: float, high: float) -> Tensor:
    """min(max(x, low), high)."""
    if math.isnan(low) or math.isnan(high):
        raise Refusal("is bounded by NaN")
    low = -math.inf if low <= FLOAT32.min else low
    high = math.inf if high >= FLOAT32.max else high
    if (low, high) == (-math.inf, math.inf):
        return x
    if (low, high) == (0, math.inf):
        return activated(node, x, "relu")
    return activated(node, x, "clip", low=low, high=high)


@reads("PRelu", note="with a constant slope")
def prelu(node: Node) -> Value:
    x = value_of(node, 0)
    slope = node.input(1)
    node.ignore("consumed_inputs")
    if not isinstance(slope, Constant):
        raise Refusal("its slope (input 1) is not a constant")
    if node.opset < 7 and slope.array.ndim == 1 and slope.array.size > 1:  # one for each channel, axis 1
        slope = Constant.of(slope.array.reshape(-1, *[1] * (x.rank - 2)))
    return layer(node, PReLU, x, alpha=spread(node.network, slope, x))


@reads("Identity", "Dropout", note="as at inference")
def identity(node: Node) -> list[Value]:
    if node.op == "Dropout":
        if node.input(2) is not None and np.any(node.numbers_of(2, "training_mode")):
            raise Refusal("drops numbers at random (training_mode)")
        node.ignore("ratio", "seed", "is_test", "consumed_inputs")
    return [node.needed(0)]


# ---- of several values -----------------------------------------------------------------------------------------------


def scaled(node: Node, x: Tensor, scale: np.ndarray | None, offset: np.ndarray | None) -> Tensor:
    return layer(node, Scale, x, scale=scale, offset=offset)


def _with_constant(node: Node, operation: str, x: Tensor, constant: Constant, is_first: bool) -> Tensor:
    """x ∘ constant or, with `is_first`, constant ∘ x."""
    if constant.array.dtype == object:
        number = steps_as_value(node, constant)
        return combined(node, operation, [number, x] if is_first else [x, number])
    if len(constant.shape) > x.rank or spread_shape([constant.shape, shape_of(node.network, x)]) != shape_of(
        node.network, x
    ):
        x = enlarged(node.network, node.name, x, constant.shape)
    numbers = spread(node.network, constant, x)
    if operation == "add":
        return x if not numbers.any() else scaled(node, x, None, numbers)
    if operation == "subtract":
        if is_first:
            negative = activated(node, x, "negative")
            return negative if not numbers.any() else scaled(node, negative, None, numbers)
        return x if not numbers.any() else scaled(node, x, None, -numbers)
    if operation == "multiply":
        return x if np.all(numbers == 1) else scaled(node, x, numbers, None)
    if operation == "divide":
        if is_first:
            x = activated(node, x, "reciprocal")
        else:
            with np.errstate(divide="ignore"):
                numbers = np.float32(1) / numbers
        return x if np.all(numbers == 1) else scaled(node, x, numbers, None)
    if operation in ("maximum", "minimum") and numbers.size == 1:
        bound = float(numbers.reshape(()) if numbers.ndim == 0 else numbers.reshape(-1)[0])
        return clipped(node, x, *((bound, math.inf) if operation == "maximum" else (-math.inf, bound)))
    raise Refusal(f"takes the {operation} of a value and a constant {constant.array.shape}")


def _is_float(value: Value) -> bool:
    if isinstance(value, Tensor):
        return value.spec.dtype == "float32"
    return isinstance(value, Constant) and value.array.dtype == np.float32


def combined(node: Node, operation: str, tensors: Sequence[Tensor]) -> Tensor:
    view, specs = together(node.network, node.name, tensors)
    return replace(view, spec=node.network.build.add(Combine, node.name, *specs, operation=operation))


def _combine(node: Node, operation: str) -> Value:
    given = [value for value in node.inputs if value is not None]
    axis = node.whole("axis") if node.opset < 7 and node.op in ("Add", "Sub", "Mul", "Div") else None
    if node.opset < 7:
        node.ignore("consumed_inputs")
        if node.op in ("Add", "Sub", "Mul", "Div") and not node.flag("broadcast") and axis is not None:
            raise Refusal("has an axis, but does not broadcast")
    if axis is not None and len(given) == 2:
        given[1] = _with_axis(given[0], given[1], axis)
    if any(_is_float(value) for value in given):
        given = [length_as_value(node, x) if isinstance(x, Tensor) and x.is_ids else x for x in given]
    if len(given) == 1:
        return given[0]
    if all(isinstance(value, Tensor) for value in given) and not any(_is_bool(value) for value in given):
        return combined(node, operation, [as_numbers(value) for value in given if isinstance(value, Tensor)])
    if operation == "average":
        raise Refusal("is the mean of a value and a constant")
    result = given[0]
    for value in given[1:]:
        result = pair(node, operation, result, value)
    return result


def _with_axis(a: Value, b: Value, axis: int) -> Value:
    """How operators before opset 7 spread the second value: from an axis of the first on."""
    rank = a.rank if isinstance(a, Tensor) else len(a.shape) if isinstance(a, Constant) else 0
    if not isinstance(b, Constant):
        raise Refusal("spreads a value that is not a constant from an axis on")
    more = rank - (axis % rank if rank else 0) - len(b.shape)
    if more < 0:
        raise Refusal(f"cannot spread {b.shape} from axis {axis} of {rank} on")
    return Constant(b.array.reshape(*b.array.shape, *[1] * more), (*b.shape, *[1] * more))


def _is_bool(value: Value) -> bool:
    """A mask that stands for numbers only where something is multiplied by it."""
    return isinstance(value, Tensor) and value.is_mask


def pair(node: Node, operation: str, a: Value, b: Value) -> Value:
    """Of two values or constants, at least one of them a value."""
    if _is_bool(a) != _is_bool(b) and operation == "multiply" and isinstance(a, Tensor) and isinstance(b, Tensor):
        return chosen(node, a, b, 0.0) if _is_bool(a) else chosen(node, b, a, 0.0)
    a, b = (as_numbers(value) if isinstance(value, Tensor) else value for value in (a, b))
    if isinstance(a, Tensor) and isinstance(b, Constant):
        return _with_constant(node, operation, a, b, is_first=False)
    if isinstance(a, Constant) and isinstance(b, Tensor):
        return _with_constant(node, operation, b, a, is_first=True)
    if not (isinstance(a, Tensor) and isinstance(b, Tensor)):
        raise Refusal("is of constants that cannot be folded")
    return combined(node, operation, [a, b])


for _operator, _operation in {
    "Add": "add",
    "Sub": "subtract",
    "Mul": "multiply",
    "Div": "divide",
    "Sum": "add",
    "Max": "maximum",
    "Min": "minimum",
    "Mean": "average",
}.items():
    reads(_operator)(partial(_combine, operation=_operation))


@reads("Pow", note="to a constant power; of whole ones 2, 3, 4, 1 or −1")
def power(node: Node) -> Value:
    x, given = value_of(node, 0), node.numbers_of(1, "exponent")
    node.ignore("broadcast", "axis")
    exponent = float(given.reshape(-1)[0]) if given.size == 1 else math.nan
    names = {2.0: "square", 0.5: "sqrt", -0.5: "rsqrt", -1.0: "reciprocal"}
    if exponent == 1:
        return x
    if exponent in names:
        return activated(node, x, names[exponent])
    if exponent in (3.0, 4.0):
        square = activated(node, x, "square")
        return combined(node, "multiply", [square, x if exponent == 3 else square])
    if math.isfinite(exponent) and not exponent.is_integer():  # NaN below 0, as log has it
        times = scaled(node, activated(node, x, "log"), np.full(1, exponent, np.float32), None)
        return activated(node, times, "exponential")
    raise Refusal(f"takes the power of {given.reshape(-1)[:4]}")


# ---- masks that choose -----------------------------------------------------------------------------------------------


def chosen(node: Node, mask: Tensor, x: Tensor, other: Tensor | float) -> Tensor:
    """x where the mask is true in ONNX, else the other."""
    net = node.network
    tensors = [x, other] if isinstance(other, Tensor) else [x]
    if isinstance(other, Tensor):
        view, specs = together(net, node.name, tensors)
        if any(spec.inner != specs[0].inner or not spec.is_sequence for spec in specs):
            raise Refusal("chooses between values of different sizes")
        x, other = replace(view, spec=specs[0]), replace(view, spec=specs[1])
    x = unflipped(net, node.name, as_numbers(x))
    (x, fitted), _ = aligned(net, node.name, [x, mask])
    if fitted.flipped or not x.spec.is_sequence:
        raise Refusal("chooses by a mask over other steps than those of the value")
    for axis in range(x.rank):
        parts = fitted.axes[axis]
        if parts and parts != x.axes[axis]:
            raise Refusal("chooses by a mask whose axes are not those of the value")
    add = net.build.add
    if isinstance(other, Tensor):
        a, b = (other.spec, x.spec) if fitted.negated else (x.spec, other.spec)
        return replace(x, spec=add(Where, node.name, a, b, mask=fitted.name))
    if fitted.negated and fitted.contrary is not None:
        return replace(x, spec=add(Where, node.name, x.spec, mask=fitted.contrary, value=other))
    if fitted.negated:
        constant = filled_sequence(net, node.name, x.spec, other)
        return replace(x, spec=add(Where, node.name, constant, x.spec, mask=fitted.name))
    return replace(x, spec=add(Where, node.name, x.spec, mask=fitted.name, value=other))


@reads("Where", note="by masks of ids, lengths or floats")
def where(node: Node) -> Value:
    mask, a, b = node.needed(0), node.needed(1), node.needed(2)
    if isinstance(mask, Constant):
        if mask.array.dtype == object or not mask.array.size or mask.array.all() != mask.array.any():
            raise Refusal("chooses by a constant that is not the same everywhere")
        picked, left = (a, b) if mask.array.all() else (b, a)
        return _spread_alone(node, picked, [mask, left])
    if not isinstance(mask, Tensor) or not mask.is_mask:
        raise Refusal("chooses by values that are no mask")
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return chosen(node, mask, a, b)
    if isinstance(a, Constant) and isinstance(b, Constant):
        raise Refusal("chooses between two constants")
    x, constant, turned = (a, b, mask) if isinstance(a, Tensor) else (b, a, mask.contrary_view())
    assert isinstance(x, Tensor)
    assert isinstance(constant, Constant)
    numbers = np.unique(constant.array)
    if numbers.size != 1 or numbers.dtype == object:
        raise Refusal("chooses a constant that is not one number")
    value = float(numbers[0])
    if math.isinf(value):
        value = math.copysign(float(FLOAT32.max), value)  # e^x is 0 of both; no other infinity is in the Graph
    return chosen(node, turned, x, value)


def _spread_alone(node: Node, x: Value, others: Sequence[Value]) -> Value:
    """What is chosen everywhere."""
    shapes = [shape_of(node.network, v) if isinstance(v, Tensor) else v.shape for v in others]  # type: ignore[union-attr]
    if isinstance(x, Constant):
        return x.over(spread_shape([x.shape, *shapes]))
    assert isinstance(x, Tensor)
    return enlarged(node.network, node.name, x, spread_shape([shape_of(node.network, x), *shapes]))
