"""Masks and choices as Keras' exporter (tf2onnx) writes them.

What makes a mask of a step are an id that is 0 (Keras' Embedding) and features that all equal a number (Masking). A
choice is a Where, or, as tf2onnx writes it, Mul(mask, a) + Mul(Not(mask), b).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ....graph import Embedding, Masking
from ...sizes import same
from ..node import Node, Refusal, axis_in
from ..values import Constant, Pending, Tensor, Value
from . import comparing, masks, reductions, shaping  # noqa: F401  their readers come first
from .elementwise import activated, as_numbers, chosen, clipped, combined
from .table import OPERATORS, Reader, reads

if TYPE_CHECKING:
    from ..network import Network


@dataclass(frozen=True, eq=False)
class Flags(Pending):
    """Where numbers of a value compare with a constant; maybe cast to numbers.

    `counted` says how many of a step's do, and whether that keeps an axis.
    """

    x: Tensor
    compare: str  # the operator
    number: float
    negated: bool = False
    counted: bool = False
    keeps_axis: bool = False


@dataclass(frozen=True, eq=False)
class High(Pending):
    """Comparisons number by number, joined: +∞ where they are true, −∞ where they are not; maybe cast to numbers."""

    x: Tensor


@dataclass(frozen=True, eq=False)
class Chosen(Pending):
    """A value where a mask is true (or, of a negated one, false), else 0."""

    mask: Tensor | Flags | High
    value: Any


@dataclass(frozen=True, eq=False)
class Shifted(Pending):
    """Ids plus a number: what an index from the end means."""

    ids: Tensor
    number: int


#: readers that look at values on the way themselves
_TAKE_PENDING: set[Reader] = set()


def first(*names: str) -> Callable[[Callable[[Node], Any]], Callable[[Node], Any]]:
    """Declare a reader that is asked before the one of the table; None: it is not for it to read."""

    def declare(read: Callable[[Node], Any]) -> Callable[[Node], Any]:
        for name in names:
            known = OPERATORS.get(("", name))
            reads(name, note=known.note if known else "of masks")(_either(read, known.read if known else None))
            Pending.readers.add(name)
        return read

    return declare


def _either(read: Callable[[Node], Any], other: Reader | None) -> Reader:
    def either(node: Node) -> Any:
        result = read(node)
        if result is not None:
            return result
        takes_all = other in _TAKE_PENDING
        if other is None or (not takes_all and any(isinstance(value, Pending) for value in node.inputs)):
            raise Refusal("is not supported of these values")
        return other(node)

    _TAKE_PENDING.add(either)
    return either


@first("Equal", "Less", "Greater", "LessOrEqual", "GreaterOrEqual")
def _compare(node: Node) -> Any:
    x, number, op = node.needed(0), node.needed(1), node.op
    if isinstance(x, Tensor) and isinstance(number, Tensor) and _is_float(x) and _is_float(number):
        below = combined(node, "subtract", [as_numbers(x), as_numbers(number)])
        x, number = below, Constant.of(np.zeros((), np.float32))
    elif isinstance(x, Constant) and _is_float(number):
        x, number, op = number, x, masks.TURNED.get(op, op)
    is_number = isinstance(number, Constant) and number.array.size == 1 and number.array.dtype != object
    if not is_number:
        return None
    value = float(number.array.reshape(-1)[0])  # type: ignore[union-attr]
    if isinstance(x, Flags):
        return _any(node, x) if node.op == "Greater" and x.counted and value == 0 else None
    if isinstance(x, Tensor) and x.is_ids and op == "Equal":
        return _ids_mask(node, x, value)
    is_index = isinstance(x, Tensor) and x.is_ids and op == "Less" and not value
    return Flags(x, op, value) if is_index or _is_float(x) else None  # type: ignore[arg-type]


def _is_float(x: Any) -> bool:
    return isinstance(x, Tensor) and x.spec.dtype == "float32"


@first("And", "Or")
def _joined(node: Node) -> Any:
    given = [_high(node, value) for value in (node.needed(0), node.needed(1))]
    if None in given:
        return None
    return High(combined(node, "minimum" if node.op == "And" else "maximum", given))  # type: ignore[arg-type]


def _high(node: Node, flags: Any) -> Tensor | None:
    """+∞ where a comparison is true, −∞ where it is not; None where it is none number by number."""
    if isinstance(flags, High):
        return flags.x
    if not isinstance(flags, Flags) or flags.counted or flags.x.is_ids:
        return None
    found = comparing.infinite(node, flags.x, flags.compare, flags.number)
    return activated(node, found, "negative") if flags.negated else found


@first("Not")
def _contrary(node: Node) -> Any:
    x: Any = node.needed(0)
    if isinstance(x, High):
        return High(activated(node, x.x, "negative"))
    return replace(x, negated=not x.negated) if isinstance(x, Flags) and not x.counted else None


@first("Cast")
def _cast(node: Node) -> Any:
    """Of flags and ids: to numbers, which may only be compared, chosen or counted."""
    x: Any = node.needed(0)
    if isinstance(x, (Flags, High)) or (isinstance(x, Tensor) and x.is_ids):
        node.ignore("to", "saturate", "round_mode")
        return x
    return None


@first("ReduceSum", "ReduceMax")
def _count(node: Node) -> Any:
    x: Any = node.needed(0)
    if not isinstance(x, Flags) or x.counted:
        return None
    axes = node.axes("axes", 1, since=13 if node.op == "ReduceSum" else 18)
    node.ignore("noop_with_empty_axes")
    keeps = node.flag("keepdims", True)
    if axes is None or len(axes) != 1 or axis_in(axes[0], x.x.rank) != x.x.rank - 1:
        raise Refusal(f"counts along axes {axes}, not along features")
    return replace(x, counted=True, keeps_axis=keeps)


@first("Mul")
def _chosen(node: Node) -> Any:
    for mask, value in (node.inputs, node.inputs[::-1]):
        if isinstance(mask, (Flags, High)) or (isinstance(mask, Tensor) and mask.is_mask):
            if _is_added(node) or not _is_float(value):
                return Chosen(mask, value)
            high = _high(node, mask)
            if high is not None and isinstance(value, Tensor):
                return combined(node, "multiply", [clipped(node, high, 0.0, 1.0), as_numbers(value)])
            return None
    return None


@first("Add")
def _added(node: Node) -> Any:
    a, b = node.needed(0), node.needed(1)
    if isinstance(a, Chosen) and isinstance(b, Chosen):
        if not _are_contrary(a.mask, b.mask):
            raise Refusal("adds what two masks choose")
        return _choice(node, a.mask, a.value, b.value)
    for ids, number in ((a, b), (b, a)):
        if isinstance(ids, Tensor) and ids.is_ids and isinstance(number, Constant) and number.array.size == 1:
            return Shifted(ids, int(number.array.reshape(-1)[0])) if number.array.dtype.kind == "i" else None
    return None


@first("Where")
def _where(node: Node) -> Any:
    mask: Any = node.needed(0)
    a, b = node.needed(1), node.needed(2)
    if isinstance(mask, High):
        return comparing.choice(node, mask.x, a, b)
    if isinstance(mask, Flags) or (_is_plain(mask) and isinstance(a, Tensor)):
        return _choice(node, mask, a, b) if not isinstance(b, Constant) or b.array.size == 1 else None
    return None


def _is_plain(mask: Any) -> bool:
    return isinstance(mask, Tensor) and mask.is_mask and not mask.negated


def _choice(node: Node, mask: Tensor | Flags | High, a: Any, b: Any) -> Value:
    """a where the mask is true, else b."""
    if isinstance(mask, High):
        return comparing.choice(node, mask.x, a, b)
    if mask.negated:
        mask, a, b = replace(mask, negated=False), b, a
    if isinstance(mask, Flags):
        is_index = isinstance(a, Shifted) and isinstance(b, Tensor) and a.ids.name == b.name == mask.x.name
        if is_index and (mask.compare, mask.number, mask.counted) == ("Less", 0, False):
            return b  # an index from the end; negative ids are refused when the network runs
        if mask.counted or mask.x.is_ids:
            raise Refusal("chooses by comparing, number by number")
        return comparing.choice(node, comparing.infinite(node, mask.x, mask.compare, mask.number), a, b)
    if not isinstance(a, Tensor) or a.spec.dtype != "float32":
        raise Refusal("chooses among values that are no sequences of numbers")
    if isinstance(b, Tensor):
        return chosen(node, mask, a, b)
    if not isinstance(b, Constant) or b.array.size != 1 or b.array.dtype.kind != "f":
        raise Refusal("chooses among values that are no sequences of numbers")
    value = float(b.array.reshape(-1)[0])
    masking = node.network.build.layer(mask.name)
    if isinstance(masking, Masking) and masking.inputs == (a.name,) and value == 0:
        _check_steps(mask, a)
        return replace(a, spec=node.network.build.spec(masking.name))
    return chosen(node, mask, a, value)


def _check_steps(mask: Tensor, x: Tensor) -> None:
    """A mask spreads over a sequence's features."""
    axes = ((),) * (x.rank - mask.rank) + mask.axes
    fits = len(axes) == x.rank and all(m == (p if set(p) & {0, 1} else ()) for m, p in zip(axes, x.axes, strict=True))
    if not fits or not x.spec.is_sequence or mask.flipped != x.flipped or not same(mask.steps, x.steps):
        raise Refusal(f"masks {x.name!r} by {mask.name!r}, whose steps do not lie alike")


