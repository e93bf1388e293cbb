"""Rows of a Stream: opened, closed, forked and run by themselves. The judge is `==` with each row alone."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from building import chain, dense, embedding, floats, gru, tokens, uniform
from fastgru import BadInput, Closed, Model, StateMismatch
from fastgru.graph import Combine, Concatenate, Graph, tensor_spec
from stream_operations import CASES, play
from test_stream_states import cell, stack

pytestmark = pytest.mark.dtypes

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


def test_closing_and_opening_takes_no_more_memory() -> None:
    stream = decoder().stream(batch_size=600, inputs={"h0": np.zeros((600, UNITS))})
    h0 = np.ones((1, UNITS), np.float32)
    stream.step(np.zeros((600, FEATURES), np.float32))
    taken, room = stream.nbytes, len(stream.static["h0"])
    for seed in range(5):
        for row in rng(seed).permutation(stream.rows)[:400]:
            stream.close(row)
        for _ in range(400):
            stream.open({"h0": h0})
        stream.step(np.zeros((600, FEATURES), np.float32))
    assert (stream.rows & 0xFFFFFFFF).tolist() == list(range(600))
    assert (stream.nbytes, len(stream.static["h0"])) == (taken, room)


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


# ---- chunks of unequal length --------------------------------------------------------------------------------------


def test_rows_run_their_own_steps_where_masks_do_not_reach() -> None:
    layer = gru(rng(1), FEATURES, UNITS, without=())
    model = Model(Graph((floats(FEATURES),), (layer,), ("gru", "gru:state")))
    lengths = [4, 0, STEPS, 4, 1]
    stream = model.stream(batch_size=6)
    stream.run(X[:, :2])
    last, state = stream.run(X[[5, 1, 0, 3, 2]], rows=[5, 1, 0, 3, 2], lengths=lengths)
    for i, (row, length) in enumerate(zip([5, 1, 0, 3, 2], lengths, strict=True)):
        whole = np.concatenate([X[row : row + 1, :2], X[row : row + 1, :length]], axis=1)
        assert (last[i : i + 1] == model(whole)[0]).all()
        assert (state[i : i + 1] == model(whole)[1]).all()
    assert (stream.step(X[4:5, 2], rows=4)[0] == model(X[4:5, :3])[0]).all(), "the row beside them stands where it did"


def test_what_lies_past_a_rows_own_steps_is_zero() -> None:
    layers = (
        gru(rng(1), FEATURES, UNITS, return_sequences=True),
        dense(rng(2), UNITS, 2, name="out", source="gru", function="tanh"),
    )
    model = Model(chain(floats(FEATURES), *layers))
    whole, out = model(X), np.full((6, STEPS, 2), np.nan, np.float32)
    with model.stream(batch_size=6) as stream:
        lengths = np.array([STEPS, 3, 0, 3, 1, 5], np.int16)
        assert stream.run(X, lengths={"x": lengths}, out=out) is out
        for row, length in enumerate(lengths):
            assert (out[row, :length] == whole[row, :length]).all()
            assert not out[row, length:].any()
        assert stream.run(X[:, :0], lengths=[0] * 6).shape == (6, 0, 2)
        assert stream.run(X[:0], rows=[], lengths=[]).shape == (0, STEPS, 2)


def test_wrong_lengths_of_rows_change_nothing() -> None:
    layers = embedding(rng(1), 9, FEATURES), gru(rng(1), FEATURES, UNITS, source="embedding", return_sequences=True)
    stream, ids = Model(chain(tokens(), *layers)).stream(batch_size=3), np.ones((3, 4), np.int64)
    late = ids.copy()
    late[2, 3] = 9
    before = stream.get_state()
    y = np.empty((3, 4, UNITS), np.float32)
    for words, x, given in [
        ("token id 9", late, {"lengths": [1, 1, 4]}),
        ("lengths\\[1\\] is 5", ids, {"lengths": [1, 5, 4]}),
        ("one a row", ids, {"lengths": [1, 2]}),
        ("one a row", ids, {"lengths": [1.0, 2.0, 3.0]}),
        ("expected 2 rows; got 3", ids, {"lengths": [1, 2], "rows": [0, 1]}),
        ("out= for 'gru' should be", ids, {"lengths": [1, 2, 3], "out": y[:, 1:]}),
        ("should hold 1 arrays", ids, {"lengths": [1, 2, 3], "out": (y, y)}),
    ]:
        with pytest.raises(BadInput, match=words):
            stream.run(x, **given)
    after = stream.get_state()
    assert (before["gru/h"] == after["gru/h"]).all()


def test_rows_with_several_inputs_run_as_many_steps_of_each() -> None:
    layers = Concatenate(name="both", inputs=("x", "a")), gru(rng(1), FEATURES + 2, UNITS, source="both")
    model = Model(Graph((floats(FEATURES), tensor_spec("a", None, (2,))), layers, ("gru",)))
    x = {"x": X[:2], "a": uniform(rng(4), 2, STEPS, 2)}
    with model.stream(batch_size=2) as stream:
        for lengths in ({"x": [2, 3], "a": [3, 2]}, {"x": [2, 3]}):
            with pytest.raises(BadInput, match=r"row 0 has 2 of 'x', but . of 'a'"):
                stream.run(x, lengths=lengths)
        with pytest.raises(BadInput, match="as many of every input, got"):
            stream.run({"x": X[:2], "a": x["a"][:, 1:]}, lengths=[1, 2])
        y = stream.run(x, lengths={"x": [2, 3], "a": [2, 3]})
    for row, length in enumerate([2, 3]):
        assert (y[row : row + 1] == model({name: array[row : row + 1, :length] for name, array in x.items()})).all()


# ---- rows as bytes -------------------------------------------------------------------------------------------------


def test_bytes_are_a_safetensors_file() -> None:
    model, h0 = decoder(), uniform(rng(5), 1, UNITS)
    stream = model.stream(inputs={"h0": h0})
    stream.run(X[:1, :4])
    data = stream.save_row(0)
    arrays = safetensors.numpy.load(data)
    assert sorted(arrays) == ["input/h0", "state/gru/h"]
    assert (arrays["input/h0"] == h0).all()
    other = model.stream(batch_size=0)
    row = other.load_row(bytearray(data))
    assert (other.run(X[:1, 4:], rows=row) == model(X[:1], h0)[:, 4:]).all()
    assert other.load_row(data, row) == row
    assert (other.run(X[:1, 4:], rows=row) == model(X[:1], h0)[:, 4:]).all()


@pytest.mark.parametrize(
    "graph", [stack(), masked().graph, CASES["lengths input"]().graph], ids=["native", "masked", "lengths"]
)
def test_another_process_and_kernel_set_go_on_with_the_same_bits(
    graph: Graph, tmp_path: Path, vector_isas: list[str]
) -> None:
    model, x = Model(graph), uniform(rng(7), 1, STEPS, graph.inputs[0].inner[0])
    inputs = {"n": [6]} if graph.input_names[1:] == ("n",) else None
    model.save(tmp_path / "model.safetensors")
    np.save(tmp_path / "x.npy", x[:, 4:])
    stream = model.stream(inputs=inputs)
    stream.run(x[:, :4])
    (tmp_path / "row").write_bytes(stream.save_row(0))
    expected = stream.run(x[:, 4:])
    expected = expected[0] if isinstance(expected, tuple) else expected
    program = (
        "import fastgru, numpy as np, sys; "
        "stream = fastgru.load(sys.argv[1] + '/model.safetensors').stream(batch_size=0); "
        "stream.load_row(open(sys.argv[1] + '/row', 'rb').read()); y = stream.run(np.load(sys.argv[1] + '/x.npy')); "
        "np.save(sys.argv[1] + '/y.npy', y[0] if isinstance(y, tuple) else y)"
    )
    for isa in vector_isas if model.isa in vector_isas else [model.isa]:
        environment = {**os.environ, "FASTGRU_ISA": isa}
        subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True, env=environment)
        assert (np.load(tmp_path / "y.npy") == expected).all()


def test_bytes_of_something_else() -> None:
    model = decoder()
    stream = model.stream(inputs={"h0": np.ones((1, UNITS))})
    stream.run(X[:1, :4])
    before, good = stream.get_state(), stream.save_row(0)
    other = Model(Graph(model.graph.inputs, (gru(rng(9), FEATURES, UNITS, inputs=("x", "h0")),), ("gru",)))
    foreign = other.stream(inputs={"h0": np.ones((1, UNITS))}).save_row(0)
    parts = safetensors.numpy.load(good)
    belongs = stream._belonging()
    save, another = safetensors.numpy.save, "float16" if model.dtype == "bfloat16" else "bfloat16"
    long = {key: np.repeat(array, 2, axis=0) for key, array in parts.items()}
    wrong: list[tuple[str, Any]] = [
        ("is bytes, got str", "text"),
        ("is bytes, got NoneType", None),
        ("too few", b""),
        ("fingerprint is ", foreign),
        (f"dtype is {another}", save(parts, {**belongs, "dtype": another})),
        ("carries is ", save(parts, {**belongs, "carries": "[]x"})),
        ("rows of format 1, the one given is of '2'", save(parts, {**belongs, "fastgru_row": "2"})),
        ("no fastgru_row", save(parts)),
        ("network's state is", save(long, belongs)),
        ("inputs without time are", save({**parts, "input/h0": long["input/h0"]}, belongs)),
        ("inputs without time are", save({**parts, "input/h0": parts["input/h0"].astype(np.int32)}, belongs)),
        ("not 'more'", save({**parts, "more": parts["input/h0"]}, belongs)),
        ("network's state is", save({**parts, "state/more": parts["input/h0"]}, belongs)),
        ("dtype", save({**parts, "input/h0": parts["input/h0"].astype(np.float64)}, belongs)),
    ]
    for words, data in wrong:
        for row in (None, 0):
            with pytest.raises(StateMismatch, match=re.escape(words)):
                stream.load_row(data, row)
    for length in range(0, len(good), 7):  # cut short, or a byte changed: refused, or as good as any other state
        with pytest.raises(StateMismatch):
            stream.load_row(good[:length])
        damaged = bytearray(good)
        damaged[length] ^= 0x55
        with contextlib.suppress(StateMismatch):
            stream.close(stream.load_row(bytes(damaged)))
    assert (stream.batch_size, stream.rows.tolist()) == (1, [0])
    assert (stream.get_state()["gru/h"] == before["gru/h"]).all()


def test_ids_of_damaged_bytes_are_checked() -> None:
    layers = embedding(rng(1), 9, FEATURES), gru(rng(1), FEATURES, UNITS, source="x0")
    layers = (
        replace(layers[0], inputs=("who",)),
        Combine(name="x0", inputs=("x", "embedding"), operation="add"),
        layers[1],
    )
    model = Model(Graph((floats(FEATURES), tensor_spec("who", False, (), "int32")), layers, ("gru",)))
    stream = model.stream(inputs={"who": [3]})
    parts = safetensors.numpy.load(stream.save_row(0))
    parts["input/who"][0] = 9
    with pytest.raises(StateMismatch, match=r"the row is damaged: .* token id 9"):
        stream.load_row(safetensors.numpy.save(parts, stream._belonging()))


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
