"""Operations that only move values: shapes and their arithmetic, and the axes of what the network computes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ... import graph
from ..sizes import Dim, Size, product
from .arrays import steps_of
from .assembly import without_axis
from .nodes import Array
from .values import (
    BATCH,
    VALUES,
    Active,
    Affine,
    Filled,
    Joined,
    Outputs,
    Range,
    Refused,
    Step,
    Tensor,
    Term,
    as_size,
    shape_of,
    sizes_array,
)

if TYPE_CHECKING:
    from .network import Call

#: most numbers of a constant that is computed
_MOST_NUMBERS = 1 << 26

Axes = tuple[tuple[int, ...], ...]


def _shape(call: Call, value: Any) -> Array:
    return sizes_array(shape_of(value))


def _rank(call: Call, value: Any) -> Array:
    return np.asarray(len(shape_of(value)))


def axis_of(value: Any, rank: int) -> int:
    axis = int(np.asarray(value).item())
    if not -rank <= axis < rank:
        raise Refused(f"names axis {axis} of a value with {rank}")
    return axis % rank


def array_of(value: Any) -> Array:
    """A constant, spelt out."""
    if isinstance(value, Range) and isinstance(value.size, int) and value.size <= 64:
        return np.arange(value.size)
    if isinstance(value, Filled) and product(value.shape) == 1:
        return np.full([1] * len(value.shape), value.value)
    if not isinstance(value, np.ndarray):
        raise Refused("is given a size that is not known")
    return value


def check_room(count: int) -> None:
    """A few nodes may join, and so double, a constant again and again."""
    if count > _MOST_NUMBERS:
        raise Refused(f"makes a constant of {count} numbers")


# ---- joining and parting ---------------------------------------------------------------------------------------------


def _pack(call: Call, *values: Any) -> Any:
    axis = call.option("axis", 0)
    if not any(isinstance(value, VALUES) for value in values):
        parts = [array_of(value) for value in values]
        check_room(sum(part.size for part in parts))
        made = np.empty(len(parts), object) if any(part.dtype == object for part in parts) else None
        if made is None:
            return np.stack(parts, axis)
        made[:] = [as_size(part) for part in parts]
        return made
    return _restacked(call, values, axis)


def _restacked(call: Call, values: Sequence[Any], axis: int) -> Tensor:
    """All steps of a sequence, one after the other, are the sequence."""
    first = values[0]
    if isinstance(first, Step) and isinstance(first.sequence.steps, int):
        is_whole = len(values) == first.sequence.steps and all(
            isinstance(step, Step) and step.sequence is first.sequence and step.index == index
            for index, step in enumerate(values)
        )
        if is_whole:
            rest = list(first.axes)
            rest.insert(axis_of(axis, len(rest) + 1), (1,))
            return replace(first.sequence, axes=tuple(rest))
    raise Refused("stacks what is not every step of one sequence")


def _concat(call: Call, *values: Any) -> Any:
    return _concat_v2(call, *values[1:], values[0])


def _concat_v2(call: Call, *values: Any) -> Any:
    *parts, where = values
    if len(parts) == 1:
        return parts[0]
    if not any(isinstance(value, VALUES) for value in parts):
        arrays = [array_of(value).reshape(-1) for value in parts]
        if any(array.dtype == object for array in arrays):
            return sizes_array([size for array in arrays for size in array.tolist()])
        check_room(sum(array.size for array in arrays))
        return np.concatenate([array_of(value) for value in parts], axis_of(where, array_of(parts[0]).ndim))
    rank = len(shape_of(parts[0]))
    axis = axis_of(where, rank)
    if axis == rank - 1 and all(len(shape_of(part)) == rank for part in parts):
        if len({shape_of(part)[:-1] for part in parts if isinstance(part, VALUES)}) > 1:
            raise Refused("joins values whose shapes differ")
        return Joined(tuple(inner for part in parts for inner in (part.parts if isinstance(part, Joined) else (part,))))
    tensors = [call.assembly.tensor(part) for part in parts]
    group = tensors[0].axes[axis]
    if len(group) != 1 or group == (0,) or any(tensor.axes != tensors[0].axes for tensor in tensors):
        raise Refused("joins values along the batch, or of different layouts")
    spec = call.assembly.builder.add(graph.Concatenate, call.name, *(t.spec for t in tensors), axis=group[0])
    steps = tensors[0].steps
    if group == (1,) and spec.is_sequence:
        known = [tensor.steps for tensor in tensors]
        if not all(isinstance(count, int) for count in known):
            raise Refused("joins sequences whose steps are free")
        steps = sum(known)  # type: ignore[arg-type]
    return Tensor(spec, tensors[0].axes, steps)


def _split(call: Call, where: Any, value: Any) -> Any:
    return _parted(call, value, where, call.option("num_split", 1))


def _split_v(call: Call, value: Any, sizes: Any, where: Any) -> Any:
    return _parted(call, value, where, [int(size) for size in array_of(sizes)])


def _parted(call: Call, value: Any, where: Any, sizes: Any) -> Any:
    if isinstance(value, np.ndarray):
        count = sizes if isinstance(sizes, int) else np.cumsum(sizes)[:-1].tolist()
        return _outputs(np.split(value, count, int(where)))
    shape = shape_of(value)
    axis = axis_of(where, len(shape))
    if isinstance(value, Tensor) and isinstance(sizes, int) and axis == 0 and sizes > 1:
        if value.axes[0] == (1, 0) and value.steps == sizes:  # (time · batch, features) in as many parts as steps
            sequence = replace(value, axes=((0,), (1,), *value.axes[1:]))
            return _outputs([Step(sequence, index) for index in range(sizes)])
        if value.axes[0] == (1,) and value.steps == sizes:  # (1, batch, features) each
            return _outputs([replace(call.assembly.cut(value, index), axes=((), *without_axis(value.axes[1:], 1)))
                             for index in range(sizes)])  # fmt: skip
    total = shape[axis]
    if axis != len(shape) - 1 or not isinstance(total, int):
        raise Refused("parts a value along another axis than the last")
    if isinstance(sizes, int):
        if sizes < 1 or total % sizes:
            raise Refused(f"parts {total} numbers into {sizes}")
        sizes = [total // sizes] * sizes
    elif sizes.count(-1) == 1:
        sizes[sizes.index(-1)] = total - sum(sizes) - 1
    if sum(sizes) != total or min(sizes) < 1:
        raise Refused(f"parts {total} numbers into {sizes}")
    ends = np.cumsum(sizes).tolist()
    return _outputs([columns(call, value, end - size, end) for size, end in zip(sizes, ends, strict=True)])


def _outputs(values: Sequence[Any]) -> Any:
    return Outputs(list(values)) if len(values) > 1 else values[0]


def columns(call: Call, value: Any, start: int, stop: int) -> Any:
    """Some of the features; of an expression the expression of them, where that is no more work."""
    if isinstance(value, Active) and not value.function.is_rowwise and isinstance(value.value, Affine):
        return Active(value.function, columns(call, value.value, start, stop), call.name)
    if isinstance(value, Affine) and all(term.matrix is not None for term in value.terms):
        terms = tuple(Term(term.value, term.matrix[:, start:stop]) for term in value.terms)  # type: ignore[index]
        return Affine(terms, None if value.bias is None else value.bias[start:stop], call.name)
    return call.assembly.layer(graph.Slice, call.name, value, axis=-1, start=start, stop=stop)


def _unpack(call: Call, value: Any) -> Any:
    if isinstance(value, np.ndarray):
        axis = axis_of(call.option("axis", 0), value.ndim)
        return _outputs([value.take(index, axis) for index in range(value.shape[axis])])
    tensor = call.assembly.tensor(value)
    axis = axis_of(call.option("axis", 0), len(tensor.axes))
    if tensor.axes[axis] == ():
        return replace(tensor, axes=tensor.axes[:axis] + tensor.axes[axis + 1 :])
    steps = steps_of(call, tensor, axis).sequence
    assert steps is not None
    if not isinstance(steps.steps, int) or steps.steps != call.option("num", steps.steps):
        raise Refused("takes a free number of steps apart")
    return _outputs([Step(steps, index) for index in range(steps.steps)])


# ---- axes ------------------------------------------------------------------------------------------------------------


def _transpose(call: Call, value: Any, order: Any) -> Any:
    order = [int(axis) for axis in array_of(order)]
    if isinstance(value, np.ndarray):
        return value.transpose(order)
    tensor = call.assembly.tensor(value)
    if sorted(order) != list(range(len(tensor.axes))):
        raise Refused(f"transposes {len(tensor.axes)} axes by {order}")
    return replace(tensor, axes=tuple(tensor.axes[axis] for axis in order))


def _expand_dims(call: Call, value: Any, where: Any) -> Any:
    if isinstance(value, np.ndarray):
        return np.expand_dims(value, int(where))
    if isinstance(value, Filled):
        axis = axis_of(where, len(value.shape) + 1)
        return Filled((*value.shape[:axis], 1, *value.shape[axis:]), value.value)
    tensor = call.assembly.tensor(value)
    axis = axis_of(where, len(tensor.axes) + 1)
    return replace(tensor, axes=(*tensor.axes[:axis], (), *tensor.axes[axis:]))


def _squeeze(call: Call, value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return np.squeeze(value, tuple(call.option("squeeze_dims") or ()) or None)
    tensor = call.assembly.tensor(value)
    shape = tensor.shape
    gone = [axis_of(axis, len(shape)) for axis in call.option("squeeze_dims") or ()]
    if not gone:
        gone = [axis for axis, size in enumerate(shape) if size == 1]
        call.assembly.notes[f"{call.name} drops only axes that always have size 1"] = None
    if any(shape[axis] != 1 for axis in gone):
        raise Refused("drops an axis whose size is not 1")
    return replace(tensor, axes=tuple(group for axis, group in enumerate(tensor.axes) if axis not in gone))


def _reshape(call: Call, value: Any, target: Any) -> Any:
    sizes = [size if isinstance(size, Size) else int(size) for size in array_of(target).reshape(-1)]
    if isinstance(value, np.ndarray) and not any(isinstance(size, Size) for size in sizes):
        return value.reshape(sizes)  # type: ignore[arg-type]
    if isinstance(value, Filled):
        return Filled(tuple(_resolved(call, sizes, product(value.shape))), value.value)
    tensor = call.assembly.tensor(value)
    resolved = _resolved(call, sizes, product(tensor.shape))
    axes = _regrouped(tensor, resolved)
    if axes is not None:
        return replace(tensor, axes=axes)
    return _reordered(call, tensor, resolved)


def _resolved(call: Call, sizes: list[Dim], total: Dim) -> list[Dim]:
    """A target of Reshape with its −1 and its fixed batch resolved."""
    fixed = call.network.fixed_batch
    if fixed is not None and -1 not in sizes and product(sizes) != total and fixed in sizes:
        sizes = [BATCH if index == sizes.index(fixed) else size for index, size in enumerate(sizes)]
    if sizes.count(-1) == 1:
        known = product(size for size in sizes if size != -1)
        sizes = [total // known if size == -1 else size for size in sizes]
    if product(sizes) != total:
        raise Refused("reshapes a value to another number of numbers, or to one that is not known")
    return sizes


def _regrouped(tensor: Tensor, sizes: Sequence[Dim]) -> Axes | None:
    """The layout in which the axes only stand together in other groups; None where one must be taken apart."""
    atoms = [(axis, tensor.size_of(axis)) for group in tensor.axes for axis in group]
    axes: list[tuple[int, ...]] = []
    for size in sizes:
        group: list[int] = []
        count: Dim = 1
        while atoms and (count != size or (size == 1 and not group and atoms[0][1] == 1)):
            axis, inner = atoms.pop(0)
            group.append(axis)
            count = inner * count
        if count != size:
            return None
        axes.append(tuple(group))
    if any(inner != 1 for _, inner in atoms):
        return None
    return tuple(axes)


def _reordered(call: Call, tensor: Tensor, sizes: Sequence[Dim]) -> Tensor:
    """A Reshape of the Graph: of all axes behind the batch."""
    known = [size for size in sizes[1:] if isinstance(size, int)]
    if not tensor.is_plain or len(sizes) < 2 or sizes[0] != BATCH or len(known) < len(sizes) - 1:
        raise Refused("takes an axis apart in a way that is not supported")
    if tensor.spec.is_sequence and not isinstance(tensor.steps, int):
        raise Refused("takes an axis apart beside a free number of steps")
    axes = tuple((axis,) for axis in range(len(sizes)))
    steps = known[0] if len(known) > 1 else 1
    return call.assembly.shaped(graph.Reshape, call.name, tensor, axes, steps, target=tuple(known))


OPERATIONS: dict[str, Callable[..., Any]] = {
    "Shape": _shape,
    "Rank": _rank,
    "Pack": _pack,
    "Unpack": _unpack,
    "Concat": _concat,
    "ConcatV2": _concat_v2,
    "Split": _split,
    "SplitV": _split_v,
    "Transpose": _transpose,
    "ExpandDims": _expand_dims,
    "Squeeze": _squeeze,
    "Reshape": _reshape,
}
