"""Lengths as an input of the network: StepMask, and what a GRU answers for rows without a step."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import numpy as np
import pytest

import fastgru
import oracle
from building import embedding, floats, gru, tokens
from fastgru import BadInput, BadModelFile, Model, StateMismatch
from fastgru.graph import ArgMax, Embedding, Graph, Identity, JoinMasks, Slice, StepMask, tensor_spec
from tolerances import check

pytestmark = pytest.mark.dtypes

LENGTHS = tensor_spec("lengths", False, (), "int32")
UNTIL = StepMask(name="until", inputs=("x", "lengths"))
BATCH, STEPS, FEATURES, UNITS = 11, 9, 3, 19
#: of each row: none, all, something between
GIVEN = np.array([0, 9, 3, 0, 1, 8, 9, 0, 5, 2, 0], np.int32)

both_variants = pytest.mark.parametrize("reset_after", [True, False], ids=["reset_after", "reset_before"])
both_directions = pytest.mark.parametrize("go_backwards", [False, True], ids=["ahead", "back"])


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


def network(start: str = "given", **options: Any) -> Graph:
    """x, lengths and an initial state → the sequence, the last state and the mask."""
    without = () if start == "constant" else ("initial_state",)
    inputs = ("x", "h0") if start == "given" else ("x",)
    layer = gru(
        np.random.default_rng(2), FEATURES, UNITS, without=without, inputs=inputs, mask="until", return_sequences=True,
        **options,
    )  # fmt: skip
    specs = (floats(FEATURES), LENGTHS, tensor_spec("h0", False, (UNITS,)))
    return Graph(specs[: 3 if start == "given" else 2], (UNTIL, layer), ("gru", "gru:state", "until"))


def values(graph: Graph, batch: int = BATCH, steps: int = STEPS) -> dict[str, np.ndarray]:
    found = {"x": normal(batch, steps, FEATURES), "lengths": GIVEN[:batch], "h0": normal(batch, UNITS)}
    return {spec.name: found[spec.name] for spec in graph.inputs}


def bits(*arrays: np.ndarray) -> list[bytes]:
    return [np.ascontiguousarray(array).tobytes() for array in arrays]


# ---- whole sequences -----------------------------------------------------------------------------------------------


@both_variants
@both_directions
@pytest.mark.parametrize("start", ["zero", "constant", "given"])
@pytest.mark.parametrize("zero_output", [False, True])
@pytest.mark.parametrize("zero_state", [False, True])
def test_lengths(
    zero_state: bool, zero_output: bool, start: str, go_backwards: bool, reset_after: bool, isa: str
) -> None:
    flags = {"zero_state_without_steps": zero_state, "zero_output_for_mask": zero_output}
    graph = network(start, go_backwards=go_backwards, time_order=go_backwards, reset_after=reset_after, **flags)
    given = values(graph)
    y, state, mask = Model(graph)(given)
    for answer, truth in zip((y, state), oracle.run(graph, given), strict=False):
        check(answer, truth, "oracle")
    assert np.array_equal(mask, np.arange(STEPS) < GIVEN[:, None])
    empty = GIVEN == 0
    assert not y[empty].any() or not zero_output
    assert (not state[empty].any()) == (zero_state or start == "zero")
    assert state[~empty].any(axis=1).all()


@pytest.mark.parametrize("zero_state", [False, True])
def test_a_sequence_without_steps(zero_state: bool, isa: str) -> None:
    graph = network(zero_state_without_steps=zero_state)
    given = values(graph, steps=0) | {"lengths": np.zeros(BATCH, np.int32)}
    y, state, mask = Model(graph)(given)
    assert y.shape == (BATCH, 0, UNITS)
    assert mask.shape == (BATCH, 0)
    assert np.array_equal(state, np.zeros_like(state) if zero_state else given["h0"])


def test_the_answer_is_that_of_lengths_given_by_the_caller(isa: str) -> None:
    graph = network()
    by_mask = Graph(graph.inputs[::2], (dataclasses.replace(graph.layers[1], mask="x:mask"),), ("gru", "gru:state"))
    given = values(graph)
    with pytest.raises(BadInput, match="GRU layer 'gru' drops the mask"):
        Model(graph)(given, lengths=GIVEN)
    assert bits(*Model(graph)(given)[:2]) == bits(*Model(by_mask)(given["x"], given["h0"], lengths=GIVEN))


@both_variants
def test_long_sequences_go_by_blocks(reset_after: bool, isa: str) -> None:
    graph = network("constant", reset_after=reset_after, zero_state_without_steps=True)
    lengths = np.array([0, 700, 127, 128, 129, 300], np.int32)
    given = {"x": normal(6, 700, FEATURES), "lengths": lengths}
    y, state, mask = Model(graph)(given)
    assert np.array_equal(mask, np.arange(700) < lengths[:, None])
    for row, length in enumerate(lengths[1:], 1):
        alone = {"x": given["x"][row : row + 1, :length], "lengths": lengths[row : row + 1]}
        assert bits(y[row : row + 1, :length], state[row : row + 1]) == bits(*Model(graph)(alone)[:2])


def test_joined_with_another_mask(isa: str) -> None:
    layer = gru(np.random.default_rng(3), FEATURES, UNITS, mask="both", return_sequences=True)
    both = JoinMasks(name="both", inputs=("x:mask", "until"))
    model = Model(Graph((floats(FEATURES), LENGTHS), (UNTIL, both, layer), ("gru", "both")))
    x, holes = normal(BATCH, STEPS, FEATURES), np.random.default_rng(4).random((BATCH, STEPS)) < 0.7
    for mask in None, holes:
        answers = model(x, GIVEN, mask=mask)
        truth = oracle.run(model.graph, {"x": x, "lengths": GIVEN}, None if mask is None else {"x": mask})
        check(answers[0], truth[0], "oracle")
        assert np.array_equal(answers[1], truth[1])


@both_directions
def test_of_token_ids_behind_a_folded_embedding(go_backwards: bool, isa: str) -> None:
    rng = np.random.default_rng(5)
    layer = gru(rng, 4, UNITS, source="embedding", mask="until", go_backwards=go_backwards)
    graph = Graph((tokens(), LENGTHS), (UNTIL, embedding(rng, 7, 4), layer), ("gru", "gru:state"))
    given = {"x": rng.integers(0, 7, (BATCH, STEPS)), "lengths": GIVEN}
    for answer, truth in zip(Model(graph)(given), oracle.run(graph, given), strict=True):
        check(answer, truth, "oracle")


def test_lengths_that_the_network_computes(isa: str) -> None:
    """Index of the largest of a step: 0 … 8; read at every block of a longer sequence."""
    scores = tensor_spec("scores", False, (STEPS,))
    lengths = ArgMax(name="count", inputs=("scores",))
    until = StepMask(name="until", inputs=("x", "count"))
    layer = gru(np.random.default_rng(6), FEATURES, UNITS, mask="until", return_sequences=True)
    graph = Graph((floats(FEATURES), scores), (lengths, until, layer), ("gru", "until", "count"))
    given = {"x": normal(BATCH, 300, FEATURES), "scores": normal(BATCH, STEPS)}
    y, mask, count = Model(graph)(given)
    truth = oracle.run(graph, given)
    check(y, truth[0], "oracle")
    assert np.array_equal(mask, truth[1])
    assert np.array_equal(count, truth[2])


# ---- the same bits -------------------------------------------------------------------------------------------------


@both_variants
def test_batch_threads_and_isa_change_no_bit(
    reset_after: bool, monkeypatch: pytest.MonkeyPatch, vector_isas: list[str]
) -> None:
    graph = network("constant", reset_after=reset_after, zero_state_without_steps=True, clip=0.5)
    batch, steps = 40, 200
    lengths = np.random.default_rng(7).integers(0, steps + 1, batch).astype(np.int32)
    lengths[[3, 30]] = 0
    x, answers = normal(batch, steps, FEATURES), []
    for isa, threads in itertools.product(vector_isas, (1, 2, 5)):
        monkeypatch.setenv("FASTGRU_ISA", isa)
        answers.append(bits(*Model(graph, threads=threads)(x, lengths)))
    assert all(answer == answers[0] for answer in answers)
    whole = Model(graph)(x, lengths)
    for rows in (slice(1), slice(3, 4), slice(5, 14)):
        assert bits(*Model(graph)(x[rows], lengths[rows])) == bits(*(y[rows] for y in whole))


# ---- streams -------------------------------------------------------------------------------------------------------


@both_variants
@pytest.mark.parametrize("zero_output", [False, True])
@pytest.mark.parametrize("chunks", [(1,) * STEPS, (4, 5), (0, 3, 0, 6), (2, 2, 2, 3)])
def test_steps_count_from_chunk_to_chunk(
    chunks: tuple[int, ...], zero_output: bool, reset_after: bool, isa: str
) -> None:
    """After each chunk the state is that of all steps so far."""
    flags = {"zero_state_without_steps": True, "zero_output_for_mask": zero_output}
    model = Model(network("given", reset_after=reset_after, **flags))
    given = values(model.graph)
    x, rest = given["x"], {name: given[name] for name in ("lengths", "h0")}
    whole = model(given)
    with model.stream(BATCH, inputs=rest) as stream:
        parts, done = [], 0
        for count in chunks:
            parts.append(stream.run(x[:, done : done + count]))
            done += count
            truth = model({**given, "x": x[:, :done], "lengths": np.minimum(GIVEN, done)})
            assert bits(parts[-1][1]) == bits(truth[1])
    for i in (0, 2):
        assert bits(np.concatenate([part[i] for part in parts], axis=1)) == bits(whole[i])


def test_reset_rows_count_afresh(isa: str) -> None:
    model = Model(network("constant", zero_state_without_steps=True))
    x, lengths = normal(4, 6, FEATURES), np.array([2, 3, 0, 9], np.int32)
    with model.stream(4, inputs={"lengths": lengths}) as stream:
        stream.run(x)
        stream.reset(rows=[0, 2])
        _, state, mask = stream.run(x[:, :5])
    assert np.array_equal(mask, [np.arange(5) < 2, [False] * 5, [False] * 5, np.arange(6, 11) < 9])
    assert bits(state[0]) == bits(model(x[:1, :5], lengths[:1])[1][0])
    assert not state[2].any()


def test_a_state_moves_to_another_stream(isa: str) -> None:
    model = Model(network("constant", zero_state_without_steps=True, zero_output_for_mask=True))
    x, lengths = normal(3, 8, FEATURES), np.array([0, 3, 7], np.int32)
    with model.stream(3, inputs={"lengths": lengths}) as one, model.stream(3, inputs={"lengths": lengths}) as other:
        one.run(x[:, :5])
        kept = one.get_state()
        assert set(kept) == {"gru/h", "gru/last_output", "gru/has_run", "until/steps"}
        assert kept["until/steps"].tolist() == [5, 5, 5]
        assert kept["gru/has_run"].tolist() == [0, 1, 1]
        other.set_state(kept)
        assert bits(*other.run(x[:, 5:])) == bits(*one.run(x[:, 5:]))
        swapped = {key: value[::-1] for key, value in kept.items()}
        other.set_state(swapped)
        again = other.get_state()
        assert all(np.array_equal(again[key], swapped[key]) for key in kept)


def test_a_step_mask_takes_the_memory_of_a_gru_of_one_unit() -> None:
    with Model(network("constant")).stream(5, inputs={"lengths": [1] * 5}) as stream:
        assert stream.nbytes == 200 + 5 + 5 * (2 * 4 * 32 + 1) + 5 * (2 * 4 * 16 + 1)


@pytest.mark.parametrize(
    ("key", "value", "fault"),
    [
        ("until/steps", [-1, 0], "until/steps should be whole numbers"),
        ("until/steps", [0.5, 1], "until/steps should be whole numbers"),
        ("until/steps", [2**31, 0], "until/steps should be whole numbers"),
        ("gru/has_run", [0, 2], "gru/has_run should be 1"),
        ("gru/has_run", [0], "this network's state is"),
    ],
)
def test_states_that_cannot_be(key: str, value: list[float], fault: str) -> None:
    model = Model(network("constant", zero_state_without_steps=True))
    with model.stream(2, inputs={"lengths": [1, 1]}) as stream:
        kept = stream.get_state()
        with pytest.raises(StateMismatch, match=fault):
            stream.set_state({**kept, key: np.array(value)})
        assert all(np.array_equal(now, kept[name]) for name, now in stream.get_state().items())


# ---- what is refused -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lengths", "fault"),
    [
        ([1, 10, 2], "input 'lengths': row 1 has length 10, but 'x' has 9 steps"),
        ([1, 2, -3], r"input 'lengths': -3 at \(2,\) is not a whole number from 0 to 2147483647"),
        ([1, 2, 2**31], r"input 'lengths': 2147483648 at \(2,\) is not a whole number"),
        ([1.5, 2, 3], "not whole numbers"),
        ([[1], [2], [3]], r"input 'lengths' takes int32 of shape \(batch\)"),
        ([1, 2], "input 'lengths' has 2 rows"),
        ([True, False, True], "got dtype bool"),
    ],
)
def test_lengths_that_cannot_be(lengths: Any, fault: str) -> None:
    with pytest.raises(BadInput, match=fault):
        Model(network("zero"))({"x": normal(3, STEPS, FEATURES), "lengths": np.array(lengths)})


def test_whole_numbers_of_any_dtype_are_lengths() -> None:
    model, x = Model(network("zero")), normal(3, STEPS, FEATURES)
    expected = bits(*model(x, np.array([0, 9, 4], np.int32)))
    for dtype in (np.int64, np.uint8, np.float32):
        assert bits(*model(x, np.array([0, 9, 4], dtype))) == expected


@pytest.mark.parametrize(
    ("sequence", "lengths", "fault"),
    [
        ("h", "lengths", r"needs \(batch, time, …\), but 'h' is \(None, 2\)"),
        ("x", "h", r"lengths should be \(batch,\) int32, but 'h' is \(None, 2\) float32"),
        ("x", "pairs", r"lengths should be \(batch,\) int32, but 'pairs' is \(None, 2\) int32"),
        ("x", "ids", r"lengths should be \(batch,\) int32, but 'ids' is \(None, None\) int32"),
    ],
)
def test_values_that_are_no_lengths(sequence: str, lengths: str, fault: str) -> None:
    specs = (
        floats(FEATURES), LENGTHS, tensor_spec("h", False, (2,)), tensor_spec("pairs", False, (2,), "int32"),
        tensor_spec("ids", None, (), "int32"),
    )  # fmt: skip
    with pytest.raises(BadModelFile, match=f"StepMask layer 'until': {fault}"):
        Graph(specs, (StepMask(name="until", inputs=(sequence, lengths)),), ("until",))


# ---- ids without time ----------------------------------------------------------------------------------------------


def test_an_embedding_of_one_id_a_row(isa: str) -> None:
    """A speaker's vector beside a sequence, and as the initial state of a GRU."""
    rng = np.random.default_rng(8)
    layer = gru(rng, FEATURES, 4, inputs=("x", "embedding"), return_sequences=True)
    speaker = tensor_spec("who", False, (), "int32")
    table = normal(5, 4)
    graph = Graph(
        (floats(FEATURES), speaker), (Embedding(name="embedding", inputs=("who",), table=table), layer),
        ("gru", "embedding"),
    )  # fmt: skip
    model, x, who = Model(graph), normal(6, 7, FEATURES), np.array([0, 4, 2, 2, 1, 3])
    y, vectors = model(x, who)
    assert np.array_equal(vectors, np.asarray(model.graph.layers[0].table)[who])
    check(y, oracle.run(graph, {"x": x, "who": who})[0], "oracle")
    with model.stream(6, inputs={"who": who}) as stream:
        parts = [stream.run(part)[0] for part in np.split(x, [2, 3], axis=1)]
    assert bits(np.concatenate(parts, axis=1)) == bits(y)
    with pytest.raises(BadInput, match=r"token id 5 at \(3,\) is outside the vocabulary 0 … 4"):
        model(x, np.array([0, 1, 2, 5, 0, 0]))
    with pytest.raises(BadInput, match="outside the vocabulary"):
        model.stream(1, inputs={"who": np.array([5])})


def test_an_input_of_ids_may_be_an_output(isa: str) -> None:
    graph = Graph((tokens(),), (Identity(name="same", inputs=("x",)),), ("same",))
    ids = np.array([[3, 1], [2, 0]])
    y = fastgru.Model(graph)(ids)
    assert y.dtype == np.int32
    assert np.array_equal(y, ids)
    with fastgru.Model(graph).stream(2) as stream:
        assert np.array_equal(stream.step(ids[:, 0]), ids[:, 0])


def test_lengths_of_what_a_layer_shortens(isa: str) -> None:
    """The steps are those of the sequence that the mask is of."""
    cut = Slice(name="cut", inputs=("x",), axis=1, start=2)
    until = StepMask(name="until", inputs=("cut", "lengths"))
    model = Model(Graph((floats(FEATURES), LENGTHS), (cut, until), ("until",)))
    x = normal(2, 9, FEATURES)
    assert np.array_equal(model(x, np.array([7, 3])), [[True] * 7, [True] * 3 + [False] * 4])
    with pytest.raises(BadInput, match="row 0 has length 8, but 'cut' has 7 steps"):
        model(x, np.array([8, 3]))
