"""Networks with convolutions and pooling over time as Streams: chunks give what the whole sequence gives."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest

import fastgru
import oracle
from building import chain, dense, floats, gru, uniform
from fastgru import _core
from fastgru.errors import BadInput, StateMismatch, UnsupportedModel
from fastgru.graph import (
    GRU,
    Activate,
    Activation,
    Combine,
    Concatenate,
    Conv,
    Graph,
    Layer,
    Pad,
    Pool,
    Reshape,
    Scale,
    Slice,
    TensorSpec,
    tensor_spec,
)  # fmt: skip
from fastgru.rates import rate_changes
from tolerances import check

pytestmark = pytest.mark.dtypes

STEPS = 29
SEEDS = range(40)


# ---- random networks -----------------------------------------------------------------------------------------------


class Maker:
    """Grows a random chain of layers that stream, with its sizes."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        width = int(self.rng.integers(2, 6)) if self.rng.random() < 0.4 else 0
        channels = int(self.rng.integers(1, 9))
        self.inner: tuple[int, ...] = (width, channels) if width else (channels,)
        self.spec = tensor_spec("x", None, self.inner)
        self.layers: list[Layer] = []
        self.stride = 1

    @property
    def source(self) -> str:
        return self.layers[-1].name if self.layers else "x"

    def pick(self, *choices: Any) -> Any:
        return choices[int(self.rng.integers(len(choices)))]

    def add(self, layer: Layer, inner: tuple[int, ...]) -> None:
        self.layers.append(layer)
        self.inner = inner

    def name(self, kind: str) -> str:
        return f"{kind}{len(self.layers)}"

    def window(self) -> tuple[tuple[int, ...], dict[str, Any]]:
        """The size of a window that is causal over time, its options, and what axis 2 becomes."""
        axes = len(self.inner)
        size, dilation = int(self.rng.integers(1, 5)), int(self.rng.integers(1, 4))
        stride = self.pick(1, 1, 1, 2, 3) if self.stride < 4 else 1
        before = self.pick((size - 1) * dilation, (size - 1) * dilation, 0, (size - 1) * dilation // 2)
        self.stride *= stride
        if axes == 1:
            return (size,), {"strides": (stride,), "dilation": (dilation,), "pads": (before, 0)}
        other = int(self.rng.integers(1, self.inner[0] + 1))
        pads = (before, 0, int(self.rng.integers(0, other)), int(self.rng.integers(0, other)))
        return (size, other), {"strides": (stride, self.pick(1, 2)), "dilation": (dilation, 1), "pads": pads}

    def axis2(self, size: tuple[int, ...], options: dict[str, Any]) -> tuple[int, ...]:
        if len(size) == 1:
            return ()
        return ((self.inner[0] + sum(options["pads"][2:]) - size[1]) // options["strides"][1] + 1,)

    def conv(self) -> None:
        size, options = self.window()
        channels = self.inner[-1]
        groups = self.pick(1, 1, channels, *(n for n in (2, 3) if channels % n == 0))
        units = groups * int(self.rng.integers(1, 4)) * 2
        function = self.pick("linear", "relu", "tanh", "softmax", "glu")
        kernel = uniform(self.rng, *size, channels // groups, units, scale=2 / np.sqrt(np.prod(size) * channels))
        bias = self.pick(uniform(self.rng, units), None)
        activation = Activation.of(function)
        tensors = {"kernel": kernel, "bias": bias, "groups": groups, "activation": activation}
        layer = Conv(name=self.name("conv"), inputs=(self.source,), **tensors, **options)
        self.add(layer, (*self.axis2(size, options), units // 2 if function == "glu" else units))

    def pool(self) -> None:
        size, options = self.window()
        function = self.pick("maximum", "average")
        options["count_padding"] = bool(function == "average" and self.rng.random() < 0.5)
        layer = Pool(name=self.name("pool"), inputs=(self.source,), function=function, size=size, **options)
        self.add(layer, (*self.axis2(size, options), self.inner[-1]))

    def scale(self) -> None:
        features = self.inner[-1]
        tensors = {"scale": uniform(self.rng, features), "offset": uniform(self.rng, features)}
        self.add(Scale(name=self.name("scale"), inputs=(self.source,), **tensors), self.inner)

    def recurrent(self) -> None:
        if len(self.inner) > 1:
            flat = (int(np.prod(self.inner)),)
            self.add(Reshape(name=self.name("flat"), inputs=(self.source,), target=flat, per_step=True), flat)
        units, name = int(self.rng.integers(1, 9)), self.name("gru")
        options = {"reset_after": bool(self.rng.integers(2)), "return_sequences": True}
        self.add(gru(self.rng, self.inner[0], units, name=name, source=self.source, **options), (units,))

    def residual(self) -> None:
        """x + tanh(x): a value that two layers read."""
        source = self.source
        self.add(Activate(name=self.name("tanh"), inputs=(source,), activation=Activation.of("tanh")), self.inner)
        self.add(Combine(name=self.name("add"), inputs=(source, self.source), operation="add"), self.inner)


def network(seed: int) -> Graph:
    """A random network, whose output is a sequence, its last step or a GRU's last output."""
    maker = Maker(seed)
    maker.conv()
    for _ in range(int(maker.rng.integers(1, 5))):
        maker.pick(maker.conv, maker.conv, maker.pool, maker.scale, maker.recurrent, maker.residual)()
    end = maker.pick("sequence", "sequence", "last", "gru")
    if end == "last":
        last = Slice(name="last", inputs=(maker.source,), axis=1, start=-1, stop=None, step=1, drop=True)
        maker.add(last, maker.inner)
    elif end == "gru":
        maker.recurrent()
        layer = maker.layers.pop()
        assert isinstance(layer, GRU)
        options = {"name": layer.name, "source": layer.inputs[0]}
        maker.layers.append(gru(maker.rng, layer.kernel.shape[0], layer.units, **options))
    return chain(maker.spec, *maker.layers)


def values(spec: TensorSpec, batch: int, steps: int = STEPS) -> np.ndarray:
    return np.random.default_rng(steps).normal(size=(batch, steps, *spec.inner)).astype(np.float32)


def cuts(rng: np.random.Generator, graph: Graph) -> list[int]:
    """Sizes of chunks; 0 among them, but where the last of as many steps is asked for."""
    sizes, none = [], 0 if rate_changes(graph) or not isinstance(graph.layers[-1], Slice) else 1
    while sum(sizes) < STEPS:
        sizes.append(min(int(rng.choice([none, 1, 1, 2, 3, 7, 20])), STEPS - sum(sizes)))
    return sizes


def chunks(x: np.ndarray, sizes: Sequence[int]) -> Iterator[np.ndarray]:
    begin = 0
    for size in sizes:
        yield x[:, begin : begin + size]
        begin += size


def same(actual: np.ndarray, expected: np.ndarray) -> bool:
    return actual.shape == expected.shape and np.array_equal(actual.view(np.uint32), expected.view(np.uint32))


def streamed(model: fastgru.Model, x: np.ndarray, sizes: Sequence[int], **options: Any) -> np.ndarray:
    """What chunks give: all steps, or the last of outputs without time."""
    with model.stream(batch_size=len(x), **options) as stream:
        parts = [stream.run(chunk) for chunk in chunks(x, sizes)]
    return np.concatenate(parts, axis=1) if model.outputs[0].is_sequence else parts[-1]


def total(graph: Graph) -> int:
    """The fewest steps for which a whole sequence gives one."""
    model = fastgru.Model(graph)
    for steps in range(1, STEPS + 1):
        try:
            model(values(graph.inputs[0], 1, steps))
        except BadInput:
            continue
        return steps
    raise AssertionError("no number of steps is enough")


@pytest.mark.parametrize("seed", SEEDS)
def test_any_chunks_give_the_whole(seed: int, isa: str) -> None:
    graph = network(seed)
    rng = np.random.default_rng(seed)
    x = values(graph.inputs[0], 3)
    model = fastgru.Model(graph)
    y = model(x)
    (expected,) = oracle.run(graph, {"x": x})
    check(y, expected, "oracle")
    for sizes in ([STEPS], [1] * STEPS, cuts(rng, graph), cuts(rng, graph)):
        assert same(streamed(model, x, sizes), y)
    assert same(streamed(model, x[1:2], cuts(rng, graph)), y[1:2])
    assert same(streamed(model, x, cuts(rng, graph), threads=2), y)


@pytest.mark.parametrize("seed", SEEDS)
def test_vector_sets_give_the_same_bits(seed: int, vector_isas: list[str]) -> None:
    graph = network(seed)
    x = values(graph.inputs[0], 2)
    sizes = cuts(np.random.default_rng(seed), graph)
    found = []
    for name in vector_isas:
        stream = fastgru.stream.Stream(_core.Plan(graph, name), 2)
        found.append([stream.run(chunk) for chunk in chunks(x, sizes)])
    for others in found[1:]:
        assert all(same(a, b) for a, b in zip(found[0], others, strict=True))


@pytest.mark.parametrize("seed", SEEDS)
def test_after_each_chunk_what_the_steps_so_far_give(seed: int) -> None:
    graph = network(seed)
    model = fastgru.Model(graph)
    x = values(graph.inputs[0], 2)
    least = total(graph)
    is_sequence = model.outputs[0].is_sequence
    stream = model.stream(batch_size=2)
    done, begin = 0, 0
    for size in cuts(np.random.default_rng(seed), graph):
        y = stream.run(x[:, begin : begin + size])
        begin += size
        done += y.shape[1] if is_sequence else 0
        if begin >= least:
            whole = model(x[:, :begin])
            assert done == whole.shape[1] if is_sequence else same(y, whole)
        else:
            assert done == 0
            assert is_sequence or not y.any() or isinstance(graph.layers[-1], GRU)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_state_moves_to_another_stream(seed: int, isa: str) -> None:
    graph = network(seed)
    rng = np.random.default_rng(seed)
    model = fastgru.Model(graph)
    x = values(graph.inputs[0], 3)
    cut = int(rng.integers(STEPS))
    stream, other = model.stream(batch_size=3), model.stream(batch_size=3)
    stream.run(x[:, :cut])
    state = stream.get_state()
    rest = stream.run(x[:, cut:])
    other.run(values(graph.inputs[0], 3, 5))
    other.set_state(state)
    again = other.get_state()
    assert {key: value.shape for key, value in again.items()} == {key: value.shape for key, value in state.items()}
    assert all(same(again[key], value) for key, value in state.items() if value.dtype == np.float32)
    assert all(np.array_equal(again[key], value) for key, value in state.items())
    assert same(other.run(x[:, cut:]), rest)
    other.reset()
    y = model(x)
    assert same(other.run(x), y)


# ---- what is carried -----------------------------------------------------------------------------------------------


def conv(channels: int, units: int, size: int, *, name: str = "conv", source: str = "x", **options: Any) -> Conv:
    rng = np.random.default_rng(channels + 10 * units + size)
    kernel = uniform(rng, size, channels // options.get("groups", 1), units)
    return Conv(**{"name": name, "inputs": (source,), "kernel": kernel, "bias": uniform(rng, units)} | options)


def pool(function: str, size: int, *, name: str = "pool", source: str = "x", **options: Any) -> Pool:
    return Pool(name=name, inputs=(source,), function=function, size=(size,), **options)


def test_the_state_is_the_steps_that_windows_look_back_on() -> None:
    stream = fastgru.Model(chain(floats(2), conv(2, 3, 3, dilation=(2,), pads=(4, 0)))).stream(batch_size=2)
    x = values(floats(2), 2, 7)
    fresh = stream.get_state()
    assert {key: value.shape for key, value in fresh.items()} == {"conv/tail": (2, 4, 2), "conv/steps": (2,)}
    assert not fresh["conv/tail"].any()
    assert not fresh["conv/steps"].any()
    stream.run(x[:, :3])
    state = stream.get_state()
    assert not state["conv/tail"][:, 0].any()
    assert same(state["conv/tail"][:, 1:], x[:, :3])
    assert state["conv/steps"].tolist() == [3, 3]
    stream.run(x[:, 3:])
    state = stream.get_state()
    assert same(state["conv/tail"], x[:, 3:])
    assert state["conv/steps"].tolist() == [4, 4]


def test_rows_start_again_one_by_one() -> None:
    recurrent = gru(np.random.default_rng(0), 3, 4, source="conv")
    model = fastgru.Model(chain(floats(2), conv(2, 3, 3, pads=(2, 0)), recurrent))
    x = values(floats(2), 3, 6)
    stream = model.stream(batch_size=3)
    stream.run(x[:, :4])
    stream.reset(1)
    y = stream.run(x[:, 4:])
    assert same(y[[0, 2]], model(x[[0, 2]]))
    assert same(y[1:2], model(x[1:2, 4:]))
    state = stream.get_state(2)
    stream.reset([0, 2])
    stream.set_state(state, 0)
    x2 = values(floats(2), 3, 2)
    assert same(stream.run(x2)[:1], model(np.concatenate([x[2:], x2[:1]], axis=1)))


def test_one_call_of_many_steps_and_many_calls_of_one_leave_one_state() -> None:
    stream = fastgru.Model(chain(floats(3), conv(3, 3, 4, pads=(3, 0)))).stream(batch_size=2)
    x = values(floats(3), 2, 11)
    stream.run(x)
    once = stream.get_state()
    stream.reset()
    for t in range(11):
        stream.step(x[:, t])
    state = stream.get_state()
    assert all(np.array_equal(state[key], once[key]) for key in once)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"conv/steps": np.array([4], np.int32)}, "conv/steps should be whole numbers from 0 to 2"),
        ({"conv/steps": np.array([-1], np.int32)}, "conv/steps should be whole numbers from 0 to 2"),
        ({"conv/steps": np.array([1.0], np.float32)}, "conv/steps should be whole numbers"),
        ({"conv/steps": np.array([1], np.int32)}, "conv/tail should be zero before its last conv/steps steps"),
        ({"conv/tail": np.zeros((1, 3, 2), np.float32)}, "this network's state is"),
        ({"/steps": np.array([2.0], np.float32)}, "/steps should be whole numbers"),
        ({"/steps": np.array([-2])}, "/steps should be whole numbers"),
    ],
)
def test_a_state_that_no_stream_gave_is_refused(change: dict[str, np.ndarray], message: str) -> None:
    model = fastgru.Model(chain(floats(2), conv(2, 3, 3, strides=(2,))))
    stream = model.stream()
    x = values(floats(2), 1, 6)
    stream.run(x[:, :3])
    state = stream.get_state()
    with pytest.raises(StateMismatch, match=message):
        stream.set_state(state | change)
    assert same(np.concatenate([model(x[:, :3]), stream.run(x[:, 3:])], axis=1), model(x))


# ---- numbers of steps ----------------------------------------------------------------------------------------------


def test_steps_come_when_they_are_complete() -> None:
    layers = conv(2, 3, 3, strides=(2,), pads=(2, 0)), pool("maximum", 2, source="conv", strides=(2,))
    stream = fastgru.Model(chain(floats(2), *layers)).stream()
    counts = [stream.run(x).shape[1] for x in chunks(values(floats(2), 1, 12), [1] * 12)]
    assert counts == [0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0]


def test_no_steps_leave_the_last_output_standing() -> None:
    rng = np.random.default_rng(3)
    layers = pool("average", 3, strides=(3,)), gru(rng, 2, 4, source="pool", without=())
    model = fastgru.Model(chain(floats(2), *layers))
    x = values(floats(2), 2, 7)
    stream = model.stream(batch_size=2)
    assert not stream.run(x[:, :2]).any()
    assert same(stream.get_state()["gru/h"], np.tile(layers[1].initial_state, (2, 1)))
    third = stream.run(x[:, 2:3])
    assert same(third, model(x[:, :3]))
    assert same(stream.run(x[:, 3:5]), third)
    assert same(stream.run(x[:, 5:]), model(x))


def test_step_is_refused_where_the_number_of_steps_changes() -> None:
    layers = conv(2, 3, 2, pads=(1, 0)), pool("maximum", 2, source="conv", strides=(2,))
    model = fastgru.Model(chain(floats(2), *layers))
    stream = model.stream()
    x = values(floats(2), 1, 4)
    with pytest.raises(BadInput, match=r"Pool layer 'pool' changes the number of steps.*use run\(\)"):
        stream.step(x[:, 0])
    assert same(stream.run(x), model(x))


def test_whole_sequences_too_short_for_a_window_stay_an_error() -> None:
    model = fastgru.Model(chain(floats(2), conv(2, 3, 3)))
    with pytest.raises(BadInput, match="Conv layer 'conv' cannot run on 2 steps of 'x'"):
        model(values(floats(2), 1, 2))
    stream = model.stream()
    assert stream.run(values(floats(2), 1, 2)).shape == (1, 0, 3)


def test_branches_of_one_pace_join() -> None:
    layers = (
        conv(2, 4, 2, strides=(2,)),
        pool("average", 2, strides=(2,)),
        Concatenate(name="both", inputs=("conv", "pool")),
        gru(np.random.default_rng(1), 6, 3, source="both", return_sequences=True),
    )
    model = fastgru.Model(chain(floats(2), *layers))
    x = values(floats(2), 2)
    assert same(streamed(model, x, [3, 1, 0, 10, 15]), model(x))


def test_branches_of_another_pace_are_an_error_that_changes_nothing() -> None:
    layers = conv(2, 2, 2, strides=(2,)), pool("maximum", 2, strides=(2,), pads=(1, 0))
    graph = chain(floats(2), *layers, Concatenate(name="both", inputs=("conv", "pool")))
    model = fastgru.Model(graph)
    x = values(floats(2), 1, 6)
    stream = model.stream()
    stream.run(x[:, :2])
    with pytest.raises(BadInput, match="Concatenate layer 'both' cannot run on"):
        stream.run(x[:, 2:3])
    assert same(stream.run(x[:, 2:]), model(x)[:, 1:])


def test_rows_count_their_own_steps() -> None:
    """Where fewer come out than of another row, zeros stand behind them."""
    model = fastgru.Model(chain(floats(2), conv(2, 3, 2, strides=(2,))))
    stream = model.stream(batch_size=2)
    x = values(floats(2), 2, 6)
    stream.run(x[:, :3])
    other = stream.fork(0)
    stream.reset(1)
    assert stream.completed(3).tolist() == [2, 1, 2]
    assert stream.completed([1, 2, 0], rows=[1, other, 0]).tolist() == [0, 1, 0]
    y = stream.run(x[[0, 1, 0], 3:])
    assert same(y[[0, 2]], model(x[[0, 0]])[:, 1:])
    assert same(y[1:2, :1], model(x[1:, 3:]))
    assert not y[1, 1:].any()
    assert stream.get_state()["/steps"].tolist() == [6, 3, 6]
    lengths = stream.run(x[[0, 1, 0], :3], rows=[other, 1, 0], lengths=[0, 1, 2])
    assert stream.get_state()["/steps"].tolist() == [8, 4, 6]
    assert lengths.shape == (3, 2, 3)
    assert not lengths[0].any()
    for steps in (-1, 1.0, [1, 2], "3", 2**60):
        with pytest.raises(BadInput, match="steps should be"):
            stream.completed(steps)
    stream.run(x[1:, :1], rows=other)
    stream.reset(1)
    stream.run(x[1:, 3:], rows=1)
    stream.set_state(stream.get_state(1), 0)
    rest = values(floats(2), 2, 3)
    assert same(stream.run(rest, rows=[0, 1])[:1], model(np.concatenate([x[1:, 3:], rest[:1]], axis=1))[:, 1:])


# ---- threads, masks, padding -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [1, 5])
def test_threads_share_rows_and_their_tails(batch: int, isa: str) -> None:
    layers = (
        conv(64, 96, 3, pads=(2, 0)),
        conv(96, 96, 3, name="deep", source="conv", groups=96, dilation=(3,), pads=(6, 0)),
        pool("maximum", 3, source="deep", pads=(2, 0)),
        gru(np.random.default_rng(2), 96, 64, source="pool", return_sequences=True),
    )
    model = fastgru.Model(chain(floats(64), *layers), threads=1)
    x = values(floats(64), batch, 500)
    y = model(x)
    for sizes in ([100, 150, 250], [1, 2, 200, 3, 294]):
        assert same(streamed(model, x, sizes, threads=2), y)


def test_many_rows(isa: str) -> None:
    model = fastgru.Model(chain(floats(3), conv(3, 4, 3, pads=(2, 0)), pool("average", 2, source="conv", pads=(1, 0))))
    x = values(floats(3), 600, 5)
    assert same(streamed(model, x, [1, 2, 2]), model(x))


@pytest.mark.parametrize("mask", [None, "x:mask"])
def test_rows_of_a_convolution_run_their_own_steps(mask: str | None) -> None:
    """What lies past a row's length is no part of its tail, whether or not the mask goes round the convolution."""
    recurrent = gru(np.random.default_rng(4), 3, 5, source="conv", mask=mask, return_sequences=True)
    model = fastgru.Model(chain(floats(2), conv(2, 3, 3, pads=(2, 0), drops_mask=mask is None), recurrent))
    x = values(floats(2), 2, 6)
    with model.stream(batch_size=2) as stream:
        first = stream.run(x[:, :4], lengths=[2, 4])
        assert not first[0, 2:].any()
        rest = stream.run(np.stack([x[0, 2:5], np.append(x[1, 4:], x[:1, 0], axis=0)]), lengths=[3, 2])
    assert same(np.concatenate([first[:1, :2], rest[:1]], axis=1), model(x[:1, :5]))
    assert same(np.concatenate([first[1:], rest[1:, :2]], axis=1), model(x[1:]))


@pytest.mark.parametrize(("function", "count_padding"), [("maximum", False), ("average", False), ("average", True)])
def test_padding_is_what_it_is_in_the_whole(function: str, count_padding: bool) -> None:
    """Numbers below zero show a maximum or a mean that takes padding for zeros."""
    model = fastgru.Model(chain(floats(2), pool(function, 4, pads=(3, 0), count_padding=count_padding)))
    x = -np.abs(values(floats(2), 2, 9)) - 1
    assert same(streamed(model, x, [1] * 9), model(x))


@pytest.mark.dtypes("float32", "bfloat16", "float16")  # int8 has no infinity
@pytest.mark.parametrize("groups", [1, 2])
def test_infinite_weights_meet_padding_as_in_the_whole(groups: int) -> None:
    layer = conv(2, 2, 3, pads=(2, 0), groups=groups, bias=np.array([-0.0, 1], np.float32))
    layer.kernel[0, 0, 0] = np.inf
    model = fastgru.Model(chain(floats(2), layer))
    x = np.zeros((1, 6, 2), np.float32)
    x[:, 3:] = 1
    y, parts = model(x), streamed(model, x, [1, 1, 2, 1, 1])
    assert np.array_equal(np.isnan(y), np.isnan(parts))
    assert same(y[~np.isnan(y)], parts[~np.isnan(y)])


# ---- what streams, and what not -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (conv(2, 2, 3, padding="same"), "has 'same' padding, so its windows look ahead"),
        (conv(2, 2, 3, padding="same_lower"), "has 'same_lower' padding, so its windows look ahead"),
        (conv(2, 2, 3, padding="same", strides=(2,)), "has 'same' padding with strides"),
        (conv(2, 2, 3, pads=(1, 1)), "has padding after the last step"),
        (conv(2, 2, 3, pads=(3, 0)), "has windows of padding alone before the first step"),
        (pool("maximum", 2, padding="same", strides=(2,)), "has 'same' padding with strides"),
        (conv(2, 2, 2, dilation=(2**31 - 1,)), "looks back on more steps than can be carried, 2147483647"),
        (Pad(name="pad", inputs=("x",), axis=1, before=2), "pads the time axis"),
    ],
)
def test_what_looks_ahead_is_refused_by_name(layer: Layer, reason: str) -> None:
    after = conv(2, 2, 2, name="fine", source=layer.name, pads=(1, 0))
    graph = chain(floats(2), layer, after, gru(np.random.default_rng(0), 2, 2, source="fine"))
    with pytest.raises(UnsupportedModel) as caught:
        fastgru.Model(graph).stream()
    assert f"{layer.kind} layer {layer.name!r} {reason}" in str(caught.value)
    assert "fine" not in str(caught.value)
    if isinstance(layer, (Conv, Pool)):
        assert not _core.Plan(graph).causal


