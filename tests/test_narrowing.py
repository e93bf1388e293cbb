"""Weights in bfloat16, float16 and int8: how they are rounded, which become narrow, what is refused."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import building
from fastgru import BadInput, BadModelFile, UnsupportedModel
from fastgru.graph import (
    NARROW,
    Conv,
    Dense,
    Embedding,
    Graph,
    NarrowArray,
    TimeDistributed,
    dtype_name,
    tensor_spec,
)  # fmt: skip
from fastgru.layers.narrow import LEAST_SCALE, MOST_SCALE
from fastgru.narrowing import BEYOND, dtype_of, narrow, narrow_array, widen

DTYPES = tuple(NARROW)
#: largest error of a rounding, of the weight's own magnitude; at least half of the least float16
HALF_PLACE = {"bfloat16": 2.0**-8, "float16": 2.0**-11}


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def network(rng):
    """Every kind of layer with weights that may be narrow, some that may not, and a network inside."""
    step = Graph((tensor_spec("step", False, (5,)),), (_dense(rng, 5, 4, "inner", "step"),), ("inner",))
    layers = [
        building.embedding(rng, 11, 6),
        Conv(name="conv", inputs=("embedding",), kernel=building.uniform(rng, 3, 6, 8), bias=building.uniform(rng, 8)),
        Conv(name="depthwise", inputs=("conv",), kernel=building.uniform(rng, 3, 1, 8), groups=8),
        building.gru(rng, 8, 5, source="depthwise", without=(), return_sequences=True),
        TimeDistributed(name="outer", inputs=("gru",), graph=step),
        _dense(rng, 4, 3, "head", "outer"),
    ]
    return building.chain(building.tokens(), *layers)


def _dense(rng, inputs, units, name, source):
    return building.dense(rng, inputs, units, name=name, source=source, function="tanh")


def held(graph):
    return {name: dtype_name(value) for name, value in graph.tensors}


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_each_weight_becomes_the_nearest_one(rng, dtype):
    weights = (rng.standard_normal((50, 40)) * 10.0 ** rng.integers(-4, 4, (50, 40))).astype(np.float32)
    rounded = np.asarray(narrow_array(weights, dtype))
    assert (np.abs(rounded - weights) <= np.maximum(HALF_PLACE[dtype] * np.abs(weights), 2.0**-25)).all()
    assert np.array_equal(np.asarray(narrow_array(rounded, dtype)), rounded)


def test_bfloat16_ties_go_to_the_even_one():
    ties = np.array([0x3F808000, 0x3F818000, 0xBF808000, 0x00018000, 0x3F808001, 0x3F807FFF], np.uint32).view("f4")
    assert [hex(bits) for bits in narrow_array(ties, "bfloat16").data] == [
        "0x3f80", "0x3f82", "0xbf80", "0x2", "0x3f81", "0x3f80",
    ]  # fmt: skip


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_what_is_not_finite_stays_so(dtype):
    odd = np.array([np.inf, -np.inf, np.nan, 0.0, -0.0], np.float32)
    # a NaN whose upper half alone is infinity, and one that a carry would turn into zero
    odd = np.concatenate([odd, np.array([0x7F800001, 0xFFFFFFFF], np.uint32).view(np.float32)])
    rounded = np.asarray(narrow_array(odd, dtype))
    assert np.array_equal(rounded, odd, equal_nan=True)
    assert np.signbit(rounded[4])


def test_int8_weights_are_as_near_as_their_scale_allows(rng):
    weights = rng.standard_normal((300, 70)).astype(np.float32)
    array = narrow_array(weights, "int8")
    error = np.abs(np.asarray(array) - weights)
    clipped = np.abs(array.data) == 127
    assert array.scale.shape == (70,)
    assert array.data.min() >= -127
    assert (error <= 0.6001 * array.scale)[~clipped].all()
    assert (error <= 0.5001 * array.scale)[~clipped].mean() > 0.95, "few are rounded the other way"
    assert (error <= (max(BEYOND) + 0.5) * array.scale)[clipped].all()
    assert array.nbytes == 300 * 70 + 4 * 70


def _squares(array, weights, scale_axis):
    rest = tuple(axis for axis in range(weights.ndim) if axis != scale_axis % weights.ndim)
    return ((np.asarray(array, np.float64) - weights) ** 2).sum(axis=rest)


@pytest.mark.parametrize("shape", [(1, 1), (7, 50), (64, 192), (3, 40, 33), (2000, 60)])
@pytest.mark.parametrize("kind", ["normal", "laplace", "uniform"])
def test_the_errors_of_a_channel_sum_to_about_nothing(rng, monkeypatch, shape, kind):
    """They do not add up with inputs that have a mean; that costs little accuracy with those that have none."""
    weights = getattr(rng, kind)(size=shape).astype(np.float32)
    depth = weights[..., 0].size
    balanced, table = (narrow_array(weights, "int8", axis) for axis in (-1, 0))
    monkeypatch.setattr("fastgru.narrowing._balance", lambda exact, whole: None)
    nearest = narrow_array(weights, "int8")
    before, after = (
        np.abs((np.asarray(array, np.float64) - weights).sum(axis=tuple(range(weights.ndim - 1)))) / array.scale
        for array in (nearest, balanced)
    )
    assert (after <= before + 0.001).all()
    assert depth < 64 or np.mean(after <= 0.51) > 0.95, "of fewer none may be near a tie"
    more = _squares(balanced, weights, -1).sum() / max(_squares(nearest, weights, -1).sum(), 1e-30)
    assert more < 1 + 2 / depth
    assert np.array_equal(balanced.scale, nearest.scale)
    assert np.array_equal(table.data, narrow_array(weights, "int8", 0).data), "a table's row is no sum of products"


def test_numbers_far_from_a_tie_stay_where_they_are():
    """A hundred of the same error; and a largest one that has no further whole number."""
    weights = np.full((101, 2), 0.2 / 127, np.float32)
    weights[0] = 1
    weights[1:, 1] = 1
    array = narrow_array(weights, "int8")
    assert np.array_equal(array.data[1:, 0], np.round(weights[1:, 0] / array.scale[0]))
    assert (array.data[:, 1] == 127).all()


def test_of_numbers_equally_near_to_a_tie_the_first_ones_move(monkeypatch):
    """On every machine: NumPy's partitions find others on other CPUs."""
    monkeypatch.setattr("fastgru.narrowing.BEYOND", (0.0,))
    weights = np.full((9, 2), 10.45 / 127, np.float32)
    weights[:, 1] *= -1
    weights[0] = 1
    moved = [127] + [11] * 4 + [10] * 4
    assert np.array_equal(narrow_array(weights, "int8").data.T, [moved, [127] + [-number for number in moved[1:]]])