def _any(node: Node, flags: Flags) -> Tensor:
    """Where a step has features that differ from a number: the mask of a Masking."""
    x, build = flags.x, node.network.build
    is_whole = sorted(x.axes[-1]) == list(range(x.lead, x.lead + len(x.sizes)))
    if flags.compare != "Equal" or not flags.negated or not is_whole or not x.spec.is_sequence or x.is_ids:
        raise Refusal("is of a comparison that makes no mask of steps")
    same_one = (layer for layer in build.layers if isinstance(layer, Masking) and layer.inputs == (x.name,))
    found = next((layer.name for layer in same_one if layer.mask_value == flags.number), None)
    name = found or build.add(Masking, node.name, x.spec, mask_value=flags.number).name
    axes = (*x.axes[:-1], ()) if flags.keeps_axis else x.axes[:-1]
    return Tensor(build.spec(f"{name}:mask"), (), axes, x.steps, x.flipped)


def _ids_mask(node: Node, ids: Tensor, number: float) -> Tensor | None:
    """Where ids are 0: the contrary of the mask of the Embedding that reads them."""
    net = node.network
    layer = _embedding(net, ids) or _embedding(_looked_up(node), ids)
    if number != 0 or layer is None or not ids.spec.is_sequence:
        return None
    if not layer.mask_zero:
        net.build.change(layer, mask_zero=True)
    true, false = masks.looked_up(node, ids, np.arange(layer.table.shape[0]) == 0)
    spec = net.build.spec(f"{layer.name}:mask")
    contrary = f"{net.build.add(Masking, f'{node.name}.true', true).name}:mask"
    return replace(
        ids, spec=spec, negated=True, contrary=contrary, numbers=true, contrary_numbers=false
    )


