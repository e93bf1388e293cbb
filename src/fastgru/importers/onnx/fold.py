"""Arithmetic on constants and sizes, done once when a file is read."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

import numpy as np

from ...errors import BadModelFile
from ..sizes import Dim, Size, declared, same
from .container import DTYPES
from .node import Node, Refusal
from .values import Constant, Counted, Unequal

#: the most numbers that folding may make of a constant
MOST = 1 << 26

Fold = Callable[[Node, list[np.ndarray]], np.ndarray]


def folded(node: Node) -> list[Constant] | None:
    """The outputs of a node all of whose inputs are constants; None where it is not known how to fold it."""
    given = [value for value in node.inputs if value is not None]
    if not given or not all(isinstance(value, Constant) for value in given):
        return None
    constants = [value for value in given if isinstance(value, Constant)]
    if any(isinstance(value, Counted) for value in constants):
        if node.op == "Cast":
            _cast(node, [np.zeros(1, np.int64)])
            return constants
        return None
    arrays = [constant.array for constant in constants]
    elementwise, fold = ELEMENTWISE.get(node.op), SHAPING.get(node.op)
    try:
        if node.op == "Cast":
            return [Constant(_sized(_cast(node, arrays)), constants[0].shape)]
        if elementwise is not None:
            shape = spread_shape([constant.shape for constant in constants])
            return [Constant(_run(node, elementwise, arrays), shape)]
        if fold is None or not all(constant.is_plain for constant in constants):
            return None
        return [Constant.of(array) for array in _run_shaping(node, fold, arrays)]
    except _Free:
        return None
    except (ValueError, TypeError, IndexError, ArithmeticError, MemoryError, RuntimeError) as error:
        raise Refusal(f"cannot be computed of constants: {error}") from error


def spread_shape(shapes: Sequence[tuple[Dim, ...]]) -> tuple[Dim, ...]:
    """The shape that several spread over together, as NumPy has it."""
    rank = max(map(len, shapes), default=0)
    result: list[Dim] = []
    for axis in range(-rank, 0):
        sizes = [shape[axis] for shape in shapes if len(shape) >= -axis]
        wide = [size for size in sizes if size != 1]
        other = next((size for size in wide if not same(size, wide[0])), None)
        if other is not None:
            raise Unequal(f"shapes {', '.join(map(str, shapes))} do not go together", wide[0], other)
        result.append(wide[0] if wide else 1)
    return tuple(result)


def _run(node: Node, function: Callable[..., Any], arrays: list[np.ndarray]) -> np.ndarray:
    wide = [array.astype(object) if any(a.dtype == object for a in arrays) else array for array in arrays]
    shape = np.broadcast_shapes(*(array.shape for array in wide))
    if np.prod(shape, dtype=float) > MOST:
        raise BadModelFile(f"node {node.name!r} makes a constant of shape {shape}")
    with np.errstate(all="ignore"):
        return _narrow(_sized(function(*wide)))


def _narrow(array: np.ndarray) -> np.ndarray:
    """Floats are float32 everywhere."""
    return array.astype(np.float32) if array.dtype.kind == "f" else array


def _run_shaping(node: Node, fold: Fold, arrays: list[np.ndarray]) -> list[np.ndarray]:
    result = fold(node, arrays)
    made = [_narrow(_sized(array)) for array in (result if isinstance(result, list) else [result])]
    if any(array.size > MOST for array in made):
        raise BadModelFile(f"node {node.name!r} makes a constant of shape {made[0].shape}")
    return made


def _sized(result: Any) -> np.ndarray:
    """Sizes that turned out to be numbers, as numbers."""
    array = np.asarray(result, object if isinstance(result, Size) else None)
    if array.dtype == object and not any(isinstance(item, Size) for item in array.reshape(-1)):
        return array.astype(np.int64)
    return array


def _divided(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """As ONNX divides: whole numbers towards zero."""
    if a.dtype == object or a.dtype.kind not in "iu":
        return a // b if a.dtype == object else a / b
    if not np.all(b):
        raise Refusal("divides by 0")
    return (np.abs(a) // np.abs(b) * np.sign(a) * np.sign(b)).astype(a.dtype)


def _equal(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    if a.dtype != object:
        return np.equal(a, b)
    return np.vectorize(same, otypes=[bool])(a, b)


def _compared(compare: Callable[..., Any]) -> Callable[..., Any]:
    def run(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.asarray(compare(a, b)).astype(bool)

    return run


def _chosen(choose: Callable[..., Any]) -> Callable[..., Any]:
    """The largest or smallest of any number of arrays."""

    def run(*arrays: np.ndarray) -> np.ndarray:
        return np.asarray(reduce(choose, arrays))

    return run


def _modulo(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    if not np.all(b):
        raise Refusal("divides by 0")
    return np.asarray(np.mod(a, b))


def _rounded(function: Callable[..., Any]) -> Callable[..., Any]:
    """Sizes are whole as they are."""
    return lambda x: x if x.dtype == object else np.asarray(function(x), x.dtype)


_erf = np.vectorize(math.erf, otypes=[np.float64])


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-x)), x.dtype)


def _where(condition: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.where(condition.astype(bool), a, b)


ELEMENTWISE: dict[str, Callable[..., Any]] = {
    "Abs": np.abs,
    "Add": lambda a, b: a + b,
    "And": _compared(np.logical_and),
    "Div": _divided,
    "Equal": _equal,
    "Exp": np.exp,
    "Ceil": _rounded(np.ceil),
    "Erf": _erf,
    "Floor": _rounded(np.floor),
    "Greater": _compared(np.greater),
    "GreaterOrEqual": _compared(np.greater_equal),
    "Identity": lambda x: x,
    "Less": _compared(np.less),
    "LessOrEqual": _compared(np.less_equal),
    "Log": np.log,
    "Max": _chosen(np.maximum),
    "Min": _chosen(np.minimum),
    "Mod": _modulo,
    "Mul": lambda a, b: a * b,
    "Neg": lambda x: -x,
    "Not": np.logical_not,
    "Or": _compared(np.logical_or),
    "Pow": lambda a, b: np.asarray(np.power(a, b)).astype(a.dtype),
    "Reciprocal": lambda x: 1 / x,
    "Round": _rounded(np.round),
    "Relu": lambda x: np.maximum(x, 0),
    "Sigmoid": _sigmoid,
    "Sign": np.sign,
    "Sqrt": np.sqrt,
    "Sub": lambda a, b: a - b,
    "Sum": lambda *arrays: sum(arrays[1:], arrays[0]),
    "Tanh": np.tanh,
    "Where": _where,
    "Xor": _compared(np.logical_xor),
}


def _axes(node: Node, arrays: list[np.ndarray], since: int = 13) -> tuple[int, ...] | None:
    if node.opset < since or len(node.inputs) < 2:
        return node.wholes("axes")  # type: ignore[no-any-return]
    return tuple(int(axis) for axis in arrays[1].reshape(-1)) if len(arrays) > 1 else None


def _cast(node: Node, arrays: list[np.ndarray]) -> np.ndarray:
    dtype = DTYPES.get(node.whole("to"), "")
    node.ignore("saturate", "round_mode")
    if arrays[0].dtype == object:
        if dtype not in ("int32", "int64", "float32", "float64", "float16"):
            raise Refusal(f"casts free sizes to {dtype}")
        return arrays[0]
    if dtype in ("float16", "bfloat16", "float64"):
        dtype = "float32"
    if not dtype:
        raise Refusal("casts to a dtype that is not known")
    return arrays[0].astype(dtype)


def _concat(node: Node, arrays: list[np.ndarray]) -> np.ndarray:
    return np.concatenate(arrays, axis=node.whole("axis", 1 if node.opset < 4 else None))


def _gather(node: Node, arrays: list[np.ndarray]) -> np.ndarray:
    return np.take(arrays[0], arrays[1].astype(np.int64), axis=node.whole("axis", 0))


def _reshape(node: Node, arrays: list[np.ndarray]) -> np.ndarray:
    array = arrays[0]
    target = list(node.wholes("shape") if node.opset < 5 else arrays[1].reshape(-1))
    if not node.flag("allowzero"):
        target = [array.shape[axis] if same(size, 0) else size for axis, size in enumerate(target)]
    known = [declared(size) for size in target]
    if None in known:
        raise Refusal("reshapes a constant to a free size")
    return array.reshape([size for size in known if size is not None])


def _slice(node: Node, arrays: list[np.ndarray]) -> np.ndarray:
    array = arrays[0]
    for axis, start, stop, step in slices(node, array.ndim):
        if any(isinstance(bound, Size) for bound in (start, stop, step)):
            raise Refusal("cuts a constant at a free size")
        array = array[(slice(None),) * axis + (slice(start, None if stop is None else stop, step),)]
    return array


def slices(node: Node, rank: int) -> list[tuple[int, Any, Any, int]]:
    """What a Slice takes: (axis, start, stop, step), with stop None where it goes over the end."""
    if node.opset < 10:
        starts, stops, axes = node.wholes("starts"), node.wholes("ends"), node.wholes("axes")
        steps = None
    else:
        starts, stops = node.whole_numbers(1, "starts"), node.whole_numbers(2, "ends")
        axes = node.whole_numbers(3, "axes") if node.input(3) is not None else None
        steps = node.whole_numbers(4, "steps") if node.input(4) is not None else None
    axes = list(range(len(starts))) if axes is None else list(axes)
    steps = [1] * len(starts) if steps is None else list(steps)
    if not len(starts) == len(stops) == len(axes) == len(steps):
        raise BadModelFile(f"node {node.name!r}: starts, ends, axes and steps should be as many")
    found = []
    for axis, start, stop, step in zip(axes, starts, stops, steps, strict=True):
        if not -rank <= axis < rank:
            raise BadModelFile(f"node {node.name!r}: axis {axis} is none of {rank}")
        if isinstance(stop, int) and step > 0 and stop >= 2**31 - 1:
            stop = None
        if isinstance(stop, int) and step < 0 and stop <= -(2**31) + 1:
            stop = None
        found.append((axis % rank, start, stop, int(step)))
    return found


def _squeeze(node: Node, arrays: list[np.ndarray]) -> np.ndarray:
    axes = _axes(node, arrays)
    return np.squeeze(arrays[0], axes)


def _transpose(node: Node, arrays: list[np.ndarray]) -> np.ndarray:
    return np.transpose(arrays[0], node.wholes("perm"))


def _unsqueeze(node: Node, arrays: list[np.ndarray]) -> np.ndarray:
    axes = _axes(node, arrays)
    if axes is None:
        raise BadModelFile(f"node {node.name!r} lacks its axes")
    return np.expand_dims(arrays[0], axes)


def _split(node: Node, arrays: list[np.ndarray]) -> list[np.ndarray]:
    axis = node.whole("axis", 0)
    size = arrays[0].shape[axis]
    given = list(arrays[1].reshape(-1)) if len(arrays) > 1 else None
    sizes = split_sizes(node, size, given)
    return list(np.split(arrays[0], np.cumsum(sizes)[:-1], axis))


def split_sizes(node: Node, size: Any, given: Sequence[Any] | None) -> list[Any]:
    """How many entries each output of a Split takes of an axis of a known size; `given` is its second input."""
    said = node.wholes("split") if node.opset < 13 and given is None else given
    count = node.whole("num_outputs", len(node.outputs))
    if not isinstance(size, int):
        raise Refusal(f"splits an axis of free size {size}")
    if count != len(node.outputs):
        raise Refusal(f"makes {count} outputs (num_outputs), names {len(node.outputs)}")
    if said is None:
        each = -(-size // count)
        said = [min(each, size - each * index) for index in range(count)]
    elif len(said) != count:
        raise Refusal(f"makes {len(said)} outputs (split), names {count}")
    if any(not isinstance(one, (int, np.integer)) or one < 0 for one in said) or sum(said) != size:
        raise Refusal(f"splits {size} entries into {', '.join(map(str, said))}")
    return [int(one) for one in said]


def _reduced(function: Callable[..., Any], since: int) -> Fold:
    def run(node: Node, arrays: list[np.ndarray]) -> np.ndarray:
        axes = _axes(node, arrays, since)
        keep = node.flag("keepdims", True)
        if not axes:
            axes = None
            if node.flag("noop_with_empty_axes"):
                return arrays[0]
        node.ignore("noop_with_empty_axes")
        return np.asarray(function(arrays[0], axis=axes, keepdims=keep), arrays[0].dtype)

    return run


def _expand(node: Node, arrays: list[np.ndarray]) -> np.ndarray:
    shape = np.broadcast_shapes(arrays[0].shape, tuple(_counts(arrays[1])))
    _check_size(shape)
    return np.broadcast_to(arrays[0], shape)


def _tile(node: Node, arrays: list[np.ndarray]) -> np.ndarray:
    counts = _counts(arrays[1])
    _check_size([size * count for size, count in zip(arrays[0].shape, counts, strict=True)])
    return np.tile(arrays[0], counts)


def _range(node: Node, arrays: list[np.ndarray]) -> np.ndarray:
    start, stop, step = (array.reshape(()).item() for array in arrays)
    if any(isinstance(bound, Size) for bound in (start, stop, step)):
        raise _Free
    if not step:
        raise Refusal("counts by 0")
    _check_size([max(math.ceil((stop - start) / step), 0)])
    return np.arange(start, stop, step).astype(arrays[0].dtype)


def _flatten(node: Node, arrays: list[np.ndarray]) -> np.ndarray:
    axis = node.whole("axis", 1) % (arrays[0].ndim + 1)
    return arrays[0].reshape(math.prod(arrays[0].shape[:axis]), -1)


def _matmul(node: Node, arrays: list[np.ndarray]) -> np.ndarray:
    a, b = (array.astype(np.float64) if array.dtype.kind == "f" else array for array in arrays)
    _check_size([*np.broadcast_shapes(a.shape[:-2], b.shape[:-2]), *a.shape[-2:-1], *b.shape[-1:]])
    return np.asarray(a @ b)


class _Free(Exception):
    """What would be made has a free size: the operator's reader keeps a shape beside the numbers."""


def _counts(array: np.ndarray) -> list[int]:
    counts = list(array.reshape(-1))
    if any(isinstance(count, Size) for count in counts):
        raise _Free
    return [int(count) for count in counts]


def _check_size(shape: Sequence[int]) -> None:
    if math.prod(shape) > MOST:
        raise Refusal(f"makes a constant of shape {tuple(shape)}")


SHAPING: dict[str, Fold] = {
    "Concat": _concat,
    "Expand": _expand,
    "Flatten": _flatten,
    "Gather": _gather,
    "MatMul": _matmul,
    "Range": _range,
    "ReduceMax": _reduced(np.max, 18),
    "ReduceMean": _reduced(np.mean, 18),
    "ReduceMin": _reduced(np.min, 18),
    "ReduceProd": _reduced(np.prod, 18),
    "ReduceSum": _reduced(np.sum, 13),
    "Reshape": _reshape,
    "Slice": _slice,
    "Split": _split,  # type: ignore[dict-item]
    "Squeeze": _squeeze,
    "Tile": _tile,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
