"""Tables in bfloat16, float16 and int8: an Embedding's, and a GRU's that an embedding is folded into."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import fastgru
from building import SETS, chain, embedding, floats, gru, tokens, uniform
from fastgru import _core
from fastgru.graph import (
    GRU,
    NARROW,
    Activation,
    Embedding,
    Graph,
    Masking,
    NarrowArray,
    OneHot,
    tensor_spec,
)  # fmt: skip
from fastgru.narrowing import narrow, narrow_array, widen

#: the sets that promise each other the same bits of int8 and of widened weights
EXACT_SETS = [name for name in SETS if name != "scalar"]
DTYPES = tuple(NARROW)
each_dtype = pytest.mark.parametrize("dtype", DTYPES)
each_set = pytest.mark.parametrize("kernels", SETS)
both_variants = pytest.mark.parametrize("reset_after", [True, False])
#: of a narrow projection: the relative error of rounding one
PLACE = {"bfloat16": 2.0**-8, "float16": 2.0**-11}
#: the most bytes of a table of projections in float32
TABLE_BYTES = 32 << 20


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(11)


def run(graph: Graph, x: np.ndarray, kernels: str | None = None, mask: np.ndarray | None = None, threads: int = 1):
    (y,) = _core.Runner(_core.Plan(graph, kernels))._run_fresh((x,), None, mask, threads, None)
    return y


def same(actual: np.ndarray, expected: np.ndarray) -> bool:
    return actual.shape == expected.shape and np.array_equal(actual.view(np.uint32), expected.view(np.uint32))


def folded(graph: Graph, kernels: str | None = None) -> bool:
    """Whether nobody reads the vectors of the network's first layer."""
    runner = _core.Runner(_core.Plan(graph, kernels))
    runner._start_profile()
    runner._run_fresh((np.zeros((1, 1), np.int32),), None, None, 1, None)
    return runner._stop_profile()[0]["folded"]


def unfolded(graph: Graph) -> Graph:
    """The same network, but for a layer between the first two that lets everything through."""
    passing = Masking(name="passing", inputs=(graph.layers[0].name,), mask_value=-12345.0)
    behind = dataclasses.replace(graph.layers[1], inputs=("passing",))
    return dataclasses.replace(graph, layers=(graph.layers[0], passing, behind, *graph.layers[2:]))


# ---- vectors ---------------------------------------------------------------------------------------------------------


@each_set
@each_dtype
@pytest.mark.parametrize("features", [*range(1, 35), 63, 64, 65, 127, 200])
def test_vectors_are_what_the_weights_stand_for(rng, kernels, dtype, features):
    graph = narrow(chain(tokens(), embedding(rng, 9, features)), dtype)
    ids = rng.integers(0, 9, (3, 5), np.int32)
    assert same(run(graph, ids, kernels), np.asarray(graph.layers[0].table)[ids])


@each_set
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_every_number_of_16_bits(kernels, dtype):
    """Denormals, infinities and zeros of both signs to the bit; of NaN that it is one."""
    bits = np.arange(1 << 16, dtype=np.uint16).reshape(1 << 8, 1 << 8)
    table = NarrowArray(dtype, bits if dtype == "bfloat16" else bits.view(np.float16), scale_axis=0)
    graph = chain(tokens(), Embedding(name="embedding", inputs=("x",), table=table))
    vectors, expected = run(graph, np.arange(1 << 8, dtype=np.int32)[None], kernels)[0], np.asarray(table)
    assert np.array_equal(np.isnan(vectors), np.isnan(expected))
    assert same(vectors[~np.isnan(expected)], expected[~np.isnan(expected)])


@each_dtype
def test_a_table_is_read_where_it_lies(rng, dtype):
    table = narrow_array(uniform(rng, 50, 24), dtype, 0)
    plan = _core.Plan(chain(tokens(), Embedding(name="embedding", inputs=("x",), table=table)))
    assert plan.nbytes == 0
    table.data[7] = 3
    (y,) = _core.Runner(plan)._run_fresh((np.array([[7]], np.int32),), None, None, 1, None)
    assert same(y[0, 0], np.asarray(table)[7])


@each_dtype
@both_variants
def test_a_gru_without_a_table(rng, dtype, reset_after, isa):
    """Embedding and GRU of different dtypes, not folded: the GRU is given what the weights stand for."""
    for kept in "gru", "embedding":
        graph = chain(tokens(), embedding(rng, 9, 20), gru(rng, 20, 24, source="embedding", reset_after=reset_after))
        graph = unfolded(narrow(graph, dtype, kept))
        behind = dataclasses.replace(graph.layers[2], inputs=("x",))
        ids = rng.integers(0, 9, (3, 5), np.int32)
        vectors = np.asarray(graph.layers[0].table)[ids]
        assert same(fastgru.Model(graph)(ids), fastgru.Model(chain(floats(20), behind))(vectors))


