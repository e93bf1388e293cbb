"""Weights of 16 bits: bfloat16 and float16.

Where a kernel set widens them when it loads them, results are to the bit those of float32 weights of the same numbers.
The set avx512_bf16 multiplies bfloat16 by an instruction, and rounds inputs and states for it: that is held against
a model of it in NumPy.
"""

from __future__ import annotations

import numpy as np
import pytest

import fastgru
import oracle
from building import SETS, chain, dense, floats, gru, uniform
from fastgru.graph import GRU, Activation, Conv, Dense, Graph, NarrowArray, TimeDistributed, tensor_spec
from fastgru.narrowing import narrow, widen

NATIVE = "avx512_bf16"
DTYPES = ("bfloat16", "float16")
WIDENED = [(name, dtype) for name in SETS for dtype in DTYPES if (name, dtype) != (NATIVE, "bfloat16")]
UNITS = (1, 7, 15, 16, 17, 33, 65, 130)

each_way = pytest.mark.parametrize(
    ("kernels", "dtype"), [*WIDENED, *[(NATIVE, "bfloat16")] * (NATIVE in SETS)], indirect=["kernels"]
)
widened = pytest.mark.parametrize(("kernels", "dtype"), WIDENED, indirect=["kernels"])
native = pytest.mark.usefixtures("native_kernels")
both_variants = pytest.mark.parametrize("reset_after", [True, False], ids=["reset_after", "reset_before"])


