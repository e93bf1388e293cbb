"""Attention and MatMul: against the oracle and Keras, on every kernel set, to the same bits in any company."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import numpy as np
import pytest

import oracle
from building import dense, gru, uniform
from fastgru import BadInput, BadModelFile, Model, UnsupportedModel, _core
from fastgru.graph import Attention, Dense, Graph, MatMul, tensor_spec
from tolerances import check

pytestmark = pytest.mark.dtypes

FUNCTIONS = ("dot", "additive")
Arrays = dict[str, np.ndarray]


def attend(size: int = 5, value_size: int = 3, *, steps: int | None = None, **options: Any) -> Graph:
    """An Attention on the inputs q, v and k, `size` and `value_size` those of a head."""
    heads = options.get("heads", 1)
    if options.get("function") == "additive" and "weight" not in options:
        options["weight"] = uniform(np.random.default_rng(5), heads * size)
    layer = Attention(name="at", inputs=("q", "v", "k"), **options)
    specs = (
        tensor_spec("q", None, (heads * size,)),
        tensor_spec("v", steps, (heads * value_size,)),
        tensor_spec("k", steps, (heads * size,)),
    )
    return Graph(specs, (layer,), ("at", "at:scores") if layer.with_scores else ("at",))


def masked(**options: Any) -> dict[str, Any]:
    return {"mask": "v:mask", "query_mask": "q:mask", **options}


def arrays(graph: Graph, rows: int, queries: int, steps: int, seed: int = 1) -> Arrays:
    rng = np.random.default_rng(seed)
    counts = {"q": queries, "v": steps, "k": steps, "a": queries, "b": steps}
    return {spec.name: uniform(rng, rows, counts[spec.name], *spec.inner, scale=1.5) for spec in graph.inputs}


def holes(rows: int, steps: int, seed: int = 2) -> np.ndarray:
    """Holes; the first rows: nothing masked, everything, padding at the right, at the left."""
    mask = np.random.default_rng(seed).random((rows, steps)) < 0.6
    mask[:1] = True
    mask[1:2] = False
    mask[2:3] = np.arange(steps) < steps // 2
    mask[3:4] = np.arange(steps) >= steps // 2
    return mask


def masks_of(x: Arrays) -> Arrays:
    """The mask of the value is that of the key, whose own is read by nobody."""
    return {"q": holes(*x["q"].shape[:2], seed=3)[::-1], "v": holes(*x["v"].shape[:2])}


def results(model: Model, *args: Any, **options: Any) -> tuple[np.ndarray, ...]:
    result = model(*args, **options)
    return result if isinstance(result, tuple) else (result,)


def compare(graph: Graph, x: Arrays, masks: Arrays | None = None, threads: int = 1) -> None:
    expected = oracle.run(graph, x, masks)
    for ours, theirs in zip(results(Model(graph, threads=threads), x, mask=masks), expected, strict=True):
        check(ours, theirs, "oracle")


def same(actual: np.ndarray, expected: np.ndarray) -> bool:
    return actual.shape == expected.shape and np.array_equal(actual.view(np.uint32), expected.view(np.uint32))


# ---- against the oracle --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("size", [1, 3, 8, 16, 17, 49, 100])
def test_sizes(function: str, size: int, isa: str) -> None:
    graph = attend(size, size % 7 + 1, function=function, scale=0.5)
    for queries, steps in ((1, 1), (1, 7), (9, 1), (8, 16), (5, 50), (17, 97)):
        compare(graph, arrays(graph, 2, queries, steps))


@pytest.mark.parametrize("heads", [1, 3])
@pytest.mark.parametrize("size", [1, 7, 8, 15, 16, 17, 31, 40, 100])
def test_one_step_of_a_query(size: int, heads: int, isa: str) -> None:
    """It reads keys and values as they lie, around a vector's end, and gives the bits that it gives among others."""
    model = Model(attend(size, 3, heads=heads, scale=0.3))
    for steps in (1, 7, 8, 9, 15, 16, 17, 31, 32, 33, 47, 130):
        x = arrays(model.graph, 2, 3, steps)
        alone = {**x, "q": x["q"][:, 1:2]}
        compare(model.graph, alone)
        assert same(model(alone), model(x)[:, 1:2].copy())


