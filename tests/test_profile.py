"""What a run counts and times of itself, and the bound that this is held against."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

import fastgru
from building import ISAS, SETS, bidirectional, chain, dense, embedding, floats, gru, tokens
from fastgru import _core
from fastgru.bench.profile import Limits, bound_ns
from fastgru.graph import Graph, Masking
from fastgru.narrowing import narrow

PARTS = ("products", "steps", "other")
BATCH, STEPS, FEATURES, UNITS = 5, 300, 12, 40
#: of a weight
BYTES = {"float32": 4, "bfloat16": 2, "float16": 2, "int8": 1}
DTYPES = tuple(BYTES)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(3)


def profiled(
    graph: Graph, x: np.ndarray, mask: Any = None, threads: int = 1, isa: str | None = None
) -> dict[str, dict[str, Any]]:
    """A call's counts by layer. It gives what a call that is not profiled gives, and takes the layers' time or more."""
    runner = _core.Runner(_core.Plan(graph, isa))
    plain = runner._run_fresh((x,), None, mask, threads, None)
    runner._start_profile()
    start = time.perf_counter_ns()
    results = runner._run_fresh((x,), None, mask, threads, None)
    spent = time.perf_counter_ns() - start
    layers = runner._stop_profile()
    assert all(np.array_equal(one, other) for one, other in zip(plain, results, strict=True))
    assert all(ns >= 0 for layer in layers for ns in layer["ns"].values())
    assert all(tuple(layer["ns"]) == PARTS for layer in layers)
    measured = sum(sum(layer["ns"].values()) for layer in layers)
    assert measured <= spent
    assert measured > 0 or threads > 1  # another thread may have taken all rows
    assert runner._stop_profile() == []
    return {layer["name"]: layer for layer in layers}


def held_in(graph: Graph, dtype: str) -> Graph:
    return graph if dtype == "float32" else narrow(graph, dtype)


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(4).standard_normal(shape, np.float32)


@pytest.mark.parametrize("kernels", SETS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("reset_after", [True, False], ids=["reset_after", "reset_before"])
@pytest.mark.parametrize(("batch", "steps"), [(1, 1), (1, STEPS), (BATCH, STEPS)])
def test_a_gru(rng, kernels, dtype, reset_after, batch, steps):
    graph = held_in(chain(floats(FEATURES), gru(rng, FEATURES, UNITS, reset_after=reset_after)), dtype)
    found = profiled(graph, normal(batch, steps, FEATURES), isa=kernels)["gru"]
    assert found["input"]["multiply_adds"] == batch * steps * 3 * FEATURES * UNITS
    assert found["recurrent"]["multiply_adds"] == batch * steps * 3 * UNITS * UNITS
    assert found["recurrent"]["bytes"] == steps * found["recurrent"]["weights"]
    least = BYTES[dtype] * 3 * UNITS * UNITS
    assert least <= found["recurrent"]["weights"] <= 1.25 * least
    assert found["units"] == batch * steps * UNITS
    assert found["steps"] == steps
    depth = UNITS * (1 if reset_after else 2) + (FEATURES if steps == 1 else 0)
    assert found["chain"] == steps * depth
    assert found["ns"]["steps"] > 0


def test_padding_is_not_counted(rng):
    lengths = np.array([STEPS - 50, 1, 0, 17, 200])
    mask = np.arange(STEPS) < lengths[:, None]
    graph = chain(floats(FEATURES), gru(rng, FEATURES, UNITS, mask="x:mask", return_sequences=True))
    found = profiled(graph, normal(BATCH, STEPS, FEATURES), mask)["gru"]
    assert found["input"]["multiply_adds"] == lengths.sum() * 3 * FEATURES * UNITS
    assert found["recurrent"]["multiply_adds"] == lengths.sum() * 3 * UNITS * UNITS
    assert found["units"] == lengths.sum() * UNITS
    assert found["steps"] == lengths.max()
    assert found["recurrent"]["bytes"] == lengths.max() * found["recurrent"]["weights"]


def test_steps_that_a_layer_masks_are_not_counted(rng):
    x = normal(BATCH, STEPS, FEATURES)
    x[:, 100:] = 0
    masking = Masking(name="masking", inputs=("x",))
    found = profiled(
        chain(floats(FEATURES), masking, gru(rng, FEATURES, UNITS, source="masking", mask="masking:mask")), x
    )
    assert found["gru"]["recurrent"]["multiply_adds"] == BATCH * 100 * 3 * UNITS * UNITS
    assert found["masking"]["input"]["multiply_adds"] == 0
    assert found["masking"]["ns"]["other"] > 0


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_folded_embedding(rng, dtype):
    vocabulary = 30
    ids = rng.integers(0, vocabulary, (BATCH, STEPS), np.int32)
    graph = chain(tokens(), embedding(rng, vocabulary, FEATURES), gru(rng, FEATURES, UNITS, source="embedding"))
    found = profiled(held_in(graph, dtype), ids)
    assert found["embedding"]["folded"]
    assert found["embedding"]["input"] == {"multiply_adds": 0, "bytes": 0, "weights": 0}
    assert not found["gru"]["folded"]
    assert found["gru"]["input"]["multiply_adds"] == 0
    row_bytes = found["gru"]["input"]["weights"] // vocabulary
    least = BYTES[dtype] * 3 * UNITS + (4 if dtype == "int8" else 0)  # and the token's scale
    assert least <= row_bytes <= 1.25 * least
    assert found["gru"]["input"]["bytes"] == BATCH * STEPS * row_bytes
    assert found["gru"]["ns"]["products"] == 0
    assert found["gru"]["recurrent"]["multiply_adds"] == BATCH * STEPS * 3 * UNITS * UNITS


@pytest.mark.parametrize("dtype", DTYPES)
def test_an_embedding_with_other_readers(rng, dtype):
    ids = rng.integers(0, 30, (BATCH, STEPS), np.int32)
    found = profiled(held_in(chain(tokens(), embedding(rng, 30, FEATURES)), dtype), ids)["embedding"]
    assert not found["folded"]
    row_bytes = BYTES[dtype] * FEATURES + (4 if dtype == "int8" else 0)
    assert found["input"] == {"multiply_adds": 0, "bytes": BATCH * STEPS * row_bytes, "weights": 30 * row_bytes}


@pytest.mark.parametrize("dtype", DTYPES)
def test_dense(rng, dtype):
    both = bidirectional(rng, FEATURES, UNITS)
    answer = dense(rng, 2 * UNITS, 7, name="answer", source="both", function="softmax")
    found = profiled(held_in(chain(floats(FEATURES), *both, answer), dtype), normal(BATCH, STEPS, FEATURES))
    least = BYTES[dtype] * 2 * UNITS * 7
    assert least <= found["answer"]["input"]["weights"] <= 16 / 7 * least  # columns fill a vector
    assert list(found) == ["both/ahead", "both/back", "both", "answer"]
    assert found["answer"]["input"]["multiply_adds"] == BATCH * STEPS * 2 * UNITS * 7
    assert found["answer"]["recurrent"]["multiply_adds"] == found["answer"]["units"] == found["answer"]["steps"] == 0
    assert found["answer"]["ns"]["products"] > 0
    assert found["answer"]["ns"]["other"] > 0
    for side in ("ahead", "back"):
        assert found[f"both/{side}"]["recurrent"]["multiply_adds"] == BATCH * STEPS * 3 * UNITS * UNITS


def test_calls_add_up(rng):
    runner = _core.Runner(_core.Plan(chain(floats(FEATURES), gru(rng, FEATURES, UNITS))))
    runner._start_profile()
    for steps in (3, 4):
        runner.run(normal(1, steps, FEATURES))
    runner.step(normal(1, FEATURES))
    (found,) = runner._stop_profile()
    assert found["steps"] == 8
    assert found["recurrent"]["multiply_adds"] == 8 * 3 * UNITS * UNITS


@pytest.mark.skipif(_core.cpu_count() < 2, reason="one CPU: a run has one thread")
@pytest.mark.parametrize("batch", [1, 64])
def test_threads_measure_their_own(rng, batch):
    """A team's work is counted once; where threads split the rows, that of the caller's."""
    graph = chain(floats(64), gru(rng, 64, 256, return_sequences=True))
    found = profiled(graph, normal(batch, 60, 64), threads=2)["gru"]
    if batch == 1:
        assert found["units"] == 60 * 256
    else:
        assert found["units"] <= batch * 60 * 256
    assert found["recurrent"]["multiply_adds"] == found["units"] * 3 * 256


# ---- the bound -------------------------------------------------------------------------------------------------------


class Flat(Limits):
    """A multiply-add takes 1 ns, one in a chain 10, gates 2, in a chain 100; a byte 0.5 ns and in much memory 5.

    Of int8 an input takes 0.5, a GRU's 0.4, a state 0.25, a chain nothing; of bfloat16 0.5, 0.5, 0.5 and 6.
    """

    def __init__(self) -> None:
        super().__init__("scalar")

    def ns(self, limit: str, nbytes: int = 0, dtype: str = "float32") -> float:
        sweep = nbytes * (0.5 if nbytes < 1 << 20 else 5)
        dots = {"float32": (1, 1, 1, 10), "bfloat16": (0.5, 0.5, 0.5, 6), "int8": (0.5, 0.4, 0.25, 0)}[dtype]
        dots = dict(zip(("inputs", "gru_inputs", "states", "states_chain"), dots, strict=True))
        return (dots | {"gates": 2, "gates_chain": 100, "sweep": sweep})[limit]


def counts(**given: Any) -> dict[str, Any]:
    nothing = {"multiply_adds": 0, "bytes": 0, "weights": 0}
    return {"input": nothing, "recurrent": nothing, "units": 0, "steps": 0, "chain": 0} | given


def work(multiply_adds: int, nbytes: int, weights: int) -> dict[str, int]:
    return {"multiply_adds": multiply_adds, "bytes": nbytes, "weights": weights}


@pytest.mark.parametrize(
    ("given", "standard", "held", "expected"),
    [
        ({"input": work(1000, 400, 400), "recurrent": work(500, 4000, 400)}, False, 0, 2200),  # bytes
        ({"input": work(3000, 400, 400), "recurrent": work(500, 4000, 400)}, False, 0, 3500),  # products
        ({"input": work(3000, 400, 400), "chain": 400}, False, 0, 4000),  # chain
        ({"input": work(3000, 400, 400), "units": 200, "steps": 1}, True, 0, 3400),
        ({"input": work(3000, 400, 400), "units": 200, "steps": 10}, True, 0, 4000),  # the latency of gates
        ({"input": work(3000, 400, 400), "units": 200, "steps": 10}, False, 0, 3000),  # of other functions
        ({"input": work(100, 1000, 1000)}, False, 1 << 21, 5000),  # much is read in between
        ({"input": work(0, 1000, 1 << 21)}, False, 0, 5000),  # rows of a large table
        ({}, False, 0, 0),
    ],
)
def test_bound(given, standard, held, expected):
    assert bound_ns(counts(**given), standard, held, Flat()) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("dtype", "nested", "expected"),
    [
        ("float32", False, 1500),
        ("bfloat16", False, 750),
        ("int8", False, 500 + 125),
        ("int8", True, 250 + 125),  # all states: a bound may be too low, never too high
    ],
)
def test_bound_of_a_dtype(dtype, nested, expected):
    given = counts(input=work(1000, 4, 4), recurrent=work(500, 4, 4))
    assert bound_ns(given, False, 0, Flat(), dtype, nested) == pytest.approx(expected)
    if not nested:  # of a GRU
        less = {"float32": 0, "bfloat16": 0, "int8": 100}[dtype]
        assert bound_ns(given | {"units": 1}, False, 0, Flat(), dtype) == pytest.approx(expected - less)
    given = counts(recurrent=work(500, 4, 4), chain=400)
    chain = {"float32": 4000, "bfloat16": 2400, "int8": 125}[dtype]
    assert bound_ns(given, False, 0, Flat(), dtype) == pytest.approx(chain)


@pytest.mark.parametrize("kernels", SETS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_limits_of_dtypes_are_measured(kernels, dtype):
    """Narrow weights never multiply more slowly than floats on the vector sets, and only their chains take no time."""
    inputs, gru_inputs, states, chain = (
        _core.limit_ns(kernels, limit, dtype=dtype) for limit in ("inputs", "gru_inputs", "states", "states_chain")
    )
    fma = _core.limit_ns(kernels, "fma")
    assert 0 < states <= 1.5 * inputs
    assert inputs < 1.5 * fma or kernels == "scalar"
    assert states < 1.5 * gru_inputs
    assert gru_inputs < 1.5 * inputs
    assert chain == 0 if dtype == "int8" else chain > states
    assert 0 < _core.limit_ns(kernels, "gates", dtype=dtype) < _core.limit_ns(kernels, "gates_chain", dtype=dtype)
    if kernels == "avx512_bf16":
        assert {"float32": 0.6, "float16": 0.6, "bfloat16": 0.35, "int8": 0.35}[dtype] * fma < inputs
        assert dtype != "int8" or states < 0.75 * inputs
        assert dtype != "int8" or gru_inputs < inputs


@pytest.mark.parametrize("kernels", ISAS)
def test_limits_are_measured(kernels):
    limits = {limit: _core.limit_ns(kernels, limit) for limit in ("fma", "fma_chain", "gates", "gates_chain")}
    assert 0 < limits["fma"] < limits["fma_chain"]
    assert 0 < limits["gates"] < limits["gates_chain"]
    assert 0 < _core.limit_ns(kernels, "sweep", 1 << 14) < _core.limit_ns(kernels, "sweep", 1 << 22)


def test_limits_that_do_not_exist():
    with pytest.raises(KeyError, match="speed"):
        _core.limit_ns(ISAS[0], "speed")
    with pytest.raises(KeyError, match="int4"):
        _core.limit_ns(ISAS[0], "inputs", dtype="int4")
    with pytest.raises(fastgru.FastGRUError):
        _core.limit_ns("abacus", "fma")
    with pytest.raises(fastgru.FastGRUError):
        _core.limit_ns(ISAS[0], "sweep", -1)
