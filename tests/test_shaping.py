"""Layers that move values, and masks made of masks: the oracle, the same bits, streams, and what they refuse."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastgru
import oracle
from building import chain, dense, embedding, floats, gru
from fastgru import BadInput, BadModelFile, Model, UnsupportedModel
from fastgru.graph import (
    Concatenate,
    Graph,
    JoinMasks,
    Layer,
    Masking,
    Pad,
    Repeat,
    Reshape,
    Slice,
    TensorSpec,
    Transpose,
    tensor_spec,
)
from tolerances import check

Arrays = dict[str, np.ndarray]


def normal(*shape: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def holes(rows: int, steps: int, seed: int = 2) -> np.ndarray:
    return np.random.default_rng(seed).random((rows, steps)) < 0.7


def results(answer: Any) -> tuple[np.ndarray, ...]:
    return answer if isinstance(answer, tuple) else (answer,)


def same(one: Any, other: Any) -> bool:
    pairs = zip(results(one), results(other), strict=True)
    return all(a.shape == b.shape and a.tobytes() == b.tobytes() for a, b in pairs)


def compare(graph: Graph, inputs: Arrays, masks: Arrays | None = None) -> None:
    """With the oracle; and one thread, two threads and every row alone to the bit."""
    model = Model(graph)
    answers = model(inputs, mask=masks)
    for answer, truth in zip(results(answers), oracle.run(graph, inputs, masks), strict=True):
        check(answer, truth, "oracle")
    assert same(model(inputs, mask=masks, threads=1), answers)
    for row in range(len(next(iter(inputs.values())))):
        part = slice(row, row + 1)
        alone = model(
            {name: value[part] for name, value in inputs.items()},
            mask=None if masks is None else {name: value[part] for name, value in masks.items()},
        )
        assert same(alone, tuple(answer[part].copy() for answer in results(answers)))


def moves(graph: Graph, inputs: Arrays) -> None:
    """Layers that only move numbers give the oracle's to the bit."""
    compare(graph, inputs)
    answers = results(Model(graph)(inputs))
    assert same(answers, tuple(truth.astype(np.float32) for truth in oracle.run(graph, inputs)))


def streams(graph: Graph, x: np.ndarray) -> None:
    """Steps and chunks are the whole sequence; what has no time is what it is after so many steps."""
    model = Model(graph)
    whole = results(model(x))
    timed = [spec.is_sequence for spec in model.outputs]
    with model.stream(batch_size=len(x)) as stream:
        parts = [results(stream.step(x[:, t])) for t in range(3)]
        assert same(tuple(parts[-1][i] for i, yes in enumerate(timed) if not yes),
                    tuple(y for y, yes in zip(results(model(x[:, :3])), timed, strict=True) if not yes))  # fmt: skip
        chunks = [results(stream.run(x[:, 3:4])), results(stream.run(x[:, 4:]))]
    for i, yes in enumerate(timed):
        if yes:
            steps = [np.stack([part[i] for part in parts], axis=1), *(chunk[i] for chunk in chunks)]
            assert same(np.concatenate(steps, axis=1), whole[i])
        else:
            assert same(chunks[-1][i], whole[i])


# ---- Transpose -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [(1, 3, 2), (1, 2, 3)])
@pytest.mark.parametrize("steps", [1, 7, 200])
def test_axes_of_a_step(order: tuple[int, ...], steps: int) -> None:
    graph = chain(tensor_spec("x", None, (3, 4)), Transpose(name="turned", inputs=("x",), order=order))
    moves(graph, {"x": normal(5, steps, 3, 4)})
    assert Model(graph)(np.zeros((2, 0, 3, 4))).shape == (2, 0, *((4, 3) if order[1] == 3 else (3, 4)))
    streams(graph, normal(2, 9, 3, 4))


@pytest.mark.parametrize(
    ("shape", "order"),
    [
        ((5, 3), (2, 1)), ((5,), (1,)), ((5, 1), (2, 1)), ((1, 5), (2, 1)), ((4, 3, 2), (2, 1, 3)),
        ((4, 3, 2), (3, 2, 1)), ((4, 3, 2), (2, 3, 1)), ((4, 3, 2), (3, 1, 2)), ((2, 3, 1, 4), (4, 1, 3, 2)),
    ],
)  # fmt: skip
@pytest.mark.parametrize("time", [True, False])
def test_permutations(shape: tuple[int, ...], order: tuple[int, ...], time: bool) -> None:
    spec = tensor_spec("x", shape[0], shape[1:]) if time else tensor_spec("x", False, shape)
    turned = Transpose(name="turned", inputs=("x",), order=order)
    moves(chain(spec, turned), {"x": normal(5, *shape)})
    back = tuple(int(i) + 1 for i in np.argsort(order))
    both = chain(spec, turned, Transpose(name="back", inputs=("turned",), order=back))
    assert same(Model(both)(normal(5, *shape)), normal(5, *shape))