@pytest.mark.parametrize("value_size", [1, 8, 15, 16, 17, 48, 49, 130])
def test_value_sizes(value_size: int, isa: str) -> None:
    graph = attend(4, value_size, causal=True, window=9)
    compare(graph, arrays(graph, 2, 19, 33))


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("all_masked", Attention.ALL_MASKED)
@pytest.mark.parametrize("zero_masked_queries", [True, False], ids=["zeroed", "blind"])
def test_masks(function: str, all_masked: str, zero_masked_queries: bool, isa: str) -> None:
    for causal, window, heads in itertools.product((False, True), (None, 1, 3, 20), (1, 3)):
        options = masked(
            function=function, all_masked=all_masked, zero_masked_queries=zero_masked_queries, causal=causal,
            window=window, heads=heads, with_scores=True,
        )  # fmt: skip
        for queries, steps in ((1, 6), (13, 21), (37, 20)):
            graph = attend(steps=steps, **options)
            x = arrays(graph, 6, queries, steps)
            compare(graph, x, masks_of(x))
            compare(graph, x)


def test_one_mask_of_two(isa: str) -> None:
    graph = attend(**masked())
    x = arrays(graph, 6, 9, 11)
    masks = masks_of(x)
    compare(graph, x, {"q": masks["q"]})
    compare(graph, x, {"v": masks["v"]})


def test_large_scores_under_the_penalty(isa: str) -> None:
    """Beside 10⁹ float32 keeps multiples of 64, so large scores still tell steps from each other."""
    graph = attend(1, 5, mask="v:mask")
    x = {"q": np.full((1, 1, 1), 10.0), "k": np.array([[[0.0], [1.0], [9.0], [9.5], [-7.0]]]), "v": np.eye(5)[None]}
    masks = {"v": np.zeros((1, 5), bool)}
    compare(graph, x, masks)
    assert Model(graph)(x, mask=masks)[0, 0].round(6).tolist() == [0, 0, 0.5, 0.5, 0]
    mean = attend(1, 5, mask="v:mask", all_masked="mean")
    assert same(Model(mean)(x, mask=masks), np.full((1, 1, 5), 0.2, np.float32))


def test_additive_without_weights_and_with_an_inner_scale(isa: str) -> None:
    for heads in (1, 2):
        graph = attend(6, 4, function="additive", weight=None, scale=-0.7, inner_scale=1.7, heads=heads)
        compare(graph, arrays(graph, 3, 9, 11))


@pytest.mark.parametrize("function", FUNCTIONS)
def test_no_steps(function: str, isa: str) -> None:
    graph = attend(function=function, **masked())
    for rows, queries, steps in ((2, 0, 3), (2, 3, 0), (2, 0, 0), (0, 3, 2)):
        x = arrays(graph, rows, queries, steps)
        y = Model(graph)(x, mask=masks_of(x))
        assert same(y, np.zeros((rows, queries, 3), np.float32))


def test_in_a_network(isa: str) -> None:
    """A decoder that attends to its encoder: projections, two masks, another number of steps."""
    rng = np.random.default_rng(4)
    encoder = gru(rng, 5, 12, name="encoder", source="v", return_sequences=True, mask="v:mask")
    decoder = gru(rng, 4, 12, name="decoder", source="q", return_sequences=True, mask="q:mask")
    key = dense(rng, 12, 8, name="key", source="encoder", function="linear")
    query = dense(rng, 12, 8, name="query", source="decoder", function="linear")
    layer = Attention(name="at", inputs=("query", "encoder", "key"), heads=2, **masked(causal=True))
    out = gru(rng, 12, 3, name="out", source="at", mask="q:mask", return_sequences=True)
    specs = (tensor_spec("q", None, (4,)), tensor_spec("v", None, (5,)))
    graph = Graph(specs, (encoder, decoder, key, query, layer, out), ("out", "at"))
    for queries, steps in ((1, 9), (140, 9), (7, 300), (20, 20)):
        x = arrays(graph, 5, queries, steps)
        compare(graph, x, masks_of(x), threads=2)


