"""Functions of torch and methods of its tensors: layout, arithmetic, reductions."""

from __future__ import annotations

import builtins
import operator
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional
from torch.nn.utils import rnn

from ...graph import Combine, Concatenate, Dense, Embedding, Reduce, Repeat, Reshape, Scale, Slice, StepMask, TensorSpec
from .activations import READERS, refuse_dtype
from .values import BATCH, Const, Filled, Free, Lengths, Packed, Pending, Refused, States, Tensor, steps_of

if TYPE_CHECKING:
    from .convert import Converter


def identity(c: Converter, x: Any, *args: Any, **kwargs: Any) -> Any:
    """detach, contiguous, to(device), …: what moves or copies."""
    odd = [value for value in (*args, *kwargs.values()) if isinstance(value, torch.dtype) and not value.is_floating_point]
    if odd and isinstance(x, Tensor) and x.spec.dtype != "int32":
        raise Refused(f"casts to {odd[0]}")
    return x


def whole_numbers(c: Converter, x: Any) -> Any:
    """long and int: of token ids."""
    if not isinstance(x, Pending) and not (isinstance(x, Tensor) and x.spec.dtype == "int32"):
        raise Refused("makes whole numbers of computed ones")
    return x


# ---- layout ----------------------------------------------------------------------------------------------------------


def transpose(c: Converter, input: Any, dim0: int, dim1: int) -> Any:
    if isinstance(input, Pending):
        return input.exchanged(dim0, dim1)
    x = _tensor(c, input)
    dims = list(range(x.rank))
    first, second = x.axis(dim0), x.axis(dim1)
    dims[first], dims[second] = dims[second], dims[first]
    return x.permuted(dims)


def permute(c: Converter, input: Any, *args: Any, dims: Any = ()) -> Any:
    order = _flat(args or (dims,))
    if isinstance(input, Pending):
        return input.permuted(order)
    x = _tensor(c, input)
    order = [x.axis(dim) for dim in order]
    if sorted(order) != list(range(x.rank)):
        raise Refused(f"permutes {order} of {x.rank} axes")
    return x.permuted(order)


def transposed(c: Converter, input: Any) -> Any:
    return transpose(c, input, 0, 1)


def unsqueeze(c: Converter, input: Any, dim: int) -> Any:
    if isinstance(input, (Filled, Const)):
        return input if isinstance(input, Filled) else Const(np.expand_dims(input.array, dim))
    x = _tensor(c, input)
    place = dim + x.rank + 1 if dim < 0 else dim
    if not 0 <= place <= x.rank:
        raise Refused(f"inserts an axis at {dim} of {x.rank}")
    return replace(x, order=(*x.order[:place], None, *x.order[place:]))


def squeeze(c: Converter, input: Any, dim: Any = None) -> Any:
    if isinstance(input, States) and dim == 0 and len(input.parts) == 1:
        return Tensor.natural(input.parts[0])
    x = _tensor(c, input)
    if dim is None and any(isinstance(size, Free) for size in x.shape):
        raise Refused("without dim drops the batch where it is 1; say squeeze(dim)")
    dims = sorted((x.axis(d) for d in _flat((dim,))), reverse=True)
    for place in dims:
        if isinstance(x.shape[place], Free):
            raise Refused(f"drops axis {place} of {shown(x)} where its size is 1")
        if x.order[place] is None:
            x = replace(x, order=x.order[:place] + x.order[place + 1 :])
        elif x.shape[place] == 1:
            x = _picked(c, x, place, 0)
    return x


