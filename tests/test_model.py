"""Model: every form of a call, predict, and what it tells about itself. What the numbers should be, other tests say."""

from __future__ import annotations

import copy
import hashlib
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastgru
import oracle
from building import bidirectional, chain, dense, embedding, floats, gru, tokens, uniform
from fastgru import Model
from fastgru.graph import GRU, Concatenate, Graph, tensor_spec
from tolerances import check

pytestmark = pytest.mark.dtypes

ROWS, STEPS, FEATURES, UNITS = 5, 6, 3, 4


def sequence(*shape: int) -> np.ndarray:
    return uniform(np.random.default_rng(3), *shape)


X = sequence(ROWS, STEPS, FEATURES)
H0 = sequence(ROWS, UNITS)


def of_one(seed: int = 1) -> Model:
    """x → last output of a masked GRU."""
    return Model(chain(floats(FEATURES), gru(np.random.default_rng(seed), FEATURES, UNITS, mask="x:mask")))


def of_two() -> Model:
    """(x, h0) → (sequence, state, head of the sequence)."""
    rng = np.random.default_rng(2)
    cell = gru(rng, FEATURES, UNITS, inputs=("x", "h0"), return_sequences=True, mask="x:mask")
    head = dense(rng, UNITS, 2, name="head", source="gru", function="softmax")
    inputs = (floats(FEATURES), tensor_spec("h0", False, (UNITS,)))
    return Model(Graph(inputs, (cell, head), ("gru", "gru:state", "head"), name="two", notes=("a note", "another")))


def of_tokens() -> Model:
    rng = np.random.default_rng(4)
    return Model(chain(tokens(), embedding(rng, 9, 5), gru(rng, 5, UNITS, source="embedding")))


def same(one: Any, other: Any) -> bool:
    """The same bits, the same structure."""
    if isinstance(one, tuple) or isinstance(other, tuple):
        assert type(one) is type(other)
        assert len(one) == len(other)
        return all(same(a, b) for a, b in zip(one, other, strict=True))
    return one.dtype == other.dtype == np.float32 and one.shape == other.shape and one.tobytes() == other.tobytes()


# ---- calls ---------------------------------------------------------------------------------------------------------


def test_one_output_is_an_array_and_several_are_a_tuple_in_order() -> None:
    assert isinstance(of_one()(X), np.ndarray)
    model = of_two()
    answers = model(X, H0)
    assert isinstance(answers, tuple)
    assert [y.shape for y in answers] == [(ROWS, STEPS, UNITS), (ROWS, UNITS), (ROWS, STEPS, 2)]
    for y, expected in zip(answers, oracle.run(model.graph, {"x": X, "h0": H0}), strict=True):
        check(y, expected, "oracle")


def test_inputs_in_order_or_by_name() -> None:
    model = of_two()
    assert same(model({"x": X, "h0": H0}), model(X, H0))
    assert same(model({"h0": H0, "x": X}), model(X, H0)), "a dict has no order"
    assert same(of_one()({"x": X}), of_one()(X))


def test_a_call_starts_fresh_and_leaves_its_inputs_alone() -> None:
    model, x, h0 = of_two(), X.copy(), H0.copy()
    first = model(x, h0)
    assert same(model(x, h0), first)
    assert same((x, h0), (X, H0))


def test_answers_belong_to_the_caller() -> None:
    model = of_one()
    first = model(X)
    kept = first.copy()
    first_flags = first.flags
    model(X[::-1])
    assert same(first, kept)
    assert first_flags.writeable
    assert first_flags.owndata
    assert first_flags.c_contiguous
    first[:] = 7
    assert same(model(X), kept)


def test_answers_that_are_held_never_change() -> None:
    """Small answers are used again once nobody holds them."""
    model = of_one()
    held = [(y, y.copy()) for y in (model(X + t) for t in range(5))]
    assert len({id(model(X + t)) for t in range(20)}) <= 2
    views = [(model(X + t)[1:], model(X + t)[1:].copy()) for t in range(5)]
    assert all(same(*pair) for pair in held + views)


def test_an_output_that_is_an_input_is_a_copy() -> None:
    x = X.copy()
    y = Model(Graph((floats(FEATURES),), (), ("x",)))(x)
    assert same(y, x)
    assert not np.shares_memory(x, y)


def test_the_same_output_twice() -> None:
    layer = gru(np.random.default_rng(1), FEATURES, UNITS)
    one, other = Model(Graph((floats(FEATURES),), (layer,), ("gru", "gru")))(X)
    assert same(one, other)
    assert not np.shares_memory(one, other)


