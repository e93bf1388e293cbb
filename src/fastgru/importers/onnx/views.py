"""Views of values (`Tensor`) that change for nothing: which axes there are, and what each is made of."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ..sizes import Dim, declared, product, same
from .node import Refusal, axis_in
from .values import Tensor

if TYPE_CHECKING:
    from .network import Network

#: the most axes that a view may have
MOST_AXES = 16


def size_of(net: Network, x: Tensor, part: int) -> Dim:
    """The size of one axis of the value, its features split."""
    if part == 0:
        return net.batch
    return x.steps if x.spec.is_sequence and part == 1 else x.sizes[part - x.lead]


def shape_of(net: Network, x: Tensor) -> tuple[Dim, ...]:
    """The shape in ONNX."""
    return tuple(product(size_of(net, x, part) for part in parts) for parts in x.axes)


def unsqueezed(x: Tensor, axes: Sequence[int]) -> Tensor:
    """With axes of size 1 at these places of the result."""
    rank = x.rank + len(axes)
    if rank > MOST_AXES:
        raise Refusal(f"makes a value of {rank} axes")
    new = sorted(axis_in(axis, rank) for axis in axes)
    if len(set(new)) != len(new):
        raise Refusal(f"axes {tuple(axes)} name one twice")
    found = list(x.axes)
    for axis in new:
        found.insert(axis, ())
    return replace(x, axes=tuple(found))


def without_units(x: Tensor) -> Tensor:
    """The same view, whose features are split into no sizes of 1."""
    if 1 not in x.sizes:
        return x
    kept = [part for part in inner_parts(x) if x.sizes[part - x.lead] != 1]
    return _renumbered(x, kept)



def inner_parts(x: Tensor) -> range:
    """The parts behind batch and time."""
    return range(x.lead, x.lead + len(x.sizes))


def without_batch(net: Network, x: Tensor, axis: int) -> Tensor:
    """Where the file declares one row: the same view, an axis of which is not (also) made of the batch."""
    if 0 not in x.axes[axis] or declared(net.batch) != 1:
        return x
    parts = tuple(part for part in x.axes[axis] if part)
    return replace(x, axes=(*x.axes[:axis], parts, *x.axes[axis + 1 :]))


def reshaped(net: Network, x: Tensor, target: Sequence[Dim]) -> Tensor | None:
    """With other axes over the same numbers in the same order; None where batch or time would be cut or left over.

    None of `target` is −1 or stands for a copy.
    """
    if len(target) > MOST_AXES:
        raise Refusal(f"makes a value of {len(target)} axes")
    x = without_units(x)
    found = _matched(net, x, target)
    return _matched(net, _with_neighbours_merged(x), target) if found is None else found


def _matched(net: Network, x: Tensor, target: Sequence[Dim]) -> Tensor | None:
    left = [_Atom(part, size_of(net, x, part)) for parts in x.axes for part in parts]
    axes: list[list[_Atom]] = []
    for wanted in target:
        taken = _taken(left, wanted, x.lead)
        if taken is None:
            return None
        axes.append(taken)
    if any(atom.part or declared(atom.size) != 1 for atom in left):
        return None
    return _of_atoms(x, axes)


def _with_neighbours_merged(x: Tensor) -> Tensor:
    """One axis, of the same numbers in the same order, whose parts follow each other in memory as they do in ONNX."""
    order = [part for parts in x.axes for part in parts]
    joins = {b for a, b in itertools.pairwise(order) if b == a + 1 and a >= x.lead}  # parts that go with the one before
    places: dict[int, int] = {part: part for part in range(x.lead)}
    sizes: list[int] = []
    for part in inner_parts(x):
        if part in joins:
            sizes[-1] *= x.sizes[part - x.lead]
        else:
            places[part] = x.lead + len(sizes)
            sizes.append(x.sizes[part - x.lead])
    axes = tuple(tuple(places[part] for part in parts if part in places) for parts in x.axes)
    return replace(x, sizes=tuple(sizes), axes=axes)


class _Atom:
    """A part of a value or, of one behind batch and time, a factor of it: the factors of one part stand in order."""

    def __init__(self, part: int, size: Dim, place: tuple[int, ...] = ()) -> None:
        self.part, self.size, self.place = part, size, place

    def split(self, first: int) -> tuple[_Atom, _Atom]:
        rest = self.size // first
        return _Atom(self.part, first, (*self.place, 0)), _Atom(self.part, rest, (*self.place, 1))


def _taken(left: list[_Atom], wanted: Dim, lead: int) -> list[_Atom] | None:
    """The atoms that make an axis of the `wanted` size, taken from those that are left."""
    if same(wanted, 1):
        is_one = bool(left) and left[0].part < lead and same(left[0].size, 1)
        return [left.pop(0)] if is_one else []
    taken: list[_Atom] = []
    total: Dim = 1
    while not same(total, wanted):
        if not left:
            return None
        atom = left.pop(0)
        if atom.part >= lead and isinstance(wanted, int) and isinstance(total, int) and isinstance(atom.size, int):
            rest = wanted // total
            if wanted % total == 0 and rest < atom.size:
                if rest < 1 or atom.size % rest:
                    return None
                atom, after = atom.split(rest)
                left.insert(0, after)
        taken.append(atom)
        total = total * atom.size
    without = product(atom.size for atom in taken if atom.part)
    if total != wanted and len(taken) > 1 and without == wanted:  # one row that stands in no axis of its own
        taken = [atom for atom in taken if atom.part]
    return taken


def _of_atoms(x: Tensor, axes: Sequence[Sequence[_Atom]]) -> Tensor:
    used = [atom for atoms in axes for atom in atoms]
    inner = sorted((atom for atom in used if atom.part >= x.lead), key=lambda atom: (atom.part, atom.place))
    numbers = {id(atom): x.lead + index for index, atom in enumerate(inner)}
    sizes = tuple(int(atom.size) for atom in inner)  # type: ignore[arg-type]
    return replace(
        x, sizes=sizes, axes=tuple(tuple(numbers.get(id(atom), atom.part) for atom in atoms) for atoms in axes)
    )


def _renumbered(x: Tensor, kept: Sequence[int]) -> Tensor:
    """Without the inner parts, all of size 1, that are not kept."""
    places = {part: x.lead + index for index, part in enumerate(kept)} | {part: part for part in range(x.lead)}
    axes = tuple(tuple(places[part] for part in parts if part in places) for parts in x.axes)
    return replace(x, sizes=tuple(x.sizes[part - x.lead] for part in kept), axes=axes)


def shown(shape: Sequence[Dim]) -> str:
    return f"({', '.join(map(str, shape))})"
