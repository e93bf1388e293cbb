"""Calls that convert nothing: the fast path gives what the slow one does, and every result is the caller's own."""

from __future__ import annotations

import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from building import bidirectional, chain, dense, embedding, floats, gru, tokens, uniform
from fastgru import BadInput, Model, _core
from fastgru.graph import ArgMax, Concatenate, Graph, tensor_spec
from fastgru.ports import Port

pytestmark = pytest.mark.dtypes

FEATURES, UNITS = 6, 4
X = Port("X", (FEATURES,), ((1,), (0,), (2,)))
Y = Port("Y", (UNITS,), ((1,), (), (0,), (2,)))
H_IN, H_OUT = (Port(name, (1, UNITS), ((1,), (0,), (2,))) for name in ("h_in", "h_out"))


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def network(**fields: Any) -> Graph:
    """As ONNX lays it out: X (time, batch, features), h_in and h_out (1, batch, units), Y (time, 1, batch, units)."""
    inputs = (floats(FEATURES), tensor_spec("h", False, (UNITS,)))
    layer = gru(rng(), FEATURES, UNITS, inputs=("x", "h"), return_sequences=True)
    ports = {"input_ports": (X, H_IN), "output_ports": (Y, H_OUT)}
    return Graph(inputs, (layer,), ("gru", "gru:state"), **(ports | fields))


def given(seed: int = 1, steps: int = 1, batch: int = 1) -> tuple[np.ndarray, np.ndarray]:
    return uniform(rng(seed), steps, batch, FEATURES), uniform(rng(seed + 1), 1, batch, UNITS)


def slow(model: Model, *inputs: Any) -> tuple[np.ndarray, ...]:
    """A call by layout.py alone."""
    runner = _core.Runner(model._plan)
    if model._layout is None:
        return runner._run(inputs, None, None, 1, None, False)
    return model._layout.run(runner, inputs, None, None, 1, None)


def fast(model: Model, monkeypatch: pytest.MonkeyPatch, *inputs: Any) -> tuple[np.ndarray, ...]:
    """A call that should not need layout.py."""

    def refuse(*args: Any) -> Any:
        raise AssertionError("took the slow path")

    with monkeypatch.context() as patch:
        patch.setattr(model._layout, "run", refuse)
        results = model(*inputs)
    return results if isinstance(results, tuple) else (results,)


def assert_same(one: tuple[np.ndarray, ...], other: tuple[np.ndarray, ...]) -> None:
    assert [(y.shape, y.dtype, y.flags.c_contiguous) for y in one] == [(y.shape, y.dtype, True) for y in other]
    assert all((a == b).all() for a, b in zip(one, other, strict=True))


# ---- the same results


