"""Layers that work on each step by itself."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from .base import LINEAR, Activation, Array, Layer, TensorSpec, Weights, activated, common_steps, tensor_spec


@dataclass(frozen=True, eq=False, kw_only=True)
class Identity(Layer):
    """Passes its input on: Dropout and its kin at inference. Removed by `passes.drop_identities`."""

    kind: ClassVar[str] = "Identity"

    def infer(self, specs: Mapping[str, TensorSpec]) -> tuple[TensorSpec, ...]:
        return (dataclasses.replace(specs[self.inputs[0]], name=self.name),)


@dataclass(frozen=True, eq=False, kw_only=True)
class Dense(Layer):
    """activation(x · kernel + bias) on the last axis: (…, input_size) → (…, units)."""

    kernel: Weights
    bias: Array | None = None
    activation: Activation = LINEAR

    kind: ClassVar[str] = "Dense"
    tensor_fields: ClassVar[tuple[str, ...]] = ("kernel", "bias")
    scale_axes: ClassVar[Mapping[str, Literal[-1, 0]]] = {"kernel": -1}

    def infer(self, specs: Mapping[str, TensorSpec]) -> tuple[TensorSpec, ...]:
        spec = self._source(specs)
        if not spec.inner:
            raise self._fail(f"needs a features axis, but {spec.name!r} is {spec.shape}")
        if self.kernel.ndim != 2 or 0 in self.kernel.shape:
            raise self._fail(f"kernel should be (input_size, units), has shape {tuple(self.kernel.shape)}")
        units = self.kernel.shape[1]
        self._check("kernel", spec.inner[-1], units)
        self._check("bias", units)
        return (
            activated(
                self, dataclasses.replace(spec, name=self.name, shape=(*spec.shape[:-1], units)), self.activation
            ),
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class Activate(Layer):
    """Applies an activation; row-wise ones along the last axis."""

    activation: Activation

    kind: ClassVar[str] = "Activate"

    def infer(self, specs: Mapping[str, TensorSpec]) -> tuple[TensorSpec, ...]:
        spec = self._source(specs)
        if not spec.inner:
            raise self._fail(f"needs a features axis, but {spec.name!r} is {spec.shape}")
        return (activated(self, dataclasses.replace(spec, name=self.name), self.activation),)


@dataclass(frozen=True, eq=False, kw_only=True)
class Scale(Layer):
    """x · scale + offset: BatchNormalization at inference, Normalization, Rescaling. Either tensor may be absent.

    Their shapes spread over the value's (time, …) as NumPy's do, from the last axis on; a time axis among them needs a
    known number of steps.
    """

    scale: Array | None = None
    offset: Array | None = None

    kind: ClassVar[str] = "Scale"
    tensor_fields: ClassVar[tuple[str, ...]] = ("scale", "offset")

    def infer(self, specs: Mapping[str, TensorSpec]) -> tuple[TensorSpec, ...]:
        spec = self._source(specs)
        check_spreads(self, "scale", spec)
        check_spreads(self, "offset", spec)
        return (dataclasses.replace(spec, name=self.name),)

    def has_own_steps(self, specs: Mapping[str, TensorSpec]) -> bool:
        """Whether the steps of the value differ in their numbers."""
        return has_own_steps(specs[self.inputs[0]], self.scale, self.offset)


@dataclass(frozen=True, eq=False, kw_only=True)
class PReLU(Layer):
    """max(x, 0) + alpha · min(x, 0); alpha spreads as the tensors of `Scale`."""

    alpha: Array

    kind: ClassVar[str] = "PReLU"
    tensor_fields: ClassVar[tuple[str, ...]] = ("alpha",)

    def infer(self, specs: Mapping[str, TensorSpec]) -> tuple[TensorSpec, ...]:
        spec = self._source(specs)
        check_spreads(self, "alpha", spec)
        return (dataclasses.replace(spec, name=self.name),)

    def has_own_steps(self, specs: Mapping[str, TensorSpec]) -> bool:
        """Whether the steps of the value differ in their numbers."""
        return has_own_steps(specs[self.inputs[0]], self.alpha)


@dataclass(frozen=True, eq=False, kw_only=True)
class Normalize(Layer):
    """Normalizes over the last `axes` axes of a step (Ba, Kiros & Hinton 2016), with means over them::

        layer  (x − mean(x)) / √(mean((x − mean(x))²) + epsilon) · scale + offset
        rms    x / √(mean(x²) + epsilon) · scale + offset
        unit   x / √(max(sum(x²), epsilon))

    `scale` and `offset`, if any, have the sizes of those axes.
    """

    function: str
    epsilon: float
    axes: int = 1
    scale: Array | None = None
    offset: Array | None = None

    kind: ClassVar[str] = "Normalize"
    tensor_fields: ClassVar[tuple[str, ...]] = ("scale", "offset")
    FUNCTIONS: ClassVar[tuple[str, ...]] = ("layer", "rms", "unit")

    def infer(self, specs: Mapping[str, TensorSpec]) -> tuple[TensorSpec, ...]:
        spec = self._source(specs)
        if self.function not in self.FUNCTIONS:
            raise self._fail(f"function should be one of {', '.join(self.FUNCTIONS)}, is {self.function!r}")
        if not 1 <= self.axes <= len(spec.inner):
            raise self._fail(f"cannot normalize over {self.axes} axes of a step of {spec.name!r} {spec.shape}")
        if not self.epsilon >= 0:
            raise self._fail(f"epsilon should not be negative, is {self.epsilon}")
        self._check("scale", *spec.inner[-self.axes :])
        self._check("offset", *spec.inner[-self.axes :])
        return (dataclasses.replace(spec, name=self.name),)


@dataclass(frozen=True, eq=False, kw_only=True)
class Combine(Layer):
    """Elementwise `operation` of two or more values, from the first to the last.

    Axes of size 1 spread over the others', and a value without time over the steps of the sequences; else the sizes are
    equal. It defines no mask.
    """

    operation: str

    kind: ClassVar[str] = "Combine"
    arity: ClassVar[tuple[int, int | None]] = (2, None)
    OPERATIONS: ClassVar[tuple[str, ...]] = (
        "add", "subtract", "multiply", "divide", "average", "maximum", "minimum",
    )  # fmt: skip

    def infer(self, specs: Mapping[str, TensorSpec]) -> tuple[TensorSpec, ...]:
        parts = [self._source(specs, index) for index in range(len(self.inputs))]
        if self.operation not in self.OPERATIONS:
            raise self._fail(f"operation should be one of {', '.join(self.OPERATIONS)}, is {self.operation!r}")
        try:
            if len({len(spec.inner) for spec in parts}) > 1:
                raise ValueError
            inner = np.broadcast_shapes(*(spec.inner for spec in parts))
        except ValueError:
            shown = ", ".join(f"{spec.name!r} {spec.shape}" for spec in parts)
            raise self._fail(f"values of these shapes do not go together: {shown}") from None
        if not any(spec.is_sequence for spec in parts):
            return (tensor_spec(self.name, False, inner),)
        spread = zip(parts, self.one_step(specs), strict=True)
        steps = [spec.shape[1] for spec, is_spread in spread if spec.is_sequence and not is_spread]
        return (tensor_spec(self.name, common_steps(self, steps), inner),)

    def one_step(self, specs: Mapping[str, TensorSpec]) -> tuple[bool, ...]:
        """Whether each value is a sequence of one step that spreads over the steps of another."""
        parts = [specs[name] for name in self.inputs]
        single = tuple(spec.is_sequence and spec.shape[1] == 1 for spec in parts)
        several = any(spec.is_sequence and spec.shape[1] != 1 for spec in parts)
        return tuple(several and is_single for is_single in single)


@dataclass(frozen=True, eq=False, kw_only=True)
class Where(Layer):
    """The steps of a sequence where `mask` is true, elsewhere those of another one or `value`.

    ``inputs`` is (x,) or (x, other), of one shape. It defines no mask.
    """

    mask: str
    value: float = 0.0

    kind: ClassVar[str] = "Where"
    arity: ClassVar[tuple[int, int | None]] = (1, 2)

    def infer(self, specs: Mapping[str, TensorSpec]) -> tuple[TensorSpec, ...]:
        spec = self._sequence(specs)
        other = self._source(specs, len(self.inputs) - 1)
        if not other.is_sequence or spec.inner != other.inner:
            raise self._fail(f"{spec.name!r} {spec.shape} and {other.name!r} {other.shape} should have one shape")
        if not math.isfinite(self.value):
            raise self._fail(f"value should be finite, is {self.value}")
        return (tensor_spec(self.name, common_steps(self, [spec.shape[1], other.shape[1]]), spec.inner),)


def check_spreads(layer: Layer, key: str, spec: TensorSpec) -> None:
    """A tensor's shape must spread over a value's without enlarging it."""
    value = getattr(layer, key)
    if value is None:
        return
    whole = spec.shape[1:]
    extra = len(whole) - value.ndim
    sizes = zip(value.shape, whole[max(extra, 0) :], strict=False)
    if extra < 0 or any(size not in (1, wanted) for size, wanted in sizes):
        raise layer._fail(f"{key} of shape {tuple(value.shape)} does not spread over {spec.name!r} {spec.shape}")


def has_own_steps(spec: TensorSpec, *tensors: Array | None) -> bool:
    """Whether one of the tensors that spread over a value has a time axis of more than one step."""
    timed = (tensor.ndim == len(spec.shape) - 1 and tensor.shape[0] > 1 for tensor in tensors if tensor is not None)
    return spec.is_sequence and any(timed)
