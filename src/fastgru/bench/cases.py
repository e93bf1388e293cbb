"""What is measured: a row names the shape of one GRU layer's run, a case holds its weights and inputs as well."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import BadInput

Array = np.ndarray
#: consecutive steps after which the outputs of a row of single steps are compared
CHECKED_STEPS = 3
#: how a row is written
ROW_FORM = "batch,steps,input,hidden[/before][/lengths][/bidirectional]"
_ROW = re.compile(r"(\d+),(\d+),(\d+),(\d+)((?:/(?:before|lengths|bidirectional))*)")


@dataclass(frozen=True)
class Row:
    """The shape of one run of a GRU layer.

    A row of batch 1 and one step is measured as streaming: each call goes on from the state that the last one left.
    ``before`` stands for reset_after=False; ``lengths`` for a padded batch whose rows have from a quarter to all of
    the steps; ``bidirectional`` for two layers over one input, the second backwards, with `units` each.

    >>> Row.parse("8,100,128,64/before")
    Row(batch=8, steps=100, inputs=128, units=64, reset_after=False, padded=False, bidirectional=False)
    >>> str(Row(64, 100, 256, 256, padded=True))
    '64,100,256,256/lengths'
    """

    batch: int
    steps: int
    inputs: int
    units: int
    reset_after: bool = True
    padded: bool = False
    bidirectional: bool = False

    @classmethod
    def parse(cls, text: str) -> Row:
        match = _ROW.fullmatch(text)
        batch, steps, inputs, units = map(int, match.groups()[:4]) if match else (0, 0, 0, 0)
        if match is None or 0 in (batch, steps, inputs, units):
            raise BadInput(f"a row is {ROW_FORM}, all above 0; got {text!r}")
        flags = match[5].split("/")
        return cls(batch, steps, inputs, units, "before" not in flags, "lengths" in flags, "bidirectional" in flags)

    @property
    def is_step(self) -> bool:
        return self.batch == self.steps == 1 and not self.padded and not self.bidirectional

    @property
    def directions(self) -> int:
        return 2 if self.bidirectional else 1

    def __str__(self) -> str:
        flags = "/before" * (not self.reset_after) + "/lengths" * self.padded + "/bidirectional" * self.bidirectional
        return f"{self.batch},{self.steps},{self.inputs},{self.units}{flags}"


@dataclass(frozen=True, eq=False)
class Weights:
    """Of one direction, in the canonical order and layout of `fastgru.graph`.

    Attributes
    ----------
    kernel, recurrent_kernel : array (input, 3·hidden), (hidden, 3·hidden) float32
    bias, recurrent_bias : array (3·hidden,) float32
        Without reset_after there is one bias: `recurrent_bias` is zero.
    """

    kernel: Array
    recurrent_kernel: Array
    bias: Array
    recurrent_bias: Array


@dataclass(frozen=True, eq=False)
class Case:
    """A row with its numbers.

    Attributes
    ----------
    directions : tuple of Weights
        One set; of a bidirectional row two, forward first.
    x : array (batch, steps, input) float32
    lengths : array (batch,) int32, or None
    """

    row: Row
    directions: tuple[Weights, ...]
    x: Array
    lengths: Array | None

    def to_dict(self) -> dict[str, Any]:
        """Plain values only, for a worker that may be another version's."""
        directions = [dict(vars(weights)) for weights in self.directions]
        return {"row": str(self.row), "directions": directions, "x": self.x, "lengths": self.lengths}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Case:
        directions = tuple(Weights(**weights) for weights in values["directions"])
        return cls(**{**values, "row": Row.parse(values["row"]), "directions": directions})

    @property
    def calls(self) -> int:
        """How many calls, from a zero state, lead to the output that is compared."""
        return CHECKED_STEPS if self.row.is_step else 1

    @property
    def row_steps(self) -> int:
        """Steps of all rows together, without padding."""
        return self.row.batch * self.row.steps if self.lengths is None else int(self.lengths.sum())


def random_case(row: Row, seed: int = 7) -> Case:
    """Glorot-sized uniform weights and normal inputs, from a fixed seed."""
    rng = np.random.default_rng(seed)

    def uniform(*shape: int) -> Array:
        limit = np.sqrt(3.0 / row.units)
        return rng.uniform(-limit, limit, shape).astype(np.float32)

    gates = 3 * row.units
    shapes = (row.inputs, gates), (row.units, gates), (gates,), (gates,)
    return layer_case(row, [Weights(*(uniform(*shape) for shape in shapes)) for _ in range(row.directions)], rng)


def layer_case(row: Row, directions: Iterable[Weights], rng: np.random.Generator) -> Case:
    """A case with the given weights and random inputs."""
    if not row.reset_after:
        directions = [
            Weights(w.kernel, w.recurrent_kernel, w.bias + w.recurrent_bias, np.zeros_like(w.bias)) for w in directions
        ]
    x = rng.standard_normal((row.batch, row.steps, row.inputs), np.float32)
    lengths = None
    if row.padded:
        lengths = rng.integers(max(1, row.steps // 4), row.steps + 1, row.batch).astype(np.int32)
        lengths[rng.integers(row.batch)] = row.steps
    return Case(row, tuple(directions), x, lengths)


def reference(case: Case, dtype: Any = np.float64) -> Array:
    """The layer from its formula: outputs (batch, steps, hidden), zero at padding; of single steps the last.

    Of a bidirectional layer both directions side by side, forward first.
    """
    x = case.x.astype(dtype)
    if case.row.is_step:
        x = np.repeat(x, CHECKED_STEPS, axis=1)
    lengths = np.full(len(x), x.shape[1]) if case.lengths is None else case.lengths
    outputs = [_direction(case.directions[0], x, case.row.reset_after)]
    if case.row.bidirectional:
        outputs.append(_turned(_direction(case.directions[1], _turned(x, lengths), case.row.reset_after), lengths))
    y = np.concatenate(outputs, axis=2)
    y[np.arange(x.shape[1]) >= lengths[:, None]] = 0
    return y[:, -1:] if case.row.is_step else y


def _turned(x: Array, lengths: Array) -> Array:
    """The steps of each row from its last one to its first; padding stays where it is."""
    steps = np.arange(x.shape[1])
    order = np.where(steps < lengths[:, None], lengths[:, None] - 1 - steps, steps)
    return np.take_along_axis(x, order[:, :, None], axis=1)


def _direction(weights: Weights, x: Array, reset_after: bool) -> Array:
    r, c = weights.recurrent_kernel.astype(x.dtype), weights.recurrent_bias.astype(x.dtype)
    projected = x @ weights.kernel.astype(x.dtype) + weights.bias.astype(x.dtype)
    h = np.zeros((len(x), len(r)), x.dtype)
    outputs = np.empty((*x.shape[:2], len(r)), x.dtype)
    for t in range(x.shape[1]):
        h = outputs[:, t] = _step(projected[:, t], h, r, c, reset_after)
    return outputs


def _step(x: Array, h: Array, r: Array, c: Array, reset_after: bool) -> Array:
    units = h.shape[1]
    gates, last = slice(None, 2 * units), slice(2 * units, None)
    z, reset = np.split(0.5 + 0.5 * np.tanh(0.5 * (x[:, gates] + h @ r[:, gates] + c[gates])), 2, axis=1)
    if reset_after:
        n = np.tanh(x[:, last] + reset * (h @ r[:, last] + c[last]))
    else:
        n = np.tanh(x[:, last] + (reset * h) @ r[:, last] + c[last])
    return z * h + (1 - z) * n
