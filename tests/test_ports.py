"""Ports: inputs and outputs in the layout of the source, their files, and Streams that carry states."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastgru
import oracle
from building import bidirectional, chain, dense, embedding, floats, gru, tokens, uniform
from fastgru import BadInput, BadModelFile, Model, file, passes
from fastgru.graph import (
    ArgMax,
    Combine,
    Concatenate,
    Graph,
    Identity,
    Reshape,
    tensor_spec,
)
from fastgru.ports import Port
from tolerances import check

pytestmark = pytest.mark.dtypes

TIME, BATCH, FEATURES, UNITS = 7, 3, 4, 5
TIME_MAJOR_X = Port("X:0", (FEATURES,), ((1,), (0,), (2,)))
ONNX_Y = Port("Y/out", (UNITS,), ((1,), (), (0,), (2,)))
ONNX_H = Port("Y_h", (1, UNITS), ((1,), (0,), (2,)))
H_IN = Port("initial_h", (1, UNITS), ((1,), (0,), (2,)))


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def onnx_like(**fields: Any) -> Graph:
    """A GRU node as ONNX lays it out: X (time, batch, features), initial_h and Y_h (1, batch, units), Y (time, 1,
    batch, units)."""
    inputs = (floats(FEATURES), tensor_spec("h0", False, (UNITS,)))
    layer = gru(rng(), FEATURES, UNITS, inputs=("x", "h0"), return_sequences=True, mask="x:mask")
    defaults = {"input_ports": (TIME_MAJOR_X, H_IN), "output_ports": (ONNX_Y, ONNX_H)}
    return Graph(inputs, (layer,), ("gru", "gru:state"), **(defaults | fields))


def onnx_inputs(seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    return uniform(rng(seed), TIME, BATCH, FEATURES), uniform(rng(seed + 1), 1, BATCH, UNITS)


def both_ways() -> Graph:
    """A bidirectional layer's Y (time, 2, batch, units) and Y_h (2, batch, units)."""
    ahead, back, both = bidirectional(rng(), FEATURES, UNITS)
    states = Concatenate(name="states", inputs=(f"{ahead.name}:state", f"{back.name}:state"))
    ports = (Port("Y", (2, UNITS), ((1,), (2,), (0,), (3,))), Port("Y_h", (2, UNITS), ((1,), (0,), (2,))))
    layers = (ahead, back, both, states)
    return Graph((floats(FEATURES),), layers, ("both", "states"), input_ports=(TIME_MAJOR_X,), output_ports=ports)


def bare(graph: Graph) -> Graph:
    return replace(graph, input_ports=(), output_ports=(), states=())


# ---- what callers see


def test_specs_in_the_callers_layout() -> None:
    model = Model(both_ways())
    assert [(s.name, s.shape, s.axes) for s in (*model.inputs, *model.outputs)] == [
        ("X:0", (None, None, 4), ("time", "batch", "features")),
        ("Y", (None, 2, None, 5), ("time", "axis1", "batch", "features")),
        ("Y_h", (2, None, 5), ("axis0", "batch", "features")),
    ]


def test_merged_axes_have_the_product_of_their_sizes() -> None:
    value = tensor_spec("v", None, (6,))
    spec = Port("m", (2, 3), ((0, 1), (2, 3))).spec(value)
    assert (spec.shape, spec.axes) == ((None, 6), ("axis0", "axis1"))
    assert Port("m", (2, 3), ((1,), (0, 2), (3,))).spec(value).shape == (None, None, 3)
    assert Port("m", (6,), ((1,), (2,))).spec(value).axes == ("time", "features"), "the batch is 1"


def test_summary_names_ports_and_states() -> None:
    text = Model(onnx_like(states=(("initial_h", "Y_h"),))).summary()
    for part in ("X:0", "(None, None, 4)", "Y/out", "(None, 1, None, 5)", "'initial_h' takes what output 'Y_h' gave"):
        assert part in text


# ---- calls


