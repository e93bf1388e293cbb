"""Constants, and arithmetic with shapes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...sizes import Dim, Size, same
from ..arrange import shape_of
from ..node import Node, Refusal
from ..values import Constant, Counted, Value
from .table import reads

#: one number over a shape is written out where it takes at most this many
WRITTEN_OUT = 4096


@reads("Constant")
def constant(node: Node) -> Value:
    readers: dict[str, Any] = {
        "value": node.tensor,
        "value_float": lambda key: np.float32(node.number(key)),
        "value_floats": lambda key: np.array(node.numbers(key), np.float32),
        "value_int": lambda key: np.int64(node.whole(key)),
        "value_ints": lambda key: np.array(node.wholes(key), np.int64),
    }
    given = [key for key in readers if key in node.has]
    if len(given) != 1:
        raise Refusal(f"holds {', '.join(sorted(node.has)) or 'nothing'}")
    return Constant.of(np.asarray(readers[given[0]](given[0])))


@reads("Shape")
def shape(node: Node) -> Value:
    sizes = list(shape_of_value(node))
    start, end = node.whole("start", 0), node.whole("end", len(sizes))
    return as_constant(sizes[slice(start, end)])


@reads("Size")
def size(node: Node) -> Value:
    total: Dim = 1
    for one in shape_of_value(node):
        total = total * one
    return Constant(as_constant([total]).array.reshape(()), ())


@reads("ConstantOfShape")
def constant_of_shape(node: Node) -> Value:
    target = tuple(node.whole_numbers(0, "shape"))
    value = np.asarray(node.tensor("value", np.zeros(1, np.float32))).reshape(-1)[:1]
    return filled(value[0], target)


@reads("Range", note="of constants, or of the steps of a sequence")
def range_(node: Node) -> Value:
    start, stop, step = (node.constant(i, what).reshape(-1) for i, what in enumerate(("start", "limit", "delta")))
    if start.size != 1 or stop.size != 1 or step.size != 1 or not same(start[0], 0) or not same(step[0], 1):
        raise Refusal("counts to a free size, not by 1 from 0 on")
    return Counted.to(stop[0])


def filled(value: Any, target: tuple[Dim, ...]) -> Constant:
    """One number over a shape; written out where the shape is small and known."""
    known = [one for one in target if isinstance(one, int)]
    if any(size < 0 for size in known):
        raise Refusal(f"makes a constant of shape {target}")
    if len(known) == len(target) and math.prod(known) <= WRITTEN_OUT:
        return Constant.of(np.full(known, value))
    return Constant(np.asarray(value).reshape((1,) * len(target)), target)


def shape_of_value(node: Node) -> tuple[Dim, ...]:
    x = node.needed(0)
    return x.shape if isinstance(x, Constant) else shape_of(node.network, node.runtime(0))


def as_constant(sizes: Sequence[Dim]) -> Constant:
    """Sizes, some of which may be free, as numbers to compute with."""
    if any(isinstance(one, Size) for one in sizes):
        array = np.empty(len(sizes), object)
        array[:] = sizes
        return Constant.of(array)
    return Constant.of(np.array(sizes, np.int64))
