"""The gates beside weights that are rounded themselves: where these are zeros, all sums of a step are its biases."""

from __future__ import annotations

import numpy as np
import pytest

import fastgru
from building import chain, floats, sets_of
from fastgru.graph import GRU

UNITS = 203  # vectors several at once and one alone, and some units more
ERROR = 2.5e-6  # of h' over max(1, |h|), where what r multiplies lies in [-1, 1]
RESET_ERROR = 8e-7  # of what r multiplies beyond that
PAIRS = [(dtype, isa) for dtype in ("int8", "bfloat16") for isa in sets_of(dtype)]

every_pair = pytest.mark.parametrize(("dtype", "kernels"), PAIRS)
both_variants = pytest.mark.parametrize("reset_after", [True, False], ids=["reset_after", "reset_before"])


@pytest.fixture(autouse=True)
def forced(kernels: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTGRU_ISA", kernels)


def step(sums: np.ndarray, h: np.ndarray, dtype: str, reset_after: bool, rows: int = 1) -> np.ndarray:
    """h' of a few rows with the same sums: those of z, r and n, and what r multiplies."""
    units, zeros = len(h), np.zeros(2 * len(h), np.float32)
    layer = GRU(
        name="gru", inputs=("x",), units=units, reset_after=reset_after, bias=sums[:3].ravel(),
        recurrent_bias=np.concatenate([zeros, sums[3]]) if reset_after else None, initial_state=h,
        kernel=np.zeros((1, 3 * units), np.float32), recurrent_kernel=np.zeros((units, 3 * units), np.float32),
    )  # fmt: skip
    y = fastgru.Model(chain(floats(1), layer), dtype=dtype)(np.ones((rows, 1, 1), np.float32))
    np.testing.assert_array_equal(y, np.broadcast_to(y[0], y.shape))
    return y[0]


def sigmoid(x: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return 1 / (1 + np.exp(-x.astype(np.float64)))


@both_variants
@every_pair
@pytest.mark.parametrize(("spread", "most_h", "most_reset"), [
    (0.01, 1, 1), (2, 1, 1), (20, 1, 1), (1e4, 1, 1), (2, 1e6, 1), (2, 1, 10), (3, 3, 100),
])  # fmt: skip
def test_errors(spread, most_h, most_reset, dtype, kernels, reset_after) -> None:
    rng = np.random.default_rng(int(spread * 100))
    h, times_r = (rng.uniform(-most, most, UNITS).astype(np.float32) for most in (most_h, most_reset))
    sums = np.vstack([rng.normal(0, spread, (3, UNITS)), times_r]).astype(np.float32)
    sums[:, 0] = -3.37286544, 0.119809382, -0.471907139, 1  # among the worst that a search found
    z, r, n, times_r = sums
    candidate = np.tanh(n + sigmoid(r) * times_r if reset_after else n.astype(np.float64))
    expected = sigmoid(z) * h + (1 - sigmoid(z)) * candidate
    for rows in (1, 3, 9):
        error = np.abs(step(sums, h, dtype, reset_after, rows) - expected)
        allowed = ERROR * np.maximum(1, np.abs(h)) + RESET_ERROR * np.maximum(0, np.abs(times_r) - 1)
        assert (error <= allowed).all(), f"{rows} rows: {error.max():.2g}"


@both_variants
@every_pair
def test_limits(dtype: str, kernels: str, reset_after: bool) -> None:
    """Gates that are closed keep a state, open ones forget it; a zero state with zero sums stays zero to the bit."""
    h, zeros = np.linspace(-1, 1, UNITS, dtype=np.float32), np.zeros(UNITS, np.float32)
    most = np.full((4, UNITS), 3e38, np.float32) * np.float32([[1], [0], [1], [0]])
    np.testing.assert_allclose(step(most, h, dtype, reset_after), h, rtol=2e-7, atol=1e-20)
    for sign in (1, -1):
        y = step(most * np.float32([[-1], [1], [sign], [1]]), h, dtype, reset_after)
        np.testing.assert_allclose(y, sign, rtol=3e-7)
        assert np.abs(y).max() <= 1 + 3e-7
    assert not step(np.zeros((4, UNITS), np.float32), zeros, dtype, reset_after).any()


@every_pair
def test_a_state_that_is_kept_does_not_drift(dtype: str, kernels: str) -> None:
    h = np.linspace(-1, 1, 32, dtype=np.float32)
    layer = GRU(
        name="gru", inputs=("x",), units=32, initial_state=h, return_sequences=True,
        bias=np.repeat(np.float32([50, 0, 0.3]), 32), kernel=np.ones((1, 96), np.float32) * np.float32(1e-3),
        recurrent_kernel=np.ones((32, 96), np.float32) * np.float32(0.1),
    )  # fmt: skip
    x = np.random.default_rng(1).normal(size=(1, 2000, 1)).astype(np.float32)
    y = fastgru.Model(chain(floats(1), layer), dtype=dtype)(x)
    assert (y == h).all()


@both_variants
@every_pair
def test_nan(dtype: str, kernels: str, reset_after: bool) -> None:
    """NaN, whichever it is, stays one and stays in its unit."""
    for payload in (0x7FC00000, 0x7FC00001, 0xFFFFFFFF, 0x7FA00001):
        nan = np.array([payload], np.uint32).view(np.float32)
        for place in (0, 1, 2, 3) if reset_after else (0, 2):  # r · h would be NaN for all units
            sums = np.zeros((4, UNITS), np.float32)
            sums.view(np.uint32)[place, 17] = payload
            y = step(sums, np.full(UNITS, 0.5, np.float32), dtype, reset_after)
            assert np.flatnonzero(np.isnan(y)).tolist() == [17], f"{nan} at {place}"
