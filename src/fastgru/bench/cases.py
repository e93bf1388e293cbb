"""What is measured: a row names the shape of one GRU layer's run, a case holds its weights and inputs as well."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import BadInput

Array = np.ndarray
#: consecutive steps after which the outputs of a row of single steps are compared
CHECKED_STEPS = 3
_ROW = re.compile(r"(\d+),(\d+),(\d+),(\d+)((?:/(?:before|lengths))*)")


@dataclass(frozen=True)
class Row:
    """The shape of one run of a GRU layer.

    A row of batch 1 and one step is measured as streaming: each call goes on from the state that the last one left.
    ``before`` stands for reset_after=False; ``lengths`` for a padded batch whose rows have from a quarter to all of
    the steps.

    >>> Row.parse("8,100,128,64/before")
    Row(batch=8, steps=100, inputs=128, units=64, reset_after=False, padded=False)
    >>> str(Row(64, 100, 256, 256, padded=True))
    '64,100,256,256/lengths'
    """

    batch: int
    steps: int
    inputs: int
    units: int
    reset_after: bool = True
    padded: bool = False

    @classmethod
    def parse(cls, text: str) -> Row:
        match = _ROW.fullmatch(text)
        batch, steps, inputs, units = map(int, match.groups()[:4]) if match else (0, 0, 0, 0)
        if match is None or 0 in (batch, steps, inputs, units):
            raise BadInput(f"a row is batch,steps,input,hidden[/before][/lengths], all above 0; got {text!r}")
        return cls(batch, steps, inputs, units, "before" not in match[5], "lengths" in match[5])

    @property
    def is_step(self) -> bool:
        return self.batch == self.steps == 1 and not self.padded

    def __str__(self) -> str:
        flags = "/before" * (not self.reset_after) + "/lengths" * self.padded
        return f"{self.batch},{self.steps},{self.inputs},{self.units}{flags}"


@dataclass(frozen=True, eq=False)
class Case:
    """A row with its numbers. Weights stand in the canonical order and layout of `fastgru.graph`.

    Attributes
    ----------
    kernel, recurrent_kernel : array (input, 3·hidden), (hidden, 3·hidden) float32
    bias, recurrent_bias : array (3·hidden,) float32
        Without reset_after there is one bias: `recurrent_bias` is zero.
    x : array (batch, steps, input) float32
    lengths : array (batch,) int32, or None
    """

    row: Row
    kernel: Array
    recurrent_kernel: Array
    bias: Array
    recurrent_bias: Array
    x: Array
    lengths: Array | None

    def to_dict(self) -> dict[str, Any]:
        """Plain values only, for a worker that may be another version's."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self)} | {"row": str(self.row)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Case:
        return cls(**{**values, "row": Row.parse(values["row"])})

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

    weights = uniform(row.inputs, 3 * row.units), uniform(row.units, 3 * row.units)
    return layer_case(row, *weights, uniform(3 * row.units), uniform(3 * row.units), rng)


def layer_case(
    row: Row, kernel: Array, recurrent_kernel: Array, bias: Array, recurrent_bias: Array, rng: np.random.Generator
) -> Case:
    """A case with the given weights and random inputs."""
    if not row.reset_after:
        bias, recurrent_bias = bias + recurrent_bias, np.zeros_like(recurrent_bias)
    x = rng.standard_normal((row.batch, row.steps, row.inputs), np.float32)
    lengths = None
    if row.padded:
        lengths = rng.integers(max(1, row.steps // 4), row.steps + 1, row.batch).astype(np.int32)
        lengths[rng.integers(row.batch)] = row.steps
    return Case(row, kernel, recurrent_kernel, bias, recurrent_bias, x, lengths)


def reference(case: Case, dtype: Any = np.float64) -> Array:
    """The layer from its formula: outputs (batch, steps, hidden), zero at padding; of single steps the last."""
    units, x = case.row.units, case.x.astype(dtype)
    r, c = case.recurrent_kernel.astype(dtype), case.recurrent_bias.astype(dtype)
    if case.row.is_step:
        x = np.repeat(x, CHECKED_STEPS, axis=1)
    projected = x @ case.kernel.astype(dtype) + case.bias.astype(dtype)
    h, outputs = np.zeros((len(x), units), dtype), np.empty((*x.shape[:2], units), dtype)
    for t in range(x.shape[1]):
        h = outputs[:, t] = _step(projected[:, t], h, r, c, case.row.reset_after)
    if case.lengths is not None:
        outputs[np.arange(x.shape[1]) >= case.lengths[:, None]] = 0
    return outputs[:, -1:] if case.row.is_step else outputs


def _step(x: Array, h: Array, r: Array, c: Array, reset_after: bool) -> Array:
    units = h.shape[1]
    gates, last = slice(None, 2 * units), slice(2 * units, None)
    z, reset = np.split(0.5 + 0.5 * np.tanh(0.5 * (x[:, gates] + h @ r[:, gates] + c[gates])), 2, axis=1)
    if reset_after:
        n = np.tanh(x[:, last] + reset * (h @ r[:, last] + c[last]))
    else:
        n = np.tanh(x[:, last] + (reset * h) @ r[:, last] + c[last])
    return z * h + (1 - z) * n
