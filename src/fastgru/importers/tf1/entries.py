"""Operations that take some of a value's entries, or one number of several, along its axes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ... import graph
from ..sizes import Size
from .assembly import without_axis
from .layout import array_of, axis_of
from .values import Refused, Tensor, sizes_array

if TYPE_CHECKING:
    from .network import Call


def _strided_slice(call: Call, value: Any, begin: Any, end: Any, strides: Any) -> Any:
    masks = {key: int(call.option(f"{key}_mask", 0)) for key in ("begin", "end", "ellipsis", "new_axis", "shrink_axis")}
    entries: list[Any] = []
    starts, stops, steps = (array_of(given).reshape(-1).tolist() for given in (begin, end, strides))
    for index, (start, stop, step) in enumerate(zip(starts, stops, steps, strict=True)):
        bit = 1 << index
        if masks["ellipsis"] & bit:
            entries.append(Ellipsis)
        elif masks["new_axis"] & bit:
            entries.append(None)
        elif masks["shrink_axis"] & bit:
            entries.append(start)
        else:
            entries.append(slice(None if masks["begin"] & bit else start, None if masks["end"] & bit else stop, step))
    if isinstance(value, np.ndarray):
        if any(isinstance(item, Size) for entry in entries for item in _bounds(entry)):
            raise Refused("takes entries that are not known")
        taken = np.asarray(value[tuple(entries)], value.dtype)
        return taken if taken.dtype != object else sizes_array(taken.reshape(-1).tolist()).reshape(taken.shape)
    return _taken(call, call.assembly.tensor(value), entries)


def _bounds(entry: Any) -> tuple[Any, ...]:
    return (entry.start, entry.stop) if isinstance(entry, slice) else (entry,)


def _taken(call: Call, tensor: Tensor, entries: list[Any]) -> Tensor:
    """``tensor[entries]`` as NumPy spells it, from the last axis to the first."""
    if entries.count(Ellipsis) > 1 or None in entries:
        raise Refused("takes entries in a way that is not supported")
    if Ellipsis in entries:
        place = entries.index(Ellipsis)
        entries[place : place + 1] = [slice(None)] * (len(tensor.axes) - len(entries) + 1)
    if len(entries) > len(tensor.axes):
        raise Refused("takes entries of more axes than there are")
    for axis in reversed(range(len(entries))):
        tensor = _entry(call, tensor, axis, entries[axis])
    return tensor


def _entry(call: Call, tensor: Tensor, axis: int, entry: Any) -> Tensor:
    """Some entries, or one, of an axis of TensorFlow's."""
    group, size = tensor.axes[axis], tensor.shape[axis]
    if isinstance(entry, slice):
        start, stop, step = entry.start or None, entry.stop, 1 if entry.step is None else entry.step
        if step == 1 and start is None and (stop is None or stop == size):
            return tensor
        if isinstance(size, int) and isinstance(stop, int) and step == 1 and start is None and stop >= size:
            return tensor
        start = entry.start
    else:
        start, stop, step = entry, None, 1
    if any(isinstance(item, Size) for item in (start, stop)):
        raise Refused("takes entries that are not known")
    rest = tensor.axes[:axis] + tensor.axes[axis + 1 :]
    if group == () and not isinstance(entry, slice) and start in (0, -1):
        return replace(tensor, axes=rest)
    if len(group) != 1 or group == (0,):
        raise Refused("takes some of the batch's rows, or of axes that stand together")
    place = group[0]
    is_time = place == 1 and tensor.spec.is_sequence
    if not isinstance(entry, slice):
        if isinstance(size, int) and not -size <= start < size:
            raise Refused(f"takes entry {start} of {size}")
        if is_time and start >= -1:
            cut = call.assembly.cut(tensor, start)
            return replace(cut, axes=without_axis(rest, 1))
        stop = None if start == -1 else start + 1
        return call.assembly.shaped(
            graph.Slice, call.name, tensor, without_axis(rest, place), tensor.steps,
            axis=place, start=start, stop=stop, drop=True,
        )  # fmt: skip
    if is_time and not isinstance(size, int) and (start or stop is not None or step not in (1, -1)):
        raise Refused("takes some of a free number of steps")
    steps = len(range(*slice(start, stop, step).indices(size))) if is_time and isinstance(size, int) else tensor.steps
    attributes = {"axis": place, "start": start, "stop": stop, "step": step}
    return call.assembly.shaped(graph.Slice, call.name, tensor, tensor.axes, steps, **attributes)


