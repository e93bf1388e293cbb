"""Stream: sequences that go on from call to call. The judge is `==` with the whole sequence."""

from __future__ import annotations

import dataclasses
import gc
import json
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fastgru
import oracle
from building import chain, dense, embedding, floats, gru, tokens, uniform
from fastgru import Closed, Model, StateMismatch, UnsupportedModel
from fastgru.graph import Activate, Activation, Conv, Graph, Layer, Masking, Reshape, tensor_spec
from tolerances import check

pytestmark = pytest.mark.dtypes

ROWS, STEPS, FEATURES, UNITS = 3, 11, 3, 5


def sequence(*shape: int) -> np.ndarray:
    return uniform(np.random.default_rng(3), *shape)


X = sequence(ROWS, STEPS, FEATURES)
IDS = np.random.default_rng(4).integers(0, 9, (ROWS, STEPS))


def two_layers(*, return_sequences: bool = True, **options: Any) -> Model:
    """x → GRU → GRU → softmax, from initial states that are not zero, masked by lengths."""
    rng = np.random.default_rng(1)
    options = {"mask": "x:mask", "without": ()} | options
    first = gru(rng, FEATURES, UNITS, name="first", return_sequences=True, **options)
    second = gru(rng, UNITS, 4, name="second", source="first", return_sequences=return_sequences, **options)
    return Model(
        chain(floats(FEATURES), first, second, dense(rng, 4, 2, name="out", source="second", function="softmax"))
    )


def of_tokens(mask_zero: bool = True, return_sequences: bool = True) -> Model:
    rng = np.random.default_rng(2)
    cell = gru(rng, 4, UNITS, source="embedding", mask="embedding:mask", return_sequences=return_sequences)
    return Model(chain(tokens(), embedding(rng, 9, 4, mask_zero=mask_zero, mask="x:mask"), cell))


def same(one: Any, other: Any) -> bool:
    one, other = np.asarray(one), np.asarray(other)
    return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()


def same_state(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)


# ---- run and step --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reset_after", [True, False], ids=["reset_after", "reset_before"])
@pytest.mark.parametrize("cuts", [[], [4], [1, 2, 9], [5, 5, 10], list(range(1, STEPS))], ids=str)
def test_chunks_give_the_whole(cuts: list[int], reset_after: bool) -> None:
    model = two_layers(reset_after=reset_after)
    with model.stream(batch_size=ROWS) as stream:
        chunks = [stream.run(chunk) for chunk in np.split(X, cuts, axis=1)]
    assert same(np.concatenate(chunks, axis=1), model(X))


def test_steps_give_the_whole() -> None:
    model = two_layers()
    with model.stream(batch_size=ROWS) as stream:
        assert same(np.stack([stream.step(X[:, t]) for t in range(STEPS)], axis=1), model(X))


def test_steps_and_chunks_may_alternate() -> None:
    model = two_layers()
    with model.stream(batch_size=ROWS) as stream:
        y = [
            stream.run(X[:, :4]),
            stream.step(X[:, 4])[:, None],
            stream.run(X[:, 5:10]),
            stream.step(X[:, 10])[:, None],
        ]
    assert same(np.concatenate(y, axis=1), model(X))


@pytest.mark.parametrize("given", ["steps", "chunks of two"])
def test_a_head_that_keeps_the_last_step(given: str) -> None:
    """After each call: what the model gives for all that came so far."""
    model = two_layers(return_sequences=False)
    with model.stream(batch_size=ROWS) as stream:
        for t in range(0, STEPS - 1, 2):
            y = (
                stream.run(X[:, t : t + 2])
                if given == "chunks of two"
                else [stream.step(X[:, t + i]) for i in (0, 1)][-1]
            )
            assert same(y, model(X[:, : t + 2]))


def test_token_ids() -> None:
    model = of_tokens()
    with model.stream(batch_size=ROWS) as stream:
        y = [stream.step(IDS[:, t]) for t in range(4)]
        rest = stream.run(IDS[:, 4:])
    assert same(np.concatenate([np.stack(y, axis=1), rest], axis=1), model(IDS))


