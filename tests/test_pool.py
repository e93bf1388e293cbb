"""StreamPool: chunks of many rows that run together. The judge is `==` with a Stream of one row, or with the Model."""

from __future__ import annotations

import functools
import sys
import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from building import bidirectional, chain, dense, embedding, floats, gru, tokens, uniform
from fastgru import BadInput, Closed, Model, QueueFull, StateMismatch, StreamPool, UnsupportedModel
from fastgru.graph import Concatenate, Conv, Graph, Pool, TensorSpec, tensor_spec

pytestmark = pytest.mark.dtypes

FEATURES, UNITS = 5, 24


def stacked(units: int = UNITS) -> Model:
    """x → GRU → GRU → softmax."""
    rng = np.random.default_rng(1)
    first = gru(rng, FEATURES, units, name="first", return_sequences=True, without=())
    second = gru(rng, units, 9, name="second", source="first", return_sequences=True, reset_after=False)
    head = dense(rng, 9, 3, name="y", source="second", function="softmax")
    return Model(chain(floats(FEATURES), first, second, head))


def of_tokens() -> Model:
    """Token ids → GRU, its last output and all of them."""
    rng = np.random.default_rng(2)
    layers = embedding(rng, 9, 4), gru(rng, 4, UNITS, source="embedding", return_sequences=True)
    last = gru(rng, UNITS, 7, name="last", source="gru")
    return Model(Graph((tokens(),), (*layers, last), ("last", "gru")))


def of_two_inputs() -> Model:
    """Two sequences side by side, and where the GRU begins."""
    rng = np.random.default_rng(3)
    inputs = floats(FEATURES), tensor_spec("z", None, (2,)), tensor_spec("start", False, (UNITS,))
    both = Concatenate(name="both", inputs=("x", "z"))
    cell = gru(rng, FEATURES + 2, UNITS, inputs=("both", "start"), return_sequences=True)
    return Model(Graph(inputs, (both, cell), ("gru",)))


def steps(count: int, seed: int = 0) -> np.ndarray:
    return uniform(np.random.default_rng(seed), count, FEATURES)


def same(one: Any, other: Any) -> bool:
    return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()


# ---- results ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 2])
def test_rows_give_what_they_would_alone(isa: str, threads: int) -> None:
    model = stacked(160)  # enough work in a quantum for two threads
    whole = uniform(np.random.default_rng(5), 40, 60, FEATURES)
    expected = model(whole)
    with StreamPool(model, max_rows=40, threads=threads) as pool:
        rows = [pool.open() for _ in whole]
        tickets: dict[int, list[Any]] = {row: [] for row in rows}
        cuts = [sorted({0, 60, *np.random.default_rng(row).integers(0, 61, 4).tolist()}) for row in rows]
        for turn in range(5):
            for row, x, cut in zip(rows, whole, cuts, strict=True):
                if turn + 1 < len(cut):
                    tickets[row].append(pool.submit(row, x[cut[turn] : cut[turn + 1]]))
        for row, y in zip(rows, expected, strict=True):
            assert same(np.concatenate([ticket.result(60) for ticket in tickets[row]]), y)
        assert pool.stats().mean_batch > 1


def test_token_ids_and_several_outputs() -> None:
    model = of_tokens()
    ids = np.random.default_rng(0).integers(0, 9, (6, 20))
    last, all_of_them = model(ids)
    with StreamPool(model, max_rows=6) as pool:
        for kind in np.int64, np.int32, np.float32, np.uint8:
            rows = [pool.open() for _ in ids]
            first = [pool.submit(row, x[:7].astype(kind)) for row, x in zip(rows, ids, strict=True)]
            second = [pool.submit(row, x[7:].astype(kind)) for row, x in zip(rows, ids, strict=True)]
            for i, row in enumerate(rows):
                begun, done = first[i].result(60), second[i].result(60)
                assert same(done[0], last[i])
                assert same(np.concatenate([begun[1], done[1]]), all_of_them[i])
                pool.close(row)


def test_inputs_without_time_belong_to_rows() -> None:
    model = of_two_inputs()
    rng = np.random.default_rng(0)
    x, z, start = uniform(rng, 9, 30, FEATURES), uniform(rng, 9, 30, 2), uniform(rng, 9, UNITS)
    expected = model(x, z, start)
    with StreamPool(model, max_rows=10) as pool:
        rows = [pool.open(inputs={"start": one[None]}) for one in start]
        given = [{"x": x[i], "z": z[i]} if i % 2 else (x[i], z[i]) for i in range(9)]
        tickets = [pool.submit(row, both) for row, both in zip(rows, given, strict=True)]
        assert all(same(ticket.result(60), y) for ticket, y in zip(tickets, expected, strict=True))
        pool.reset(rows[3])
        twin = pool.fork(rows[3])
        tickets = [pool.submit(row, (x[3], z[3])) for row in (rows[3], twin)]
        assert all(same(ticket.result(60), expected[3]) for ticket in tickets)
        for wrong in None, {}, {"start": start}, {"start": start[:1], "x": x[:1]}:
            with pytest.raises(BadInput, match=r"start|a row takes a batch of 1"):
                pool.open(inputs=wrong)


