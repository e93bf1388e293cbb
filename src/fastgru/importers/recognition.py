"""GRU cells out of arithmetic: whoever wrote z, r, n and h' down operator by operator gets his GRU back.

A reader runs the cell's operators with `Expression`s (`algebra.py`) and asks `recognise` what came out::

    h' = z · h + (1 − z) · n      z, r = f(x W + b + h R + c)
    n = g(x W + b + r · (h R + c))  or  g(x W + b + (r · h) R)

in whatever form that was written: n + z · (h − n), the update gate inverted, gates computed side by side or one by one,
the input in several parts, or already multiplied outside.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..layers.base import Activation, Array
from .algebra import Atom, Coefficient, Expression, Monomial, Selection, as_matrix
from .cell import Cell


@dataclass(frozen=True, eq=False, kw_only=True)
class Recognised(Cell):
    """A cell, and what it is computed from.

    Attributes
    ----------
    inputs : tuple of str
        The keys of the inputs; `kernel` takes them side by side.
    mask : str or None
        The mask by which steps are left out.
    computes_where : bool
        Which value of the mask computes a step; the other one keeps the state.
    """

    inputs: tuple[str, ...]
    mask: str | None = None
    computes_where: bool = True

    def behind(self, kernel: Array, bias: Array | None) -> Recognised | None:
        """The cell that takes what its one input is projected from, x · kernel + bias.

        None where the cell does more than select the projection's columns: products of matrices would round.
        """
        column, taken = np.nonzero(self.kernel.T)
        selects = len(taken) == self.kernel.shape[1] and np.array_equal(column, np.arange(len(taken)))
        if not selects or (self.kernel[taken, column] != 1).any() or (bias is not None and self.bias is not None):
            return None
        return replace(self, kernel=kernel[:, taken], bias=self.bias if bias is None else bias[taken])


class _NoCell(Exception):
    """Why an expression is no GRU cell."""


@dataclass(frozen=True)
class _Linear:
    """The part of a gate's argument that is linear: x W + b + h R + c."""

    kernels: dict[str, Array]
    recurrent_kernel: Array | None
    bias: Array | None
    recurrent_bias: Array | None


def recognise(new_state: Expression, state: str, inputs: Sequence[str] = ()) -> Recognised | str:
    """The GRU cell that computes a new state, or why it is none.

    Parameters
    ----------
    new_state : Expression
    state : str
        The key of the input that is the old state.
    inputs : sequence of str
        Keys of inputs in the order that the kernel should have them in; others follow in the order of their keys.

    Returns
    -------
    Recognised or str

    Examples
    --------
    >>> import numpy as np
    >>> W, R = np.ones((2, 9), np.float32), np.ones((3, 9), np.float32)
    >>> x, h = Expression.input("x", 2) @ W, Expression.input("h", 3)
    >>> zr = (x.columns(range(6)) + h @ R[:, :6]).activate(Activation("sigmoid"))
    >>> z, r = zr.columns(range(3)), zr.columns(range(3, 6))
    >>> n = (x.columns(range(6, 9)) + (r * h) @ R[:, 6:]).activate(Activation("tanh"))
    >>> cell = recognise(n + z * (Expression.input("h", 3) - n), "h")
    >>> cell.kernel.shape, cell.reset_after
    ((2, 9), False)
    >>> recognise(n + z * h * 0.5, "h")
    'the new state is not z · h + (1 − z) · n of two activations z and n'
    """
    try:
        mask, computes_where, plain = _unmasked(new_state, state)
        return replace(_cell(plain, state, inputs), mask=mask, computes_where=computes_where)
    except _NoCell as reason:
        return str(reason)


def _unmasked(new_state: Expression, state: str) -> tuple[str | None, bool, Expression]:
    """Mask, the value for which it computes, and what it computes there."""
    masks = sorted({atom.key for atoms in new_state.terms for atom in atoms if atom.kind == "mask"})
    if not masks:
        return None, True, new_state
    if len(masks) > 1:
        raise _NoCell(f"the new state hangs on {len(masks)} masks")
    kept = Expression.input(state, new_state.size)
    for value in (True, False):
        if new_state.where({masks[0]: not value}) == kept:
            return masks[0], value, new_state.where({masks[0]: value})
    raise _NoCell("where the mask leaves a step out, the state is not kept")


def _cell(new_state: Expression, state: str, inputs: Sequence[str]) -> Recognised:
    update, candidate, is_inverted = _blend(new_state, state)
    f = update.activation
    if is_inverted and f.name != "sigmoid" and not (f.name == "hard_sigmoid" and f.params[1] == 0.5):
        raise _NoCell(f"the update gate is inverted, which {f.name} does not allow")
    z = _linear(_argument(update), state)
    n, reset, inner, reset_after = _candidate(_argument(candidate), state)
    if reset.activation != f:
        raise _NoCell(f"the update gate is {_shown(f)}, the reset gate {_shown(reset.activation)}")
    gates = (_negated(z) if is_inverted else z, _linear(_argument(reset), state), n)
    sizes = {atom.key: atom.size for gate in (update, reset, candidate) for atom in _inputs(_argument(gate))}
    names = tuple(key for key in inputs if key in sizes) + tuple(sorted(set(sizes) - {*inputs, state}))
    if not names:
        raise _NoCell("nothing but the state is read")
    units = new_state.size
    recurrent = [gate.recurrent_kernel for gate in gates[:2]] + [inner.recurrent_kernel]
    return Recognised(
        np.vstack([_side_by_side([gate.kernels.get(key) for gate in gates], sizes[key], units) for key in names]),
        _side_by_side(recurrent, units, units),
        _row([gate.bias for gate in gates], units),
        _row([gate.recurrent_bias for gate in gates[:2]] + [inner.recurrent_bias], units),
        reset_after,
        candidate.activation,
        f,
        inputs=names,
    )


