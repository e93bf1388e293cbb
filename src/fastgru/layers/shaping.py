"""Layers that move values and compute nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from .base import Layer, TensorSpec, common_steps, joined_steps, tensor_spec


@dataclass(frozen=True, eq=False, kw_only=True)
class Reshape(Layer):
    """Gives the axes after batch the sizes `target`, in row-major order.

    With `per_step` the axes after time are reshaped and time stays; a value without time stays one. Otherwise time is
    one of the reshaped axes (one of `target` may be −1, inferred) and the result is a sequence if it has two or more
    axes after batch: the first is time.
    """

    target: tuple[int, ...]
    per_step: bool = False

    kind: ClassVar[str] = "Reshape"

    def infer(self, specs: Mapping[str, TensorSpec]) -> tuple[TensorSpec, ...]:
        spec = self._source(specs)
        if self.per_step:
            time = spec.shape[1] if spec.is_sequence else False
            return (tensor_spec(self.name, time, self._resolve(spec.features)),)
        if not spec.is_sequence:
            sizes: tuple[int | None, ...] = self._resolve(spec.features)
        elif spec.shape[1] is None:
            sizes = self._resolve_free(spec)
        else:
            sizes = self._resolve(spec.shape[1] * spec.features)
        if len(sizes) >= 2:
            return (tensor_spec(self.name, sizes[0], sizes[1:]),)  # type: ignore[arg-type]
        return (tensor_spec(self.name, False, sizes),)  # type: ignore[arg-type]

    def _resolve(self, total: int) -> tuple[int, ...]:
        free = self.target.count(-1)
        known = math.prod(size for size in self.target if size != -1)
        if free > 1 or any(size < 1 and size != -1 for size in self.target) or not self.target:
            raise self._fail(f"target {self.target} should be positive sizes, at most one of them -1")
        if total % known or (not free and total != known):
            raise self._fail(f"target {self.target} does not hold {total} values")
        return tuple(total // known if size == -1 else size for size in self.target)

    def _resolve_free(self, spec: TensorSpec) -> tuple[int | None, ...]:
        """A free time axis can only become the free first axis of a sequence."""
        rest = self.target[1:]
        if len(self.target) < 2 or self.target[0] != -1 or any(size < 1 for size in rest):
            raise self._fail(f"target {self.target} needs a known number of steps, but {spec.name!r} is {spec.shape}")
        if spec.features % math.prod(rest):
            raise self._fail(f"target {self.target} does not divide the {spec.features} values of a step")
        return (None, *rest)


@dataclass(frozen=True, eq=False, kw_only=True)
class Concatenate(Layer):
    """Joins values along `axis` of their shape, in the order of `inputs`; the default −1 is the last axis.

    All are sequences or none; the other axes are of equal sizes. Along axis 1 of sequences they follow each other in
    time, else they have the same steps. Two GRUs over one input, the second with `go_backwards` and `time_order`, and
    their Concatenate are a bidirectional layer. It defines no mask: what comes behind names that of its source.
    """

    axis: int = -1

    kind: ClassVar[str] = "Concatenate"
    arity: ClassVar[tuple[int, int | None]] = (2, None)

    def infer(self, specs: Mapping[str, TensorSpec]) -> tuple[TensorSpec, ...]:
        parts = [self._source(specs, index) for index in range(len(self.inputs))]
        first = parts[0]
        axis = axis_of(self, first, self.axis)
        for spec in parts:
            sizes = [shape[:axis] + shape[axis + 1 :] for shape in (spec.shape, first.shape)]
            fits = len(spec.shape) == len(first.shape) and spec.is_sequence == first.is_sequence
            if not fits or any(None not in pair and pair[0] != pair[1] for pair in zip(*sizes, strict=True)):
                raise self._fail(f"{spec.name!r} {spec.shape} does not fit beside {first.name!r} {first.shape}")
        steps = [spec.shape[1] for spec in parts] if first.is_sequence else []
        if first.is_sequence and axis == 1:
            return (tensor_spec(self.name, joined_steps(self, steps), first.inner),)
        lead = len(first.shape) - len(first.inner)
        inner = list(first.inner)
        inner[axis - lead] = sum(spec.inner[axis - lead] for spec in parts)
        return (tensor_spec(self.name, common_steps(self, steps) if steps else False, tuple(inner)),)


@dataclass(frozen=True, eq=False, kw_only=True)
class Transpose(Layer):
    """Permutes the axes after batch: axis i of the result is axis ``order[i − 1]`` of the value, both counted in shape.

    (batch, time, features) with order (2, 1) → (batch, features, time), a sequence of `features` steps. A free time
    axis can only stay the first.
    """

    order: tuple[int, ...]

    kind: ClassVar[str] = "Transpose"

    def infer(self, specs: Mapping[str, TensorSpec]) -> tuple[TensorSpec, ...]:
        spec = self._source(specs)
        if sorted(self.order) != list(range(1, len(spec.shape))):
            raise self._fail(f"order {self.order} does not permute the axes of {spec.name!r} {spec.shape}")
        return (shaped(self, self.name, spec.is_sequence, [spec.shape[axis] for axis in self.order]),)


@dataclass(frozen=True, eq=False, kw_only=True)
class Slice(Layer):
    """The entries ``start:stop:step`` of `axis` of the value's shape, as Python slices; −1 is the last axis.

    `step` may be negative. With `drop` there must be one entry, and the axis goes; without time then no sequence.
    """

    axis: int
    start: int | None = None
    stop: int | None = None
    step: int = 1
    drop: bool = False

    kind: ClassVar[str] = "Slice"

    def infer(self, specs: Mapping[str, TensorSpec]) -> tuple[TensorSpec, ...]:
        spec = self._source(specs)
        axis = axis_of(self, spec, self.axis)
        if not self.step:
            raise self._fail("the step should not be 0")
        size = spec.shape[axis]
        count = self.count(size)
        if count == 0:
            raise self._fail(f"takes nothing of the {size} entries of axis {axis} of {spec.name!r}")
        if self.drop:
            if count not in (1, None) or (count is None and not self._is_one):
                raise self._fail(f"can drop axis {axis} of {spec.name!r} only where it takes one entry of it")
            sizes = spec.shape[1:axis] + spec.shape[axis + 1 :]
            keeps_time = spec.is_sequence and axis != 1
            return (tensor_spec(self.name, sizes[0] if keeps_time else False, tuple(sizes[keeps_time:])),)  # type: ignore[arg-type]
        sizes = (*spec.shape[1:axis], count, *spec.shape[axis + 1 :])
        return (shaped(self, self.name, spec.is_sequence, sizes),)

    def count(self, size: int | None) -> int | None:
        """How many entries are taken of `size`; None where that is free."""
        if size is None:
            return 1 if self._is_one else None
        return len(range(*slice(self.start, self.stop, self.step).indices(size)))

    @property
    def takes_last(self) -> bool:
        """Whether it takes the last entry of however many, and drops the axis."""
        return self.drop and (self.start, self.stop, self.step) == (-1, None, 1)

    @property
    def _is_one(self) -> bool:
        """Whether it takes one entry of however many."""
        start = self.start if self.start is not None else 0
        one_on = self.stop == start + 1 and start != -1
        return self.step == 1 and (one_on or (self.start == -1 and self.stop is None))


@dataclass(frozen=True, eq=False, kw_only=True)
class Pad(Layer):
    """`before` and `after` more entries of `value` at the ends of `axis` of the value's shape; −1 is the last axis."""

    axis: int
    before: int = 0
    after: int = 0
    value: float = 0.0

    kind: ClassVar[str] = "Pad"

    def infer(self, specs: Mapping[str, TensorSpec]) -> tuple[TensorSpec, ...]:
        spec = self._source(specs)
        axis = axis_of(self, spec, self.axis)
        if self.before < 0 or self.after < 0:
            raise self._fail(f"should add no fewer than 0 entries, is to add {self.before} and {self.after}")
        size = spec.shape[axis]
        sizes = list(spec.shape[1:])
        sizes[axis - 1] = None if size is None else size + self.before + self.after
        return (shaped(self, self.name, spec.is_sequence, sizes),)