def _slice(call: Call, value: Any, begin: Any, size: Any) -> Any:
    starts, sizes = (array_of(given).reshape(-1).tolist() for given in (begin, size))
    entries = [slice(at, None if count == -1 else at + count, 1) for at, count in zip(starts, sizes, strict=True)]
    if isinstance(value, np.ndarray):
        return value[tuple(entries)]
    return _taken(call, call.assembly.tensor(value), entries)


def _gather(call: Call, table: Any, indices: Any, where: Any = 0) -> Any:
    """Rows of an embedding by ids, entries of constants, or one entry of a value."""
    if isinstance(indices, Tensor):
        if int(np.asarray(where)) != 0 or call.option("batch_dims", 0):
            raise Refused("looks up entries along another axis than the first")
        weights = call.assembly.weights(table, 2)
        spec = call.assembly.builder.add(graph.Embedding, call.name, indices.spec, table=weights)
        return Tensor(spec, (*indices.axes, (len(spec.shape) - 1,)), indices.steps)
    if isinstance(table, np.ndarray):
        return np.take(table, array_of(indices).astype(np.int64), int(np.asarray(where)))
    indices = array_of(indices)
    if indices.shape != ():
        raise Refused("takes several entries of a value")
    tensor = call.assembly.tensor(table)
    axis = axis_of(where, len(tensor.axes))
    return _taken(call, tensor, [slice(None)] * axis + [int(indices)])


def _one_hot(call: Call, indices: Any, depth: Any, on: Any, off: Any) -> Tensor:
    ids, size = call.assembly.tensor(indices), array_of(depth)
    if call.option("axis", -1) not in (-1, len(ids.axes)) or ids.spec.dtype != "int32":
        raise Refused("makes one-hot vectors of numbers that are no ids, or along another axis than the last")
    if size.size != 1 or not size >= 1 or (array_of(on).tolist(), array_of(off).tolist()) != (1.0, 0.0):
        raise Refused("makes vectors of other numbers than one 1 and zeros")
    if array_of(on).dtype.kind != "f":
        raise Refused(f"makes one-hot vectors of {array_of(on).dtype}")
    spec = call.assembly.builder.add(graph.OneHot, call.name, ids.spec, vocabulary=int(size.item()))
    return Tensor(spec, (*ids.axes, (len(spec.shape) - 1,)), ids.steps)


def _reverse(call: Call, value: Any, axes: Any) -> Any:
    if isinstance(value, np.ndarray):
        return np.flip(value, tuple(array_of(axes).tolist()))
    tensor = call.assembly.tensor(value)
    entries: list[Any] = [slice(None)] * len(tensor.axes)
    for axis in array_of(axes).reshape(-1):
        entries[axis_of(axis, len(entries))] = slice(None, None, -1)
    return _taken(call, tensor, entries)


def reduced(call: Call, value: Any, axes: Any, function: str) -> Tensor:
    """A mean, sum, maximum or minimum along one axis but the batch."""
    tensor = call.assembly.tensor(value)
    over = [axis_of(axis, len(tensor.axes)) for axis in array_of(axes).reshape(-1)]
    group = tensor.axes[over[0]] if len(over) == 1 else ()
    if len(group) != 1 or group == (0,):
        raise Refused("reduces several axes at once, or the batch")
    rest = list(without_axis(tensor.axes[: over[0]] + tensor.axes[over[0] + 1 :], group[0]))
    if call.option("keep_dims", False):
        rest.insert(over[0], ())
    return call.assembly.shaped(graph.Reduce, call.name, tensor, rest, tensor.steps, function=function, axis=group[0])


def _arg_max(call: Call, value: Any, where: Any) -> Tensor:
    tensor = call.assembly.tensor(value)
    axis = axis_of(where, len(tensor.axes))
    last = len(tensor.spec.shape) - 1
    if tensor.axes[axis] != (last,):
        raise Refused("takes the largest along another axis than that of the features")
    rest = tensor.axes[:axis] + tensor.axes[axis + 1 :]
    return call.assembly.shaped(graph.ArgMax, call.name, tensor, rest, tensor.steps)


OPERATIONS: dict[str, Callable[..., Any]] = {
    "StridedSlice": _strided_slice,
    "Slice": _slice,
    **dict.fromkeys(("Gather", "GatherV2", "ResourceGather"), _gather),
    "OneHot": _one_hot,
    "ReverseV2": _reverse,
    "ArgMax": _arg_max,
}
