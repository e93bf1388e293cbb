"""Conv, Pool and Reduce against the oracle, on every kernel set, and the rule of the same bits for them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastgru
import oracle
from building import VECTOR_ISAS, chain, dense, floats, gru, uniform
from fastgru import _core
from fastgru.errors import BadInput, BadModelFile, UnsupportedModel
from fastgru.graph import Activation, Concatenate, Conv, Graph, Layer, Pool, Reduce, Reshape, TensorSpec, tensor_spec
from fastgru.model import layer_cost
from tolerances import check

pytestmark = pytest.mark.dtypes

SHAPES_1D = [  # channels, units, size, options
    (1, 1, 1, {}),
    (3, 5, 3, {"padding": "same"}),
    (3, 5, 4, {"padding": "same_lower"}),
    (16, 48, 3, {"padding": "same"}),
    (17, 49, 5, {"pads": (4, 0)}),
    (8, 7, 3, {"dilation": (4,), "pads": (8, 0)}),
    (5, 33, 3, {"dilation": (3,), "strides": (2,), "padding": "same"}),
    (5, 16, 3, {"dilation": (4,), "strides": (6,), "padding": "same"}),
    (4, 64, 2, {"strides": (5,)}),
    (6, 10, 3, {"strides": (3,), "pads": (1, 2)}),
    (64, 100, 3, {"padding": "same", "groups": 4}),
    (12, 12, 3, {"padding": "same", "groups": 12}),
    (5, 15, 3, {"padding": "same", "groups": 5, "dilation": (2,)}),
    (40, 3, 7, {"pads": (6, 6)}),
]
SHAPES_2D = [  # width, channels, units, size, options
    (1, 1, 1, (1, 1), {}),
    (7, 1, 16, (3, 3), {"padding": "same"}),
    (19, 3, 33, (3, 3), {"padding": "same"}),
    (33, 16, 32, (3, 3), {"padding": "same_lower", "strides": (2, 2)}),
    (8, 5, 6, (2, 4), {"pads": (1, 0, 3, 2), "dilation": (1, 2)}),
    (9, 4, 50, (2, 3), {"dilation": (2, 3), "strides": (2, 2), "padding": "same"}),
    (6, 4, 5, (1, 3), {"pads": (1, 1, 0, 0)}),
    (10, 3, 8, (2, 10), {}),
    (10, 3, 8, (3, 10), {"padding": "same", "strides": (1, 10)}),
    (1, 3, 4, (2, 1), {"pads": (1, 0, 2, 1)}),
    (5, 8, 12, (3, 3), {"padding": "same", "groups": 2}),
    (5, 8, 8, (3, 3), {"padding": "same", "groups": 8}),
    (5, 3, 6, (2, 2), {"strides": (3, 4), "groups": 3}),
]
STEPS = (7, 8, 40)
BATCHES = (1, 2, 9)

each_1d = pytest.mark.parametrize(("channels", "units", "size", "options"), SHAPES_1D)
each_2d = pytest.mark.parametrize(("width", "channels", "units", "size", "options"), SHAPES_2D)


def conv(channels: int, units: int, size: tuple[int, ...], function: str = "relu", **options: Any) -> Conv:
    rng = np.random.default_rng(channels + 10 * units)
    inputs = channels // options.get("groups", 1)
    kernel = uniform(rng, *size, inputs, units, scale=2 / np.sqrt(np.prod(size) * inputs))
    tensors = {"kernel": kernel, "bias": uniform(rng, units)}
    return Conv(**{"name": "conv", "inputs": ("x",), "activation": Activation.of(function)} | tensors | options)


def images(width: int, channels: int, time: int | None = None) -> TensorSpec:
    return tensor_spec("x", time, (width, channels))


def values(spec: TensorSpec, batch: int, steps: int) -> np.ndarray:
    return np.random.default_rng(steps).normal(size=(batch, steps, *spec.inner)).astype(np.float32)


def agrees(graph: Graph, x: np.ndarray, **masks: np.ndarray) -> np.ndarray:
    """The output for x, compared with the oracle; alone, in other batches and on two threads it has the same bits."""
    model = fastgru.Model(graph, threads=1)
    y = model(x, **masks)
    (expected,) = oracle.run(graph, {"x": x}, {"x": masks["mask"]} if masks else None)
    check(y, expected, "oracle")
    if not masks:
        assert same(model(x, threads=2), y)
        for batch in BATCHES:
            assert same(model(x[:batch]), y[:batch])
        assert same(model(x[-1:]), y[-1:])
        assert same(model(x[-1:], threads=2), y[-1:])
    return y


def same(actual: np.ndarray, expected: np.ndarray) -> bool:
    return actual.shape == expected.shape and np.array_equal(actual.view(np.uint32), expected.view(np.uint32))


# ---- Conv ----------------------------------------------------------------------------------------------------------


@each_1d
@pytest.mark.parametrize("steps", STEPS)
def test_conv_over_time(channels: int, units: int, size: int, options: dict, steps: int, isa: str) -> None:
    spec = floats(channels)
    agrees(chain(spec, conv(channels, units, (size,), **options)), values(spec, 9, steps))


@each_2d
@pytest.mark.parametrize("steps", STEPS)
def test_conv_over_time_and_an_axis(
    width: int, channels: int, units: int, size: tuple[int, int], options: dict, steps: int, isa: str
) -> None:
    spec = images(width, channels)
    agrees(chain(spec, conv(channels, units, size, **options)), values(spec, 9, steps))


@pytest.mark.parametrize("units", [1, 7, 8, 9, 15, 16, 17, 47, 48, 49, 64, 96, 97])
def test_sizes_around_the_tiles(units: int, isa: str) -> None:
    for width in (1, 3, 8, 9):
        spec = images(width, 2)
        agrees(chain(spec, conv(2, units, (3, 2), padding="same")), values(spec, 3, 5))


@pytest.mark.parametrize("steps", [126, 127, 128, 129, 257])
def test_sizes_around_what_is_gathered_at_once(steps: int, isa: str) -> None:
    for channels in (1, 64, 300):
        for options in ({"padding": "same"}, {"padding": "same", "dilation": (2,)}, {"strides": (5,)}):
            spec = floats(channels)
            agrees(chain(spec, conv(channels, 5, (3,), **options)), values(spec, 2, steps))


@pytest.mark.parametrize("function", ["linear", "relu", "gelu", "softmax", "glu"])
@pytest.mark.parametrize("groups", [1, 2, 6])
def test_activations_of_conv(function: str, groups: int, isa: str) -> None:
    spec = images(5, 6)
    layer = conv(6, 18, (3, 3), function, padding="same", groups=groups)
    agrees(chain(spec, layer), values(spec, 3, 30))
    agrees(chain(floats(6), conv(6, 18, (3,), function, pads=(2, 0), groups=groups)), values(floats(6), 3, 30))


@pytest.mark.dtypes("float32", "float16")  # it jumps at its threshold, where others may be off
def test_relu_with_parameters(isa: str) -> None:
    relu = Activation.of("relu", max_value=0.5, negative_slope=0.25, threshold=0.125)
    spec = floats(4)
    agrees(chain(spec, conv(4, 50, (3,), activation=relu)), values(spec, 3, 30))


@pytest.mark.skipif(len(VECTOR_ISAS) < 2, reason="one vector set only")
@each_2d
def test_vector_sets_give_the_same_bits(
    width: int,
    channels: int,
    units: int,
    size: tuple[int, int],
    options: dict,
    monkeypatch: pytest.MonkeyPatch,
    vector_isas: list[str],
) -> None:
    spec = images(width, channels)
    size_1d = {"strides": (2,), "padding": "same"}
    results = []
    for isa in vector_isas:
        monkeypatch.setenv("FASTGRU_ISA", isa)
        y = [fastgru.Model(chain(spec, conv(channels, units, size, **options)))(values(spec, 3, 20))]
        y.append(fastgru.Model(chain(floats(channels), conv(channels, units, (3,), **size_1d)))(
            values(floats(channels), 3, 20)))  # fmt: skip
        y.append(fastgru.Model(chain(spec, pool("maximum", (2, 1), padding="same")))(values(spec, 3, 20)))
        y.append(fastgru.Model(chain(spec, pool("average", (2, 1), padding="same")))(values(spec, 3, 20)))
        y.append(fastgru.Model(chain(spec, reduce("mean", 1)))(values(spec, 3, 20)))
        results.append(y)
    for other in results[1:]:
        assert all(same(a, b) for a, b in zip(other, results[0], strict=True))


@pytest.mark.dtypes("float32", "bfloat16", "float16")  # int8 has no infinity
def test_padding_is_zeros_in_the_chain() -> None:
    """0 · inf is NaN, where a window reaches into padding."""
    kernel = np.array([[[1.0]], [[np.inf]]], np.float32)
    y = fastgru.Model(chain(floats(1), conv(1, 1, (2,), "linear", kernel=kernel, pads=(0, 1), bias=None)))(
        np.ones((1, 3, 1), np.float32)
    )
    assert np.array_equal(y[0, :, 0], [np.inf, np.inf, np.nan], equal_nan=True)


@pytest.mark.parametrize("options", [{"padding": "same"}, {"pads": (2, 0)}, {"pads": (1, 1)}], ids=str)
def test_steps_that_are_kept_are_those_of_the_input(options: dict, isa: str) -> None:
    """So that a mask of the input fits, and a residual connection."""
    rng = np.random.default_rng(5)
    layers = (
        conv(6, 6, (3,), **options),
        Concatenate(name="beside", inputs=("conv", "x")),
        gru(rng, 12, 5, source="beside", mask="x:mask"),
    )
    mask = rng.random((9, 12)) < 0.6
    agrees(chain(floats(6), *layers), values(floats(6), 9, 12), mask=mask)


def test_a_network_of_images(isa: str) -> None:
    """Convolutions and pooling, axes merged into features, a GRU, the mean over time and a Dense layer."""
    rng = np.random.default_rng(1)
    spec = images(16, 1)
    layers: list[Layer] = [
        conv(1, 8, (3, 3), name="c1", padding="same"),
        pool("maximum", (2, 2), name="p1", inputs=("c1",), strides=(2, 2)),
        conv(8, 12, (3, 3), name="c2", inputs=("p1",), padding="same"),
        pool("average", (1, 2), name="p2", inputs=("c2",), strides=(1, 2)),
        Reshape(name="r", inputs=("p2",), target=(48,), per_step=True),
        gru(rng, 48, 20, source="r", return_sequences=True),
        reduce("mean", 1, name="m", inputs=("gru",)),
        dense(rng, 20, 5, name="d", source="m", function="softmax"),
    ]
    for steps in (2, 3, 50):
        agrees(chain(spec, *layers), values(spec, 9, steps))


def test_more_threads_after_fewer() -> None:
    """Scratch of members grows where a later call of the same shape has more threads."""
    model = fastgru.Model(chain(images(20, 16), conv(16, 64, (3, 3), padding="same")))
    x = values(images(20, 16), 3, 60)
    assert same(model(x, threads=2), model(x, threads=1))
    assert same(model(x, threads=1), model(x, threads=2))


def test_scratch_does_not_grow_with_time() -> None:
    """Input and output are the caller's: what is left is 32 KB for a member's strip and a few hundred bytes."""
    plan = _core.Plan(chain(images(20, 16), conv(16, 64, (3, 3), padding="same")))
    for steps in (10, 1000):
        runner = _core.Runner(plan)
        runner._run((values(images(20, 16), 1, steps),), None, None, 1, None, False)
        assert 32_768 < runner.nbytes < 33_768


def test_a_profile_counts_the_products() -> None:
    for layer, expected in (
        (conv(4, 6, (3, 2), padding="same"), 5 * 8 * 24 * 6),
        (conv(4, 6, (3, 2), padding="same", groups=2), 5 * 8 * 12 * 6),
        (conv(4, 4, (3, 2), padding="same", groups=4), 5 * 8 * 6 * 4),
    ):
        runner = _core.Runner(_core.Plan(chain(images(8, 4), layer)))
        runner._start_profile()
        runner._run((values(images(8, 4), 2, 5),), None, None, 1, None, False)
        (found,) = runner._stop_profile()
        assert found["input"]["multiply_adds"] == 2 * expected


# ---- numbers of steps ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layer", [conv(2, 3, (4,)), conv(2, 3, (2,), dilation=(3,)), None], ids=str)
def test_too_few_steps(layer: Layer | None, isa: str) -> None:
    layer = layer or pool("maximum", (4,))
    for graph in (chain(floats(2), layer), chain(floats(2), layer, reduce("sum", 1, name="r", inputs=(layer.name,)))):
        model = fastgru.Model(graph)
        for steps in range(4):
            with pytest.raises(BadInput, match=f"{layer.kind} layer '{layer.name}' .* {steps} steps"):
                model(values(floats(2), 2, steps))
        assert np.isfinite(model(values(floats(2), 2, 4))).all()
    with pytest.raises(BadModelFile, match="a window of 4 entries does not fit into the 3 of axis 1"):
        chain(floats(2, 3), layer)


def test_no_steps_where_padding_makes_windows(isa: str) -> None:
    x = np.zeros((2, 0, 2), np.float32)
    assert fastgru.Model(chain(floats(2), conv(2, 3, (3,), padding="same", strides=(2,))))(x).shape == (2, 0, 3)
    layer = conv(2, 3, (3,), "linear", pads=(2, 2))
    y = fastgru.Model(chain(floats(2), layer))(x)
    assert np.array_equal(y, np.broadcast_to(layer.bias, (2, 2, 3)))
    assert fastgru.Model(chain(floats(2), conv(2, 3, (3,), padding="same")))(x[:0]).shape == (0, 0, 3)


def test_what_looks_ahead_does_not_stream() -> None:
    options = {"padding": "same", "inputs": ("conv",)}
    layers = conv(2, 2, (3,), pads=(1, 1)), pool("maximum", (2,), **options), reduce("mean", 1, inputs=("pool",))
    with pytest.raises(UnsupportedModel) as caught:
        fastgru.Model(chain(floats(2), *layers)).stream()
    assert [layer.name in str(caught.value) for layer in layers] == [True] * 3


def test_cost_counts_the_windows_of_a_step() -> None:
    graph = chain(images(8, 4), conv(4, 6, (3, 3), padding="same", strides=(1, 2), groups=2))
    assert layer_cost(graph.layers[0], graph) == 3 * 3 * 2 * 6 * 4
    assert fastgru.Model(graph)._plan.cost == 3 * 3 * 2 * 6 * 4


def test_sizes_beyond_all_measure_are_refused() -> None:
    for options in ({"pads": (2**31, 0)}, {"strides": (2**31,)}, {"dilation": (2**70,), "padding": "same"}):
        with pytest.raises(BadModelFile, match=r"2147483647|2\^31"):
            chain(floats(2), conv(2, 3, (2,), **options))


# ---- Pool ----------------------------------------------------------------------------------------------------------


def pool(function: str, size: tuple[int, ...], **options: Any) -> Pool:
    return Pool(**{"name": "pool", "inputs": ("x",), "function": function, "size": size} | options)


@pytest.mark.parametrize("function", Pool.FUNCTIONS)
@pytest.mark.parametrize("count_padding", [False, True])
@pytest.mark.parametrize(
    "options",
    [
        {"size": (2,), "strides": (2,)},
        {"size": (3,), "padding": "same"},
        {"size": (3,), "padding": "same_lower", "strides": (2,)},
        {"size": (2,), "strides": (4,), "pads": (1, 1)},
        {"size": (2,), "dilation": (3,), "padding": "same"},
    ],
    ids=str,
)
def test_pool_over_time(function: str, count_padding: bool, options: dict, isa: str) -> None:
    for channels in (1, 5, 16, 17, 100):
        layer = pool(function, count_padding=count_padding, **options)
        for steps in (4, 9, 33):
            agrees(chain(floats(channels), layer), values(floats(channels), 9, steps))


@pytest.mark.parametrize("function", Pool.FUNCTIONS)
@pytest.mark.parametrize("count_padding", [False, True])
@pytest.mark.parametrize(
    "options",
    [
        {"size": (2, 2), "strides": (2, 2)},
        {"size": (1, 3), "strides": (1, 2), "padding": "same"},
        {"size": (3, 2), "padding": "same_lower"},
        {"size": (2, 2), "strides": (3, 3), "pads": (1, 0, 1, 1), "dilation": (1, 2)},
    ],
    ids=str,
)
def test_pool_over_time_and_an_axis(function: str, count_padding: bool, options: dict, isa: str) -> None:
    for width, channels in ((3, 1), (8, 33), (9, 64)):
        spec = images(width, channels)
        agrees(chain(spec, pool(function, count_padding=count_padding, **options)), values(spec, 9, 6))


def test_a_window_of_padding_alone(isa: str) -> None:
    """The maximum of nothing is -inf, its mean NaN, of counted zeros 0."""
    x = np.ones((1, 2, 3), np.float32)
    found = [
        fastgru.Model(chain(floats(3), pool(function, (2,), pads=(2, 0), count_padding=count)))(x)[0, :, 0]
        for function, count in (("maximum", False), ("average", False), ("average", True))
    ]
    assert np.array_equal(found, [[-np.inf, 1, 1], [np.nan, 1, 1], [0, 0.5, 1]], equal_nan=True)


@pytest.mark.parametrize("channels", [1, 16, 70])
def test_nan_stays_in_its_windows(channels: int, isa: str) -> None:
    x = values(floats(channels), 1, 12)
    x[0, 5, 0] = np.nan
    for layer in (pool("maximum", (3,)), pool("average", (3,))):
        y = agrees(chain(floats(channels), layer), x)
        assert np.isnan(y[0, 3:6, 0]).all()
        assert np.isnan(y).sum() == 3
    for function in ("maximum", "minimum", "mean"):
        assert np.isnan(agrees(chain(floats(channels), reduce(function, 1)), x)).sum() == 1


# ---- Reduce --------------------------------------------------------------------------------------------------------


def reduce(function: str, axis: int, **options: Any) -> Reduce:
    return Reduce(**{"name": "reduce", "inputs": ("x",), "function": function, "axis": axis} | options)


each_function = pytest.mark.parametrize("function", Reduce.FUNCTIONS)


@each_function
@pytest.mark.parametrize("features", [1, 15, 16, 17, 100])
def test_reduce_over_time(function: str, features: int, isa: str) -> None:
    for steps in (1, 2, 150):
        agrees(chain(floats(features), reduce(function, 1)), values(floats(features), 9, steps))


@each_function
@pytest.mark.parametrize("axis", [1, 2, 3, -1])
def test_reduce_over_any_axis(function: str, axis: int, isa: str) -> None:
    for width, channels in ((1, 1), (3, 20), (40, 3)):
        agrees(chain(images(width, channels), reduce(function, axis)), values(images(width, channels), 9, 5))


@each_function
def test_reduce_without_time(function: str, isa: str) -> None:
    spec = tensor_spec("x", False, (4, 20, 3))
    x = np.random.default_rng(2).normal(size=(9, *spec.inner)).astype(np.float32)
    for axis in (1, 2, 3):
        agrees(chain(spec, reduce(function, axis)), x)


def test_reduce_over_nothing(isa: str) -> None:
    x = np.zeros((2, 0, 20), np.float32)
    for function, expected in (("mean", np.nan), ("sum", 0.0), ("maximum", -np.inf), ("minimum", np.inf)):
        y = fastgru.Model(chain(floats(20), reduce(function, 1)))(x)
        assert np.array_equal(y, np.full((2, 20), expected), equal_nan=True)


@pytest.mark.parametrize("function", ["mean", "sum"])
def test_reduce_under_a_mask(function: str, isa: str) -> None:
    spec, rng = floats(20), np.random.default_rng(3)
    x, mask = values(spec, 9, 12), rng.random((9, 12)) < 0.6
    mask[4] = False
    x[~mask] = np.nan
    graph = chain(spec, reduce(function, 1, mask="x:mask"))
    y = agrees(graph, x, mask=mask)
    assert (np.isnan(y[4]) if function == "mean" else y[4] == 0).all()
    model = fastgru.Model(graph, threads=1)
    for row in range(9):
        assert same(model(x[row : row + 1], mask=mask[row : row + 1]), y[row : row + 1])
    whole = values(spec, 9, 12)
    assert same(model(whole), model(whole, mask=np.ones((9, 12), bool)))


def test_long_sums_are_accurate(isa: str) -> None:
    x = (1 + np.random.default_rng(4).random((1, 20_000, 3))).astype(np.float32)
    for function in ("mean", "sum"):
        y = fastgru.Model(chain(floats(3), reduce(function, 1)))(x)
        np.testing.assert_allclose(y, getattr(x.astype(np.float64), function)(axis=1), rtol=1e-7)


def test_reduce_of_a_step_streams() -> None:
    spec = images(5, 3)
    model, x = fastgru.Model(chain(spec, reduce("mean", 2))), values(spec, 2, 6)
    with model.stream(batch_size=2) as stream:
        steps = [stream.step(x[:, t]) for t in range(6)]
    assert same(np.stack(steps, axis=1), model(x))


def test_bad_reductions_are_refused() -> None:
    with pytest.raises(BadModelFile, match="a mask is for means and sums over time"):
        chain(floats(3), reduce("maximum", 1, mask="x:mask"))
    with pytest.raises(BadModelFile, match="function should be one of"):
        chain(floats(3), reduce("median", 1))