# ---- what is not finite --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("all_masked", Attention.ALL_MASKED)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf], ids=str)
def test_masked_steps_never_leak(function: str, all_masked: str, bad: float, isa: str) -> None:
    """Not even where all steps are masked."""
    graph = attend(5, 50, function=function, all_masked=all_masked, heads=2, causal=True, **masked())
    for queries in (13, 1):
        x = arrays(graph, 6, queries, 21)
        masks = masks_of(x)
        for name, mask in (("q", "q"), ("v", "v"), ("k", "v")):
            x[name][~masks[mask]] = bad
        assert np.isfinite(Model(graph)(x, mask=masks)).all()
        compare(graph, x, masks)


@pytest.mark.parametrize(("causal", "window"), [(True, None), (False, 4), (True, 4)])
@pytest.mark.parametrize("function", FUNCTIONS)
def test_hidden_steps_never_leak(causal: bool, window: int | None, function: str, isa: str) -> None:
    graph = attend(5, 50, function=function, causal=causal, window=window, mask="v:mask")
    x, model = arrays(graph, 2, 45, 45), Model(graph)
    whole = model(x)
    for t in (0, 7, 20, 37):
        hurt = {name: array.copy() for name, array in x.items()}
        hurt["v"][0, t] = np.nan
        hurt["k"][0, t, 0] = np.inf
        sees = np.array([(not causal or q >= t) and (window is None or abs(q - t) < window) for q in range(45)])
        y = model(hurt)
        assert np.isnan(y[0, sees]).all()
        assert same(y[0, ~sees], whole[0, ~sees])
        assert same(y[1], whole[1])


# ---- the same bits -------------------------------------------------------------------------------------------------


def ways() -> list[Graph]:
    return [
        attend(20, 33, function=function, heads=heads, **masked(**options))
        for function, heads in itertools.product(FUNCTIONS, (1, 2))
        for options in ({}, {"causal": True}, {"window": 5}, {"causal": True, "window": 20, "all_masked": "mean"})
    ]


@pytest.mark.parametrize("graph", ways(), ids=lambda graph: "-".join(map(str, graph.layers[0].attributes.values())))
def test_same_bits(graph: Graph, isa: str) -> None:
    """In any batch, at any place, on any number of threads, and whatever its neighbours are padded to."""
    x = arrays(graph, 20, 43, 70)
    masks = masks_of(x)
    whole = Model(graph, threads=1)(x, mask=masks)
    for threads in (2, 3, 8):
        for _ in range(3):
            assert same(Model(graph)(x, mask=masks, threads=threads), whole)
    model = Model(graph, threads=2)
    for rows in (slice(0, 1), slice(1, 2), slice(4, 5), slice(3, 10), slice(19, 20)):
        part = {name: array[rows] for name, array in x.items()}
        for threads in (1, 2):
            y = model(part, mask={name: mask[rows] for name, mask in masks.items()}, threads=threads)
            assert same(y, whole[rows])
    for length in (1, 31, 64):
        short = {"q": x["q"], "v": x["v"][:, :length], "k": x["k"][:, :length]}
        padded = np.arange(70) < np.full((20, 1), length)
        see = slice(length + (graph.layers[0].window or 43) - 1)  # a query that sees no step takes the padding too
        assert same(model(short)[:, see], model(x, mask={"v": padded})[:, see])


@pytest.mark.parametrize("graph", ways(), ids=lambda graph: "-".join(map(str, graph.layers[0].attributes.values())))
def test_same_bits_on_every_vector_isa(graph: Graph, monkeypatch: pytest.MonkeyPatch, vector_isas: list[str]) -> None:
    x = arrays(graph, 6, 43, 70)
    masks = masks_of(x)
    answers = []
    for isa in vector_isas:
        monkeypatch.setenv("FASTGRU_ISA", isa)
        answers.append(Model(graph)(x, mask=masks))
    assert all(same(answer, answers[0]) for answer in answers)


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("value_size", [1, 7, 16, 33, 64, 150])
def test_one_step_of_a_query_is_computed_as_many(function: str, value_size: int, isa: str) -> None:
    """A decoder's way through the kernels is another one."""
    graph = attend(20, value_size, function=function, heads=2, **masked())
    x, model = arrays(graph, 5, 19, 40), Model(graph)
    masks = masks_of(x)
    whole = model(x, mask=masks)
    for t in (0, 7, 18):
        part = slice(t, t + 1)
        y = model(x | {"q": x["q"][:, part]}, mask=masks | {"q": masks["q"][:, part]})
        assert same(y, whole[:, part])


