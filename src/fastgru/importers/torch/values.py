"""What stands for a tensor while a traced module is converted: a value of the Graph, and how its axes lie in PyTorch.

Axes are permuted, inserted and dropped without a layer; `Converter.arrange` makes a layout real where one is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ...graph import Array, TensorSpec, tensor_spec
from ...ports import Port
from ..sizes import Dim, Size, Symbol


class Refused(Exception):
    """An operation that cannot be converted; says why."""


BATCH = Size.of(Symbol("batch"))


def steps_of(name: str) -> Size:
    """The number of steps of an input; two of them may differ, and a convolution makes another."""
    return Size.of(Symbol(f"steps of {name}"))


@dataclass(frozen=True)
class Tensor:
    """A value of the Graph, seen as PyTorch sees it.

    Attributes
    ----------
    spec : TensorSpec
    order : tuple of (int or None)
        For each axis of the tensor its axis of ``spec.shape``; None is an axis of size 1 that the value lacks.
    mask : str or None
        The mask of its steps.
    steps : Size
        What a number of steps that is free is called.
    is_ragged : bool
        PyTorch's tensor ends at the batch's longest row, the value at the input's last step.
    """

    spec: TensorSpec
    order: tuple[int | None, ...]
    mask: str | None = None
    steps: Size = BATCH
    is_ragged: bool = False

    @classmethod
    def natural(cls, spec: TensorSpec) -> Tensor:
        """A value whose axes stand as the Graph has them."""
        return cls(spec, tuple(range(len(spec.shape))))

    def keeping(self, like: Tensor) -> Tensor:
        """This tensor with the mask of the one whose steps it has."""
        if not self.spec.is_sequence:
            return self
        return replace(self, mask=like.mask, steps=like.steps, is_ragged=like.is_ragged)

    def over(self, spec: TensorSpec) -> Tensor:
        """Another value in the same layout."""
        return replace(self, spec=spec)

    @property
    def rank(self) -> int:
        return len(self.order)

    @property
    def shape(self) -> tuple[Dim, ...]:
        return tuple(1 if axis is None else self._size(axis) for axis in self.order)

    def _size(self, axis: int) -> Dim:
        if axis == 0:
            return BATCH
        size = self.spec.shape[axis]
        return self.steps if size is None or (axis == 1 and self.is_ragged) else size

    def axis(self, dim: Any) -> int:
        """An axis of the tensor, counted from its beginning."""
        if not isinstance(dim, int) or not -self.rank <= dim < self.rank:
            raise Refused(f"dim {dim} is none of a tensor of {self.rank} axes")
        return dim % self.rank

    def permuted(self, dims: Sequence[int]) -> Tensor:
        return replace(self, order=tuple(self.order[dim] for dim in dims))

    def port(self) -> Port | None:
        """How callers see the value; None: as it is. They do not see the mark in the name of a layer's state."""
        name = self.spec.name.replace(":", "_")
        if name == self.spec.name and self.order == tuple(range(len(self.spec.shape))):
            return None
        return Port(name, self.spec.inner, tuple(() if axis is None else (axis,) for axis in self.order))


@dataclass(frozen=True)
class Pending:
    """An input of forward of which nothing is known until a layer reads it, and the permutations on the way there.

    Attributes
    ----------
    moves : tuple of (str, tuple of int)
        ``("exchange", (0, 1))`` or ``("permute", (0, 2, 1))``.
    is_whole : bool
        It was made whole numbers, so only what takes token ids may read it.
    """

    name: str
    moves: tuple[tuple[str, tuple[int, ...]], ...] = ()
    is_whole: bool = False

    @property
    def is_plain(self) -> bool:
        """Whether it is the input as it came."""
        return not self.moves and not self.is_whole

    def exchanged(self, first: int, second: int) -> Pending:
        return replace(self, moves=(*self.moves, ("exchange", (first, second))))

    def permuted(self, dims: Sequence[int]) -> Pending:
        return replace(self, moves=(*self.moves, ("permute", tuple(dims))))

    def moved(self, axes: Sequence[Any], back: bool = False) -> list[Any]:
        """What stands along the axes of the input, as it stands where it is read; or back."""
        moved = list(axes)
        count = len(moved)
        for how, dims in reversed(self.moves) if back else self.moves:
            if any(not -count <= dim < count for dim in dims) or (how == "permute" and len(dims) != count):
                raise Refused(f"reads an input of {count} axes through {how} {dims}")
            order = list(range(count))
            if how == "exchange":
                first, second = dims
                order[first], order[second] = order[second], order[first]
            else:
                order = [dim % count for dim in dims]
                order = [order.index(dim) for dim in range(count)] if back else order
            moved = [moved[place] for place in order]
        return moved


@dataclass(frozen=True)
class States:
    """States of layers and directions: (count, batch, units), each a value (batch, units) of its own."""

    parts: tuple[TensorSpec, ...]

    @property
    def units(self) -> int:
        return self.parts[0].features


@dataclass(frozen=True)
class Packed:
    """A PackedSequence: a sequence, (batch, time, features) in the Graph, with the mask of its rows' steps."""

    tensor: Tensor
    mask: str


@dataclass(frozen=True, eq=False)
class Const:
    """A tensor that is known: a parameter, a buffer, or made by the trace."""

    array: Array


@dataclass(frozen=True)
class Filled:
    """A tensor of one number, of a size that may hang on an input's: ``torch.zeros(2, x.size(0), 16)``."""

    number: float


class Lengths:
    """The lengths that pad_packed_sequence gives back."""


def input_tensor(name: str, axes: Sequence[Any], is_ids: bool) -> Tensor:
    """An input whose axes are "batch", "time" or known sizes.

    Raises
    ------
    Refused
    """
    words = [axis for axis in axes if isinstance(axis, str)]
    sizes = [axis for axis in axes if not isinstance(axis, str)]
    known = all(isinstance(size, int) and not isinstance(size, bool) and size > 0 for size in sizes)
    if words.count("batch") != 1 or words.count("time") > 1 or set(words) - {"batch", "time"} or not known:
        raise Refused(f'inputs of {name!r}: expected axes such as ("batch", "time", 40), got {tuple(axes)}')
    inner = [index for index, axis in enumerate(axes) if not isinstance(axis, str)]
    lead = [list(axes).index(word) for word in ("batch", "time") if word in axes]
    time: Any = None if "time" in axes else sizes[0] if len(sizes) > 1 else False
    spec = tensor_spec(
        name, time, tuple(sizes[1:] if time not in (None, False) else sizes), "int32" if is_ids else "float32"
    )
    places = {axis: place for place, axis in enumerate([*lead, *inner])}
    mask = f"{name}:mask" if spec.is_sequence else None
    return Tensor(spec, tuple(places[axis] for axis in range(len(axes))), mask, steps_of(name))


def shown(value: Any) -> str:
    """A tensor's shape, or a shape, for a message."""
    return f"({', '.join(map(str, value.shape if isinstance(value, Tensor) else value))})"
