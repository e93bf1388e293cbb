"""int8 weights in the core: the numbers that the kernels are defined by, on every kernel set."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastgru
from building import SETS, chain, dense, floats, gru
from fastgru.graph import GRU, Conv, Dense, Graph, NarrowArray
from fastgru.layers import narrow as limits
from fastgru.narrowing import narrow, widen

SETS = list(dict.fromkeys(SETS))
VECTOR_SETS = [name for name in SETS if name != "scalar"]
INPUT, STATE = 32512, 127  # the largest whole number of each
SLICE = 512  # rows of weights that are summed as whole numbers
UNITS = (*range(1, 71), 100, 128, 200, 513)

every_set = pytest.mark.parametrize("kernels", SETS)
both_variants = pytest.mark.parametrize("reset_after", [True, False], ids=["reset_after", "reset_before"])


@pytest.fixture(autouse=True)
def forced(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "kernels" in request.fixturenames:
        monkeypatch.setenv("FASTGRU_ISA", request.getfixturevalue("kernels"))


def same(actual: np.ndarray, expected: np.ndarray) -> bool:
    return actual.shape == expected.shape and np.array_equal(actual.view(np.uint32), expected.view(np.uint32))


# ---- the numbers, in NumPy -----------------------------------------------------------------------------------------


def quantized(rows: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Whole numbers (rows, k), and the scale of each row."""
    peak = np.abs(rows).max(axis=1, keepdims=True)
    is_zero = peak < np.float32(1e-30)
    with np.errstate(divide="ignore", over="ignore"):
        factor = np.where(is_zero, np.float32(0), np.float32(most) / peak)
    whole = np.rint(rows * factor).astype(np.int64)
    return whole, np.where(is_zero, np.float32(0), peak / np.float32(most))


def product(
    rows: np.ndarray, weights: NarrowArray, start: Any, most: int = INPUT, reset: slice | None = None
) -> np.ndarray:
    """What stands in an output after the sums: start + rows · weights, as float32.

    The columns of `reset` take the upper byte of a row's numbers alone, rounded, a half upwards.
    """
    whole, scale = quantized(np.asarray(rows, np.float32), most)
    upper = (whole + 128) // 256 * 256
    total = np.zeros((len(rows), weights.shape[-1]), np.float32)
    for first in range(0, whole.shape[1], SLICE):
        part = slice(first, first + SLICE)
        exact = whole[:, part] @ weights.data[part].astype(np.int64)
        if reset is not None:
            exact[:, reset] = upper[:, part] @ weights.data[part, reset].astype(np.int64)
        assert np.abs(exact).max() < 2**31
        total += exact.astype(np.float32)
    assert weights.scale is not None
    return ((total * scale).astype(np.float64) * weights.scale + start).astype(np.float32)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x.astype(np.float64)))


def next_state(layer: GRU, x: np.ndarray, h: np.ndarray) -> np.ndarray:
    """The state (rows, units) after one step."""
    units, zeros = layer.units, np.zeros(3 * layer.units, np.float32)
    assert isinstance(layer.kernel, NarrowArray)
    assert isinstance(layer.recurrent_kernel, NarrowArray)
    recurrent = layer.recurrent_kernel
    bias = zeros if layer.bias is None else layer.bias
    recurrent_bias = zeros if layer.recurrent_bias is None else layer.recurrent_bias
    inside = np.where(np.arange(3 * units) < 2 * units, np.float32(0), recurrent_bias)
    if not layer.reset_after:
        inside = zeros
    reset = slice(units, 2 * units)
    projected = product(x, layer.kernel, bias + (recurrent_bias - inside), reset=reset)
    start = projected.copy()
    start[:, 2 * units :] = inside[2 * units :]
    if layer.reset_after:
        sums = product(h, recurrent, start, STATE)
        z, r = sigmoid(sums[:, :units]), sigmoid(sums[:, units : 2 * units])
        n = np.tanh(projected[:, 2 * units :] + r * sums[:, 2 * units :])
    else:
        gates, candidate = (
            NarrowArray("int8", recurrent.data[:, part], recurrent.scale[part], -1)
            for part in (slice(0, 2 * units), slice(2 * units, None))
        )
        sums = product(h, gates, start[:, : 2 * units], STATE)
        z, r = sigmoid(sums[:, :units]), sigmoid(sums[:, units:])
        n = np.tanh(product((r * h).astype(np.float32), candidate, projected[:, 2 * units :], STATE).astype(np.float64))
    return (z * h + (1 - z) * n).astype(np.float32)