def test_a_lone_row_and_chunks_of_any_size() -> None:
    model = stacked()
    with StreamPool(model, max_rows=1) as pool, model.stream() as stream:
        row = pool.open()
        for count in 1, 700, 0, 3, 1, 129:
            x = steps(count, count)
            assert same(pool.submit(row, x).result(60), stream.run(x[None])[0])


def test_a_short_chunk_does_not_wait_for_long_ones() -> None:
    model = stacked(128)
    with StreamPool(model, max_rows=5) as pool:
        long = [pool.submit(pool.open(), steps(20_000)) for _ in range(4)]
        short = pool.submit(pool.open(), steps(10))
        short.result(60)
        assert not any(ticket.done() for ticket in long)
        pool.close(drain=False)


def test_long_chunks_go_on_while_short_ones_come() -> None:
    model = stacked(64)
    stop, new = threading.Event(), steps(16)

    def keep_busy(pool: StreamPool) -> None:
        rows = [pool.open() for _ in range(64)]
        while not stop.is_set():
            for ticket in [pool.submit(row, new) for row in rows]:
                ticket.result(60)

    with StreamPool(model, max_rows=65) as pool:
        thread = threading.Thread(target=keep_busy, args=(pool,))
        thread.start()
        try:
            assert len(pool.submit(pool.open(), steps(3000)).result(60)) == 3000
        finally:
            stop.set()
            thread.join()


def causal_conv(rng: np.random.Generator) -> Conv:
    return Conv(name="conv", inputs=("x",), kernel=uniform(rng, 4, FEATURES, 6), pads=(3, 0))


def test_windows_look_back_on_their_own_row() -> None:
    rng = np.random.default_rng(6)
    model = Model(chain(floats(FEATURES), causal_conv(rng), gru(rng, 6, UNITS, source="conv", return_sequences=True)))
    x = uniform(rng, 7, 50, FEATURES)
    with StreamPool(model, max_rows=14) as pool:
        rows = [pool.open() for _ in x]
        first = [pool.submit(row, one[: 5 + row]) for row, one in zip(rows, x, strict=True)]
        twins = [pool.fork(row) for row in rows]
        second = [pool.submit(row, one[5 + i :]) for i, (row, one) in enumerate(zip(twins, x, strict=True))]
        for begun, rest, y in zip(first, second, model(x), strict=True):
            assert same(np.concatenate([begun.result(60), rest.result(60)]), y)


# ---- rows ------------------------------------------------------------------------------------------------------------


def test_handles_are_never_given_twice() -> None:
    with StreamPool(stacked(), max_rows=2) as pool:
        one, other = pool.open(), pool.open()
        with pytest.raises(QueueFull, match="every row of this pool is open"):
            pool.open()
        pool.close(one)
        again = pool.open()
        assert len({one, other, again}) == 3
        assert again == one + (1 << 32)
        for call in pool.submit, lambda row, x: pool.get_state(row), lambda row, x: pool.close(row):
            with pytest.raises(Closed, match=r"row 0 .*closed"):
                call(one, steps(1))
        for row in 7, -1, 5 << 32, "one", 1.0, None, 2**70, True:
            with pytest.raises(BadInput, match="row"):
                pool.submit(row, steps(1))  # type: ignore[arg-type]


def test_a_closed_row_runs_what_it_has() -> None:
    model = stacked(64)
    x = steps(2000)
    with StreamPool(model, max_rows=1) as pool:
        row = pool.open()
        tickets = [pool.submit(row, x[:1500]), pool.submit(row, x[1500:])]
        pool.close(row)
        with pytest.raises(QueueFull):  # its place is not free yet
            pool.open()
        assert same(np.concatenate([ticket.result(60) for ticket in tickets]), model(x[None])[0])
        assert same(pool.submit(pool.open(), x[:9]).result(60), model(x[None, :9])[0])


def test_reset_stands_in_line() -> None:
    model = stacked()
    x = steps(400)
    with StreamPool(model, max_rows=1) as pool:
        row = pool.open()
        before = pool.submit(row, x)
        pool.reset(row)
        after = pool.submit(row, x)
        assert same(before.result(60), after.result(60))


