"""The layers that put numbers in the order an operator needs them in. What changes for nothing is in `views.py`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ...graph import Activate, Activation, Combine, Pad, Repeat, Reshape, Slice, TensorSpec, Transpose
from ..sizes import Dim, Size, declared, same
from . import views
from .fold import spread_shape
from .node import Refusal, axis_in
from .values import Constant, Tensor
from .views import inner_parts, shape_of, shown, size_of, unsqueezed, without_batch, without_units

if TYPE_CHECKING:
    from .network import Network

__all__ = [
    "aligned", "arranged", "as_sequence", "constant_sequence", "enlarged", "expanded", "features_last",
    "filled_sequence", "in_place", "natural", "one_axis_each", "padded",
    "reshaped", "resized", "rows", "shape_of", "size_of", "spread", "squeezed", "together", "unflipped", "unsqueezed",
]  # fmt: skip

#: the most numbers of one row and step that repeating may make, or of a constant that is written out
MOST = 1 << 24


# ---- other axes ------------------------------------------------------------------------------------------------------


def squeezed(net: Network, x: Tensor, axes: Sequence[int] | None) -> Tensor:
    """Without axes of size 1; None: all of them."""
    shape = shape_of(net, x)
    if axes is None:
        gone = {axis for axis, size in enumerate(shape) if same(size, 1)}
    else:
        gone = {axis_in(axis, x.rank) for axis in axes}
    wrong = [axis for axis in sorted(gone) if not same(shape[axis], 1)]
    if wrong:
        raise Refusal(f"cannot drop axis {wrong[0]} of {shown(shape)}")
    if x.spec.is_sequence and any(1 in x.axes[axis] for axis in gone):
        x = rows(net, x)
    x = without_units(x)
    return replace(x, axes=tuple(parts for axis, parts in enumerate(x.axes) if axis not in gone))


def reshaped(net: Network, x: Tensor, target: Sequence[Dim]) -> Tensor:
    """With other axes over the same numbers in the same order; none of `target` is −1 or stands for a copy.

    Raises
    ------
    Refusal
        The batch, or a time axis of free size, would be cut, or the sizes do not fit.
    """
    found = views.reshaped(net, x, target)
    if found is None and not x.is_mask and not x.is_ids:
        order = [part for parts in x.axes for part in parts if part >= x.lead]
        found = views.reshaped(net, arranged(net, x.name, x, [order]), target)
    if found is None and x.spec.is_sequence and isinstance(x.steps, int) and not x.is_mask and not x.is_ids:
        found = views.reshaped(net, rows(net, x), target)
    if found is None:
        raise Refusal(f"cannot see {shown(shape_of(net, x))} as {shown(target)}")
    return found


def rows(net: Network, x: Tensor, name: str = "") -> Tensor:
    """The same view of a value without time, whose steps are an axis of features: part 1, as they were."""
    if not x.spec.is_sequence:
        return x
    steps = x.steps
    if not isinstance(steps, int):
        raise Refusal(f"needs a known number of steps of {x.name!r}")
    name = name or x.name
    x = unflipped(net, name, _numbers(x))
    spec = net.build.add(Reshape, f"{name}.row", x.spec, target=(steps * x.spec.features,))
    return replace(x, spec=spec, sizes=(steps, *x.sizes), steps=1)


# ---- layers ----------------------------------------------------------------------------------------------------------


def arranged(net: Network, name: str, x: Tensor, groups: Sequence[Sequence[int]]) -> Tensor:
    """The same view of a value whose axes behind batch and time are the groups of parts, in this order.

    Every part behind batch and time is in one group; an empty group is an axis of size 1.
    """
    x = _numbers(x)
    order = [part for group in groups for part in group]
    if sorted(order) != list(inner_parts(x)):
        raise Refusal(f"cannot put the axes of {x.name!r} {x.spec.shape} in order")
    inner = tuple(math.prod(x.sizes[part - x.lead] for part in group) for group in groups)
    spec = x.spec
    if _moves([part for part in order if x.sizes[part - x.lead] != 1]):
        spec = _with_inner(net, name, spec, x.sizes)
        spec = net.build.add(Transpose, f"{name}.order", spec, order=(*range(1, x.lead), *order))
    spec = _with_inner(net, name, spec, inner)
    places = {part: x.lead + index for index, part in enumerate(order)} | {part: part for part in range(x.lead)}
    axes = tuple(tuple(places[part] for part in parts) for parts in x.axes)
    return replace(x, spec=spec, sizes=tuple(x.sizes[part - x.lead] for part in order), axes=axes)


def _moves(order: Sequence[int]) -> bool:
    return list(order) != sorted(order)


def _with_inner(net: Network, name: str, spec: TensorSpec, inner: tuple[int, ...]) -> TensorSpec:
    inner = inner or (1,)
    if spec.inner == inner:
        return spec
    return net.build.add(Reshape, f"{name}.view", spec, target=inner, per_step=True)


def natural(x: Tensor, groups: Sequence[Sequence[int]] = ()) -> list[Sequence[int]]:
    """The groups of parts as they lie in memory, all others one by one; groups must be of neighbours."""
    grouped = {part for group in groups for part in group}
    single = [[part] for part in inner_parts(x) if part not in grouped]
    return sorted([*(group for group in groups if group), *single], key=lambda group: group[0])


def features_of(net: Network, x: Tensor, axis: int) -> tuple[Tensor, tuple[int, ...]]:
    """A view of a value an ONNX axis of which is made of features alone, and of which."""
    x = without_batch(net, x, axis)
    if 0 in x.axes[axis]:
        raise Refusal(f"works along axis {axis} of {shown(shape_of(net, x))}, which is batch")
    if x.spec.is_sequence and 1 in x.axes[axis]:
        if not isinstance(x.steps, int):
            raise Refusal(f"works along axis {axis} of {shown(shape_of(net, x))}, which is time")
        x = rows(net, x)
    return x, x.axes[axis]


def features_last(net: Network, name: str, x: Tensor, axis: int) -> Tensor:
    """The same view of a value whose last axis is the ONNX axis; what else stands behind batch and time, before it."""
    x, parts = features_of(net, without_units(x), axis)
    others = [part for part in inner_parts(x) if part not in parts]
    return arranged(net, name, x, [others, parts] if others else [parts])


def in_place(net: Network, name: str, x: Tensor, axis: int) -> tuple[Tensor, int]:
    """The same view of a value one axis of which is the ONNX axis, moved as little as may be; and which of its shape.

    What else stands behind batch and time is one axis before it and one behind it, where there is any.
    """
    x, parts = features_of(net, without_units(x), axis)
    if not parts or list(parts) != list(range(parts[0], parts[0] + len(parts))):
        x = features_last(net, name, x, axis)
        return x, len(x.spec.shape) - 1
    before = [part for part in inner_parts(x) if part < parts[0]]
    after = [part for part in inner_parts(x) if part > parts[-1]]
    groups = [group for group in (before, parts, after) if group]
    return arranged(net, name, x, groups), x.lead + bool(before)


def one_axis_each(net: Network, name: str, x: Tensor, order: Sequence[int]) -> Tensor:
    """The same view of a value whose axes behind batch and time are these ONNX axes, one each."""
    return arranged(net, name, x, [x.axes[axis] for axis in order])


def unflipped(net: Network, name: str, x: Tensor) -> Tensor:
    """The same view of a value whose steps stand in the order that they have in ONNX."""
    if not x.flipped:
        return x
    spec = net.build.add(Slice, f"{name}.flip", _numbers(x).spec, axis=1, step=-1)
    return replace(x, spec=spec, flipped=False)


def as_sequence(net: Network, name: str, x: Tensor, axis: int) -> Tensor:
    """A view of a value whose time axis is the ONNX axis."""
    if x.spec.is_sequence and x.steps == 1:
        x = _one_step_at(net, x, axis)
    x = without_batch(net, x, axis)
    if x.spec.is_sequence and x.axes[axis] == (1,):
        return x
    if 0 in x.axes[axis]:
        raise Refusal(f"walks along axis {axis} of {x.name!r} {shown(shape_of(net, x))}, which is its batch")
    if x.spec.is_sequence and not isinstance(x.steps, int):
        at = "merged with others" if 1 in x.axes[axis] else f"axis {x.time_axis} of it"
        raise Refusal(f"walks along axis {axis} of {x.name!r}, but its time is {at}")
    x = without_units(rows(net, x, name))
    parts = x.axes[axis]
    others = [part for part in inner_parts(x) if part not in parts]
    x = arranged(net, name, x, [parts, others])
    steps, features = x.spec.inner[0], x.spec.features // x.spec.inner[0]
    spec = net.build.add(Reshape, f"{name}.steps", x.spec, target=(steps, features))
    net.sequence(steps, spec)
    first = len(parts)  # parts 1 … first are the axis
    axes = tuple(
        (1,) if index == axis else tuple(part if part == 0 else part - first + 1 for part in found)
        for index, found in enumerate(x.axes)
    )
    return replace(x, spec=spec, sizes=x.sizes[first:], axes=axes, steps=steps)


def _one_step_at(net: Network, x: Tensor, axis: int) -> Tensor:
    """A view of a sequence of one step that shows it at an axis of size 1.

    Of one row, batch and time may change places.
    """
    if x.axes[axis] == (0,) and (1,) in x.axes and declared(net.batch) == 1:
        swapped = {0: 1, 1: 0}
        return replace(x, axes=tuple(tuple(swapped.get(part, part) for part in parts) for parts in x.axes))
    if x.axes[axis]:
        return x
    without = [tuple(part for part in parts if part != 1) for parts in x.axes]
    return replace(x, axes=(*without[:axis], (1,), *without[axis + 1 :]))


def expanded(net: Network, name: str, x: Tensor, axis: int, times: int) -> Tensor:
    """An ONNX axis of size 1, `times` over."""
    if times == 1:
        return x
    if not 1 <= times <= MOST or times * x.spec.features * (x.steps if isinstance(x.steps, int) else 1) > MOST:
        raise Refusal(f"repeats {x.name!r} {times} times")
    if x.spec.is_sequence and 1 in x.axes[axis]:
        x = rows(net, x)
    x = without_units(without_batch(net, x, axis))
    if x.axes[axis]:
        raise Refusal(f"repeats axis {axis} of {shown(shape_of(net, x))}")
    x = arranged(net, name, x, [(), *natural(x)])  # a first axis of size 1
    spec = net.build.add(Repeat, name, x.spec, axis=x.lead, times=times)
    axes = tuple(
        (x.lead,) if index == axis else tuple(part + (part >= x.lead) for part in parts)
        for index, parts in enumerate(x.axes)
    )
    return replace(x, spec=spec, sizes=(times, *x.sizes), axes=axes)


def padded(net: Network, name: str, x: Tensor, axis: int, before: int, after: int, value: float) -> Tensor:
    """An ONNX axis with more entries of one number at its ends."""
    if not (before or after):
        return x
    if max(before, after) > MOST:
        raise Refusal(f"adds {before} and {after} entries")
    x = without_batch(net, x, axis)
    if x.spec.is_sequence and x.axes[axis] == (1,):
        x = unflipped(net, name, _numbers(x))
        spec = net.build.add(Pad, name, x.spec, axis=1, before=before, after=after, value=value)
        return replace(x, spec=spec, steps=x.steps + (before + after))
    x, place = in_place(net, name, x, axis)
    spec = net.build.add(Pad, name, x.spec, axis=place, before=before, after=after, value=value)
    return resized(x, axis, spec, place)


def resized(x: Tensor, axis: int, spec: TensorSpec, place: int) -> Tensor:
    """The view of a value one axis of which, all of an ONNX axis, has got another size."""
    parts = x.axes[axis]
    first = parts[0] if parts else x.lead + len(x.sizes)
    more = 1 - len(parts)  # what is behind it moves up by that
    size = spec.shape[place]
    assert size is not None
    sizes = list(x.sizes)
    sizes[first - x.lead : first - x.lead + len(parts)] = [size]
    axes = tuple(
        (first,) if index == axis else tuple(part + more if part >= first + len(parts) else part for part in found)
        for index, found in enumerate(x.axes)
    )
    return replace(x, spec=spec, sizes=tuple(sizes), axes=axes)


# ---- several values --------------------------------------------------------------------------------------------------


def aligned(net: Network, name: str, tensors: Sequence[Tensor]) -> tuple[list[Tensor], list[tuple[int, ...]]]:
    """Values of one number of axes, whose batch and time stand at the same ones; and what of these each axis is.

    Raises
    ------
    Refusal
        Their axes do not go together.
    """
    rank = max(x.rank for x in tensors)
    tensors = [without_units(unsqueezed(x, range(rank - x.rank))) for x in tensors]
    batch = next((x.batch_axis for x in tensors if x.batch_axis is not None), None)
    if batch is not None:  # where a value has another axis there, one row stands in none
        tensors = [without_batch(net, x, x.batch_axis) if x.batch_axis not in (batch, None) else x for x in tensors]
    found = [x for x in tensors if x.spec.is_sequence]
    found.sort(key=lambda x: (isinstance(x.steps, int), not _has_time_alone(x)))
    free = found[0] if found else None
    time = free.time_axis if free is not None else None
    if free is not None and time is not None and isinstance(free.steps, int) and not _has_time_alone(free):
        tensors = [rows(net, x, name) for x in tensors]  # no axis is steps alone
    elif free is not None and time is not None:  # inside a Scan no value shows its time
        tensors = [_with_time(net, name, x, time, free.axes[time]) for x in tensors]
    leads = [_lead_of(tensors, axis) for axis in range(rank)]
    stand = [part for lead in leads for part in lead]
    if len(set(stand)) < len(stand):
        raise Refusal("batch or time are different axes of two values")
    return tensors, leads


def _has_time_alone(x: Tensor) -> bool:
    """Whether an axis is steps, or steps and rows, with no features."""
    return x.time_axis is not None and set(x.axes[x.time_axis]) <= {0, 1}


def _with_time(net: Network, name: str, x: Tensor, time: int, wanted: tuple[int, ...]) -> Tensor:
    if x.spec.is_sequence and (x.axes[time] == wanted or (x.time_axis == time and set(x.axes[time]) <= {0, 1})):
        return x
    if wanted == (1,) and (x.spec.is_sequence or set(x.axes[time]) - {0}):
        return as_sequence(net, name, x, time)
    return x if not x.spec.is_sequence else rows(net, x, name)


def _lead_of(tensors: Sequence[Tensor], axis: int) -> tuple[int, ...]:
    """What of batch and time an axis of several values is made of."""
    fault = f"axis {axis} is batch or time of one value and something else of another"
    found = {x.axes[axis] for x in tensors if any(part < x.lead for part in x.axes[axis])}
    if not found:
        return ()
    parts = max(found, key=len)
    if any(set(other) - set(parts) for other in found) or any(part > 1 for part in parts):
        raise Refusal(fault)
    if any(x.axes[axis] and x.axes[axis] not in found for x in tensors):
        raise Refusal(fault)
    if len(found) > 1 and any(len(x.axes[axis]) == 1 and x.axes[axis] != parts for x in tensors):
        raise Refusal(fault)
    return parts


def together(net: Network, name: str, tensors: Sequence[Tensor]) -> tuple[Tensor, list[TensorSpec]]:
    """Values that go side by side, spread as ONNX does: a view of what is made of them, and what a layer should read.

    Raises
    ------
    Refusal
        Their axes do not go together.
    """
    tensors = [_numbers(x) for x in tensors]
    first = tensors[0]
    if all(_view(x) == _view(first) for x in tensors):
        return first, [x.spec for x in tensors]
    if len({x.flipped for x in tensors if x.spec.is_sequence}) > 1:
        tensors = [unflipped(net, name, x) for x in tensors]
    tensors = _of_equal_steps(tensors)
    shape = spread_shape([shape_of(net, x) for x in tensors])
    tensors, leads = aligned(net, name, tensors)
    inner = [axis for axis, lead in enumerate(leads) if any(set(x.axes[axis]) - set(range(x.lead)) for x in tensors)]
    if any(leads[axis] for axis in inner):
        raise Refusal("batch or time is merged with others")
    reference = max(tensors, key=lambda x: sum(bool(x.axes[axis]) for axis in inner))
    inner.sort(key=lambda axis: reference.axes[axis] or (99,))
    views = [one_axis_each(net, name, x, inner) for x in tensors]
    longest = next((x for x in views if x.spec.is_sequence and x.steps != 1), None)
    longest = longest or next((x for x in views if x.spec.is_sequence), views[0])
    lead = 1 + longest.spec.is_sequence
    places = {axis: (lead + index,) for index, axis in enumerate(inner)}
    axes = tuple(lead_of or places.get(axis, ()) for axis, lead_of in enumerate(leads))
    sizes = tuple(declared(shape[axis]) or 1 for axis in inner)
    return replace(longest, sizes=sizes, axes=axes), [x.spec for x in views]


def _of_equal_steps(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Steps of inputs under several names count as equal where values go side by side; if not, the run says so."""
    named = [x for x in tensors if isinstance(x.steps, Size) and x.steps.symbol is not None]
    return [replace(x, steps=named[0].steps) if x in named else x for x in tensors]