@pytest.mark.parametrize(
    "layer",
    [
        conv(2, 3, 1, padding="same", strides=(2,)),
        conv(2, 3, 2, padding="same_lower"),
        conv(2, 3, 1),
        pool("maximum", 1, strides=(3,)),
    ],
)
def test_windows_of_one_step_or_one_before_stream(layer: Layer) -> None:
    model = fastgru.Model(chain(floats(2), layer))
    x = values(floats(2), 2)
    assert same(streamed(model, x, [1, 0, 3, 5, 20]), model(x))


@pytest.mark.parametrize(
    "head", [lambda r: (gru(r, 3, 2, source="conv", go_backwards=True),), lambda r: (gru(r, 3, 2, source="conv"),)]
)
def test_a_plan_knows_whether_it_is_causal(head: Callable[[Any], tuple[Layer, ...]]) -> None:
    rng = np.random.default_rng(0)
    layers = conv(2, 3, 2, pads=(1, 0)), *head(rng)
    plan = _core.Plan(chain(floats(2), *layers, dense(rng, 2, 1, name="head", source="gru", function="linear")))
    assert plan.causal == (not layers[1].go_backwards)
    assert not plan.changes_steps
    assert _core.Plan(chain(floats(2), conv(2, 3, 2))).changes_steps