@pytest.mark.parametrize("return_sequences", [True, False])
def test_token_ids_of_either_width(return_sequences: bool) -> None:
    model = of_tokens(return_sequences=return_sequences)
    for rows in (ROWS, 1):
        wide, narrow = IDS[:rows].astype(np.int64), IDS[:rows].astype(np.int32)
        expected = model(IDS[:rows].tolist())
        assert same(model(wide), expected)
        assert same(model(narrow), expected)
        with model.stream(batch_size=rows) as one, model.stream(batch_size=rows) as other:
            for cut in (slice(0, 1), slice(1, 7), slice(7, 9), slice(9, STEPS)):
                y = one.run(wide[:, cut])
                assert same(other.run(narrow[:, cut]), y)
                with pytest.raises(fastgru.BadInput, match="token id"):
                    one.run(np.full((rows, 3), [0, 2**32, 1]))
                with pytest.raises(fastgru.BadInput, match="token id"):
                    other.run(np.full((rows, 3), [0, 9, 1], np.int32))
        assert same(y, expected[:, cut] if return_sequences else expected)
        assert same(wide, IDS[:rows].astype(np.int64))


def test_one_row_of_one_token_is_a_list() -> None:
    model = of_tokens()
    with model.stream() as stream:
        assert stream.step([3]).shape == (1, UNITS)
        assert stream.run([[3, 4]]).shape == (1, 2, UNITS)


@pytest.mark.parametrize("mask_zero", [True, False])
def test_mask_zero_in_a_step(mask_zero: bool) -> None:
    model, ids = of_tokens(mask_zero), np.array([[0, 3, 0, 0, 5], [1, 0, 2, 3, 0]])
    with model.stream(batch_size=2) as stream:
        assert same(np.stack([stream.step(ids[:, t]) for t in range(5)], axis=1), model(ids))


def test_masking_in_a_step() -> None:
    cell = gru(np.random.default_rng(1), FEATURES, UNITS, source="masking", mask="masking:mask", return_sequences=True)
    model, x = Model(chain(floats(FEATURES), Masking(name="masking", inputs=("x",), mask="x:mask"), cell)), X.copy()
    x[0, [0, 1, 4]] = x[1, 3:] = 0
    with model.stream(batch_size=ROWS) as stream:
        assert same(np.stack([stream.step(x[:, t]) for t in range(STEPS)], axis=1), model(x))


@pytest.mark.parametrize("zero_output", [False, True])
def test_lengths_in_chunks(zero_output: bool) -> None:
    """Each row's steps at or past its length within the chunk are masked, then the next chunk goes on."""
    model = two_layers(zero_output_for_mask=zero_output)
    lengths = [[4, 0, 2], [0, 4, 1], [3, 3, 3]]
    chunks = np.split(X, [4, 8], axis=1)
    mask = np.concatenate(
        [np.arange(c.shape[1]) < np.array(n)[:, None] for c, n in zip(chunks, lengths, strict=True)], axis=1
    )
    with model.stream(batch_size=ROWS) as stream:
        y = [stream.run(chunk, lengths=n) for chunk, n in zip(chunks, lengths, strict=True)]
    assert same(np.concatenate(y, axis=1), model(X, mask=mask))


def test_several_outputs_come_as_a_tuple() -> None:
    rng = np.random.default_rng(1)
    cell = gru(rng, FEATURES, UNITS, return_sequences=True)
    model = Model(Graph((floats(FEATURES),), (cell,), ("gru", "gru:state", "x")))
    with model.stream(batch_size=ROWS) as stream:
        sequences, state, echo = stream.run(X[:, :4])
        step, last, x = stream.step(X[:, 4])
    whole = model(X[:, :5])
    assert same(np.concatenate([sequences, step[:, None]], axis=1), whole[0])
    assert same(state, sequences[:, -1])
    assert same(last, whole[1])
    assert same(echo, X[:, :4])
    assert same(x, X[:, 4])


