"""Scale, PReLU, Normalize and Combine: against the oracle and NumPy on every ISA, the same bits however they run."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import fastgru
import oracle
from building import VECTOR_ISAS, bidirectional, chain, floats, gru, uniform
from fastgru.errors import BadInput, BadModelFile, UnsupportedModel
from fastgru.graph import Activate, Activation, Combine, Graph, Layer, Normalize, PReLU, Reshape, Scale, tensor_spec
from tolerances import check

SIZES = (1, 2, 7, 8, 9, 16, 17, 100)
ROWS, STEPS = 20, 9
NUMPY: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "divide": np.divide,
    "maximum": np.maximum,
    "minimum": np.minimum,
}


def normal(*shape: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def same(actual: np.ndarray, expected: np.ndarray) -> bool:
    """The same bits; any NaN is like any other."""
    bits = (np.where(np.isnan(x), np.float32(np.nan), x).view(np.uint32) for x in (actual, expected))
    return actual.shape == expected.shape and np.array_equal(*bits)


def compare(graph: Graph, inputs: dict[str, np.ndarray]) -> None:
    """Run a Graph and hold every output against the oracle."""
    answers = fastgru.Model(graph)(inputs)
    for answer, truth in zip(answers if isinstance(answers, tuple) else (answers,), oracle.run(graph, inputs),
                             strict=True):  # fmt: skip
        check(answer, truth, "oracle")


def combine(operation: str, *sources: str, name: str = "y") -> Combine:
    return Combine(name=name, inputs=sources, operation=operation)


def scale(*shape: int, offset: tuple[int, ...] | None = (), name: str = "y", source: str = "x") -> Scale:
    """A Scale with tensors of these shapes; `offset` as the scale's where it is (), none where it is None."""
    shift = None if offset is None else normal(*(offset or shape), seed=3)
    return Scale(name=name, inputs=(source,), scale=normal(*shape, seed=2), offset=shift)


def normalize(function: str, *sizes: int, **options: Any) -> Normalize:
    """With a scale and an offset of the sizes that it goes over."""
    tensors = {"scale": normal(*sizes, seed=4), "offset": normal(*sizes, seed=5)}
    return Normalize(
        **{"name": "y", "inputs": ("x",), "function": function, "epsilon": 1e-3, "axes": len(sizes)} | tensors | options
    )


# ---- Scale and PReLU -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
def test_scale_and_prelu_are_plain_float32(size: int, isa: str) -> None:
    """One multiplication and one addition, each rounded."""
    x = normal(5, 4, size)
    both, bare = scale(size), scale(size, offset=None)
    shift = dataclasses.replace(both, scale=None)
    alpha = normal(size, seed=6)
    for layer, expected in (
        (both, x * both.scale + both.offset),
        (bare, x * bare.scale),
        (shift, x + shift.offset),
        (dataclasses.replace(both, scale=None, offset=None), x),
        (PReLU(name="y", inputs=("x",), alpha=alpha), np.maximum(x, 0) + alpha * np.minimum(x, 0)),
    ):
        graph = chain(floats(size), layer)
        assert same(fastgru.Model(graph)(x), expected)
        compare(graph, {"x": x})


@pytest.mark.parametrize("shape", [(), (1,), (5,), (1, 1), (4, 1), (4, 5), (1, 4, 5), (7, 1, 1), (7, 1, 5), (7, 4, 5)])
def test_tensors_spread(shape: tuple[int, ...], isa: str) -> None:
    """From the last axis on, over (time, 4, 5)."""
    spec = tensor_spec("x", 7 if shape[:1] == (7,) else None, (4, 5))
    x = normal(3, 7, 4, 5)
    layer, alpha = scale(*shape, offset=(5,)), PReLU(name="y", inputs=("x",), alpha=normal(*shape, seed=2))
    assert same(fastgru.Model(chain(spec, layer))(x), x * layer.scale + layer.offset)
    assert same(fastgru.Model(chain(spec, alpha))(x), np.maximum(x, 0) + alpha.alpha * np.minimum(x, 0))
    for graph in (chain(spec, layer), chain(spec, alpha)):
        compare(graph, {"x": x})
    if shape[:1] != (7,):
        flat = tensor_spec("x", False, (4, 5))
        flat_layer = dataclasses.replace(layer, scale=layer.scale.reshape(shape[-2:]))
        compare(chain(flat, flat_layer), {"x": x[:, 0]})


