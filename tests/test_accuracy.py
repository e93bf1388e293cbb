"""What narrow weights cost in networks that ship, in golden ones and in random layers, on every kernel set.

Bounds are about twice what was measured. Trained networks with real data are in tools/accuracy.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import fastgru
from dtypes import NARROW, sets_of
from fastgru import graph as g
from fastgru.bench.cases import Row, Weights, layer_case, reference
from test_demo import BAD, GOOD

GOLDEN = Path(__file__).parent / "data" / "golden"
#: of a probability of the network that ships
PROBABILITY = {"bfloat16": 0.003, "float16": 2.5e-4, "int8": 0.008}
#: of what golden networks answer, which have Keras' default weights: they are not trained
ANSWERS = {
    "review.h5": {"bfloat16": 2e-4, "float16": 1e-5, "int8": 6e-4},
    "sentiment.keras": {"bfloat16": 1.2e-3, "float16": 2e-4, "int8": 4e-3},
    "tagging.keras": {"bfloat16": 2e-4, "float16": 1.5e-5, "int8": 3e-4},
    "digits.h5": {"bfloat16": 6e-3, "float16": 5e-4, "int8": 1e-2},
}
#: of one layer against its formula in float64; that of int8 is what fastgru promises
LAYER = {"bfloat16": 1.5e-2, "float16": 1.1e-3, "int8": 1.5e-2}


@pytest.fixture(params=[(dtype, isa) for dtype in NARROW for isa in sets_of(dtype)], ids="-".join)
def dtype(request, monkeypatch):
    """A narrow dtype, with each kernel set that has kernels of its own for it."""
    monkeypatch.setenv("FASTGRU_ISA", request.param[1])
    return request.param[0]


@pytest.fixture(scope="module")
def tokens():
    """Rows of 1 to 40 words of the vocabulary, padded: (300, 40)."""
    rng = np.random.default_rng(3)
    ids = rng.integers(1, 4000, (300, 40)).astype(np.int32)
    return np.where(np.arange(40) < rng.integers(1, 41, (300, 1)), ids, 0).astype(np.int32)


def test_network_that_ships_keeps_its_answers(dtype, tokens):
    wide, narrow = fastgru.load(fastgru.demo_path()), fastgru.load(fastgru.demo_path(), dtype=dtype)
    assert narrow.dtype == dtype
    np.testing.assert_array_equal(wide(GOOD + BAD) > 0.5, narrow(GOOD + BAD) > 0.5)
    before, after = wide(tokens), narrow(tokens)
    assert 0 < np.abs(after - before).max() <= PROBABILITY[dtype]
    assert np.mean((before > 0.5) != (after > 0.5)) <= 0.01


@pytest.mark.parametrize("file", ANSWERS)
def test_golden_networks_keep_their_answers(dtype, file):
    pytest.importorskip("h5py", reason="h5py is not installed: golden files are HDF5")
    with np.load(GOLDEN / f"{Path(file).stem}.npz") as golden:
        x, expected = golden["x"], golden["float64"]
    error = np.abs(fastgru.load(GOLDEN / file, dtype=dtype)(x) - expected).max()
    assert 0 < error <= ANSWERS[file][dtype]


def layer(row: str) -> tuple[g.Graph, np.ndarray, np.ndarray]:
    """A GRU layer with weights as PyTorch draws them, its inputs, and its outputs by the formula."""
    shape, rng = Row.parse(row), np.random.default_rng(7)
    limit, gates = 1 / np.sqrt(shape.units), 3 * shape.units
    shapes = (shape.inputs, gates), (shape.units, gates), (gates,), (gates,)
    weights = Weights(*(rng.uniform(-limit, limit, one).astype(np.float32) for one in shapes))
    case = layer_case(shape, [weights], rng)
    gru = g.GRU(name="gru", inputs=("x",), units=shape.units, return_sequences=True, **vars(weights))
    return g.Graph((g.tensor_spec("x", None, (shape.inputs,)),), (gru,), ("gru",)), case.x, reference(case)


@pytest.mark.parametrize("row", ["1,100,256,64", "3,60,33,47", "8,40,64,128", "40,28,28,100"])
def test_random_layers_are_near_their_formula(dtype, row):
    graph, x, expected = layer(row)
    error = np.abs(fastgru.Model(graph, dtype=dtype)(x) - expected).max()
    assert 0 < error <= LAYER[dtype]


def test_error_does_not_grow_along_a_sequence(dtype):
    graph, x, expected = layer("4,3000,16,32")
    squares = np.square(fastgru.Model(graph, dtype=dtype)(x) - expected).mean(axis=(0, 2))
    early, late = squares[500:1000].mean(), squares[-500:].mean()
    assert 0.7 <= np.sqrt(late / early) <= 1.3