def test_a_network_over_the_turned_sequence(isa: str) -> None:
    """Keras' Permute((2, 1)) between two GRUs: the features become the steps."""
    rng = np.random.default_rng(3)
    layers: tuple[Layer, ...] = (
        gru(rng, 3, 7, name="first", return_sequences=True),
        Transpose(name="turned", inputs=("first",), order=(2, 1)),
        dense(rng, 5, 4, name="dense", source="turned", function="tanh"),
        gru(rng, 4, 6, name="last", source="dense", return_sequences=True),
    )
    compare(Graph((floats(3, 5),), layers, ("last", "turned")), {"x": normal(9, 5, 3)})


def test_orders_that_do_not_fit() -> None:
    for order, says in (
        ((2, 1), "an axis of free size can only be the first after batch, but there would be (5, None)"),
        ((1,), "order (1,) does not permute the axes of 'x' (None, None, 5)"),
        ((1, 1), "order (1, 1) does not permute"),
        ((0, 1), "order (0, 1) does not permute"),
    ):
        with pytest.raises(BadModelFile) as error:
            chain(floats(5), Transpose(name="turned", inputs=("x",), order=order))
        assert "Transpose layer 'turned'" in str(error.value)
        assert says in str(error.value)


# ---- Slice -----------------------------------------------------------------------------------------------------------


def cut(axis: int, *bounds: int | None, **options: Any) -> Slice:
    return Slice(name="cut", inputs=("x",), axis=axis, start=bounds[0], stop=bounds[1], step=bounds[2] or 1, **options)


BOUNDS = [
    (None, None, 1), (None, None, -1), (1, 3, 1), (-3, -1, 1), (0, 99, 2), (-99, 4, 3), (4, None, -1), (None, 1, -2),
    (-1, -4, -2), (99, -99, -3), (-1, None, 1), (0, 2**31 - 1, 2**31 - 1), (None, -(2**31) + 1, -(2**31) + 1),
]  # fmt: skip


@pytest.mark.parametrize("bounds", BOUNDS)
@pytest.mark.parametrize("axis", [1, 2, -1])
@pytest.mark.parametrize("free", [True, False])
def test_slices_are_pythons(bounds: tuple[int | None, ...], axis: int, free: bool) -> None:
    x = normal(3, 6, 5, 4)
    graph = chain(tensor_spec("x", None if free else 6, (5, 4)), cut(axis, *bounds))
    moves(graph, {"x": x})
    flat = chain(tensor_spec("x", False, (6, 5, 4)), cut(axis, *bounds))
    moves(flat, {"x": x})


@given(
    st.integers(1, 9),
    st.none() | st.integers(-12, 12),
    st.none() | st.integers(-12, 12),
    st.integers(-12, 12).filter(bool),
)
def test_slices_of_any_number_of_steps(steps: int, start: int | None, stop: int | None, step: int) -> None:
    """What the bounds take is known when the network runs; nothing is an error."""
    x = normal(2, steps, 3)
    model = Model(chain(floats(3), cut(1, start, stop, step)))
    expected = x[:, start:stop:step]
    if expected.shape[1]:
        assert same(model(x), expected.copy())
    else:
        with pytest.raises(BadInput, match=f"Slice layer 'cut' cannot run on {steps} steps of 'x'"):
            model(x)


@pytest.mark.parametrize(("start", "stop"), [(-1, None), (0, 1), (2, 3), (-2, -1)])
@pytest.mark.parametrize("steps", [3, 150])
def test_one_step(start: int, stop: int | None, steps: int) -> None:
    rng = np.random.default_rng(4)
    layers: tuple[Layer, ...] = (
        gru(rng, 5, 7, return_sequences=True, name="gru"),
        Slice(name="one", inputs=("gru",), axis=1, start=start, stop=stop, drop=True),
        dense(rng, 7, 3, name="head", source="one", function="softmax"),
        Slice(name="raw", inputs=("x",), axis=-2, start=start, stop=stop, drop=True),
    )
    graph = Graph((floats(5),), layers, ("head", "one", "raw"))
    assert Model(graph).outputs[1].axes == ("batch", "features")
    compare(graph, {"x": normal(5, steps, 5)})
    compare(dataclasses.replace(graph, outputs=("head",)), {"x": normal(5, steps, 5)})


@pytest.mark.parametrize("steps", [1, 2, 127, 128, 129, 300])
def test_the_last_step_of_however_many(steps: int) -> None:
    """It is what a GRU without return_sequences gives, and takes no more room."""
    ahead = gru(np.random.default_rng(5), 5, 16, name="gru", return_sequences=True)
    last = Slice(name="last", inputs=("gru",), axis=1, start=-1, drop=True)
    x = normal(3, steps, 5)
    model = Model(chain(floats(5), ahead, last))
    assert same(model(x), Model(chain(floats(5), dataclasses.replace(ahead, return_sequences=False)))(x))
    assert model._pool[0].nbytes < 150_000
    back = dataclasses.replace(ahead, go_backwards=True, time_order=True)
    compare(chain(floats(5), back, last), {"x": x})