def test_numbers_of_each_step_over_many_blocks(isa: str) -> None:
    """Behind a GRU, so that blocks are cut; more steps than a block has."""
    layer = gru(np.random.default_rng(1), 3, 5, return_sequences=True)
    graph = chain(floats(3, 300), layer, scale(300, 1, offset=(300, 5), source="gru"))
    assert not fastgru.Model(graph)._plan.causal
    compare(graph, {"x": normal(3, 300, 3)})
    whole = fastgru.Model(graph)(normal(3, 300, 3))
    assert same(fastgru.Model(graph, threads=2)(normal(3, 300, 3)), whole)


def test_what_does_not_spread_is_refused() -> None:
    for shape in ((4,), (5, 1), (2, 4, 5), (1, 7, 4, 5)):
        for layer in (scale(*shape), PReLU(name="y", inputs=("x",), alpha=normal(*shape))):
            with pytest.raises(BadModelFile, match=rf"{layer.kind} layer 'y': .* of shape .* does not spread over 'x'"):
                chain(tensor_spec("x", None, (4, 5)), layer)
    with pytest.raises(BadModelFile, match="does not spread"):  # a time axis where time is free
        chain(floats(5), scale(7, 5))


def test_scale_and_prelu_of_nan_and_infinity(isa: str) -> None:
    x = np.array([[0.0, -0.0, math.nan, math.inf, -math.inf, 3e38, -3e38, 1e-45]], np.float32)
    spec = tensor_spec("x", False, (8,))
    for factor in (2.0, 0.0, -1.0, math.inf):
        layer = Scale(name="y", inputs=("x",), scale=np.full(8, factor, np.float32))
        alpha = PReLU(name="y", inputs=("x",), alpha=np.full(8, factor, np.float32))
        with np.errstate(all="ignore"):
            flushed = np.where(np.abs(x) < 2.0**-126, np.float32(0), x)
            assert np.array_equal(fastgru.Model(chain(spec, layer))(x), flushed * layer.scale, equal_nan=True)
            halves = np.maximum(flushed, 0) + alpha.alpha * np.minimum(flushed, 0)
            assert np.array_equal(fastgru.Model(chain(spec, alpha))(x), halves, equal_nan=True)


# ---- Normalize -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", Normalize.FUNCTIONS)
@pytest.mark.parametrize("size", SIZES)
def test_normalize(function: str, size: int, isa: str) -> None:
    x = normal(5, 4, size)
    layer = normalize(function, size)
    compare(chain(floats(size), layer), {"x": x})
    compare(chain(floats(size), dataclasses.replace(layer, scale=None, offset=None)), {"x": x})
    compare(chain(tensor_spec("x", False, (size,)), layer), {"x": x[:, 0]})


@pytest.mark.parametrize("function", Normalize.FUNCTIONS)
@pytest.mark.parametrize("axes", [1, 2, 3])
def test_normalize_over_axes(function: str, axes: int, isa: str) -> None:
    sizes = (2, 3, 5)
    compare(chain(tensor_spec("x", None, sizes), normalize(function, *sizes[-axes:])), {"x": normal(3, 4, *sizes)})


