"""The arrays of a GRU as Keras 1 and CuDNNGRU store them, in the canonical form of `fastgru.graph`."""

from __future__ import annotations

import numpy as np

from ...graph import Array
from .weights import Weights

GATES = 3


def of_keras1(weights: Weights, features: int, units: int) -> dict[str, Array | None]:
    """Keras 1: W (features, units), U (units, units) and b (units,) for each gate, in the order z, r, h."""
    shapes = {"W": (features, units), "U": (units, units), "b": (units,)}
    taken = weights.take(**{f"{key}_{gate}": shape for gate in "zrh" for key, shape in shapes.items()})
    arrays = [array for array in taken if array is not None]
    kernel, recurrent_kernel, bias = [np.concatenate(arrays[first::3], axis=-1) for first in range(3)]
    return {"kernel": kernel, "recurrent_kernel": recurrent_kernel, "bias": bias, "recurrent_bias": None}


def of_cudnn(weights: Weights, features: int, units: int) -> dict[str, Array | None]:
    """Keras 2's CuDNNGRU: gates in the order z, r, h, each gate's kernel as the transposed matrix that cuDNN wants.

    The shapes in the file are those of a GRU all the same: the numbers of a gate's (units, features) kernel are written
    out row by row and read back as (features, units), which for the square recurrent kernel is its transpose. Bias is
    (6 · units,): that of the input, then that of the recurrence.
    """
    kernel, recurrent_kernel, bias = weights.take(
        kernel=(features, GATES * units), recurrent_kernel=(units, GATES * units), bias=(2 * GATES * units,)
    )
    assert kernel is not None
    assert recurrent_kernel is not None
    assert bias is not None
    input_bias, recurrent_bias = np.split(bias, 2)
    return {
        "kernel": _plain(kernel), "recurrent_kernel": _plain(recurrent_kernel), "bias": input_bias,
        "recurrent_bias": recurrent_bias,
    }  # fmt: skip


def _plain(kernels: Array) -> Array:
    """Undo cuDNN's layout of each gate's (size, units) kernel."""
    gates = np.split(kernels, GATES, axis=1)
    return np.concatenate([gate.reshape(gate.shape[::-1]).T for gate in gates], axis=1)
