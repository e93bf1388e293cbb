"""Operators that take some entries of an axis: Slice, Gather; and OneHot, which is a Gather of the identity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ....graph import Embedding, OneHot, Slice, TensorSpec
from ...sizes import Dim, as_declared, declared
from ..arrange import arranged, in_place, resized, shape_of, squeezed, unflipped, unsqueezed
from ..fold import slices
from ..node import Node, Refusal, axis_in
from ..values import Constant, Tensor, Value
from ..views import inner_parts, without_batch
from .shaping import uniform
from .table import reads

if TYPE_CHECKING:
    from ..network import Network


@reads("Slice", note="of features, of time, backwards too")
def slice_(node: Node) -> Value:
    x = node.needed(0)
    if isinstance(x, Constant):
        return slice_constant(x, slices(node, len(x.shape)))
    x = node.runtime(0)
    for axis, start, stop, step in slices(node, x.rank):
        x = cut(node, x, axis, start, stop, step)
    return x


def slice_constant(x: Constant, cuts: Sequence[tuple[int, Any, Any, int]]) -> Constant:
    """Of one number over a free shape."""
    shape, array = list(x.shape), x.array
    for axis, start, stop, step in cuts:
        known = declared(shape[axis])
        if not step:
            raise Refusal("takes steps of 0")
        if known is None:
            if (start, stop, step) != (0, None, 1):
                raise Refusal("cuts a constant of free size")
            continue
        start, stop = (None if bound is None else declared(bound) for bound in (start, stop))
        if array.shape[axis] != 1:
            array = array[(slice(None),) * axis + (slice(start, stop, step),)]
        shape[axis] = len(range(*slice(start, stop, step).indices(known)))
    return Constant(array, tuple(shape))


def cut(node: Node, x: Tensor, axis: int, start: Any, stop: Any, step: int) -> Tensor:
    """Some entries of an ONNX axis."""
    net = node.network
    size = shape_of(net, x)[axis]
    if not step:
        raise Refusal("takes steps of 0")
    start, stop = _bound(start, size), _bound(stop, size)
    known = declared(size)
    entries = None if known is None else range(*slice(start, stop, step).indices(known))
    if (start in (0, None) and stop is None and step == 1) or (entries is not None and entries == range(known or 0)):
        return x
    if entries is not None and not len(entries):
        raise Refusal(f"takes nothing of the {known} entries of axis {axis}")
    if known == 1:
        return x
    x = without_batch(net, x, axis)
    if x.spec.is_sequence and x.axes[axis] == (1,):
        if (start, stop, step) == (-1, None, -1):
            return replace(x, flipped=not x.flipped)
        if x.is_mask or x.is_ids:
            raise Refusal(f"takes some steps of {'a mask' if x.is_mask else 'whole numbers'}")
        x = unflipped(net, node.name, x)
        spec = net.build.add(Slice, node.name, x.spec, axis=1, start=start, stop=stop, step=step)
        return replace(x, spec=spec, steps=_steps_of(net, spec, x.steps, start, stop, step))
    if 0 in x.axes[axis]:
        raise Refusal(f"takes {start}:{stop}:{step} of axis {axis}, which is batch")
    x, place = in_place(net, node.name, x, axis)
    if place > x.lead or step != 1 or len(x.spec.inner) == 1:
        spec = net.build.add(Slice, node.name, x.spec, axis=place, start=start, stop=stop, step=step)
        return resized(x, axis, spec, place)
    # neighbours in memory: a part of all features
    assert entries is not None
    rest = x.spec.features // len(range(known or 1))
    flat = arranged(net, node.name, x, [list(inner_parts(x))]).spec
    ends = {"start": entries[0] * rest, "stop": (entries[-1] + 1) * rest}
    return _first_resized(x, axis, net.build.add(Slice, node.name, flat, axis=-1, **ends), len(entries))


def _first_resized(x: Tensor, axis: int, spec: TensorSpec, size: int) -> Tensor:
    """The view of a value whose first parts, all of an ONNX axis, are one of another size."""
    count = len(x.axes[axis])
    axes = tuple(
        (x.lead,) if index == axis else tuple(part - count + 1 if part >= x.lead else part for part in parts)
        for index, parts in enumerate(x.axes)
    )
    return replace(x, spec=spec, sizes=(size, *x.sizes[count:]), axes=axes)


def _steps_of(net: Network, spec: TensorSpec, steps: Dim, start: Any, stop: Any, step: int) -> Dim:
    """How many steps a slice leaves of a number that may be free, taken to be enough for it."""
    if spec.shape[1] is not None or step != 1:
        return net.fresh_steps(spec)
    first = 0 if start is None else start if start >= 0 else steps + start
    last = steps if stop is None else stop if stop >= 0 else steps + stop
    return net.sequence(last - first, spec)


def _bound(bound: Any, size: Dim) -> int | None:
    """A bound of a slice as Python's; one that is the axis' free size less a number counts from the end."""
    if bound is None or isinstance(bound, int):
        return bound
    if isinstance(as_declared(bound), int):
        return int(as_declared(bound))  # type: ignore[arg-type]
    behind = as_declared(bound - size)
    if not isinstance(behind, int) or behind > 0:
        raise Refusal(f"cuts at {bound}, of {size}")
    return behind or None


@reads("Gather", note="embeddings; some entries of an axis")
def gather(node: Node) -> Value:
    axis = node.whole("axis", 0)
    table, ids = node.needed(0), node.needed(1)
    if isinstance(table, Constant) and isinstance(ids, Tensor):
        return _embedding(node, node.numbers_of(0, "table"), ids, axis)
    if isinstance(table, Constant):
        axis, places = axis_in(axis, len(table.shape)), node.numbers_of(1, "indices")
        return uniform(table, (*table.shape[:axis], *places.shape, *table.shape[axis + 1 :]))
    x = node.runtime(0)
    axis = axis_in(axis, x.rank)
    places = _from_the_end(node.constant(1, "indices"), shape_of(node.network, x)[axis])
    if places.dtype.kind not in "iu" or (places.ndim > 1 and places.size > 1) or not 0 < places.size <= 256:
        raise Refusal(f"picks entries {places.shape} of axis {axis}")
    if places.ndim != 1:
        one = pick(node, x, axis, int(places.reshape(())))
        return unsqueezed(one, range(axis, axis + places.ndim))
    size = declared(shape_of(node.network, x)[axis])
    found = [int(place) if place >= 0 or size is None else int(place) + size for place in places]
    parts = [cut(node, x, axis, start, stop, 1) for start, stop in _runs(found)]
    if len(parts) == 1:
        return parts[0]
    from .joining import joined

    return joined(node, parts, axis)


def _from_the_end(places: np.ndarray, size: Dim) -> np.ndarray:
    """Places that are the axis' free size less a number, counted from its end."""
    if places.dtype != object:
        return places
    found = [as_declared(place if declared(place) is not None else place - size) for place in places.reshape(-1)]
    if not all(isinstance(place, int) for place in found):
        raise Refusal(f"picks entry {', '.join(map(str, places.reshape(-1)))} of {size}")
    return np.array(found, np.int64).reshape(places.shape)


