"""One-hot vectors of token ids: the layer, GRUs that look them up, and networks of vectors that come to read ids."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

import fastgru
import oracle
from building import chain, dense, floats, gru, tokens
from fastgru import passes
from fastgru.errors import BadInput, BadModelFile
from fastgru.graph import ArgMax, Embedding, Graph, Layer, Masking, OneHot, TensorSpec, TimeDistributed, tensor_spec
from fastgru.ports import Port
from tolerances import check

pytestmark = pytest.mark.dtypes

both_variants = pytest.mark.parametrize("reset_after", [True, False])


def same(actual: np.ndarray, expected: np.ndarray) -> bool:
    return actual.shape == expected.shape and np.array_equal(actual.view(np.uint32), expected.view(np.uint32))


def one_hot(vocabulary: int, **options: object) -> OneHot:
    return OneHot(**{"name": "one_hot", "inputs": ("x",), "vocabulary": vocabulary} | options)


def vectors(ids: np.ndarray, vocabulary: int) -> np.ndarray:
    return np.eye(vocabulary, dtype=np.float32)[ids]


def characters(
    vocabulary: int, units: int, reset_after: bool = True, source: str = "x", **options: object
) -> tuple[Layer, ...]:
    """A GRU and the logits of the next character."""
    rng = np.random.default_rng(vocabulary + units)
    layer = gru(rng, vocabulary, units, source=source, reset_after=reset_after, return_sequences=True, **options)
    return layer, dense(rng, units, vocabulary, name="logits", source="gru", function="linear")


@pytest.mark.parametrize("vocabulary", [1, 3, 40])
def test_vectors(vocabulary: int, isa: str) -> None:
    model = fastgru.Model(chain(tokens(), one_hot(vocabulary)))
    ids = np.random.default_rng(0).integers(0, vocabulary, (5, 9))
    assert same(model(ids), vectors(ids, vocabulary))
    assert model(ids[:, :0]).shape == (5, 0, vocabulary)
    with model.stream(batch_size=5) as stream:
        assert same(stream.step(ids[:, 0]), vectors(ids[:, 0], vocabulary))


def test_vectors_without_time() -> None:
    graph = chain(tensor_spec("x", False, (), "int32"), one_hot(4))
    assert graph.specs["one_hot"].shape == (None, 4)
    assert same(fastgru.Model(graph)([2, 0]), vectors(np.array([2, 0]), 4))


@both_variants
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("vocabulary", "units"), [(1, 1), (7, 20), (65, 33), (130, 90)])
def test_a_gru_looks_up_what_it_would_multiply(
    vocabulary: int, units: int, masked: bool, reset_after: bool, isa: str
) -> None:
    """Folded, with vectors that are there and multiplied, and given the vectors: the same bits, near the oracle."""
    layers = characters(vocabulary, units, reset_after, mask="x:mask")
    behind = characters(vocabulary, units, reset_after, mask="x:mask", source="one_hot")
    passing = Masking(name="passing", inputs=("one_hot",), mask_value=-1.0)  # no GRU sees through it
    apart = dataclasses.replace(behind[0], inputs=("passing",)), behind[1]
    given = fastgru.Model(chain(floats(vocabulary), *layers))
    folded = fastgru.Model(chain(tokens(), one_hot(vocabulary), *behind))
    unfolded = fastgru.Model(chain(tokens(), one_hot(vocabulary), passing, *apart))
    read_too = fastgru.Model(Graph((tokens(),), (one_hot(vocabulary), *behind), ("logits", "one_hot")))
    rng = np.random.default_rng(1)
    for batch, steps in (1, 1), (1, 40), (3, 2), (20, 7), (2, 130):
        ids = rng.integers(0, vocabulary, (batch, steps))
        mask = rng.random((batch, steps)) < 0.7 if masked else None
        expected = given(vectors(ids, vocabulary), mask=mask, threads=1)
        for threads in 1, 2:
            assert same(folded(ids, mask=mask, threads=threads), expected)
            assert same(unfolded(ids, mask=mask, threads=threads), expected)
            assert same(read_too(ids, mask=mask, threads=threads)[0], expected)
        (truth,) = oracle.run(folded.graph, {"x": ids}, None if mask is None else {"x": mask})
        check(expected, truth, "oracle")
    with folded.stream(batch_size=20) as stream, given.stream(batch_size=20) as plain:
        for _ in range(7):
            ids = rng.integers(0, vocabulary, 20)
            assert same(stream.step(ids), plain.step(vectors(ids, vocabulary)))


@both_variants
def test_a_lookup_on_every_vector_isa(
    reset_after: bool, monkeypatch: pytest.MonkeyPatch, vector_isas: list[str]
) -> None:
    graph = chain(tokens(), one_hot(65), *characters(65, 50, reset_after, source="one_hot"))
    ids = np.random.default_rng(2).integers(0, 65, (3, 30))
    answers = []
    for name in vector_isas:
        monkeypatch.setenv("FASTGRU_ISA", name)
        answers.append(fastgru.Model(graph)(ids))
    assert all(same(answer, answers[0]) for answer in answers[1:])


@pytest.mark.dtypes("float32", "bfloat16", "float16")  # int8 has no infinity
@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
def test_a_kernel_with_no_numbers_is_multiplied(bad: float) -> None:
    """0 · infinity is NaN, for every token."""
    layer, logits = characters(7, 5)
    kernel = layer.kernel.copy()
    kernel[3, 8] = bad
    layer = dataclasses.replace(layer, kernel=kernel)
    graph = chain(tokens(), one_hot(7), dataclasses.replace(layer, inputs=("one_hot",)), logits)
    ids = np.array([[0, 1, 2, 6]])
    answer = fastgru.Model(graph)(ids)
    np.testing.assert_array_equal(answer, fastgru.Model(chain(floats(7), layer, logits))(vectors(ids, 7)))
    assert np.isnan(answer).all()


@pytest.mark.dtypes("float32", "bfloat16", "float16")  # int8: scales of kernels go by columns, of tables by rows
def test_a_large_vocabulary_takes_no_square_of_memory(isa: str) -> None:
    """40,000 tokens: a table of their vectors would be 6.4 GB, those of a block 20 MB."""
    layer, _ = characters(40_000, 4, source="one_hot")
    model = fastgru.Model(chain(tokens(), one_hot(40_000), layer))
    table = Embedding(name="embedding", inputs=("x",), table=layer.kernel)
    through = dataclasses.replace(layer, inputs=("embedding",), kernel=np.eye(12, dtype=np.float32))
    ids = np.random.default_rng(3).integers(0, 40_000, (2, 500))
    assert same(model(ids), fastgru.Model(chain(tokens(), table, through))(ids))
    with model.stream(batch_size=2) as stream:
        stream.run(ids)
        assert stream.nbytes < 100_000


def test_inside_a_time_distributed(isa: str) -> None:
    """Words of characters, each read by the same GRU."""
    layer, _ = characters(9, 6, source="one_hot")
    layer = dataclasses.replace(layer, return_sequences=False)
    words = tensor_spec("x", None, (4,), "int32")
    inner = Graph((tensor_spec("x", 4, (), "int32"),), (one_hot(9), layer), ("gru",))
    outer = Graph((words,), (TimeDistributed(name="words", inputs=("x",), graph=inner),), ("words",))
    ids = np.random.default_rng(4).integers(0, 9, (3, 5, 4))
    answer = fastgru.Model(outer)(ids)
    assert same(answer, fastgru.Model(inner)(ids.reshape(15, 4)).reshape(3, 5, 6))
    with pytest.raises(BadInput, match="9"):
        fastgru.Model(outer)(ids + 1)


def test_ids_outside_the_vocabulary() -> None:
    model = fastgru.Model(chain(tokens(), one_hot(5)))
    for bad in (5, -1):
        with pytest.raises(BadInput, match="outside the vocabulary 0 … 4"):
            model([[0, bad]])
    scores = dense(np.random.default_rng(5), 3, 6, name="scores", source="x", function="linear")
    likeliest = ArgMax(name="likeliest", inputs=("scores",))
    assert fastgru.Model(chain(floats(3), scores, likeliest, one_hot(6, inputs=("likeliest",))))
    with pytest.raises(BadModelFile, match="'one_hot': 'likeliest' holds ids below 6, but the vocabulary has 5"):
        fastgru.Model(chain(floats(3), scores, likeliest, one_hot(5, inputs=("likeliest",))))


@pytest.mark.parametrize(
    ("spec", "vocabulary", "says"),
    [
        (floats(3), 3, "needs token ids, but 'x' is float32"),
        (tokens(), 0, "vocabulary should be at least 1, is 0"),
        (tokens(), -3, "vocabulary should be at least 1, is -3"),
        (tokens(), 2**31, "cannot have shape"),
    ],
)
def test_what_the_graph_refuses(spec: TensorSpec, vocabulary: int, says: str) -> None:
    with pytest.raises(BadModelFile, match=says):
        chain(spec, one_hot(vocabulary)).specs.keys()


# ---- tokens_for_one_hot --------------------------------------------------------------------------------------------


def test_a_network_of_vectors_reads_ids(isa: str, tmp_path: Path) -> None:
    """With a Dense beside the GRU, a mask, and an initial state of its own; saved and loaded."""
    layer, logits = characters(11, 16, mask="x:mask")
    layer = dataclasses.replace(layer, inputs=("x", "h0"))
    beside = dense(np.random.default_rng(6), 11, 3, name="beside", source="x", function="tanh")
    inputs = floats(11), tensor_spec("h0", False, (16,))
    before = Graph(inputs, (layer, logits, beside), ("logits", "beside"), name="net", notes=("a note",))
    after = passes.tokens_for_one_hot(before)
    assert [spec.name for spec in after.inputs] == ["x", "h0"]
    assert after.inputs[0] == tokens()
    assert (after.name, after.notes, after.outputs) == ("net", ("a note",), before.outputs)
    saved = fastgru.Model(after)
    saved.save(tmp_path / "ids.safetensors")
    model, given = fastgru.load(tmp_path / "ids.safetensors"), fastgru.Model(before)
    assert model.fingerprint == saved.fingerprint
    rng = np.random.default_rng(7)
    ids, h0 = rng.integers(0, 11, (4, 12)), rng.uniform(-1, 1, (4, 16)).astype(np.float32)
    for lengths in None, [12, 3, 7, 1]:
        for answer, expected in zip(
            model(ids, h0, lengths={"x": lengths} if lengths else None),
            given(vectors(ids, 11), h0, lengths={"x": lengths} if lengths else None),
            strict=True,
        ):
            assert same(answer, expected)


def test_the_callers_order_of_axes_stays() -> None:
    """An ONNX file's X (time, batch, features), whose state a Stream carries."""
    layer, _ = characters(5, 4)
    layer = dataclasses.replace(layer, inputs=("x", "h"))
    ports = Port("X", (5,), ((1,), (0,), (2,))), Port("h", (4,), ((), (0,), (1,)))
    states = (Port("Y_h", (4,), ((), (0,), (1,))),)
    before = Graph(
        (floats(5), tensor_spec("h", False, (4,))), (layer,), ("gru:state",),
        input_ports=ports, output_ports=states, states=(("h", "Y_h"),),
    )  # fmt: skip
    after = passes.tokens_for_one_hot(before)
    given, model = fastgru.Model(before), fastgru.Model(after)
    assert model.inputs[0].shape == (None, None)
    assert model.inputs[0].axes == ("time", "batch")
    assert [spec.name for spec in model.inputs] == ["X", "h"]
    ids, h = np.random.default_rng(8).integers(0, 5, (6, 3)), np.zeros((1, 3, 4), np.float32)
    assert same(model(ids, h), given(vectors(ids, 5), h))
    with model.stream(batch_size=3) as stream, given.stream(batch_size=3) as plain:
        for chunk in ids.T[:, :2], ids.T[:, 2:]:  # a stream is batch first
            assert same(stream.run(chunk), plain.run(vectors(chunk, 5)))


