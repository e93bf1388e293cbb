"""Attention over any number of steps: softmax(scale · q · kᵀ) · v, each head on features of its own.

The scores have no value in the Graph, so that they can only be scaled, weighted by a softmax and multiplied again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from ....graph import Attention
from ...sizes import same
from ..arrange import arranged, as_sequence, shape_of, unflipped
from ..node import Node, Refusal, axis_in
from ..values import Constant, Pending, Tensor
from . import choices, products  # noqa: F401  their readers come first
from .choices import first
from .elementwise import as_numbers


@dataclass(frozen=True, eq=False)
class Scores(Pending):
    """scale · q · kᵀ, and `is_weight`, softmax of that: q (batch, …, steps, size), k (batch, …, size, steps)."""

    q: Tensor
    k: Tensor
    scale: float = 1.0
    is_weight: bool = False


@first("MatMul")
def _product(node: Node) -> Any:
    a, b = node.needed(0), node.needed(1)
    if isinstance(a, Scores) and a.is_weight and isinstance(b, Tensor):
        return _attended(node, a, as_numbers(b))
    if not isinstance(a, Tensor) or not isinstance(b, Tensor) or a.rank != b.rank or a.rank not in (3, 4):
        return None
    is_over_steps = b.spec.is_sequence and b.axes[-1] == (1,) and a.axes[-1] != (1,)
    is_needed = not isinstance(b.steps, int) or a.rank == 4  # else a MatMul says it
    return Scores(as_numbers(a), as_numbers(b)) if is_over_steps and is_needed else None


@first("Mul", "Div")
def _scaled(node: Node) -> Any:
    for scores, number in (node.inputs, node.inputs[::-1]) if node.op == "Mul" else (node.inputs,):
        if isinstance(scores, Scores) and not scores.is_weight:
            if not isinstance(number, Constant) or number.array.size != 1 or number.array.dtype.kind != "f":
                raise Refusal("scales scores of an attention by what is not one number")
            factor = float(number.array.reshape(-1)[0])
            return replace(scores, scale=scores.scale * factor if node.op == "Mul" else scores.scale / factor)
    return None


@first("Softmax")
def _weights(node: Node) -> Any:
    scores = node.needed(0)
    if not isinstance(scores, Scores) or scores.is_weight:
        return None
    axis = axis_in(node.whole("axis", -1 if node.opset >= 13 else 1), scores.q.rank)
    if axis != scores.q.rank - 1:
        raise Refusal(f"weighs scores of an attention along axis {axis}, not the last one")
    return replace(scores, is_weight=True)


@first("Identity", "Dropout")
def _handed_on(node: Node) -> Any:
    if not isinstance(node.needed(0), Scores) or node.input(2) is not None:
        return None
    node.ignore("ratio", "seed")
    return node.needed(0)


def _attended(node: Node, scores: Scores, value: Tensor) -> Tensor:
    net, q, k = node.network, scores.q, scores.k
    if value.rank != q.rank or not same(shape_of(net, value)[-2], shape_of(net, k)[-1]):
        raise Refusal("weighs the steps of a value that has others than the keys")
    k = k.permuted((*range(k.rank - 2), k.rank - 1, k.rank - 2))
    heads = shape_of(net, q)[1] if q.rank == 4 else 1
    views = []
    for x in (q, value, k):
        if set(x.axes[0]) - {0} or (q.rank == 4 and not same(shape_of(net, x)[1], heads)):
            raise Refusal("attends to values that are not (batch, heads, steps, size)")
        x = as_sequence(net, node.name, unflipped(net, node.name, x), x.rank - 2)
        views.append(arranged(net, node.name, x, [(*x.axes[1], *x.axes[3]) if q.rank == 4 else x.axes[2]]))
    specs = (view.spec for view in views)
    assert isinstance(heads, int)
    spec = net.build.add(Attention, node.name, *specs, heads=heads, scale=scores.scale)
    if q.rank == 3:
        return replace(views[0], spec=spec, sizes=(spec.features,), axes=(q.axes[0], (1,), (2,)))
    return replace(views[0], spec=spec, sizes=(heads, spec.features // heads), axes=(q.axes[0], (2,), (1,), (3,)))