@pytest.mark.parametrize("scale_axis", [-1, 0])
@pytest.mark.parametrize("shape", [(1, 1), (7, 5), (64, 192), (3, 40, 33), (2000, 60), (1, 70_000), (70_000, 1)])
@pytest.mark.parametrize("kind", ["normal", "laplace", "uniform"])
def test_scales_are_never_worse_than_those_of_the_maximum(rng, monkeypatch, scale_axis, shape, kind):
    weights = getattr(rng, kind)(size=shape).astype(np.float32)
    monkeypatch.setattr("fastgru.narrowing._balance", lambda exact, whole: None)
    chosen = _squares(narrow_array(weights, "int8", scale_axis), weights, scale_axis)
    monkeypatch.setattr("fastgru.narrowing.BEYOND", (0.0,))
    plain = _squares(narrow_array(weights, "int8", scale_axis), weights, scale_axis)
    assert (chosen <= plain).all()


def test_scales_are_better_than_those_of_the_maximum(rng, monkeypatch):
    weights = rng.standard_normal((256, 768)).astype(np.float32)
    chosen = _squares(narrow_array(weights, "int8"), weights, -1).sum()
    monkeypatch.setattr("fastgru.narrowing.BEYOND", (0.0,))
    assert chosen < 0.95 * _squares(narrow_array(weights, "int8"), weights, -1).sum()


