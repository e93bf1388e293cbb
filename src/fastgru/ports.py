"""Ports: inputs and outputs as callers see them, where a source does not lay them out as the Graph does."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Port:
    """How callers see an input or output.

    The value behind it is (batch, …), or (batch, time, …) where it is a sequence, and what follows is split into
    `sizes`, whose product is its number of features. Axis i of the caller's array is made of the axes ``axes[i]`` of
    that: 0 batch, 1 time where the value is a sequence, then the `sizes` in order. ``()`` is an axis of size 1; several
    are merged in row-major order. Each axis but batch is named once; where no axis is made of the batch, it is 1.

    An ONNX GRU's Y (time, 1, batch, units), whose value is (batch, time, units)::

        Port("Y", (units,), ((1,), (), (0,), (2,)))

    A bidirectional one's Y_h (2, batch, units), whose value is (batch, 2 · units)::

        Port("Y_h", (2, units), ((1,), (0,), (2,)))

    Attributes
    ----------
    name : str
        The source's own.
    sizes : tuple of int
    axes : tuple of tuple of int
    dtype : str or None
        Of the caller's array, where it is not the value's: ``"int64"``.
    """

    name: str
    sizes: tuple[int, ...]
    axes: tuple[tuple[int, ...], ...]
    dtype: str | None = None