def test_the_last_step_streams() -> None:
    ahead = gru(np.random.default_rng(5), 5, 7, name="gru", return_sequences=True)
    last = Slice(name="last", inputs=("gru",), axis=-2, start=-1, drop=True)
    head = dense(np.random.default_rng(6), 7, 3, name="head", source="last", function="tanh")
    graph = Graph((floats(5),), (ahead, last, head), ("head", "gru"))
    streams(graph, normal(3, 200, 5))
    model = Model(graph)
    with model.stream() as stream:
        assert (stream.get_state()["gru/h"] == 0).all()
        with pytest.raises(BadInput, match="Slice layer 'last' cannot run on 0 steps of 'gru'"):
            stream.run(np.zeros((1, 0, 5), np.float32))
        assert same(stream.run(normal(1, 4, 5)), model(normal(1, 4, 5)))
    with pytest.raises(BadInput, match="Slice layer 'last' cannot run on 0 steps of 'gru'"):
        model(np.zeros((1, 0, 5), np.float32))


@pytest.mark.parametrize("axis", [2, 3, -1])
def test_an_entry_of_an_inner_axis(axis: int) -> None:
    for start in (0, 2, -1):
        graph = chain(tensor_spec("x", None, (4, 3)), cut(axis, start, start + 1 or None, 1, drop=True))
        moves(graph, {"x": normal(4, 9, 4, 3)})
        streams(graph, normal(4, 9, 4, 3))


def test_a_step_that_is_not_there() -> None:
    model = Model(chain(floats(5), cut(1, 6, 7, 1, drop=True)))
    assert same(model(normal(2, 7, 5)), normal(2, 7, 5)[:, 6].copy())
    with pytest.raises(BadInput, match="Slice layer 'cut' cannot run on 6 steps of 'x'"):
        model(normal(2, 6, 5))
    with pytest.raises(BadInput, match="Slice layer 'cut' cannot run on 1 steps of 'x'"):
        Model(chain(floats(5), cut(1, -2, -1, 1, drop=True)))(normal(2, 1, 5))


@pytest.mark.parametrize(
    ("layer", "says"),
    [
        (cut(0, 0, 1, 1), "axis 0 is none of those behind the batch of 'x' (None, None, 5)"),
        (cut(3, 0, 1, 1), "axis 3 is none of those"),
        (dataclasses.replace(cut(1, 0, 1, 1), step=0), "the step should not be 0"),
        (cut(2, 7, None, 1), "takes nothing of the 5 entries of axis 2 of 'x'"),
        (cut(1, 0, 2, 1, drop=True), "can drop axis 1 of 'x' only where it takes one entry of it"),
        (cut(2, 0, 2, 1, drop=True), "can drop axis 2 of 'x' only where it takes one entry of it"),
        (Pad(name="cut", inputs=("x",), axis=1, before=-1), "is to add -1 and 0"),
        (Repeat(name="cut", inputs=("x",), axis=1, times=0), "should repeat at least once, not 0 times"),
        (Repeat(name="cut", inputs=("x",), axis=-3, times=2), "axis -3 is none of those behind the batch"),
    ],
)
def test_what_cannot_be_taken(layer: Layer, says: str) -> None:
    with pytest.raises(BadModelFile) as error:
        chain(floats(5), layer)
    assert f"{layer.kind} layer 'cut'" in str(error.value)
    assert says in str(error.value)


# ---- Pad and Repeat --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("before", "after", "value"), [(2, 1, 0.0), (0, 3, -1.5), (1, 0, 1e30), (0, 0, 1.0)])
@pytest.mark.parametrize("axis", [1, 2, 3, -1])
@pytest.mark.parametrize("free", [True, False])
def test_pads(before: int, after: int, value: float, axis: int, free: bool) -> None:
    layer = Pad(name="padded", inputs=("x",), axis=axis, before=before, after=after, value=value)
    graph = chain(tensor_spec("x", None if free else 150, (3, 2)), layer)
    moves(graph, {"x": normal(3, 150, 3, 2)})
    moves(chain(tensor_spec("x", False, (4, 3, 2)), layer), {"x": normal(3, 4, 3, 2)})
    if axis != 1 and free:
        streams(graph, normal(3, 150, 3, 2))


def test_pads_of_no_steps() -> None:
    model = Model(chain(floats(2), Pad(name="padded", inputs=("x",), axis=1, before=1, after=2, value=7.0)))
    assert same(model(np.zeros((3, 0, 2), np.float32)), np.full((3, 3, 2), 7.0, np.float32))


@pytest.mark.parametrize("times", [1, 2, 5])
@pytest.mark.parametrize("axis", [1, 2, 3, -2])
def test_repeats(times: int, axis: int) -> None:
    layer = Repeat(name="repeated", inputs=("x",), axis=axis, times=times)
    graph = chain(tensor_spec("x", None, (3, 2)), layer)
    moves(graph, {"x": normal(3, 150, 3, 2)})
    moves(chain(tensor_spec("x", False, (4, 3, 2)), layer), {"x": normal(3, 4, 3, 2)})
    if axis != 1:
        streams(graph, normal(3, 150, 3, 2))


