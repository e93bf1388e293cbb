"""Products with constant matrices, as Dense layers, and of two values."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ....graph import Dense, MatMul, TensorSpec
from ...sizes import same
from ..arrange import arranged, as_sequence, features_last, resized, rows, shape_of, unflipped
from ..node import Node, Refusal
from ..values import Constant, Tensor, Value
from .elementwise import as_numbers, combined
from .reductions import reduced
from .table import reads


def dense(node: Node, x: Tensor, kernel: np.ndarray, bias: np.ndarray | None, axis: int = -1) -> Tensor:
    """x · kernel along an ONNX axis."""
    if kernel.dtype.kind != "f":
        raise Refusal(f"multiplies by a matrix of {kernel.dtype}")
    axis %= x.rank
    view = features_last(node.network, node.name, x, axis)
    if view.spec.inner[-1] != kernel.shape[0]:
        raise Refusal(f"multiplies {view.spec.inner[-1]} features by a matrix {kernel.shape}")
    spec = node.network.build.add(
        Dense, node.name, view.spec, kernel=np.ascontiguousarray(kernel, np.float32), bias=bias
    )
    return resized(view, axis, spec, len(spec.shape) - 1)


@reads("MatMul", note="with a constant matrix, or of two values over their steps")
def matmul(node: Node) -> Value:
    a, b = node.needed(0), node.needed(1)
    if isinstance(a, Tensor) and isinstance(b, Constant):
        a, kernel = as_numbers(a), node.numbers_of(1, "matrix")
        if kernel.ndim == 1 and a.rank:
            y = dense(node, a, kernel[:, None], None)
            return replace(y, sizes=y.sizes[:-1], axes=y.axes[:-1])
        if any(size != 1 for size in kernel.shape[:-2]) or kernel.ndim > max(a.rank, 2):
            raise Refusal(f"multiplies by several matrices {kernel.shape}")
        return dense(node, a, kernel.reshape(kernel.shape[-2:]), None)
    if isinstance(a, Constant) and isinstance(b, Tensor):
        kernel = node.numbers_of(0, "matrix")
        if any(size != 1 for size in kernel.shape[:-2]) or not 2 <= kernel.ndim <= max(b.rank, 2) or b.rank < 2:
            raise Refusal(f"multiplies matrices {kernel.shape} by a value")
        return dense(node, as_numbers(b), kernel.reshape(kernel.shape[-2:]).T, None, axis=-2)
    if not isinstance(a, Tensor) or not isinstance(b, Tensor):
        return _folded(a, b)
    return product_of(node, as_numbers(a), as_numbers(b))


def _folded(a: Value, b: Value) -> Constant:
    """The product of a constant whose rows are alike, of which a free size says how many, and a matrix."""
    if not isinstance(a, Constant) or not isinstance(b, Constant) or not b.is_plain or b.array.ndim != 2:
        raise Refusal("multiplies constants of free size")
    if not a.shape or a.shape[-1] != b.shape[0] or a.array.dtype == object:
        raise Refusal(f"multiplies a constant {a.shape} by one of {b.shape}")
    rows = np.broadcast_to(a.array, (*a.array.shape[:-1], b.array.shape[0]))
    return Constant(rows @ b.array, (*a.shape[:-1], b.shape[1]))


def product_of(node: Node, a: Tensor, b: Tensor) -> Tensor:
    """Of two values (batch, n, k) and (batch, k, m)."""
    net = node.network
    if not a.rank == b.rank == 3 or a.axes[0] != b.axes[0] or set(a.axes[0]) - {0}:
        raise Refusal(f"multiplies two values {shape_of(net, a)} and {shape_of(net, b)}, not (batch, steps, features)")
    if not same(shape_of(net, a)[2], shape_of(net, b)[1]):
        raise Refusal(f"multiplies values {shape_of(net, a)} and {shape_of(net, b)}")
    a, b = unflipped(net, node.name, a), unflipped(net, node.name, b)
    if a.spec.is_sequence and a.axes[2] == (1,) and b.spec.is_sequence and b.axes[1] == (1,):
        return _summed_over_time(node, a, b)
    if a.spec.is_sequence and a.axes[2] == (1,):
        a = rows(net, a, node.name)
    a = as_sequence(net, node.name, a, 1)
    a = arranged(net, node.name, a, [a.axes[2]])
    transposed = b.spec.is_sequence and b.axes[2] == (1,)
    b = b if transposed else as_sequence(net, node.name, b, 1)
    b = arranged(net, node.name, b, [b.axes[1 if transposed else 2]])
    spec: TensorSpec = net.build.add(MatMul, node.name, a.spec, b.spec, transpose_b=transposed)
    return replace(a, spec=spec, sizes=(spec.inner[-1],), axes=(a.axes[0], (1,), (2,)))


def _summed_over_time(node: Node, a: Tensor, b: Tensor) -> Tensor:
    """The sum of a's features, as a column, times b's, as a row, of each step."""
    a = replace(a, axes=(a.axes[0], (1,), a.axes[1], ()))  # (batch, k, n, 1)
    b = replace(b, axes=(b.axes[0], (1,), (), b.axes[2]))  # (batch, k, 1, m)
    return reduced(node, combined(node, "multiply", [a, b]), "sum", [1], keep=False)


@reads("Gemm", note="with a constant matrix")
def gemm(node: Node) -> Value:
    alpha, beta = node.number("alpha", 1.0), node.number("beta", 1.0)
    first = node.needed(0)
    trans_a, trans_b = node.flag("transA"), node.flag("transB")
    node.ignore("broadcast")
    if isinstance(first, Constant):
        raise Refusal("multiplies a constant by a value")
    x = as_numbers(node.runtime(0))
    if x.rank != 2:
        raise Refusal(f"multiplies a value of {x.rank} axes")
    kernel = node.numbers_of(1, "matrix")
    if kernel.ndim != 2:
        raise Refusal(f"multiplies by {kernel.shape}")
    kernel = kernel.T if trans_b else kernel
    x = x.permuted((1, 0)) if trans_a else x
    bias = node.numbers_of(2, "bias") if node.input(2) is not None else None
    if bias is not None:
        if bias.size not in (1, kernel.shape[1]) or (bias.ndim and bias.shape[-1] != bias.size):
            raise Refusal(f"adds a bias {bias.shape} to {kernel.shape[1]} units")
        bias = np.broadcast_to(bias.reshape(-1) * np.float32(beta), kernel.shape[1]).astype(np.float32)
    return dense(node, x, kernel * np.float32(alpha), bias)