def test_features_of_several_axes() -> None:
    reshape = Reshape(name="flat", inputs=("x",), target=(6,), per_step=True)
    model = Model(
        chain(tensor_spec("x", None, (2, 3)), reshape, gru(np.random.default_rng(1), 6, UNITS, source="flat"))
    )
    x = sequence(2, 4, 2, 3)
    with model.stream(batch_size=2) as stream:
        for t in range(4):
            y = stream.step(x[:, t])
    assert same(y, model(x))


# ---- out= ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("return_sequences", [True, False])
def test_out_is_written_and_returned(return_sequences: bool) -> None:
    model = two_layers(return_sequences=return_sequences)
    chunk, step = model(X[:, :4]), model(X[:, :5])[:, -1] if return_sequences else model(X[:, :5])
    of_chunk, of_step = np.full_like(chunk, 9), np.full_like(step, 9)
    with model.stream(batch_size=ROWS) as stream:
        assert stream.run(X[:, :4], out=of_chunk) is of_chunk
        assert stream.step(X[:, 4], out=of_step) is of_step
    assert same(of_chunk, chunk)
    assert same(of_step, step)


def test_answers_belong_to_the_caller() -> None:
    model = two_layers()
    with model.stream(batch_size=ROWS) as stream:
        first = stream.step(X[:, 0])
        kept = first.copy()
        stream.step(X[:, 1])
    assert same(first, kept)
    assert first.flags.writeable
    gc.collect()
    assert same(first, kept), "it outlives the stream"


#: what may be left of an answer: everything but the last is still its numbers
KEPT = {
    "the array": lambda y: y,
    "a view": lambda y: y[:, :1],
    "a view of a view": lambda y: y.T[None],
    "another shape": lambda y: y.reshape(-1),
    "a memoryview": memoryview,
    "a ctypes pointer": lambda y: y.ctypes,
    "a weak reference": weakref.ref,
}


#: what takes the shortest way through a call, and so may use an answer again
CONTIGUOUS = [np.ascontiguousarray(X[:, t]) for t in range(STEPS)]
ways = pytest.mark.parametrize(
    "way", [lambda stream, x: stream.step(x), lambda stream, x: stream.run(x[:, None])], ids=["step", "run"]
)


@ways
@pytest.mark.parametrize("keep", KEPT.values(), ids=KEPT)
def test_answers_of_which_something_is_held_never_change(keep: Callable[[np.ndarray], Any], way: Any) -> None:
    """Small answers are used again, but only those that are out of everybody's reach."""

    def numbers(kept: Any) -> bytes | None:
        if isinstance(kept, weakref.ref):
            return None if kept() is None else kept().tobytes()
        return getattr(kept, "_arr", kept).tobytes()

    with two_layers().stream(batch_size=ROWS) as stream:
        held = []
        for t, x in enumerate(CONTIGUOUS):
            y = way(stream, x)
            held.append((keep(y), numbers(keep(y))))
            del y
            if t % 3 == 0:
                way(stream, x)  # dropped at once
                held.pop(0)
            assert all(numbers(kept) in (before, None) for kept, before in held)


@ways
def test_answers_that_were_altered_are_not_used_again(way: Any) -> None:
    """What a caller did to an answer before dropping it does not show in a later one."""

    def turn(y: np.ndarray) -> None:
        y.shape = y.shape[::-1]

    def freeze(y: np.ndarray) -> None:
        y.flags.writeable = False

    def retype(y: np.ndarray) -> None:
        y.dtype = np.int32

    def swap(y: np.ndarray) -> None:
        y.dtype = y.dtype.newbyteorder()

    model = two_layers()
    with model.stream(batch_size=ROWS) as stream:
        expected = [way(stream, x).copy() for x in CONTIGUOUS]
    for alter in (turn, freeze, retype, swap):
        with model.stream(batch_size=ROWS) as stream:
            for x, y_of_x in zip(CONTIGUOUS, expected, strict=True):
                y = way(stream, x)
                assert same(y, y_of_x), alter
                assert y.flags.writeable
                alter(y)