def test_normalize_is_right_to_the_last_bits_where_float32_sums_are_not(isa: str) -> None:
    """A mean much larger than the differences; numbers whose squares float32 cannot hold; very long rows."""
    x = np.stack([1e4 + 1e-2 * normal(5000), 1e25 * normal(5000), 1e-25 * normal(5000), np.full(5000, 1e20)])
    x = x.astype(np.float32)
    for function in Normalize.FUNCTIONS:
        layer = Normalize(name="y", inputs=("x",), function=function, epsilon=0.0 if function != "layer" else 1e-12)
        graph = chain(tensor_spec("x", False, (5000,)), layer)
        (truth,) = oracle.run(graph, {"x": x})
        np.testing.assert_allclose(fastgru.Model(graph)(x), truth, rtol=1e-6, atol=1e-7)


def test_a_row_of_zeros_and_a_row_with_nan(isa: str) -> None:
    x = np.array([[0, 0, 0], [1, math.nan, 2], [1, math.inf, 2], [1, 2, 4]], np.float32)
    for function in Normalize.FUNCTIONS:
        for epsilon in (0.0, 1e-12):
            layer = Normalize(name="y", inputs=("x",), function=function, epsilon=epsilon)
            compare(chain(tensor_spec("x", False, (3,)), layer), {"x": x})


@pytest.mark.parametrize("function", Normalize.FUNCTIONS)
def test_normalize_is_keras(function: str, isa: str) -> None:
    from keras_live import keras

    x, layer = normal(6, 33), normalize(function, 33)
    if function == "unit":  # x / max(‖x‖, 1e-12)
        theirs, layer = keras.layers.UnitNormalization(), dataclasses.replace(layer, scale=None, offset=None)
        layer = dataclasses.replace(layer, epsilon=1e-24)
    elif function == "rms":
        theirs, layer = keras.layers.RMSNormalization(epsilon=1e-3), dataclasses.replace(layer, offset=None)
    else:
        theirs = keras.layers.LayerNormalization(epsilon=1e-3)
    theirs.build(x.shape)
    theirs.set_weights(list(layer.tensors.values()))
    x[0] = 0
    check(fastgru.Model(chain(tensor_spec("x", False, (33,)), layer))(x), np.asarray(theirs(x)), "keras")


def test_wrong_normalizations_are_refused() -> None:
    right = normalize("layer", 5)
    for change, fault in (
        ({"function": "batch"}, "function should be one of layer, rms, unit, is 'batch'"),
        ({"axes": 3}, "cannot normalize over 3 axes"),
        ({"axes": 0}, "cannot normalize over 0 axes"),
        ({"epsilon": -1.0}, "epsilon should not be negative"),
        ({"epsilon": math.nan}, "epsilon should not be negative"),
        ({"axes": 2}, "scale should have shape"),
    ):
        with pytest.raises(BadModelFile, match=f"Normalize layer 'y': {fault}"):
            chain(tensor_spec("x", None, (4, 5)), dataclasses.replace(right, **change))


# ---- Combine ---------------------------------------------------------------------------------------------------------


def several(count: int, *inner: int, time: int | bool | None = None) -> tuple[Any, ...]:
    return tuple(tensor_spec(name, time, inner) for name in "abcdefgh"[:count])


@pytest.mark.parametrize("operation", Combine.OPERATIONS)
@pytest.mark.parametrize("size", SIZES)
def test_combine_is_numpy(operation: str, size: int, isa: str) -> None:
    """From the first to the last, each operation rounded."""
    for count in (2, 3, 5):
        specs = several(count, size)
        values = [normal(4, 3, size, seed=seed) for seed in range(count)]
        layer = combine(operation, *(spec.name for spec in specs))
        y = values[0]
        for value in values[1:]:
            y = NUMPY.get(operation, np.add)(y, value)
        y = y / np.float32(count) if operation == "average" else y
        graph = Graph(specs, (layer,), ("y",))
        assert same(fastgru.Model(graph)(*values), y)