@pytest.fixture
def kernels(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a kernel set, forced on every Model that the test builds."""
    monkeypatch.setenv("FASTGRU_ISA", request.param)
    return request.param


@pytest.fixture
def native_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    if NATIVE not in SETS:
        pytest.skip("this CPU does not multiply bfloat16: that is NOT checked")
    monkeypatch.setenv("FASTGRU_ISA", NATIVE)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(16)


def same(actual: np.ndarray, expected: np.ndarray) -> bool:
    return actual.shape == expected.shape and np.array_equal(actual.view(np.uint32), expected.view(np.uint32))


def run(graph: Graph, x: np.ndarray, **options: object) -> np.ndarray:
    return fastgru.Model(graph, threads=1)(x, **options)


def one_gru(rng: np.random.Generator, features: int, units: int, **options: object) -> Graph:
    return chain(floats(features), gru(rng, features, units, **{"return_sequences": True, "without": ()} | options))


def one_dense(kernel: NarrowArray, bias: np.ndarray) -> Graph:
    layer = Dense(name="dense", inputs=("x",), kernel=kernel, bias=bias, activation=Activation.of("linear"))
    return Graph((tensor_spec("x", False, (kernel.shape[0],)),), (layer,), ("dense",))


def random_dense(rng: np.random.Generator, k: int, columns: int) -> Graph:
    layer = dense(rng, k, columns, name="dense", source="x", function="linear")
    return Graph((tensor_spec("x", False, (k,)),), (layer,), ("dense",))


def rows(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


# ---- widened -------------------------------------------------------------------------------------------------------


@both_variants
@pytest.mark.parametrize("units", UNITS)
@widened
def test_widened_weights_give_the_bits_of_float32(rng, kernels, dtype, units, reset_after) -> None:
    for features in (1, 6, 33):
        graph = narrow(one_gru(rng, features, units, reset_after=reset_after), dtype)
        plain = widen(graph)
        for batch, steps in ((1, 1), (1, 9), (2, 2), (5, 3), (11, 2)):
            x = rows(rng, batch, steps, features)
            assert same(run(graph, x), run(plain, x)), (features, batch, steps)


@widened
def test_widened_products_give_the_bits_of_float32(rng, kernels, dtype) -> None:
    for k in (1, 2, 3, 8, 31, 64, 101):
        for columns in (1, 15, 16, 33, 50, 97, 200):
            graph = narrow(random_dense(rng, k, columns), dtype)
            for batch in (1, 2, 3, 4, 7, 19):
                x = rows(rng, batch, k)
                assert same(run(graph, x), run(widen(graph), x)), (k, columns, batch)


@widened
def test_every_number_of_16_bits(kernels, dtype) -> None:
    """An input of 1 shows the weights themselves, but for denormals of float32, which the core takes for zeros."""
    bits = np.arange(1 << 16, dtype=np.uint16).reshape(-1, 256)
    kernel = NarrowArray(dtype, bits if dtype == "bfloat16" else bits.view(np.float16))
    wide = np.asarray(kernel)
    expected = np.where(np.abs(wide) < np.finfo(np.float32).tiny, 0, wide)
    for row in range(256):
        picked = NarrowArray(dtype, np.ascontiguousarray(kernel.data[row : row + 1]))
        y = run(one_dense(picked, np.zeros(256, np.float32)), np.ones((1, 1), np.float32))[0]
        np.testing.assert_array_equal(y, expected[row])


@widened
def test_a_network_of_several_kinds(rng, kernels, dtype) -> None:
    inner = Graph((tensor_spec("step", False, (5,)),), (dense(rng, 5, 4, name="in", source="step", function="tanh"),),
                  ("in",))  # fmt: skip
    layers = [
        Conv(name="conv", inputs=("x",), kernel=uniform(rng, 3, 7, 9), bias=uniform(rng, 9)),
        gru(rng, 9, 5, source="conv", return_sequences=True, clip=0.4),
        TimeDistributed(name="each", inputs=("gru",), graph=inner),
        dense(rng, 4, 3, name="head", source="each", function="softmax"),
    ]
    graph = narrow(chain(floats(7), *layers), dtype)
    x = rows(rng, 3, 12, 7)
    assert same(run(graph, x), run(widen(graph), x))


# ---- native --------------------------------------------------------------------------------------------------------


def rounded(x: np.ndarray) -> np.ndarray:
    """The nearest bfloat16, ties to even; of finite numbers that are not denormal."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16 << 16).view(np.float32)


def product(x: np.ndarray, w: NarrowArray) -> np.ndarray:
    return rounded(x).astype(np.float64) @ np.asarray(w, np.float64)


def step(layer: GRU, x: np.ndarray, h: np.ndarray) -> np.ndarray:
    """oracle.gru_step with sigmoid and tanh, and with inputs and states rounded for their products."""
    gates = slice(2 * layer.units), slice(2 * layer.units, None)
    from_x, from_h = product(x, layer.kernel) + layer.bias, product(h, layer.recurrent_kernel) + layer.recurrent_bias
    z, r = np.split(oracle.sigmoid((from_x + from_h)[:, gates[0]]), 2, axis=1)
    if layer.reset_after:
        inside = r * from_h[:, gates[1]]
    else:
        inside = (product(r * h, layer.recurrent_kernel) + layer.recurrent_bias)[:, gates[1]]
    return z * h + (1 - z) * np.tanh(from_x[:, gates[1]] + inside)


@native
@both_variants
@pytest.mark.parametrize("units", UNITS)
def test_native_steps_are_those_of_rounded_rows(rng, units, reset_after) -> None:
    """Each step from the state that the last one really left, so that a rounding which tips over spoils no more."""
    for features, batch in ((1, 1), (6, 3), (33, 8), (70, 9)):
        graph = narrow(one_gru(rng, features, units, reset_after=reset_after), "bfloat16")
        (layer,) = graph.layers
        x = rows(rng, batch, 7, features)
        y = run(graph, x)
        h = np.broadcast_to(layer.initial_state, (batch, units))
        for t in range(7):
            error = np.abs(y[:, t] - step(layer, x[:, t], h))
            if reset_after:
                assert error.max() < 3e-6
            else:  # r · h, itself computed, may tip over
                assert np.median(error) < 1e-6
                assert error.max() < 2e-3
            h = y[:, t]


@native
def test_native_products_are_those_of_rounded_rows(rng) -> None:
    for k in (1, 2, 3, 31, 32, 33, 64, 101, 513):
        for columns in (1, 15, 33, 97):
            graph = narrow(random_dense(rng, k, columns), "bfloat16")
            (layer,) = graph.layers
            for batch in (1, 2, 5, 8, 19):
                x = rows(rng, batch, k)
                expected = product(x, layer.kernel) + layer.bias
                np.testing.assert_allclose(run(graph, x), expected, rtol=1e-6, atol=2e-6)


@native
def test_native_rounding_of_inputs() -> None:
    """Ties go to even, nothing is cut off; a denormal is zero, NaN and infinity stay."""
    one = NarrowArray("bfloat16", np.array([[0x3F80]], np.uint16))
    x = np.array([1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-8 + 2**-20, -3.3e38, 1e-40, np.inf, -np.inf, np.nan], np.float32)
    expected = np.array([1, 1 + 2**-6, 1 + 2**-7, rounded(np.float32([-3.3e38]))[0], 0, np.inf, -np.inf, np.nan])
    y = run(one_dense(one, np.zeros(1, np.float32)), x[:, None])[:, 0]
    np.testing.assert_array_equal(y, expected.astype(np.float32))


@native
@both_variants
def test_native_results_stay_near_those_of_float32(rng, reset_after) -> None:
    graph = narrow(one_gru(rng, 40, 100, reset_after=reset_after), "bfloat16")
    x = rows(rng, 3, 500, 40)
    error = np.abs(run(graph, x) - run(widen(graph), x))
    assert 1e-5 < error.max() < 2e-2
    assert error[:, 250:].mean() < 1.2 * error[:, :250].mean(), "the error does not grow"


# ---- whatever the way ----------------------------------------------------------------------------------------------


@both_variants
@pytest.mark.parametrize("units", [1, 16, 33, 130])
@each_way
def test_a_row_has_the_same_bits_wherever_it_stands(rng, kernels, dtype, units, reset_after) -> None:
    graph = narrow(one_gru(rng, 21, units, reset_after=reset_after, mask="x:mask"), dtype)
    model, x = fastgru.Model(graph, threads=1), rows(rng, 19, 9, 21)
    whole = model(x)
    for batch in (1, 2, 3, 4, 5, 6, 7, 8, 9, 17):
        assert same(model(x[:batch]), whole[:batch])
        assert same(model(x[-batch:]), whole[-batch:])
    mask = rng.random((19, 9)) < 0.6
    masked = model(x, mask=mask)
    for batch in (1, 5):
        assert same(model(x[:batch], mask=mask[:batch]), masked[:batch])
    with model.stream(batch_size=3) as stream:
        steps = [stream.step(np.ascontiguousarray(x[:3, t])) for t in range(4)]
        rest = stream.run(np.ascontiguousarray(x[:3, 4:]))
    assert same(np.concatenate([np.stack(steps, axis=1), rest], axis=1), whole[:3])


@both_variants
@pytest.mark.parametrize(("features", "units"), [(160, 150), (97, 190)])
@each_way
def test_what_is_projected_beside_a_step_has_the_same_bits(rng, kernels, dtype, features, units, reset_after) -> None:
    """One row of a layer that L1 does not hold: its later inputs are multiplied while a step waits for weights."""
    graph = narrow(one_gru(rng, features, units, reset_after=reset_after), dtype)
    model, x = fastgru.Model(graph, threads=1), rows(rng, 2, 31, features)
    whole = model(x)
    for length in (1, 2, 6, 7, 30, 31):
        assert same(model(x[:1, :length]), whole[:1, :length])
    with model.stream() as stream:
        assert same(np.stack([stream.step(x[:1, t]) for t in range(31)], axis=1), whole[:1])


@both_variants
@each_way
def test_threads_change_no_bit(rng, kernels, dtype, reset_after) -> None:
    graph = narrow(one_gru(rng, 130, 330, reset_after=reset_after), dtype)
    model = fastgru.Model(graph)
    for batch in (1, 3, 20):
        x = rows(rng, batch, 12, 130)
        assert same(model(x, threads=2), model(x, threads=1))


@each_way
def test_an_odd_row_reads_nothing_behind_itself(rng, kernels, dtype) -> None:
    """The row behind is NaN."""
    for features in (1, 3, 17, 33):
        graph = narrow(one_gru(rng, features, 20), dtype)
        x = rows(rng, 2, 5, features)
        alone = run(graph, x[:1])
        x[1] = np.nan
        both = run(graph, x)
        assert same(both[:1], alone)
        assert np.isnan(both[1]).all()
        assert np.isfinite(run(graph, np.stack([x[0], x[0] * 0]))).all()


@both_variants
@each_way
def test_nan_and_infinity_stay_in_their_rows(rng, kernels, dtype, reset_after) -> None:
    graph = narrow(one_gru(rng, 9, 40, reset_after=reset_after), dtype)
    x = rows(rng, 10, 6, 9)
    clean = run(graph, x)
    x[2, 3, 4], x[7, 3, 4] = np.nan, np.inf
    y = run(graph, x)
    kept = [row for row in range(10) if row not in (2, 7)]
    assert same(y[kept], clean[kept])
    assert same(y[:, :3], clean[:, :3])
    assert np.isnan(y[2, 3]).all()
