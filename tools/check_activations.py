"""Measures the errors of the activation kernels against float64: the figures in csrc/simd/activations.h.

For every elementwise function with its default parameters and every ISA of this machine it walks all float32 bit
patterns with a stride. It prints the largest error in ulp of the true value y where |y| is at least ``--floor`` (below,
a factor of y may have been flushed to zero), the largest error relative to max(1, |y|), and where each occurs.
``--stride 1`` is exhaustive: a matter of minutes for each function and ISA.

Run: python tools/check_activations.py [--stride N] [--isa NAME] [function …]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fastgru import _core
from fastgru.graph import ELEMENTWISE

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
import oracle

BLOCK = 1 << 20


def _gelu_tanh(x: np.ndarray) -> np.ndarray:
    return x * oracle.sigmoid(2 * np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))


def _mish(x: np.ndarray) -> np.ndarray:
    e = np.exp(np.minimum(x, 40.0))
    return x * (e * (e + 2) / (e * (e + 2) + 2))


def _squareplus(x: np.ndarray, b: float) -> np.ndarray:
    root = np.sqrt(x * x + b)
    return np.where(x > 0, (x + root) / 2, b / 2 / (root - x))


def _tanh_shrink(x: np.ndarray) -> np.ndarray:
    return np.where(np.abs(x) < 1e-2, x**3 / 3 - 2 * x**5 / 15 + 17 * x**7 / 315, x - np.tanh(x))


#: the oracle's formulas cancel here, or overflow, where a measurement in ulp cannot bear it
STABLE: dict[str, Callable[..., np.ndarray]] = {
    "gelu_tanh": _gelu_tanh,
    "mish": _mish,
    "softplus": lambda x: np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))),
    "log_sigmoid": lambda x: np.minimum(x, 0) - np.log1p(np.exp(-np.abs(x))),
    "squareplus": _squareplus,
    "tanh_shrink": _tanh_shrink,
}


@dataclass
class Worst:
    """The largest error seen and the argument that gave it."""

    error: float = 0.0
    at: float = 0.0

    def see(self, errors: np.ndarray, x: np.ndarray) -> None:
        i = int(np.argmax(errors))
        if errors[i] > self.error:
            self.error, self.at = float(errors[i]), float(x[i])


def floats(stride: int) -> Iterator[np.ndarray]:
    """All finite float32 whose bit pattern is a multiple of `stride`, in blocks; denormals as the 0 they count as."""
    for first in range(0, 1 << 32, stride * BLOCK):
        bits = np.arange(first, min(first + stride * BLOCK, 1 << 32), stride, dtype=np.int64)
        x = bits.astype(np.uint32).view(np.float32)
        yield np.where(np.abs(x) < 2.0**-126, np.float32(0), x)[np.isfinite(x)]


def measure(isa: str, name: str, stride: int, floor: float) -> tuple[Worst, Worst]:
    """Largest error in ulp and relative to max(1, |y|)."""
    params = tuple(ELEMENTWISE[name].values())
    formula = STABLE.get(name, oracle.ACTIVATIONS[name])
    ulp, relative = Worst(), Worst()
    for x in floats(stride):
        if not x.size:
            continue
        with np.errstate(all="ignore"):
            true = np.asarray(formula(x.astype(np.float64), *params), np.float64)
            off = np.abs(_core.kernel_activate(isa, name, params, x[None])[0] - true)
        size = np.abs(true)
        inside = size < 2.0**128 * (1 - 2.0**-25)
        unit = np.ldexp(1.0, np.frexp(np.maximum(size, floor))[1] - 24)
        ulp.see(np.where(inside & (size >= floor), off / unit, 0.0), x)
        relative.see(np.where(inside, off / np.maximum(1.0, size), 0.0), x)
    return ulp, relative


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("functions", nargs="*", default=list(ELEMENTWISE), metavar="function")
    parser.add_argument("--stride", type=int, default=4099)
    parser.add_argument("--floor", type=float, default=2.0**-100)
    parser.add_argument("--isa", action="append", help="default: every one of this machine")
    options = parser.parse_args()
    isas = options.isa or [isa for isa in _core.isa_names() if _core.isa_available(isa)]
    print(f"{'function':16} {'isa':12} {'ulp':>10} {'at':>14} {'/ max(1,|y|)':>14} {'at':>14}")
    for name in options.functions:
        for isa in isas:
            ulp, relative = measure(isa, name, options.stride, options.floor)
            print(f"{name:16} {isa:12} {ulp.error:10.4g} {ulp.at:14.8g} {relative.error:14.3g} {relative.at:14.8g}")


if __name__ == "__main__":
    main()
