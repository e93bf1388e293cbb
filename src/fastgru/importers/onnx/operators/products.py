"""Products with constant matrices, as Dense layers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ....graph import Dense
from ..arrange import features_last
from ..node import Node, Refusal
from ..values import Constant, Tensor, Value
from .table import reads


def dense(node: Node, x: Tensor, kernel: np.ndarray, bias: np.ndarray | None, axis: int = -1) -> Tensor:
    """x · kernel along an ONNX axis."""
    axis %= x.rank
    view = features_last(node.network, node.name, x, axis)
    if view.spec.inner[-1] != kernel.shape[0]:
        raise Refusal(f"multiplies {view.spec.inner[-1]} features by a matrix {kernel.shape}")
    spec = node.network.build.add(
        Dense, node.name, view.spec, kernel=np.ascontiguousarray(kernel, np.float32), bias=bias
    )
    gone = len(view.axes[axis])  # parts of the axis, the last of all
    first = view.lead + len(view.sizes) - gone
    axes = (*view.axes[:axis], (first,), *view.axes[axis + 1 :])
    return replace(view, spec=spec, sizes=(*view.sizes[: len(view.sizes) - gone], kernel.shape[1]), axes=axes)


@reads("MatMul", note="with a constant matrix")
def matmul(node: Node) -> Value:
    a, b = node.needed(0), node.needed(1)
    if isinstance(a, Tensor) and isinstance(b, Constant):
        kernel = node.constant(1, "matrix")
        if kernel.ndim == 1:
            raise Refusal("multiplies by a vector")
        if any(size != 1 for size in kernel.shape[:-2]) or kernel.ndim > max(a.rank, 2):
            raise Refusal(f"multiplies by several matrices {kernel.shape}")
        return dense(node, a, kernel.reshape(kernel.shape[-2:]), None)
    raise Refusal("multiplies two values" if isinstance(b, Tensor) else "multiplies a matrix by a value")


@reads("Gemm", note="with a constant matrix")
def gemm(node: Node) -> Value:
    alpha, beta = node.number("alpha", 1.0), node.number("beta", 1.0)
    if node.flag("transA"):
        raise Refusal("transposes its value (transA)")
    kernel = node.constant(1, "matrix")
    kernel = kernel.T if node.flag("transB") else kernel
    node.ignore("broadcast")
    bias = node.constant(2, "bias") if node.input(2) is not None else None
    if bias is not None:
        if bias.size not in (1, kernel.shape[1]):
            raise Refusal(f"adds a bias {bias.shape} to {kernel.shape[1]} units")
        bias = np.broadcast_to(bias.reshape(-1) * np.float32(beta), kernel.shape[1]).astype(np.float32)
    return dense(node, node.runtime(0), kernel * np.float32(alpha), bias)