def test_odd_channels_have_sound_scales():
    """Of zeros, of denormals, of the largest numbers, and of one number."""
    limit = np.finfo(np.float32).max
    weights = np.array([[0, 1e-40, limit, -3], [0, 1e-42, -limit, 0]], np.float32)
    array = narrow_array(weights, "int8")
    assert array.scale[0] == 1
    assert array.scale[1] == np.float32(LEAST_SCALE)
    assert array.scale[2] <= MOST_SCALE
    wide = np.asarray(array)
    assert not wide[:, :2].any()
    assert np.isfinite(wide).all()
    np.testing.assert_allclose(wide[:, 2:], weights[:, 2:], rtol=1e-6)


def test_tables_have_a_scale_for_each_token(rng):
    weights = rng.standard_normal((9, 30)).astype(np.float32) * 10.0 ** np.arange(-4, 5)[:, None].astype(np.float32)
    array = narrow_array(weights, "int8", 0)
    assert array.scale.shape == (9,)
    assert (np.abs(np.asarray(array) - weights).max(axis=1) < 0.02 * np.abs(weights).max(axis=1)).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_kernels_and_tables_become_narrow_and_nothing_else(rng, dtype):
    graph = network(rng)
    narrowed = narrow(graph, dtype)
    wanted = {
        "embedding/table", "conv/kernel", "gru/kernel", "gru/recurrent_kernel", "outer/inner/kernel", "head/kernel",
    }  # fmt: skip
    assert held(narrowed) == {name: dtype if name in wanted else "float32" for name, _ in graph.tensors}
    assert dtype_of(narrowed) == dtype
    assert dtype_of(graph) == "float32"
    assert narrowed.specs == graph.specs
    assert narrowed.parameters == graph.parameters
    assert narrow(narrowed, dtype) is narrowed


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_network_given_stays_as_it_is(rng, dtype):
    graph = network(rng)
    before = {name: value.copy() for name, value in graph.tensors}
    narrow(graph, dtype)
    assert all(np.array_equal(value, before[name]) for name, value in graph.tensors)


@pytest.mark.parametrize("dtype", DTYPES)
def test_widen_gives_the_numbers_back(rng, dtype):
    graph = network(rng)
    narrowed = narrow(graph, dtype)
    wide = widen(narrowed)
    assert set(held(wide).values()) == {"float32"}
    assert widen(wide) is wide
    for (name, before), (_, after) in zip(narrowed.tensors, wide.tensors, strict=True):
        assert np.array_equal(np.asarray(before), after), name
    again = narrow(wide, dtype)
    for (name, before), (_, after) in zip(narrowed.tensors, again.tensors, strict=True):
        np.testing.assert_allclose(np.asarray(after), np.asarray(before), rtol=1e-6, err_msg=name)


@pytest.mark.parametrize(
    ("keep", "stay"),
    [
        (["gru"], {"gru"}),
        ("head", {"head"}),
        (["outer"], {"outer/inner"}),
        (["outer/inner", "conv"], {"outer/inner", "conv"}),
        (["*n*"], {"embedding", "conv", "outer/inner"}),
        (["depthwise"], set()),
    ],
)
def test_layers_may_stay_float32(rng, keep, stay):
    graph = network(rng)
    narrowed = held(narrow(graph, "int8", keep))
    all_narrow = held(narrow(graph, "int8"))
    for name, dtype in all_narrow.items():
        assert narrowed[name] == ("float32" if name.rpartition("/")[0] in stay else dtype), name


def test_names_with_brackets_are_names_first(rng):
    layers = _dense(rng, 4, 3, "head[0]", "x"), _dense(rng, 3, 2, "head0", "head[0]")  # the second fits as a pattern
    graph = building.chain(building.floats(4), *layers)
    for name in ("head[0]", "head[[]0]"):
        narrowed = held(narrow(graph, "int8", [name]))
        assert (narrowed["head[0]/kernel"], narrowed["head0/kernel"]) == ("float32", "int8")