def test_more_steps_than_can_be_counted() -> None:
    layers = [Repeat(name="r0", inputs=("x",), axis=1, times=2**31 - 1)]
    layers += [Repeat(name=f"r{i}", inputs=(f"r{i - 1}",), axis=1, times=2**31 - 1) for i in range(1, 4)]
    with pytest.raises(BadInput, match="Repeat layer 'r1' cannot run on 6442450941 steps of 'r0'"):
        Model(chain(floats(2), *layers))(normal(1, 3, 2))


@pytest.mark.parametrize("steps", [1, 150])
def test_a_vector_repeated(steps: int, isa: str) -> None:
    """Keras' RepeatVector between an encoder and a decoder, whose steps are their own."""
    rng = np.random.default_rng(7)
    layers: tuple[Layer, ...] = (
        gru(rng, 5, 8, name="encoder", mask="x:mask"),
        Reshape(name="step", inputs=("encoder",), target=(1, 8)),
        Repeat(name="repeated", inputs=("step",), axis=1, times=130),
        gru(rng, 8, 6, name="decoder", source="repeated", return_sequences=True),
        Pad(name="padded", inputs=("decoder",), axis=1, before=3),
        Slice(name="cut", inputs=("padded",), axis=1, start=1, stop=-1, step=2),
        gru(rng, 6, 3, name="last", source="cut"),
    )
    graph = Graph((floats(5),), layers, ("last", "decoder", "cut"))
    compare(graph, {"x": normal(9, steps, 5)})
    compare(graph, {"x": normal(9, steps, 5)}, {"x": holes(9, steps)})
    with pytest.raises(UnsupportedModel) as error:
        Model(graph).stream()
    assert "Reshape layer 'step' makes a sequence with steps of its own, so it cannot stream" in error.value.reasons


# ---- Concatenate -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("axis", [2, 3, -1, -2])
@pytest.mark.parametrize("time", [None, False])
def test_joined_along_an_axis_of_a_step(axis: int, time: bool | None) -> None:
    sizes = {"a": (2, 3, 4), "b": (2, 3, 4), "c": (2, 3, 4)}
    inner = {name: list(size) for name, size in sizes.items()}
    for name, size in (("b", 1), ("c", 5)):
        inner[name][axis - 2 + (time is False) if axis > 0 else axis] = size
    specs = tuple(tensor_spec(name, time, tuple(size)) for name, size in inner.items())
    graph = Graph(specs, (Concatenate(name="joined", inputs=("b", "a", "c", "b"), axis=axis),), ("joined",))
    lead = (3,) if time is False else (3, 140)
    moves(graph, {spec.name: normal(*lead, *spec.inner) for spec in specs})


def test_computed_values_joined_along_an_axis(isa: str) -> None:
    rng = np.random.default_rng(8)
    wide = dense(rng, 4, 4, name="wide", source="x", function="tanh")
    joined = Concatenate(name="joined", inputs=("wide", "x", "wide"), axis=2)
    turned = Transpose(name="turned", inputs=("joined",), order=(1, 3, 2))
    graph = Graph((tensor_spec("x", None, (3, 4)),), (wide, joined, turned), ("turned", "joined"))
    compare(graph, {"x": normal(3, 140, 3, 4)})
    streams(graph, normal(3, 140, 3, 4))


@pytest.mark.parametrize("inner", [(4,), (2, 2), ()])
def test_sequences_one_after_the_other(inner: tuple[int, ...]) -> None:
    """Of different numbers of steps, one of them twice, none where there are none."""
    a, b = tensor_spec("a", None, inner), tensor_spec("b", None, inner)
    graph = Graph((a, b), (Concatenate(name="joined", inputs=("a", "b", "a"), axis=1),), ("joined",))
    for one, other in ((3, 5), (150, 1), (0, 4), (0, 0), (2, 2)):
        moves(graph, {"a": normal(3, one, *inner), "b": normal(3, other, *inner, seed=2)})
    fixed = dataclasses.replace(graph, inputs=(tensor_spec("a", 3, inner), tensor_spec("b", 5, inner)))
    assert fixed.specs["joined"].shape == (None, 11, *inner)
    with pytest.raises(UnsupportedModel) as error:
        Model(graph).stream()
    needs = "appends along the time axis: it needs the whole sequence, so it cannot stream"
    assert list(error.value.reasons) == [f"Concatenate layer 'joined' {needs}"]


@pytest.mark.parametrize("steps", [(3, 5), (150, 131), (6, 6)])
def test_computed_sequences_one_after_the_other(steps: tuple[int, int], isa: str) -> None:
    rng = np.random.default_rng(9)
    layers: tuple[Layer, ...] = (
        gru(rng, 3, 7, name="one", source="a", return_sequences=True),
        dense(rng, 4, 7, name="two", source="b", function="tanh"),
        Concatenate(name="joined", inputs=("one", "two", "one"), axis=-2),
        gru(rng, 7, 5, name="all", source="joined", return_sequences=True),
        gru(rng, 7, 5, name="back", source="joined", return_sequences=True, go_backwards=True, time_order=True),
        Concatenate(name="both", inputs=("all", "back")),
        gru(rng, 4, 3, name="other", source="b"),
    )
    graph = Graph((tensor_spec("a", None, (3,)), tensor_spec("b", None, (4,))), layers, ("both", "other"))
    compare(graph, {"a": normal(9, steps[0], 3), "b": normal(9, steps[1], 4)})


