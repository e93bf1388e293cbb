"""Chunks of unequal length: which rows run together, so that each runs its own steps and no more."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ._openmp import core
from .errors import BadInput
from .graph import Array, TensorSpec


class Piece(NamedTuple):
    """Rows of a chunk, by their places in it, and those of its steps that they run together.

    Attributes
    ----------
    rows : int array
    first, last : int
        Steps [first, last).
    """

    rows: Array
    first: int
    last: int


def pieces(lengths: Array, before: Array) -> Iterator[Piece]:
    """What rows of these lengths run, in order: all of them up to the shortest length, then those that are left, and
    so on; rows that have had other numbers of steps `before` by themselves. Rows of no steps are a piece of no steps.

    >>> found = pieces(np.array([4, 0, 2, 4, 1]), np.array([7, 7, 7, 7, 8]))
    >>> [(piece.rows.tolist(), piece.first, piece.last) for piece in found]
    [([1], 0, 0), ([0, 2, 3], 0, 2), ([0, 3], 2, 4), ([4], 0, 1)]
    """
    for had in np.unique(before):
        first, alike = 0, before == had
        for last in np.unique(lengths[alike]).tolist():
            yield Piece(np.flatnonzero(alike & (lengths >= last if last else lengths == 0)), first, last)
            first = last


def own_lengths(lengths: Any, sequences: Sequence[TensorSpec], arrays: Mapping[str, Array]) -> Array:
    """The steps of each row, of which all inputs have as many.

    Parameters
    ----------
    lengths : array, or dict of arrays by input
        As `Stream.run`; what a dict does not name has all steps.
    sequences : sequence of TensorSpec
        The inputs with a time axis.
    arrays : dict
        What they are given, (batch, time, …).

    Raises
    ------
    BadInput
        Lengths that are not one whole number a row, or more than there are steps; inputs of several lengths.
    """
    name = sequences[0].name
    found = {spec.name: core.checked_lengths(_of(lengths, spec.name), arrays[spec.name], spec) for spec in sequences}
    for other, given in found.items():
        if not np.array_equal(given, found[name]):
            row = int(np.flatnonzero(given != found[name])[0])
            raise BadInput(
                f"rows that run their own steps take as many of every input; row {row} has {found[name][row]} of "
                f"{name!r}, but {given[row]} of {other!r}"
            )
    return found[name]


def _of(lengths: Any, name: str) -> Any:
    return lengths.get(name) if isinstance(lengths, Mapping) else lengths