def network(inputs: int, units: int, reset_after: bool = True, seed: int = 0) -> Graph:
    options = {"return_sequences": True, "reset_after": reset_after, "mask": "x:mask"}
    layer = gru(np.random.default_rng(seed + units), inputs, units, **options)
    return narrow(chain(floats(inputs), layer), "int8")


def sequence(rows: int, steps: int, inputs: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, steps, inputs)).astype(np.float32)


# ---- against that definition ---------------------------------------------------------------------------------------


@every_set
@pytest.mark.parametrize("inputs", [1, 2, 3, 4, 5, 63, 64, 65, 511, 512, 513, 2000])
@pytest.mark.parametrize("units", [1, 15, 17, 48, 100])
def test_products(kernels: str, inputs: int, units: int) -> None:
    rng = np.random.default_rng(inputs + units)
    layer = dense(rng, inputs, units, name="d", source="x", function="linear")
    model = fastgru.Model(narrow(chain(floats(inputs), layer), "int8"))
    assert model.isa == kernels
    held = model.graph.layers[0]
    assert isinstance(held, Dense)
    assert isinstance(held.kernel, NarrowArray)
    assert held.bias is not None
    x = sequence(11, 1, inputs) * np.float32(10.0) ** rng.integers(-20, 20, (11, 1, 1)).astype(np.float32)
    x[3] = 0
    expected = product(x[:, 0], held.kernel, held.bias)
    if kernels == "scalar":  # rounds twice where the others do once
        np.testing.assert_allclose(model(x)[:, 0], expected, rtol=1e-6, atol=1e-6)
    else:
        np.testing.assert_array_equal(model(x)[:, 0], expected)


@every_set
@both_variants
@pytest.mark.parametrize(("inputs", "units"), [(1, 1), (3, 5), (40, 17), (513, 33), (64, 96), (100, 600)])
def test_steps(kernels: str, inputs: int, units: int, reset_after: bool) -> None:
    model, x = fastgru.Model(network(inputs, units, reset_after)), sequence(6, 7, inputs)
    layer = model.graph.layers[0]
    assert isinstance(layer, GRU)
    y = model(x)
    h = np.zeros((6, units), np.float32)
    for t in range(7):
        error = np.abs(next_state(layer, x[:, t], h) - y[:, t])
        if reset_after:
            assert error.max() < 2e-6
        else:  # of r · h, of which the gates know the last bit only nearly, a number may be rounded otherwise
            assert error.max() < 5e-3
            assert np.median(error) < 2e-6
        h = y[:, t]


@every_set
@both_variants
@pytest.mark.parametrize("units", [7, 64, 300])
def test_close_to_the_widened_network(kernels: str, units: int, reset_after: bool) -> None:
    """Inputs of 16 bits add next to nothing to the rounding of weights, states and the inputs of r of 8 bits little."""
    graph, x = network(50, units, reset_after), sequence(5, 30, 50)
    error = np.abs(fastgru.Model(graph)(x) - fastgru.Model(widen(graph))(x))
    assert error[:, 0].max() < (1e-3 if reset_after else 1e-4), "from a zero state r multiplies a bias, or nothing"
    assert error.max() < 2e-2


@every_set
def test_convolutions(kernels: str) -> None:
    rng = np.random.default_rng(3)
    kernel = rng.normal(size=(5, 12, 20)).astype(np.float32) / 8
    graph = narrow(chain(floats(12), Conv(name="c", inputs=("x",), kernel=kernel)), "int8")
    x = sequence(3, 40, 12)
    np.testing.assert_allclose(fastgru.Model(graph)(x), fastgru.Model(widen(graph))(x), atol=5e-4)


# ---- extremes ------------------------------------------------------------------------------------------------------


@every_set
@pytest.mark.parametrize("inputs", [512, 513, 2048])
@pytest.mark.parametrize("sign", [1, -1])
def test_the_largest_sums(kernels: str, inputs: int, sign: int) -> None:
    """All weights and all inputs at the end of their range, where sums of a slice come closest to 2^31."""
    weights = NarrowArray("int8", np.full((inputs, 19), sign * limits.LARGEST, np.int8), np.ones(19, np.float32), -1)
    model = fastgru.Model(chain(floats(inputs), Dense(name="d", inputs=("x",), kernel=weights)))
    x = np.ones((5, 1, inputs), np.float32)
    x[1] = -1
    expected = np.float32(sign * limits.LARGEST * inputs) * x[:, :, :1]
    np.testing.assert_allclose(model(x), np.broadcast_to(expected, (5, 1, 19)), rtol=1e-6)


