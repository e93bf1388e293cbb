"""Layers that look at windows of a sequence: convolutions, pooling, and reductions over an axis."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from .base import LINEAR, Activation, Array, Layer, TensorSpec, Weights, activated, tensor_spec
from .shaping import axis_of, shaped


@dataclass(frozen=True, eq=False, kw_only=True)
class Window(Layer):
    """The base of Conv and Pool: windows over time, or over time and the axis behind it.

    The value is (batch, time, channels) or (batch, time, axis2, channels), the window of one size per axis but batch
    and channels; so are `strides` and `dilation`, absent (empty) meaning 1.

    `padding` is ``"same"`` (as many windows as strides begin, the odd entry of padding at the end), ``"same_lower"``
    (at the beginning) or ``"explicit"``: `pads` holds before, after for each axis in turn, empty meaning 0. A causal
    convolution has ``(dilation · (size − 1), 0)``.
    """

    strides: tuple[int, ...] = ()
    dilation: tuple[int, ...] = ()
    padding: str = "explicit"
    pads: tuple[int, ...] = ()

    PADDINGS: ClassVar[tuple[str, ...]] = ("explicit", "same", "same_lower")

    @property
    def sizes(self) -> tuple[int, ...]:
        """The window's size along each of its axes, the first that of time."""
        raise NotImplementedError

    @property
    def reach(self) -> int:
        """The steps from the first to the last that a window sees."""
        return (self.sizes[0] - 1) * (self.dilation[0] if self.dilation else 1) + 1

    @property
    def keeps_steps(self) -> bool:
        """Whether there are as many windows as steps, whatever their number is."""
        stride = self.strides[0] if self.strides else 1
        return stride == 1 and (self.padding != "explicit" or sum(self.pads[:2]) == self.reach - 1)

    @property
    def looks_ahead(self) -> str | None:
        """Why a window cannot be computed from the steps up to its own; None where it can, and is more than padding."""
        before, after = self.pads[:2] if self.pads else (0, 0)
        is_single = self.reach == 1
        if self.padding == "explicit":
            if after:
                return "has padding after the last step, so its windows look ahead"
            return "has windows of padding alone before the first step" if before >= self.reach else None
        if is_single or (self.padding == "same_lower" and self.reach == 2 and self.keeps_steps):
            return None
        if self.keeps_steps:
            return f"has {self.padding!r} padding, so its windows look ahead"
        return f"has {self.padding!r} padding with strides, which hangs on the number of steps"

    def windows(self, spec: TensorSpec, size: tuple[int, ...]) -> list[int | None]:
        """How many windows there are along each axis."""
        axes = len(size)
        if not spec.is_sequence or len(spec.inner) != axes or axes not in (1, 2):
            wanted = "(batch, time, channels)" if axes == 1 else "(batch, time, axis2, channels)"
            raise self._fail(f"needs {wanted}, but {spec.name!r} is {spec.shape}")
        if self.padding not in self.PADDINGS:
            raise self._fail(f"padding should be one of {', '.join(self.PADDINGS)}, is {self.padding!r}")
        for key, value, count in (("strides", self.strides, axes), ("dilation", self.dilation, axes)):
            if len(value) not in (0, count) or any(number < 1 for number in value):
                raise self._fail(f"{key} should be {count} positive numbers, is {value}")
        if len(self.pads) not in (0, 2 * axes) or any(number < 0 for number in self.pads):
            raise self._fail(f"pads should be {2 * axes} numbers, is {self.pads}")
        if any(number < 1 for number in size):
            raise self._fail(f"the window should have positive sizes, has {size}")
        if max((*self.strides, *self.dilation, *self.pads, *size)) >= 2**31:
            raise self._fail("strides, dilation, pads and sizes should not exceed 2147483647")
        return [self.count(spec.shape[1 + axis], axis, size[axis]) for axis in range(axes)]

    def count(self, length: int | None, axis: int, size: int) -> int | None:
        """How many windows of `size` there are along an axis of `length` entries."""
        if length is None:
            return None
        stride = self.strides[axis] if self.strides else 1
        if self.padding != "explicit":
            return -(-length // stride)
        reach = (size - 1) * (self.dilation[axis] if self.dilation else 1) + 1
        free = length + sum(self.pads[2 * axis : 2 * axis + 2]) - reach
        if free < 0:
            raise self._fail(f"a window of {reach} entries does not fit into the {length} of axis {axis + 1}")
        return free // stride + 1


@dataclass(frozen=True, eq=False, kw_only=True)
class Conv(Window):
    """Convolution (cross-correlation) over time, or time and the axis behind it, then an activation.

    `kernel` is (size, input_channels / groups, units) or (size, size2, input_channels / groups, units), `bias`
    (units,). Output channels belong to the groups in order.
    """

    kernel: Weights
    bias: Array | None = None
    groups: int = 1
    activation: Activation = LINEAR

    kind: ClassVar[str] = "Conv"
    tensor_fields: ClassVar[tuple[str, ...]] = ("kernel", "bias")
    scale_axes: ClassVar[Mapping[str, Literal[-1, 0]]] = {"kernel": -1}

    @property
    def is_depthwise(self) -> bool:
        """Whether each channel has filters of its own."""
        return self.groups > 1 and self.kernel.shape[-2] == 1

    @property
    def narrowable(self) -> tuple[str, ...]:
        """A depthwise kernel stays float32: it has few weights, and no product of matrices multiplies them."""
        return () if self.is_depthwise else super().narrowable

    @property
    def sizes(self) -> tuple[int, ...]:
        return tuple(self.kernel.shape[:-2])

    def infer(self, specs: Mapping[str, TensorSpec]) -> tuple[TensorSpec, ...]:
        spec = self._source(specs)
        if self.kernel.ndim not in (3, 4) or 0 in self.kernel.shape:
            raise self._fail(f"kernel should be (size, channels, units), has shape {tuple(self.kernel.shape)}")
        *size, _, units = self.kernel.shape
        counts = self.windows(spec, tuple(size))
        channels = spec.inner[-1]
        if self.groups < 1 or channels % self.groups or units % self.groups:
            raise self._fail(f"{self.groups} groups do not divide {channels} channels and {units} units")
        self._check("kernel", *size, channels // self.groups, units)
        self._check("bias", units)
        return (activated(self, tensor_spec(self.name, counts[0], (*counts[1:], units)), self.activation),)  # type: ignore[arg-type]


@dataclass(frozen=True, eq=False, kw_only=True)
class Pool(Window):
    """The maximum or average of each window and channel; padding takes no part, unless `count_padding` (as zeros)."""

    function: str
    size: tuple[int, ...]
    count_padding: bool = False

    kind: ClassVar[str] = "Pool"
    FUNCTIONS: ClassVar[tuple[str, ...]] = ("maximum", "average")

    @property
    def sizes(self) -> tuple[int, ...]:
        return self.size

    def infer(self, specs: Mapping[str, TensorSpec]) -> tuple[TensorSpec, ...]:
        spec = self._source(specs)
        if self.function not in self.FUNCTIONS:
            raise self._fail(f"function should be one of {', '.join(self.FUNCTIONS)}, is {self.function!r}")
        counts = self.windows(spec, self.size)
        return (tensor_spec(self.name, counts[0], (*counts[1:], spec.inner[-1])),)  # type: ignore[arg-type]


@dataclass(frozen=True, eq=False, kw_only=True)
class Reduce(Layer):
    """The mean, sum, maximum or minimum over `axis` of the value's shape, which goes; −1 is the last axis.

    Over time, steps where `mask` is false are left out: of a mean and a sum, whose mean over no steps is NaN.
    """

    function: str
    axis: int
    mask: str | None = None

    kind: ClassVar[str] = "Reduce"
    FUNCTIONS: ClassVar[tuple[str, ...]] = ("mean", "sum", "maximum", "minimum")

    def infer(self, specs: Mapping[str, TensorSpec]) -> tuple[TensorSpec, ...]:
        spec = self._source(specs)
        axis = axis_of(self, spec, self.axis)
        if self.function not in self.FUNCTIONS:
            raise self._fail(f"function should be one of {', '.join(self.FUNCTIONS)}, is {self.function!r}")
        over_time = spec.is_sequence and axis == 1
        if self.mask is not None and not (over_time and self.function in ("mean", "sum")):
            raise self._fail("a mask is for means and sums over time")
        if over_time:
            return (tensor_spec(self.name, False, spec.inner),)
        sizes = spec.shape[1:axis] + spec.shape[axis + 1 :]
        return (shaped(self, self.name, spec.is_sequence, sizes),)


@dataclass(frozen=True, eq=False, kw_only=True)
class ArgMax(Layer):
    """The index of the largest number along the last axis, which goes: (…, features) → (…) int32.

    Among equals the first, or with `last` the last; a NaN counts as the largest.
    """

    last: bool = False

    kind: ClassVar[str] = "ArgMax"

    def infer(self, specs: Mapping[str, TensorSpec]) -> tuple[TensorSpec, ...]:
        spec = self._source(specs)
        if not spec.inner:
            raise self._fail(f"needs a features axis, but {spec.name!r} is {spec.shape}")
        return (tensor_spec(self.name, spec.shape[1] if spec.is_sequence else False, spec.inner[:-1], "int32"),)