def _blend(new_state: Expression, state: str) -> tuple[Atom, Atom, bool]:
    """z and n of z · h + (1 − z) · n; or of (1 − z) · h + z · n, and that they are."""
    failure = _NoCell("the new state is not z · h + (1 − z) · n of two activations z and n")
    scales = {atoms: _scale(atoms, value) for atoms, value in new_state.terms.items()}
    singles = [atoms[0] for atoms in scales if len(atoms) == 1]
    pairs = [atoms for atoms in scales if len(atoms) == 2]
    held = [pair for pair in pairs if any(_is(atom, state) for atom in pair)]
    if len(singles) != 1 or len(pairs) != 2 or len(held) != 1 or len(scales) != 3:
        raise failure
    z = next((atom for atom in held[0] if not _is(atom, state)), None)
    mixed = pairs[pairs[0] == held[0]]
    n = next((atom for atom in mixed if atom != z), None)
    if z is None or n is None or z not in mixed or z.kind != "function" or n.kind != "function":
        raise failure
    is_inverted = _is(singles[0], state)
    sign = -1 if is_inverted else 1
    expected = {(singles[0],): 1, held[0]: sign, mixed: -sign}
    if singles[0] not in (n, *(atom for atom in held[0] if atom != z)) or scales != expected:
        raise failure
    return z, n, is_inverted


def _candidate(argument: Expression, state: str) -> tuple[_Linear, Atom, _Linear, bool]:
    """The candidate's part without the reset gate, that gate, the part behind it, and whether that is reset_after."""
    products = [atoms for atoms in argument.terms if len(atoms) > 1]
    if len(products) != 1 or len(products[0]) != 2:
        raise _NoCell("the candidate should read the state through one product with a reset gate")
    value = argument.terms[products[0]]
    rest = Expression(argument.size, {atoms: v for atoms, v in argument.terms.items() if atoms not in products})
    outer = _linear(rest, state)
    if outer.recurrent_kernel is not None:
        raise _NoCell("the candidate reads the state beside the reset gate too")
    held = [atom for atom in products[0] if _is(atom, state)]
    if held:
        reset = next((atom for atom in products[0] if atom not in held), None)
        if reset is None or reset.kind != "function":
            raise _NoCell("the candidate multiplies the state by something that is no gate")
        return outer, reset, _Linear({}, as_matrix(value, held[0].size), None, outer.recurrent_bias), False
    for reset, other in (products[0], products[0][::-1]):
        inner = None if other.argument is None or other.activation.name != "linear" else other.argument
        if inner is not None and _scale(products[0], value) == 1 and reset.kind == "function":
            behind = _linear(inner, state)
            if not behind.kernels and behind.recurrent_kernel is not None:
                outside = replace(outer, bias=_total([outer.bias, outer.recurrent_bias]))
                inside = replace(behind, recurrent_bias=_total([behind.bias, behind.recurrent_bias]))
                return outside, reset, inside, True
    raise _NoCell("what the reset gate multiplies is neither the state nor the state times a matrix")


def _linear(argument: Expression, state: str) -> _Linear:
    """x W + b + h R + c as its parts."""
    kernels: dict[str, Array] = {}
    recurrent = None
    rows: list[Array | None] = []
    recurrent_rows: list[Array | None] = []
    for atoms, value in argument.terms.items():
        (atom, *more) = atoms
        if more or atom.kind not in ("input", "one"):
            what = {"mask": "a mask", "function": f"a function ({_shown(atom.activation)})"}.get(atom.kind, "a product")
            raise _NoCell(f"a gate holds {what} where only inputs and the state times a matrix belong")
        matrix = as_matrix(value, atom.size)
        if atom.kind == "one":
            (recurrent_rows if atom.key == state else rows).append(matrix[0])
        elif _is(atom, state):
            recurrent = matrix
        else:
            kernels[atom.key] = matrix
    if len(rows) > 1 and not recurrent_rows:
        recurrent_rows.append(rows.pop())  # two biases stay two
    return _Linear(kernels, recurrent, _total(rows), _total(recurrent_rows))


def _total(rows: Sequence[Array | None]) -> Array | None:
    given = [row for row in rows if row is not None]
    return np.stack(given).sum(0, np.float32) if given else None


def _negated(gate: _Linear) -> _Linear:
    def negative(value: Array | None) -> Array | None:
        return None if value is None else -value

    kernels = {key: -kernel for key, kernel in gate.kernels.items()}
    return _Linear(kernels, negative(gate.recurrent_kernel), negative(gate.bias), negative(gate.recurrent_bias))


def _side_by_side(gates: Sequence[Array | None], rows: int, units: int) -> Array:
    missing = np.zeros((rows, units), np.float32)
    return np.hstack([missing if gate is None else gate for gate in gates])


def _row(gates: Sequence[Array | None], units: int) -> Array | None:
    if all(gate is None for gate in gates):
        return None
    return np.concatenate([np.zeros(units, np.float32) if gate is None else gate for gate in gates])


def _argument(function: Atom) -> Expression:
    assert function.argument is not None
    return function.argument


def _inputs(argument: Expression) -> list[Atom]:
    return [atom for atoms in argument.terms for atom in atoms if len(atoms) == 1 and atom.kind == "input"]


def _is(atom: Atom, state: str) -> bool:
    return atom.kind == "input" and atom.key == state


def _scale(atoms: Monomial, value: Coefficient) -> float | None:
    return value.scale(max(atom.size for atom in atoms)) if isinstance(value, Selection) else None


def _shown(activation: Activation) -> str:
    params = ", ".join(f"{value:g}" for value in activation.params)
    return f"{activation.name}({params})" if params else activation.name