def test_a_layer_beside_another_may_begin_with_its_name(rng):
    step = Graph((tensor_spec("step", False, (4,)),), (_dense(rng, 4, 4, "1", "step"),), ("1",))
    graph = building.chain(
        building.floats(4),
        _dense(rng, 4, 4, "enc", "x"),
        _dense(rng, 4, 4, "enc/2", "enc"),
        TimeDistributed(name="outer", inputs=("enc/2",), graph=step),
        _dense(rng, 4, 3, "outer/2", "outer"),
    )

    def stay(*names):
        kernels = ((name, dtype) for name, dtype in held(narrow(graph, "int8", names)).items() if "kernel" in name)
        return [name.removesuffix("/kernel") for name, dtype in kernels if dtype == "float32"]

    assert stay("enc") == ["enc"]
    assert stay("enc/2") == ["enc/2"]
    assert stay("outer") == stay("outer/1") == ["outer/1"]
    assert stay("outer/*") == ["outer/1", "outer/2"]
    assert stay("enc*", "outer/2") == ["enc", "enc/2", "outer/2"]


def test_unknown_names_are_all_told(rng):
    with pytest.raises(BadInput, match=r"no layer: grru, x\*; those with weights: embedding, conv, gru, outer/inner"):
        narrow(network(rng), "int8", ["grru", "gru", "x*"])
    for odd in (3, None, [3], ["gru", b"head"]):
        with pytest.raises(BadInput, match="keep_float32 should name layers, got"):
            narrow(network(rng), "int8", odd)


def test_float32_weights_do_not_come_back(rng):
    half = narrow(network(rng), "int8", ["gru", "conv"])
    assert held(narrow(half, "int8", ["gru"]))["conv/kernel"] == "int8"
    with pytest.raises(BadInput, match="cannot bring float32 weights back: head is int8 already"):
        narrow(half, "int8", ["gru", "head"])


def test_another_narrow_dtype_is_refused(rng):
    with pytest.raises(BadInput, match="are bfloat16 already, and so cannot become int8"):
        narrow(narrow(network(rng), "bfloat16"), "int8")
    with pytest.raises(BadInput, match="dtype should be 'bfloat16', 'float16' or 'int8', got 'float32'"):
        narrow(network(rng), "float32")


def test_weights_that_a_dtype_lacks_are_all_told(rng):
    graph = network(rng)
    layers = {layer.name: layer for layer in graph.layers}
    layers["gru"].kernel[2, 3] = np.nan
    layers["head"].kernel[:2, 0] = -np.inf
    layers["conv"].kernel[0, 0, 0] = 65_520
    layers["outer"].graph.layers[0].kernel[0, 0] = 3.4e38
    with pytest.raises(UnsupportedModel) as caught:
        narrow(graph, "int8")
    assert [reason.split(";")[0] for reason in caught.value.reasons] == [
        "GRU layer 'gru': kernel holds NaN or infinite weights",
        "Dense layer 'head': kernel holds NaN or infinite weights",
    ]
    with pytest.raises(UnsupportedModel) as caught:
        narrow(graph, "float16")
    assert [reason.split(";")[0] for reason in caught.value.reasons] == [
        "Conv layer 'conv': kernel holds 1 weights beyond float16's range, 65504",
        "Dense layer 'outer/inner': kernel holds 1 weights beyond float16's range, 65504",
    ]
    with pytest.raises(UnsupportedModel, match="layer 'outer/inner': kernel holds 1 weights beyond bfloat16's range"):
        narrow(graph, "bfloat16")
    assert dtype_of(narrow(graph, "int8", ["gru", "head"])) == "int8"


