"""The rule of the same bits: how a row is computed never depends on what is computed beside, before or after it.

Everything here compares bits, -0.0 and 0.0 included.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

import fastgru
from building import VECTOR_ISAS, chain, dense, embedding, floats, gru, tokens
from fastgru.graph import Graph, Layer

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


# ---- kernels -------------------------------------------------------------------------------------------------------


@both_variants
@pytest.mark.parametrize("units", UNITS)
@pytest.mark.parametrize("masked", [False, True])
def test_vector_kernels_agree(units: int, reset_after: bool, masked: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if len(VECTOR_ISAS) < 2:
        pytest.skip("this machine has one set of vector kernels")
    graph, x = stack(units, reset_after), inputs()
    answers = []
    for name in VECTOR_ISAS:
        monkeypatch.setenv("FASTGRU_ISA", name)
        answers.append(fastgru.Model(graph)(x, mask=masks() if masked else None))
    assert all(same(answer, answers[0]) for answer in answers[1:])


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


@both_variants
def test_an_embedding_folded_into_its_gru_is_a_lookup(reset_after: bool, isa: str) -> None:
    """The plan may look up E·W + b, a product computed beforehand: the bits are those of the product done in place."""
    table, layer = token_layers(reset_after, mask_zero=False)
    ids = np.random.default_rng(16).integers(0, 50, (ROWS, STEPS)).astype(np.int32)
    alone = chain(floats(13), gru(np.random.default_rng(0), 13, 20, **kept(layer)))
    assert same(fastgru.Model(chain(tokens(), table, layer))(ids), fastgru.Model(alone)(table.table[ids]))


def kept(layer: Layer) -> dict[str, object]:
    """The tensors and options of a GRU, to be put behind another source."""
    names = ("kernel", "recurrent_kernel", "bias", "recurrent_bias", "reset_after", "return_sequences")
    return {name: getattr(layer, name) for name in names}