# ---- several inputs --------------------------------------------------------------------------------------------------


def pair(*layers: Layer, outputs: tuple[str, ...], features: tuple[int, int] = (4, 4)) -> Graph:
    specs = (tensor_spec("a", None, features[:1]), tensor_spec("b", None, features[1:]))
    return Graph(specs, layers, outputs)


def test_inputs_of_different_numbers_of_steps(isa: str) -> None:
    """Each has steps of its own unless a layer reads them side by side."""
    rng = np.random.default_rng(10)
    encoder = gru(rng, 4, 6, name="encoder", source="a")
    decoder = gru(rng, 4, 6, name="decoder", inputs=("b", "encoder"), return_sequences=True)
    graph = pair(encoder, decoder, outputs=("decoder", "encoder"))
    model = Model(graph)
    for one, other in ((3, 5), (140, 2), (4, 4), (0, 3), (3, 0)):
        compare(graph, {"a": normal(5, one, 4), "b": normal(5, other, 4, seed=2)})
    assert same(
        model(normal(5, 3, 4), normal(5, 5, 4, seed=2)), model({"b": normal(5, 5, 4, seed=2), "a": normal(5, 3, 4)})
    )


def test_inputs_that_go_together() -> None:
    beside = pair(Concatenate(name="joined", inputs=("a", "b")), outputs=("joined",))
    with pytest.raises(BadInput, match="input 'b' has 5 steps, but 'a', which it goes with, 3"):
        Model(beside)(normal(2, 3, 4), normal(2, 5, 4))
    masks = pair(
        JoinMasks(name="mask", inputs=("a:mask", "b:mask")),
        gru(np.random.default_rng(11), 4, 3, name="gru", source="a", mask="mask"),
        outputs=("gru",),
    )
    with pytest.raises(BadInput, match="input 'b' has 5 steps, but 'a', which it goes with, 3"):
        Model(masks)(normal(2, 3, 4), normal(2, 5, 4))
    late = pair(
        Pad(name="padded", inputs=("a",), axis=1, after=2),
        Concatenate(name="joined", inputs=("padded", "b")),
        outputs=("joined",),
    )
    moves(late, {"a": normal(2, 3, 4), "b": normal(2, 5, 4)})
    with pytest.raises(BadInput, match="'joined' cannot run on 6 steps of 'padded' and 5 steps of 'b'"):
        Model(late)(normal(2, 4, 4), normal(2, 5, 4))


def test_the_same_runner_after_another_number_of_steps() -> None:
    """A refused call leaves nothing behind that the next one stumbles over."""
    model = Model(pair(Concatenate(name="joined", inputs=("a", "b"), axis=1), outputs=("joined",)))
    for one, other in ((3, 5), (5, 3), (3, 5), (8, 8), (3, 5)):
        a, b = normal(2, one, 4), normal(2, other, 4, seed=2)
        assert same(model(a, b), np.concatenate([a, b], axis=1))


# ---- masks -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [7, 150])
@pytest.mark.parametrize("given", [("a", "b"), ("a",), ("b",), ()])
def test_masks_anded(given: tuple[str, ...], steps: int, isa: str) -> None:
    rng = np.random.default_rng(12)
    layers: tuple[Layer, ...] = (
        Concatenate(name="joined", inputs=("a", "b")),
        JoinMasks(name="mask", inputs=("a:mask", "b:mask")),
        gru(rng, 8, 6, name="gru", source="joined", mask="mask", return_sequences=True),
        gru(rng, 6, 5, name="back", source="gru", mask="mask", go_backwards=True),
    )
    masks = {name: holes(5, steps, seed=ord(name)) for name in given}
    graph = pair(*layers, outputs=("gru", "back", "mask"))
    inputs = {"a": normal(5, steps, 4), "b": normal(5, steps, 4, seed=2)}
    compare(graph, inputs, masks)
    compare(dataclasses.replace(graph, outputs=("back",)), inputs, masks)


def test_masks_that_layers_make(isa: str) -> None:
    rng = np.random.default_rng(13)
    ids, x = tensor_spec("x", None, (), "int32"), tensor_spec("b", None, (4,))
    layers: tuple[Layer, ...] = (
        embedding(rng, 5, 4, mask_zero=True),
        Masking(name="masking", inputs=("b",), mask="b:mask"),
        JoinMasks(name="mask", inputs=("embedding:mask", "masking:mask", "b:mask")),
        Concatenate(name="joined", inputs=("embedding", "masking")),
        gru(rng, 8, 6, name="gru", source="joined", mask="mask", return_sequences=True),
    )
    b = normal(5, 140, 4)
    b[holes(5, 140, seed=3)] = 0
    inputs = {"x": rng.integers(0, 5, (5, 140)), "b": b}
    compare(Graph((ids, x), layers, ("gru", "mask")), inputs)
    compare(Graph((ids, x), layers, ("gru",)), inputs, {"b": holes(5, 140)})


