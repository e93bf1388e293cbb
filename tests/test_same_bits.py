"""The rule of the same bits: how a row is computed never depends on what is computed beside, before or after it.

Everything here compares bits, -0.0 and 0.0 included.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import pytest

import fastgru
from building import bidirectional, chain, dense, embedding, floats, gru, tokens, uniform
from fastgru.graph import Conv, Graph, Layer

pytestmark = pytest.mark.dtypes

UNITS = (1, 7, 8, 15, 16, 17, 33, 100, 128)
BATCHES = (1, 2, 3, 7, 8, 9, 17, 64)
ROWS, STEPS = 64, 9

both_variants = pytest.mark.parametrize("reset_after", [True, False], ids=["reset_after", "reset_before"])


def same(actual: np.ndarray, expected: np.ndarray) -> bool:
    return actual.shape == expected.shape and np.array_equal(actual.view(np.uint32), expected.view(np.uint32))


def stack(units: int, reset_after: bool, *, features: int = 5, return_sequences: bool = True) -> Graph:
    """Two GRUs of different sizes and a softmax; the mask reaches both GRUs."""
    rng = np.random.default_rng(units)
    options = {"reset_after": reset_after, "mask": "x:mask"}
    first = gru(rng, features, units, name="first", return_sequences=True, **options)
    second = gru(
        rng, units, 19, name="second", source="first", without=(), return_sequences=return_sequences, **options
    )
    return chain(floats(features), first, second, dense(rng, 19, 6, name="out", source="second", function="softmax"))


def inputs(features: int = 5, steps: int = STEPS) -> np.ndarray:
    return np.random.default_rng(7).normal(size=(ROWS, steps, features)).astype(np.float32)


def masks(steps: int = STEPS) -> np.ndarray:
    """Holes, left padding, right padding; two rows fully masked."""
    mask = np.random.default_rng(8).random((ROWS, steps)) < 0.6
    mask[[3, 40]] = False
    mask[[5, 41], : steps // 2] = False
    mask[[6, 42], steps // 2 :] = False
    return mask


# ---- the batch -----------------------------------------------------------------------------------------------------


@both_variants
@pytest.mark.parametrize("units", UNITS)
def test_batch_size_and_place_in_the_batch(units: int, reset_after: bool, isa: str) -> None:
    model, x = fastgru.Model(stack(units, reset_after), threads=1), inputs()
    whole = model(x)
    for batch in BATCHES:
        assert same(model(x[:batch]), whole[:batch]), f"first {batch} rows"
        assert same(model(x[-batch:]), whole[-batch:]), f"last {batch} rows"
    order = np.random.default_rng(9).permutation(ROWS)
    assert same(model(x[order]), whole[order])


@both_variants
def test_batch_size_under_masks(reset_after: bool, isa: str) -> None:
    model, x, mask = fastgru.Model(stack(33, reset_after), threads=1), inputs(), masks()
    whole = model(x, mask=mask)
    for batch in BATCHES:
        for rows in (slice(batch), slice(ROWS - batch, ROWS)):
            assert same(model(x[rows], mask=mask[rows]), whole[rows])
    order = np.random.default_rng(9).permutation(ROWS)
    assert same(model(x[order], mask=mask[order]), whole[order])


@both_variants
def test_a_full_mask_is_no_mask(reset_after: bool, isa: str) -> None:
    model, x = fastgru.Model(stack(33, reset_after)), inputs()
    assert same(model(x, mask=np.ones(x.shape[:2], bool)), model(x))
    assert same(model(x, lengths=[STEPS] * ROWS), model(x))


@both_variants
def test_padding_changes_nothing_before_it(reset_after: bool, isa: str) -> None:
    """Lengths, the same lengths as a mask, and the row alone without its padding."""
    model, x = fastgru.Model(stack(33, reset_after)), inputs()
    lengths = np.random.default_rng(10).integers(1, STEPS + 1, ROWS)
    padded = model(x, lengths=lengths)
    assert same(model(x, mask=np.arange(STEPS) < lengths[:, None]), padded)
    for row, length in enumerate(lengths):
        assert same(model(x[row : row + 1, :length]), padded[row : row + 1, :length])


@both_variants
@pytest.mark.parametrize("features", range(1, 41))
def test_every_input_size(features: int, reset_after: bool, isa: str) -> None:
    model = fastgru.Model(stack(17, reset_after, features=features), threads=1)
    x = inputs(features, steps=3)[:17]
    whole = model(x)
    for batch in (1, 2, 7, 8, 9):
        assert same(model(x[:batch]), whole[:batch])
    with model.stream(batch_size=17) as stream:
        assert same(np.stack([stream.step(x[:, t]) for t in range(3)], axis=1), whole)


# ---- threads -------------------------------------------------------------------------------------------------------


@both_variants
@pytest.mark.parametrize(
    ("units", "batch", "steps"), [(17, 9, 9), (128, 64, 20), (256, 67, 12), (512, 1, 12), (300, 2, 9)]
)
def test_threads(units: int, batch: int, steps: int, reset_after: bool, isa: str) -> None:
    model = fastgru.Model(stack(units, reset_after))
    x = np.random.default_rng(11).normal(size=(batch, steps, 5)).astype(np.float32)
    mask = np.random.default_rng(12).random((batch, steps)) < 0.7
    assert same(model(x, threads=2), model(x, threads=1))
    assert same(model(x, mask=mask, threads=2), model(x, mask=mask, threads=1))


@both_variants
@pytest.mark.parametrize("batch", [16, 17, 31, 33, 70])
def test_rows_taken_chunk_by_chunk(batch: int, reset_after: bool, isa: str) -> None:
    """Threads take rows in chunks until none are left; here of rows of different lengths, some of them empty."""
    model = fastgru.Model(stack(48, reset_after))
    rng = np.random.default_rng(17)
    x = rng.normal(size=(batch, 40, 5)).astype(np.float32)
    lengths = rng.integers(0, 41, batch)
    whole = model(x, lengths=lengths, threads=1)
    for threads in (2, 3):
        assert same(model(x, lengths=lengths, threads=threads), whole)
    rows = [model(x[i : i + 1], lengths=lengths[i : i + 1], threads=1) for i in (0, 15, batch - 1)]
    assert same(np.concatenate(rows), whole[[0, 15, batch - 1]])


# ---- time ----------------------------------------------------------------------------------------------------------


def chunks(steps: int, seed: int) -> Iterator[slice]:
    """Cuts of a sequence into pieces of 1 to 4 steps."""
    rng, start = np.random.default_rng(seed), 0
    while start < steps:
        size = int(rng.integers(1, 5))
        yield slice(start, start + size)
        start += size


@both_variants
@pytest.mark.parametrize("units", UNITS)
@pytest.mark.parametrize("batch", [1, 3, 8])
def test_steps_chunks_and_whole(units: int, batch: int, reset_after: bool, isa: str) -> None:
    model, x = fastgru.Model(stack(units, reset_after)), inputs()[:batch]
    whole = model(x)
    with model.stream(batch_size=batch) as stream:
        assert same(np.stack([stream.step(x[:, t]) for t in range(STEPS)], axis=1), whole)
        stream.reset()
        assert same(stream.run(x), whole)
        for seed in range(3):
            stream.reset()
            assert same(np.concatenate([stream.run(x[:, cut]) for cut in chunks(STEPS, seed)], axis=1), whole)


@both_variants
@pytest.mark.parametrize("direction", ["ahead", "backwards", "time_order"])
@pytest.mark.parametrize(("features", "units"), [(60, 80), (200, 100), (3, 5), (40, 33)])
def test_a_lone_row_of_any_number_of_steps(
    features: int, units: int, direction: str, reset_after: bool, isa: str
) -> None:
    """How a row's input is multiplied goes by its number of steps: beside the steps, tile by tile of them; within them;
    or before all of a block's. None is beside another row."""
    back = direction != "ahead"
    options = {"go_backwards": back, "time_order": direction == "time_order"}
    layer = gru(np.random.default_rng(18), features, units, reset_after=reset_after, return_sequences=True, **options)
    model = fastgru.Model(chain(floats(features), dataclasses.replace(layer, mask="x:mask")), threads=1)
    x = inputs(features, steps=262)[:2]
    mask = np.random.default_rng(19).random(x.shape[:2]) < 0.8
    for steps in (*range(1, 14), *range(127, 136), 262):
        whole = model(x[:, :steps])
        assert same(model(x[:1, :steps]), whole[:1]), f"{steps} steps"
    assert same(model(x[:1], mask=mask[:1]), model(x, mask=mask)[:1])
    assert same(model(x[:1], threads=2), whole[:1])