def _embedding(net: Network, ids: Tensor) -> Embedding | None:
    layers = (layer for layer in net.build.layers if isinstance(layer, Embedding))
    return next((layer for layer in layers if layer.inputs == (ids.name,)), None)


def _looked_up(node: Node) -> Network:
    """The network, after the tables were read whose ids come from where the node's come from."""
    scope = node.scope
    for proto in scope.proto.node:
        is_new = proto.op_type == "Gather" and len(proto.input) == 2 and proto.output[0] not in scope.values
        if is_new and node.proto.input[0] in _sources(node, proto.input[1]):
            node.network.value(scope, proto.output[0])
    return node.network


def _sources(node: Node, name: str) -> set[str]:
    """Names that a value is made of; none where it is made of the node itself."""
    found: set[str] = set()
    rest = [name]
    while rest:
        one = rest.pop()
        if one in node.outputs:
            return set()
        maker = node.scope.makers.get(one)
        if one not in found:
            found.add(one)
            rest += list(maker.input) if maker is not None else []
    return found


def _is_added(node: Node) -> bool:
    """Whether the node's output is only a part of a choice."""
    users = [proto for proto in node.scope.proto.node if node.outputs[0] in proto.input]
    is_output = any(entry.name == node.outputs[0] for entry in node.scope.proto.output)
    return bool(users) and not is_output and all(proto.op_type == "Add" for proto in users)


def _are_contrary(a: Tensor | Flags | High, b: Tensor | Flags | High) -> bool:
    if isinstance(a, Flags) and isinstance(b, Flags):
        is_one = (a.x.name, a.compare, a.number, a.counted) == (b.x.name, b.compare, b.number, b.counted)
    elif isinstance(a, Tensor) and isinstance(b, Tensor):
        is_one = (a.name, a.axes, a.flipped) == (b.name, b.axes, b.flipped)
    else:
        return False
    return is_one and a.negated != b.negated