def test_an_onnx_layout_against_the_oracle() -> None:
    graph = onnx_like()
    x, h0 = onnx_inputs()
    y, y_h = Model(graph)(x, h0)
    assert y.shape == (TIME, 1, BATCH, UNITS)
    assert y_h.shape == (1, BATCH, UNITS)
    assert y.flags.c_contiguous
    assert y_h.flags.c_contiguous
    whole, state = oracle.run(graph, {"x": x.transpose(1, 0, 2), "h0": h0[0]})
    check(y[:, 0].transpose(1, 0, 2), whole, "oracle")
    check(y_h[0], state, "oracle")
    plain, plain_state = Model(bare(graph))(x.transpose(1, 0, 2), h0[0])
    assert (y[:, 0].transpose(1, 0, 2) == plain).all()
    assert (y_h[0] == plain_state).all()


def test_two_directions_are_laid_out_between_time_and_batch() -> None:
    graph = both_ways()
    x, _ = onnx_inputs()
    y, y_h = Model(graph)(x)
    whole, states = oracle.run(graph, {"x": x.transpose(1, 0, 2)})
    assert y.shape == (TIME, 2, BATCH, UNITS)
    assert y.flags.c_contiguous
    check(y, whole.reshape(BATCH, TIME, 2, UNITS).transpose(1, 2, 0, 3), "oracle")
    check(y_h, states.reshape(BATCH, 2, UNITS).transpose(1, 0, 2), "oracle")


LAYOUTS = [
    ((0,), (1,), (2,), (3,)),
    ((0,), (1,), (2, 3)),
    ((1,), (0,), (3,), (2,)),
    ((2,), (), (1,), (0,), (3,)),
    ((3,), (2,), (1,), (0,), ()),
    ((0,), (3, 2), (1,)),
    ((), (0,), (1,), (2, 3)),
]


@pytest.mark.parametrize("axes", LAYOUTS)
@pytest.mark.parametrize("batch", [0, 1, 3])
@pytest.mark.parametrize("steps", [0, 1, 4])
def test_any_layout_of_inputs_and_outputs(axes: tuple[tuple[int, ...], ...], batch: int, steps: int) -> None:
    head = dense(rng(), 6, 6, name="d", source="x", function="tanh")
    graph = chain(floats(6), head)
    port = Port("p", (2, 3), axes)
    model = Model(replace(graph, input_ports=(replace(port, name="in"),), output_ports=(port,)))
    value = uniform(rng(1), batch, steps, 6)
    order = [axis for group in axes for axis in group]
    full = value.reshape(batch, steps, 2, 3)
    shape = [int(np.prod([full.shape[axis] for axis in group])) for group in axes]
    x = np.ascontiguousarray(full.transpose(order).reshape(shape))
    expected = Model(graph)(value).reshape(full.shape).transpose(order).reshape(shape)
    y = model(x)
    assert y.shape == expected.shape
    assert y.flags.c_contiguous
    assert (y == expected).all()
    out = np.full(shape, np.nan, np.float32)
    assert model(x, out=out) is out
    assert (out == expected).all()


@pytest.mark.parametrize("axes", [((0, 1), (2,), (3,)), ((1, 0), (2, 3)), ((1,), (2, 0), (3,)), ((2, 1), (3, 0))])
def test_merged_outputs(axes: tuple[tuple[int, ...], ...]) -> None:
    graph = chain(floats(6), dense(rng(), 6, 6, name="d", source="x", function="tanh"))
    model = Model(replace(graph, output_ports=(Port("p", (2, 3), axes),)))
    x = uniform(rng(1), BATCH, TIME, 6)
    full = Model(graph)(x).reshape(BATCH, TIME, 2, 3)
    order = [axis for group in axes for axis in group]
    shape = [int(np.prod([full.shape[axis] for axis in group])) for group in axes]
    assert (model(x) == full.transpose(order).reshape(shape)).all()


def test_without_a_batch_axis_the_batch_is_one() -> None:
    graph = chain(floats(FEATURES), gru(rng(), FEATURES, UNITS, return_sequences=True))
    ports = {"input_ports": (Port("X", (4,), ((1,), (2,))),), "output_ports": (Port("Y", (5,), ((1,), (2,))),)}
    x = uniform(rng(1), TIME, FEATURES)
    assert (Model(replace(graph, **ports))(x) == Model(graph)(x[None])[0]).all()
    only_out = Model(replace(graph, output_ports=ports["output_ports"]))
    with pytest.raises(BadInput, match="output 'Y' has no batch axis, so a batch has one row; got 2"):
        only_out(np.zeros((2, TIME, FEATURES), np.float32))