def test_a_plain_call_carries_nothing() -> None:
    """A State makes room for what windows look back on with the first call of a stream."""
    runner = _core.Runner(_core.Plan(chain(floats(1), conv(1, 1, 2, dilation=(2**20,), pads=(2**20, 0)))))
    runner._run_fresh((values(floats(1), 1, 4),), None, None, 1, None)
    assert runner.nbytes < 2**20


# ---- other ways to run streams ---------------------------------------------------------------------------------------


def test_a_pool_runs_rows_with_their_tails() -> None:
    layers = conv(2, 4, 3, pads=(2, 0)), gru(np.random.default_rng(5), 4, 3, source="conv", return_sequences=True)
    model = fastgru.Model(chain(floats(2), *layers))
    x = values(floats(2), 4, 12)
    with fastgru.StreamPool(model, max_rows=4) as pool_of_rows:
        rows = [pool_of_rows.open() for _ in range(4)]
        tickets = [[pool_of_rows.submit(row, x[i, t : t + 3]) for i, row in enumerate(rows)] for t in range(0, 12, 3)]
        parts = [[ticket.result() for ticket in each] for each in tickets]
    assert same(np.concatenate([np.stack(each) for each in parts], axis=1), model(x))


def test_a_pool_refuses_rows_whose_number_of_steps_changes() -> None:
    layers = pool("maximum", 2, strides=(2,)), gru(np.random.default_rng(5), 2, 3, source="pool")
    with pytest.raises(UnsupportedModel, match="Pool layer 'pool' changes the number of steps"):
        fastgru.StreamPool(fastgru.Model(chain(floats(2), *layers)), max_rows=4)


