"""Choices number by number: Where(x > t, a, b), as max(min(a, h), min(b, −h)), where h is +∞ if x > t, else −∞.

So what is chosen comes out to the last bit, whatever the other one is, unless that is NaN.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from ..node import Node, Refusal
from ..values import Constant, Tensor, Value
from .elementwise import activated, as_numbers, clipped, combined

#: operator: the one that is true where it is not, and whether what is equal counts as above
_ABOVE = {
    "Greater": (False, False),
    "GreaterOrEqual": (False, True),
    "LessOrEqual": (True, False),
    "Less": (True, True),
}
#: denormal numbers count as 0
_TINY = float(np.finfo(np.float32).tiny)


def infinite(node: Node, x: Tensor, compare: str, number: float) -> Tensor:
    """+∞ where numbers of a value compare so with one number, elsewhere −∞."""
    if compare not in _ABOVE or math.isnan(number):
        raise Refusal(f"chooses by comparing ({compare}) with {number:g}, number by number")
    is_contrary, with_equal = _ABOVE[compare]
    bound = np.float32(number)
    if with_equal:
        bound = np.nextafter(bound, np.float32(-np.inf))
        bound = np.float32(-_TINY) if 0 > bound > -_TINY else np.float32(0) if 0 < bound < _TINY else bound
    above = activated(node, x, "threshold", threshold=float(bound), value=-math.inf)
    below = activated(node, above, "negative")  # +∞ only where x is not above
    largest = float(np.finfo(np.float32).max)
    below = activated(node, below, "threshold", threshold=largest, value=-math.inf)
    return below if is_contrary else activated(node, below, "negative")


def choice(node: Node, high: Tensor, a: Value, b: Value) -> Tensor:
    """a where `high` is +∞, b where it is −∞."""
    low = activated(node, high, "negative")
    return combined(node, "maximum", [_least(node, a, high), _least(node, b, low)])


def _least(node: Node, value: Value, bound: Tensor) -> Tensor:
    if isinstance(value, Tensor):
        return combined(node, "minimum", [as_numbers(value), bound])
    if not isinstance(value, Constant) or value.array.size != 1 or value.array.dtype.kind != "f":
        raise Refusal("chooses, number by number, among values that are neither numbers of the network nor one number")
    most = float(value.array.reshape(-1)[0])
    if math.isnan(most):
        raise Refusal("chooses NaN")
    return clipped(node, bound, -math.inf, most) if most < math.inf else replace(bound)
