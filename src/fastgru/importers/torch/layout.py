"""Functions and methods that move, cut and join tensors."""

from __future__ import annotations

import builtins
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ...graph import Concatenate, Repeat, Reshape, Slice
from ..sizes import Size, product
from .values import BATCH, Const, Filled, Pending, Refused, States, Tensor, shown, steps_of

if TYPE_CHECKING:
    from .convert import Converter


def identity(c: Converter, x: Any, *args: Any, **kwargs: Any) -> Any:
    """detach, contiguous, to(device), …: what moves or copies."""
    odd = [
        value for value in (*args, *kwargs.values()) if isinstance(value, torch.dtype) and not value.is_floating_point
    ]
    if odd and isinstance(x, Tensor) and x.spec.dtype != "int32":
        raise Refused(f"casts to {odd[0]}")
    return whole_numbers(c, x) if odd else x


def whole_numbers(c: Converter, x: Any) -> Any:
    """long and int: of token ids."""
    if isinstance(x, Pending):
        return replace(x, is_whole=True)
    if not (isinstance(x, Tensor) and x.spec.dtype == "int32"):
        raise Refused("makes whole numbers of computed ones")
    return x


def transpose(c: Converter, input: Any, dim0: int, dim1: int) -> Any:
    if isinstance(input, Pending):
        return input.exchanged(dim0, dim1)
    x = c.tensor(input)
    dims = list(range(x.rank))
    first, second = x.axis(dim0), x.axis(dim1)
    dims[first], dims[second] = dims[second], dims[first]
    return x.permuted(dims)


def permute(c: Converter, input: Any, *args: Any, dims: Any = ()) -> Any:
    order = flat(args or (dims,))
    if isinstance(input, Pending):
        return input.permuted(order)
    x = c.tensor(input)
    order = [x.axis(dim) for dim in order]
    if sorted(order) != list(range(x.rank)):
        raise Refused(f"permutes {order} of {x.rank} axes")
    return x.permuted(order)


def transposed(c: Converter, input: Any) -> Any:
    return transpose(c, input, 0, 1)


def unsqueeze(c: Converter, input: Any, dim: int) -> Any:
    if isinstance(input, (Filled, Const)):
        return input if isinstance(input, Filled) else Const(np.expand_dims(input.array, dim))
    x = c.tensor(input)
    place = dim + x.rank + 1 if dim < 0 else dim
    if not 0 <= place <= x.rank:
        raise Refused(f"inserts an axis at {dim} of {x.rank}")
    return replace(x, order=(*x.order[:place], None, *x.order[place:]))


def squeeze(c: Converter, input: Any, dim: Any = None) -> Any:
    if isinstance(input, States) and dim == 0 and len(input.parts) == 1:
        return Tensor.natural(input.parts[0])
    x = c.tensor(input)
    if dim is None and any(isinstance(size, Size) for size in x.shape):
        raise Refused("without dim drops the batch where it is 1; say squeeze(dim)")
    dims = sorted((x.axis(d) for d in flat((dim,))), reverse=True)
    for place in dims:
        if isinstance(x.shape[place], Size):
            raise Refused(f"drops axis {place} of {shown(x)} where its size is 1")
        if x.order[place] is None:
            x = replace(x, order=x.order[:place] + x.order[place + 1 :])
        elif x.shape[place] == 1:
            x = picked(c, x, place, 0)
    return x