@pytest.mark.parametrize("seed", range(40))
def test_random_shapes_spread_as_in_numpy(seed: int) -> None:
    """Inner axes of size 1 in any of them; values with time, of one step, and without."""
    rng = np.random.default_rng(seed)
    axes, count = int(rng.integers(0, 6)), int(rng.integers(2, 5))
    full = rng.integers(1, 4, axes)
    operation = str(rng.choice(Combine.OPERATIONS))
    specs, values = [], []
    for name in "abcd"[:count]:
        inner = tuple(int(size) for size in np.where(rng.random(axes) < 0.4, 1, full))
        time = (False, 1, 6, None)[int(rng.integers(0, 4))]
        specs.append(tensor_spec(name, time, inner))
        steps = () if time is False else (time or 6,)
        values.append(normal(3, *steps, *inner, seed=int(rng.integers(1000))))
    graph = Graph(tuple(specs), (combine(operation, *"abcd"[:count]),), ("y",))
    timed = any(spec.is_sequence for spec in specs)
    wide = [value[:, None] if timed and not spec.is_sequence else value
            for spec, value in zip(specs, values, strict=True)]  # fmt: skip
    y = wide[0]
    for value in wide[1:]:
        y = NUMPY.get(operation, np.add)(y, value)
    y = y / np.float32(count) if operation == "average" else y
    answer = fastgru.Model(graph)(*values)
    assert graph.specs["y"].shape[1:] == tuple(
        size if known is not None else None for size, known in zip(y.shape[1:], graph.specs["y"].shape[1:], strict=True)
    )
    assert same(answer, y)
    compare(graph, {spec.name: value for spec, value in zip(specs, values, strict=True)})


def test_axes_that_spread_in_turn(isa: str) -> None:
    """Nothing can be merged: (2,1,2,1,2,1,2,1) with (1,2,1,2,1,2,1,2)."""
    one, other = (2, 1) * 4, (1, 2) * 4
    specs = tensor_spec("a", None, one), tensor_spec("b", None, other)
    graph = Graph(specs, (combine("subtract", "a", "b"),), ("y",))
    a, b = normal(3, 4, *one), normal(3, 4, *other, seed=2)
    assert same(fastgru.Model(graph)(a, b), a - b)


def test_more_axes_than_the_core_walks_are_refused() -> None:
    one, other = (2, 1) * 5, (1, 2) * 5
    flat = (tensor_spec("a", None, (32,)), tensor_spec("b", None, (32,)))
    layers = (
        Reshape(name="one", inputs=("a",), target=one, per_step=True),
        Reshape(name="other", inputs=("b",), target=other, per_step=True),
        combine("add", "one", "other"),
        Reshape(name="out", inputs=("y",), target=(1024,), per_step=True),
    )
    with pytest.raises(BadModelFile, match="Combine layer 'y': more than 8 axes"):
        fastgru.Model(Graph(flat, layers, ("out",)))


def test_one_step_spreads_over_a_sequence_that_is_walked(isa: str) -> None:
    """The one step is an input, one that stands after another sequence's end, and one that is computed step by step."""
    rng = np.random.default_rng(1)
    specs = (tensor_spec("x", None, (5,)), tensor_spec("one", 1, (5,)))
    layers = (
        gru(rng, 5, 5, return_sequences=True),
        gru(rng, 5, 5, name="last"),
        Reshape(name="late", inputs=("last",), target=(1, 5)),
        Activate(name="computed", inputs=("one",), activation=Activation.of("tanh")),
        combine("add", "one", "gru", "late", "computed", "last"),
    )
    graph = Graph(specs, layers, ("y", "computed"))
    for rows, steps in ((1, 1), (3, 1), (3, 7), (2, 300)):
        compare(graph, {"x": normal(rows, steps, 5), "one": normal(rows, 1, 5, seed=2)})
    model, x, one = fastgru.Model(graph), normal(ROWS, 300, 5), normal(ROWS, 1, 5, seed=2)
    whole = model(x, one, threads=1)
    for threads in (1, 2):
        for rows in (slice(0, 1), slice(3, 8), slice(None)):
            answers = model(x[rows], one[rows], threads=threads)
            assert all(same(answer, value[rows]) for answer, value in zip(answers, whole, strict=True))