def flatten(c: Converter, input: Any, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    x = _tensor(c, input)
    first, last = x.axis(start_dim), x.axis(end_dim)
    merged = x.shape[first : last + 1]
    if any(isinstance(size, Free) for size in merged) and len(merged) > 1:
        raise Refused(f"merges {' and '.join(map(str, merged))}")
    return _reshaped(c, x, [*x.shape[:first], int(np.prod(merged)) if first != last else merged[0], *x.shape[last + 1 :]])


def unflatten(c: Converter, input: Any, dim: int, sizes: Any) -> Tensor:
    x = _tensor(c, input)
    place = x.axis(dim)
    return reshape(c, x, *x.shape[:place], *sizes, *x.shape[place + 1 :])


def reshape(c: Converter, input: Any, *args: Any, shape: Any = ()) -> Tensor:
    x = _tensor(c, input)
    wanted = _flat(args or (shape,))
    if sum(size == -1 for size in wanted) > 1 or not all(isinstance(size, (int, Free)) for size in wanted):
        raise Refused(f"has the shape {wanted}")
    if -1 in wanted:
        rest: list[Any] = list(x.shape)
        product = 1
        for size in wanted:
            if isinstance(size, Free):
                if size not in rest:
                    raise Refused(f"gives {shown(x)} the shape {tuple(map(str, wanted))}")
                rest.remove(size)
            elif size != -1:
                product *= size
        free = [size for size in rest if isinstance(size, Free)]
        known = int(np.prod([size for size in rest if not isinstance(size, Free)]))
        if len(free) > 1 or known % max(product, 1) or (free and known != product):
            merged = " and ".join(map(str, free or rest))
            raise Refused(f"merges {merged} of {shown(x)}, or splits an axis of free size")
        wanted[wanted.index(-1)] = free[0] if free else known // product
    return _reshaped(c, x, wanted)


def _reshaped(c: Converter, x: Tensor, wanted: Sequence[Any]) -> Tensor:
    """Another shape whose axes of free size are those of the tensor, in their order, at the front."""
    if tuple(wanted) == x.shape:
        return x
    lead = builtins.max((i + 1 for i, size in enumerate(x.shape) if isinstance(size, Free)), default=0)
    if list(wanted[:lead]) != list(x.shape[:lead]) or any(isinstance(size, Free) for size in wanted[lead:]):
        raise Refused(f"gives {shown(x)} the shape ({', '.join(map(str, wanted))}), which moves batch or time")
    if np.prod(wanted[lead:], initial=1) != np.prod(x.shape[lead:], initial=1):
        raise Refused(f"gives {shown(x)} the shape ({', '.join(map(str, wanted))}), which holds another number")
    dims = c.canonical(x)
    keeps = [dim for dim in dims if dim < lead]
    if keeps != dims[: len(keeps)] or any(isinstance(size, Free) is False for size in x.shape[:lead]):
        raise Refused(f"reshapes {shown(x)}, whose batch and time are not its first axes")
    y = c.laid(x, [*keeps, *range(lead, x.rank)])
    sizes = tuple(wanted[lead:])
    if len(keeps) == 2:
        spec = c.add(Reshape, y.spec, target=sizes, per_step=True)
        return Tensor(spec, (*y.order[:2], *range(2, 2 + len(sizes)))).keeping(x)
    return Tensor.natural(c.add(Reshape, y.spec, target=sizes))


def cat(c: Converter, tensors: Sequence[Any], dim: int = 0) -> Any:
    parts = [_tensor(c, part) for part in tensors]
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
    x = _tensor(c, input)
    size = x.shape[x.axis(dim)]
    if isinstance(size, Free):
        raise Refused(f"splits the {size} axis")
    return split(c, x, -(-size // chunks), dim)


def split(c: Converter, input: Any, split_size_or_sections: Any, dim: int = 0) -> Any:
    x = _tensor(c, input)
    place = x.axis(dim)
    size, parts = x.shape[place], split_size_or_sections
    if isinstance(size, Free):
        raise Refused(f"splits the {size} axis")
    if isinstance(parts, int):
        parts = [builtins.min(parts, size - start) for start in range(0, size, parts)]
    ends = np.cumsum(parts)
    return tuple(_sliced(c, x, place, slice(int(end - part), int(end), 1)) for part, end in zip(parts, ends, strict=True))


def select(c: Converter, input: Any, dim: int, index: int) -> Any:
    if isinstance(input, States) and dim == 0:
        return getitem(c, input, index)
    x = _tensor(c, input)
    return _picked(c, x, x.axis(dim), index)


def narrow(c: Converter, input: Any, dim: int, start: int, length: int) -> Any:
    x = _tensor(c, input)
    return _sliced(c, x, x.axis(dim), slice(start, start + length, 1))


def flip(c: Converter, input: Any, *args: Any, dims: Any = ()) -> Tensor:
    x = _tensor(c, input)
    for dim in _flat(args or (dims,)):
        x = _sliced(c, x, x.axis(dim), slice(None, None, -1))
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
        if isinstance(picks[0], slice):
            return _indexed(c, States(chosen), [slice(None), *picks[1:]]) if len(picks) > 1 else States(chosen)  # type: ignore[arg-type]
        return _indexed(c, Tensor.natural(chosen), picks[1:])  # type: ignore[arg-type]
    return _indexed(c, value, picks)


def _indexed(c: Converter, value: Any, picks: list[Any]) -> Any:
    if isinstance(value, States) and all(pick == slice(None) for pick in picks):
        return value
    x = _tensor(c, value)
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
                x = _sliced(c, x, dim, pick)
            dim += 1
        elif isinstance(pick, int) and not isinstance(pick, bool):
            x = _picked(c, x, x.axis(dim), pick)
        else:
            raise Refused(f"is indexed by a {type(pick).__name__}; supported are numbers, slices, None and …")
    return x


def _sliced(c: Converter, x: Tensor, dim: int, part: slice) -> Tensor:
    axis = x.order[dim]
    parts = (part.start, part.stop, part.step)
    if any(p is not None and not isinstance(p, int) for p in parts):
        raise Refused("slices at a size that is known only when it runs")
    if axis in (None, 0):
        raise Refused(f"slices {'the batch' if axis == 0 else 'an axis of size 1'}")
    whole = _over_time(x, axis)
    spec = c.add(Slice, x.spec, part=f"{dim}", axis=axis, start=part.start, stop=part.stop,
                 step=1 if part.step is None else part.step)  # fmt: skip
    return replace(x, spec=spec, mask=None, steps=steps_of(c.name)) if whole else replace(x, spec=spec)


def _picked(c: Converter, x: Tensor, dim: int, index: int) -> Tensor:
    axis = x.order[dim]
    order = x.order[:dim] + x.order[dim + 1 :]
    if axis is None and index in (0, -1):
        return replace(x, order=order)
    if axis in (None, 0):
        raise Refused("takes one row of the batch" if axis == 0 else f"takes entry {index} of 1")
    whole = _over_time(x, axis)
    stop = None if index == -1 else index + 1
    spec = c.add(Slice, x.spec, part=f"{dim}", axis=axis, start=index, stop=stop, drop=True)
    left = tuple(a - 1 if a is not None and a > axis else a for a in order)  # type: ignore[operator]
    return Tensor(spec, left) if whole else Tensor(spec, left).keeping(x)


def _over_time(x: Tensor, axis: Any) -> bool:
    is_time = x.spec.is_sequence and axis == 1
    if is_time and x.is_ragged:
        raise Refused("looks along steps of which PyTorch's tensor has only the longest row's; take h_n for the last")
    return is_time


def expand(c: Converter, input: Any, *sizes: Any) -> Any:
    wanted = _flat(sizes)
    if isinstance(input, Filled):
        return input
    if isinstance(input, Const):  # its rows become the batch's: still a constant
        shape = input.array.shape
        fits = len(shape) == len(wanted) and all(w in (-1, s) or w is BATCH and s == 1 for w, s in zip(wanted, shape))
        if fits:
            return input
        raise Refused(f"expands a constant of shape {shape} to ({', '.join(map(str, wanted))})")
    x = _tensor(c, input)
    for dim, (size, now) in enumerate(zip(wanted, x.shape, strict=True)):
        if size in (-1, now):
            continue
        if now != 1 or not isinstance(size, int):
            raise Refused(f"expands {shown(x)} to ({', '.join(map(str, wanted))})")
        x = c.laid(x, c.canonical(x))
        x = x.over(c.add(Repeat, x.spec, part=str(dim), axis=x.order[dim], times=size))
    return x


def repeat(c: Converter, input: Any, *sizes: Any) -> Any:
    wanted = _flat(sizes)
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
        shape = _tensor(c, input).shape
    return shape if dim is None else shape[dim]


class _PendingShape(tuple):  # type: ignore[type-arg]
    """The shape of an input that nothing has read yet: its first reader decides, and few ask for more than the batch."""

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


# ---- arithmetic ------------------------------------------------------------------------------------------------------

_NAMES = {"add": "add", "subtract": "subtract", "multiply": "multiply", "divide": "divide",
          "maximum": "maximum", "minimum": "minimum"}  # fmt: skip


def _binary(operation: str) -> Callable[..., Any]:
    def read(c: Converter, input: Any, other: Any, *, alpha: Any = 1, rounding_mode: Any = None) -> Any:
        if alpha != 1 or rounding_mode is not None:
            raise Refused("has alpha or rounding_mode")
        plain = (int, float)
        if isinstance(input, plain) and isinstance(other, plain):
            return {"add": operator.add, "subtract": operator.sub, "multiply": operator.mul,
                    "divide": operator.truediv}[operation](input, other)  # fmt: skip
        if isinstance(input, (Free, *plain)) and isinstance(other, (Free, *plain)):
            raise Refused("computes with sizes that are known only when it runs")
        left, right = (_constant(value) for value in (input, other))
        if left is not None and right is not None:
            raise Refused("computes a constant")
        if right is not None:
            return _with_constant(c, _tensor(c, input), right, operation, False)
        if left is not None:
            return _with_constant(c, _tensor(c, other), left, operation, True)
        return _combined(c, _tensor(c, input), _tensor(c, other), operation)

    return read


def _constant(value: Any) -> Any:
    if isinstance(value, Const):
        return value.array
    return np.array([value], np.float32) if isinstance(value, (int, float)) else None


def _with_constant(c: Converter, x: Tensor, number: Any, operation: str, is_left: bool) -> Tensor:
    number = _spread(x, number).astype(np.float64)
    scale = offset = None
    if operation == "add":
        offset = number
    elif operation == "subtract":
        scale, offset = (-np.ones(1), number) if is_left else (None, -number)
    elif operation == "multiply":
        scale = number
    elif operation == "divide":
        if is_left:
            x = READERS["reciprocal"](c, x)
        elif (number == 0).any():
            raise Refused("divides by zero")
        scale = number if is_left else 1 / number
    else:
        raise Refused(f"takes the {operation} with a constant")
    narrow = [None if part is None else part.astype(np.float32) for part in (scale, offset)]
    return x.over(c.add(Scale, x.spec, part="scaled", scale=narrow[0], offset=narrow[1]))


def _spread(x: Tensor, array: Any) -> Any:
    """A constant that spreads over a tensor as PyTorch has it, turned to spread over its value."""
    if array.size == 1:
        return array.reshape(1)
    if array.ndim > x.rank:
        raise Refused(f"spreads {shown(x)} over a constant of shape {array.shape}")
    whole = array.reshape((1,) * (x.rank - array.ndim) + array.shape)
    dims = [x.order.index(axis) for axis in range(len(x.spec.shape))]
    extra = [dim for dim in range(x.rank) if x.order[dim] is None]
    if any(whole.shape[dim] != 1 for dim in (*extra, dims[0])):
        raise Refused(f"spreads {shown(x)} over a constant of shape {array.shape}")
    return whole.transpose(*extra, *dims).reshape([whole.shape[dim] for dim in dims[1:]])


def _combined(c: Converter, a: Tensor, b: Tensor, operation: str) -> Tensor:
    rank = builtins.max(a.rank, b.rank)
    a, b = (replace(v, order=(None,) * (rank - v.rank) + v.order) for v in (a, b))
    if a.is_ragged != b.is_ragged and a.spec.is_sequence and b.spec.is_sequence:
        raise Refused("combines a sequence with one that ends at the batch's longest row")
    if a.order != b.order or None in a.order:
        dims = c.canonical(a if a.spec.is_sequence or not b.spec.is_sequence else b)
        if a.order[dims[0]] != 0 or b.order[dims[0]] != 0:
            raise Refused(f"combines {shown(a)} and {shown(b)}, whose batches are different axes")
        a, b = (_beside(c, v, other, dims) for v, other in ((a, b), (b, a)))
    lead = a if a.spec.is_sequence or not b.spec.is_sequence else b
    spec = c.add(Combine, a.spec, b.spec, operation=operation)
    return Tensor(spec, lead.order).keeping(lead)


def _beside(c: Converter, x: Tensor, other: Tensor, dims: Sequence[int]) -> Tensor:
    """A tensor arranged by `dims`; one without time needs no axis for the steps of the other."""
    if not x.spec.is_sequence and other.spec.is_sequence and x.order[dims[1]] is None:
        left = [dim for dim in dims if dim != dims[1]]
        return replace(x, spec=c.arrange(x, left), order=tuple(left.index(d) if d in left else None for d in range(x.rank)))
    return c.laid(x, dims)


def power(c: Converter, input: Any, exponent: Any) -> Any:
    known = {2: "square", 0.5: "sqrt", -1: "reciprocal", -0.5: "rsqrt"}
    if isinstance(exponent, (int, float)) and exponent in known:
        return READERS[known[exponent]](c, input)
    raise Refused(f"has the exponent {exponent}; supported are {', '.join(map(str, known))}")


def _reduce(function: str) -> Callable[..., Any]:
    def read(c: Converter, input: Any, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Any:
        refuse_dtype(dtype)
        if isinstance(dim, (Tensor, Pending, Const)):
            if function in ("maximum", "minimum"):
                return _binary(function)(c, input, dim)
            raise Refused("is called with two tensors")
        x = _tensor(c, input)
        if dim is None:
            raise Refused("reduces the batch, too; say its dim")
        dims = sorted((x.axis(d) for d in _flat((dim,))), reverse=True)
        for place in dims:
            axis = x.order[place]
            if axis == 0:
                raise Refused("reduces the batch")
            if axis is None:
                x = x if keepdim else replace(x, order=x.order[:place] + x.order[place + 1 :])
                continue
            whole = _over_time(x, axis)
            spec = c.add(Reduce, x.spec, part=str(place), function=function, axis=axis)
            left = [a - 1 if a is not None and a > axis else a for a in x.order]
            left[place : place + 1] = [None] if keepdim else []
            x = Tensor(spec, tuple(left)) if whole else Tensor(spec, tuple(left)).keeping(x)
        if function in ("maximum", "minimum") and not isinstance(dim, (tuple, list)):
            return _Values((x,))
        return x

    return read


class _Values(tuple):  # type: ignore[type-arg]
    """What torch.max over an axis gives: the values, and indices, which are refused where they are read."""

    def __getitem__(self, index: Any) -> Any:
        if index not in (0, -2):
            raise Refused("gives indices, which are not supported")
        return super().__getitem__(0)


def values_of(c: Converter, value: Any, name: str, *default: Any) -> Any:
    return value[0] if isinstance(value, _Values) and name == "values" else attribute(c, value, name)


def first_of(reader: Callable[..., Any]) -> Callable[..., Any]:
    """torch.amax gives what torch.max gives, without indices."""

    def read(c: Converter, input: Any, dim: Any = (), keepdim: bool = False) -> Any:
        found = reader(c, input, dim, keepdim)
        return found[0] if isinstance(found, _Values) else found

    return read


# ---- layers as functions, and what makes tensors ----------------------------------------------------------------------


def linear(c: Converter, input: Any, weight: Any, bias: Any = None) -> Tensor:
    if not isinstance(weight, Const) or not isinstance(bias, (Const, type(None))) or weight.array.ndim != 2:
        raise Refused("has weights that are no constants")
    x = c.ending(_tensor(c, input), -1)
    kernel = np.ascontiguousarray(weight.array.T)
    return x.over(c.add(Dense, x.spec, kernel=kernel, bias=None if bias is None else bias.array))


def matmul(c: Converter, input: Any, other: Any) -> Tensor:
    if not isinstance(other, Const) or other.array.ndim != 2:
        raise Refused("multiplies by what is no constant matrix")
    x = c.ending(_tensor(c, input), -1)
    return x.over(c.add(Dense, x.spec, kernel=np.ascontiguousarray(other.array)))


def embedding(c: Converter, input: Any, weight: Any, padding_idx: Any = None, max_norm: Any = None, *rest: Any) -> Tensor:
    if not isinstance(weight, Const) or max_norm is not None:
        raise Refused("has a table that is no constant")
    x = c.tensor(input, ["batch", "time"] if c.batch_first else ["time", "batch"], is_ids=True)
    spec = c.add(Embedding, x.spec, table=weight.array, mask=x.mask)
    return replace(x, spec=spec, order=(*x.order, len(spec.shape) - 1))


def dropout(c: Converter, input: Any, p: float = 0.5, training: Any = True, inplace: bool = False) -> Any:
    """The trace is one in eval mode: who still says training=True drops out always."""
    if training and p:
        raise Refused("drops out in eval mode, too: it says training=True, or leaves it out")
    return input


def _filled(number: float) -> Callable[..., Filled]:
    return lambda c, *args, **kwargs: Filled(number)


def random(c: Converter, *args: Any, **kwargs: Any) -> Any:
    raise Refused("makes random numbers")


def pack_padded(
    c: Converter, input: Any, lengths: Any, batch_first: bool = False, enforce_sorted: bool = True
) -> Packed:
    x = _tensor(c, input)
    if x.rank != 3:
        raise Refused(f"packs {shown(x)}, not a sequence")
    spec = c.arrange(x, (0, 1, 2) if batch_first else (1, 0, 2))
    mask: TensorSpec = c.add(StepMask, spec, c.length_input(lengths), part="steps")
    return Packed(replace(Tensor.natural(spec), steps=x.steps), mask.name)


def pad_packed(
    c: Converter, sequence: Any, batch_first: bool = False, padding_value: float = 0.0, total_length: Any = None
) -> Any:
    if not isinstance(sequence, Packed):
        raise Refused("unpacks what pack_padded_sequence did not pack")
    if padding_value != 0:
        raise Refused(f"pads with {padding_value}; supported is 0")
    keeps = total_length == sequence.tensor.steps
    if total_length is not None and not keeps:
        raise Refused("has a total_length that is not the input's")
    if not keeps:
        c.note("sequences end at the input's last step, where PyTorch cuts them at the batch's longest row")
    steps = sequence.tensor.steps if keeps else steps_of(c.name)
    whole = replace(sequence.tensor, steps=steps, is_ragged=not keeps)
    return (whole if batch_first else whole.permuted((1, 0, 2))), Lengths()


def _tensor(c: Converter, value: Any) -> Tensor:
    return c.tensor(value)


def _flat(values: Any) -> list[Any]:
    """Arguments that are given one by one or as one tuple."""
    if len(values) == 1 and isinstance(values[0], (tuple, list)):
        return list(values[0])
    return list(values)


def shown(x: Tensor) -> str:
    return f"({', '.join(map(str, x.shape))})"


_BY_NAME: dict[str, Callable[..., Any]] = {
    **READERS,
    "transpose": transpose, "swapaxes": transpose, "permute": permute, "t": transposed, "unsqueeze": unsqueeze,
    "squeeze": squeeze, "flatten": flatten, "unflatten": unflatten, "reshape": reshape, "view": reshape, "cat": cat,
    "concat": cat, "stack": stack, "chunk": chunk, "split": split, "select": select, "narrow": narrow, "flip": flip,
    "expand": expand, "repeat": repeat, "size": size,
    "add": _binary("add"), "sub": _binary("subtract"), "subtract": _binary("subtract"), "mul": _binary("multiply"),
    "multiply": _binary("multiply"), "div": _binary("divide"), "divide": _binary("divide"),
    "true_divide": _binary("divide"), "maximum": _binary("maximum"), "minimum": _binary("minimum"), "pow": power,
    "mean": _reduce("mean"), "sum": _reduce("sum"), "max": _reduce("maximum"), "min": _reduce("minimum"),
    "amax": first_of(_reduce("maximum")), "amin": first_of(_reduce("minimum")), "matmul": matmul,
    "new_zeros": _filled(0.0), "zeros_like": _filled(0.0), "ones_like": _filled(1.0), "randn": random, "rand": random,
}  # fmt: skip

METHODS: dict[str, Callable[..., Any]] = {
    **_BY_NAME,
    **dict.fromkeys(
        ("contiguous", "detach", "clone", "float", "cpu", "cuda", "to", "type_as", "requires_grad_"), identity
    ),
    "long": whole_numbers, "int": whole_numbers,
    **{f"{name}_": _BY_NAME[name] for name in ("relu", "sigmoid", "tanh", "add", "mul", "sub", "div", "clamp")},
}  # fmt: skip

FUNCTIONS: dict[Any, Callable[..., Any]] = {
    **{getattr(space, name): reader for space in (functional, torch) for name, reader in _BY_NAME.items()
       if hasattr(space, name)},
    operator.getitem: getitem, builtins.getattr: values_of, operator.add: _binary("add"), operator.neg: READERS["neg"],
    operator.sub: _binary("subtract"), operator.mul: _binary("multiply"), operator.truediv: _binary("divide"),
    operator.pow: power, operator.matmul: matmul, builtins.abs: READERS["abs"], operator.iadd: _binary("add"),
    operator.imul: _binary("multiply"), functional.linear: linear, functional.embedding: embedding,
    functional.dropout: dropout, torch.dropout: dropout, torch.zeros: _filled(0.0), torch.ones: _filled(1.0),
    rnn.pack_padded_sequence: pack_padded, rnn.pad_packed_sequence: pad_packed,
    torch.fx._symbolic_trace._assert_is_none: lambda c, value, message: None,
}  # fmt: skip

#: what gives another view of a tensor's numbers, or the tensor itself
VIEWS = frozenset({transpose, permute, transposed, unsqueeze, squeeze, flatten, unflatten, reshape, chunk, split, select,
                   narrow, getitem, expand, identity, dropout, whole_numbers, values_of})  # fmt: skip
