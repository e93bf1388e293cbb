"""Rows of a Stream: opened, closed, forked and run by themselves. The judge is `==` with each row alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from building import chain, dense, floats, gru, uniform
from fastgru import BadInput, Closed, Model, StateMismatch
from fastgru.graph import Graph, tensor_spec
from stream_operations import CASES, play
from test_stream_states import cell, stack

FEATURES, UNITS, STEPS = 3, 5, 9


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def masked() -> Model:
    """x → GRU → dense, lengths mask."""
    layers = gru(rng(1), FEATURES, UNITS, return_sequences=True, mask="x:mask", without=())
    return Model(chain(floats(FEATURES), layers, dense(rng(2), UNITS, 2, name="out", source="gru", function="tanh")))


def decoder() -> Model:
    """x and, without time, where the GRU begins."""
    layer = gru(rng(1), FEATURES, UNITS, inputs=("x", "h0"), return_sequences=True)
    return Model(Graph((floats(FEATURES), tensor_spec("h0", False, (UNITS,))), (layer,), ("gru",)))


X = uniform(rng(3), 6, STEPS, FEATURES)


# ---- handles -------------------------------------------------------------------------------------------------------


def test_handles_are_places_with_generations() -> None:
    stream = masked().stream(batch_size=3)
    assert stream.rows.tolist() == [0, 1, 2]
    assert stream.rows.dtype == np.int64
    stream.close(1)
    assert (stream.batch_size, stream.rows.tolist()) == (2, [0, 2])
    again = stream.open()
    assert again == 1 << 32 | 1
    assert type(again) is int
    assert stream.open() == 3
    assert stream.rows.tolist() == [0, again, 2, 3], "ordered by place"
    for row in (again, 0, 3):
        stream.close(row)
    assert {stream.open() for _ in range(3)} == {2 << 32 | 1, 1 << 32, 1 << 32 | 3}


def test_a_stream_may_begin_without_rows() -> None:
    stream = masked().stream(batch_size=0)
    assert stream.rows.tolist() == []
    assert stream.step(X[:0, 0]).shape == (0, 2)
    row = stream.open()
    assert (stream.run(X[:1]) == masked()(X[:1])).all()
    assert row == 0


def test_rows_come_and_go_beside_each_other() -> None:
    model = masked()
    whole = model(X)
    stream = model.stream(batch_size=2)
    assert (stream.run(X[:2, :4]) == whole[:2, :4]).all()
    late = stream.open()
    assert (stream.run(X[[2, 0], :4], rows=[late, 0])[0] == whole[2, :4]).all()
    stream.close(0)
    newest = stream.open()
    assert (stream.step(X[[3, 1], 0], rows=[newest, 1])[0] == whole[3, 0]).all()
    assert (stream.run(X[2:3, 4:], rows=late) == whole[2:3, 4:]).all()
    assert (stream.run(X[3:4, 1:], rows=(newest,)) == whole[3:4, 1:]).all()


def test_all_rows_are_those_that_are_open() -> None:
    model = masked()
    whole, stream = model(X), model.stream(batch_size=4)
    stream.run(X[:4, :3])
    stream.close(1)
    assert (stream.run(X[[0, 2, 3], 3:6]) == whole[[0, 2, 3], 3:6]).all()
    stream.close(3)
    assert (stream.run(X[[0, 2], 6:]) == whole[[0, 2], 6:]).all()


@pytest.mark.parametrize("kind", [list, tuple, np.array, lambda rows: np.array(rows, np.int32)[::-1][::-1], iter])
def test_rows_in_any_sequence(kind: Callable[[list[int]], Any]) -> None:
    model = masked()
    stream = model.stream(batch_size=6)
    out = np.empty((3, STEPS, 2), np.float32)
    assert stream.run(X[[4, 0, 3]], rows=kind([4, 0, 3]), out=out) is out
    assert (out == model(X[[4, 0, 3]])).all()
    assert (stream.run(X[[1, 2, 5]], rows=[1, 2, 5]) == model(X[[1, 2, 5]])).all()


def test_rows_have_inputs_without_time() -> None:
    model, h0 = decoder(), uniform(rng(5), 6, UNITS)
    whole = model(X, h0)
    stream = model.stream(batch_size=2, inputs={"h0": h0[:2]})
    rows = [0, 1] + [stream.open({"h0": h0[i : i + 1]}) for i in (2, 3, 4)]
    assert (stream.step(X[[4, 1], 0], rows=[rows[4], 1]) == whole[[4, 1], 0]).all()
    assert (stream.run(X[[3, 0]].tolist(), rows=[rows[3], 0]) == whole[[3, 0]]).all(), "by way of lists"
    stream.close(0)
    assert (stream.run(X[[2]], rows=rows[2]) == whole[[2]]).all()
    stream.reset(rows[4])
    assert (stream.run(X[[4]], rows=rows[4]) == whole[[4]]).all(), "back to its own beginning"
    none = model.stream(batch_size=0)
    assert (none.run(X[5:], rows=none.open({"h0": h0[5:]})) == whole[5:]).all()


@pytest.mark.parametrize(("graph", "state"), [(stack(), None), (cell(), {"h": "next"})], ids=["native", "feedback"])
def test_rows_carry_states(graph: Graph, state: dict[str, str] | None) -> None:
    model, x = Model(graph), uniform(rng(7), 5, STEPS, 4)
    lone = [model.stream(state=state) for _ in range(5)]
    whole = np.concatenate([stream.run(x[i : i + 1]) for i, stream in enumerate(lone)])
    stream = model.stream(batch_size=2, state=state)
    stream.run(x[:2, :4])
    third = stream.open()
    assert (stream.run(x[[2, 1], :4], rows=[third, 1])[0] == whole[2, :4]).all()
    stream.reset(1)
    stream.run(x[[1, 2], :5], rows=[1, third])
    stream.set_state(stream.get_state(0), third)
    assert (stream.step(x[[0, 0, 1], 4:5][:, 0], rows=[third, 0, 1])[:2] == whole[[0, 0], 4]).all()
    forked = stream.fork(third)
    stream.close(0)
    assert (stream.run(x[[0, 0], 5:], rows=[forked, third]) == whole[[0, 0], 5:]).all()
    first = stream.open()
    assert (stream.run(x[:1], rows=first) == whole[:1]).all(), "nothing is left of the row that stood there"


# ---- fork and copies -----------------------------------------------------------------------------------------------


def test_fork_stands_where_the_row_does() -> None:
    model, h0 = decoder(), uniform(rng(5), 1, UNITS)
    whole = model(X[:1], h0)
    stream = model.stream(inputs={"h0": h0})
    fresh = stream.fork(0)
    stream.run(X[:1, :4], rows=0)
    forked = stream.fork(0)
    assert (stream.run(X[[0, 0], 4:], rows=[0, forked]) == whole[[0, 0], 4:]).all()
    assert (stream.run(X[:1], rows=fresh) == whole).all()
    stream.reset(forked)
    assert (stream.run(X[:1], rows=forked) == whole).all(), "with the same inputs without time"


@pytest.mark.parametrize("state", [None, {"h": "next"}], ids=["core", "feedback"])
def test_copies_are_made_all_at_once(state: dict[str, str] | None) -> None:
    model = Model(cell()) if state else masked()
    x = uniform(rng(8), 6, STEPS, 4 if state else FEATURES)
    for seed in range(20):
        one, other = (model.stream(batch_size=6, state=state) for _ in range(2))
        for steps in range(1 + seed % 3):
            one.step(x[:, steps])
        to = rng(seed).permutation(6)[: 2 + seed % 5]
        from_ = rng(seed + 1).integers(0, 6, len(to))
        before = one.get_state()
        one._copy_rows(from_, to)
        after = {key: array.copy() for key, array in before.items()}
        for key, array in before.items():
            after[key][to] = array[from_]
        other.set_state(after)
        assert (one.run(x[:, 4:]) == other.run(x[:, 4:])).all()


# ---- wrong uses ----------------------------------------------------------------------------------------------------


def test_wrong_rows_change_nothing() -> None:
    stream = masked().stream(batch_size=4)
    stream.run(X[:4, :3])
    stream.close(2)
    before = stream.get_state()
    wrong: list[tuple[type[Exception], str, Any]] = [
        (Closed, r"row 2 \(place 2, generation 0\) is closed", [0, 2]),
        (BadInput, r"rows\[2\]: row 1 \(place 1, generation 0\) is named twice", [1, 0, 1]),
        (BadInput, "none of this stream's; open are 0, 1, 3", [0, 9]),
        (BadInput, "generation 1", [0, 1 << 32]),
        (BadInput, "row -1 is", np.array([0, -1])),
        (BadInput, "got 1.5", [0, 1.5]),
        (BadInput, "got float64", np.array([0.0, 1.0])),
        (BadInput, r"shape \(1, 2\)", np.array([[0, 1]])),
        (BadInput, "got True", [True, 0]),
        (BadInput, "got 18446744073709551616", [2**64, 0]),
        (BadInput, "got object", object()),
    ]
    for error, words, rows in wrong:
        for use in (stream.step, stream.run):
            x = X[: len(rows) if hasattr(rows, "__len__") else 2]
            with pytest.raises(error, match=words):
                use(x[:, 0] if use == stream.step else x, rows=rows)
        if not (isinstance(rows, list) and len(rows) == 3):
            with pytest.raises(error, match=words):
                stream.get_state(rows)
            with pytest.raises(error, match=words):
                stream.reset(rows)
    with pytest.raises(BadInput, match="rows= names 2; got 3 rows"):
        stream.step(X[:3, 0], rows=[0, 1])
    with pytest.raises(BadInput, match="features"):
        stream.step(X[:2, 0, :2], rows=[0, 1])
    with pytest.raises(BadInput, match="out= for 'out'"):
        stream.step(X[:2, 0], rows=[0, 1], out=np.empty((3, 2), np.float32))
    after = stream.get_state()
    assert all((before[key] == after[key]).all() for key in before)


def test_closed_rows_and_streams() -> None:
    stream = masked().stream(batch_size=2)
    stream.close(0)
    for use in (stream.close, stream.fork, stream.reset, stream.get_state):
        with pytest.raises(Closed, match="row 0"):
            use(0)
        with pytest.raises(BadInput, match="row 7"):
            use(7)
    stream.close()
    stream.close()
    for use in (stream.close, stream.fork, stream.open, lambda row: stream.rows):
        with pytest.raises(Closed, match="this stream"):
            use(1)


def test_wrong_inputs_and_states_open_no_row() -> None:
    stream = decoder().stream(batch_size=0)
    h0 = np.zeros((1, UNITS), np.float32)
    for inputs in (None, {}, {"h": h0}, {"h0": h0[0]}, {"h0": np.zeros((2, UNITS))}, {"h0": h0[:, :2]}, [h0]):
        with pytest.raises(BadInput, match="input"):
            stream.open(inputs)
    for state in ({}, {"gru/h": np.zeros((2, UNITS))}, {"gru/h": np.zeros((1, 2))}, {"cell/h": h0}, h0):
        with pytest.raises(StateMismatch):
            stream.open({"h0": h0}, state)
    assert stream.batch_size == 0
    assert stream.open({"h0": h0}) == 0


# ---- anything at random --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", CASES)
def test_random_operations(name: str, isa: str, threads: int) -> None:
    """A part of what tools/check_stream_rows.py does."""
    counts = play(name, isa, threads, operations=150, seed=threads)
    assert counts["_run"] > 10
    assert counts["_move"] > 3
