"""What a value of an ONNX graph is while it is turned into a Graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from ...graph import TensorSpec
from ..sizes import Dim


class Refusal(Exception):
    """What a node does is not supported; `network.py` notes it with the node's name and goes on."""


class Unequal(Refusal):
    """Two sizes should be equal, of which nothing says that they are.

    Attributes
    ----------
    sizes : tuple of Dim
    """

    def __init__(self, reason: str, *sizes: Dim) -> None:
        super().__init__(reason)
        self.sizes = sizes


@dataclass(frozen=True, eq=False)
class Constant:
    """Numbers that the file knows, or that follow from the sizes of a call.

    Attributes
    ----------
    array : array
        Of any dtype; of dtype object where it holds sizes (`Size` or int).
    shape : tuple of Dim
        Over which `array` is spread, as NumPy does; its axes of free sizes are 1 in `array`.
    """

    array: np.ndarray
    shape: tuple[Dim, ...]

    def __post_init__(self) -> None:
        missing = len(self.shape) - self.array.ndim
        if missing > 0:  # as NumPy spreads
            object.__setattr__(self, "array", self.array.reshape((1,) * missing + self.array.shape))

    @classmethod
    def of(cls, array: np.ndarray) -> Constant:
        return cls(array, array.shape)

    def over(self, shape: tuple[Dim, ...]) -> Constant:
        """The same numbers spread over a larger shape."""
        return Constant(self.array.reshape((1,) * (len(shape) - self.array.ndim) + self.array.shape), shape)

    @property
    def is_plain(self) -> bool:
        """Whether the array is all of it."""
        return self.array.shape == self.shape

    @property
    def is_zero(self) -> bool:
        return self.array.dtype != object and not self.array.any()


@dataclass(frozen=True, eq=False)
class Counted(Constant):
    """The whole numbers from 0 on, along the one axis whose size is not 1: places of steps, for masks of lengths."""

    @classmethod
    def to(cls, size: Dim) -> Counted:
        return cls(np.zeros(1, np.int64), (size,))

    @property
    def is_plain(self) -> bool:
        return False

    @property
    def is_zero(self) -> bool:
        return False

    def reshaped(self, shape: Sequence[Dim]) -> Counted:
        """The same numbers, with other axes of size 1 around them."""
        size = next(size for size in self.shape if size != 1)
        if [one for one in shape if one != 1] != [size]:
            raise Refusal("moves the places of steps")
        return Counted(np.zeros((1,) * len(shape), np.int64), tuple(shape))


@dataclass(frozen=True, eq=False)
class Tensor:
    """A value of the Graph, seen with the axes that it has in ONNX. See `fastgru.ports.Port`.

    The value is (batch, …) or (batch, time, …); what follows is split into `sizes`. Axis i in ONNX is made of the axes
    ``axes[i]`` of that: 0 batch, 1 time (of a sequence), then those of `sizes`; ``()`` is an axis of size 1, several
    are merged in row-major order. Where no axis is made of the batch, that is 1.

    Transposes, reshapes and the like change only this view; `arrange.py` makes layers of it where an operator needs
    the numbers in some order.

    Attributes
    ----------
    spec : TensorSpec
        Of the Graph's value: "float32", "int32" (ids, lengths) or "bool" (a mask (batch, time), maybe cast to numbers).
    sizes : tuple of int
    axes : tuple of tuple of int
    steps : Dim
        The size of the time axis; 1 where there is none.
    flipped : bool
        In ONNX the steps stand in reverse order.
    negated : bool
        Of a mask: in ONNX it is true where the Graph's is false.
    contrary : str or None
        Of a mask: the Graph's that is its contrary, where there is one.
    numbers, contrary_numbers : TensorSpec or None
        Of a mask: the value that is 1 where it is true (or false) in ONNX and else 0, where there is one.
    """

    spec: TensorSpec
    sizes: tuple[int, ...]
    axes: tuple[tuple[int, ...], ...]
    steps: Dim = 1
    flipped: bool = False
    negated: bool = False
    contrary: str | None = None
    numbers: TensorSpec | None = None
    contrary_numbers: TensorSpec | None = None

    @property
    def lead(self) -> int:
        """Number of the Graph's axes before `sizes`."""
        return 1 + self.spec.is_sequence

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def rank(self) -> int:
        return len(self.axes)

    @property
    def is_mask(self) -> bool:
        return self.spec.dtype == "bool"

    @property
    def is_ids(self) -> bool:
        return self.spec.dtype == "int32"

    def axis_of(self, part: int) -> int | None:
        """The ONNX axis that is or holds an axis of the value."""
        return next((axis for axis, parts in enumerate(self.axes) if part in parts), None)

    @property
    def time_axis(self) -> int | None:
        """The ONNX axis that is time, alone or merged with others; None where it is no sequence."""
        return self.axis_of(1) if self.spec.is_sequence else None

    @property
    def batch_axis(self) -> int | None:
        return self.axis_of(0)

    def contrary_view(self) -> Tensor:
        """A mask that is true where this one is false."""
        return replace(self, negated=not self.negated, numbers=self.contrary_numbers, contrary_numbers=self.numbers)

    def permuted(self, order: tuple[int, ...]) -> Tensor:
        return replace(self, axes=tuple(self.axes[axis] for axis in order))


class Unknown:
    """What an operator gives that is not supported; the reason has been noted."""


class Pending:
    """What only the readers of some operators know what to do with, on the way to a value (`operators/choices.py`).

    Attributes
    ----------
    readers : set of str
        Those operators.
    """

    readers: ClassVar[set[str]] = set()


UNKNOWN = Unknown()
Value = Constant | Tensor | Unknown | Pending