def test_inputs_of_unequal_steps_are_refused_where_their_number_changes() -> None:
    layers = conv(2, 2, 2, strides=(2,)), conv(2, 2, 2, name="other", source="z", strides=(2,))
    other = tensor_spec("z", None, (2,))
    graph = Graph((floats(2), other), layers, ("conv", "other"))
    stream = fastgru.Model(graph).stream()
    x = values(floats(2), 1, 6)
    with pytest.raises(BadInput, match="in a stream all inputs should have as many"):
        stream.run({"x": x, "z": x[:, :4]})
    y, z = stream.run({"x": x, "z": x})
    assert same(y, fastgru.Model(graph)(x, x)[0])
    assert same(z, fastgru.Model(graph)(x, x)[1])


def test_fed_states_go_with_whole_sequences() -> None:
    """A network that no Stream could run, but for its states that come in and go out, is called anew for each chunk."""
    ahead = conv(2, 3, 3, padding="same")
    recurrent = gru(np.random.default_rng(6), 3, 4, source="conv", inputs=("conv", "h"), return_sequences=True)
    spec = tensor_spec("h", False, (4,))
    graph = Graph((floats(2), spec), (ahead, recurrent), ("gru", "gru:state"))
    model = fastgru.Model(graph)
    x = values(floats(2), 1, 8)
    stream = model.stream(state={"h": "gru:state"})
    first, state = model(x[:, :4], np.zeros((1, 4), np.float32))
    assert same(stream.run(x[:, :4]), first)
    assert same(stream.run(x[:, 4:]), model(x[:, 4:], state)[0])


@pytest.mark.dtypes("float32")  # Keras holds its weights in float32
def test_a_causal_network_of_keras_runs_step_by_step() -> None:
    """Both ways to write a causal convolution, and an average over the last steps."""
    from keras_live import keras

    layers = keras.layers
    network = keras.Sequential(
        [
            layers.Input((None, 3)),
            layers.Conv1D(8, 4, padding="causal", dilation_rate=2),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.ZeroPadding1D((2, 0)),
            layers.SeparableConv1D(6, 3),
            layers.ZeroPadding1D((2, 0)),
            layers.AveragePooling1D(3, strides=1),
            layers.GRU(5, return_sequences=True),
            layers.Dense(2),
        ]
    )
    model = fastgru.from_keras(network)
    x = values(floats(3), 2, 15)
    with model.stream(batch_size=2) as stream:
        y = np.stack([stream.step(x[:, t]) for t in range(15)], axis=1)
    assert same(y, model(x))
    check(y, np.asarray(network(x)), "keras")