INT8 = np.ones((2, 3), np.int8)
SCALE = np.ones(3, np.float32)


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        (("int4", INT8), "narrow weights are bfloat16, float16, int8, not 'int4'"),
        (("bfloat16", INT8), "bfloat16 weights should be held in uint16, are in int8"),
        (("float16", INT8.astype("f2"), SCALE), "float16 weights have no scale"),
        (("int8", INT8), "int8 weights should have a scale"),
        (("int8", INT8, SCALE[:2]), r"a scale \(3,\) float32, have \(2,\) float32"),
        (("int8", INT8, SCALE, 0), r"a scale \(2,\) float32, have \(3,\) float32"),
        (("int8", INT8, SCALE.astype("f8")), r"have \(3,\) float64"),
        (("int8", INT8, SCALE * np.nan), "a scale of int8 weights should lie in"),
        (("int8", INT8, SCALE * 0), "a scale of int8 weights should lie in"),
        (("int8", INT8, -SCALE), "a scale of int8 weights should lie in"),
        (("int8", INT8, SCALE * 3e38), "a scale of int8 weights should lie in"),
        (("int8", INT8, np.full(3, 1e-40, "f4")), "a scale of int8 weights should lie in"),
        (("int8", INT8 * -128, SCALE), "one is -128"),
        (("int8", np.ones((), np.int8), SCALE), "0 axes cannot be scaled"),
        (("int8", INT8, SCALE, 1), "cannot be scaled along axis 1"),
    ],
)
def test_arrays_that_are_no_such_weights_are_refused(fields, fault):
    with pytest.raises(BadModelFile, match=fault):
        NarrowArray(*fields)


def test_layers_say_which_tensors_may_be_narrow(rng):
    bits = narrow_array(np.ones((1, 3)), "bfloat16")
    bias = NarrowArray("bfloat16", bits.data[0])
    kernel = building.uniform(rng, 4, 3)
    for layer, fault in (
        (
            Dense(name="d", inputs=("x",), kernel=kernel, bias=bias),
            "Dense layer 'd': bias should be float32, is bfloat16",
        ),
        (Dense(name="d", inputs=("x",), kernel=narrow_array(kernel.T, "int8", 0)), "kernel should have shape"),
        (
            Dense(name="d", inputs=("x",), kernel=narrow_array(kernel, "int8", 0)),
            "the scale of kernel should go along axis -1",
        ),
        (
            dataclasses.replace(building.gru(rng, 4, 5, name="g"), kernel=narrow_array(np.ones((4, 15)), "int8")),
            "GRU layer 'g': all its weights should be of one dtype, but kernel is int8, recurrent_kernel is float32",
        ),
        (
            Conv(name="c", inputs=("x",), kernel=narrow_array(building.uniform(rng, 2, 1, 4), "int8"), groups=4),
            "Conv layer 'c': kernel should be float32, is int8",
        ),
    ):
        with pytest.raises(BadModelFile, match=fault):
            building.chain(building.floats(4), layer)


def test_a_network_has_one_narrow_dtype(rng):
    table = Embedding(name="e", inputs=("x",), table=narrow_array(building.uniform(rng, 5, 4), "int8", 0))
    head = Dense(name="d", inputs=("e",), kernel=narrow_array(building.uniform(rng, 4, 3), "bfloat16"))
    with pytest.raises(BadModelFile, match="one narrow dtype, not of bfloat16 and int8"):
        building.chain(building.tokens(), table, head)


@pytest.mark.parametrize("dtype", DTYPES)
def test_fingerprints_tell_dtypes_data_and_scales_apart(rng, dtype):
    graph = network(rng)
    narrowed = narrow(graph, dtype)
    assert narrow(graph, dtype).fingerprint == narrowed.fingerprint
    seen = {graph.fingerprint, narrowed.fingerprint, widen(narrowed).fingerprint}
    seen.add(narrow(graph, dtype, ["head"]).fingerprint)
    kernel = narrowed.layers[-1].kernel
    kernel.data[0, 0] += 1
    altered = building.chain(narrowed.inputs[0], *narrowed.layers)
    seen.add(altered.fingerprint)
    if dtype == "int8":
        kernel.scale[0] *= 2
        seen.add(building.chain(narrowed.inputs[0], *narrowed.layers).fingerprint)
    assert len(seen) == 5 + (dtype == "int8")
