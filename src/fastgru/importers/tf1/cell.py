"""One step of a GRU out of what a graph adds up: `fastgru.importers.recognition` recognises its arithmetic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import FastGRUError
from ..algebra import Expression
from ..cell import Cell
from ..recognition import recognise
from .values import LAZY, Active, Affine, Complement, Joined, Product, Refused, shape_of


@dataclass(frozen=True, eq=False)
class CellStep:
    """A GRU cell and what it reads: `inputs` side by side, and the state `h`."""

    inputs: tuple[Any, ...]
    h: Any
    cell: Cell

    @property
    def units(self) -> int:
        return self.cell.units

    def computes_as(self, other: CellStep) -> bool:
        """Whether two steps compute the same of their own inputs and states."""
        pairs = zip(self.cell.attributes.values(), other.cell.attributes.values(), strict=True)
        return all(np.array_equal(mine, others) for mine, others in pairs)


def cell_of(left: Any, right: Any) -> CellStep | None:
    """The step whose new state is ``left + right``, as TensorFlow's cells end; None where that is no GRU's."""
    if not (isinstance(left, Product) and isinstance(right, Product)):
        return None
    factors = [side for part in (left, right) for side in (part.left, part.right)]
    for h in {id(side): side for side in factors if not isinstance(side, LAZY)}.values():
        reading = _Reading(h)
        try:
            found = recognise(reading.expression(left) + reading.expression(right), reading.STATE)
        except (FastGRUError, Refused):  # sizes that do not fit: whoever computes the sum says so
            continue
        if not isinstance(found, str):
            return CellStep(tuple(reading.inputs[key] for key in found.inputs), h, found)
    return None


class _Reading:
    """Values as expressions of a state; what does not depend on it is an input."""

    STATE = "state"

    def __init__(self, h: Any) -> None:
        self.h = h
        self.inputs: dict[str, Any] = {}

    def expression(self, value: Any) -> Expression:
        if value is self.h:
            return Expression.input(self.STATE, _features(value))
        if isinstance(value, Affine):
            return self._affine(value)
        if isinstance(value, Active) and self._reads_state(value):
            return self.expression(value.value).activate(value.function)
        if isinstance(value, Complement) and self._reads_state(value):
            return 1 - self.expression(value.value)
        if isinstance(value, Product) and self._reads_state(value):
            return self.expression(value.left) * self.expression(value.right)
        return self._input(value)

    def _affine(self, value: Affine) -> Expression:
        parts = [
            self.expression(term.value) if term.matrix is None else self._operand(term.value) @ term.matrix
            for term in value.terms
        ]
        total = sum(parts[1:], parts[0])
        return total if value.bias is None else total + value.bias

    def _operand(self, value: Any) -> Expression:
        """What a matrix multiplies: an expression that is no part of the cell is computed before it."""
        return self.expression(value) if self._reads_state(value) else self._input(value)

    def _input(self, value: Any) -> Expression:
        key = next((key for key, known in self.inputs.items() if known is value), f"input {len(self.inputs):04}")
        self.inputs[key] = value
        return Expression.input(key, _features(value))

    def _reads_state(self, value: Any) -> bool:
        waiting = [value]
        while waiting:
            value = waiting.pop()
            if value is self.h:
                return True
            if isinstance(value, Affine):
                waiting += [term.value for term in value.terms]
            elif isinstance(value, (Active, Complement)):
                waiting.append(value.value)
            elif isinstance(value, Product):
                waiting += [value.left, value.right]
            elif isinstance(value, Joined):
                waiting += value.parts
        return False


def _features(value: Any) -> int:
    size = shape_of(value)[-1]
    if not isinstance(size, int):
        raise Refused("has a free number of features")
    return size
