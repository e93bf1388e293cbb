"""Streams that feed inputs with outputs of the call before: natively, as the core's own state, or by feedback."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import oracle
from building import bidirectional, chain, dense, floats, gru, uniform
from fastgru import BadInput, Closed, Model, StateMismatch, UnsupportedModel
from fastgru.graph import (
    GRU,
    Combine,
    Concatenate,
    Dense,
    Graph,
    Identity,
    Layer,
    Reduce,
    Repeat,
    Slice,
    StepMask,
    Transpose,
    tensor_spec,
)
from fastgru.ports import Port
from tolerances import check

pytestmark = pytest.mark.dtypes

TIME, BATCH, FEATURES, UNITS = 11, 3, 4, 5
STATE = Port("h_in", (2, UNITS), ((1,), (0,), (2,)))  # (layers, batch, units)
STATES = (("h_in", "h_out"),)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def stack(**fields: Any) -> Graph:
    """Two GRU layers and a head; h_in and h_out are (layers, batch, units), x and y time-major."""
    parts = [Slice(name=f"h{i}", inputs=("h",), axis=-1, start=i * UNITS, stop=(i + 1) * UNITS) for i in range(2)]
    layers = (
        *parts,
        gru(rng(1), FEATURES, UNITS, name="g0", inputs=("x", "h0"), return_sequences=True, mask="x:mask"),
        gru(rng(2), UNITS, UNITS, name="g1", inputs=("g0", "h1"), return_sequences=True, mask="x:mask"),
        dense(rng(3), UNITS, 2, name="head", source="g1", function="tanh"),
        Concatenate(name="last", inputs=("g0:state", "g1:state")),
    )
    defaults: dict[str, Any] = {
        "input_ports": (Port("x", (FEATURES,), ((1,), (0,), (2,))), STATE),
        "output_ports": (Port("y", (2,), ((1,), (0,), (2,))), replace(STATE, name="h_out")),
        "states": STATES,
    }
    inputs = (floats(FEATURES), tensor_spec("h", False, (2 * UNITS,)))
    return Graph(inputs, layers, ("head", "last"), **(defaults | fields))


def cell() -> Graph:
    """One step as a whole network: x (batch, features), h (batch, units) → y, h_next."""
    layers = (
        Concatenate(name="joined", inputs=("x", "h")),
        dense(rng(1), FEATURES + UNITS, UNITS, name="next", source="joined", function="tanh"),
        dense(rng(2), UNITS, 2, name="y", source="next", function="sigmoid"),
    )
    inputs = (tensor_spec("x", False, (FEATURES,)), tensor_spec("h", False, (UNITS,)))
    return Graph(inputs, layers, ("y", "next"))


def sequence(batch: int = BATCH, steps: int = TIME) -> np.ndarray:
    """(batch, time, features)."""
    return uniform(rng(7), batch, steps, FEATURES)


def how(stream: Any) -> list[tuple[str, str, str]]:
    return [tuple(one) for one in stream.states]


# ---- native


@pytest.mark.parametrize("cuts", [(TIME,), (1,) * TIME, (4, 0, 6, 1)])
def test_native_chunks_are_the_whole_to_the_bit(cuts: tuple[int, ...]) -> None:
    graph = stack()
    model, x = Model(graph), sequence()
    h_in = uniform(rng(8), 2, BATCH, UNITS)
    whole, h_out = model(x.transpose(1, 0, 2), h_in)
    exact, _ = oracle.run(graph, {"x": x, "h": h_in.transpose(1, 0, 2).reshape(BATCH, -1)})
    check(whole.transpose(1, 0, 2), exact, "oracle")
    stream = model.stream(batch_size=BATCH, inputs={"h_in": h_in})
    assert how(stream) == [("h_in", "h_out", "native")]
    assert "'h_in' from 'h_out' (native)" in repr(stream)
    ends = np.cumsum(cuts)
    y = np.concatenate([stream.run(x[:, end - cut : end]) for cut, end in zip(cuts, ends, strict=True)], axis=1)
    assert y.shape == (BATCH, TIME, 2)
    assert (y.transpose(1, 0, 2) == whole).all()
    assert (stream.get_state()["h_in"].reshape(BATCH, 2, UNITS).transpose(1, 0, 2) == h_out).all()


def test_native_steps_begin_at_zero_and_write_to_out() -> None:
    model, x = Model(stack()), sequence()
    whole, _ = model(x.transpose(1, 0, 2), np.zeros((2, BATCH, UNITS), np.float32))
    stream = model.stream(batch_size=BATCH)
    out = np.empty((BATCH, 2), np.float32)
    for t in range(TIME):
        assert stream.step(x[:, t], out=out) is out
        assert (out == whole[t]).all()
    with pytest.raises(BadInput, match="out= should hold 1 arrays, holds 2"):
        stream.step(x[:, 0], out=(out, out))


def test_native_lengths() -> None:
    model, x = Model(stack()), sequence()
    whole, _ = model(x.transpose(1, 0, 2), np.zeros((2, BATCH, UNITS), np.float32), lengths=[TIME, 3, 0])
    stream = model.stream(batch_size=BATCH)
    first = stream.run(x[:, :6], lengths={"x": [6, 3, 0]})
    second = stream.run(x[:, 6:], lengths=[TIME - 6, 0, 0])
    assert (np.concatenate([first, second], axis=1).transpose(1, 0, 2) == whole).all()


def test_native_state_moves_rows_and_resets_them() -> None:
    model, x = Model(stack()), sequence()
    stream = model.stream(batch_size=BATCH)
    assert not stream.get_state()["h_in"].any()
    stream.run(x[:, :5])
    state = stream.get_state()
    assert {key: value.shape for key, value in state.items()} == {
        "h_in": (BATCH, 2 * UNITS), "g0/last_output": (BATCH, UNITS), "g1/last_output": (BATCH, UNITS),
    }  # fmt: skip
    rest = stream.run(x[:, 5:])
    other = model.stream()
    other.set_state({key: value[1:2] for key, value in state.items()})
    assert (other.run(x[1:2, 5:]) == rest[1:2]).all()
    stream.set_state(state)
    stream.reset(rows=[0])
    again = stream.run(x[:, 5:])
    assert (again[1:] == rest[1:]).all()
    assert (again[0] == model.stream().run(x[:1, 5:])[0]).all()
    with pytest.raises(StateMismatch, match=r"'h_in': \(3, 10\)"):
        stream.set_state({"h_in": state["h_in"]})
    with pytest.raises(StateMismatch, match=r"'h_in': \(3, 10\)"):
        stream.set_state(state | {"h_in": state["h_in"][:, :5]})


def test_native_with_lengths_as_an_input() -> None:
    """A StepMask counts on from chunk to chunk; a row without any step ends in zero."""
    layers = (
        StepMask(name="m", inputs=("x", "n")),
        gru(rng(1), FEATURES, UNITS, inputs=("x", "h"), return_sequences=True, mask="m", zero_state_without_steps=True),
    )
    inputs = (floats(FEATURES), tensor_spec("h", False, (UNITS,)), tensor_spec("n", False, (), "int32"))
    ports = (None, Port("h_in", (1, UNITS), ((1,), (0,), (2,))), Port("seq_len", (), ((0,),), "int64"))
    outputs = (None, Port("h_out", (1, UNITS), ((1,), (0,), (2,))))
    names = ("gru", "gru:state")
    graph = Graph(inputs, layers, names, input_ports=ports, output_ports=outputs, states=(("h_in", "h_out"),))
    model, x, h = Model(graph), sequence(), uniform(rng(4), 1, BATCH, UNITS)
    lengths = np.array([TIME, 4, 0])
    whole, last = model(x, h, lengths)
    stream = model.stream(batch_size=BATCH, inputs={"seq_len": lengths, "h_in": h})
    assert stream.states[0].how == "native"
    first = stream.run(x[:, :6])
    other = model.stream(batch_size=BATCH, inputs={"seq_len": lengths})
    other.set_state(stream.get_state())
    rest = other.run(x[:, 6:])
    assert (np.concatenate([first, rest], axis=1) == whole).all()
    assert (other.get_state()["h_in"][:2] == last[0, :2]).all()
    assert not last[0, 2].any()


def separate(**changes: Any) -> Graph:
    """Two GRU layers, each with a state of its own, without ports."""
    layers = (
        gru(rng(1), FEATURES, UNITS, name="a", inputs=("x", "ha"), return_sequences=True),
        gru(rng(2), UNITS, UNITS, name="b", inputs=("a", "hb")),
    )
    inputs = (floats(FEATURES), tensor_spec("ha", False, (UNITS,)), tensor_spec("hb", False, (UNITS,)))
    return replace(Graph(inputs, layers, ("a:state", "b", "b:state")), **changes)


def test_each_layer_with_a_state_of_its_own() -> None:
    model, x = Model(separate()), sequence()
    stream = model.stream(batch_size=BATCH, state={"ha": "a:state", "hb": "b:state"})
    assert [one.how for one in stream.states] == ["native", "native"]
    zeros = np.zeros((BATCH, UNITS), np.float32)
    stream.run(x[:, :4])
    assert (stream.run(x[:, 4:]) == model(x, zeros, zeros)[1]).all()
    assert set(stream.get_state()) == {"ha", "hb", "b/last_output"}


def crossed(order: tuple[str, ...], out: Port, inner: tuple[int, ...], *moves: Layer) -> Graph:
    """Two GRU layers that begin with slices of h (batch, *inner) once `moves` have made it (batch, layers, units)."""
    read = moves[-1].name if moves else "h"
    layers = (
        *moves,
        Slice(name="h0", inputs=(read,), axis=1, stop=1, drop=True),
        Slice(name="h1", inputs=(read,), axis=1, start=-1, drop=True),
        gru(rng(1), FEATURES, UNITS, name="g0", inputs=("x", "h0"), return_sequences=True),
        gru(rng(2), UNITS, UNITS, name="g1", inputs=("g0", "h1"), return_sequences=True),
        Concatenate(name="both", inputs=order),
        Identity(name="out", inputs=("both",)),
    )
    inputs = (floats(FEATURES), tensor_spec("h", False, inner))
    return Graph(inputs, layers, ("g1", "out"), output_ports=(None, out), states=(("h", "h_out"),))


IN_ORDER = ("g0:state", "g1:state")


@pytest.mark.parametrize(
    ("graph", "expected"),
    [
        (crossed(IN_ORDER, Port("h_out", (2, UNITS), ((0,), (1,), (2,))), (2, UNITS)), "native"),
        (
            crossed(
                IN_ORDER, Port("h_out", (2, UNITS), ((0,), (2,), (1,))), (UNITS, 2),
                Transpose(name="t", inputs=("h",), order=(2, 1)),
            ),
            "native",
        ),
        (crossed(IN_ORDER[::-1], Port("h_out", (2, UNITS), ((0,), (1,), (2,))), (2, UNITS)), "feedback"),
    ],
)  # fmt: skip
def test_states_may_be_moved_on_their_way(graph: Graph, expected: str) -> None:
    model, x = Model(graph), sequence()
    stream = model.stream(batch_size=BATCH)
    assert stream.states[0].how == expected
    chunks = [stream.run(x[:, :3]), stream.run(x[:, 3:4]), stream.run(x[:, 4:])]
    h, made = np.zeros((BATCH, *model.inputs[1].shape[1:]), np.float32), []
    for part in (x[:, :3], x[:, 3:4], x[:, 4:]):
        y, h = model(part, h)
        made.append(y)
    assert all((one == other).all() for one, other in zip(chunks, made, strict=True))
    if expected == "native":
        assert (np.concatenate(chunks, axis=1) == model(x, np.zeros_like(h))[0]).all()


def test_only_carried_outputs_are_returned_where_there_are_no_others() -> None:
    graph = replace(stack(), outputs=("last",), output_ports=(replace(STATE, name="h_out"),))
    model, x = Model(graph), sequence()
    stream = model.stream(batch_size=BATCH)
    h = stream.run(x[:, :4])
    assert h.shape == (BATCH, 2 * UNITS)
    assert (stream.get_state()["h_in"] == h).all()


# ---- which are native


def shared() -> Graph:
    """Both GRUs begin with h, but only one of them ends in h_out."""
    graph = separate(outputs=("b", "a:state"))
    layers = tuple(replace(layer, inputs=(layer.inputs[0], "ha")) for layer in graph.layers)
    return replace(graph, layers=layers, inputs=graph.inputs[:2], states=(("ha", "a:state"),))


def without_a_state() -> Graph:
    graph = separate(outputs=("b", "a:state"))
    layers = (graph.layers[0], replace(graph.layers[1], inputs=("a",)))
    return replace(graph, layers=layers, inputs=graph.inputs[:2], states=(("ha", "a:state"),))


def one_layer(outputs: tuple[str, ...], target: str, *extra: Layer) -> Graph:
    """The first layer of `separate` and others behind it; the state ha comes from `target`."""
    graph = separate()
    layers = (graph.layers[0], *extra)
    return replace(graph, layers=layers, inputs=graph.inputs[:2], outputs=outputs, states=(("ha", target),))


def read_elsewhere() -> Graph:
    """h is not only where the GRU begins."""
    return one_layer(("y", "a:state"), "a:state", dense(rng(5), UNITS, 2, name="y", source="ha", function="tanh"))


def changed_on_its_way() -> Graph:
    extra = dense(rng(5), UNITS, UNITS, name="changed", source="a:state", function="tanh")
    return one_layer(("a", "changed"), "changed", extra)


def looking_ahead() -> Graph:
    ahead, back, both = bidirectional(rng(), FEATURES, UNITS)
    ahead = replace(ahead, inputs=("x", "h"))
    inputs = (floats(FEATURES), tensor_spec("h", False, (UNITS,)))
    return Graph(inputs, (ahead, back, both), ("both", f"{ahead.name}:state"), states=(("h", f"{ahead.name}:state"),))


def passed_through() -> Graph:
    """What comes back is what went in."""
    return one_layer(("a", "same"), "same", Slice(name="same", inputs=("ha",), axis=-1))


@pytest.mark.parametrize(
    "make", [shared, without_a_state, read_elsewhere, changed_on_its_way, looking_ahead, passed_through]
)
def test_all_others_are_fed_back_in_plain_calls(make: Any) -> None:
    graph = make()
    model, x = Model(graph), sequence()
    source, target = graph.states[0]
    h = first = uniform(rng(4), BATCH, UNITS)
    with model.stream(batch_size=BATCH, inputs={source: first}) as stream:
        assert how(stream) == [(source, target, "feedback")]
        for part in (x[:, :5], x[:, 5:6], x[:, 6:]):
            y, h = model(part, h)
            assert (stream.run(part) == y).all()
            assert (stream.get_state()[source] == h).all()


# ---- feedback


def test_a_single_step_as_a_whole_network() -> None:
    graph = cell()
    model, x = Model(graph), sequence()
    stream = model.stream(batch_size=BATCH, state={"h": "next"})
    assert how(stream) == [("h", "next", "feedback")]
    h, expected = np.zeros((BATCH, UNITS), np.float32), []
    for t in range(TIME):
        y, h = model(x[:, t], h)
        expected.append(y)
    assert (stream.step(x[:, 0]) == expected[0]).all()
    out = np.empty((BATCH, TIME - 1, 2), np.float32)
    assert stream.run(x[:, 1:], out=out) is out
    assert (out.transpose(1, 0, 2) == expected[1:]).all()
    assert (stream.get_state()["h"] == h).all()
    assert stream.run(x[:, :0]).shape == (BATCH, 0, 2)
    assert (stream.get_state()["h"] == h).all()
    with pytest.raises(BadInput, match="lengths and mask need an input with a time axis"):
        stream.run(x, lengths=[1, 2, 3])
    with pytest.raises(
        BadInput,
        match=r"input 'x' takes float32 of shape \(batch, time, features\) = \(any, any, 4\); got shape \(3, 4\)",
    ):
        stream.run(x[:, 0])
    with pytest.raises(BadInput, match="this stream has batch_size=3; got 2 rows"):
        stream.step(x[:2, 0])
    assert (stream.get_state()["h"] == h).all(), "errors leave the state as it is"
    exact = oracle.run(graph, {"x": x[:, 0], "h": np.zeros((BATCH, UNITS))})[0]
    check(expected[0], exact, "oracle")


def test_a_cell_with_ports_and_an_input_that_stays() -> None:
    """x (1, batch, features) and h (units, batch) as a source may have them; b is given once."""
    graph = cell()
    sum_ = Combine(name="sum", inputs=("y", "b"), operation="add")
    x_port, b_port = (Port(name, (size,), ((), (0,), (1,))) for name, size in (("X", FEATURES), ("B", 2)))
    graph = replace(
        graph, layers=(*graph.layers, sum_), inputs=(*graph.inputs, tensor_spec("b", False, (2,))),
        outputs=("sum", "next"), input_ports=(x_port, Port("H", (UNITS,), ((1,), (0,))), b_port),
        output_ports=(None, Port("H_out", (UNITS,), ((1,), (0,)))), states=(("H", "H_out"),),
    )  # fmt: skip
    model, x = Model(graph), sequence()
    b, h = uniform(rng(1), 1, BATCH, 2), uniform(rng(2), UNITS, BATCH)
    stream = model.stream(batch_size=BATCH, inputs={"B": b, "H": h})
    y = stream.run(x)
    for t in range(TIME):
        expected, h = model(x[None, :, t], h, b)
        assert (y[:, t] == expected).all()
    assert (stream.get_state()["H"] == h.T).all()


@pytest.mark.parametrize("rows", [1, BATCH])
def test_states_without_a_batch_axis(rows: int) -> None:
    """x (features,), h (2, units) and the next one crosswise, as of a cell for one row; a Stream may have several."""
    inputs, outputs = (tensor_spec("x", False, (4,)), tensor_spec("h", False, (4,))), ("y", "next")
    layers = (
        Combine(name="y", inputs=("x", "h"), operation="add"),
        dense(rng(1), 4, 4, name="next", source="y", function="tanh"),
    )
    ports = (None, Port("h_in", (2, 2), ((1,), (2,)))), (None, Port("h_out", (2, 2), ((2,), (1,))))
    graph = Graph(inputs, layers, outputs, input_ports=ports[0], output_ports=ports[1], states=(("h_in", "h_out"),))
    x = uniform(rng(2), rows, 3, 4)
    y = Model(graph).stream(batch_size=rows).run(x)
    for row in range(rows):
        h = np.zeros((2, 2), np.float32)
        for t in range(3):
            expected, h = Model(graph)(x[row : row + 1, t], h)
            assert (y[row, t] == expected[0]).all()


def test_steps_of_a_network_without_time_write_over_none_of_its_inputs() -> None:
    layers = (
        Concatenate(name="joined", inputs=("x", "h")),
        dense(rng(1), FEATURES + UNITS, UNITS, name="next", source="joined", function="tanh"),
        dense(rng(2), UNITS, FEATURES, name="y", source="next", function="sigmoid"),
    )
    inputs = (tensor_spec("x", False, (FEATURES,)), tensor_spec("h", False, (UNITS,)))
    stream = Model(Graph(inputs, layers, ("y", "next"))).stream(batch_size=BATCH, state={"h": "next"})
    both = np.zeros(BATCH * TIME * FEATURES + FEATURES, np.float32)
    x, out = both[:-FEATURES].reshape(BATCH, TIME, FEATURES), both[FEATURES:].reshape(BATCH, TIME, FEATURES)
    for one, other in ((x, out), (out, x), (x, x)):
        with pytest.raises(BadInput, match="out= for 'y' overlaps another array"):
            stream.run(one, out=other)
    assert not stream.get_state()["h"].any()


def test_feedback_steps_of_a_network_with_time() -> None:
    model, x = Model(changed_on_its_way()), sequence()
    one, chunk = model.stream(batch_size=BATCH), model.stream(batch_size=BATCH)
    out = np.empty((BATCH, UNITS), np.float32)
    for t in range(4):
        y = one.step(x[:, t])
        assert y.shape == (BATCH, UNITS)
        assert (y == chunk.run(x[:, t : t + 1])[:, 0]).all()
    state = one.get_state()
    y = one.step(x[:, 5])
    one.set_state(state)
    assert one.step(x[:, 5], out=out) is out
    assert (out == y).all()
    one.reset(rows=1)
    fresh = model.stream(batch_size=BATCH)
    assert (one.step(x[:, 6])[1] == fresh.step(x[:, 6])[1]).all()
    one.close()
    for use in (lambda: one.step(x[:, 0]), lambda: one.run(x), one.get_state, one.reset):
        with pytest.raises(Closed):
            use()


def test_feedback_lengths() -> None:
    graph = looking_ahead()
    layers = tuple(replace(layer, mask="x:mask") if isinstance(layer, GRU) else layer for layer in graph.layers)
    model, x = Model(replace(graph, layers=layers)), sequence()
    stream = model.stream(batch_size=BATCH)
    y, h = model(x, np.zeros((BATCH, UNITS), np.float32), lengths=[TIME, 2, 0])
    assert (stream.run(x, lengths=[TIME, 2, 0]) == y).all()
    assert (stream.get_state()["h"] == h).all()


def test_step_needs_a_step_for_a_step() -> None:
    model = Model(
        one_layer(
            ("twice", "changed"), "changed", Repeat(name="twice", inputs=("a",), axis=1, times=2),
            dense(rng(5), UNITS, UNITS, name="changed", source="a:state", function="tanh"),
        )
    )  # fmt: skip
    stream, x = model.stream(batch_size=BATCH), sequence()
    with pytest.raises(BadInput, match="output 'twice' has 2 steps for one of the input: use run"):
        stream.step(x[:, 0])
    assert not stream.get_state()["ha"].any(), "the state is unchanged"
    assert stream.run(x).shape == (BATCH, 2 * TIME, UNITS)


def test_what_is_returned_is_the_callers_own() -> None:
    """Where carried outputs are all there is, writing to them does not reach the state."""
    graph = replace(cell(), outputs=("next",))
    stream = Model(graph).stream(state={"h": "next"})
    x = sequence(1)
    kept = stream.step(x[:, 0]).copy()
    stream.step(x[:, 1])[...] = np.nan
    other = Model(graph).stream(state={"h": "next"})
    other.set_state({"h": kept})
    other.step(x[:, 1])
    assert (stream.step(x[:, 2]) == other.step(x[:, 2])).all()
    state = stream.get_state()
    state["h"][...] = 0
    assert stream.get_state()["h"].any()


# ---- what can be said


def test_no_states_on_request() -> None:
    model, x = Model(stack()), sequence()
    h_in = uniform(rng(8), 2, BATCH, UNITS)
    with pytest.raises(BadInput, match=r"inputs without time, \['h_in'\]; got \[\]"):
        model.stream(batch_size=BATCH, state={})
    stream = model.stream(batch_size=BATCH, state={}, inputs={"h_in": h_in})
    assert stream.states == ()
    assert "native" not in repr(stream)
    whole, h_out = model(x.transpose(1, 0, 2), h_in)
    y, h = stream.run(x)
    assert (y.transpose(1, 0, 2) == whole).all(), "a Stream is batch first"
    assert (h.reshape(BATCH, 2, UNITS).transpose(1, 0, 2) == h_out).all()
    assert set(stream.get_state()) == {"g0/h", "g0/last_output", "g1/h", "g1/last_output"}


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"h": "h_out"}, "there is no input 'h', only 'x', 'h_in'"),
        ({"h_in": "last"}, "there is no output 'last', only 'y', 'h_out'"),
        ({"h_in": "y"}, "a state is float32 without a time axis, but 'y'"),
        (["h_in"], "should be a dict of inputs' names to outputs', got list"),
        ({"h_in": ["h_out"]}, "there is no output"),
    ],
)
def test_wrong_states(state: Any, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        Model(stack()).stream(state=state)


def test_shapes_of_a_pair_that_differ() -> None:
    graph = stack(states=(), output_ports=(None, None))
    with pytest.raises(
        BadInput, match=r"state input 'h_in' takes shape \(2, None, 5\), but output 'last' gives \(None, 10\)"
    ):
        Model(graph).stream(state={"h_in": "last"})


def test_wrong_inputs_of_a_stream() -> None:
    model = Model(stack())
    with pytest.raises(
        BadInput,
        match=r"without time, \[\] and, if they should not begin at zero, of the states \['h_in'\]; got \['h'\]",
    ):
        model.stream(inputs={"h": np.zeros((2, 1, UNITS))})
    with pytest.raises(BadInput, match=r"'h_in' takes float32 of shape \(axis0, batch, features\) = \(2, any, 5\)"):
        model.stream(inputs={"h_in": np.zeros((1, 2 * UNITS))})
    with pytest.raises(BadInput, match="the stream batch_size=3"):
        model.stream(batch_size=BATCH, inputs={"h_in": np.zeros((2, 1, UNITS))})
    with pytest.raises(BadInput, match="hold every input of the network"):
        Model(cell()).stream(inputs={"x": np.zeros((1, FEATURES))}, state={"h": "next"})
    with pytest.raises(UnsupportedModel, match="no input with a time axis"):
        Model(cell()).stream()
    with pytest.raises(UnsupportedModel, match="reduces the time axis"):
        Model(chain(floats(4), Reduce(name="mean", inputs=("x",), axis=1, function="mean"))).stream()


def test_a_stream_takes_port_names_and_batch_first_values() -> None:
    layers = (
        gru(rng(), FEATURES, UNITS, return_sequences=True),
        Dense(name="d", inputs=("gru",), kernel=np.ones((UNITS, 1), "f4")),
    )
    graph = Graph((floats(FEATURES),), layers, ("d",))
    ports = {"input_ports": (Port("X:0", (4,), ((1,), (0,), (2,))),), "output_ports": (Port("Y", (), ((1,), (0,))),)}
    model, x = Model(replace(graph, **ports)), sequence()
    stream = model.stream(batch_size=BATCH)
    y = np.stack([stream.step({"X:0": x[:, t]}) for t in range(TIME)], axis=1)
    assert (model(x.transpose(1, 0, 2)) == y[..., 0].T).all()
    with pytest.raises(BadInput, match=r"input 'X:0' takes float32 of shape \(batch, features\)"):
        stream.step(x[:, 0, :2])
