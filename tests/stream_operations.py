"""Random operations on the rows of Streams, held with `==` against each row alone.

Rows open, close, fork, reset, take steps and chunks on subsets in any order, and move between two streams as dicts of
arrays and as bytes. What every row was given is noted, and replayed alone in the end.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from building import chain, dense, embedding, floats, gru, tokens, uniform, vector_sets
from fastgru import BadInput, Closed, Model
from fastgru.graph import Combine, Concatenate, Conv, Graph, Masking, Pool, StepMask, tensor_spec
from test_stream_states import cell, stack

FEATURES, UNITS = 3, 5
MOST_ROWS, MOST_STEPS = 24, 6

Draw = Callable[[np.random.Generator, int, int], Any]


# ---- networks ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """A network, and how its rows are fed.

    Attributes
    ----------
    graph : Graph
    draw : function of generator, rows and steps
        Sequence inputs, one array or a dict: (rows, steps, …).
    inputs : function of generator, or None
        Those without time of one row.
    state : dict or None
        As `Model.stream`.
    cuts : bool
        Whether rows with lengths run their own steps only; else what lies past them is masked.
    takes_lengths, takes_step : bool
    """

    graph: Graph
    draw: Draw
    inputs: Callable[[np.random.Generator], dict[str, Any]] | None = None
    state: Mapping[str, str] | None = None
    cuts: bool = False
    takes_lengths: bool = True
    takes_step: bool = True


def _floats(features: int = FEATURES) -> Draw:
    return lambda rng, rows, steps: uniform(rng, rows, steps, features)


def _masked_stack() -> Case:
    """Ids, of which 0 is masked, → embedding → two GRUs → softmax."""
    rng = np.random.default_rng(1)
    first = gru(rng, 4, UNITS, name="g0", source="embedding", mask="embedding:mask", return_sequences=True, without=())
    second = gru(rng, UNITS, 6, name="g1", source="g0", mask="embedding:mask", return_sequences=True)
    layers = (embedding(rng, 9, 4, mask_zero=True, mask="x:mask"), first, second)
    graph = chain(tokens(), *layers, dense(rng, 6, 3, name="out", source="g1", function="softmax"))
    return Case(graph, lambda rng, rows, steps: rng.integers(0, 9, (rows, steps)))


def _reset_before() -> Case:
    """The other variant, its last output and its sequence; masked steps give zero."""
    options = {"reset_after": False, "mask": "masking:mask", "return_sequences": True, "zero_output_for_mask": True}
    layers = (
        Masking(name="masking", inputs=("x",), mask="x:mask"),
        gru(np.random.default_rng(2), FEATURES, UNITS, source="masking", **options),
    )
    graph = Graph((floats(FEATURES),), layers, ("gru", "gru:state"))

    def draw(rng: np.random.Generator, rows: int, steps: int) -> np.ndarray:
        x = uniform(rng, rows, steps, FEATURES)
        x[rng.random((rows, steps)) < 0.2] = 0
        return x

    return Case(graph, draw)


def _last_output() -> Case:
    """No mask reaches the GRU: only its last output, of the row's own steps."""
    layer = gru(np.random.default_rng(3), FEATURES, UNITS, without=())
    graph = chain(
        floats(FEATURES), layer, dense(np.random.default_rng(4), UNITS, 2, name="out", source="gru", function="tanh")
    )
    return Case(graph, _floats(), cuts=True)


def _lengths_input() -> Case:
    """An input holds how many steps of the whole sequence are meant."""
    layers = (
        StepMask(name="meant", inputs=("x", "n")),
        gru(
            np.random.default_rng(5),
            FEATURES,
            UNITS,
            mask="meant",
            return_sequences=True,
            zero_state_without_steps=True,
        ),
    )
    graph = Graph((floats(FEATURES), tensor_spec("n", False, (), "int32")), layers, ("gru", "gru:state"))
    return Case(graph, _floats(), lambda rng: {"n": rng.integers(0, 30, 1)}, cuts=True)