def test_out_is_written_and_returned() -> None:
    model, out = of_one(), np.full((ROWS, UNITS), 9, np.float32)
    assert model(X, out=out) is out
    assert same(out, model(X))


def test_out_of_several_outputs() -> None:
    model = of_two()
    out = tuple(np.full_like(y, 9) for y in model(X, H0))
    answers = model(X, H0, out=out)
    assert all(answer is array for answer, array in zip(answers, out, strict=True))
    assert same(out, model(X, H0))


def test_out_may_be_a_part_of_a_larger_array() -> None:
    large = np.zeros((3, ROWS, UNITS), np.float32)
    of_one()(X, out=large[1])
    assert same(large[1], of_one()(X))
    assert not large[[0, 2]].any()


@pytest.mark.parametrize("threads", [1, 2, 3, 64])
def test_threads_of_a_call(threads: int) -> None:
    assert same(of_two()(X, H0, threads=threads), of_two()(X, H0))
    assert Model(of_one().graph, threads=threads).threads == threads


def test_lengths_and_mask() -> None:
    model = of_one()
    lengths = np.array([6, 1, 3, 5, 2])
    mask = np.arange(STEPS) < lengths[:, None]
    expected = np.stack([model(X[[row], :length])[0] for row, length in enumerate(lengths)])
    for given in (
        lengths,
        lengths.tolist(),
        tuple(lengths.tolist()),
        lengths.astype(np.int8),
        lengths.astype(np.uint64),
    ):
        assert same(model(X, lengths=given), expected)
    assert same(model(X, mask=mask), expected)
    assert same(model(X, mask=mask.tolist()), expected)
    assert same(model(X, mask=np.asfortranarray(mask)), expected)


def test_lengths_and_mask_are_anded() -> None:
    model = of_one()
    holes = np.random.default_rng(5).random((ROWS, STEPS)) < 0.6
    lengths = [6, 1, 3, 5, 2]
    both = holes & (np.arange(STEPS) < np.array(lengths)[:, None])
    assert same(model(X, lengths=lengths, mask=holes), model(X, mask=both))
    assert not same(model(X, mask=holes), model(X, mask=both))


def test_masks_of_the_network_are_anded_too() -> None:
    rng = np.random.default_rng(6)
    table = embedding(rng, 9, 5, mask_zero=True, mask="x:mask")
    model = Model(chain(tokens(), table, gru(rng, 5, UNITS, source="embedding", mask="embedding:mask")))
    assert same(model([[1, 0, 2, 3]], lengths=[3]), model([[1, 2]]))


def test_masked_steps_may_hold_anything() -> None:
    model, x = of_one(), X.copy()
    x[:, 3:] = np.nan
    assert same(model(x, lengths=[3] * ROWS), model(X[:, :3]))


def test_sizes_may_change_from_call_to_call() -> None:
    """Workspaces are kept between calls: a smaller call after a larger one must not see its remains."""
    model = of_two()
    for rows, steps in [(5, 6), (1, 1), (4, 2), (5, 6), (2, 0), (0, 3), (3, 5)]:
        answers = model(X[:rows, :steps], H0[:rows])
        assert same(answers, of_two()(X[:rows, :steps], H0[:rows]))


@pytest.mark.parametrize("of", ["floats", "tokens"])
def test_any_call_may_follow_any_other(of: str) -> None:
    """The layout of a run is kept for the next one: what differs between calls of one size must not be kept with it."""
    rng = np.random.default_rng(6)
    table = embedding(rng, 9, FEATURES, mask="x:mask")
    source, mask = ("x", "x:mask") if of == "floats" else ("embedding", "embedding:mask")
    layers = (
        *bidirectional(rng, FEATURES, UNITS, source=source, mask=mask),
        gru(rng, 2 * UNITS, 3, name="top", source="both", mask=mask),
        Concatenate(name="joined", inputs=("both/ahead:state", "top")),
    )
    if of == "floats":
        graph, data = Graph((floats(FEATURES),), layers, ("both", "top", "joined", "both", "x")), X
    else:
        outputs = ("both", "top", "joined", "embedding")
        graph, data = Graph((tokens(),), (table, *layers), outputs), rng.integers(0, 9, (ROWS, STEPS))
    model = Model(graph)
    calls: list[dict[str, Any]] = []
    for rows, steps in [(5, 6), (1, 6), (5, 1), (0, 6), (2, 0)]:
        x = data[:rows, :steps]
        calls += [{"x": x}, {"x": x[::-1]}, {"x": x, "lengths": np.arange(rows) % (steps + 1)}]
        calls += [{"x": x, "mask": rng.random((rows, steps)) < 0.5, "threads": 2}]

    def answer(to: Model, x: np.ndarray, **options: Any) -> list[bytes]:
        return [y.tobytes() for y in to(x, **options)]

    expected = [answer(Model(graph), **call) for call in calls]
    held = []  # so that no answer stands where one before it stood
    for index in np.repeat(rng.integers(0, len(calls), 100), 2):
        call = dict(calls[index])
        held.append((model(call.pop("x"), **call), index))
        out = tuple(np.full_like(y, 1) for y in held[-1][0])
        held.append((model(calls[index]["x"], out=out, **call), index))
    for answers, index in held:
        assert [y.tobytes() for y in answers] == expected[index], calls[index]