@both_variants
def test_a_head_of_the_last_step(reset_after: bool, isa: str) -> None:
    """After each step a stream gives what the model would for the sequence so far."""
    model, x = fastgru.Model(stack(33, reset_after, return_sequences=False)), inputs()[:3]
    with model.stream(batch_size=3) as stream:
        for t in range(STEPS):
            assert same(stream.step(x[:, t]), model(x[:, : t + 1]))


@both_variants
@pytest.mark.parametrize("zero_output", [False, True])
def test_chunks_of_padded_rows(reset_after: bool, zero_output: bool, isa: str) -> None:
    """`run` with lengths, chunk by chunk, is `model` with the lengths of the whole."""
    rng = np.random.default_rng(13)
    layer = gru(
        rng, 5, 20, reset_after=reset_after, return_sequences=True, zero_output_for_mask=zero_output, mask="x:mask"
    )
    model, x, lengths = fastgru.Model(chain(floats(5), layer)), inputs(), rng.integers(0, STEPS + 1, ROWS)
    whole = model(x, lengths=lengths)
    with model.stream(batch_size=ROWS) as stream:
        pieces = [
            stream.run(x[:, cut], lengths=np.clip(lengths - cut.start, 0, x[:, cut].shape[1]))
            for cut in chunks(STEPS, 1)
        ]
    assert same(np.concatenate(pieces, axis=1), whole)


