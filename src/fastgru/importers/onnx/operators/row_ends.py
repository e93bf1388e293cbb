"""The step at each row's length less one.

Exporters pick it by GatherElements, lengths spread over features; by GatherND, of (row, length − 1); or by Gather from
all steps of all rows in a row, at row · steps + length − 1.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from ....graph import Combine, Masking, Pad, Reduce, Slice, StepMask, TensorSpec, Where
from ...sizes import Dim, Size, same
from .. import views
from ..arrange import constant_sequence, shape_of, unflipped, unsqueezed
from ..node import Node, Refusal, axis_in
from ..values import Constant, Counted, Pending, Tensor
from ..views import shown
from . import choices, joining, picking, shaping, sizes  # noqa: F401  their readers come first
from .choices import Shifted, first
from .elementwise import as_numbers
from .reductions import filled
from .table import reads


@dataclass(frozen=True, eq=False)
class Ends(Pending):
    """Lengths less one, a view (batch, …) of which may be spread along axes of size 1."""

    lengths: Tensor
    spread: frozenset[int] = frozenset()


@dataclass(frozen=True, eq=False)
class RowEnds(Pending):
    """Indices (row, length − 1) or, with `steps`, row · steps + length − 1."""

    lengths: Tensor
    steps: Dim | None = None


@dataclass(frozen=True, eq=False)
class Starts(Pending):
    """row · steps."""

    rows: Dim
    steps: Dim


@first("Sub", "Add")
def _less_one(node: Node) -> Any:
    lengths, number = node.needed(0), node.needed(1)
    wanted = 1 if node.op == "Sub" else -1
    is_one = isinstance(number, Constant) and number.array.size == 1 and number.array.dtype.kind == "i"
    if not _are_lengths(lengths) or not is_one or int(number.array.reshape(-1)[0]) != wanted:  # type: ignore[union-attr]
        return None
    return Ends(lengths)  # type: ignore[arg-type]


def _are_lengths(x: Any) -> bool:
    return isinstance(x, Tensor) and x.is_ids and not x.spec.is_sequence and not x.sizes


def _ends(node: Node) -> Any:
    """Input 0, if it is such indices (`Shifted` by the reader of Add that embeddings have)."""
    x = node.needed(0)
    if isinstance(x, Shifted) and x.number == -1 and _are_lengths(x.ids):
        return Ends(x.ids)
    return x if isinstance(x, Ends) else None


@first("Unsqueeze")
def _unsqueezed(node: Node) -> Any:
    ends = _ends(node)
    if ends is None or ends.spread:
        return None
    return replace(ends, lengths=unsqueezed(ends.lengths, node.axes("axes", 1, since=13) or ()))


@first("Reshape")
def _reshaped(node: Node) -> Any:
    ends = _ends(node)
    if ends is None or ends.spread:
        return None
    node.ignore("allowzero")
    target = shaping.resolved(shape_of(node.network, ends.lengths), node.whole_numbers(1, "shape"))
    found = views.reshaped(node.network, ends.lengths, target)
    if found is None:
        raise Refusal(f"cannot see {shown(shape_of(node.network, ends.lengths))} as {shown(target)}")
    return replace(ends, lengths=found)


@first("Cast", "Identity")
def _handed_on(node: Node) -> Any:
    ends = _ends(node)
    if ends is not None:
        node.ignore("to", "saturate", "round_mode")
    return ends


@first("Expand")
def _expanded(node: Node) -> Any:
    ends = _ends(node)
    if ends is None:
        return None
    target, own = node.whole_numbers(1, "shape"), shape_of(node.network, ends.lengths)
    if len(target) != len(own):
        raise Refusal(f"spreads lengths {shown(own)} over {shown(target)}")
    wide = frozenset(axis for axis, (a, b) in enumerate(zip(own, target, strict=True)) if same(a, 1) and not same(b, 1))
    return replace(ends, spread=ends.spread | wide)


@reads("GatherElements", note="of each row's last step, by its length")
def _gather_elements(node: Node) -> Any:
    x, ends = as_numbers(node.runtime(0)), node.needed(1)
    axis = axis_in(node.whole("axis", 0), x.rank)
    if not isinstance(ends, Ends) or ends.lengths.rank != x.rank or axis in ends.spread:
        raise Refusal("picks by indices that are not lengths less one")
    own, shape = shape_of(node.network, ends.lengths), shape_of(node.network, x)
    batch = ends.lengths.batch_axis
    fits = all(i in (axis, batch) or i in ends.spread or same(own[i], shape[i]) for i in range(x.rank))
    if not fits or batch is None or x.axes[batch] != (0,):
        raise Refusal(f"picks by lengths {shown(own)} of {shown(shape)}")
    return _last_step(node, x, ends.lengths, axis)


@reads("GatherND", note="of each row's last step, by its length")
def _gather_nd(node: Node) -> Any:
    x, ends = as_numbers(node.runtime(0)), node.needed(1)
    if not isinstance(ends, RowEnds) or ends.steps is not None or node.whole("batch_dims", 0) or x.axes[:1] != ((0,),):
        raise Refusal("picks by indices that are not rows and lengths less one")
    return _without(_last_step(node, x, ends.lengths, 1), 1)


Pending.readers |= {"GatherElements", "GatherND"}


@first("Mul")
def _starts(node: Node) -> Any:
    for rows, steps in _both(node):
        if isinstance(rows, Counted) and len(rows.shape) == 1 and isinstance(steps, Constant) and steps.array.size == 1:
            return Starts(rows.shape[0], _as_dim(steps.array.reshape(-1)[0]))
    return None


@first("Add")
def _row_ends(node: Node) -> Any:
    for ends, starts in _both(node):
        if isinstance(ends, Ends) and isinstance(starts, Starts) and ends.lengths.axes == ((0,),):
            if not same(starts.rows, node.network.batch):
                raise Refusal(f"counts {starts.rows} rows")
            return RowEnds(ends.lengths, starts.steps)
    return None


@first("Concat")
def _row_pairs(node: Node) -> Any:
    given: list[Any] = node.inputs  # type: ignore[assignment]
    if len(given) != 2 or not isinstance(given[0], Counted) or not isinstance(given[1], Ends):
        return None
    rows, ends = given
    is_last = node.whole("axis") in (1, -1)
    if not is_last or ends.lengths.axes != ((0,), ()) or not same(rows.shape[0], node.network.batch):
        raise Refusal("joins indices that are not rows and lengths less one")
    return RowEnds(ends.lengths)


@first("Gather")
def _gather_rows(node: Node) -> Any:
    ends: Any = node.needed(1)
    x: Any = node.needed(0)
    if not isinstance(ends, RowEnds):
        return None
    is_flat = isinstance(x, Tensor) and x.axes[:1] == ((0, 1),) and x.spec.is_sequence
    if not is_flat or node.whole("axis", 0) or ends.steps is None or not same(ends.steps, x.steps):
        raise Refusal("picks by lengths of what is not all steps of all rows")
    x = as_numbers(x)
    return _without(_last_step(node, replace(x, axes=((0,), (1,), *x.axes[1:])), ends.lengths, 1), 1)


@first("Shape")
def _shape(node: Node) -> Any:
    x: Any = node.needed(0)
    if not isinstance(x, (Ends, RowEnds)):
        return None
    return sizes.as_constant(shape_of(node.network, x.lengths))


def _both(node: Node) -> list[tuple[Any, Any]]:
    """The two inputs, in either order."""
    a, b = node.needed(0), node.needed(1)
    return [(a, b), (b, a)]


def _as_dim(size: Any) -> Dim:
    return size if isinstance(size, Size) else int(size)


def _without(x: Tensor, axis: int) -> Tensor:
    return replace(x, axes=(*x.axes[:axis], *x.axes[axis + 1 :]))


def _last_step(node: Node, x: Tensor, lengths: Tensor, axis: int) -> Tensor:
    """The step at length − 1 of each row, or the last one where the length is 0, along an ONNX axis that stays."""
    if not x.spec.is_sequence or x.axes[axis] != (1,):
        raise Refusal(f"picks along axis {axis} of {shown(shape_of(node.network, x))}, which is not time")
    x, name, add = unflipped(node.network, node.name, x), node.name, node.network.build.add
    ones = constant_sequence(node.network, name, x.spec, 1.0)
    before = add(StepMask, f"{name}.before", x.spec, lengths.spec)
    inside = add(Where, f"{name}.inside", ones, mask=before.name, value=0.0)
    edge = add(Combine, f"{name}.edge", inside, _next(node, inside), operation="subtract")
    none = add(
        Combine,
        f"{name}.none",
        ones,
        add(Reduce, f"{name}.any", inside, function="maximum", axis=1),
        operation="subtract",
    )
    last = add(Combine, f"{name}.last", ones, _next(node, ones), operation="subtract")
    last = add(Combine, f"{name}.last_of_none", last, none, operation="multiply")
    edge = add(Combine, f"{name}.place", edge, last, operation="add")
    mask = add(Masking, f"{name}.mask", edge, mask_value=0.0)
    chosen = add(Where, f"{name}.chosen", x.spec, mask=f"{mask.name}:mask", value=0.0)
    spec = filled(node, add(Reduce, name, chosen, function="sum", axis=1))
    axes = tuple(() if i == axis else tuple(p - (p > 1) for p in parts) for i, parts in enumerate(x.axes))
    return replace(x, spec=spec, axes=axes, steps=1)


def _next(node: Node, x: TensorSpec) -> TensorSpec:
    """What stands one step later, and 0 behind the last one."""
    longer = node.network.build.add(Pad, f"{node.name}.longer", x, axis=1, before=0, after=1)
    return node.network.build.add(Slice, f"{node.name}.next", longer, axis=1, start=1)