def _runs(places: Sequence[int]) -> list[tuple[int, int | None]]:
    """Places as slices of neighbours."""
    runs: list[list[int]] = []
    for place in places:
        if runs and place == runs[-1][1] and place:
            runs[-1][1] += 1
        else:
            runs.append([place, place + 1])
    return [(start, stop or None) for start, stop in runs]


def pick(node: Node, x: Tensor, axis: int, place: int) -> Tensor:
    """One entry of an ONNX axis, which goes."""
    net = node.network
    x = without_batch(net, x, axis)
    size = declared(shape_of(net, x)[axis])
    if size is not None and not -size <= place < size:
        raise Refusal(f"picks entry {place} of {size}")
    if not (x.spec.is_sequence and x.axes[axis] == (1,)) or x.is_mask or x.is_ids or x.steps == 1:
        return squeezed(net, cut(node, x, axis, place, place + 1 if place != -1 else None, 1), [axis])
    if x.flipped:
        place, x = -1 - place, replace(x, flipped=False)
    stop = place + 1 if place != -1 else None
    spec = net.build.add(Slice, node.name, x.spec, axis=1, start=place, stop=stop, drop=True)
    axes = tuple(tuple(part - (part > 1) for part in parts) for i, parts in enumerate(x.axes) if i != axis)
    return replace(x, spec=spec, axes=axes, steps=1)


def _embedding(node: Node, table: Any, ids: Tensor, axis: int) -> Tensor:
    if axis not in (0, -table.ndim) or table.ndim != 2 or not ids.is_ids or table.dtype.kind != "f":
        raise Refusal(f"looks up {ids.spec.dtype} in a table {table.shape} of {table.dtype}, along axis {axis}")
    spec = node.network.build.add(Embedding, node.name, ids.spec, table=np.ascontiguousarray(table))
    if spec.is_sequence:
        node.network.sequence(ids.steps, spec)
    last = ids.lead + len(ids.sizes)
    return replace(ids, spec=spec, sizes=(*ids.sizes, table.shape[1]), axes=(*ids.axes, (last,)))


@reads("OneHot", note="of ids, along a last axis of its own; values 0 and 1")
def one_hot(node: Node) -> Tensor:
    ids, axis = node.runtime(0), node.whole("axis", -1)
    depth, values = node.numbers_of(1, "depth"), node.numbers_of(2, "values")
    if not ids.is_ids or axis not in (-1, ids.rank):
        raise Refusal(f"puts vectors of {ids.spec.dtype} along axis {axis}")
    if depth.size != 1 or not depth >= 1 or values.ravel().tolist() != [0, 1]:
        raise Refusal(f"makes vectors of {depth.ravel().tolist()} numbers {values.ravel().tolist()}")
    if values.dtype.kind != "f" and not _is_cast(node):
        raise Refusal(f"gives vectors of {values.dtype}, which are not cast to floats")
    size = int(depth.item())
    spec = node.network.build.add(OneHot, node.name, ids.spec, vocabulary=size)
    if spec.is_sequence:
        node.network.sequence(ids.steps, spec)
    return replace(ids, spec=spec, sizes=(*ids.sizes, size), axes=(*ids.axes, (ids.lead + len(ids.sizes),)))


def _is_cast(node: Node) -> bool:
    """Whether all who read the node cast what it gives; to anything but floats is refused there."""
    (name,) = node.outputs
    readers = [other.op_type for other in node.scope.proto.node if name in other.input]
    return set(readers) == {"Cast"} and all(entry.name != name for entry in node.scope.proto.output)
