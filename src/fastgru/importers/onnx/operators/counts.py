"""Numbers of steps as numbers of the network: what ones over the steps sum up to."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ....graph import Reduce, Scale, StepMask, Where
from ...sizes import Size, same
from ..arrange import constant_sequence
from ..node import Node, Refusal
from ..values import Constant, Tensor


def steps_as_value(node: Node, constant: Constant) -> Tensor:
    """A free number of steps, maybe times a number and more, as a number of the network: a sum of ones."""
    size, net = constant.array.reshape(-1)[0], node.network
    for steps, like in net.sequences:
        symbol = steps.symbol if isinstance(steps, Size) and like.dtype == "float32" else None
        found = size.linear_in(symbol) if symbol is not None and constant.array.size == 1 else None
        if found is not None:
            ones = constant_sequence(net, node.name, like, 1.0)
            spec = net.build.add(Reduce, f"{node.name}.steps", ones, function="sum", axis=1)
            x = Tensor(spec, (), ((),) * len(constant.shape))
            factor, more = (np.full(1, number, np.float32) for number in found)
            if found == (1, 0):
                return x
            return replace(x, spec=net.build.add(Scale, f"{node.name}.size", spec, scale=factor, offset=more))
    raise Refusal(f"computes with a size that is free, {size}")


def length_as_value(node: Node, lengths: Tensor) -> Tensor:
    """The length of each row, which was cast to a float, as a number of the network: as many ones are summed."""
    net = node.network
    first = net.sequences[0][0] if net.sequences else 1
    like = next((spec for steps, spec in net.sequences if spec.dtype == "float32" and same(steps, first)), None)
    if like is None or lengths.spec.is_sequence or lengths.sizes:
        raise Refusal(f"computes with whole numbers, {lengths.name!r}")
    ones = constant_sequence(net, node.name, like, 1.0)
    mask = net.build.add(StepMask, f"{node.name}.mask", like, lengths.spec)
    counted = net.build.add(Where, f"{node.name}.counted", ones, mask=mask.name, value=0.0)
    return replace(lengths, spec=net.build.add(Reduce, f"{node.name}.length", counted, function="sum", axis=1))