def test_steps_that_one_query_sees_are_not_made_finite(isa: str) -> None:
    graph = attend(4, 20, mask="v:mask")
    x = arrays(graph, 2, 1, 9)
    x["v"][:, 3, 5], x["v"][:, 4, 6] = np.nan, np.inf
    for seen in (True, False):
        masks = {"v": np.ones((2, 9), bool)}
        masks["v"][:, 3:5] = seen
        compare(graph, x, masks)
        y = Model(graph)(x, mask=masks)
        assert np.isnan(y[:, 0, 5]).all() == seen
        assert np.isposinf(y[:, 0, 6]).all() == seen


def test_a_mask_that_masks_nothing(isa: str) -> None:
    graph = attend(20, 33, **masked())
    x = arrays(graph, 3, 9, 40)
    full = {name: np.ones_like(mask) for name, mask in masks_of(x).items()}
    assert same(Model(graph)(x, mask=full), Model(graph)(x))


def test_other_steps_in_turn(isa: str) -> None:
    """One model, calls of other numbers of steps and rows: scratch follows."""
    graph, rng = attend(7, 5, heads=2), np.random.default_rng(6)
    model = Model(graph, threads=2)
    for _ in range(30):
        rows, queries, steps = (int(n) for n in rng.integers(1, 60, 3))
        x = arrays(graph, rows, queries, steps)
        check(model(x), oracle.run(graph, x)[0], "oracle")


def test_memory_grows_with_the_steps_not_their_square() -> None:
    graph = attend(8, 8)

    def workspace(steps: int) -> int:
        runner = _core.Runner(_core.Plan(graph))
        runner._run_fresh(tuple(arrays(graph, 1, steps, steps).values()), None, None, 1, None)
        return runner.nbytes

    assert workspace(4000) < 2.2 * workspace(2000)


# ---- MatMul --------------------------------------------------------------------------------------------------------


def product(k: int, m: int, transpose_b: bool) -> Graph:
    a = tensor_spec("a", None, (k,))
    b = tensor_spec("b", m, (k,)) if transpose_b else tensor_spec("b", None, (m,))
    return Graph((a, b), (MatMul(name="mm", inputs=("a", "b"), transpose_b=transpose_b),), ("mm",))


@pytest.mark.parametrize("transpose_b", [True, False])
@pytest.mark.parametrize(("k", "m"), [(1, 1), (3, 17), (16, 48), (50, 49), (5, 100)])
def test_matmul(k: int, m: int, transpose_b: bool, isa: str) -> None:
    graph = product(k, m, transpose_b)
    for rows, steps in ((1, 1), (1, 90), (3, 17), (20, 9)):
        x = arrays(graph, rows, steps, m if transpose_b else k)
        compare(graph, x)
        whole = Model(graph)(x, threads=1)
        assert same(Model(graph)(x, threads=2), whole)
        assert same(Model(graph)({name: array[-1:] for name, array in x.items()}), whole[-1:])
    assert Model(graph)(arrays(graph, 2, 0, m if transpose_b else k)).shape == (2, 0, m)


@pytest.mark.parametrize("transpose_b", [True, False])
def test_matmul_is_the_same_on_every_vector_isa(
    transpose_b: bool, monkeypatch: pytest.MonkeyPatch, vector_isas: list[str]
) -> None:
    graph = product(50, 61, transpose_b)
    x = arrays(graph, 3, 29, 61 if transpose_b else 50)
    answers = []
    for isa in vector_isas:
        monkeypatch.setenv("FASTGRU_ISA", isa)
        answers.append(Model(graph)(x))
    assert all(same(answer, answers[0]) for answer in answers)