# ---- projections -----------------------------------------------------------------------------------------------------


def reader(rng, features: int, units: int, **options) -> GRU:
    """A GRU whose first output is its candidate's projection itself: all else in it is zero or linear."""
    linear = Activation.of("linear")
    kernel = uniform(rng, features, 3 * units)
    kernel[:, : 2 * units] = 0
    bias = uniform(rng, 3 * units)
    bias[: 2 * units] = 0
    return GRU(**{
        "name": "gru", "inputs": ("embedding",), "units": units, "kernel": kernel, "bias": bias,
        "recurrent_kernel": np.zeros((units, 3 * units), np.float32), "activation": linear,
        "recurrent_activation": linear,
    } | options)  # fmt: skip


@each_set
@each_dtype
@both_variants
@pytest.mark.parametrize(("vocabulary", "features", "units"), [(1, 1, 1), (70, 5, 20), (9, 600, 33), (130, 64, 128)])
def test_projections_are_rounded_once(rng, kernels, dtype, reset_after, vocabulary, features, units):
    layers = embedding(rng, vocabulary, features), reader(rng, features, units, reset_after=reset_after)
    graph = narrow(chain(tokens(), *layers), dtype)
    assert folded(graph, kernels)
    table, kernel = (np.asarray(x, np.float64) for x in (graph.layers[0].table, graph.layers[1].kernel))
    exact = (table @ kernel)[:, 2 * units :]
    found = run(graph, np.arange(vocabulary, dtype=np.int32)[:, None], kernels)
    found = found - np.float64(graph.layers[1].bias[2 * units :])
    if dtype == "int8":
        columns = np.abs(exact).max(0)
        rows = np.abs(exact / np.where(columns, columns, 1)).max(1, keepdims=True)
        place = rows * columns / 254
    else:
        place = PLACE[dtype] * np.abs(exact)
    sums = np.abs(table) @ np.abs(kernel)[:, 2 * units :]  # inputs of int8 products are rounded to 16 bits
    assert (np.abs(found - exact) <= place * 1.001 + 2.0**-15 * sums + 1e-6).all()


@both_variants
@each_dtype
def test_tables_are_alike_on_all_sets(rng, dtype, reset_after):
    graph = chain(tokens(), embedding(rng, 40, 30), gru(rng, 30, 50, source="embedding", reset_after=reset_after))
    graph = narrow(graph, dtype)
    ids = rng.integers(0, 40, (5, 20), np.int32)
    results = {name: run(graph, ids, name) for name in EXACT_SETS if (dtype, name) != ("bfloat16", "avx512_bf16")}
    assert all(same(result, results["avx2"]) for result in results.values()), results.keys()


@each_set
@each_dtype
@both_variants
@pytest.mark.parametrize(("vocabulary", "units"), [(1, 1), (7, 20), (65, 33), (600, 40)])
def test_one_hot_vectors_are_looked_up_as_they_would_be_multiplied(rng, kernels, dtype, reset_after, vocabulary, units):
    one_hot = OneHot(name="one_hot", inputs=("x",), vocabulary=vocabulary)
    layer = gru(rng, vocabulary, units, source="one_hot", reset_after=reset_after, return_sequences=True)
    graph = narrow(chain(tokens(), one_hot, layer), dtype)
    assert folded(graph, kernels)
    given = chain(floats(vocabulary), dataclasses.replace(graph.layers[1], inputs=("x",)))
    for batch, steps in (1, 1), (1, 30), (20, 7):
        ids = rng.integers(0, vocabulary, (batch, steps), np.int32)
        vectors = np.eye(vocabulary, dtype=np.float32)[ids]
        assert same(run(graph, ids, kernels), run(given, vectors, kernels))


