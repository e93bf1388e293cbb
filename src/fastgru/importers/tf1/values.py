"""What the outputs of TensorFlow's nodes are, once they are understood.

Constants are NumPy arrays. Sizes that are free stand as `Size` in arrays of dtype object, so that arithmetic with
shapes is NumPy's. Everything else is one of the classes below. Products with weights, sums and activations stay
expressions until somebody needs their value: a GRU cell is made of them (`cell`), and else they become one Dense.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...graph import Activation, TensorSpec
from ..sizes import Dim, Size, Symbol, product
from .nodes import Array


class Refused(Exception):
    """What a node asks for is not understood; the message says why, and whoever calls it adds the node's name."""


BATCH = Size.of(Symbol("batch"))


@dataclass(frozen=True, eq=False)
class Unknown:
    """What a refused node would have computed, and all that depends on it."""


@dataclass(frozen=True, eq=False)
class Tensor:
    """A value of the Graph as TensorFlow lays it out.

    Axis i is made of the axes ``axes[i]`` of the spec's shape, as in a Port: ``()`` has size 1, several are merged.
    `steps` is the size of the spec's time axis.
    """

    spec: TensorSpec
    axes: tuple[tuple[int, ...], ...]
    steps: Dim = 1

    def size_of(self, axis: int) -> Dim:
        """Of an axis of the spec's shape."""
        if axis == 0:
            return BATCH
        if axis == 1 and self.spec.is_sequence:
            return self.steps
        return int(self.spec.shape[axis])  # type: ignore[arg-type]

    @property
    def shape(self) -> tuple[Dim, ...]:
        return tuple(product(self.size_of(axis) for axis in group) for group in self.axes)

    @property
    def is_plain(self) -> bool:
        """Whether it is laid out as its spec."""
        return self.axes == tuple((i,) for i in range(len(self.spec.shape)))


@dataclass(frozen=True, eq=False)
class Step:
    """One step of a sequence, which has its layout without time; `index` None: the one that a loop has come to."""

    sequence: Tensor
    index: int | None

    @property
    def axes(self) -> tuple[tuple[int, ...], ...]:
        return tuple(group for group in self.sequence.axes if group != (1,))

    @property
    def shape(self) -> tuple[Dim, ...]:
        return tuple(product(self.sequence.size_of(axis) for axis in group) for group in self.axes)


@dataclass(frozen=True, eq=False)
class Filled:
    """A constant of one number, whose sizes may be free."""

    shape: tuple[Dim, ...]
    value: float


@dataclass(frozen=True, eq=False)
class State:
    """What a loop carries from step to step, at the beginning of a step: a GRU's h."""

    name: str
    initial: Any

    @property
    def shape(self) -> tuple[Dim, ...]:
        return (BATCH, *shape_of(self.initial)[1:])  # the batch may be fixed where the initial state is made


@dataclass(frozen=True, eq=False)
class Joined:
    """Values side by side along the last axis."""

    parts: tuple[Any, ...]

    @property
    def shape(self) -> tuple[Dim, ...]:
        shapes = [shape_of(part) for part in self.parts]
        sizes = [size for shape in shapes if isinstance(size := shape[-1], int)]
        if len(sizes) < len(shapes):
            raise Refused("joins values along an axis of free size")
        return (*shapes[0][:-1], sum(sizes))


@dataclass(frozen=True, eq=False)
class Term:
    """``value · matrix``; without matrix the value."""

    value: Any
    matrix: Array | None = None


@dataclass(frozen=True, eq=False)
class Affine:
    """The sum of terms, plus a bias (units,)."""

    terms: tuple[Term, ...]
    bias: Array | None
    name: str

    @property
    def shape(self) -> tuple[Dim, ...]:
        first = self.terms[0]
        shape = shape_of(first.value)
        return shape if first.matrix is None else (*shape[:-1], first.matrix.shape[1])


@dataclass(frozen=True, eq=False)
class Active:
    """An activation of a value."""

    function: Activation
    value: Any
    name: str

    @property
    def shape(self) -> tuple[Dim, ...]:
        return shape_of(self.value)


@dataclass(frozen=True, eq=False)
class Complement:
    """1 − value."""

    value: Any
    name: str

    @property
    def shape(self) -> tuple[Dim, ...]:
        return shape_of(self.value)


@dataclass(frozen=True, eq=False)
class Product:
    """The elementwise product of two values of one shape."""

    left: Any
    right: Any
    name: str

    @property
    def shape(self) -> tuple[Dim, ...]:
        return shape_of(self.left)


#: expressions: what is computed only when its value is needed
LAZY = (Joined, Affine, Active, Complement, Product)


#: what only a call knows
VALUES = (Tensor, Step, State, *LAZY)


@dataclass(frozen=True, eq=False)
class Range:
    """The numbers 0, 1, … below a size."""

    size: Dim


@dataclass(frozen=True, eq=False)
class Counter:
    """The number of the step that a loop has come to, plus `ahead`."""

    ahead: int = 0
    shape: tuple[Dim, ...] = ()


@dataclass(frozen=True, eq=False)
class Steps:
    """A TensorArray or TensorList: the steps of `sequence`; None while nothing is in it, with room for `size` steps."""

    sequence: Tensor | None
    size: Dim | None = None


@dataclass(frozen=True, eq=False)
class Written:
    """A TensorArray in a loop after `value` was written at the loop's counter."""

    value: Any


@dataclass(frozen=True, eq=False)
class Longest:
    """The largest of the lengths of a batch's rows, or one; perhaps bounded by the number of steps."""

    lengths: Tensor
    bound: Dim | None = None


@dataclass(frozen=True, eq=False)
class Below:
    """Whether a loop's counter is below all of these: sizes or `Longest`."""

    bounds: tuple[Any, ...]


@dataclass(frozen=True, eq=False)
class PastEnd:
    """For each row, whether a loop's counter has come to its length."""

    lengths: Tensor


@dataclass(frozen=True, eq=False)
class Outputs:
    """The outputs of a node with several."""

    values: Sequence[Any] = field(default_factory=tuple)


def shape_of(value: Any) -> tuple[Dim, ...]:
    """A value's shape as TensorFlow sees it.

    Raises
    ------
    Refused
        It is none that has a shape.
    """
    shape = getattr(value, "shape", None)
    if shape is None:
        raise Refused("takes what has no shape")
    return tuple(shape)


def sizes_array(sizes: Sequence[Dim]) -> Array:
    """A shape as TensorFlow's Shape gives it: whole numbers, or objects where some are free."""
    if any(isinstance(size, Size) for size in sizes):
        array = np.empty(len(sizes), object)
        array[:] = list(sizes)
        return array
    return np.asarray(list(sizes), np.int64)


def as_size(value: Any) -> Dim:
    """A scalar as a size."""
    if isinstance(value, np.ndarray) and value.size == 1:
        item = value.reshape(-1)[0]
        if isinstance(item, Size):
            return item
        if value.dtype.kind in "iuO" and isinstance(item, (int, np.integer)):
            return int(item)
    raise Refused("is given a size that is not known")


def is_zero(value: Any) -> bool:
    """Whether a value is a constant of zeros."""
    if isinstance(value, Filled):
        return value.value == 0
    return isinstance(value, np.ndarray) and value.dtype.kind in "fiu" and not value.any()