def test_states_move_between_pools_and_streams() -> None:
    model = stacked()
    x = steps(90)
    whole = model(x[None])[0]
    with StreamPool(model, max_rows=3) as pool, model.stream() as stream:
        row = pool.open()
        pool.submit(row, x[:50])
        state = pool.get_state(row)  # behind what was submitted
        stream.run(x[None, :50])
        assert state.keys() == stream.get_state().keys()
        assert all(same(state[key], value) for key, value in stream.get_state().items())
        stream.set_state(state)
        assert same(stream.run(x[None, 50:])[0], whole[50:])
        moved, twin = pool.open(state=state), pool.fork(row)
        tickets = [pool.submit(one, x[50:]) for one in (row, moved, twin)]
        assert all(same(ticket.result(60), whole[50:]) for ticket in tickets)
        pool.set_state(state, row)
        assert same(pool.submit(row, x[50:]).result(60), whole[50:])
        pool.close(moved)
        fresh = pool.get_state(pool.open())  # the place is the same
        assert same(fresh["first/h"][0], model.graph.layers[0].tensors["initial_state"])
        with pytest.raises(StateMismatch):
            pool.set_state({}, row)
        with pytest.raises(StateMismatch):
            pool.open(state={key: value[:, :-1] for key, value in state.items()})
        assert pool.stats().rows == 3


def test_carried_states_are_those_of_a_stream() -> None:
    rng = np.random.default_rng(4)
    inputs = floats(FEATURES), tensor_spec("h_in", False, (UNITS,))
    cell = gru(rng, FEATURES, UNITS, inputs=("x", "h_in"), return_sequences=True)
    model = Model(Graph(inputs, (cell,), ("gru", "gru:state"), states=(("h_in", "gru:state"),)))
    x, h = steps(20), uniform(rng, 1, UNITS)
    with StreamPool(model, max_rows=2) as pool, model.stream(inputs={"h_in": h}) as stream:
        row = pool.open(inputs={"h_in": h})
        assert same(pool.submit(row, x).result(60), stream.run(x[None])[0])
        assert same(pool.get_state(row)["h_in"], stream.get_state()["h_in"])
        assert same(pool.submit(pool.open(), x).result(60), model.stream().run(x[None])[0])


# ---- what is refused -------------------------------------------------------------------------------------------------


def test_networks_that_cannot_share_batches_are_refused() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(UnsupportedModel, match="goes backwards"):
        StreamPool(Model(chain(floats(3), *bidirectional(rng, 3, 4))))
    flat = tensor_spec("x", False, (3,))
    with pytest.raises(UnsupportedModel, match="no input with a time axis"):
        StreamPool(Model(chain(flat, dense(rng, 3, 2, name="y", source="x", function="tanh"))))
    pooled = Pool(name="pooled", inputs=("conv",), function="maximum", size=(2,), strides=(2,))
    with pytest.raises(UnsupportedModel, match="'pooled' changes the number of steps"):
        StreamPool(Model(chain(floats(FEATURES), causal_conv(rng), pooled)))
    fixed = TensorSpec("x", (4, None, 3), "float32", ("batch", "time", "features"))
    with pytest.raises(UnsupportedModel, match="'x' has a fixed batch of 4"):
        StreamPool(Model(chain(fixed, gru(rng, 3, 4))))
    fed = Graph(
        (floats(3), tensor_spec("h_in", False, (4,))),
        (gru(rng, 3, 4, inputs=("x", "h_in")), dense(rng, 4, 4, name="h", source="gru", function="tanh")),
        ("gru", "h"),
        states=(("h_in", "h"),),
    )
    with pytest.raises(UnsupportedModel, match="'h_in' is fed with output 'h'"):
        StreamPool(Model(fed))


def test_arguments_are_checked() -> None:
    model = stacked()
    with pytest.raises(BadInput, match="takes a Model"):
        StreamPool("model.h5")  # type: ignore[arg-type]
    for wrong in {"max_rows": 0}, {"queue": -1}, {"threads": 0}, {"max_rows": 2.5}:
        with pytest.raises(BadInput, match=next(iter(wrong))):
            StreamPool(model, **wrong)  # type: ignore[arg-type]
    with StreamPool(model, max_rows=1) as pool:
        row = pool.open()
        complex_steps = np.zeros((3, FEATURES), complex)
        for x in steps(4)[None], steps(4)[:, :-1], "steps", None, [steps(1), steps(2)], complex_steps:
            with pytest.raises(BadInput, match=r"input 'x' takes float32 of shape \(time, features\) = \(any, 5\)"):
                pool.submit(row, x)
        with pytest.raises(BadInput, match="callback should be a function"):
            pool.submit(row, steps(1), callback=3)  # type: ignore[arg-type]
        for timeout in -1, "soon", float("nan"):
            with pytest.raises(BadInput, match="timeout should be"):
                pool.poll(timeout)  # type: ignore[arg-type]
        with pytest.raises(BadInput, match="most"):
            pool.poll(0, 0)
        ticket = pool.submit(row, steps(4).astype(np.float64)[::-1].tolist())  # what Stream would convert
        assert ticket.result(60).shape == (4, 3)
        assert pool.stats().row_steps == 4