def test_matmul_by_hand() -> None:
    a, b = np.array([[[1.0, 2.0], [3.0, 4.0]]]), np.array([[[5.0, 6.0], [7.0, 8.0]]])
    assert Model(product(2, 2, False))({"a": a, "b": b}).tolist() == [[[19, 22], [43, 50]]]
    assert Model(product(2, 2, True))({"a": a, "b": b}).tolist() == [[[17, 23], [39, 53]]]


# ---- errors --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"function": "cosine"}, "function should be one of dot, additive, is 'cosine'"),
        ({"all_masked": "max"}, "all_masked should be one of penalty, mean, zero, is 'max'"),
        ({"window": 0}, "window should be positive, is 0"),
        ({"weight": np.ones(5, np.float32)}, "weight and inner_scale belong to"),
        ({"function": "additive", "weight": np.ones(4, np.float32)}, r"weight should have shape \(5,\)"),
        ({"with_scores": True}, "known number of steps"),
        ({"query_mask": "nothing"}, "reads 'nothing'"),
        ({"query_mask": "q"}, "'q' is not a mask"),
    ],
)  # fmt: skip
def test_bad_attention(options: dict[str, Any], words: str) -> None:
    with pytest.raises(BadModelFile, match=words) as error:
        _ = attend(**options).specs
    assert "'at'" in str(error.value)


def test_features_that_do_not_fit() -> None:
    specs = (tensor_spec("q", None, (4,)), tensor_spec("v", None, (3,)))
    faults = (
        (("q", "v", "v"), 1, "should have the same features"),
        (("q", "v", "q"), 2, "2 heads do not divide the features of 'v'"),
        (("q", "v", "q"), 0, "0 heads do not divide the features of 'q'"),
    )
    for inputs, heads, words in faults:
        with pytest.raises(BadModelFile, match=f"'at': .*{words}"):
            _ = Graph(specs, (Attention(name="at", inputs=inputs, heads=heads),), ("at",)).specs
    specs = (tensor_spec("q", False, (4,)), tensor_spec("v", None, (4,)))
    with pytest.raises(BadModelFile, match=r"needs \(batch, time, features\)"):
        _ = Graph(specs, (Attention(name="at", inputs=("q", "v", "v")),), ("at",)).specs


def test_steps_that_do_not_fit() -> None:
    graph = attend()
    x = arrays(graph, 2, 4, 6)
    with pytest.raises(BadInput, match="'k' has 5 steps"):
        Model(graph)(x | {"k": x["k"][:, :5]})
    masked_alone = attend(mask="q:mask")  # a mask of other steps makes them one axis
    with pytest.raises(BadInput, match="steps"):
        Model(masked_alone)(x)
    graph = product(4, 3, False)
    with pytest.raises(BadInput):
        Model(graph)({"a": np.ones((2, 5, 4)), "b": np.ones((2, 6, 3))})


def test_no_stream() -> None:
    """Of any of the two; the reason names the layer."""
    for graph in (attend(), product(4, 3, False)):
        with pytest.raises(UnsupportedModel, match=f"{graph.layers[0].name!r} looks at all steps"):
            Model(graph).stream()


# ---- Keras ---------------------------------------------------------------------------------------------------------


def keras_masks(x: Arrays, use: str) -> Arrays:
    """Those of the inputs whose letters are in `use`."""
    return {name: mask for name, mask in masks_of(x).items() if name in use}


@pytest.mark.dtypes("float32")  # Keras holds its weights in float32
@pytest.mark.parametrize("use", ["", "q", "v", "qv"])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("kind", ["dot", "scaled", "concat", "scaled concat", "additive", "additive without scale"])
def test_keras_attention(kind: str, causal: bool, use: str) -> None:
    from keras_live import keras

    rng = np.random.default_rng(7)
    options: dict[str, Any] = {}
    if kind.startswith("additive"):
        theirs = keras.layers.AdditiveAttention(use_scale=kind == "additive")
        options = {"function": "additive", "weight": None}
    else:
        theirs = keras.layers.Attention(use_scale="scaled" in kind, score_mode="concat" if "concat" in kind else "dot")
    shapes = ((None, None, 5), (None, None, 3), (None, None, 5))
    theirs.build(list(shapes))
    theirs.set_weights([uniform(rng, *weight.shape) + np.float32(0.5) for weight in theirs.weights])
    weights = [np.asarray(weight) for weight in theirs.get_weights()]
    if kind == "additive":
        options["weight"] = weights[0]
    elif kind == "scaled":
        options["scale"] = float(weights[0])
    elif "concat" in kind:
        options = {"function": "additive", "weight": None, "scale": float(weights[-1])}
        options |= {"inner_scale": float(weights[0])} if "scaled" in kind else {}
    graph = attend(5, 3, steps=11, causal=causal, with_scores=True, **masked(**options))
    x = arrays(graph, 6, 9, 11)
    masks = keras_masks(x, use)
    y, scores = theirs(
        [x["q"], x["v"], x["k"]], mask=[masks.get("q"), masks.get("v")], use_causal_mask=causal,
        return_attention_scores=True,
    )  # fmt: skip
    for ours, expected in zip(Model(graph)(x, mask=masks), (y, scores), strict=True):
        check(ours, np.asarray(expected), "keras")


