"""ArgMax: ids that a network computes, as outputs and as what an Embedding reads."""

from __future__ import annotations

import numpy as np
import pytest

import oracle
from building import chain, dense, floats, gru
from fastgru import BadInput, BadModelFile, Model
from fastgru.graph import ArgMax, Embedding, Graph, Layer, Reshape, tensor_spec
from tolerances import check

pytestmark = pytest.mark.dtypes

FEATURES = 7
LIKELIEST = ArgMax(name="likeliest", inputs=("x",))


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


def whole(*shape: int) -> np.ndarray:
    """Small whole numbers: many are equal."""
    return np.random.default_rng(2).integers(-2, 3, shape).astype(np.float32)


def speller() -> Graph:
    """x → GRU → scores → the likeliest id → its vector → GRU, forwards and backwards."""
    rng = np.random.default_rng(3)
    layers: tuple[Layer, ...] = (
        gru(rng, FEATURES, 12, name="first", return_sequences=True),
        dense(rng, 12, 9, name="scores", source="first", function="softmax"),
        ArgMax(name="likeliest", inputs=("scores",)),
        Embedding(name="vectors", inputs=("likeliest",), table=normal(9, 5), mask_zero=True),
        gru(rng, 5, 12, name="second", source="vectors", mask="vectors:mask", return_sequences=True),
        gru(rng, 5, 12, name="third", source="vectors", mask="vectors:mask", go_backwards=True),
    )
    return Graph((floats(FEATURES),), layers, ("second", "third", "likeliest"))


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("inner", [(1,), (7,), (33,), (3, 5), (2, 3, 4)], ids=str)
@pytest.mark.parametrize("time", [None, False])
def test_against_the_oracle(time: bool | None, inner: tuple[int, ...], last: bool, isa: str) -> None:
    layer = ArgMax(name="likeliest", inputs=("x",), last=last)
    model = Model(chain(tensor_spec("x", time, inner), layer))
    for lead in (1,), (5,), (0,):
        for steps in ((0,), (1,), (130,)) if time is None else ((),):
            x = whole(*lead, *steps, *inner)
            y = model(x)
            assert y.dtype == np.int32
            assert np.array_equal(y, oracle.run(model.graph, {"x": x})[0])
    assert model.outputs[0].dtype == "int32"


def test_equals_nan_and_infinity(isa: str) -> None:
    inf, nan = np.inf, np.nan
    rows = np.array([[0, -0.0, 0], [1, nan, 2], [nan, 1, nan], [inf, nan, inf], [-inf, -inf, -inf], [-inf, -3e38, 0]])
    for last, expected in ((False, [0, 1, 0, 1, 0, 2]), (True, [2, 1, 2, 1, 2, 2])):
        layer = ArgMax(name="likeliest", inputs=("x",), last=last)
        assert Model(chain(tensor_spec("x", False, (3,)), layer))(rows.astype(np.float32)).tolist() == expected


def test_ids_computed_inside_the_network(isa: str) -> None:
    graph, x = speller(), normal(11, 20, FEATURES)
    *answers, ids = Model(graph)(x)
    truth = oracle.run(graph, {"x": x})
    assert np.array_equal(ids, truth[2])
    for answer, expected in zip(answers, truth, strict=False):
        check(answer, expected, "oracle")


def test_batch_threads_and_isa_change_no_bit(monkeypatch: pytest.MonkeyPatch, vector_isas: list[str]) -> None:
    x, answers = normal(33, 150, FEATURES), []
    for isa in vector_isas:
        monkeypatch.setenv("FASTGRU_ISA", isa)
        for threads in (1, 2, 5):
            answers.append([y.tobytes() for y in Model(speller(), threads=threads)(x)])
    assert all(answer == answers[0] for answer in answers)
    for rows in (slice(1), slice(4, 13)):
        part = Model(speller())(x[rows])
        assert [y.tobytes() for y in part] == [y[rows].tobytes() for y in Model(speller())(x)]


def test_streams(isa: str) -> None:
    graph = speller()
    model = Model(Graph(graph.inputs, graph.layers[:-1], ("second", "likeliest")))
    x = normal(3, 12, FEATURES)
    expected = model(x)
    with model.stream(3) as stream:
        steps = [stream.step(x[:, t]) for t in range(12)]
        assert steps[0][1].dtype == np.int32
        assert steps[0][1].shape == (3,)
        stream.reset()
        chunks = [stream.run(part) for part in np.split(x, [5, 5, 6], axis=1)]
    for i in range(2):
        assert np.stack([y[i] for y in steps], axis=1).tobytes() == expected[i].tobytes()
        assert np.concatenate([y[i] for y in chunks], axis=1).tobytes() == expected[i].tobytes()


def test_out_takes_whole_numbers() -> None:
    model, x = Model(chain(floats(FEATURES), LIKELIEST)), normal(2, 3, FEATURES)
    out = np.empty((2, 3), np.int32)
    assert model(x, out=out) is out
    assert np.array_equal(out, x.argmax(-1))
    with pytest.raises(BadInput, match=r"out= for 'likeliest' should be a writable int32 array of shape \(2, 3\)"):
        model(x, out=np.empty((2, 3), np.float32))


def test_predict_concatenates_ids() -> None:
    model, x = Model(chain(floats(FEATURES), LIKELIEST)), normal(10, 3, FEATURES)
    y = model.predict(x, batch_size=4)
    assert y.dtype == np.int32
    assert np.array_equal(y, x.argmax(-1))


def test_more_ids_than_a_table_has_rows_are_refused() -> None:
    def network(vocabulary: int) -> Graph:
        again = Reshape(name="again", inputs=("x",), target=(FEATURES,), per_step=True)
        ids = ArgMax(name="ids", inputs=("again",))
        return chain(floats(FEATURES), again, ids, Embedding(name="e", inputs=("ids",), table=normal(vocabulary, 2)))

    assert Model(network(FEATURES))(normal(1, 2, FEATURES)).shape == (1, 2, 2)
    with pytest.raises(BadModelFile, match="Embedding layer 'e': 'ids' holds ids below 7, but the vocabulary has 6"):
        Model(network(FEATURES - 1))


@pytest.mark.parametrize(
    ("spec", "fault"),
    [
        (tensor_spec("x", None, ()), "needs a features axis"),
        (tensor_spec("x", None, (3,), "int32"), "needs float32 values"),
    ],
)
def test_values_without_a_largest_are_refused(spec: object, fault: str) -> None:
    with pytest.raises(BadModelFile, match=f"ArgMax layer 'likeliest': {fault}"):
        chain(spec, LIKELIEST)  # type: ignore[arg-type]