def _several_inputs() -> Case:
    """Two sequences side by side, one of ids, and a vector without time at every step."""
    rng = np.random.default_rng(6)
    layers = (
        embedding(rng, 7, 2),
        Concatenate(name="both", inputs=("embedding", "a")),
        gru(rng, FEATURES + 2, UNITS, source="both", mask="a:mask", return_sequences=True),
        Combine(name="sum", inputs=("gru", "v"), operation="add"),
    )
    inputs = (tokens(), tensor_spec("a", None, (FEATURES,)), tensor_spec("v", False, (UNITS,)))

    def draw(rng: np.random.Generator, rows: int, steps: int) -> dict[str, np.ndarray]:
        return {"x": rng.integers(0, 7, (rows, steps)), "a": uniform(rng, rows, steps, FEATURES)}

    graph = Graph(inputs, layers, ("sum",))
    return Case(graph, draw, lambda rng: {"v": uniform(rng, 1, UNITS)}, takes_lengths=False)


def _initial_state() -> Case:
    """A decoder: where it begins is an input without time."""
    layer = gru(np.random.default_rng(7), FEATURES, UNITS, inputs=("x", "h0"), mask="x:mask", return_sequences=True)
    graph = Graph((floats(FEATURES), tensor_spec("h0", False, (UNITS,))), (layer,), ("gru",))
    return Case(graph, _floats(), lambda rng: {"h0": uniform(rng, 1, UNITS)})


def _causal() -> Case:
    """Windows that look back, beside a GRU whose mask lengths make."""
    rng = np.random.default_rng(9)
    layers = (
        Conv(name="conv", inputs=("x",), kernel=uniform(rng, 3, FEATURES, 4), dilation=(2,), pads=(4, 0)),
        Pool(name="mean", inputs=("conv",), function="average", size=(3,), strides=(1,), pads=(2, 0)),
        gru(rng, 4, UNITS, source="mean", return_sequences=True),
        gru(rng, FEATURES, 4, name="g", mask="x:mask"),
    )
    return Case(Graph((floats(FEATURES),), layers, ("gru", "g")), _floats(), cuts=True)


def _strided() -> Case:
    """Fewer steps come out than go in, and other ones from row to row."""
    rng = np.random.default_rng(10)
    layers = (
        Conv(name="conv", inputs=("x",), kernel=uniform(rng, 3, FEATURES, 4), strides=(2,)),
        gru(rng, 4, UNITS, source="conv", return_sequences=True),
        Pool(name="most", inputs=("conv",), function="maximum", size=(2,), strides=(2,)),
        gru(rng, 4, 6, name="last", source="most"),
    )
    return Case(Graph((floats(FEATURES),), layers, ("gru", "most", "last")), _floats(), cuts=True, takes_step=False)


def _wide() -> Case:
    """Enough work for several threads."""
    rng = np.random.default_rng(8)
    layers = [gru(rng, 64, 96, name="g0", return_sequences=True), gru(rng, 96, 64, name="g1", source="g0")]
    return Case(chain(floats(64), *layers), _floats(64), cuts=True)


CASES: dict[str, Callable[[], Case]] = {
    "masked stack": _masked_stack,
    "reset before": _reset_before,
    "last output": _last_output,
    "lengths input": _lengths_input,
    "several inputs": _several_inputs,
    "initial state": _initial_state,
    "native states": lambda: Case(stack(), _floats(4)),
    "feedback": lambda: Case(cell(), _floats(4), state={"h": "next"}, takes_lengths=False),
    "causal convolution": _causal,
    "strided": _strided,
    "wide": _wide,
}


# ---- rows ----------------------------------------------------------------------------------------------------------


@dataclass
class Row:
    """What a row was given and gave: of each event its kind, input, length and results."""

    inputs: dict[str, Any] | None
    events: list[tuple[str, Any, int | None, tuple[np.ndarray, ...]]] = field(default_factory=list)


def _part(x: Any, rows: Any) -> Any:
    return {name: array[rows] for name, array in x.items()} if isinstance(x, dict) else x[rows]


def _at(x: Any, t: Any) -> Any:
    return {name: array[:, t] for name, array in x.items()} if isinstance(x, dict) else x[:, t]