@pytest.mark.parametrize("given", [("a", "b"), ("a",), ("b",), ()])
@pytest.mark.parametrize("steps", [(3, 5), (150, 131)])
def test_masks_one_after_the_other(given: tuple[str, ...], steps: tuple[int, int], isa: str) -> None:
    rng = np.random.default_rng(14)
    layers: tuple[Layer, ...] = (
        Concatenate(name="joined", inputs=("a", "b", "a"), axis=1),
        JoinMasks(name="mask", inputs=("a:mask", "b:mask", "a:mask"), over_time=True),
        gru(rng, 4, 6, name="gru", source="joined", mask="mask", return_sequences=True),
    )
    sizes = dict(zip("ab", steps, strict=True))
    inputs = {name: normal(5, size, 4, seed=size) for name, size in sizes.items()}
    masks = {name: holes(5, sizes[name], seed=ord(name)) for name in given}
    compare(pair(*layers, outputs=("gru", "mask")), inputs, masks)
    compare(pair(*layers, outputs=("gru",)), inputs, masks)


def test_a_mask_of_other_steps_than_its_sequence() -> None:
    layers = (
        JoinMasks(name="mask", inputs=("a:mask", "b:mask"), over_time=True),
        gru(np.random.default_rng(15), 4, 3, name="gru", source="a", mask="mask"),
    )
    with pytest.raises(BadInput, match="GRU layer 'gru' cannot run on 3 steps of 'a' and 8 steps of 'mask'"):
        Model(pair(*layers, outputs=("gru",)))(normal(2, 3, 4), normal(2, 5, 4))


def test_an_absent_mask_of_masks_costs_nothing() -> None:
    """Without masks it is as if there were no JoinMasks: no place in the workspace."""
    joined = JoinMasks(name="mask", inputs=("x:mask", "x:mask"))
    bare, masked = (
        Model(chain(floats(4), *layers, gru(np.random.default_rng(16), 4, 3, mask=mask)))
        for layers, mask in (((), "x:mask"), ((joined,), "mask"))
    )
    x = normal(2, 100, 4)
    assert same(bare(x), masked(x))
    assert bare._pool[0].nbytes == masked._pool[0].nbytes
    assert same(bare(x, mask=holes(2, 100)), masked(x, mask=holes(2, 100)))


def test_a_joined_mask_streams() -> None:
    layers = (
        JoinMasks(name="mask", inputs=("masking:mask", "x:mask")),
        gru(np.random.default_rng(17), 4, 3, source="masking", mask="mask", return_sequences=True),
    )
    graph = chain(floats(4), Masking(name="masking", inputs=("x",), mask="x:mask"), *layers)
    x = normal(3, 20, 4)
    x[holes(3, 20)] = 0
    streams(graph, x)
    with Model(graph).stream(batch_size=3) as stream:
        assert same(stream.run(x, lengths={"x": [3, 20, 7]}), Model(graph)(x, lengths=[3, 20, 7]))
        with pytest.raises(BadInput, match=r"should name inputs with a time axis \('x'\); got 'y'"):
            stream.run(x, lengths={"y": [3, 20, 7]})


def test_joins_of_what_is_no_mask() -> None:
    for layer, says in (
        (JoinMasks(name="mask", inputs=("x:mask", "x")), "joins masks, but 'x' is float32"),
        (JoinMasks(name="mask", inputs=("x:mask", "y:mask")), "joins sequences of 3 and 4 steps"),
    ):
        with pytest.raises(BadModelFile, match=says):
            Graph((floats(5, 3), tensor_spec("y", 4, (5,))), (layer,), ("mask",))


# ---- lengths and masks by input ------------------------------------------------------------------------------------


def two_towers() -> Graph:
    rng = np.random.default_rng(18)
    layers = (
        gru(rng, 4, 3, name="one", source="a", mask="a:mask"),
        gru(rng, 4, 3, name="two", source="b", mask="b:mask"),
        Concatenate(name="joined", inputs=("one", "two")),
    )
    return pair(*layers, outputs=("joined",))


def test_lengths_and_masks_by_input() -> None:
    model = Model(two_towers())
    inputs = {"a": normal(3, 6, 4), "b": normal(3, 9, 4, seed=2)}
    lengths = {"a": [6, 2, 0], "b": [1, 9, 4]}
    masks = {name: np.arange(inputs[name].shape[1]) < np.array(lengths[name])[:, None] for name in inputs}
    for names in ((), ("a",), ("b",), ("a", "b")):
        chosen = {name: masks[name] for name in names}
        expected = model(inputs, mask=chosen)
        check(expected, oracle.run(two_towers(), inputs, chosen)[0], "oracle")
        assert same(model(inputs, lengths={name: lengths[name] for name in names}), expected)
        assert same(model.predict(inputs, batch_size=2, lengths={name: lengths[name] for name in names}), expected)
        assert same(model.predict(inputs, batch_size=2, mask=chosen), expected)
    crossed = model(inputs, lengths={"a": lengths["a"]}, mask={"b": masks["b"]})
    assert same(crossed, model(inputs, mask=masks))
    assert same(model(inputs, lengths=[1, 2, 3]), model(inputs, lengths={"a": [1, 2, 3], "b": [1, 2, 3]}))


