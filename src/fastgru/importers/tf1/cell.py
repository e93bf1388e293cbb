"""A GRU cell out of its arithmetic: whichever way TensorFlow's cells write it, it is two products that are added."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...graph import Activation
from ...layers.base import SIGMOID
from .nodes import Array
from .values import Active, Affine, Complement, Product, Refused, Term, shape_of


@dataclass(frozen=True, eq=False)
class Cell:
    """A GRU's step in the canonical form: gates z, r, n in columns. `inputs` are side by side in the kernel's rows."""

    inputs: tuple[Any, ...]
    h: Any
    kernel: Array
    recurrent_kernel: Array
    bias: Array | None
    recurrent_bias: Array | None
    reset_after: bool
    activation: Activation
    recurrent_activation: Activation

    @property
    def units(self) -> int:
        return self.recurrent_kernel.shape[0]

    def equals(self, other: Cell) -> bool:
        """Whether two cells compute the same of their own inputs and states."""
        settings = [(c.reset_after, c.activation, c.recurrent_activation, len(c.inputs)) for c in (self, other)]
        fields = ("kernel", "recurrent_kernel", "bias", "recurrent_bias")
        return settings[0] == settings[1] and all(
            _same_array(getattr(self, key), getattr(other, key)) for key in fields
        )


def cell_of(left: Any, right: Any) -> Cell | None:
    """The GRU cell whose new state is ``left + right``; None where that is no such sum.

    ``h' = u·h + (1 − u)·c`` with ``u = f(affine of x and h)``, in any order; or with u and 1 − u exchanged.
    """
    if not (isinstance(left, Product) and isinstance(right, Product)):
        return None
    for kept, new in ((left, right), (right, left)):
        for gate, h in _both_ways(kept):
            for rest, candidate in _both_ways(new):
                if not (isinstance(rest, Complement) and rest.value is gate and _is_gate(gate)):
                    continue
                for state, other, inverted in ((h, candidate, False), (candidate, h, True)):
                    if isinstance(other, Active) and isinstance(other.value, Affine) and _reads(gate.value, state):
                        cell = _cell(gate, state, other, inverted)
                        if cell is not None:
                            return cell
    return None


def _cell(update: Active, h: Any, candidate: Active, inverted: bool) -> Cell | None:
    products = [term for term in candidate.value.terms if isinstance(term.value, Product)]
    if len(products) != 1:
        return None
    for reset, gated in _both_ways(products[0].value):
        if not _is_gate(reset) or reset.function != update.function or not _reads(reset.value, h):
            continue
        outside = [term for term in candidate.value.terms if term is not products[0]]
        if gated is h and products[0].matrix is not None:
            return _canonical(update, reset, candidate, h, outside, products[0].matrix, None, False, inverted)
        if isinstance(gated, Affine) and products[0].matrix is None and all(t.value is h for t in gated.terms):
            matrix = _matrix(gated.terms, h)
            return _canonical(update, reset, candidate, h, outside, matrix, gated, True, inverted)
    return None


def _canonical(
    update: Active, reset: Active, candidate: Active, h: Any, outside: Sequence[Term], hidden: Array,
    gated: Affine | None, reset_after: bool, inverted: bool,
) -> Cell | None:  # fmt: skip
    """TensorFlow's gates u, r, c are z, r, n here, and h' means the same."""
    if inverted and update.function != SIGMOID:
        return None
    sign = np.float32(-1 if inverted else 1)  # 1 − sigmoid(a) = sigmoid(−a)
    gates: list[Affine] = [update.value, reset.value]
    if any(term.value is h for term in outside):
        return None
    of_inputs = [[term for term in gate.terms if term.value is not h] for gate in gates] + [list(outside)]
    inputs = list({id(term.value): term.value for terms in of_inputs for term in terms}.values())
    if not inputs or any(isinstance(value, Product) for value in inputs):
        return None
    units = hidden.shape[1]
    columns = [np.concatenate([_matrix(terms, value) for value in inputs]) if terms else None for terms in of_inputs]
    recurrent = [_matrix(gate.terms, h) for gate in gates] + [hidden]
    if any(matrix is not None and matrix.shape[1] != units for matrix in [*columns, *recurrent]) or any(
        matrix.shape[0] != units for matrix in recurrent
    ):
        return None
    depth = next(matrix.shape[0] for matrix in columns if matrix is not None)
    kernels = [np.zeros((depth, units), np.float32) if matrix is None else matrix for matrix in columns]
    kernels[0], recurrent[0] = sign * kernels[0], sign * recurrent[0]
    biases = [_bias(update.value, units), _bias(reset.value, units), _bias(candidate.value, units)]
    biases[0] = sign * biases[0]
    bias = np.concatenate(biases)
    late = None if gated is None or gated.bias is None else np.concatenate([np.zeros(2 * units, "f4"), gated.bias])
    return Cell(
        tuple(inputs), h, np.concatenate(kernels, axis=1), np.concatenate(recurrent, axis=1),
        bias if bias.any() else None, late, reset_after, candidate.function, update.function,
    )  # fmt: skip


def _matrix(terms: Sequence[Term], value: Any) -> Array:
    """What a value is multiplied with, over all terms; zeros where it is in none."""
    units = next(shape_of(term.value)[-1] if term.matrix is None else term.matrix.shape[1] for term in terms)
    rows = shape_of(value)[-1]
    if not isinstance(units, int) or not isinstance(rows, int):
        raise Refused("has a free number of units")
    total = np.zeros((rows, units), np.float32)
    for term in terms:
        if term.value is value:
            total = total + (np.eye(rows, units, dtype=np.float32) if term.matrix is None else term.matrix)
    return total


def _bias(value: Affine, units: int) -> Array:
    return np.zeros(units, np.float32) if value.bias is None else np.broadcast_to(value.bias, units)


def _both_ways(value: Product) -> itertools.permutations[Any]:
    return itertools.permutations((value.left, value.right))


def _is_gate(value: Any) -> bool:
    return isinstance(value, Active) and not value.function.is_rowwise and isinstance(value.value, Affine)


def _reads(value: Affine, h: Any) -> bool:
    return any(term.value is h for term in value.terms)


def _same_array(left: Array | None, right: Array | None) -> bool:
    if left is None or right is None:
        return left is right
    return np.array_equal(left, right)