def _view(x: Tensor) -> tuple[object, ...]:
    return x.axes, x.sizes, x.spec.is_sequence, x.spec.inner, x.flipped, x.steps


def filled_sequence(net: Network, name: str, like: TensorSpec, value: float) -> TensorSpec:
    """One number, in the shape and with the steps of a sequence."""
    function = Activation.of("threshold", threshold=math.inf, value=value)
    return net.build.add(Activate, f"{name}.constant", like, activation=function)


def constant_sequence(net: Network, name: str, like: TensorSpec, value: float) -> TensorSpec:
    """One number at each step of a sequence."""
    if like.dtype != "float32":
        raise Refusal(f"spreads over the steps of {like.name!r}, which holds ids")
    one = net.build.add(Reshape, f"{name}.flat", like, target=(like.features,), per_step=True)
    one = net.build.add(Slice, f"{name}.one", one, axis=-1, start=0, stop=1)
    return filled_sequence(net, name, one, value)


def _over_time(net: Network, name: str, x: Tensor, axis: int, steps: Dim) -> Tensor | None:
    """A value without time, the same at every step of a sequence; None where no sequence has so many."""
    fits = [spec for known, spec in net.sequences if known == steps]
    like = next((spec for spec in fits if spec.dtype == "float32"), fits[0] if fits else None)
    if like is None or x.spec.is_sequence or x.axes[axis]:
        return None
    x = arranged(net, name, x, [list(inner_parts(x))])
    zero = constant_sequence(net, name, like, 0.0)
    spec = net.build.add(Combine, name, zero, x.spec, operation="add")
    axes = tuple(
        (1,) if index == axis else tuple(part + (part > 0) for part in parts) for index, parts in enumerate(x.axes)
    )
    return replace(x, spec=spec, axes=axes, steps=steps)