def test_inputs_of_different_numbers_of_steps_stream() -> None:
    """Chunks of as many steps as there happen to be of each."""
    model, lengths = Model(two_towers()), {"a": [2, 1, 0], "b": [7, 0, 3]}
    a, b = normal(3, 6, 4), normal(3, 9, 4, seed=2)
    with model.stream(batch_size=3) as stream:
        stream.run({"a": a[:, :2], "b": b[:, :7]})
        assert same(stream.run({"a": a[:, 2:], "b": b[:, 7:]}), model(a, b))
        stream.reset()
        assert same(stream.run((a[:, :2], b[:, :7]), lengths=lengths), model(a[:, :2], b[:, :7], lengths=lengths))
        stream.reset()
        assert same(stream.step((a[:, 0], b[:, 0])), model(a[:, :1], b[:, :1]))
    rng = np.random.default_rng(20)
    after = gru(rng, 4, 3, name="after", inputs=("b", "one"))
    says = "'after' starts from 'one', which stands only after another layer's last step"
    with pytest.raises(UnsupportedModel, match=says):
        Model(pair(gru(rng, 4, 3, name="one", source="a"), after, outputs=("after",))).stream()


def test_lengths_and_masks_of_no_input() -> None:
    model, inputs = Model(two_towers()), {"a": normal(3, 6, 4), "b": normal(3, 9, 4)}
    names = r"should name inputs with a time axis \('a', 'b'\)"
    with pytest.raises(BadInput, match=rf"lengths as a dict {names}; got 'c'"):
        model(inputs, lengths={"a": [1, 1, 1], "c": [1, 1, 1]})
    with pytest.raises(BadInput, match=rf"mask as a dict {names}; got 'a:mask'"):
        model(inputs, mask={"a:mask": holes(3, 6)})
    with pytest.raises(BadInput, match=r"lengths\[1\] is 7, but input 'a' has 6 steps"):
        model(inputs, lengths=[1, 7, 3])
    with pytest.raises(
        BadInput, match=r"mask of input 'b' should be bool of shape \(batch, time\) = \(3, 9\); got .*\(3, 6\)"
    ):
        model(inputs, mask={"b": holes(3, 6)})
    with pytest.raises(BadInput, match=r"lengths\['b'\] should have 3 rows, has shape \(2,\)"):
        model.predict(inputs, lengths={"b": [1, 2]})


def test_masks_that_reach_some_inputs_only() -> None:
    """A mask is refused where it ends; other inputs take theirs."""
    rng = np.random.default_rng(19)
    layers = (
        dataclasses.replace(dense(rng, 4, 4, name="drop", source="a", function="tanh"), drops_mask=True),
        gru(rng, 4, 3, name="one", source="drop"),
        gru(rng, 4, 3, name="two", inputs=("b", "one"), mask="b:mask"),
    )
    model = Model(pair(*layers, outputs=("two",)))
    a, b = normal(3, 6, 4), normal(3, 9, 4)
    kept = np.arange(9) < np.array([[9], [2], [0]])
    expected = oracle.run(model.graph, {"a": a, "b": b}, {"b": kept})
    check(model(a, b, lengths={"b": [9, 2, 0]}), expected[0], "oracle")
    for lengths in ({"a": [1, 2, 3]}, [1, 2, 3]):
        with pytest.raises(BadInput) as error:
            model(a, b, lengths=lengths)
        assert str(error.value) == "lengths and mask of 'a' would be without effect: Dense layer 'drop' drops the mask"


# ---- streams ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "layer", "does"),
    [
        (floats(4, 5), Transpose(name="l", inputs=("x",), order=(2, 1)), "moves the time axis"),
        (floats(4), Slice(name="l", inputs=("x",), axis=1, start=1), "takes some of the steps"),
        (floats(4), Slice(name="l", inputs=("x",), axis=1, stop=1, drop=True), "takes some of the steps"),
        (floats(4), Pad(name="l", inputs=("x",), axis=-2, before=1), "pads the time axis"),
        (floats(4), Repeat(name="l", inputs=("x",), axis=1, times=2), "repeats steps"),
        (floats(4), Concatenate(name="l", inputs=("x", "x"), axis=1), "appends along the time axis"),
        (floats(4), JoinMasks(name="l", inputs=("x:mask", "x:mask"), over_time=True), "appends along the time axis"),
    ],
)
def test_what_cannot_stream(spec: TensorSpec, layer: Layer, does: str) -> None:
    with pytest.raises(UnsupportedModel) as error:
        Model(chain(spec, layer)).stream()
    assert list(error.value.reasons) == [
        f"{layer.kind} layer 'l' {does}: it needs the whole sequence, so it cannot stream"
    ]