@dataclass(frozen=True, eq=False, kw_only=True)
class Repeat(Layer):
    """Each entry of `axis` of the value's shape, `times` in a row; −1 is the last axis.

    A value without time repeated along ``axis=1`` of a shape (batch, 1, features) that a Reshape gave it is Keras'
    RepeatVector.
    """

    axis: int
    times: int

    kind: ClassVar[str] = "Repeat"

    def infer(self, specs: Mapping[str, TensorSpec]) -> tuple[TensorSpec, ...]:
        spec = self._source(specs)
        axis = axis_of(self, spec, self.axis)
        if self.times < 1:
            raise self._fail(f"should repeat at least once, not {self.times} times")
        size = spec.shape[axis]
        sizes = list(spec.shape[1:])
        sizes[axis - 1] = None if size is None else size * self.times
        return (shaped(self, self.name, spec.is_sequence, sizes),)


def axis_of(layer: Layer, spec: TensorSpec, axis: int) -> int:
    """An axis of a shape, counted from its beginning; the batch axis is refused."""
    count = len(spec.shape)
    found = axis + count if axis < 0 else axis
    if not 1 <= found < count:
        raise layer._fail(f"axis {axis} is none of those behind the batch of {spec.name!r} {spec.shape}")
    return found


def shaped(layer: Layer, name: str, is_sequence: bool, sizes: Sequence[int | None]) -> TensorSpec:
    """A value with these axes after batch, the first of them time in a sequence; only that one may be free."""
    inner = tuple(sizes[is_sequence:])
    if None in inner:
        raise layer._fail(f"an axis of free size can only be the first after batch, but there would be {tuple(sizes)}")
    return tensor_spec(name, sizes[0] if is_sequence else False, inner)  # type: ignore[arg-type]
