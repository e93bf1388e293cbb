"""Arrays of weights in bfloat16, float16 or int8."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ..errors import BadModelFile

#: what weights may be held in beside float32, each with the NumPy type of its bits (NumPy has no bfloat16)
NARROW: dict[str, np.dtype[Any]] = {
    "bfloat16": np.dtype(np.uint16), "float16": np.dtype(np.float16), "int8": np.dtype(np.int8)
}  # fmt: skip
#: the largest magnitude of an int8 weight: -128 is left out, so that they are symmetric
LARGEST = 127
#: the least scale of int8 weights, for the core takes denormals for zero, and the largest, whose products are finite
LEAST_SCALE = float(np.finfo(np.float32).tiny)
MOST_SCALE = float(np.nextafter(np.finfo(np.float32).max / np.float32(LARGEST), np.float32(0)))


@dataclass(frozen=True, eq=False)
class NarrowArray:
    """Weights of fewer bits; ``np.asarray(array)`` gives the float32 numbers that they stand for.

    Parameters
    ----------
    dtype : {"bfloat16", "float16", "int8"}
    data : array
        uint16 (the bits of bfloat16: the upper half of those of a float32), float16, or int8 in [-127, 127].
    scale : array of float32, optional
        Of int8 weights, and of no others: one a channel, which is what its numbers are multiplied by. Positive, not
        denormal, 127 times each is finite.
    scale_axis : {-1, 0}
        The axis of `data` that `scale` goes along: the last of a kernel, the first of a table.

    Raises
    ------
    BadModelFile
        Arrays that are no such weights; says what was expected.

    Examples
    --------
    >>> kernel = NarrowArray("int8", np.array([[1, -127], [3, 5]], np.int8), np.array([0.5, 2], np.float32))
    >>> np.asarray(kernel)
    array([[   0.5, -254. ],
           [   1.5,   10. ]], dtype=float32)
    """

    dtype: str
    data: np.ndarray
    scale: np.ndarray | None = None
    scale_axis: Literal[-1, 0] = -1

    def __post_init__(self) -> None:
        bits = NARROW.get(self.dtype)
        if bits is None:
            raise BadModelFile(f"narrow weights are {', '.join(NARROW)}, not {self.dtype!r}")
        if self.data.dtype != bits:
            raise BadModelFile(f"{self.dtype} weights should be held in {bits}, are in {self.data.dtype}")
        if self.dtype == "int8":
            self._check_int8()
        elif self.scale is not None:
            raise BadModelFile(f"{self.dtype} weights have no scale")

    def _check_int8(self) -> None:
        if self.scale is None:
            raise BadModelFile("int8 weights should have a scale")
        if self.scale_axis not in (-1, 0) or not self.data.ndim:
            raise BadModelFile(f"{self.data.ndim} axes cannot be scaled along axis {self.scale_axis}")
        channels = self.data.shape[self.scale_axis]
        if self.scale.dtype != np.float32 or self.scale.shape != (channels,):
            has = f"{self.scale.shape} {self.scale.dtype}"
            raise BadModelFile(f"int8 weights {self.data.shape} should have a scale ({channels},) float32, have {has}")
        if not ((self.scale >= LEAST_SCALE) & (self.scale <= MOST_SCALE)).all():
            raise BadModelFile(f"a scale of int8 weights should lie in [{LEAST_SCALE:.9g}, {MOST_SCALE:.9g}]")
        if self.data.size and self.data.min() < -LARGEST:
            raise BadModelFile("int8 weights should lie in [-127, 127], one is -128")

    @property
    def shape(self) -> tuple[int, ...]:
        return self.data.shape

    @property
    def ndim(self) -> int:
        return self.data.ndim

    @property
    def size(self) -> int:
        """Number of weights."""
        return self.data.size

    @property
    def nbytes(self) -> int:
        """Bytes of the weights and their scales."""
        return self.data.nbytes + (0 if self.scale is None else self.scale.nbytes)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise ValueError(f"{self.dtype} weights become float32 in a new array, never without a copy")
        wide = self._widened()
        return wide if dtype is None else wide.astype(dtype, copy=False)

    def _widened(self) -> np.ndarray:
        if self.dtype == "bfloat16":
            wide = self.data.astype(np.uint32)
            wide <<= 16
            return wide.view(np.float32)
        wide = self.data.astype(np.float32)
        if self.scale is not None:
            wide *= self.scale if self.scale_axis == -1 else self.scale.reshape(-1, *(1,) * (self.ndim - 1))
        return wide


def dtype_name(array: np.ndarray | NarrowArray) -> str:
    """``"float32"``, ``"int8"``, …: what the numbers of a tensor are held in."""
    return array.dtype if isinstance(array, NarrowArray) else array.dtype.name