def test_an_error_leaves_the_model_usable() -> None:
    model = of_tokens()
    expected = model([[1, 2]])
    for wrong in ([[99, 1]], [[-1, 1]], [[0.5, 1]], [1]):
        with pytest.raises(fastgru.BadInput):
            model(np.array(wrong))
    assert same(model([[1, 2]]), expected)


# ---- predict -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 2, 5, 7, 256])
def test_predict_of_arrays(batch_size: int) -> None:
    model = of_two()
    assert same(of_one().predict(X, batch_size), of_one()(X))
    assert same(model.predict((X, H0), batch_size=batch_size), model(X, H0))
    assert same(model.predict({"h0": H0, "x": X}, batch_size=batch_size), model(X, H0))


def test_predict_iter_yields_batches() -> None:
    batches = list(of_one().predict_iter(X, batch_size=2))
    assert [len(y) for y in batches] == [2, 2, 1]
    assert same(np.concatenate(batches), of_one()(X))
    for part in of_two().predict_iter((X, H0), batch_size=2):
        assert isinstance(part, tuple)
        assert len(part) == 3


def test_predict_iter_is_lazy() -> None:
    taken = []

    def batches():
        for row in X:
            taken.append(row)
            yield row[None]

    answers = of_one().predict_iter(batches())
    next(answers)
    assert len(taken) == 1


ITERABLES: dict[str, Callable[[], Any]] = {
    "list": lambda: [X[:2], X[2:]],
    "generator": lambda: (X[row : row + 1] for row in range(ROWS)),
    "iterator of dicts": lambda: iter([{"x": X[:4]}, {"x": X[4:]}]),
    "iterator of tuples": lambda: iter([(X[:4],), (X[4:],)]),
}


@pytest.mark.parametrize("batches", ITERABLES.values(), ids=ITERABLES)
def test_predict_of_batches(batches: Callable[[], Any]) -> None:
    assert same(of_one().predict(batches()), of_one()(X))


def test_predict_of_batches_for_several_inputs() -> None:
    model, parts = of_two(), [slice(2), slice(2, 5)]
    assert same(model.predict((X[part], H0[part]) for part in parts), model(X, H0))
    assert same(model.predict({"x": X[part], "h0": H0[part]} for part in parts), model(X, H0))


def test_predict_with_lengths_and_mask() -> None:
    model, lengths = of_one(), [6, 1, 3, 5, 2]
    mask = np.random.default_rng(7).random((ROWS, STEPS)) < 0.5
    assert same(model.predict(X, batch_size=2, lengths=lengths), model(X, lengths=lengths))
    assert same(model.predict(X, batch_size=2, mask=mask, lengths=lengths), model(X, mask=mask, lengths=lengths))