@every_set
def test_the_largest_states(kernels: str) -> None:
    units = 600
    data = np.full((units, 3 * units), limits.LARGEST, np.int8)
    recurrent = NarrowArray("int8", data, np.full(3 * units, 1e-6, np.float32), -1)
    kernel = NarrowArray("int8", np.zeros((1, 3 * units), np.int8), np.ones(3 * units, np.float32), -1)
    graph = chain(floats(1), GRU(name="g", inputs=("x",), units=units, kernel=kernel, recurrent_kernel=recurrent,
                                 initial_state=np.full(units, -1, np.float32), return_sequences=True))  # fmt: skip
    x = np.zeros((3, 4, 1), np.float32)
    np.testing.assert_allclose(fastgru.Model(graph)(x), fastgru.Model(widen(graph))(x), atol=1e-5)


@every_set
def test_rows_that_are_no_numbers(kernels: str) -> None:
    """NaN makes a row NaN; infinity saturates what follows, as in float32; other rows stay what they are."""
    rng = np.random.default_rng(5)
    graph = narrow(chain(floats(37), dense(rng, 37, 50, name="d", source="x", function="tanh")), "int8")
    model, x = fastgru.Model(graph), sequence(9, 1, 37)
    clean = model(x)
    for row, value in ((1, np.nan), (4, np.inf), (5, np.nan), (8, -np.inf)):
        x[row, 0, 36] = value
    x[5, 0, 20] = np.inf
    y = model(x)
    broken = np.isin(np.arange(9), (1, 4, 5, 8))
    assert np.isnan(y[[1, 5]]).all()
    (layer,) = graph.layers
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(y[[4, 8], 0], np.sign(layer.kernel.data[36]) * [[1], [-1]])
    assert same(y[~broken], clean[~broken])


@every_set
def test_rows_of_tiny_numbers(kernels: str) -> None:
    rng = np.random.default_rng(6)
    layer = dense(rng, 20, 30, name="d", source="x", function="linear")
    model, x = fastgru.Model(narrow(chain(floats(20), layer), "int8")), sequence(3, 1, 20)
    x[0] *= np.float32(1e-38)
    x[1] = 0
    assert layer.bias is not None
    np.testing.assert_array_equal(model(x)[:2, 0], np.broadcast_to(layer.bias, (2, 30)))


# ---- the same bits -------------------------------------------------------------------------------------------------


@both_variants
@pytest.mark.parametrize("units", UNITS)
def test_vector_sets_agree(units: int, reset_after: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    graph, x = network(max(1, 80 - units), units, reset_after), sequence(7, 5, max(1, 80 - units))
    outputs = []
    for kernels in VECTOR_SETS:
        monkeypatch.setenv("FASTGRU_ISA", kernels)
        model = fastgru.Model(graph, threads=1)
        assert model.isa == kernels
        outputs += [model(x), np.concatenate([model(x[:1]), model(x[1:])])]
    assert all(same(y, outputs[0]) for y in outputs)


@every_set
@both_variants
@pytest.mark.parametrize(("inputs", "units"), [(5, 7), (64, 64), (90, 128), (512, 300), (513, 300), (40, 520)])
def test_batch_threads_and_chunks(kernels: str, inputs: int, units: int, reset_after: bool) -> None:
    """Of one row the products of later steps may run beside a step; of several they never do."""
    graph, x = network(inputs, units, reset_after), sequence(9, 23, inputs)
    model = fastgru.Model(graph, threads=1)
    whole = model(x)
    for batch in (1, 2, 3, 4, 5):
        assert same(model(x[:batch]), whole[:batch]), f"{batch} rows"
    assert same(model(x[4:5], threads=2), whole[4:5])
    assert same(model(x, threads=2), whole)
    for steps in (1, 3, 4, 8):
        with model.stream() as stream:
            parts = [stream.run(x[2:3, t : t + steps]) for t in range(0, 23, steps)]
        assert same(np.concatenate(parts, axis=1), whole[2:3]), f"chunks of {steps}"
    mask = np.random.default_rng(9).random((9, 23)) < 0.7
    masked = model(x, mask=mask)
    assert same(np.concatenate([model(x[i : i + 1], mask=mask[i : i + 1]) for i in range(9)]), masked)