def enlarged(net: Network, name: str, x: Tensor, shape: Sequence[Dim]) -> Tensor:
    """A value spread over a shape, where it is smaller than that."""
    own = shape_of(net, x)
    whole = spread_shape([own, tuple(shape)])
    if len(whole) > x.rank:
        x = unsqueezed(x, range(len(whole) - x.rank))
    for axis, (size, wanted) in enumerate(zip(shape_of(net, x), whole, strict=True)):
        if not same(size, wanted):
            larger = expanded(net, name, x, axis, wanted) if isinstance(wanted, int) else None
            larger = larger or _over_time(net, name, x, axis, wanted)
            if larger is None:
                raise Refusal(f"spreads {shown(own)} over {shown(whole)}, whose axis {axis} is free")
            x = larger
    return x


def spread(net: Network, constant: Constant, x: Tensor) -> np.ndarray:
    """A constant that ONNX spreads over a value (never the other way round), as it spreads over the Graph's.

    Returns
    -------
    array of float32
        Of as few axes as it takes, from the last one on.
    """
    array = constant.array.reshape((1,) * (x.rank - constant.array.ndim) + constant.array.shape)
    split: list[int] = []
    order: list[int] = []
    for axis, parts in enumerate(x.axes):
        if 0 in parts and array.shape[axis] != 1:
            array = _of_any_row(net, array, axis, parts)
        single = array.shape[axis] == 1
        split += [1 if single or part == 0 else int(size_of(net, x, part)) for part in parts]  # type: ignore[arg-type]
        order += parts
    absent = [part for part in range(x.lead + len(x.sizes)) if part not in order]
    array = array.reshape((*split, *[1] * len(absent))).transpose(np.argsort([*order, *absent]))
    lead = array[0].shape[: x.lead - 1]  # time
    array = np.flip(array[0], 0) if x.flipped and lead else array[0]
    inner = array.shape[x.lead - 1 :]
    if any(size != 1 for size in inner):
        if math.prod(lead) * x.spec.features > MOST:
            raise Refusal(f"spreads a constant over {math.prod(lead) * x.spec.features} numbers")
        array = np.broadcast_to(array, (*lead, *x.sizes)).reshape((*lead, *x.spec.inner))
    else:
        array = array.reshape((*lead, *[1] * len(x.spec.inner)))
    while array.ndim > 1 and array.shape[0] == 1:
        array = array[0]
    for axis in range(array.ndim):  # alike along an axis: one number says it
        first = np.take(array, [0], axis)
        if array.shape[axis] > 1 and np.array_equal(np.broadcast_to(first, array.shape), array):
            array = first
    while array.ndim > 1 and array.shape[0] == 1:
        array = array[0]
    return np.ascontiguousarray(array, np.float32)


def _of_any_row(net: Network, array: np.ndarray, axis: int, parts: tuple[int, ...]) -> np.ndarray:
    """A constant along the batch, all rows of which are alike."""
    if declared(net.batch) == 1:
        return array
    first = np.take(array, [0], axis)
    if parts != (0,) or not np.array_equal(np.broadcast_to(first, array.shape), array):
        raise Refusal("a constant differs from row to row of the batch")
    return first


def _numbers(x: Tensor) -> Tensor:
    if x.spec.dtype != "float32":
        raise Refusal(f"computes with {'a mask' if x.is_mask else 'whole numbers'}, {x.name!r}")
    return x