def test_predict_shows_progress(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("rich")
    assert same(of_one().predict(X, batch_size=2, progress=True), of_one()(X))
    assert same(of_one().predict(iter([X]), progress=True), of_one()(X))
    assert same(of_two().predict({"x": X, "h0": H0}, progress=True), of_two()(X, H0))
    captured = capsys.readouterr()
    assert "100%" in captured.out + captured.err
    of_one().predict(X)
    assert capsys.readouterr() == ("", ""), "silent unless asked"


# ---- facts ---------------------------------------------------------------------------------------------------------


def test_inputs_and_outputs_are_specs() -> None:
    model = of_two()
    assert isinstance(model.inputs, tuple)
    assert isinstance(model.outputs, tuple)
    assert [(spec.name, spec.shape, spec.dtype, spec.axes) for spec in (*model.inputs, *model.outputs)] == [
        ("x", (None, None, FEATURES), "float32", ("batch", "time", "features")),
        ("h0", (None, UNITS), "float32", ("batch", "features")),
        ("gru", (None, None, UNITS), "float32", ("batch", "time", "features")),
        ("gru:state", (None, UNITS), "float32", ("batch", "features")),
        ("head", (None, None, 2), "float32", ("batch", "time", "features")),
    ]
    (ids,) = of_tokens().inputs
    assert (ids.shape, ids.dtype, ids.axes) == ((None, None), "int32", ("batch", "time"))


def test_summary_names_every_layer() -> None:
    text = of_two().summary()
    parameters = 3 * UNITS * (FEATURES + UNITS + 2) + 2 * UNITS + 2
    for word in ("two", "x", "h0", "gru", "GRU", "head", "Dense", "(None, None, 4)", f"{parameters:,}", of_two().isa):
        assert word in text, word
    assert of_two().graph.parameters == parameters
    assert max(map(len, text.splitlines())) <= 120


def test_repr_is_one_short_line() -> None:
    text = repr(of_two())
    assert "two" in text
    assert "Model" in text
    assert "\n" not in text
    assert len(text) < 200


def test_notes_are_the_graphs() -> None:
    assert of_two().notes == ("a note", "another")


@pytest.mark.dtypes("float32")  # another process knows no --dtype
def test_fingerprint() -> None:
    model = of_one()
    assert len(bytes.fromhex(model.fingerprint)) == hashlib.sha256().digest_size
    assert of_one().fingerprint == model.fingerprint
    assert of_one(seed=9).fingerprint != model.fingerprint
    layer = model.graph.layers[0]
    assert isinstance(layer, GRU)
    reset_before = gru(np.random.default_rng(1), FEATURES, UNITS, mask="x:mask", reset_after=False)
    assert Model(chain(floats(FEATURES), reset_before)).fingerprint != model.fingerprint
    program = f"import fastgru; print(fastgru.load({str(fastgru.demo_path())!r}).fingerprint)"
    printed = subprocess.check_output([sys.executable, "-c", program], text=True, timeout=60)
    assert printed.strip() == fastgru.load(fastgru.demo_path()).fingerprint, "another process has another hash seed"


def test_the_model_keeps_its_own_weights() -> None:
    """Changing the array that a network was built from must not change the network."""
    layer = gru(np.random.default_rng(1), FEATURES, UNITS)
    model = Model(chain(floats(FEATURES), layer))
    before = model(X)
    layer.kernel[:] = 0
    assert same(model(X), before)


# ---- copies --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [of_one, of_two, of_tokens])
def test_save_and_load(tmp_path: Path, make: Callable[[], Model]) -> None:
    model, path = make(), tmp_path / "model.safetensors"
    model.save(path)
    loaded = fastgru.load(str(path))
    assert (loaded.fingerprint, loaded.notes, loaded.inputs, loaded.outputs) == (
        model.fingerprint, model.notes, model.inputs, model.outputs,
    )  # fmt: skip
    arguments = {1: ([[1, 2, 8]],) if make is of_tokens else (X,), 2: (X, H0)}[len(model.inputs)]
    assert same(loaded(*arguments), model(*arguments))
    assert loaded.summary() == model.summary()


def test_save_takes_a_string_and_replaces_a_file(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    of_one(seed=9).save(str(path))
    of_one().save(path)
    assert fastgru.load(path).fingerprint == of_one().fingerprint


def test_a_loaded_file_may_be_replaced_by_itself(tmp_path: Path) -> None:
    """Weights are read by memory map: saving over the file that a Model came from must not touch the Model."""
    path = tmp_path / "model.safetensors"
    of_one().save(path)
    model = fastgru.load(path)
    model.save(path)
    assert same(fastgru.load(path)(X), of_one()(X))
    of_one(seed=9).save(path)
    assert same(model(X), of_one()(X))
    path.unlink()
    assert same(model(X), of_one()(X))
    assert model.fingerprint == of_one().fingerprint


def through_pickle(model: Model) -> Model:
    return pickle.loads(pickle.dumps(model))


@pytest.mark.parametrize("through", [through_pickle, copy.copy, copy.deepcopy], ids=["pickle", "copy", "deepcopy"])
def test_pickle_and_copies(through: Callable[[Model], Model]) -> None:
    model = Model(of_two().graph, threads=2)
    twin = through(model)
    assert twin.fingerprint == model.fingerprint
    assert twin.notes == model.notes
    assert (twin.threads, twin.dtype, twin.matmul) == (2, model.dtype, "auto")
    assert same(twin(X, H0), model(X, H0))


def test_a_model_pickled_with_default_threads_takes_those_of_the_new_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    data = pickle.dumps(of_one())
    monkeypatch.setenv("FASTGRU_NUM_THREADS", "3")
    assert pickle.loads(data).threads == 3


def test_pickle_holds_the_weights_once() -> None:
    model = Model(chain(floats(64), gru(np.random.default_rng(1), 64, 64)))
    assert len(pickle.dumps(model)) < 4 * model.graph.parameters + 10_000
