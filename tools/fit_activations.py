"""Fits the polynomials of csrc/simd/activations.h and quick_gates.h: prints float32 coefficients and relative errors.

Each is a weighted minimax fit (Remez exchange on a dense grid). Coefficients are rounded to float32 one after the
other, lowest power first, and what is left is fitted again: later ones make up for the rounding of earlier ones.

Run: python tools/fit_activations.py
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import mpmath
import numpy as np

mpmath.mp.dps = 40
GRID = 4001


@dataclass(frozen=True)
class Fit:
    """target(x) ≈ Σ c[k]·x^k on [low, high]; the error is weighed by weight(x)."""

    name: str
    meaning: str
    target: Callable[[mpmath.mpf], mpmath.mpf]
    weight: Callable[[mpmath.mpf], mpmath.mpf]
    low: float
    high: float
    degree: int
    rounded_at_once: bool = False  # where what is left of a weight that vanishes within cannot be fitted again


def exp_tail(r: mpmath.mpf) -> mpmath.mpf:
    """(e^r − 1 − r) / r², by its series near zero."""
    return mpmath.nsum(lambda k: r**k / mpmath.factorial(k + 2), [0, 30])


def power_tail(f: mpmath.mpf) -> mpmath.mpf:
    """(2^f − 1) / f, by its series near zero."""
    step = mpmath.log(2)
    return mpmath.nsum(lambda k: step * (step * f) ** k / mpmath.factorial(k + 1), [0, 30])


def log_tail(f: mpmath.mpf) -> mpmath.mpf:
    """(log(1 + f) − f) / f², by its series near zero."""
    if abs(f) < 0.01:
        return mpmath.nsum(lambda k: (-1) ** int(k + 1) * f**k / (k + 2), [0, 30])
    return (mpmath.log1p(f) - f) / f**2


GELU_RANGE = 14.0
GELU_STEP = 0.3


def normal_ratio(v: mpmath.mpf) -> mpmath.mpf:
    """Φ(−a) · e^(a²/2) / t for t = 1 / (1 + GELU_STEP·a), v = 1 − t."""
    t = 1 - v
    a = v / t / mpmath.mpf(GELU_STEP)
    return mpmath.erfc(a / mpmath.sqrt(2)) / 2 * mpmath.exp(a * a / 2) / t


def erf_slope(s: mpmath.mpf) -> mpmath.mpf:
    """erf(x) / x − 1 for s = x²."""
    x = mpmath.sqrt(s)
    return (mpmath.erf(x) / x if x else 2 / mpmath.sqrt(mpmath.pi)) - 1


def erfc_slope(t: mpmath.mpf) -> mpmath.mpf:
    """log(erfc(t)) / t."""
    return mpmath.log(mpmath.erfc(t)) / t


def relative_to(y: Callable[[mpmath.mpf], mpmath.mpf]) -> Callable[[mpmath.mpf], mpmath.mpf]:
    """The weight of x² · P(x) as a part of y(x), where y(0) = 0."""
    return lambda x: abs(x * x / y(x)) if x else mpmath.mpf(0)


HALF = 0.5 * 1.001  # a little more, as n = round(x) is rounded itself
HALF_LN2 = float(mpmath.log(2)) / 2 * 1.001  # a little more, as n = round(x / ln 2) is rounded itself
ERF_NEAR, ERF_LAST = 0.9, 4.0
GELU_LAST = 1 - 1 / (1 + GELU_STEP * GELU_RANGE)
FITS = (
    Fit("EXP", "e^r = 1 + r + r²·P(r)", exp_tail, relative_to(mpmath.expm1), -HALF_LN2, HALF_LN2, 4),
    Fit(
        "POWER", "2^f = 1 + f·P(f)", power_tail, lambda f: abs(f) / mpmath.mpf(2) ** f, -HALF, HALF, 3,
        rounded_at_once=True,
    ),
    Fit("LOG", "log(1 + f) = f + f²·P(f)", log_tail, relative_to(mpmath.log1p), 0.5**0.5 - 1, 2**0.5 - 1, 8),
    Fit("NORMAL", "Φ(−a) = e^(−a²/2)·t·P(1 − t)", normal_ratio, lambda v: 1 / normal_ratio(v), 0, GELU_LAST, 9),
    Fit("ERF_NEAR", "erf(x) = x + x·P(x²)", erf_slope, lambda s: 1 / (1 + erf_slope(s)), 0, ERF_NEAR**2, 5),
    Fit(
        "ERF_FAR", "erf(t) = 1 − e^(t·P(t))", erfc_slope, lambda t: t * mpmath.erfc(t) / mpmath.erf(t),
        ERF_NEAR, ERF_LAST, 6,
    ),
)  # fmt: skip


def exchange(basis: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Minimax coefficients for values ≈ basis @ c, rows in the order of x (Remez)."""
    rows, terms = basis.shape
    chosen = np.round((1 - np.cos(np.pi * np.arange(terms + 1) / terms)) / 2 * (rows - 1)).astype(int)
    for _ in range(60):
        signs = (-1.0) ** np.arange(terms + 1)
        solution = np.linalg.solve(np.column_stack([basis[chosen], signs]), values[chosen])
        error = values - basis @ solution[:-1]
        runs = np.split(np.arange(rows), np.flatnonzero(np.diff(np.sign(error)) != 0) + 1)
        peaks = [run[np.argmax(abs(error[run]))] for run in runs]
        while len(peaks) > terms + 1:
            peaks.pop(0 if abs(error[peaks[0]]) < abs(error[peaks[-1]]) else -1)
        if len(peaks) <= terms or np.array_equal(peaks, chosen):
            break
        chosen = np.array(peaks)
    return solution[:-1]


def coefficients(fit: Fit) -> tuple[np.ndarray, float]:
    """float32 coefficients from the lowest power on, and the largest weighted error."""
    angles = np.linspace(0, np.pi, GRID)
    x = fit.low + (fit.high - fit.low) * (1 - np.cos(angles)) / 2
    weight = np.array([float(fit.weight(mpmath.mpf(v))) for v in x])
    left = np.array([float(fit.target(mpmath.mpf(v))) for v in x]) * weight
    basis = np.vander(x, fit.degree + 1, increasing=True) * weight[:, None]
    if fit.rounded_at_once:
        done = exchange(basis, left).astype(np.float32)
        return done, float(abs(left - basis @ done).max())
    done = np.zeros(fit.degree + 1, np.float32)
    for k in range(fit.degree + 1):
        done[k] = exchange(basis[:, k:], left)[0]
        left = left - basis[:, k] * float(done[k])
    return done, float(abs(left).max())


def main() -> None:
    for fit in FITS:
        values, error = coefficients(fit)
        print(f"{fit.name}: {fit.meaning}, [{fit.low:.4f}, {fit.high:.4f}], relative error {error:.2g}")
        for power, value in enumerate(values):
            print(f"    P{power} {value:.9g}f")


if __name__ == "__main__":
    main()