def test_sequences_of_one_step_alone(isa: str) -> None:
    graph = Graph(several(2, 5, time=1), (combine("multiply", "a", "b"),), ("y",))
    a, b = normal(3, 1, 5), normal(3, 1, 5, seed=2)
    assert graph.specs["y"].shape == (None, 1, 5)
    assert same(fastgru.Model(graph)(a, b), a * b)


def test_a_backward_gru_beside_a_forward_one(isa: str) -> None:
    """Sums of both directions, over several blocks, and of both last steps."""
    rng = np.random.default_rng(2)
    ahead, back, _ = bidirectional(rng, 5, 6)
    layers = (ahead, back, combine("average", ahead.name, back.name), combine("maximum", "y", ahead.name, name="z"))
    compare(Graph((floats(5),), layers, ("y", "z")), {"x": normal(3, 300, 5)})
    compare(Graph((floats(5),), layers, ("z",)), {"x": normal(3, 0, 5)})


def test_nan_and_infinity(isa: str) -> None:
    numbers = np.array([0.0, -0.0, 1.0, -2.0, math.inf, -math.inf, math.nan, 1e30], np.float32)
    a, b = (np.ascontiguousarray(x.reshape(1, -1)) for x in np.meshgrid(numbers, numbers))
    for operation, function in NUMPY.items():
        graph = Graph(several(2, 64, time=False), (combine(operation, "a", "b"),), ("y",))
        with np.errstate(all="ignore"):
            assert np.array_equal(fastgru.Model(graph)(a, b), function(a, b), equal_nan=True)


def test_a_value_combined_with_itself(isa: str) -> None:
    x = normal(3, 4, 7)
    assert same(fastgru.Model(chain(floats(7), combine("subtract", "x", "x", "x")))(x), x - x - x)


def test_wrong_combinations_are_refused() -> None:
    for shapes, operation, fault in (
        (((4,), (5,)), "add", "values of these shapes do not go together: 'a' .*, 'b'"),
        (((4,), (4, 1)), "add", "values of these shapes do not go together"),
        (((4,), (4,)), "power", "operation should be one of add, .*, is 'power'"),
    ):
        specs = tuple(tensor_spec(name, None, shape) for name, shape in zip("ab", shapes, strict=True))
        with pytest.raises(BadModelFile, match=f"Combine layer 'y': {fault}"):
            Graph(specs, (combine(operation, "a", "b"),), ("y",))
    with pytest.raises(BadModelFile, match="joins sequences of 3 and 4 steps"):
        Graph((tensor_spec("a", 3, (2,)), tensor_spec("b", 4, (2,))), (combine("add", "a", "b"),), ("y",))
    with pytest.raises(BadModelFile, match="2 or more inputs, has 1"):
        chain(floats(2), combine("add", "x"))


def test_other_steps_at_run_time_are_refused() -> None:
    model = fastgru.Model(Graph(several(2, 2), (combine("add", "a", "b"),), ("y",)))
    with pytest.raises(BadInput, match=r"input 'b' has 4 steps, but 'a', which it goes with, 3"):
        model(normal(1, 3, 2), normal(1, 4, 2))
    model = fastgru.Model(Graph((floats(2), tensor_spec("one", 1, (2,))), (combine("add", "x", "one"),), ("y",)))
    with pytest.raises(BadInput, match="one"):
        model(normal(1, 3, 2), normal(1, 3, 2))


# ---- the same bits ---------------------------------------------------------------------------------------------------


