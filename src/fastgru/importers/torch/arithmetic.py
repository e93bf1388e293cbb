"""Operators and reductions."""

from __future__ import annotations

import builtins
import operator
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ...graph import Combine, Reduce, Scale
from ..sizes import Size
from .activations import READERS, refuse_dtype
from .layout import flat, over_time
from .values import Const, Pending, Refused, Tensor, shown

if TYPE_CHECKING:
    from .convert import Converter


def binary(operation: str) -> Callable[..., Any]:
    def read(c: Converter, input: Any, other: Any, *, alpha: Any = 1, rounding_mode: Any = None) -> Any:
        if alpha != 1 or rounding_mode is not None:
            raise Refused("has alpha or rounding_mode")
        plain = (int, float)
        if isinstance(input, plain) and isinstance(other, plain):
            return {"add": operator.add, "subtract": operator.sub, "multiply": operator.mul,
                    "divide": operator.truediv}[operation](input, other)  # fmt: skip
        if isinstance(input, (Size, *plain)) and isinstance(other, (Size, *plain)):
            raise Refused("computes with sizes that are known only when it runs")
        left, right = (_constant(value) for value in (input, other))
        if left is not None and right is not None:
            raise Refused("computes a constant")
        if right is not None:
            return _with_constant(c, c.tensor(input), right, operation, False)
        if left is not None:
            return _with_constant(c, c.tensor(other), left, operation, True)
        return _combined(c, c.tensor(input), c.tensor(other), operation)

    return read


def _constant(value: Any) -> Any:
    if isinstance(value, Const):
        return value.array
    return np.array([value], np.float32) if isinstance(value, (int, float)) else None


def _with_constant(c: Converter, x: Tensor, number: Any, operation: str, is_left: bool) -> Tensor:
    number = _spread(x, number).astype(np.float64)
    scale = offset = None
    if operation == "add":
        offset = number
    elif operation == "subtract":
        scale, offset = (-np.ones(1), number) if is_left else (None, -number)
    elif operation == "multiply":
        scale = number
    elif operation == "divide":
        if is_left:
            x = READERS["reciprocal"](c, x)
        elif (number == 0).any():
            raise Refused("divides by zero")
        scale = number if is_left else 1 / number
    else:
        raise Refused(f"takes the {operation} with a constant")
    narrow = [None if part is None else part.astype(np.float32) for part in (scale, offset)]
    return x.over(c.add(Scale, x.spec, part="scaled", scale=narrow[0], offset=narrow[1]))


def _spread(x: Tensor, array: Any) -> Any:
    """A constant that spreads over a tensor as PyTorch has it, turned to spread over its value."""
    if array.size == 1:
        return array.reshape(1)
    if array.ndim > x.rank:
        raise Refused(f"spreads {shown(x)} over a constant of shape {array.shape}")
    whole = array.reshape((1,) * (x.rank - array.ndim) + array.shape)
    dims = [x.order.index(axis) for axis in range(len(x.spec.shape))]
    extra = [dim for dim in range(x.rank) if x.order[dim] is None]
    if any(whole.shape[dim] != 1 for dim in (*extra, dims[0])):
        raise Refused(f"spreads {shown(x)} over a constant of shape {array.shape}")
    return whole.transpose(*extra, *dims).reshape([whole.shape[dim] for dim in dims[1:]])


def _combined(c: Converter, a: Tensor, b: Tensor, operation: str) -> Tensor:
    rank = builtins.max(a.rank, b.rank)
    a, b = (replace(v, order=(None,) * (rank - v.rank) + v.order) for v in (a, b))
    if a.is_ragged != b.is_ragged and a.spec.is_sequence and b.spec.is_sequence:
        raise Refused("combines a sequence with one that ends at the batch's longest row")
    if a.order != b.order or None in a.order:
        dims = c.canonical(a if a.spec.is_sequence or not b.spec.is_sequence else b)
        if a.order[dims[0]] != 0 or b.order[dims[0]] != 0:
            raise Refused(f"combines {shown(a)} and {shown(b)}, whose batches are different axes")
        a, b = (_beside(c, v, other, dims) for v, other in ((a, b), (b, a)))
    lead = a if a.spec.is_sequence or not b.spec.is_sequence else b
    spec = c.add(Combine, a.spec, b.spec, operation=operation)
    return Tensor(spec, lead.order).keeping(lead)


def _beside(c: Converter, x: Tensor, other: Tensor, dims: Sequence[int]) -> Tensor:
    """A tensor arranged by `dims`; one without time needs no axis for the steps of the other."""
    if not x.spec.is_sequence and other.spec.is_sequence and x.order[dims[1]] is None:
        left = [dim for dim in dims if dim != dims[1]]
        return replace(
            x, spec=c.arrange(x, left), order=tuple(left.index(d) if d in left else None for d in range(x.rank))
        )
    return c.laid(x, dims)


def power(c: Converter, input: Any, exponent: Any) -> Any:
    known = {2: "square", 0.5: "sqrt", -1: "reciprocal", -0.5: "rsqrt"}
    if isinstance(exponent, (int, float)) and exponent in known:
        return READERS[known[exponent]](c, input)
    raise Refused(f"has the exponent {exponent}; supported are {', '.join(map(str, known))}")


def reduce(function: str) -> Callable[..., Any]:
    def read(c: Converter, input: Any, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Any:
        refuse_dtype(dtype)
        if isinstance(dim, (Tensor, Pending, Const)):
            if function in ("maximum", "minimum"):
                return binary(function)(c, input, dim)
            raise Refused("is called with two tensors")
        x = c.tensor(input)
        if dim is None:
            raise Refused("reduces the batch, too; say its dim")
        dims = sorted((x.axis(d) for d in flat((dim,))), reverse=True)
        for place in dims:
            axis = x.order[place]
            if axis == 0:
                raise Refused("reduces the batch")
            if axis is None:
                x = x if keepdim else replace(x, order=x.order[:place] + x.order[place + 1 :])
                continue
            whole = over_time(x, axis)
            spec = c.add(Reduce, x.spec, part=str(place), function=function, axis=axis)
            left = [a - 1 if a is not None and a > axis else a for a in x.order]
            left[place : place + 1] = [None] if keepdim else []
            x = Tensor(spec, tuple(left)) if whole else Tensor(spec, tuple(left)).keeping(x)
        if function in ("maximum", "minimum") and not isinstance(dim, (tuple, list)):
            return Values((x,))
        return x

    return read


class Values(tuple):  # type: ignore[type-arg]
    """What torch.max over an axis gives: the values, and indices, which are refused where they are read."""

    def __getitem__(self, index: Any) -> Any:
        if index not in (0, -2):
            raise Refused("gives indices, which are not supported")
        return super().__getitem__(0)


def first_of(reader: Callable[..., Any]) -> Callable[..., Any]:
    """torch.amax gives what torch.max gives, without indices."""

    def read(c: Converter, input: Any, dim: Any = (), keepdim: bool = False) -> Any:
        found = reader(c, input, dim, keepdim)
        return found[0] if isinstance(found, Values) else found

    return read