# ---- threads ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [1, 2, 17])
def test_threads(batch: int) -> None:
    """Long enough that two threads do share it, as a team or row by row."""
    rng = np.random.default_rng(21)
    layers: tuple[Layer, ...] = (
        gru(rng, 6, 256, name="gru", return_sequences=True),
        Reshape(name="square", inputs=("gru",), target=(16, 16), per_step=True),
        Transpose(name="turned", inputs=("square",), order=(1, 3, 2)),
        Concatenate(name="beside", inputs=("turned", "square"), axis=2),
        Slice(name="cut", inputs=("beside",), axis=-1, start=-2, stop=1, step=-3),
        Repeat(name="repeated", inputs=("cut",), axis=2, times=2),
        Pad(name="padded", inputs=("repeated",), axis=1, before=5),
        Concatenate(name="after", inputs=("padded", "repeated"), axis=1),
        Slice(name="steps", inputs=("after",), axis=1, start=3, stop=-7, step=2),
        Slice(name="last", inputs=("steps",), axis=1, start=-1, drop=True),
        Transpose(name="moved", inputs=("steps",), order=(3, 1, 2)),
    )
    outputs = ("turned", "beside", "cut", "repeated", "padded", "after", "steps", "last", "moved")
    model = Model(Graph((floats(6, 600),), layers, outputs))
    x = normal(batch, 600, 6)
    assert same(model(x, threads=2), model(x, threads=1))
    assert same(model(x, threads=2)[-1][-1:].copy(), model(x[-1:], threads=2)[-1])


# ---- all together ----------------------------------------------------------------------------------------------------


@st.composite
def shapers(draw: st.DrawFn) -> tuple[Graph, np.ndarray]:
    """A chain of layers that move values, with GRUs and products among them."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = (draw(st.sampled_from([1, 2, 5, 130])), *draw(st.sampled_from([(3,), (2, 3), (3, 2, 2)])))
    x = rng.standard_normal((draw(st.integers(1, 5)), *shape), np.float32)
    spec = tensor_spec("x", shape[0], shape[1:])
    layers: list[Layer] = []
    for number in range(draw(st.integers(1, 6))):
        source = layers[-1].name if layers else "x"
        value = Graph((spec,), tuple(layers), (source,)).specs[source]
        rank = len(value.shape)
        common: dict[str, Any] = {"name": f"l{number}", "inputs": (source,)}
        axis = draw(st.integers(1, rank - 1))
        sizes: tuple[int, ...] = value.shape[1:]  # type: ignore[assignment]
        match draw(st.sampled_from(["transpose", "slice", "drop", "pad", "repeat", "join", "gru", "dense"])):
            case "transpose":
                layers.append(Transpose(order=tuple(draw(st.permutations(range(1, rank)))), **common))
            case "slice":
                bounds = {
                    key: draw(st.none() | st.integers(-sizes[axis - 1], sizes[axis - 1])) for key in ("start", "stop")
                }
                layer = Slice(axis=axis, step=draw(st.sampled_from([1, -1, 2, -3])), **bounds, **common)
                layers += [layer] if layer.count(sizes[axis - 1]) else []
            case "drop" if rank > 2:
                at = draw(st.integers(-sizes[axis - 1], sizes[axis - 1] - 1))
                layers.append(Slice(axis=axis, start=at, stop=at + 1 or None, drop=True, **common))
            case "pad":
                layers.append(Pad(axis=axis, before=draw(st.integers(0, 3)), after=draw(st.integers(0, 3)), **common))
            case "repeat" if np.prod(sizes) < 2000:
                layers.append(Repeat(axis=axis, times=draw(st.integers(1, 3)), **common))
            case "join" if np.prod(sizes) < 2000:
                layers.append(Concatenate(axis=axis, **common | {"inputs": (source, source)}))
            case "gru" if value.is_sequence and len(value.inner) == 1:
                layers.append(gru(rng, value.inner[0], 3, name=f"l{number}", source=source, return_sequences=True))
            case "dense" if value.inner:
                layers.append(dense(rng, value.inner[-1], 2, name=f"l{number}", source=source, function="tanh"))
    if not layers:
        layers.append(Transpose(name="l", inputs=("x",), order=tuple(range(1, len(shape) + 1))))
    return Graph((spec,), tuple(layers), tuple(layer.name for layer in layers)), x


@given(shapers())
def test_chains_at_random(network: tuple[Graph, np.ndarray]) -> None:
    """Against the oracle; and to the bit what comes where only the last value is an output, of two threads."""
    graph, x = network
    compare(graph, {"x": x})
    last = dataclasses.replace(graph, outputs=graph.outputs[-1:])
    assert same(Model(last, threads=2)(x), results(Model(graph)(x))[-1])
    freed = fastgru.passes.apply(last)
    assert same(Model(freed)(x), Model(last)(x))