def test_an_answer_is_the_next_input() -> None:
    """y = step(y), where y would be the array to use again."""
    model = Model(chain(floats(4), gru(np.random.default_rng(5), 4, 4)))
    first = sequence(2, 4)
    with model.stream(batch_size=2) as stream, model.stream(batch_size=2) as other:
        y, z = first, first.tolist()
        for _ in range(10):
            y = stream.step(stream.step(y))
            z = other.step(other.step(z).tolist()).tolist()
            assert same(y, np.float32(z))


@ways
def test_answers_dropped_at_once_are_used_again(way: Any) -> None:
    with two_layers().stream(batch_size=ROWS) as stream:
        first = way(stream, CONTIGUOUS[0])
        identity = id(first)
        del first
        assert [id(way(stream, x)) for x in CONTIGUOUS] == [identity] * STEPS
        held = [way(stream, x) for x in CONTIGUOUS]
    assert len({id(y) for y in held}) == STEPS


def test_out_of_several_outputs_and_a_wrong_one() -> None:
    cell = gru(np.random.default_rng(1), FEATURES, UNITS, return_sequences=True)
    model = Model(Graph((floats(FEATURES),), (cell,), ("gru", "gru:state")))
    out = (np.zeros((ROWS, UNITS), np.float32), np.zeros((ROWS, UNITS), np.float32))
    with model.stream(batch_size=ROWS) as stream:
        answers = stream.step(X[:, 0], out=out)
        assert answers[0] is out[0]
        assert answers[1] is out[1]
        assert same(out[0], model(X[:, :1])[1])
        with pytest.raises(fastgru.BadInput, match="out"):
            stream.step(X[:, 1], out=out[:1])
        assert same(stream.step(X[:, 1])[0], model(X[:, :2])[1]), "the refused step did not count"


# ---- reset ---------------------------------------------------------------------------------------------------------


def test_reset_of_all_rows() -> None:
    model = two_layers()
    with model.stream(batch_size=ROWS) as stream:
        fresh = stream.get_state()
        stream.run(X)
        stream.reset()
        assert same_state(stream.get_state(), fresh)
        assert same(stream.run(X), model(X))


def test_a_fresh_state_is_the_networks_own() -> None:
    model = two_layers()
    with model.stream(batch_size=ROWS) as stream:
        state = stream.get_state()
    for layer in model.graph.layers[:2]:
        assert same(state[f"{layer.name}/h"], np.stack([layer.tensors["initial_state"]] * ROWS))
        assert not state[f"{layer.name}/last_output"].any()


@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize("zero_output", [False, True])
def test_a_look_at_the_state_changes_nothing(rows: int, zero_output: bool) -> None:
    """Nor does a chunk of no steps: neither makes an output where there was none."""
    model = two_layers(zero_output_for_mask=zero_output, return_sequences=False)
    with model.stream(batch_size=rows) as stream, model.stream(batch_size=rows) as other:
        for n, lengths in enumerate(([0] * rows, [2] * rows, [0] * rows)):
            nothing = other.run(X[:rows, :0])
            state = other.get_state()
            assert same_state(other.get_state(), state)
            x = X[:rows, 2 * n : 2 * n + 2]
            y = stream.run(x, lengths=lengths)
            assert same(other.run(x, lengths=lengths), y)
            if n == 0:
                assert not any(state[f"{name}/last_output"].any() for name in ("first", "second"))
                assert same(nothing, y)


@pytest.mark.parametrize("rows", [1, [1], (1,), np.array([1]), np.int64(1), range(1, 2)], ids=repr)
def test_reset_of_some_rows(rows: Any) -> None:
    model = two_layers()
    with model.stream(batch_size=ROWS) as stream:
        stream.run(X[:, :6])
        stream.reset(rows)
        y = stream.run(X[:, 6:])
    whole = model(X)
    assert same(y[[0, 2]], whole[[0, 2], 6:])
    assert same(y[1], model(X[:, 6:])[1])


def test_reset_of_no_rows_changes_nothing() -> None:
    with two_layers().stream(batch_size=ROWS) as stream:
        stream.run(X)
        before = stream.get_state()
        stream.reset([])
        assert same_state(stream.get_state(), before)


# ---- states --------------------------------------------------------------------------------------------------------