def _tuple(results: Any) -> tuple[np.ndarray, ...]:
    return results if isinstance(results, tuple) else (results,)


def same(one: np.ndarray, other: np.ndarray) -> bool:
    return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()


@contextmanager
def on(isa: str) -> Iterator[None]:
    """Networks made inside run on that kernel set."""
    before = os.environ.get("FASTGRU_ISA")
    os.environ["FASTGRU_ISA"] = isa
    try:
        yield
    finally:
        if before is None:
            del os.environ["FASTGRU_ISA"]
        else:
            os.environ["FASTGRU_ISA"] = before


def other_isa(isa: str, dtype: str) -> str:
    """One that promises the same bits."""
    agreeing = vector_sets(dtype)
    others = [name for name in agreeing if name != isa]
    return others[-1] if others and isa in agreeing else isa


class Players:
    """Two streams of one network, on two kernel sets where these promise the same bits, and all rows that were ever
    opened in them."""

    def __init__(self, case: Case, isa: str, threads: int, seed: int, dtype: str | None = None) -> None:
        self.case, self.rng = case, np.random.default_rng(seed)
        with on(isa):
            self.model = Model(case.graph, dtype=dtype)
        with on(other_isa(isa, self.model.dtype)):
            other = Model(case.graph, dtype=dtype)
        options: dict[str, Any] = {"threads": threads, "state": case.state}
        self.streams = [model.stream(batch_size=0, **options) for model in (self.model, other)]
        self.open: list[dict[int, Row]] = [{}, {}]
        self.closed: list[Row] = []
        self.gone: list[list[int]] = [[], []]
        self.counts: dict[str, int] = {}

    def play(self, operations: int) -> None:
        """Operations at random."""
        acts = [self._open, self._close, self._fork, self._reset, self._move, self._wrong, self._step, self._run]
        weights = np.array([3, 1, 1, 1, 2, 1, 8, 8])
        for _ in range(operations):
            side = int(self.rng.integers(2))
            crowded = len(self.open[side]) >= MOST_ROWS
            act = self._close if crowded else acts[self.rng.choice(len(acts), p=weights / weights.sum())]
            if self.open[side] or act == self._open:
                act(side)
                self.counts[act.__name__] = self.counts.get(act.__name__, 0) + 1

    def _pick(self, side: int) -> int:
        return list(self.open[side])[self.rng.integers(len(self.open[side]))]

    def _open(self, side: int) -> None:
        inputs = None if self.case.inputs is None else self.case.inputs(self.rng)
        self.open[side][self.streams[side].open(inputs)] = Row(inputs)

    def _close(self, side: int) -> None:
        row = self._pick(side)
        self.streams[side].close(row)
        self.closed.append(self.open[side].pop(row))
        self.gone[side].append(row)

    def _fork(self, side: int) -> None:
        row = self._pick(side)
        told = self.open[side][row]
        self.open[side][self.streams[side].fork(row)] = Row(told.inputs, list(told.events))

    def _reset(self, side: int) -> None:
        rows = self._some(side)
        self.streams[side].reset(rows)
        for row in rows:
            self.open[side][row].events.append(("reset", None, None, ()))

    def _move(self, side: int) -> None:
        """A row, or the state of one, to the other stream or within this one, as bytes or as a dict."""
        row, to = self._pick(side), int(self.rng.integers(2))
        stream, target, told = self.streams[side], self.streams[to], self.open[side][row]
        way = self.rng.integers(4)
        if way == 0:
            moved = target.load_row(stream.save_row(row))
        elif way == 1 or not self.open[to]:
            moved = target.open(told.inputs, stream.get_state(row))
        else:
            moved = self._pick(to)
            if way == 2 or self.case.inputs is not None:  # set_state would leave the row its own inputs
                target.load_row(stream.save_row(row), moved)
            else:
                target.set_state(stream.get_state([row]), moved)
            self.closed.append(self.open[to][moved])
        if not (side == to and moved == row):
            self.open[to][moved] = Row(told.inputs, list(told.events))

    def _wrong(self, side: int) -> None:
        """Calls that must change nothing."""
        stream, rows = self.streams[side], self._some(side)
        x = self.case.draw(self.rng, len(rows), 2)
        wrong = [[*rows, rows[0]], [*rows, 2**40], [-1], rows[:-1]]
        wrong += [[row] for row in self.gone[side][-3:]]
        for handles in wrong:
            error = Closed if len(handles) == 1 and handles[0] in self.gone[side] else BadInput
            with pytest.raises(error):
                stream.run(x, rows=handles)
            if self.case.takes_step:
                with pytest.raises(error):
                    stream.step(_at(x, 0), rows=handles)

    def _some(self, side: int) -> list[int]:
        rows = list(self.open[side])
        count = int(self.rng.integers(1, len(rows) + 1))
        return [rows[i] for i in self.rng.permutation(len(rows))[:count]]

    def _chosen(self, side: int) -> tuple[Any, list[int]]:
        """`rows=`, in one of its forms, and the handles that it means."""
        if self.rng.random() < 0.2:
            return None, self.streams[side].rows.tolist()
        rows = self._some(side)
        return (np.array(rows) if self.rng.random() < 0.5 else rows), rows

    def _step(self, side: int) -> None:
        if not self.case.takes_step:
            return self._run(side)
        rows, handles = self._chosen(side)
        x = _at(self.case.draw(self.rng, len(handles), 1), 0)
        results = _tuple(self.streams[side].step(x, rows=rows))
        self._note(side, handles, "step", x, None, results)

    def _run(self, side: int) -> None:
        rows, handles = self._chosen(side)
        steps = int(self.rng.integers(1, MOST_STEPS + 1)) if self.rng.random() < 0.95 else 0
        x = self.case.draw(self.rng, len(handles), steps)
        lengths = None
        if self.case.takes_lengths and self.rng.random() < 0.5:
            lengths = self.rng.integers(0, steps + 1, len(handles))
        results = _tuple(self.streams[side].run(x, rows=rows, lengths=lengths))
        self._note(side, handles, "run", x, lengths, results)

    def _note(self, side: int, handles: list[int], kind: str, x: Any, lengths: Any, results: Any) -> None:
        for i, row in enumerate(handles):
            length = None if lengths is None else int(lengths[i])
            result = tuple([array[i : i + 1].copy() for array in results])
            self.open[side][row].events.append((kind, _part(x, slice(i, i + 1)), length, result))

    def check(self) -> int:
        """Replay every row alone; returns how many there were."""
        rows = [*self.closed, *self.open[0].values(), *self.open[1].values()]
        for row in rows:
            self._replay(row)
        return len(rows)

    def _replay(self, row: Row) -> None:
        with self.model.stream(inputs=row.inputs, state=self.case.state) as alone:
            for kind, x, length, results in row.events:
                if kind == "reset":
                    alone.reset()
                    continue
                for result, expected in zip(results, self._alone(alone, kind, x, length, results), strict=True):
                    assert same(result, expected), (kind, length, result, expected)

    def _alone(
        self, alone: Any, kind: str, x: Any, length: int | None, results: tuple[np.ndarray, ...]
    ) -> tuple[np.ndarray, ...]:
        if kind == "step":
            return _tuple(alone.step(x))
        if not self.case.cuts:
            return _tuple(alone.run(x, lengths=None if length is None else [length]))
        found = _tuple(alone.run(_at(x, slice(0, length))))
        pairs = zip(found, self.model.outputs, results, strict=True)
        return tuple([_padded(array, like) if spec.is_sequence else array for array, spec, like in pairs])


def _padded(array: np.ndarray, like: np.ndarray) -> np.ndarray:
    whole = np.zeros(like.shape, array.dtype)
    whole[:, : array.shape[1]] = array
    return whole


def play(
    name: str, isa: str, threads: int, operations: int, seed: int = 0, dtype: str | None = None
) -> dict[str, int]:
    """Operations on a case by its name, checked; returns how many there were of each kind, and of rows."""
    players = Players(CASES[name](), isa, threads, seed, dtype)
    players.play(operations)
    return {**players.counts, "rows": players.check()}
