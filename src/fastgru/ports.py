"""Ports: inputs and outputs as callers see them, where a source does not lay them out as the Graph does."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from .errors import BadModelFile
from .layers.base import Array, TensorSpec, plain

#: most of a port's `sizes`, and of its axes
MAX_SIZES, MAX_AXES = 8, 16
#: dtypes that callers may see, by the value's own
DTYPES = {"float32": ("float16", "float32", "float64"), "int32": ("int32", "int64"), "bool": ("bool",)}


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

    Raises
    ------
    BadModelFile
        A name that cannot be printed, or sizes or axes that no value has.
    """

    name: str
    sizes: tuple[int, ...]
    axes: tuple[tuple[int, ...], ...]
    dtype: str | None = None

    def __post_init__(self) -> None:
        named = sorted(axis for group in self.axes for axis in group)
        if not self.name or not self.name.isprintable():  # it may come from a hostile file and end on a terminal
            raise BadModelFile(f"a port needs a name of characters that can be printed, has {self.name!r}")
        if len(self.sizes) > MAX_SIZES or len(self.axes) > MAX_AXES:
            raise self._fail(f"more than {MAX_SIZES} sizes or {MAX_AXES} axes are not supported")
        if any(type(size) is not int or size < 1 for size in self.sizes):
            raise self._fail(f"sizes should be positive whole numbers, are {self.sizes}")
        if any(type(axis) is not int or axis < 0 for axis in named) or len(set(named)) != len(named):
            raise self._fail(f"names an axis twice or one below 0: {self.axes}")

    @classmethod
    def plain(cls, value: TensorSpec, name: str | None = None) -> Port:
        """The port that shows a value as it is, but for its name.

        >>> from fastgru.graph import tensor_spec
        >>> Port.plain(tensor_spec("x", None, (4,)), "X")
        Port(name='X', sizes=(4,), axes=((0,), (1,), (2,)), dtype=None)
        """
        axes = tuple((axis,) for axis in range(len(value.shape)))
        return cls(value.name if name is None else name, value.inner, axes)

    def check(self, value: TensorSpec, is_input: bool) -> None:
        """Hold the port against the value behind it.

        Raises
        ------
        BadModelFile
            Sizes, axes or dtype do not fit the value, or an input could not be told apart again from what it is merged
            with; names the port.
        """
        lead = 1 + value.is_sequence
        if math.prod(self.sizes) != value.features:
            fault = f"{self.sizes} do not hold the {value.features} features of {value.name!r} {value.shape}"
            raise self._fail(f"its sizes {fault}")
        count = lead + len(self.sizes)
        named = {axis for group in self.axes for axis in group}
        if named | {0} != set(range(count)):
            kinds = "batch, time and sizes" if value.is_sequence else "batch and sizes"
            raise self._fail(f"axes {self.axes} should name each of the {count} of {kinds} once")
        if is_input and any(len(group) > 1 and min(group) < lead for group in self.axes):
            raise self._fail(f"axes {self.axes} merge batch or time with others, which an input cannot undo")
        if self.dtype is not None and self.dtype not in DTYPES.get(value.dtype, ()):
            raise self._fail(f"dtype {self.dtype!r} does not go with {value.name!r}, which is {value.dtype}")

    def spec(self, value: TensorSpec) -> TensorSpec:
        """What callers see: their name, shape, dtype and axes.

        ``"features"`` is the last of `sizes` where it stands as an axis by itself; ``"axisN"``, at place N, are further
        sizes, axes of size 1 and merged ones.

        >>> from fastgru.graph import tensor_spec
        >>> Port("Y", (8,), ((1,), (), (0,), (2,))).spec(tensor_spec("gru", None, (8,)))
        TensorSpec(name='Y', shape=(None, 1, None, 8), dtype='float32', axes=('time', 'axis1', 'batch', 'features'))
        """
        lead = 1 + value.is_sequence
        full = (*value.shape[:lead], *self.sizes)
        words: dict[tuple[int, ...], str] = {(0,): "batch"}
        if value.is_sequence:
            words[(1,)] = "time"
        if self.sizes:
            words[(lead + len(self.sizes) - 1,)] = "features"
        axes = tuple(words.get(group, f"axis{place}") for place, group in enumerate(self.axes))
        return TensorSpec(self.name, self._merged(full), self.dtype or value.dtype, axes)

    def shape(self, value: tuple[int, ...], is_sequence: bool) -> tuple[int, ...]:
        """The shape of the caller's array for a value of a known shape."""
        return self._merged(self._split(value, is_sequence))  # type: ignore[return-value]

    def to_value(self, array: Array, value: TensorSpec) -> Array:
        """The caller's array as (batch, …) or (batch, time, …), which is a view of it where strides can express it.

        Parameters
        ----------
        array : array
            Of the shape that `spec` says.
        value : TensorSpec
            The value behind the port.

        >>> from fastgru.graph import tensor_spec
        >>> x = np.zeros((5, 2, 3), np.float32)                                # (time, batch, features)
        >>> Port("X", (3,), ((1,), (0,), (2,))).to_value(x, tensor_spec("x", None, (3,))).strides
        (12, 24, 4)
        """
        batch = 1 if self._batch_place is None else array.shape[self._batch_place]
        shape = (batch, array.shape[self.axes.index((1,))]) if value.is_sequence else (batch,)
        return self._moved(array, (*shape, *self.sizes)).reshape(shape + value.inner)

    def from_value(self, array: Array, value: TensorSpec) -> Array:
        """A value as the caller's array: a copy, C-contiguous and of the caller's dtype."""
        made = np.empty(self.shape(array.shape, value.is_sequence), self.dtype or array.dtype)
        self.copy(array, made, value)
        return made

    def place(self, array: Array, shape: tuple[int, ...], value: TensorSpec) -> Array | None:
        """A view of the caller's C-contiguous array where a value of that shape may be written, all axes behind batch
        and time contiguous; None where no strides express it."""
        full = self._split(shape, value.is_sequence)
        lead = 1 + value.is_sequence
        if self._order[lead:] != tuple(range(lead, len(full))):  # then only axes of size 1 can make it fit
            long = [axis for axis in self._order if full[axis] != 1]
            inner = [axis for axis in long if axis >= lead]
            if inner != sorted(inner) or long[len(long) - len(inner) :] != inner:
                return None
        return self._moved(array, full).reshape(shape)

    def copy(self, array: Array, target: Array, value: TensorSpec) -> None:
        """Write a value into the caller's C-contiguous array, whatever the layout and dtype."""
        full = self._split(array.shape, value.is_sequence)
        split = target.reshape([full[axis] for axis in self._order])
        np.copyto(split, array.reshape(full).transpose(self._order), casting="unsafe")

    def to_json(self) -> dict[str, Any]:
        """The port as plain values that JSON can hold."""
        return {field.name: plain(getattr(self, field.name)) for field in dataclasses.fields(self)}

    def moves(self, value: TensorSpec) -> bool:
        """Whether callers see the value in another layout, not just under another name or dtype."""
        return self.sizes != value.inner or self.axes != tuple((axis,) for axis in range(len(value.shape)))

    @cached_property
    def has_batch(self) -> bool:
        """Whether an axis of the caller's array is made of the batch; else that is 1."""
        return any(0 in group for group in self.axes)

    @cached_property
    def _order(self) -> tuple[int, ...]:
        """The axes of batch, time and sizes as they stand in the caller's array, batch first where that has none."""
        order = tuple(axis for group in self.axes for axis in group)
        return order if 0 in order else (0, *order)

    @cached_property
    def _back(self) -> tuple[int, ...]:
        """The place in `_order` of each axis."""
        return tuple(map(int, np.argsort(self._order)))

    @cached_property
    def _batch_place(self) -> int | None:
        return self.axes.index((0,)) if (0,) in self.axes else None

    def _split(self, shape: tuple[int, ...], is_sequence: bool) -> tuple[int, ...]:
        return (*shape[: 1 + is_sequence], *self.sizes)

    def _merged(self, full: tuple[int | None, ...]) -> tuple[int | None, ...]:
        sizes = [full[group[0]] if len(group) == 1 else _product(full[axis] for axis in group) for group in self.axes]
        return tuple(sizes)

    def _moved(self, array: Array, full: tuple[int, ...]) -> Array:
        """The caller's array as a view (batch, [time,] *sizes): its merged axes split, those of size 1 gone."""
        return array.reshape([full[axis] for axis in self._order]).transpose(self._back)

    def _fail(self, fault: str) -> BadModelFile:
        return BadModelFile(f"port {self.name!r}: {fault}")