def test_names_and_shapes_of_a_state() -> None:
    with two_layers().stream(batch_size=ROWS) as stream:
        state = stream.get_state()
        assert {key: (value.shape, value.dtype) for key, value in state.items()} == {
            "first/h": ((ROWS, UNITS), np.float32), "first/last_output": ((ROWS, UNITS), np.float32),
            "second/h": ((ROWS, 4), np.float32), "second/last_output": ((ROWS, 4), np.float32),
        }  # fmt: skip
        assert stream.get_state(rows=2)["first/h"].shape == (1, UNITS)
        assert stream.get_state(rows=[])["first/h"].shape == (0, UNITS)


def test_a_state_is_h() -> None:
    cell = gru(np.random.default_rng(1), FEATURES, UNITS)
    model = Model(Graph((floats(FEATURES),), (cell,), ("gru:state",)))
    with model.stream(batch_size=ROWS) as stream:
        h = stream.run(X)
        assert same(stream.get_state()["gru/h"], h)
        assert same(stream.get_state(rows=[2, 0, 2])["gru/h"], h[[2, 0, 2]]), "in the order asked for"


def test_a_state_is_a_copy() -> None:
    model = two_layers()
    with model.stream(batch_size=ROWS) as stream:
        stream.run(X[:, :6])
        state = stream.get_state()
        for value in state.values():
            value[:] = 9
        assert same(stream.run(X[:, 6:]), model(X)[:, 6:])


@pytest.mark.parametrize("cut", [0, 1, 6])
def test_a_state_goes_on_in_another_stream(cut: int) -> None:
    model = two_layers()
    with model.stream(batch_size=ROWS) as one, Model(model.graph).stream(batch_size=ROWS, threads=2) as other:
        one.run(X[:, :cut])
        other.run(-X)
        state = one.get_state()
        other.set_state(state)
        assert same_state(other.get_state(), state)
        assert same(other.run(X[:, cut:]), model(X)[:, cut:])
        assert same(one.run(X[:, cut:]), model(X)[:, cut:]), "reading a state does not change it"


def test_a_state_may_be_rewound() -> None:
    model = two_layers()
    with model.stream(batch_size=ROWS) as stream:
        stream.run(X[:, :5])
        state = stream.get_state()
        first = stream.run(X[:, 5:])
        stream.set_state(state)
        assert same(stream.run(X[:, 5:]), first)


def test_states_of_some_rows() -> None:
    """Rows wander: rows 2 and 0 of one stream go on as rows 0 and 1 of another."""
    model = two_layers()
    whole = model(X)
    with model.stream(batch_size=ROWS) as one, model.stream(batch_size=2) as other:
        one.run(X[:, :6])
        other.set_state(one.get_state(rows=[2, 0]))
        assert same(other.run(X[[2, 0], 6:]), whole[[2, 0], 6:])
        other.reset()
        other.set_state(one.get_state(rows=1), rows=1)
        y = other.run(X[[0, 1], 6:])
        assert same(y[0], model(X[:1, 6:])[0])
        assert same(y[1], whole[1, 6:])


@pytest.mark.parametrize("cut", [1, 2, 3, 5])
def test_states_of_masked_rows(cut: int) -> None:
    """The last output is part of the state: zero until the first unmasked step, whatever the initial state."""
    model = two_layers()
    mask = np.array([[0, 0, 1, 0, 0, 1, 0], [1, 0, 0, 0, 1, 0, 0], [0, 0, 0, 0, 0, 0, 0]], bool)
    x = X[:, :7]
    whole = model(x, mask=mask)
    with model.stream(batch_size=ROWS) as one, model.stream(batch_size=ROWS) as other:
        for t in range(cut):
            one.run(x[:, t : t + 1], lengths=mask[:, t].astype(int))
        other.run(X)
        other.set_state(one.get_state())
        y = [other.run(x[:, t : t + 1], lengths=mask[:, t].astype(int)) for t in range(cut, 7)]
    assert same(np.concatenate(y, axis=1), whole[:, cut:])