@both_variants
def test_a_state_taken_out_and_put_back(reset_after: bool) -> None:
    model, x = fastgru.Model(stack(33, reset_after)), inputs()[:4]
    whole = model(x)
    with model.stream(batch_size=4) as stream, model.stream(batch_size=4) as other:
        stream.run(x[:, :4])
        other.set_state(stream.get_state())
        assert same(other.run(x[:, 4:]), whole[:, 4:])


@both_variants
@pytest.mark.parametrize("units", [5, 7, 16, 17, 33])
@pytest.mark.parametrize("number", [np.inf, -np.inf, np.nan, 3.4e38])
@pytest.mark.dtypes(sample=4)
def test_a_step_that_is_no_number(number: float, units: int, reset_after: bool, isa: str) -> None:
    """What an infinite input leaves in the padding of a state reaches none of the units."""
    rng = np.random.default_rng(units)
    model = fastgru.Model(chain(floats(5), gru(rng, 5, units, return_sequences=True, reset_after=reset_after)))
    x = inputs()[:3]
    x[1, 2, 1] = number
    whole = model(x)
    assert np.isfinite(whole).all() == (not np.isnan(number))
    for row in range(3):
        assert same(model(x[row : row + 1]), whole[row : row + 1])
        with model.stream() as stream:
            steps = [stream.step(x[row : row + 1, t]) for t in range(STEPS)]
        assert same(np.stack(steps, axis=1), whole[row : row + 1])


# ---- kernels -------------------------------------------------------------------------------------------------------


@both_variants
@pytest.mark.parametrize("units", UNITS)
@pytest.mark.parametrize("masked", [False, True])
def test_vector_kernels_agree(
    units: int, reset_after: bool, masked: bool, monkeypatch: pytest.MonkeyPatch, vector_isas: list[str]
) -> None:
    if len(vector_isas) < 2:
        pytest.skip("this machine has one set of vector kernels")
    graph, x = stack(units, reset_after), inputs()
    answers = []
    for name in vector_isas:
        monkeypatch.setenv("FASTGRU_ISA", name)
        answers.append(fastgru.Model(graph)(x, mask=masks() if masked else None))
    assert all(same(answer, answers[0]) for answer in answers[1:])


