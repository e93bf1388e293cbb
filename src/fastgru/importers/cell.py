"""The weights of a GRU in one direction, out of what each framework keeps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..layers.base import SIGMOID, TANH, Activation, Array


@dataclass(frozen=True, eq=False)
class Cell:
    """A GRU's weights in the canonical form (`fastgru.graph`): the gates z, r, n side by side.

    What is made `of` a framework's arrays has the usual activations.

    Attributes
    ----------
    kernel, recurrent_kernel : array
        (input_size, 3 · units) and (units, 3 · units).
    bias, recurrent_bias : array or None
        (3 · units,).
    reset_after : bool
    activation, recurrent_activation : Activation
    """

    kernel: Array
    recurrent_kernel: Array
    bias: Array | None = None
    recurrent_bias: Array | None = None
    reset_after: bool = True
    activation: Activation = TANH
    recurrent_activation: Activation = SIGMOID

    @property
    def input_size(self) -> int:
        return int(self.kernel.shape[0])

    @property
    def units(self) -> int:
        return int(self.recurrent_kernel.shape[0])

    @property
    def attributes(self) -> dict[str, Any]:
        """Those of the layer `graph.GRU` that computes it."""
        return {
            "units": self.units, "kernel": self.kernel, "recurrent_kernel": self.recurrent_kernel, "bias": self.bias,
            "recurrent_bias": self.recurrent_bias, "reset_after": self.reset_after, "activation": self.activation,
            "recurrent_activation": self.recurrent_activation,
        }  # fmt: skip

    @classmethod
    def of_torch(
        cls, weight_ih: Array, weight_hh: Array, bias_ih: Array | None = None, bias_hh: Array | None = None
    ) -> Cell:
        """PyTorch keeps gates as rows, in the order r, z, n; always the variant that resets after the product."""
        order = (1, 0, 2)
        bias, recurrent_bias = (None if bias is None else _columns(bias, order) for bias in (bias_ih, bias_hh))
        return cls(_columns(weight_ih, order), _columns(weight_hh, order), bias, recurrent_bias)

    @classmethod
    def of_onnx(cls, W: Array, R: Array, B: Array | None, reset_after: bool) -> Cell:
        """ONNX keeps, for each direction, gates as rows in our order z, r, h, and both biases end to end in B."""
        bias, recurrent_bias = (None, None) if B is None else np.split(B, 2)
        return cls(_columns(W), _columns(R), bias, recurrent_bias, reset_after)

    @classmethod
    def of_keras(cls, kernel: Array, recurrent_kernel: Array, bias: Array | None = None, *, reset_after: bool) -> Cell:
        """Keras' form is ours, but for both biases in one array (2, 3 · units) where the reset comes after."""
        both = bias if bias is not None and reset_after else (bias, None)
        return cls(kernel, recurrent_kernel, both[0], both[1], reset_after)

    @classmethod
    def of_keras_cudnn(cls, kernel: Array, recurrent_kernel: Array, bias: Array) -> Cell:
        """Keras 2's CuDNNGRU: gates in the order z, r, h, each gate's kernel the transposed matrix that cuDNN wants.

        The shapes are those of a GRU all the same: the numbers of a gate's (units, features) kernel are written out row
        by row and read back as (features, units), which for the square recurrent kernel is its transpose. `bias` is
        (6 · units,): that of the input, then that of the recurrence.
        """

        def plain(kernels: Array) -> Array:
            return np.hstack([gate.reshape(gate.shape[::-1]).T for gate in np.split(kernels, 3, axis=1)])

        bias, recurrent_bias = np.split(bias, 2)
        return cls(plain(kernel), plain(recurrent_kernel), bias, recurrent_bias)

    @classmethod
    def of_tf1(cls, gates: Array, candidate: Array, gates_bias: Array, candidate_bias: Array) -> Cell:
        """GRUCell of TensorFlow 1: kernels (input_size + units, …), x before h; gates in the order r, u.

        h' = u·h + (1 − u)·c, so u is our z.
        """
        units = candidate.shape[1]
        kernel = np.hstack([_swapped(gates), candidate])
        bias = np.hstack([_swapped(gates_bias), candidate_bias])
        return cls(kernel[:-units], kernel[-units:], bias, reset_after=False)

    @classmethod
    def of_tf1_cudnn(
        cls, gates: Array, gates_bias: Array, kernel: Array, bias: Array, recurrent_kernel: Array,
        recurrent_bias: Array,
    ) -> Cell:  # fmt: skip
        """CudnnCompatibleGRUCell of TensorFlow 1: as GRUCell, but for the candidate's kernels and biases.

        They stand apart: c = tanh(x · kernel + bias + r · (h · recurrent_kernel + recurrent_bias)).
        """
        gates, gates_bias = _swapped(gates), _swapped(gates_bias)
        return cls(
            np.hstack([gates[: len(kernel)], kernel]),
            np.hstack([gates[len(kernel) :], recurrent_kernel]),
            np.hstack([gates_bias, bias]),
            np.hstack([np.zeros_like(gates_bias), recurrent_bias]),
        )


def _columns(rows: Array, order: tuple[int, ...] = (0, 1, 2)) -> Array:
    """Gates stacked as rows → the gates in `order` as columns."""
    gates = rows.reshape(3, -1, *rows.shape[1:])[list(order)]
    return np.ascontiguousarray(gates.reshape(rows.shape).T)


def _swapped(gates: Array) -> Array:
    """r, u → u, r: the halves of the last axis."""
    return np.roll(gates, gates.shape[-1] // 2, axis=-1)
