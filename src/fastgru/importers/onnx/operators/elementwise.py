"""Operators that work on each number by itself, or on the numbers of several values at one place."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from ....graph import Activate, Activation, Combine, Layer, Scale, TensorSpec
from ..arrange import spread, together
from ..node import Node, Refusal
from ..values import Constant, Tensor, Value
from .table import reads


def layer(node: Node, kind: type[Layer], x: Tensor, **attributes: Any) -> Tensor:
    """The same view of what a layer that keeps all axes makes of a value."""
    return replace(x, spec=node.network.build.add(kind, node.name, _numbers(x), **attributes))


def _numbers(x: Tensor) -> TensorSpec:
    if x.spec.dtype != "float32":
        raise Refusal(f"computes with {'a mask' if x.is_mask else 'ids'}, {x.name!r}")
    return x.spec


# ---- of one value --------------------------------------------------------------------------------------------------


def _activation(name: str, **attributes: tuple[str, float]) -> Any:
    """A reader: parameter of the activation=(attribute of the operator, its default)."""

    def read(node: Node) -> Value:
        params = {key: node.number(attribute, default) for key, (attribute, default) in attributes.items()}
        return layer(node, Activate, node.runtime(0), activation=Activation.of(name, **params))

    return read


for _operator, _reader in {
    "Relu": _activation("relu"),
    "LeakyRelu": _activation("relu", negative_slope=("alpha", 0.01)),
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
}.items():
    reads(_operator)(_reader)


@reads("Identity", "Dropout", note="as at inference")
def identity(node: Node) -> list[Value]:
    if node.op == "Dropout":
        if node.input(2) is not None and np.any(node.constant(2, "training_mode")):
            raise Refusal("drops numbers at random (training_mode)")
        node.ignore("ratio", "seed", "is_test", "consumed_inputs")
    return [node.needed(0)]


# ---- of several values ---------------------------------------------------------------------------------------------


def _scaled(node: Node, x: Tensor, scale: np.ndarray | None, offset: np.ndarray | None) -> Tensor:
    return layer(node, Scale, x, scale=scale, offset=offset)


def _with_constant(node: Node, operation: str, x: Tensor, constant: Constant, is_first: bool) -> Tensor:
    """x ∘ constant or, with `is_first`, constant ∘ x."""
    if constant.array.dtype == object:
        raise Refusal("computes with a size that is free")
    numbers = spread(node.network, constant, x)
    if operation == "add":
        return _scaled(node, x, None, numbers)
    if operation == "subtract":
        minus = np.full(1, -1, np.float32)
        return _scaled(node, x, minus, numbers) if is_first else _scaled(node, x, None, -numbers)
    if operation == "divide" and is_first:
        x = layer(node, Activate, x, activation=Activation.of("reciprocal"))
    elif operation == "divide":
        with np.errstate(divide="ignore"):
            numbers = np.float32(1) / numbers
    elif operation != "multiply":
        raise Refusal(f"takes the {operation} of a value and a constant")
    return _scaled(node, x, numbers, None)


def _combine(node: Node, operation: str) -> Value:
    result = node.needed(0)
    for index in range(1, len(node.inputs)):
        result = _pair(node, operation, result, node.needed(index))
    return result


def _pair(node: Node, operation: str, a: Value, b: Value) -> Value:
    if isinstance(a, Tensor) and isinstance(b, Constant):
        return _with_constant(node, operation, a, b, is_first=False)
    if isinstance(a, Constant) and isinstance(b, Tensor):
        return _with_constant(node, operation, b, a, is_first=True)
    if not (isinstance(a, Tensor) and isinstance(b, Tensor)):
        raise Refusal("is of constants that cannot be folded")
    view, specs = together(node.network, node.name, [a, b])
    return replace(view, spec=node.network.build.add(Combine, node.name, *specs, operation=operation))


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