@both_variants
@pytest.mark.parametrize("folded", [True, False])
def test_vector_kernels_agree_on_a_whole_network(
    folded: bool, reset_after: bool, monkeypatch: pytest.MonkeyPatch, vector_isas: list[str]
) -> None:
    """Embedding, looked up through the GRUs behind it or convolved, both directions, a stack and a head."""
    rng = np.random.default_rng(21)
    table = embedding(rng, 50, 37)
    window = Conv(name="conv", inputs=("embedding",), kernel=uniform(rng, 3, 37, 37, scale=0.3), padding="same")
    options = {"reset_after": reset_after, "mask": "x:mask"}
    both = bidirectional(rng, 37, 45, source="embedding" if folded else "conv", **options)
    second = gru(rng, 90, 70, name="second", source="both", return_sequences=True, **options)
    head = dense(rng, 70, 33, name="out", source="second", function="softmax")
    graph = chain(tokens(), table, *([] if folded else [window]), *both, second, head)
    ids = rng.integers(0, 50, (ROWS, 40))
    answers = []
    for name in vector_isas:
        monkeypatch.setenv("FASTGRU_ISA", name)
        model = fastgru.Model(graph)
        answers.append(model(ids))
        assert same(model(ids[5:6]), answers[-1][5:6])
    assert all(same(answer, answers[0]) for answer in answers)


# ---- token networks ------------------------------------------------------------------------------------------------


def token_layers(reset_after: bool, mask_zero: bool) -> tuple[Layer, ...]:
    rng = np.random.default_rng(14)
    table = embedding(rng, 50, 13, mask_zero=mask_zero, mask="x:mask")
    layer = gru(rng, 13, 20, source="embedding", reset_after=reset_after, return_sequences=True, mask="embedding:mask")
    return table, layer


@both_variants
@pytest.mark.parametrize("mask_zero", [False, True])
def test_tokens_in_batches_and_streams(reset_after: bool, mask_zero: bool, isa: str) -> None:
    model = fastgru.Model(chain(tokens(), *token_layers(reset_after, mask_zero)))
    ids = np.random.default_rng(15).integers(0, 50, (ROWS, STEPS)).astype(np.int32)
    ids[:, 2::3] = 0
    whole = model(ids)
    for batch in BATCHES:
        assert same(model(ids[:batch]), whole[:batch])
    with model.stream(batch_size=3) as stream:
        assert same(np.stack([stream.step(ids[:3, t]) for t in range(STEPS)], axis=1), whole[:3])


@pytest.mark.dtypes("float32")  # narrow tables of projections are rounded once more
@both_variants
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("batch", [1, 3, 20])
def test_an_embedding_folded_into_its_grus_is_a_lookup(
    batch: int, masked: bool, reset_after: bool, isa: str
) -> None:
    """The plan looks up E·W + b, a product computed beforehand: the bits are those of the product done in place."""
    table, layer = token_layers(reset_after, mask_zero=False)
    wide = gru(np.random.default_rng(1), 13, 90, name="wide", source="embedding", reset_after=reset_after)
    readers = (
        layer,
        dataclasses.replace(wide, go_backwards=True, mask="x:mask"),
        dataclasses.replace(layer, name="turned", go_backwards=True, time_order=True),
    )
    outputs = ("gru", "wide", "turned", "wide:state")
    alone = [dataclasses.replace(reader, inputs=("x",), mask="x:mask") for reader in readers]
    beside = dense(np.random.default_rng(2), 13, 3, name="beside", source="embedding", function="linear")
    floated = fastgru.Model(Graph((floats(13),), tuple(alone), outputs))
    rng = np.random.default_rng(16)
    for layers in ((table, *readers), (table, beside, *readers)):  # all of its readers fold, or all but one
        for extra in ((), ("embedding",)):
            folded = fastgru.Model(Graph((tokens(),), layers, outputs + extra))
            for steps in (1, 2, 7, 130):
                ids = rng.integers(0, 50, (batch, steps))
                mask = rng.random((batch, steps)) < 0.7 if masked else None
                for threads in (1, 2):
                    answers = folded(ids, mask=mask, threads=threads)
                    expected = floated(table.table[ids], mask=mask, threads=1)
                    assert all(same(*pair) for pair in zip(answers, expected, strict=False))
                assert not extra or same(answers[-1], table.table[ids])


@pytest.mark.dtypes("float32")  # narrow tables of projections are rounded once more
@both_variants
def test_a_mask_of_ids_reaches_a_folded_gru(reset_after: bool, isa: str) -> None:
    ids = np.random.default_rng(20).integers(0, 4, (ROWS, STEPS))
    ids[5] = 0
    table, layer = token_layers(reset_after, mask_zero=True)
    y = fastgru.Model(chain(tokens(), table, layer))(ids)
    alone = dataclasses.replace(layer, inputs=("x",), mask="x:mask")
    assert same(y, fastgru.Model(chain(floats(13), alone))(table.table[ids], mask=ids != 0))