# ---- in place


class Recorder:
    """Stands in for a Runner in calls that are not for the fast path: keeps the arrays that the core would get."""

    def __init__(self, model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
        self.arrays: list[np.ndarray] = []
        self.outputs: list[np.ndarray] = []
        layout, recorder = model._layout, self
        assert layout is not None
        run = layout.run

        class Runner:
            def __init__(self, runner: Any) -> None:
                self.runner = runner

            def _run(self, arrays: Any, *args: Any) -> Any:
                recorder.arrays = list(arrays)
                results = self.runner._run(arrays, *args)
                recorder.outputs = list(results)
                return results

        monkeypatch.setattr(layout, "run", lambda runner, *args: run(Runner(runner), *args))


def test_time_major_input_is_read_and_output_written_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Model(onnx_like())
    record = Recorder(model, monkeypatch)
    x, h0 = onnx_inputs()
    fast = model(x, h0)
    assert record.arrays == []
    y, y_h = model(x, h0, lengths=[TIME] * BATCH)
    assert np.shares_memory(record.arrays[0], x)
    assert np.shares_memory(record.arrays[1], h0)
    assert record.arrays[0].shape == (BATCH, TIME, FEATURES)
    assert record.arrays[0].strides == (4 * FEATURES, 4 * FEATURES * BATCH, 4)
    assert np.shares_memory(record.outputs[0], y)
    assert np.shares_memory(record.outputs[1], y_h)
    out = (np.empty_like(y), np.empty_like(y_h))
    given = model(x, h0, out=out)
    assert given[0] is out[0]
    assert given[1] is out[1]
    assert (out[0] == y).all()
    assert (out[1] == y_h).all()
    assert (fast[0] == y).all()
    assert (fast[1] == y_h).all()
    assert np.shares_memory(record.outputs[0], out[0])


def test_ports_that_only_rename_take_the_fast_path() -> None:
    graph = chain(tokens(), embedding(rng(), 9, FEATURES), gru(rng(), FEATURES, UNITS, source="embedding"))
    ports = {
        "input_ports": (Port("ids:0", (), ((0,), (1,)), "int64"),),
        "output_ports": (Port("y/1", (5,), ((0,), (1,))),),
    }
    model = Model(replace(graph, **ports))
    assert model._layout is None
    assert [(spec.name, spec.dtype) for spec in (*model.inputs, *model.outputs)] == [
        ("ids:0", "int64"),
        ("y/1", "float32"),
    ]
    ids = rng().integers(0, 9, (BATCH, TIME))
    assert (model({"ids:0": ids}) == Model(graph)(ids)).all()
    with pytest.raises(BadInput, match=r"input 'ids:0' takes int32 of shape \(batch, time\)"):
        model(ids[0])


def test_no_other_copy_is_made_of_a_strided_input(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slice of a larger time-major array, with gaps between its rows."""
    model = Model(onnx_like())
    record = Recorder(model, monkeypatch)
    large = uniform(rng(3), 2 * TIME, BATCH + 2, FEATURES)
    x, (_, h0) = large[::2, 1:-1], onnx_inputs()
    y, _ = model(x, h0)
    assert np.shares_memory(record.arrays[0], large)
    assert (y == model(np.ascontiguousarray(x), h0)[0]).all()


def test_large_time_major_runs_have_the_same_bits_on_threads() -> None:
    layers = (
        gru(rng(), 64, 96, return_sequences=True, name="a"),
        gru(rng(1), 96, 96, source="a", name="b", return_sequences=True),
    )
    graph = chain(floats(64), *layers)
    ports = {
        "input_ports": (Port("X", (64,), ((1,), (0,), (2,))),),
        "output_ports": (Port("Y", (96,), ((1,), (0,), (2,))),),
    }
    x = uniform(rng(1), 300, 4, 64)
    y = Model(replace(graph, **ports))(x, threads=2)
    assert (y.transpose(1, 0, 2) == Model(graph)(x.transpose(1, 0, 2), threads=1)).all()


# ---- lengths, masks, names


def test_lengths_and_masks_are_batch_first_and_go_by_port_names() -> None:
    graph = onnx_like()
    model, plain = Model(graph), Model(bare(graph))
    x, h0 = onnx_inputs()
    lengths = [TIME, 2, 0]
    mask = rng().random((BATCH, TIME)) < 0.6
    x_plain = x.transpose(1, 0, 2)
    for given, same in (
        ({"lengths": lengths}, {"lengths": lengths}),
        ({"lengths": {"X:0": lengths}}, {"lengths": lengths}),
        ({"mask": {"X:0": mask}}, {"mask": mask}),
        ({"mask": mask, "lengths": lengths}, {"mask": mask, "lengths": lengths}),
    ):
        y, y_h = model(x, h0, **given)
        want, want_h = plain(x_plain, h0[0], **same)
        assert (y[:, 0].transpose(1, 0, 2) == want).all()
        assert (y_h[0] == want_h).all()
    with pytest.raises(BadInput, match=r"should name inputs with a time axis .'X:0'.; got 'x'"):
        model(x, h0, lengths={"x": lengths})
    with pytest.raises(BadInput, match=r"lengths\[0\] is 9, but input 'X:0' has 7 steps"):
        model(x, h0, lengths=[9, 1, 1])


def test_a_dropped_mask_is_told_by_the_ports_name() -> None:
    layers = (
        Reshape(name="r", inputs=("x",), target=(FEATURES,), per_step=True, drops_mask=True),
        gru(rng(), 4, 5, source="r"),
    )
    model = Model(replace(chain(floats(4), *layers), input_ports=(TIME_MAJOR_X,)))
    with pytest.raises(BadInput, match="of 'X:0' would be without effect: Reshape layer 'r' drops the mask"):
        model(np.zeros((2, 3, 4), np.float32), lengths=[1, 2, 2])


def test_inputs_by_name() -> None:
    model = Model(onnx_like())
    x, h0 = onnx_inputs()
    assert (model({"initial_h": h0, "X:0": x})[0] == model(x, h0)[0]).all()
    with pytest.raises(BadInput, match="expected inputs named 'X:0', 'initial_h'; got 'x', 'h0'"):
        model({"x": x, "h0": h0})


# ---- wrong uses


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (
            np.zeros((TIME, FEATURES), "f4"),
            r"input 'X:0' takes float32 of shape \(time, batch, features\) = \(any, any, 4\); got shape \(7, 4\)$",
        ),
        (np.zeros((TIME, 3, 5), "f4"), r"input 'X:0' .* got shape \(7, 3, 5\): features should be 4, not 5"),
        ([np.zeros((3, 4)), np.zeros((2, 4))], "input 'X:0' .* got a list of 2 arrays"),
        ("text", "input 'X:0' .* got str"),
        (np.zeros((TIME, 3, 4), "c8"), "input 'X:0' .* got dtype complex64"),
        (np.zeros((TIME, 2, 4), "f4"), "input 'initial_h' has 3 rows, the inputs before it 2"),
    ],
)  # fmt: skip
def test_a_wrong_input_names_the_port(x: Any, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        Model(onnx_like())(x, np.zeros((1, 3, UNITS), np.float32))


def test_a_wrong_unit_axis() -> None:
    with pytest.raises(
        BadInput,
        match=r"'initial_h' takes float32 of shape \(axis0, batch, features\) = \(1, any, 5\).*axis0 should be 1",
    ):
        Model(onnx_like())(np.zeros((TIME, 3, 4), "f4"), np.zeros((3, 1, UNITS), "f4"))


def test_wrong_outputs() -> None:
    model = Model(onnx_like())
    x, h0 = onnx_inputs()
    y, y_h = model(x, h0)
    with pytest.raises(
        BadInput,
        match=r"out= for 'Y/out' should be a writable float32 array of shape \(7, 1, 3, 5\); got .* \(7, 3, 5\)",
    ):
        model(x, h0, out=(np.empty((7, 3, 5), "f4"), y_h))
    with pytest.raises(BadInput, match="out= should hold 2 arrays, holds 1"):
        model(x, h0, out=y)
    with pytest.raises(BadInput, match="out= for 'Y_h' overlaps another array of this call"):
        model(x, h0, out=(y, h0))
    with pytest.raises(BadInput, match="plain C-contiguous"):
        model(x, h0, out=(np.empty((7, 1, 5, 3), "f4").transpose(0, 1, 3, 2), y_h))


def test_inputs_that_go_side_by_side_are_told_by_their_ports() -> None:
    specs = tensor_spec("a", None, (4,)), tensor_spec("b", None, (4,))
    graph = Graph(specs, (Combine(name="sum", inputs=("a", "b"), operation="add"),), ("sum",))
    model = Model(
        replace(graph, input_ports=(Port("A", (4,), ((1,), (0,), (2,))), Port("B", (4,), ((1,), (0,), (2,)))))
    )
    with pytest.raises(BadInput, match="input 'B' has 3 steps, but 'A', which it goes with, 5"):
        model(np.zeros((5, 2, 4), "f4"), np.zeros((3, 2, 4), "f4"))


# ---- dtypes


def test_token_ids_of_int64_and_other_dtypes() -> None:
    graph = chain(tokens(), embedding(rng(), 9, FEATURES), gru(rng(), FEATURES, UNITS, source="embedding"))
    ports = {
        "input_ports": (Port("ids", (), ((1,), (0,)), "int64"),),
        "output_ports": (Port("y", (5,), ((0,), (1,)), "float64"),),
    }
    model = Model(replace(graph, **ports))
    assert model.inputs[0].dtype == "int64"
    assert model.outputs[0].dtype == "float64"
    ids = rng().integers(0, 9, (TIME, BATCH))
    y = model(ids)
    assert y.dtype == np.float64
    assert (y == Model(graph)(ids.T)).all()
    out = np.empty((BATCH, UNITS))
    assert model(ids, out=out) is out
    assert (out == y).all()
    with pytest.raises(BadInput, match="input 'ids': token id 9 "):
        model(ids + 9 - ids)
    with pytest.raises(BadInput, match="should be a writable float64 array"):
        model(ids, out=np.empty((BATCH, UNITS), np.float32))


def test_class_numbers_of_int64() -> None:
    """The core's int32, time-major and widened."""
    best = ArgMax(name="best", inputs=("gru",))
    graph = chain(floats(FEATURES), gru(rng(), FEATURES, UNITS, return_sequences=True), best)
    port = Port("best:0", (), ((1,), (), (0,)), "int64")
    model, x = Model(replace(graph, output_ports=(port,))), uniform(rng(1), BATCH, TIME, FEATURES)
    y = model(x)
    assert y.dtype == np.int64
    assert y.shape == (TIME, 1, BATCH)
    assert model.outputs[0].dtype == "int64"
    plain = Model(graph)(x)
    assert plain.dtype == np.int32
    assert (plain == y[:, 0].T).all()
    assert (plain == oracle.run(graph, {"x": x})[0]).all()
    assert (model.predict(x, batch_size=2) == y).all()
    in_place = Model(replace(graph, output_ports=(replace(port, dtype=None),)))
    assert (in_place(x) == y).all()
    assert in_place(x).dtype == np.int32
    with model.stream(batch_size=BATCH) as stream:
        assert (stream.run(x) == plain).all(), "a Stream gives the core's own values, batch first"


# ---- predict


def test_predict_goes_along_the_batch_axis_wherever_it_stands() -> None:
    model = Model(onnx_like())
    x, h0 = uniform(rng(1), TIME, 10, FEATURES), uniform(rng(2), 1, 10, UNITS)
    whole = model(x, h0, lengths=np.arange(10) % 8)
    parts = model.predict((x, h0), batch_size=3, lengths=np.arange(10) % 8)
    assert all((one == other).all() for one, other in zip(parts, whole, strict=True))
    shapes = [y.shape for y, _ in model.predict_iter({"initial_h": h0, "X:0": x}, batch_size=4)]
    assert shapes == [(TIME, 1, 4, UNITS), (TIME, 1, 4, UNITS), (TIME, 1, 2, UNITS)]
    batches = ((x[:, i : i + 5], h0[:, i : i + 5]) for i in (0, 5))
    assert (model.predict(batches)[0] == model(x, h0)[0]).all()
    with pytest.raises(BadInput, match=r"expected 2 inputs of one number of rows, got rows \[10, 9\]"):
        model.predict((x, h0[:, 1:]))


def test_predict_with_inputs_and_outputs_without_a_batch_axis() -> None:
    ports = {"input_ports": (Port("X", (4,), ((1,), (2,))),), "output_ports": (Port("Y", (5,), ((1,),)),)}
    graph = chain(floats(FEATURES), gru(rng(), FEATURES, UNITS))
    x = uniform(rng(1), TIME, FEATURES)
    model = Model(replace(graph, **ports))
    assert (model.predict(x, batch_size=1) == model(x)).all()
    assert model(x).shape == (5,)
    with pytest.raises(BadInput, match="output 'Y' has no axis along which rows follow each other"):
        model.predict([x, x])


def test_predict_joins_merged_rows() -> None:
    graph = chain(floats(6), dense(rng(), 6, 6, name="d", source="x", function="tanh"))
    model = Model(replace(graph, output_ports=(Port("p", (6,), ((0, 1), (2,))),)))
    x = uniform(rng(1), 5, TIME, 6)
    assert (model.predict(x, batch_size=2) == model(x)).all()
    model = Model(replace(graph, output_ports=(Port("p", (6,), ((1, 0), (2,))),)))
    with pytest.raises(BadInput, match="'p' has no axis along which rows follow"):
        model.predict(x, batch_size=2)
    assert (model.predict(x, batch_size=5) == model(x)).all()


# ---- bad ports


VALUE = tensor_spec("x", None, (6,))
BAD_PORTS: list[tuple[dict[str, Any], str]] = [
    ({"name": ""}, "a port needs a name of characters that can be printed"),
    ({"name": "a\x1b[2J"}, "a port needs a name of characters that can be printed"),
    ({"sizes": (5,)}, r"sizes \(5,\) do not hold the 6 features of 'x'"),
    ({"sizes": (0, 6)}, "sizes should be positive whole numbers"),
    ({"sizes": (-2, -3)}, "sizes should be positive whole numbers"),
    ({"sizes": (True, 6)}, "sizes should be positive whole numbers"),
    ({"sizes": (1,) * 8 + (6,)}, "more than 8 sizes or 16 axes"),
    ({"axes": ((),) * 17 + ((0,), (1,), (2,))}, "more than 8 sizes or 16 axes"),
    ({"axes": ((0,), (1,), (1,), (2,))}, "names an axis twice"),
    ({"axes": ((0,), (1, 2, 2))}, "names an axis twice"),
    ({"axes": ((0,), (2,))}, "should name each of the 3 of batch, time and sizes once"),
    ({"axes": ((0,), (1,), (2,), (3,))}, "should name each of the 3"),
    ({"axes": ((0,), (1,), (-1,))}, "one below 0"),
    ({"axes": ((0, 1), (2,))}, "merge batch or time with others, which an input cannot undo"),
    ({"dtype": "int64"}, "dtype 'int64' does not go with 'x', which is float32"),
    ({"dtype": "O"}, "dtype 'O' does not go with"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "message"), BAD_PORTS)
def test_bad_ports_are_refused(change: dict[str, Any], message: str) -> None:
    fields = {"name": "p", "sizes": (6,), "axes": ((0,), (1,), (2,))} | change
    with pytest.raises(BadModelFile, match=message):
        Graph((VALUE,), (Identity(name="y", inputs=("x",)),), ("y",), input_ports=(Port(**fields),))


def test_counts_and_names_of_ports() -> None:
    with pytest.raises(BadModelFile, match="2 inputs have 1 ports"):
        onnx_like(input_ports=(TIME_MAJOR_X,))
    with pytest.raises(BadModelFile, match="two inputs are called 'X:0'"):
        onnx_like(input_ports=(TIME_MAJOR_X, replace(H_IN, name="X:0")))
    with pytest.raises(BadModelFile, match="two outputs are called 'gru:state'"):
        onnx_like(output_ports=(replace(ONNX_Y, name="gru:state"), None))
    same = onnx_like(output_ports=(replace(ONNX_Y, name="X:0"), None))
    assert same.output_names == ("X:0", "gru:state"), "inputs and outputs have names of their own"


@pytest.mark.parametrize(
    ("states", "message"),
    [
        ((("h", "Y_h"),), "state 'h' ← 'Y_h': there is no input 'h', only 'X:0', 'initial_h'"),
        ((("initial_h", "h"),), "there is no output 'h', only 'Y/out', 'Y_h'"),
        ((("initial_h", "Y/out"),), "a state is float32 without a time axis, but 'Y/out' is float32"),
        ((("X:0", "Y_h"),), "a state is float32 without a time axis, but 'X:0'"),
        ((("initial_h", "Y_h"), ("initial_h", "Y_h")), "state input 'initial_h' is fed by two outputs"),
    ],
)
def test_bad_states_are_refused(states: Any, message: str) -> None:
    with pytest.raises(BadModelFile, match=message):
        onnx_like(states=states)


def test_texts_and_ports_do_not_go_together() -> None:
    model = fastgru.load(fastgru.demo_path())
    with pytest.raises(BadModelFile, match="input 'tokens' has a port, and so takes no texts"):
        Model(replace(model.graph, input_ports=(Port("t", (), ((0,), (1,))),)))


# ---- files


def stored(graph: Graph, path: Path) -> dict[str, str]:
    file.write(graph, path)
    data = path.read_bytes()
    return dict(json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"])


def test_a_file_keeps_ports_and_states(tmp_path: Path) -> None:
    graph = onnx_like(states=(("initial_h", "Y_h"),))
    metadata = stored(graph, tmp_path / "m.safetensors")
    again = file.read(tmp_path / "m.safetensors")
    assert metadata["fastgru_format"] == "2"
    assert (again.input_ports, again.output_ports, again.states) == (
        graph.input_ports,
        graph.output_ports,
        graph.states,
    )
    assert again.fingerprint == graph.fingerprint
    x, h0 = onnx_inputs()
    assert (Model(again)(x, h0)[0] == Model(graph)(x, h0)[0]).all()
    twin = pickle.loads(pickle.dumps(Model(graph)))
    assert twin.inputs == Model(graph).inputs
    assert (twin(x, h0)[0] == Model(graph)(x, h0)[0]).all()
    half = replace(graph, input_ports=(None, H_IN), output_ports=(), states=())
    file.write(half, tmp_path / "h.safetensors")
    assert file.read(tmp_path / "h.safetensors").input_ports == (None, H_IN)


@pytest.mark.dtypes("float32")  # fingerprints of files in float32
def test_files_and_fingerprints_of_other_networks_stay_as_they_are(tmp_path: Path) -> None:
    graph = bare(onnx_like())
    metadata = stored(graph, tmp_path / "m.safetensors")
    structure = json.loads(metadata["graph"])
    assert metadata["fastgru_format"] == "1"
    assert set(structure) == {"name", "inputs", "layers", "outputs"}
    assert not {"clip", "zero_state_without_steps"} & set(structure["layers"][0])
    assert replace(graph, input_ports=(None, None)).fingerprint == graph.fingerprint
    before = "37a0086e6ec73c7d430c206a346ed67f33868de6df2b0d048a4688b4134f0b86"  # of versions that knew no ports
    assert fastgru.load(fastgru.demo_path()).fingerprint == before
    for changed in (onnx_like(), replace(graph, states=(("h0", "gru:state"),))):
        assert changed.fingerprint != graph.fingerprint


@pytest.mark.parametrize("change", [{"clip": 2.0}, {"zero_state_without_steps": True}])
def test_later_attributes_make_a_file_of_format_2(change: dict[str, Any], tmp_path: Path) -> None:
    graph = bare(onnx_like())
    layer = replace(graph.layers[0], **change)
    clipped = replace(graph, layers=(layer,))
    metadata = stored(clipped, tmp_path / "m.safetensors")
    again = file.read(tmp_path / "m.safetensors")
    assert metadata["fastgru_format"] == "2"
    assert clipped.fingerprint != graph.fingerprint
    assert all(getattr(again.layers[0], key) == value for key, value in change.items())


HOSTILE: list[tuple[Callable[[Any], Any], str]] = [
    (lambda g: g.update(input_ports={}), "input_ports should be list"),
    (lambda g: g.update(input_ports=[1, None]), "a port should be an object of axes, dtype, name, sizes"),
    (lambda g: g["input_ports"][0].pop("dtype"), "a port should be an object"),
    (lambda g: g["input_ports"][0].update(extra=1), "a port should be an object"),
    (lambda g: g["input_ports"][0].update(sizes=[4.0]), "a port's sizes should be"),
    (lambda g: g["input_ports"][0].update(sizes=[True]), "a port's sizes should be"),
    (lambda g: g["input_ports"][0].update(axes=[1, 0, 2]), "a port's axes should be"),
    (lambda g: g["input_ports"][0].update(axes=[[1], [0], [2**40]]), "a port's axes should be"),
    (lambda g: g["input_ports"][0].update(dtype=3), "a port's dtype should be"),
    (lambda g: g["input_ports"][0].update(dtype="float128"), "dtype 'float128' does not go with"),
    (lambda g: g["input_ports"].pop(), "2 inputs have 1 ports"),
    (lambda g: g["output_ports"][0].update(sizes=[2**30, 5]), "do not hold the 5 features"),
    (lambda g: g["output_ports"][0].update(name="\x1b]0;"), "characters that can be printed"),
    (lambda g: g.update(states="ab"), "states should be list"),
    (lambda g: g.update(states=[["initial_h"]]), "states should be pairs of names"),
    (lambda g: g.update(states=[["initial_h", "Y_h", "Y_h"]]), "states should be pairs of names"),
    (lambda g: g.update(states=[["initial_h", 3]]), "states should be pairs of names"),
    (lambda g: g.update(states=[["initial_h", "gone"]]), "there is no output 'gone'"),
    (lambda g: g.update(ports=[]), "the graph should be an object|graph should be an object"),
]


@pytest.mark.parametrize(("change", "message"), HOSTILE)
def test_hostile_files(change: Callable[[Any], Any], message: str, tmp_path: Path) -> None:
    graph = onnx_like(states=(("initial_h", "Y_h"),))
    structure = json.loads(json.dumps(graph.structure()))
    change(structure)
    path = tmp_path / "m.safetensors"
    file.write(graph, path)
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    header["__metadata__"]["graph"] = json.dumps(structure)
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + length :])
    with pytest.raises(BadModelFile, match=message) as error:
        file.read(path)
    assert str(path) in str(error.value)


# ---- passes


def test_passes_keep_names_and_ports() -> None:
    graph = onnx_like()
    kept = Identity(name="kept", inputs=("gru:state",))
    wrapped = replace(
        graph, layers=(*graph.layers, kept), outputs=("gru", "kept", "gru:state"),
        output_ports=(ONNX_Y, None, ONNX_H), states=(("initial_h", "Y_h"),),
    )  # fmt: skip
    after = passes.apply(wrapped)
    assert after.output_names == wrapped.output_names == ("Y/out", "kept", "Y_h")
    assert after.outputs == ("gru", "gru:state", "gru:state")
    assert len(after.layers) == 1
    x, h0 = onnx_inputs()
    assert all((a == b).all() for a, b in zip(Model(after)(x, h0), Model(wrapped)(x, h0), strict=True))
    by_name = replace(bare(wrapped), outputs=("gru", "kept"), states=(("h0", "kept"),))
    assert passes.apply(by_name).states == (("h0", "kept"),)


def test_a_fixed_number_of_steps_is_freed_behind_a_port() -> None:
    graph = replace(chain(floats(FEATURES, TIME), gru(rng(), FEATURES, UNITS)), input_ports=(TIME_MAJOR_X,))
    assert Model(graph).inputs[0].shape == (TIME, None, FEATURES)
    assert Model(passes.apply(graph)).inputs[0].shape == (None, None, FEATURES)


def test_networks_inside_layers_have_no_ports() -> None:
    inner = chain(tensor_spec("i", False, (4,)), Identity(name="o", inputs=("i",)))
    inner = replace(inner, output_ports=(Port("o", (4,), ((1,), (0,))),))
    layer = fastgru.graph.TimeDistributed(name="t", inputs=("x",), graph=inner)
    with pytest.raises(BadModelFile, match="'t': the inner network should have neither ports nor states"):
        chain(floats(4), layer)