def random_port(random: np.random.Generator, name: str, features: int, is_input: bool) -> Port:
    """Any order of batch, time and sizes, with unit axes and merged ones."""
    sizes = [(features,), (2, features // 2), (features, 1), (1, 2, features // 2)][random.integers(4)]
    axes = list(random.permutation(2 + len(sizes))) if random.random() < 0.5 else [1, 0, *range(2, 2 + len(sizes))]
    groups: list[tuple[int, ...]] = []
    for axis in map(int, axes):
        merges = groups and groups[-1] and random.random() < 0.2
        if merges and not (is_input and min(*groups[-1], axis) < 2):
            groups[-1] = (*groups[-1], axis)
        else:
            groups.append((axis,))
        if random.random() < 0.2:
            groups.append(())
    return Port(name, sizes, tuple(groups))


@pytest.mark.parametrize("seed", range(60))
def test_random_layouts_fast_and_slow(seed: int) -> None:
    random = rng(seed)
    ports = {
        "input_ports": (random_port(random, "X", FEATURES, True), H_IN),
        "output_ports": (random_port(random, "Y", UNITS, False), H_OUT),
    }
    model, plain = Model(network(**ports), threads=1), Model(network(input_ports=(), output_ports=()), threads=1)
    for batch, steps in ((1, 1), (1, 5), (3, 1), (3, 5)):
        x, h = uniform(random, batch, steps, FEATURES), uniform(random, batch, UNITS)
        seen = model.graph.input_ports[0].from_value(x, model.graph.inputs[0]), h[None]
        results = model(*seen)
        assert_same(results, slow(model, *seen))
        y, h_out = plain(x, h)
        assert (results[0] == model.graph.output_ports[0].from_value(y, model.graph.specs["gru"])).all()
        assert (results[1] == h_out[None]).all()


@pytest.mark.parametrize(("steps", "batch"), [(1, 1), (7, 1), (1, 3), (7, 3)])
def test_an_onnx_layout_takes_the_fast_path(steps: int, batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model, inputs = Model(network()), given(3, steps, batch)
    results = fast(model, monkeypatch, *inputs)
    assert_same(results, slow(model, *inputs))
    assert_same(fast(model, monkeypatch, {"h_in": inputs[1], "X": inputs[0]}), results)


def both_ways() -> Graph:
    """A bidirectional layer's Y (time, 2, batch, units) and Y_h (2, batch, units)."""
    ahead, back, both = bidirectional(rng(), FEATURES, UNITS)
    states = Concatenate(name="states", inputs=(f"{ahead.name}:state", f"{back.name}:state"))
    ports = (Port("Y", (2, UNITS), ((1,), (2,), (0,), (3,))), Port("Y_h", (2, UNITS), ((1,), (0,), (2,))))
    layers = (ahead, back, both, states)
    return Graph((floats(FEATURES),), layers, ("both", "states"), input_ports=(X,), output_ports=ports)


def test_two_directions_take_the_fast_path_with_one_row(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Model(both_ways())
    x, _ = given(3, 7, 1)
    assert_same(fast(model, monkeypatch, x), slow(model, x))
    x, _ = given(3, 7, 2)
    assert_same(model(x), slow(model, x))
    with pytest.raises(AssertionError, match="slow path"):
        fast(model, monkeypatch, x)


@pytest.mark.parametrize("kind", ["i8", "i4"])
@pytest.mark.parametrize("axes", [((0,), (1,)), ((1,), (0,)), ((1,), (), (0,))])
def test_ids_through_ports(axes: tuple[tuple[int, ...], ...], kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several inputs of ids, each converted into a place of its own."""
    layers = (
        replace(embedding(rng(), 9, 3), name="a", inputs=("i",)),
        replace(embedding(rng(1), 5, 3), name="b", inputs=("j",)),
        Concatenate(name="ab", inputs=("a", "b")),
        gru(rng(2), FEATURES, UNITS, source="ab", return_sequences=True),
        ArgMax(name="best", inputs=("gru",)),
    )
    graph = Graph((replace(tokens(), name="i"), replace(tokens(), name="j")), layers, ("gru", "best"))
    ports = tuple(Port(name, (), axes, "int64") for name in ("I", "J"))
    model = Model(replace(graph, input_ports=ports, output_ports=(Y, None)))
    for steps in (2, 5):
        i, j = rng(3).integers(0, 9, (3, steps)), rng(4).integers(0, 5, (3, steps))
        pairs = zip(ports, (i, j), graph.inputs, strict=True)
        seen = [port.from_value(ids, spec).astype(kind) for port, ids, spec in pairs]
        results = fast(model, monkeypatch, *seen)
        assert_same(results, slow(model, *seen))
        assert (results[1] == Model(graph)(i, j)[1]).all()
    for bad in (-1, 5):
        seen[1].flat[3] = bad
        with pytest.raises(BadInput, match=f"input 'J': token id {bad} at .* is outside the vocabulary 0 … 4"):
            model(*seen)


# ---- what does not fit goes the other way


OTHERS = {
    "float64": lambda x: x.astype("f8"),
    "strides": lambda x: np.repeat(x, 2, axis=2)[:, :, ::2],
    "order": np.asfortranarray,
    "byte order": lambda x: x.astype(">f4"),
    "unaligned": lambda x: np.frombuffer(b"\0" + x.tobytes(), np.float32, offset=1).reshape(x.shape),
    "list": lambda x: x.tolist(),
    "subclass": lambda x: x.view(np.recarray),
}


@pytest.mark.parametrize("change", OTHERS.values(), ids=OTHERS.keys())
def test_other_arrays_give_the_same(change: Any) -> None:
    model, (x, h) = Model(network()), given(3, 5, 2)
    wanted = tuple(y.copy() for y in model(x, h))
    assert_same(model(change(x), h), wanted)
    assert_same(model(x, change(h)), wanted)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (((5, 2, 6), (1, 3, 4)), "input 'h_in' has 3 rows, the inputs before it 2"),
        (((5, 2, 6), (2, 1, 4)), "input 'h_in' takes .*axis0 should be 1, not 2"),
        (((5, 2, 5), (1, 2, 4)), "input 'X' takes .*features should be 6, not 5"),
        (((2, 6), (1, 2, 4)), r"input 'X' takes .*got shape \(2, 6\)"),
        (((5, 2, 6),), r"expected 2 inputs \('X', 'h_in'\), got 1"),
    ],
)
def test_errors_come_from_the_slow_path(shapes: tuple[tuple[int, ...], ...], message: str) -> None:
    model = Model(network())
    wanted = tuple(y.copy() for y in model(*given()))
    with pytest.raises(BadInput, match=message):
        model(*(np.zeros(shape, "f4") for shape in shapes))
    assert_same(model(*given()), wanted)


def test_a_fixed_number_of_steps_is_held_to() -> None:
    inputs = (tensor_spec("x", 3, (FEATURES,)), tensor_spec("h", False, (UNITS,)))
    model = Model(replace(network(), inputs=inputs))
    assert model(*given(1, 3, 2))[0].shape == (3, 1, 2, UNITS)
    with pytest.raises(BadInput, match=r"input 'X' .*time should be 3, not 4"):
        model(*given(1, 4, 2))


@pytest.mark.parametrize(
    ("names", "shown"), [(("X", "h"), "'X', 'h'"), (("X",), "'X'"), (("X", "h_in", "z"), "'X', 'h_in', 'z'")]
)
def test_inputs_by_wrong_names(names: tuple[str, ...], shown: str) -> None:
    with pytest.raises(BadInput, match=f"expected inputs named 'X', 'h_in'; got {shown}$"):
        Model(network())(dict.fromkeys(names, given()[0]))


def test_inputs_that_are_no_arrays() -> None:
    model, (x, _) = Model(network()), given()
    with pytest.raises(BadInput, match=r"input 'h_in' takes .*got NoneType"):
        model({"X": x, "h_in": None})


# ---- results are the callers' own


def test_held_results_stay_as_they_are() -> None:
    model, held = Model(network(), threads=1), []
    for seed in range(30):
        results = model(*given(seed))
        kept = (results[0][0, 0], results[1].view("i4")) if seed % 3 else results  # a view holds as well
        held.append((kept, [array.copy() for array in kept]))
        if seed % 4 == 3:
            del held[seed % len(held)]
        model(*given(seed + 100))
    assert all((array == copy).all() for arrays, copies in held for array, copy in zip(arrays, copies, strict=True))


def test_results_do_not_share_memory() -> None:
    model = Model(network(), threads=1)
    results = [array for seed in range(5) for array in model(*given(seed))]
    for place, one in enumerate(results):
        assert not any(np.may_share_memory(one, other) for other in results[:place])


def test_a_result_that_is_the_next_input() -> None:
    model, (_, h) = Model(network(), threads=1), given()
    steps = [given(seed)[0] for seed in range(6)]
    wanted, _ = slow(model, np.concatenate(steps), h)
    for step, want in zip(steps, wanted, strict=True):
        y, h = model(step, h)
        assert (y[0] == want).all()


def test_results_are_used_again_once_nobody_holds_them() -> None:
    model, inputs = Model(network(), threads=1), given()
    assert len({model(*inputs)[0].ctypes.data for _ in range(20)}) <= 2
    wanted = tuple(y.copy() for y in model(*inputs))
    results = model(*inputs)
    references = [weakref.ref(array) for array in results]
    del results
    for seed in range(3):
        model(*given(seed + 5))
    assert all(reference() is None or (reference() == y).all() for reference, y in zip(references, wanted, strict=True))


@pytest.mark.parametrize("change", [lambda y: y.setflags(write=False), lambda y: setattr(y, "shape", (-1,))])
def test_results_that_the_caller_changed_are_not_used_again(change: Any) -> None:
    model, inputs = Model(network(), threads=1), given()
    wanted = slow(model, *inputs)
    for _ in range(4):
        y, h = model(*inputs)
        change(y)
        change(h)
        del y, h
    results = model(*inputs)
    assert_same(results, wanted)
    assert all(array.flags.writeable for array in results)


def test_threads_of_the_caller() -> None:
    model = Model(network(), threads=1)
    wanted = [tuple(y.copy() for y in slow(model, *given(seed))) for seed in range(8)]

    def work(seed: int) -> bool:
        inputs, results = given(seed), []
        for _ in range(300):
            results = [*results[-3:], model(*inputs)]
        return all((y == want).all() for call in results for y, want in zip(call, wanted[seed], strict=True))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(8)))


# ---- streams


def test_a_step_with_inputs_without_time_and_carried_states() -> None:
    model = Model(network(states=(("h_in", "h_out"),)), threads=1)
    x, h = given(5, 6, 2)
    wanted, last = slow(model, x, h)
    native, static = model.stream(2, inputs={"h_in": h}), model.stream(2, state={}, inputs={"h_in": h})
    assert native.states[0].how == "native"
    for t in range(6):
        form = (x[t], (x[t],), {"X": x[t]})[t % 3]
        assert (native.step(form) == wanted[t, 0]).all()
        y, h_out = static.step(form)
        assert (y == wanted[t, 0]).all()
    assert (h_out == last[0]).all()
    assert (native.get_state()["h_in"] == last[0]).all()
    out = np.empty((2, UNITS), "f4")
    assert native.step(x[0], out=out) is out
    with pytest.raises(BadInput, match="out= should hold 1 arrays, holds 2"):
        native.step(x[0], out=(out, out))
    for wrong in ((), (x[0], x[0]), {}, {"x": x[0]}, {"X": x[0], "h_in": h}, x[0, :1]):
        with pytest.raises(BadInput):
            native.step(wrong)


def test_a_step_of_several_sequences() -> None:
    layers = (
        Concatenate(name="ab", inputs=("a", "b")),
        gru(rng(), FEATURES, UNITS, source="ab", return_sequences=True),
    )
    graph = Graph((tensor_spec("a", None, (2,)), tensor_spec("b", None, (4,))), layers, ("gru",))
    model = Model(graph)
    a, b = uniform(rng(1), 2, 5, 2), uniform(rng(2), 2, 5, 4)
    stream, wanted = model.stream(2), model(a, b)
    for t in range(5):
        one = np.ascontiguousarray(a[:, t]), np.ascontiguousarray(b[:, t])
        assert (stream.step(one if t % 2 else {"b": one[1], "a": one[0]}) == wanted[:, t]).all()
    with pytest.raises(BadInput, match=r"expected 2 inputs \('a', 'b'\), got 1"):
        stream.step(one[0])
    with pytest.raises(BadInput, match="batch_size=2; got 3 rows"):
        stream.step((np.zeros((3, 2), "f4"), np.zeros((3, 4), "f4")))


@pytest.mark.parametrize("port", [H_OUT, Port("h_out", (2, 2), ((1,), (0,), (2,)))])
def test_feedback_steps_fast_and_slow(port: Port) -> None:
    graph = network()
    changed = dense(rng(4), UNITS, UNITS, name="changed", source="gru:state", function="tanh")
    h_in = replace(port, name="h_in")
    graph = replace(
        graph, layers=(*graph.layers, changed), outputs=("gru", "changed"), input_ports=(X, h_in),
        output_ports=(Y, port), states=(("h_in", "h_out"),),
    )  # fmt: skip
    one, other = (Model(graph).stream(2) for _ in range(2))
    assert one.states[0].how == "feedback"
    made = []
    for seed in range(6):
        x = uniform(rng(seed), 2, FEATURES)
        y = one.step(x)
        made.append((y, y.copy()))
        assert (y == other.step(x.astype("f8"))).all()
        state = one.get_state()["h_in"], other.get_state()["h_in"]
        assert (state[0] == state[1]).all()
    assert all((y == copy).all() for y, copy in made)
    one.reset(rows=[0])
    assert not one.get_state()["h_in"][0].any()
    assert one.get_state()["h_in"][1].any()


def test_chains_of_unported_layers_are_as_fast() -> None:
    """Without ports the same path serves: outputs of any type, several of them."""
    graph = chain(
        floats(FEATURES), gru(rng(), FEATURES, UNITS, return_sequences=True), ArgMax(name="best", inputs=("gru",))
    )
    model, x = Model(replace(graph, outputs=("gru", "best", "gru"))), uniform(rng(1), 2, 3, FEATURES)
    results = model(x)
    assert_same(results, slow(model, x))
    assert results[1].dtype == np.int32
    assert not np.may_share_memory(results[0], results[2])
