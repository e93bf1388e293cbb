"""Operators that move numbers and compute nothing: most only change the view."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ....graph import Embedding, Slice
from ..arrange import features_last, reshaped, shape_of, squeezed, unflipped, unsqueezed
from ..container import DTYPES
from ..fold import slices
from ..node import Node, Refusal, axis_in
from ..sizes import Dim
from ..values import Constant, Tensor, Value
from .table import reads


@reads("Transpose")
def transpose(node: Node) -> Value:
    x = node.runtime(0)
    order = node.wholes("perm", tuple(range(x.rank))[::-1])
    if sorted(order) != list(range(x.rank)):
        raise Refusal(f"perm {order} is no order of {x.rank} axes")
    return x.permuted(order)


@reads("Squeeze")
def squeeze(node: Node) -> Value:
    return squeezed(node.network, node.runtime(0), node.axes("axes", 1, since=13))


@reads("Unsqueeze")
def unsqueeze(node: Node) -> Value:
    axes = node.axes("axes", 1, since=13)
    if axes is None:
        raise Refusal("lacks its axes")
    return unsqueezed(node.runtime(0), axes)


@reads("Reshape")
def reshape(node: Node) -> Value:
    x = node.needed(0)
    target: list[Dim] = list(node.wholes("shape", ())) if node.opset < 5 else node.whole_numbers(1, "shape")
    copies = not node.flag("allowzero")
    shape = shape_of(node.network, x) if isinstance(x, Tensor) else x.shape  # type: ignore[union-attr]
    target = [_copied(shape, axis) if size == 0 and copies else size for axis, size in enumerate(target)]
    target = resolved(shape, target)
    if isinstance(x, Constant):
        if x.array.size != 1:
            raise Refusal("reshapes a constant of free size")
        return Constant(x.array.reshape((1,) * len(target)), tuple(target))
    return reshaped(node.network, node.runtime(0), target)


def _copied(shape: tuple[Dim, ...], axis: int) -> Dim:
    if axis >= len(shape):
        raise Refusal(f"copies axis {axis} of {len(shape)}")
    return shape[axis]


def resolved(shape: tuple[Dim, ...], target: list[Dim]) -> list[Dim]:
    """A target with the size that −1 stands for."""
    free = [axis for axis, size in enumerate(target) if size == -1]
    if not free:
        return target
    total: Dim = 1
    known: Dim = 1
    for size in shape:
        total = total * size
    for size in target:
        known = known * size if size != -1 else known
    try:
        rest = total // known
    except ValueError as error:
        raise Refusal(str(error)) from None
    if len(free) > 1 or rest * known != total:
        raise Refusal(f"target {target} does not go into {shape}")
    target[free[0]] = rest
    return target


@reads("Flatten")
def flatten(node: Node) -> Value:
    x = node.runtime(0)
    axis = node.whole("axis", 1)
    axis = axis if axis == x.rank else axis_in(axis, x.rank)
    sides: list[Dim] = [1, 1]
    for index, size in enumerate(shape_of(node.network, x)):
        sides[index >= axis] = sides[index >= axis] * size
    return reshaped(node.network, x, sides)


@reads("Cast", note="between floats, of ids, of masks")
def cast(node: Node) -> Value:
    x = node.runtime(0)
    dtype = DTYPES.get(node.whole("to", 0), "a dtype that is not known")
    node.ignore("saturate", "round_mode")
    kind = "float" if "float" in dtype else "int" if "int" in dtype else dtype
    if x.is_mask or kind == {"float32": "float", "int32": "int"}[x.spec.dtype]:
        return x
    raise Refusal(f"casts {x.spec.dtype} to {dtype}")


@reads("Slice")
def slice_(node: Node) -> Value:
    x = node.needed(0)
    if isinstance(x, Constant):
        return _slice_constant(node, x)
    x = node.runtime(0)
    for axis, start, stop, step in slices(node, x.rank):
        x = cut(node, x, axis, start, stop, step)
    return x


def _slice_constant(node: Node, x: Constant) -> Constant:
    """Of one number over a free shape."""
    shape = list(x.shape)
    array = x.array.reshape((1,) * (len(shape) - x.array.ndim) + x.array.shape)
    for axis, start, stop, step in slices(node, len(shape)):
        size = shape[axis]
        if array.shape[axis] != 1 or not isinstance(size, int):
            if (start, stop, step) != (0, None, 1):
                raise Refusal("cuts a constant of free size")
            continue
        shape[axis] = len(range(*slice(start, stop, step).indices(size)))
    return Constant(array, tuple(shape))


def cut(node: Node, x: Tensor, axis: int, start: Any, stop: Any, step: int) -> Tensor:
    """Some entries of an ONNX axis."""
    net = node.network
    size = shape_of(net, x)[axis]
    start, stop = _bound(start, size), _bound(stop, size)
    if (start in (0, None) and stop is None and step == 1) or _takes_all(size, start, stop, step):
        return x
    parts = x.axes[axis]
    if parts == (1,) and x.spec.is_sequence:
        if (start, stop, step) == (-1, None, -1):
            return replace(x, flipped=not x.flipped)
        x = unflipped(net, node.name, x)
        spec = net.build.add(Slice, node.name, x.spec, axis=1, start=start, stop=stop, step=step)
        return replace(x, spec=spec, steps=net.fresh_steps(spec))
    if not parts or 0 in parts or (1 in parts and x.spec.is_sequence):
        raise Refusal(f"takes {start}:{stop}:{step} of axis {axis}, which is {'batch' if 0 in parts else 'one'}")
    view = features_last(net, node.name, x, axis)
    spec = net.build.add(Slice, node.name, view.spec, axis=-1, start=start, stop=stop, step=step)
    return with_last(view, axis, spec)


def with_last(view: Tensor, axis: int, spec: Any) -> Tensor:
    """The view of a value whose last axis, all of an ONNX axis, has got another size."""
    count = len(view.axes[axis])
    first = view.lead + len(view.sizes) - count
    axes = (*view.axes[:axis], (first,), *view.axes[axis + 1 :])
    return replace(view, spec=spec, sizes=(*view.sizes[: len(view.sizes) - count], spec.inner[-1]), axes=axes)


def _bound(bound: Any, size: Dim) -> int | None:
    """A bound of a slice as Python's; one that is the axis' free size less a number counts from the end."""
    if bound is None or isinstance(bound, int):
        return bound
    behind = bound - size
    if not isinstance(behind, int) or behind > 0:
        raise Refusal(f"cuts at {bound}, of {size}")
    return behind or None


def _takes_all(size: Dim, start: Any, stop: Any, step: int) -> bool:
    return isinstance(size, int) and range(*slice(start, stop, step).indices(size)) == range(size)


@reads("Gather", note="embeddings; one entry of an axis")
def gather(node: Node) -> Value:
    axis = node.whole("axis", 0)
    table, ids = node.needed(0), node.needed(1)
    if isinstance(table, Constant) and isinstance(ids, Tensor):
        return _embedding(node, node.constant(0, "table"), ids, axis)
    x = node.runtime(0)
    places = node.constant(1, "indices")
    axis = axis_in(axis, x.rank)
    if places.size != 1:
        raise Refusal(f"picks {places.size} entries of axis {axis}")
    place = int(places.reshape(-1)[0])
    one = pick(node, x, axis, place)
    return unsqueezed(one, [axis]) if places.ndim else one


def pick(node: Node, x: Tensor, axis: int, place: int) -> Tensor:
    """One entry of an ONNX axis, which goes."""
    net = node.network
    if x.axes[axis] != (1,) or not x.spec.is_sequence:
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
    spec = node.network.build.add(Embedding, node.name, ids.spec, table=table)
    last = ids.lead + len(ids.sizes)
    return replace(ids, spec=spec, sizes=(*ids.sizes, table.shape[1]), axes=(*ids.axes, (last,)))