@pytest.mark.parametrize("queue", [1, 9])
def test_a_wrong_timeout_submits_nothing_and_keeps_nothing(queue: int) -> None:
    with StreamPool(stacked(), queue=queue) as pool:
        row = pool.open()
        pool.submit(row, steps(1))
        counts = set()
        for _ in range(5):
            with pytest.raises(BadInput, match="timeout should be None or a number of seconds"):
                pool.submit(row, steps(1), timeout="soon")
            counts.add(sys.getrefcount(pool._scheduler))
        assert len(counts) == 1
        assert pool.stats().untaken == 1


def test_a_row_whose_opening_is_interrupted_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    model = stacked()
    state = model.stream().get_state()

    def interrupt(row: int) -> None:
        raise KeyboardInterrupt

    with StreamPool(model, max_rows=1) as pool:
        with monkeypatch.context() as patch:
            patch.setattr(pool, "_held", interrupt)
            with pytest.raises(KeyboardInterrupt):
                pool.open(state=state)
        assert pool.stats().rows == 0
        pool.open(state=state)


def test_ids_outside_the_vocabulary_are_refused() -> None:
    with StreamPool(of_tokens()) as pool:
        row = pool.open()
        for wrong in [3, 9], [-1], [2**40]:
            for kind in np.int32, np.int64:
                if kind is np.int64 or wrong[0] != 2**40:
                    with pytest.raises(BadInput, match="is outside the vocabulary 0 … 8"):
                        pool.submit(row, np.array(wrong, kind))


def test_inputs_of_one_chunk_have_one_number_of_steps() -> None:
    model = of_two_inputs()
    with StreamPool(model) as pool:
        row = pool.open(inputs={"start": np.zeros((1, UNITS))})
        with pytest.raises(BadInput, match=r"one number of steps, got \{'x': 3, 'z': 2\}"):
            pool.submit(row, (steps(3), np.zeros((2, 2), np.float32)))
        with pytest.raises(BadInput, match="expected 2 inputs"):
            pool.submit(row, steps(3))
        with pytest.raises(BadInput, match="expected inputs named 'x', 'z'"):
            pool.submit(row, {"x": steps(3)})


# ---- anything in any order -------------------------------------------------------------------------------------------


KINDS = st.sampled_from(["open", "close", "run", "run", "run", "reset", "move", "fork"])
OPERATION = st.tuples(KINDS, st.integers(0, 2**20))


@given(st.lists(OPERATION, max_size=60), st.sampled_from([1, 2]))
def test_any_operations_give_what_streams_of_one_row_give(
    isa: str, operations: list[tuple[str, int]], threads: int
) -> None:
    model = _model_of(isa)
    pool = StreamPool(model, max_rows=6, threads=threads)
    rows: dict[int, Any] = {}  # handle → the Stream that does the same
    waiting: list[tuple[Any, np.ndarray]] = []
    for kind, number in operations:
        chosen = sorted(rows)[number % len(rows)] if rows else None
        if kind == "open" and len(rows) < 6:
            try:
                rows[pool.open()] = model.stream()
            except QueueFull:  # a closed row still runs
                continue
        if chosen is None:
            continue
        if kind == "close":
            pool.close(chosen)
            rows.pop(chosen)
        elif kind == "run":
            x = steps(number % 40, number)
            waiting.append((pool.submit(chosen, x), rows[chosen].run(x[None])[0]))
        elif kind == "reset":
            pool.reset(chosen)
            rows[chosen].reset()
        elif kind == "move":
            state = pool.get_state(chosen)
            assert all(same(state[key], value) for key, value in rows[chosen].get_state().items())
            pool.set_state(state, chosen)
        elif kind == "fork" and len(rows) < 6:
            try:
                twin = pool.fork(chosen)
            except QueueFull:
                continue
            rows[twin] = model.stream()
            rows[twin].set_state(rows[chosen].get_state())
    pool.close()
    assert all(same(ticket.result(0), y) for ticket, y in waiting)


@functools.cache
def _model_of(isa: str) -> Model:
    return stacked()