def refused() -> dict[str, Graph]:
    layer, logits = characters(5, 4)
    body = (layer, logits)
    text = {"inputs": {"x": {"tokens": ["a", "b", "c", "d", "e"], "output": "one_hot", "size": 5, "shape": [None]}}}
    ids = chain(tokens(), one_hot(5))
    two = dataclasses.replace(layer, name="two", inputs=("y",))
    merged = Port("X", (1, 5), ((0,), (1,), (2, 3)))
    wide = dense(np.random.default_rng(9), 5, 2, name="wide", source="x", function="linear")
    return {
        "ids already": ids,
        "no sequence": chain(tensor_spec("x", False, (5,)), wide),
        "two sequences": Graph((floats(5), tensor_spec("y", None, (5,))), (*body, two), ("logits", "two")),
        "more axes": chain(tensor_spec("x", None, (3, 5)), wide),
        "an output too": Graph((floats(5),), body, ("logits", "x")),
        "encoded": Graph((floats(5),), body, ("logits",), text=text),
        "merged axes": Graph((floats(5),), body, ("logits",), input_ports=(merged,)),
    }  # fmt: skip


@pytest.mark.parametrize("name", refused())
def test_networks_that_cannot(name: str) -> None:
    assert passes.tokens_for_one_hot(refused()[name]) is None


def test_names_that_are_taken() -> None:
    taken = dense(np.random.default_rng(9), 5, 2, name="x_one_hot", source="x", function="linear")
    after = passes.tokens_for_one_hot(chain(floats(5), taken))
    ids = np.array([[0, 4, 2]])
    assert same(fastgru.Model(after)(ids), fastgru.Model(chain(floats(5), taken))(vectors(ids, 5)))