def pointwise(features: int) -> Graph:
    """All four behind a GRU, and a value without time; the residual goes around them."""
    rng = np.random.default_rng(features)
    layers: tuple[Layer, ...] = (
        gru(rng, features, features, return_sequences=True, mask="x:mask"),
        normalize("layer", features, name="normal", inputs=("gru",)),
        dataclasses.replace(scale(features), name="scaled", inputs=("normal",)),
        PReLU(name="bent", inputs=("scaled",), alpha=uniform(rng, features)),
        combine("add", "bent", "gru", "fixed", "x", name="sum"),
        normalize("unit", features, name="unit", inputs=("sum",), scale=None, offset=None),
        combine("maximum", "unit", "x"),
    )
    return Graph((floats(features), tensor_spec("fixed", False, (features,))), layers, ("y", "sum"))


@pytest.mark.parametrize("features", [1, 5, 16, 33])
def test_batch_threads_and_place(features: int, isa: str) -> None:
    model = fastgru.Model(pointwise(features))
    x, fixed = normal(ROWS, STEPS, features), normal(ROWS, features, seed=2)
    compare(pointwise(features), {"x": x, "fixed": fixed})
    whole = model(x, fixed, threads=1)
    order = np.random.default_rng(3).permutation(ROWS)
    for rows in (slice(0, 1), slice(5, 6), slice(0, 8), slice(11, 20), order):
        for threads in (1, 2, 3):
            answers = model(x[rows], fixed[rows], threads=threads)
            assert all(same(answer, value[rows]) for answer, value in zip(answers, whole, strict=True))


def test_a_team_on_one_row(isa: str) -> None:
    """Large enough that all threads share one row."""
    model = fastgru.Model(pointwise(256))
    x, fixed = normal(1, 40, 256), normal(1, 256, seed=2)
    whole = model(x, fixed, threads=1)
    for _ in range(3):
        assert all(same(*pair) for pair in zip(model(x, fixed, threads=2), whole, strict=True))


def cuts(steps: int, seed: int) -> Iterator[slice]:
    rng, start = np.random.default_rng(seed), 0
    while start < steps:
        size = int(rng.integers(1, 5))
        yield slice(start, start + size)
        start += size


def test_steps_and_chunks(isa: str) -> None:
    model = fastgru.Model(pointwise(17))
    x, fixed = normal(3, STEPS, 17), normal(3, 17, seed=2)
    whole = model(x, fixed)[0]
    with model.stream(batch_size=3, inputs={"fixed": fixed}) as stream:
        assert same(np.stack([stream.step(x[:, t])[0] for t in range(STEPS)], axis=1), whole)
        for seed in range(3):
            stream.reset()
            pieces = [stream.run(x[:, cut])[0] for cut in cuts(STEPS, seed)]
            assert same(np.concatenate(pieces, axis=1), whole)


@pytest.mark.parametrize("features", [1, 16, 33])
def test_vector_kernels_agree(features: int, monkeypatch: pytest.MonkeyPatch) -> None:
    if len(VECTOR_ISAS) < 2:
        pytest.skip("this machine has one set of vector kernels")
    answers = []
    for name in VECTOR_ISAS:
        monkeypatch.setenv("FASTGRU_ISA", name)
        answers.append(fastgru.Model(pointwise(features))(normal(4, STEPS, features), normal(4, features, seed=2)))
    assert all(same(*pair) for pair in zip(*answers[:2], strict=True))


def test_what_cannot_stream_says_so() -> None:
    timed = chain(floats(5, 7), scale(7, 1))
    alpha = chain(floats(5, 7), PReLU(name="y", inputs=("x",), alpha=normal(7, 5)))
    single = Graph((floats(5), tensor_spec("one", 1, (5,))), (combine("add", "x", "one"),), ("y",))
    for graph, fault in (
        (timed, "Scale layer 'y' has numbers of its own for each step"),
        (alpha, "PReLU layer 'y' has numbers of its own for each step"),
        (single, "Combine layer 'y' spreads the one step of 'one'"),
    ):
        model = fastgru.Model(graph)
        assert not model._plan.causal
        with pytest.raises(UnsupportedModel, match=f"{fault}.*, so it cannot stream"):
            model.stream()