def _product(sizes: Iterable[int | None]) -> int | None:
    product: int | None = 1
    for size in sizes:
        product = None if size is None or product is None else product * size
    return product


def caller_name(value: str, port: Port | None) -> str:
    """The name by which callers know an input or output."""
    return value if port is None else port.name


def check_ports(what: str, values: Sequence[TensorSpec], ports: Sequence[Port | None], is_input: bool) -> None:
    """Hold a Graph's input or output ports against its values.

    Raises
    ------
    BadModelFile
        Too few or too many ports, one that does not fit its value, or a name that stands twice.
    """
    if len(ports) != len(values):
        raise BadModelFile(f"{len(values)} {what}s have {len(ports)} ports")
    for value, port in zip(values, ports, strict=True):
        if port is not None:
            port.check(value, is_input)
    names = Counter(caller_name(value.name, port) for value, port in zip(values, ports, strict=True))
    twice = [name for name, count in names.items() if count > 1]
    if twice:
        raise BadModelFile(f"two {what}s are called {twice[0]!r}")


def state_fault(
    pairs: Iterable[tuple[str, str]],
    inputs: Sequence[tuple[TensorSpec, Port | None]],
    outputs: Sequence[tuple[TensorSpec, Port | None]],
) -> str | None:
    """Why inputs cannot be fed with outputs of the call before; None where they can.

    Parameters
    ----------
    pairs : iterable of (input, output)
        By the names that callers see.
    inputs, outputs : sequence of (TensorSpec, Port or None)
        The network's values with their ports.
    """
    taken = {caller_name(value.name, port): (value, port) for value, port in inputs}
    given = {caller_name(value.name, port): (value, port) for value, port in outputs}
    fed: set[str] = set()
    for source, target in pairs:
        for what, name, known in (("input", source, taken), ("output", target, given)):
            if not isinstance(name, str) or name not in known:
                return f"state {source!r} ← {target!r}: there is no {what} {name!r}, only {', '.join(map(repr, known))}"
        if source in fed:
            return f"state input {source!r} is fed by two outputs"
        fed.add(source)
        for name, (value, _) in ((source, taken[source]), (target, given[target])):
            if value.is_sequence or value.dtype != "float32":
                return f"a state is float32 without a time axis, but {name!r} is {value.dtype} {value.shape}"
        shapes = [(port or Port.plain(value)).spec(value).shape for value, port in (taken[source], given[target])]
        if shapes[0] != shapes[1] or taken[source][0].features != given[target][0].features:
            return f"state input {source!r} takes shape {shapes[0]}, but output {target!r} gives {shapes[1]}"
    return None