def test_states_with_zero_output_for_mask() -> None:
    model = two_layers(zero_output_for_mask=True, return_sequences=False)
    with model.stream(batch_size=ROWS) as one, model.stream(batch_size=ROWS) as other:
        one.run(X[:, :5], lengths=[5, 0, 2])
        other.set_state(one.get_state())
        nothing = np.zeros((ROWS, 2, FEATURES))
        assert same(other.run(nothing, lengths=[0, 0, 0]), one.run(nothing, lengths=[0, 0, 0]))
        mask = np.arange(7) < np.array([5, 0, 2])[:, None]
        mask[:, 5:] = True
        assert same(other.run(X[:, 5:7]), model(X[:, :7], mask=mask))


def test_a_state_of_numbers_from_elsewhere() -> None:
    """A state that went through JSON or float64 is the same state; a chosen one is taken as it is."""
    model = two_layers()
    with model.stream(batch_size=ROWS) as stream:
        stream.run(X[:, :6])
        state = stream.get_state()
        expected = stream.run(X[:, 6:])
        for form in (lambda a: json.loads(json.dumps(a.tolist())), lambda a: a.astype(np.float64), np.asfortranarray):
            stream.set_state({key: form(value) for key, value in state.items()})
            assert same(stream.run(X[:, 6:]), expected)


def test_a_refused_state_changes_nothing() -> None:
    model = two_layers()
    with model.stream(batch_size=ROWS) as stream:
        stream.run(X[:, :6])
        before = stream.get_state()
        strange = {key: value + 1 for key, value in before.items()}
        wrongs: list[dict[str, np.ndarray]] = [
            strange | {"second/h": strange["second/h"][:, :3]},
            strange | {"second/last_output": np.full((ROWS, 4), 7, np.float32)},
            {key: value for key, value in strange.items() if key != "second/h"},
            strange | {"third/h": strange["first/h"]},
        ]
        for wrong in wrongs:
            with pytest.raises(StateMismatch):
                stream.set_state(wrong)
            assert same_state(stream.get_state(), before)
        assert same(stream.run(X[:, 6:]), model(X)[:, 6:])


def test_what_is_not_aligned_is_copied() -> None:
    model = two_layers()
    stream = model.stream(batch_size=ROWS)
    x = np.empty(X.nbytes + 1, np.uint8)[1:].view(np.float32).reshape(X.shape)
    x[...] = X
    assert not x.flags.aligned
    assert stream._checked_sequences(x, ROWS)["x"].flags.aligned
    assert (stream.run(x) == model(X)).all()


def test_keys_of_a_state_are_names() -> None:
    stream = Model(chain(floats(FEATURES), gru(np.random.default_rng(1), FEATURES, UNITS))).stream()
    with pytest.raises(StateMismatch, match="keys are names such as 'gru/h', got 1"):
        stream.set_state({1: np.zeros((1, UNITS), np.float32)})


def test_a_state_of_a_network_of_fixed_steps() -> None:
    layer = gru(np.random.default_rng(1), FEATURES, UNITS, without=())
    stream = Model(chain(floats(FEATURES, time=STEPS), layer)).stream(batch_size=2)
    assert (stream.get_state()["gru/h"] == layer.initial_state).all()
    assert stream.load_row(stream.save_row(0), 1) == 1


@pytest.mark.parametrize("way", ["state", "bytes"])
def test_a_row_that_moves_before_its_first_step_has_no_last_output_yet(way: str) -> None:
    """Steps that complete none of a stride are none to a GRU behind it; where it begins is not its last output."""
    conv = Conv(name="conv", inputs=("x",), kernel=sequence(2, FEATURES, 4), strides=(2,))
    layer = gru(np.random.default_rng(1), 4, UNITS, source="conv", without=())
    model = Model(Graph((floats(FEATURES),), (conv, layer), ("gru",)))
    stream, other = model.stream(), model.stream()
    if way == "state":
        other.set_state(stream.get_state())
    else:
        other.load_row(stream.save_row(0), 0)
    for t in range(2):
        assert (stream.run(X[:1, t : t + 1]) == other.run(X[:1, t : t + 1])).all()
    assert (stream.get_state()["gru/last_output"] == stream.get_state()["gru/h"]).all()


