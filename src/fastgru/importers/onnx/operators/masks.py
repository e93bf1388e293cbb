"""Comparisons that make masks, of ids with numbers and of places with lengths, and what joins masks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from ....graph import Embedding, JoinMasks, Masking, StepMask, TensorSpec
from ...sizes import same
from ..arrange import aligned, unsqueezed
from ..node import Node, Refusal
from ..values import Constant, Counted, Tensor, Value
from .table import reads

_COMPARISONS: dict[str, Callable[..., Any]] = {
    "Equal": np.equal,
    "Greater": np.greater,
    "GreaterOrEqual": np.greater_equal,
    "Less": np.less,
    "LessOrEqual": np.less_equal,
}
TURNED = {"Less": "Greater", "Greater": "Less", "LessOrEqual": "GreaterOrEqual", "GreaterOrEqual": "LessOrEqual"}
#: operators that hand whole numbers on
_MOVES = frozenset(("Cast", "Identity", "Transpose", "Unsqueeze", "Squeeze", "Reshape"))


@reads(*_COMPARISONS, note="of ids and a number, of places of steps and lengths, of floats: masks")
def compare(node: Node) -> Value:
    a, b, how = node.needed(0), node.needed(1), node.op
    node.ignore("broadcast", "axis")
    if isinstance(a, Constant) and isinstance(b, Tensor):
        a, b, how = b, a, TURNED.get(how, how)
    if not isinstance(a, Tensor) or not isinstance(b, Constant) or not a.is_ids:
        raise Refusal("compares values that are no ids or lengths")
    if a.spec.is_sequence:
        return _of_ids(node, a, b, _COMPARISONS[how])
    return _of_lengths(node, a, b, how)


def _of_ids(node: Node, ids: Tensor, constant: Constant, comparison: Callable[..., Any]) -> Tensor:
    """A mask looked up by id: one table of 1 and 0, and one of the contrary."""
    numbers = constant.array.reshape(-1)
    if numbers.size != 1 or len(constant.shape) > ids.rank or numbers.dtype == object or ids.sizes:
        raise Refusal("compares ids with several numbers")
    true, false = looked_up(node, ids, comparison(np.arange(_vocabulary(node, ids)), numbers[0]))
    masks = [f"{node.network.build.add(Masking, f'{x.name}.true', x).name}:mask" for x in (true, false)]
    spec = node.network.build.spec(masks[0])
    return replace(ids, spec=spec, contrary=masks[1], numbers=true, contrary_numbers=false)


def looked_up(node: Node, ids: Tensor, truth: np.ndarray) -> tuple[TensorSpec, TensorSpec]:
    """1 where what is said of an id is true, else 0; and the contrary."""
    table = np.asarray(truth, np.float32)[:, None]
    add = node.network.build.add
    found = add(Embedding, node.name, ids.spec, table=table), add(Embedding, node.name, ids.spec, table=1 - table)
    node.network.sequence(ids.steps, found[0])
    return found


def _vocabulary(node: Node, ids: Tensor) -> int:
    """How many ids there are, by the tables in which they are looked up."""
    scope = node.network.main
    sizes = []
    for other in scope.proto.node:
        table = scope.initializers.get(other.input[0]) if other.op_type == "Gather" and other.input else None
        if table is not None and len(table.dims) == 2 and _source(scope, other.input[1]) == ids.name:
            sizes.append(table.dims[0])
    if not sizes:
        raise Refusal(f"compares {ids.name!r}, which is looked up in no table that says how many ids there are")
    return int(max(sizes))


def _source(scope: Any, name: str) -> str:
    for _ in range(64):
        maker = scope.makers.get(name)
        if maker is None or maker.op_type not in _MOVES or not maker.input:
            break
        name = maker.input[0]
    found = scope.values.get(name)
    return found.name if isinstance(found, Tensor) else name


def _of_lengths(node: Node, lengths: Tensor, constant: Constant, how: str) -> Tensor:
    """The mask of the places of steps that are below lengths, or its contrary."""
    places = _places(constant)
    if places is None or how not in ("Greater", "LessOrEqual"):  # length > place, or length ≤ place
        raise Refusal("compares lengths with numbers that are not the places of steps")
    rank = max(lengths.rank, len(places.shape))
    lengths = unsqueezed(lengths, range(rank - lengths.rank))
    shape = (*[1] * (rank - len(places.shape)), *places.shape)
    time = next(axis for axis, size in enumerate(shape) if size != 1)
    steps = shape[time]
    like = next((spec for known, spec in node.network.sequences if same(known, steps)), None)
    if like is None or lengths.axes[time] or lengths.sizes:
        raise Refusal(f"compares lengths with {steps} places, which no sequence has")
    mask = node.network.build.add(StepMask, node.name, like, lengths.spec)
    axes = (*lengths.axes[:time], (1,), *lengths.axes[time + 1 :])
    return Tensor(mask, (), axes, steps, negated=how == "LessOrEqual")


def _places(constant: Constant) -> Counted | None:
    if isinstance(constant, Counted):
        return constant
    array = constant.array
    if constant.is_plain and array.dtype.kind in "iuf" and array.size == max(array.shape, default=0) > 1:
        return Counted(array[:0], array.shape) if np.array_equal(array.ravel(), np.arange(array.size)) else None
    return None


@reads("Not", note="of masks")
def negation(node: Node) -> Value:
    return _mask(node, 0).contrary_view()


@reads("And", "Or", note="of masks")
def join(node: Node) -> Value:
    node.ignore("broadcast", "axis")
    given = [node.needed(0), node.needed(1)]
    for x, other in (given, given[::-1]):
        if isinstance(x, Constant) and x.array.size == 1:
            is_true = bool(x.array.reshape(()))
            if is_true == (node.op == "And"):
                return other
            raise Refusal("is the same for all inputs")
    (a, b), _ = aligned_masks(node, _mask(node, 0), _mask(node, 1))
    names = [_positive(a), _positive(b)]
    contrary = [_positive(a.contrary_view()), _positive(b.contrary_view())]
    any_of = node.op == "Or"
    if None not in names:
        return replace(_plain(a), spec=_joined(node, names, any_of))
    if None not in contrary:
        return replace(_plain(a), spec=_joined(node, contrary, not any_of), negated=True)
    raise Refusal("joins a mask and the contrary of one")


def aligned_masks(node: Node, a: Tensor, b: Tensor) -> tuple[list[Tensor], list[tuple[int, ...]]]:
    (a, b), leads = aligned(node.network, node.name, [a, b])
    if a.axes != b.axes or a.flipped != b.flipped:
        raise Refusal("joins masks whose axes differ")
    return [a, b], leads


def _plain(x: Tensor) -> Tensor:
    return replace(x, negated=False, contrary=None, numbers=None, contrary_numbers=None)


def _positive(x: Tensor) -> str | None:
    """The Graph's mask that is true where this one is in ONNX."""
    return x.contrary if x.negated else x.name


def _joined(node: Node, names: list[Any], any_of: bool) -> TensorSpec:
    return node.network.build.add(JoinMasks, node.name, *names, any_of=any_of)


def _mask(node: Node, index: int) -> Tensor:
    x = node.runtime(index)
    if not x.is_mask:
        raise Refusal(f"input {index} is no mask")
    return x
