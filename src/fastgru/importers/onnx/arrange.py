"""Views of values (`Tensor`) changed for nothing, and the layers that put numbers in the order an operator needs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ...graph import Reshape, Slice, TensorSpec, Transpose
from .fold import spread_shape
from .node import Refusal, axis_in
from .sizes import Dim, declared, same
from .values import Constant, Tensor

if TYPE_CHECKING:
    from .network import Network


# ---- views ---------------------------------------------------------------------------------------------------------


def size_of(net: Network, x: Tensor, part: int) -> Dim:
    """The size of one axis of the value, its features split."""
    if part == 0:
        return net.batch
    return x.steps if x.spec.is_sequence and part == 1 else x.sizes[part - x.lead]


def shape_of(net: Network, x: Tensor) -> tuple[Dim, ...]:
    """The shape in ONNX."""
    return tuple(_product(size_of(net, x, part) for part in parts) for parts in x.axes)


def squeezed(net: Network, x: Tensor, axes: Sequence[int] | None) -> Tensor:
    """Without axes of size 1; None: all of them."""
    shape = shape_of(net, x)
    if axes is None:
        gone = {axis for axis, size in enumerate(shape) if size == 1}
    else:
        gone = {axis_in(axis, x.rank) for axis in axes}
    wrong = [axis for axis in sorted(gone) if not same(shape[axis], 1)]
    if wrong:
        raise Refusal(f"cannot drop axis {wrong[0]} of {_shown(shape)}")
    if any(set(x.axes[axis]) - {0} for axis in gone):
        x = _without_units(net, x, gone)
    return replace(x, axes=tuple(parts for axis, parts in enumerate(x.axes) if axis not in gone))


def _without_units(net: Network, x: Tensor, gone: set[int]) -> Tensor:
    """Axes that go take no part in the value: splits of size 1 end, one step is taken out of its sequence."""
    if x.spec.is_sequence and any(1 in x.axes[axis] for axis in gone):
        step = net.build.add(Slice, f"{x.name}.step", x.spec, axis=1, start=0, stop=1, drop=True)
        moved = {1: None} | {part: part - 1 for part in range(2, 2 + len(x.sizes))} | {0: 0}
        axes = tuple(tuple(new for part in parts if (new := moved[part]) is not None) for parts in x.axes)
        x = replace(x, spec=step, axes=axes, steps=1, flipped=False)
    ones = {part for axis in gone for part in x.axes[axis] if part}
    kept = [part for part in range(x.lead, x.lead + len(x.sizes)) if part not in ones]
    places = {part: x.lead + index for index, part in enumerate(kept)} | {part: part for part in range(x.lead)}
    axes = tuple(tuple(places[part] for part in parts if part not in ones) for parts in x.axes)
    return replace(x, sizes=tuple(x.sizes[part - x.lead] for part in kept), axes=axes)


def unsqueezed(x: Tensor, axes: Sequence[int]) -> Tensor:
    """With axes of size 1 at these places of the result."""
    rank = x.rank + len(axes)
    new = sorted(axis_in(axis, rank) for axis in axes)
    if len(set(new)) != len(new):
        raise Refusal(f"axes {tuple(axes)} name one twice")
    found = list(x.axes)
    for axis in new:
        found.insert(axis, ())
    return replace(x, axes=tuple(found))


def reshaped(net: Network, x: Tensor, target: Sequence[Dim]) -> Tensor:
    """With other axes over the same numbers in the same order; none of `target` is −1 or stands for a copy.

    Raises
    ------
    Refusal
        The time axis would be cut, or the sizes do not fit.
    """
    left = [(part, size_of(net, x, part)) for parts in x.axes for part in parts]
    sizes = list(x.sizes)
    axes: list[tuple[int, ...]] = []
    shown = f"{_shown(shape_of(net, x))} as {_shown(target)}"
    for wanted in target:
        taken: list[int] = []
        product: Dim = 1
        while not (same(product, wanted) and (taken or (wanted == 1 and not _is_next(left, 1)))):
            if not left:
                raise Refusal(f"cannot see {shown}")
            part, size = left.pop(0)
            if part == 0 and declared(size) == 1 and not same(product * size, wanted) and _can_drop_batch(left, wanted):
                continue  # a batch of 1 that joins another axis is no axis any more
            rest = _rest(wanted, product, size)
            if rest is not None:
                if part < x.lead:
                    raise Refusal(f"cannot see {shown}: it would cut the {'time' if part else 'batch'} axis")
                sizes[part - x.lead : part - x.lead + 1] = [rest, size // rest]  # type: ignore[list-item]
                axes = [tuple(p + (p > part) for p in parts) for parts in axes]
                taken = [p + (p > part) for p in taken]
                left = [(part + 1, size // rest), *((p + (p > part), s) for p, s in left)]
                size = rest
            taken.append(part)
            product = product * size
        axes.append(tuple(taken))
    if any(not same(size, 1) for _, size in left):
        raise Refusal(f"cannot see {shown}")
    return replace(x, sizes=tuple(sizes), axes=tuple(axes))


def _is_next(left: Sequence[tuple[int, Dim]], size: int) -> bool:
    return bool(left) and same(left[0][1], size)


def _can_drop_batch(left: Sequence[tuple[int, Dim]], wanted: Dim) -> bool:
    return bool(left) and not same(wanted, 1)


def _rest(wanted: Dim, product: Dim, size: Dim) -> int | None:
    """What of an axis of `size` goes into a `wanted` one that holds `product` already, where that is not all of it."""
    whole = product * size
    if same(whole, wanted):
        return None
    if isinstance(size, int) and isinstance(wanted, int) and isinstance(product, int):
        rest = wanted // product
        if wanted % product == 0 and rest < size and size % rest == 0:
            return rest
    return None


# ---- layers --------------------------------------------------------------------------------------------------------


def arranged(net: Network, name: str, x: Tensor, groups: Sequence[Sequence[int]]) -> Tensor:
    """The same view of a value whose axes behind batch and time are the groups of parts, in this order.

    Every part behind batch and time is in one group; an empty group is an axis of size 1.
    """
    x = x if not x.is_mask and not x.is_ids else _refused(x)
    order = [part for group in groups for part in group]
    if sorted(order) != list(range(x.lead, x.lead + len(x.sizes))):
        raise Refusal(f"cannot put the axes of {x.name!r} {x.spec.shape} in order")
    inner = tuple(math.prod(x.sizes[part - x.lead] for part in group) for group in groups)
    spec = x.spec
    if order != sorted(order):
        spec = _with_inner(net, name, spec, x.sizes)
        permutation = tuple(part + len(spec.shape) - len(spec.inner) - x.lead for part in order)
        lead = (1,) if spec.is_sequence else ()
        spec = net.build.add(Transpose, f"{name}.order", spec, order=(*lead, *permutation))
    spec = _with_inner(net, name, spec, inner)
    places = {part: x.lead + index for index, part in enumerate(order)} | {part: part for part in range(x.lead)}
    axes = tuple(tuple(places[part] for part in parts) for parts in x.axes)
    return replace(x, spec=spec, sizes=tuple(x.sizes[part - x.lead] for part in order), axes=axes)


def _with_inner(net: Network, name: str, spec: TensorSpec, inner: tuple[int, ...]) -> TensorSpec:
    if spec.inner == inner:
        return spec
    return net.build.add(Reshape, f"{name}.view", spec, target=inner or (1,), per_step=True)


def features_last(net: Network, name: str, x: Tensor, axis: int) -> Tensor:
    """The same view of a value whose last axis is the ONNX axis; what else stands behind batch and time, before it."""
    parts = x.axes[axis]
    if any(part < x.lead for part in parts):
        what = "batch" if 0 in parts else "time"
        raise Refusal(f"works along axis {axis}, which is {what}")
    others = [part for part in range(x.lead, x.lead + len(x.sizes)) if part not in parts]
    return arranged(net, name, x, [others, parts] if others else [parts])


def one_axis_each(net: Network, name: str, x: Tensor, order: Sequence[int]) -> Tensor:
    """The same view of a value whose axes behind batch and time are these ONNX axes, one each."""
    return arranged(net, name, x, [x.axes[axis] for axis in order])


def unflipped(net: Network, name: str, x: Tensor) -> Tensor:
    """The same view of a value whose steps stand in the order that they have in ONNX."""
    if not x.flipped:
        return x
    spec = net.build.add(Slice, f"{name}.flip", x.spec, axis=1, step=-1)
    return replace(x, spec=spec, flipped=False)


def as_sequence(net: Network, name: str, x: Tensor, axis: int) -> Tensor:
    """A view of a value whose time axis is the ONNX axis."""
    if x.spec.is_sequence:
        if x.axes[axis] == (1,):
            return x
        at = "merged with others" if 1 in x.axes[axis] else f"axis {x.time_axis} of it"
        raise Refusal(f"walks along axis {axis} of {x.name!r}, but its time is {at}")
    if 0 in x.axes[axis]:
        raise Refusal(f"walks along axis {axis} of {x.name!r}, which is its batch")
    others = [part for part in range(1, 1 + len(x.sizes)) if part not in x.axes[axis]]
    x = arranged(net, name, x, [x.axes[axis], others])
    steps, features = (x.spec.inner[0], x.spec.features // x.spec.inner[0])
    spec = net.build.add(Reshape, f"{name}.steps", x.spec, target=(steps, features))
    first = len(x.axes[axis])  # parts 1 … first are the axis
    axes = tuple(
        (1,) if index == axis else tuple(part if part == 0 else part - first + 1 for part in parts)
        for index, parts in enumerate(x.axes)
    )
    return replace(x, spec=spec, sizes=x.sizes[first:], axes=axes, steps=steps)


def together(net: Network, name: str, tensors: Sequence[Tensor]) -> tuple[Tensor, list[TensorSpec]]:
    """Values that go side by side, spread as ONNX does: a view of what is made of them, and what a layer should read.

    Raises
    ------
    Refusal
        Their axes do not go together.
    """
    first = tensors[0]
    _check_numbers(tensors)
    if all(_view(x) == _view(first) for x in tensors):
        return first, [x.spec for x in tensors]
    tensors = [unflipped(net, name, x) for x in tensors]
    shape = spread_shape([shape_of(net, x) for x in tensors])
    rank = len(shape)
    tensors = [unsqueezed(x, list(range(rank - x.rank))) for x in tensors]
    leads = [_lead_of(tensors, axis) for axis in range(rank)]
    inner = [axis for axis in range(rank) if leads[axis] is None and shape[axis] != 1]
    reference = max(tensors, key=lambda x: sum(bool(x.axes[axis]) for axis in inner))
    inner.sort(key=lambda axis: reference.axes[axis])
    views = [one_axis_each(net, name, x, inner) for x in tensors]
    if not inner:
        views = [arranged(net, name, x, [[]]) for x in tensors]
    longest = next((x for x in views if x.spec.is_sequence), views[0])
    lead = 1 + longest.spec.is_sequence
    places = {axis: (lead + index,) for index, axis in enumerate(inner)}
    axes = tuple(lead_of if (lead_of := leads[axis]) else places.get(axis, ()) for axis in range(rank))
    sizes = tuple(shape[axis] for axis in inner)
    return replace(longest, sizes=sizes, axes=axes), [x.spec for x in views]  # type: ignore[arg-type]


def _lead_of(tensors: Sequence[Tensor], axis: int) -> tuple[int, ...] | None:
    """What an ONNX axis of several values is made of, where that is batch, time or both."""
    found = {x.axes[axis] for x in tensors if any(part < x.lead for part in x.axes[axis])}
    if not found:
        return None
    if len(found) > 1 or any(part > 1 for part in next(iter(found))):
        raise Refusal(f"axis {axis} is batch or time of one value and something else of another")
    parts = found.pop()
    if any(x.axes[axis] and x.axes[axis] != parts for x in tensors):
        raise Refusal(f"axis {axis} is batch or time of one value and something else of another")
    return parts


def _view(x: Tensor) -> tuple[object, ...]:
    return x.axes, x.sizes, x.spec.is_sequence, x.spec.inner, x.flipped


def _check_numbers(tensors: Sequence[Tensor]) -> None:
    for x in tensors:
        if x.spec.dtype != "float32":
            raise Refusal(f"computes with {'a mask' if x.is_mask else 'ids'}, {x.name!r}")


def spread(net: Network, constant: Constant, x: Tensor) -> np.ndarray:
    """A constant that ONNX spreads over a value (never the other way round), as it spreads over the Graph's.

    Returns
    -------
    array of float32
        Of as few axes as it takes, from the last one on.
    """
    whole = shape_of(net, x)
    if spread_shape([constant.shape, whole]) != whole or len(constant.shape) > x.rank:
        raise Refusal(f"a constant {_shown(constant.shape)} enlarges a value {_shown(whole)}")
    array = constant.array.reshape((1,) * (x.rank - constant.array.ndim) + constant.array.shape)
    split: list[int] = []
    order: list[int] = []
    for axis, parts in enumerate(x.axes):
        if 0 in parts and array.shape[axis] != 1:
            array = _of_any_row(array, axis, parts)
        full = [declared(size_of(net, x, part)) or 1 for part in parts]
        split += [1] * len(parts) if array.shape[axis] == 1 else full
        order += parts
    absent = [part for part in range(x.lead + len(x.sizes)) if part not in order]
    array = array.reshape(*split, *[1] * len(absent)).transpose(np.argsort([*order, *absent]))
    lead = array[0].shape[: x.lead - 1]  # time
    array = np.flip(array[0], 0) if x.flipped and lead else array[0]
    inner = array.shape[x.lead - 1 :]
    if any(size != 1 for size in inner):
        array = np.broadcast_to(array, (*lead, *x.sizes)).reshape(*lead, *x.spec.inner)
    else:
        array = array.reshape(*lead, *[1] * len(x.spec.inner))
    while array.ndim > 1 and array.shape[0] == 1:
        array = array[0]
    return np.ascontiguousarray(array, np.float32)


def _of_any_row(array: np.ndarray, axis: int, parts: tuple[int, ...]) -> np.ndarray:
    """A constant along the batch, all rows of which are alike."""
    first = np.take(array, [0], axis)
    if parts != (0,) or not np.array_equal(np.broadcast_to(first, array.shape), array):
        raise Refusal("a constant differs from row to row of the batch")
    return first


def _product(sizes: Iterable[Dim]) -> Dim:
    total: Dim = 1
    for size in sizes:
        total = total * size
    return total


def _refused(x: Tensor) -> Tensor:
    raise Refusal(f"moves the axes of {'a mask' if x.is_mask else 'ids'}, {x.name!r}")


def _shown(shape: Sequence[Dim]) -> str:
    return f"({', '.join(map(str, shape))})"