def multi_head(theirs: Any, features: int, **options: Any) -> Graph:
    """A Keras MultiHeadAttention as a Graph, on the inputs q and v of as many features."""
    weights = {weight.path.split("/", 1)[1]: np.asarray(weight) for weight in theirs.weights}

    def project(name: str, source: str, function: str = "linear") -> Dense:
        kernel, bias = weights[f"{name}/kernel"], weights.get(f"{name}/bias")
        out = name == "attention_output"
        return dataclasses.replace(
            dense(np.random.default_rng(0), 1, 1, name=name, source=source, function=function),
            kernel=kernel.reshape(-1, kernel.shape[-1]) if out else kernel.reshape(features, -1),
            bias=None if bias is None else bias.reshape(-1),
        )

    layer = Attention(
        name="at", inputs=("query", "value", "key"), heads=theirs.num_heads, scale=theirs.key_dim**-0.5,
        zero_masked_queries=False, mask="v:mask", query_mask="q:mask", **options,
    )  # fmt: skip
    layers = (
        project("query", "q"), project("key", "v"), project("value", "v"), layer, project("attention_output", "at"),
    )  # fmt: skip
    outputs = ("attention_output", "at:scores") if layer.with_scores else ("attention_output",)
    return Graph((tensor_spec("q", None, (features,)), tensor_spec("v", 11, (features,))), layers, outputs)


@pytest.mark.dtypes("float32")  # Keras holds its weights in float32
@pytest.mark.parametrize("use", ["", "q", "v", "qv"])
@pytest.mark.parametrize(("causal", "window"), [(False, None), (True, None), (True, 3), (False, 3)])
@pytest.mark.parametrize("returns", ["output", "scores", "dropout"])
def test_keras_multi_head_attention(returns: str, causal: bool, window: int | None, use: str) -> None:
    """With dropout or scores Keras takes another way, on which all-masked rows have no weights."""
    from keras_live import keras

    rng = np.random.default_rng(8)
    given = {} if window is None else {"sliding_window": window}
    theirs = keras.layers.MultiHeadAttention(
        3, key_dim=4, value_dim=5, use_bias=causal, output_shape=7, dropout=0.1 * (returns == "dropout"), **given
    )
    theirs.build((None, None, 6), (None, None, 6))
    theirs.set_weights([uniform(rng, *weight.shape) for weight in theirs.weights])
    graph = multi_head(
        theirs, 6, causal=causal, window=window, all_masked="mean" if returns == "output" else "zero",
        with_scores=returns == "scores",
    )  # fmt: skip
    x = arrays(graph, 6, 9, 11)
    masks = keras_masks(x, use)
    query = keras.ops.convert_to_tensor(x["q"])
    if "q" in use:
        keras.src.backend.set_keras_mask(query, masks["q"])
    expected = theirs(
        query, x["v"], value_mask=masks.get("v"), use_causal_mask=causal, return_attention_scores=returns == "scores"
    )
    ours = Model(graph)(x, mask=masks)
    if returns != "scores":
        check(ours, np.asarray(expected), "keras")
        return
    check(ours[0], np.asarray(expected[0]), "keras")
    check(ours[1].reshape(6, 9, 3, 11).swapaxes(1, 2), np.asarray(expected[1]), "keras")
