"""Operators that move numbers and compute nothing: most only change the view."""

from __future__ import annotations

from collections.abc import Sequence

from ...sizes import Dim, as_declared, product, same
from ..arrange import reshaped, shape_of, squeezed, unsqueezed
from ..container import DTYPES
from ..node import Node, Refusal, axis_in
from ..values import Constant, Counted, Tensor, Value
from .table import reads


def uniform(x: Constant, shape: Sequence[Dim]) -> Constant:
    """One number over a shape that is free."""
    if x.array.size != 1:
        raise Refusal("moves a constant of free size")
    return Constant(x.array.reshape((1,) * len(shape)), tuple(shape))


@reads("Transpose")
def transpose(node: Node) -> Value:
    x = node.needed(0)
    rank = x.rank if isinstance(x, Tensor) else len(x.shape)  # type: ignore[union-attr]
    order = tuple(axis_in(axis, rank) for axis in node.wholes("perm", tuple(range(rank))[::-1]))
    if sorted(order) != list(range(rank)):
        raise Refusal(f"perm {order} is no order of {rank} axes")
    if isinstance(x, Constant):
        return uniform(x, [x.shape[axis] for axis in order])
    return node.runtime(0).permuted(order)


@reads("Squeeze")
def squeeze(node: Node) -> Value:
    x, axes = node.needed(0), node.axes("axes", 1, since=13)
    if isinstance(x, Constant):
        rank = len(x.shape)
        ones = {axis for axis, size in enumerate(x.shape) if same(size, 1)}
        gone = {axis_in(axis, rank) for axis in axes} if axes is not None else ones
        if gone - ones:
            raise Refusal(f"cannot drop axes {sorted(gone)} of {x.shape}")
        return uniform(x, [size for axis, size in enumerate(x.shape) if axis not in gone])
    return squeezed(node.network, node.runtime(0), axes)


@reads("Unsqueeze")
def unsqueeze(node: Node) -> Value:
    x, axes = node.needed(0), node.axes("axes", 1, since=13)
    if axes is None:
        raise Refusal("lacks its axes")
    if isinstance(x, Constant):
        shape = list(x.shape)
        for axis in sorted(axis_in(axis, len(shape) + len(axes)) for axis in axes):
            shape.insert(axis, 1)
        return x.reshaped(shape) if isinstance(x, Counted) else uniform(x, shape)
    return unsqueezed(node.runtime(0), axes)


@reads("Reshape")
def reshape(node: Node) -> Value:
    x = node.needed(0)
    target: list[Dim] = list(node.wholes("shape", ())) if node.opset < 5 else node.whole_numbers(1, "shape")
    node.ignore("consumed_inputs")
    copies = not node.flag("allowzero")
    shape = shape_of(node.network, x) if isinstance(x, Tensor) else x.shape  # type: ignore[union-attr]
    target = [_copied(shape, axis) if same(size, 0) and copies else size for axis, size in enumerate(target)]
    target = resolved(shape, target)
    if isinstance(x, Counted):
        return x.reshaped(target)
    if isinstance(x, Constant):
        if not same(product(x.shape), product(target)):
            raise Refusal(f"cannot see {x.shape} as {tuple(target)}")
        return uniform(x, target)
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
    total, known = product(shape), product(size for size in target if size != -1)
    try:
        rest = total // known
    except ValueError:
        try:
            rest = as_declared(total) // as_declared(known)
        except ValueError as error:
            raise Refusal(str(error)) from None
    except ZeroDivisionError:
        raise Refusal(f"target {target} does not go into {shape}") from None
    if len(free) > 1 or not same(rest * known, total):
        raise Refusal(f"target {target} does not go into {shape}")
    target[free[0]] = rest
    return target


@reads("Flatten")
def flatten(node: Node) -> Value:
    x = node.runtime(0)
    axis = node.whole("axis", 1)
    axis = axis if axis == x.rank else axis_in(axis, x.rank)
    shape = shape_of(node.network, x)
    return reshaped(node.network, x, [product(shape[:axis]), product(shape[axis:])])


@reads("Cast", note="between floats, of ids, of masks")
def cast(node: Node) -> Value:
    x = node.runtime(0)
    dtype = DTYPES.get(node.whole("to", 0), "a dtype that is not known")
    node.ignore("saturate", "round_mode")
    return casted(x, dtype)


@reads("CastLike", note="as Cast")
def cast_like(node: Node) -> Value:
    x, like = node.needed(0), node.needed(1)
    node.ignore("saturate", "round_mode")
    dtype = like.spec.dtype if isinstance(like, Tensor) else str(like.array.dtype)  # type: ignore[union-attr]
    dtype = "int64" if dtype == "object" else dtype
    if isinstance(x, Tensor):
        return casted(x, dtype)
    assert isinstance(x, Constant)
    return Constant(x.array if x.array.dtype == object else x.array.astype(dtype), x.shape)


def casted(x: Tensor, dtype: str) -> Tensor:
    kind = "float" if "float" in dtype else "int" if "int" in dtype else dtype
    if x.is_mask or kind == {"float32": "float", "int32": "int"}[x.spec.dtype]:
        return x
    raise Refusal(f"casts {x.spec.dtype} to {dtype}")