def flatten(c: Converter, input: Any, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    x = c.tensor(input)
    first, last = x.axis(start_dim), x.axis(end_dim)
    merged = product(x.shape[first : last + 1])
    return _reshaped(c, x, [*x.shape[:first], merged, *x.shape[last + 1 :]])


def unflatten(c: Converter, input: Any, dim: int, sizes: Any) -> Tensor:
    x = c.tensor(input)
    place = x.axis(dim)
    return reshape(c, x, *x.shape[:place], *sizes, *x.shape[place + 1 :])


def reshape(c: Converter, input: Any, *args: Any, shape: Any = ()) -> Tensor:
    x = c.tensor(input)
    wanted = flat(args or (shape,))
    if sum(size == -1 for size in wanted) > 1 or not all(isinstance(size, (int, Size)) for size in wanted):
        raise Refused(f"has the shape {wanted}")
    if -1 in wanted:
        known = product(size for size in wanted if size != -1)
        try:
            wanted[wanted.index(-1)] = product(x.shape) // known
        except (ValueError, ZeroDivisionError):
            raise Refused(f"gives {shown(x)} the shape {shown(wanted)}") from None
    return _reshaped(c, x, wanted)


def _reshaped(c: Converter, x: Tensor, wanted: Sequence[Any]) -> Tensor:
    """Another shape whose axes of free size are those of the tensor, in their order, at the front."""
    if tuple(wanted) == x.shape:
        return x
    lead = builtins.max((i + 1 for i, size in enumerate(x.shape) if isinstance(size, Size)), default=0)
    if list(wanted[:lead]) != list(x.shape[:lead]) or any(isinstance(size, Size) for size in wanted[lead:]):
        raise Refused(f"gives {shown(x)} the shape {shown(wanted)}, which moves or merges batch and time")
    if math.prod(wanted[lead:]) != math.prod(size for size in x.shape[lead:] if isinstance(size, int)):
        raise Refused(f"gives {shown(x)} the shape {shown(wanted)}, which holds another number")
    dims = c.canonical(x)
    keeps = [dim for dim in dims if dim < lead]
    if keeps != dims[: len(keeps)] or any(isinstance(size, Size) is False for size in x.shape[:lead]):
        raise Refused(f"reshapes {shown(x)}, whose batch and time are not its first axes")
    y = c.laid(x, [*keeps, *range(lead, x.rank)])
    sizes = tuple(wanted[lead:])
    if len(keeps) == 2:
        spec = c.add(Reshape, y.spec, target=sizes, per_step=True)
        return Tensor(spec, (*y.order[:2], *range(2, 2 + len(sizes)))).keeping(x)
    return Tensor.natural(c.add(Reshape, y.spec, target=sizes))


def cat(c: Converter, tensors: Sequence[Any], dim: int = 0) -> Any:
    parts = [c.tensor(part) for part in tensors]
    first = parts[0]
    if any(part.rank != first.rank for part in parts):
        raise Refused(f"joins tensors of shapes {', '.join(map(shown, parts))}")
    if len(parts) == 1:
        return first
    place = first.axis(dim)
    if any(part.order != first.order for part in parts) or first.order[place] is None:
        parts = [c.laid(part, c.canonical(first)) for part in parts]
        first = parts[0]
    axis = first.order[place]
    if axis == 0:
        raise Refused("joins along the batch")
    if any(part.is_ragged for part in parts) and (axis == 1 or not all(part.is_ragged for part in parts)):
        raise Refused("joins sequences, of which PyTorch's has only the steps of the batch's longest row")
    joined = first.over(c.add(Concatenate, *(part.spec for part in parts), axis=axis))
    if axis == 1 and joined.spec.is_sequence:
        return replace(joined, mask=None, steps=steps_of(c.name))
    return joined


def stack(c: Converter, tensors: Sequence[Any], dim: int = 0) -> Any:
    return cat(c, [unsqueeze(c, part, dim) for part in tensors], dim)


def chunk(c: Converter, input: Any, chunks: int, dim: int = 0) -> Any:
    x = c.tensor(input)
    size = x.shape[x.axis(dim)]
    if isinstance(size, Size):
        raise Refused(f"splits the {size} axis")
    return split(c, x, -(-size // chunks), dim)


def split(c: Converter, input: Any, split_size_or_sections: Any, dim: int = 0) -> Any:
    x = c.tensor(input)
    place = x.axis(dim)
    size, parts = x.shape[place], split_size_or_sections
    if isinstance(size, Size):
        raise Refused(f"splits the {size} axis")
    if isinstance(parts, int):
        parts = [builtins.min(parts, size - start) for start in range(0, size, parts)]
    ends = np.cumsum(parts)
    return tuple(
        sliced(c, x, place, slice(int(end - part), int(end), 1)) for part, end in zip(parts, ends, strict=True)
    )


def select(c: Converter, input: Any, dim: int, index: int) -> Any:
    if isinstance(input, States) and dim == 0:
        return getitem(c, input, index)
    x = c.tensor(input)
    return picked(c, x, x.axis(dim), index)


def narrow(c: Converter, input: Any, dim: int, start: int, length: int) -> Any:
    x = c.tensor(input)
    return sliced(c, x, x.axis(dim), slice(start, start + length, 1))


def flip(c: Converter, input: Any, *args: Any, dims: Any = ()) -> Tensor:
    x = c.tensor(input)
    for dim in flat(args or (dims,)):
        x = sliced(c, x, x.axis(dim), slice(None, None, -1))
    return x


def getitem(c: Converter, value: Any, index: Any) -> Any:
    if isinstance(value, (tuple, list)):
        return value[index]
    if isinstance(value, torch.Size):
        return value[index]
    picks = list(index) if isinstance(index, tuple) else [index]
    if isinstance(value, States) and isinstance(picks[0], (int, slice)):
        try:
            chosen = value.parts[picks[0]]
        except IndexError:
            raise Refused(f"takes state {picks[0]} of {len(value.parts)}") from None
        if chosen == ():
            raise Refused("takes no state")
        if isinstance(picks[0], slice):
            return _indexed(c, States(chosen), [slice(None), *picks[1:]]) if len(picks) > 1 else States(chosen)  # type: ignore[arg-type]
        return _indexed(c, Tensor.natural(chosen), picks[1:])  # type: ignore[arg-type]
    return _indexed(c, value, picks)


def _indexed(c: Converter, value: Any, picks: list[Any]) -> Any:
    if isinstance(value, States) and all(pick == slice(None) for pick in picks):
        return value
    x = c.tensor(value)
    if Ellipsis in [pick for pick in picks if not isinstance(pick, (Tensor, Const))]:
        place = picks.index(Ellipsis)
        fill = x.rank - sum(pick is not None for pick in picks) + 1
        picks = [*picks[:place], *[slice(None)] * fill, *picks[place + 1 :]]
    dim = 0
    for pick in picks:
        if pick is None:
            x = unsqueeze(c, x, dim)
            dim += 1
        elif isinstance(pick, slice):
            if dim >= x.rank:
                raise Refused("has more indices than axes")
            if pick != slice(None):
                x = sliced(c, x, dim, pick)
            dim += 1
        elif isinstance(pick, int) and not isinstance(pick, bool):
            x = picked(c, x, x.axis(dim), pick)
        else:
            raise Refused(f"is indexed by a {type(pick).__name__}; supported are numbers, slices, None and …")
    return x


def sliced(c: Converter, x: Tensor, dim: int, part: slice) -> Tensor:
    axis = x.order[dim]
    parts = (part.start, part.stop, part.step)
    if any(p is not None and not isinstance(p, int) for p in parts):
        raise Refused("slices at a size that is known only when it runs")
    if axis in (None, 0):
        raise Refused(f"slices {'the batch' if axis == 0 else 'an axis of size 1'}")
    whole = over_time(x, axis)
    spec = c.add(Slice, x.spec, part=f"{dim}", axis=axis, start=part.start, stop=part.stop,
                 step=1 if part.step is None else part.step)  # fmt: skip
    return replace(x, spec=spec, mask=None, steps=steps_of(c.name)) if whole else replace(x, spec=spec)


def picked(c: Converter, x: Tensor, dim: int, index: int) -> Tensor:
    axis = x.order[dim]
    order = x.order[:dim] + x.order[dim + 1 :]
    if axis is None and index in (0, -1):
        return replace(x, order=order)
    if axis in (None, 0):
        raise Refused("takes one row of the batch" if axis == 0 else f"takes entry {index} of 1")
    whole = over_time(x, axis)
    stop = None if index == -1 else index + 1
    spec = c.add(Slice, x.spec, part=f"{dim}", axis=axis, start=index, stop=stop, drop=True)
    left = tuple(a - 1 if a is not None and a > axis else a for a in order)  # type: ignore[operator]
    return Tensor(spec, left) if whole else Tensor(spec, left).keeping(x)


def over_time(x: Tensor, axis: Any) -> bool:
    is_time = x.spec.is_sequence and axis == 1
    if is_time and x.is_ragged:
        raise Refused("looks along steps of which PyTorch's tensor has only the longest row's; take h_n for the last")
    return is_time


def expand(c: Converter, input: Any, *sizes: Any) -> Any:
    wanted = flat(sizes)
    if isinstance(input, Filled):
        return input
    if isinstance(input, Const):  # its rows become the batch's: still a constant
        shape = input.array.shape
        pairs = list(zip(wanted, shape, strict=False))
        if len(shape) == len(wanted) and all(w in (-1, s) or (w == BATCH and s == 1) for w, s in pairs):
            return input
        raise Refused(f"expands a constant of shape {shape} to ({', '.join(map(str, wanted))})")
    x = c.tensor(input)
    for dim, (size, now) in enumerate(zip(wanted, x.shape, strict=True)):
        if size in (-1, now):
            continue
        if now != 1 or not isinstance(size, int):
            raise Refused(f"expands {shown(x)} to ({', '.join(map(str, wanted))})")
        x = c.laid(x, c.canonical(x))
        x = x.over(c.add(Repeat, x.spec, part=str(dim), axis=x.order[dim], times=size))
    return x


def repeat(c: Converter, input: Any, *sizes: Any) -> Any:
    wanted = flat(sizes)
    if isinstance(input, Filled):
        return input
    if isinstance(input, Const) and input.array.ndim == 3 and input.array.shape[1] == 1 and wanted == [1, BATCH, 1]:
        return input
    raise Refused(f"repeats by ({', '.join(map(str, wanted))})")


def size(c: Converter, input: Any, dim: Any = None) -> Any:
    if isinstance(input, Pending):
        return _PendingShape(c, input) if dim is None else _PendingShape(c, input)[dim]
    if isinstance(input, States):
        shape: tuple[Any, ...] = (len(input.parts), BATCH, input.units)
    elif isinstance(input, Const):
        shape = input.array.shape
    else:
        shape = c.tensor(input).shape
    return shape if dim is None else shape[dim]


class _PendingShape(tuple):  # type: ignore[type-arg]
    """The shape of an input that nothing has read yet: its first reader decides on the axes."""

    def __new__(cls, c: Converter, value: Pending) -> Any:
        made = super().__new__(cls)
        made.c, made.value = c, value  # type: ignore[attr-defined]
        return made

    def __getitem__(self, dim: Any) -> Any:
        c, value = self.c, self.value  # type: ignore[attr-defined]
        if c.is_known(value.name):
            return c.tensor(value).shape[dim]
        if not value.moves and dim == (0 if c.batch_first else 1):
            return BATCH
        if not value.moves and dim == (1 if c.batch_first else 0):
            return steps_of(value.name)
        raise Refused(f"asks for axis {dim} of input {value.name!r}, whose axes are not known; say inputs=")


def attribute(c: Converter, value: Any, name: str) -> Any:
    if name == "shape":
        return size(c, value)
    if name in ("device", "dtype", "is_cuda"):
        return None
    if name in ("T", "mT"):
        return transpose(c, value, -2, -1)
    raise Refused(f"reads .{name}")


def flat(values: Any) -> list[Any]:
    """Arguments that are given one by one or as one tuple."""
    if len(values) == 1 and isinstance(values[0], (tuple, list)):
        return list(values[0])
    return list(values)