def test_a_network_without_a_gru_has_no_state() -> None:
    head = dense(np.random.default_rng(1), FEATURES, 2, name="out", source="x", function="tanh")
    model = Model(chain(floats(FEATURES), head))
    with model.stream(batch_size=ROWS) as stream:
        assert same(stream.run(X), model(X))
        assert stream.get_state() == {}
        stream.set_state({})


def test_a_gru_that_starts_from_another_ones_end_cannot_stream() -> None:
    rng = np.random.default_rng(3)
    first = gru(rng, FEATURES, UNITS, name="encoder")
    second = gru(rng, FEATURES, UNITS, name="decoder", return_sequences=True)
    second = dataclasses.replace(second, inputs=("x", "encoder:state"))
    model = Model(Graph((floats(FEATURES),), (first, second), ("decoder",)))
    check(model(X), oracle.run(model.graph, {"x": X})[0], "oracle")
    with pytest.raises(UnsupportedModel, match="'decoder' starts from 'encoder:state'"):
        model.stream()


# ---- closing -------------------------------------------------------------------------------------------------------

CALLS: dict[str, Callable[[fastgru.Stream], Any]] = {
    "step": lambda stream: stream.step(X[:, 0]),
    "run": lambda stream: stream.run(X),
    "reset": lambda stream: stream.reset(),
    "reset of a row": lambda stream: stream.reset(0),
    "reset of no rows": lambda stream: stream.reset([]),
    "get_state": lambda stream: stream.get_state(),
    "get_state of no rows": lambda stream: stream.get_state(rows=[]),
    "set_state": lambda stream: stream.set_state(two_layers().stream(batch_size=ROWS).get_state()),
    "enter": lambda stream: stream.__enter__(),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_closed(call: Callable[[fastgru.Stream], Any]) -> None:
    stream = two_layers().stream(batch_size=ROWS)
    stream.close()
    with pytest.raises(Closed, match="closed"):
        call(stream)


def test_the_context_manager_closes() -> None:
    with two_layers().stream() as stream:
        assert isinstance(stream, fastgru.Stream)
    with pytest.raises(Closed):
        stream.step(X[:1, 0])


def test_closing_inside_the_context_manager() -> None:
    """Whoever closes early leaves the block in peace, as with a file."""
    with two_layers().stream() as stream:
        stream.close()


def test_the_context_manager_lets_errors_through() -> None:
    with pytest.raises(KeyError), two_layers().stream() as stream:
        raise KeyError("mine")
    with pytest.raises(Closed):
        stream.run(X)


def test_a_stream_outlives_its_model() -> None:
    model = two_layers()
    expected, stream = model(X), model.stream(batch_size=ROWS)
    del model
    gc.collect()
    assert same(stream.run(X), expected)


# ---- beside other things -------------------------------------------------------------------------------------------


def test_the_model_always_starts_fresh() -> None:
    model = two_layers()
    expected = model(X)
    with model.stream(batch_size=ROWS) as stream:
        stream.run(X[:, :6])
        assert same(model(X), expected)
        assert same(stream.run(X[:, 6:]), expected[:, 6:])
    assert same(model(X), expected)


def test_streams_do_not_know_each_other() -> None:
    model = two_layers()
    streams = [model.stream() for _ in range(ROWS)]
    y = [[stream.step(X[row : row + 1, t])[0] for row, stream in enumerate(streams)] for t in range(STEPS)]
    assert same(np.stack(y, axis=1), model(X))


def test_attributes() -> None:
    stream = two_layers().stream(batch_size=4, threads=2)
    assert (stream.batch_size, stream.threads) == (4, 2)
    assert two_layers().stream().threads == 1


# ---- inputs without time -------------------------------------------------------------------------------------------


def with_h0() -> Model:
    rng = np.random.default_rng(1)
    cell = gru(rng, FEATURES, UNITS, inputs=("x", "h0"), return_sequences=True, mask="x:mask")
    return Model(Graph((floats(FEATURES), tensor_spec("h0", False, (UNITS,))), (cell,), ("gru",)))


def test_an_initial_state_as_input() -> None:
    model, h0 = with_h0(), sequence(ROWS, UNITS)
    with model.stream(batch_size=ROWS, inputs={"h0": h0}) as stream:
        y = [stream.run(X[:, :4]), *(stream.step(X[:, t])[:, None] for t in range(4, STEPS))]
        assert same(np.concatenate(y, axis=1), model(X, h0))
        stream.reset()
        assert same(stream.run(X), model(X, h0))
        stream.reset()
        stream.run(X[:, :4])
        stream.reset(1)
        y = stream.run(X[:, 4:])
        assert same(y[[0, 2]], model(X, h0)[[0, 2], 4:])
        assert same(y[1], model(X[:, 4:], h0)[1])


def test_an_initial_state_as_input_is_the_state_before_the_first_step() -> None:
    model, h0 = with_h0(), sequence(ROWS, UNITS)
    with (
        model.stream(batch_size=ROWS, inputs={"h0": h0}) as one,
        model.stream(batch_size=ROWS, inputs={"h0": -h0}) as other,
    ):
        other.set_state(one.get_state())
        assert same(other.run(X), model(X, h0))
        assert same(one.get_state()["gru/h"], h0)
        one.run(X)
        one.reset(1)
        assert same(one.get_state(rows=1)["gru/h"], h0[1:2])


def test_an_initial_state_as_input_is_copied_and_converted() -> None:
    model, h0 = with_h0(), sequence(ROWS, UNITS)
    given = np.asfortranarray(h0.astype(np.float64))
    with model.stream(batch_size=ROWS, inputs={"h0": given}) as stream:
        given[:] = 0
        assert same(stream.run(X), model(X, h0))


def test_a_state_set_before_the_first_step_stands_above_the_input() -> None:
    model, h0 = with_h0(), sequence(ROWS, UNITS)
    with (
        model.stream(batch_size=ROWS, inputs={"h0": h0}) as one,
        model.stream(batch_size=ROWS, inputs={"h0": -h0}) as other,
    ):
        one.run(X[:, :4])
        other.set_state(one.get_state())
        assert same(other.run(X[:, 4:]), model(X, h0)[:, 4:])


def test_an_output_without_time() -> None:
    """A branch that has no time axis goes along with every step."""
    side = Activate(name="side", inputs=("context",), activation=Activation.of("tanh"))
    cell = gru(np.random.default_rng(1), FEATURES, UNITS, return_sequences=True)
    graph = Graph((floats(FEATURES), tensor_spec("context", False, (2,))), (side, cell), ("gru", "side"))
    model, context = Model(graph), sequence(ROWS, 2)
    with model.stream(batch_size=ROWS, inputs={"context": context}) as stream:
        for t in range(3):
            y, out = stream.step(X[:, t])
            assert same(out, model(X, context)[1])
            assert same(y, model(X, context)[0][:, t])


# ---- networks that cannot stream -----------------------------------------------------------------------------------


def backwards(name: str, source: str, inputs: int) -> Layer:
    rng = np.random.default_rng(1)
    return gru(rng, inputs, 4, name=name, source=source, go_backwards=True, return_sequences=True)


def test_every_obstacle_is_named() -> None:
    layers = (
        backwards("one", "x", FEATURES),
        backwards("two", "one", 4),
        Reshape(name="three", inputs=("two",), target=(8,)),
    )
    model = Model(chain(floats(FEATURES, 2), *layers))
    with pytest.raises(UnsupportedModel) as error:
        model.stream()
    assert len(error.value.reasons) == 3
    for layer, reason in zip(layers, error.value.reasons, strict=True):
        assert repr(layer.name) in reason
        assert repr(layer.name) in str(error.value)
    assert model(X[:, :2]).shape == (ROWS, 8), "a plain call goes on working"


def test_a_reshape_of_each_step_streams() -> None:
    layers = (
        Reshape(name="r", inputs=("x",), target=(1, FEATURES), per_step=True),
        Activate(name="a", inputs=("r",), activation=Activation.of("tanh")),
    )
    model = Model(chain(floats(FEATURES), *layers))
    with model.stream(batch_size=ROWS) as stream:
        assert same(stream.run(X), model(X))