@each_dtype
@both_variants
@pytest.mark.parametrize("units", [5, 48, 200])
def test_the_same_bits(rng, dtype, reset_after, units, isa):
    """Whatever the batch, the place in it, the threads and the chunks; masked steps read no row."""
    layer = gru(rng, 12, units, source="embedding", mask="x:mask", reset_after=reset_after, return_sequences=True)
    graph = narrow(chain(tokens(), embedding(rng, 30, 12), layer), dtype)
    model = fastgru.Model(graph)
    ids = rng.integers(0, 30, (21, 17), np.int32)
    expected = np.concatenate([model(ids[i : i + 1], threads=1) for i in range(len(ids))])
    for threads in 1, 2:
        assert same(model(ids, threads=threads), expected)
        assert same(model(ids[:1], threads=threads), expected[:1])
    with model.stream(batch_size=len(ids)) as stream:
        chunks = [stream.run(ids[:, :5]), stream.step(ids[:, 5])[:, None], stream.run(ids[:, 6:])]
    assert same(np.concatenate(chunks, axis=1), expected)
    mask = rng.random(ids.shape) < 0.6
    masked = model(ids, mask=mask, threads=1)
    assert same(model(np.where(mask, ids, 3), mask=mask, threads=2), masked)
    assert same(np.concatenate([model(ids[i : i + 1], mask=mask[i : i + 1]) for i in range(len(ids))]), masked)


@each_dtype
def test_all_readers_of_an_embedding_have_tables(rng, dtype):
    """Both directions are folded, also where somebody reads the vectors too."""
    ahead = gru(rng, 12, 20, name="ahead", source="embedding", return_sequences=True)
    back = gru(rng, 12, 20, name="back", source="embedding", return_sequences=True, go_backwards=True, time_order=True)
    both = Graph((tokens(),), (embedding(rng, 30, 12), ahead, back), ("ahead", "back", "embedding"))
    both = narrow(both, dtype)
    ids = rng.integers(0, 30, (3, 9), np.int32)
    results = fastgru.Model(both)(ids)
    for i, name in enumerate(both.outputs):
        alone = dataclasses.replace(both, outputs=(name,))
        assert same(results[i], fastgru.Model(alone)(ids))


# ---- whether to fold -------------------------------------------------------------------------------------------------


@each_set
@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_large_tables_are_left_alone(rng, kernels, dtype):
    """The same networks are folded whatever the dtype and the kernels, though some pad more."""
    units = 1000
    most = TABLE_BYTES // (4 * 3 * units)
    for vocabulary in most, most + 1:
        graph = chain(tokens(), embedding(rng, vocabulary, 1), gru(rng, 1, units, source="embedding"))
        if dtype != "float32":
            graph = narrow(graph, dtype)
        assert folded(graph, kernels) == (vocabulary == most)


def test_projections_beyond_float16_are_not_folded(rng):
    layer = reader(rng, 4, 8)
    layer.kernel[:, 16:] = 100
    for largest, fits in (150.0, True), (170.0, False):
        table = np.full((3, 4), largest, np.float32)
        graph = chain(tokens(), Embedding(name="embedding", inputs=("x",), table=table), layer)
        graph = narrow(graph, "float16")
        assert folded(graph) == fits
        y = fastgru.Model(graph)([[0]])
        assert np.allclose(y, 400 * largest + layer.bias[16:], rtol=1e-3)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_what_is_not_finite_is_not_folded(rng, dtype):
    layer = gru(rng, 4, 8, source="embedding")
    table = uniform(rng, 5, 4)
    table[2, 1] = np.inf
    graph = narrow(chain(tokens(), Embedding(name="embedding", inputs=("x",), table=table), layer), dtype)
    assert not folded(graph)
    kernel = layer.kernel.copy()
    kernel[1, 3] = np.nan
    one_hot = OneHot(name="embedding", inputs=("x",), vocabulary=4)
    graph = narrow(chain(tokens(), one_hot, dataclasses.replace(layer, kernel=kernel)), dtype)
    assert not folded(graph)
    assert np.isnan(fastgru.Model(graph)([[0]])).any()


@each_dtype
def test_errors_against_float32(rng, dtype):
    """Folded networks are as near to float32 as unfolded ones."""
    graph = chain(tokens(), embedding(rng, 100, 64), gru(rng, 64, 96, source="embedding", return_sequences=True))
    ids = rng.integers(0, 100, (4, 50), np.int32)
    expected = fastgru.Model(graph)(ids)
    is_folded, is_not = narrow(graph, dtype), unfolded(narrow(graph, dtype))
    error, plain = (np.sqrt(np.mean((fastgru.Model(one)(ids) - expected) ** 2)) for one in (is_folded, is_not))
    assert error <= 1.5 * plain
    assert np.abs(fastgru.Model(widen(is_folded))(ids) - expected).max() < 0.1


def test_int8_without_scales_is_refused():
    table = NarrowArray("int8", np.zeros((3, 2), np.int8), np.ones(3, np.float32), 0)
    object.__setattr__(table, "scale", None)
    graph = Graph((tensor_spec("x", None, (), "int32"),), (Embedding(name="e", inputs=("x",), table=table),), ("e",))
    with pytest.raises(fastgru.BadModelFile, match="'e'"):
        fastgru.Model(graph)
