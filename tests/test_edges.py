"""Graphs that no importer builds, but a file may hold; and calls at the edges of what arrays can be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastgru
import oracle
from building import chain, dense, floats, gru, tokens, uniform
from fastgru import BadInput, BadModelFile, Model, UnsupportedModel
from fastgru.graph import Activate, Activation, Embedding, Graph, Identity, Layer, Masking, Reshape, tensor_spec
from tolerances import check

pytestmark = pytest.mark.dtypes

RNG = np.random.default_rng(8)


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape, dtype=np.float32)


def compare(graph: Graph, inputs: dict[str, np.ndarray]) -> None:
    y = Model(graph)(inputs)
    for actual, expected in zip(y if isinstance(y, tuple) else (y,), oracle.run(graph, inputs), strict=True):
        check(actual, expected, "oracle")


@pytest.mark.parametrize("steps", [1, 300])
def test_a_reshape_that_nobody_reads(steps: int) -> None:
    """It still writes all of its steps, so it needs room for all of them."""
    unread = Reshape(name="unread", inputs=("x",), target=(-1, 3))
    compare(Graph((floats(9),), (unread,), ("x",)), {"x": normal(4, steps, 9)})


def test_outputs_twice_and_on_the_way() -> None:
    layers: tuple[Layer, ...] = (
        gru(RNG, 5, 7, name="one", return_sequences=True),
        gru(RNG, 7, 4, name="two", source="one", return_sequences=True, go_backwards=True),
        dense(RNG, 4, 3, name="out", source="two", function="tanh"),
    )
    outputs = ("out", "one", "x", "two:state", "out", "one:state")
    compare(Graph((floats(5),), layers, outputs), {"x": normal(3, 150, 5)})


def test_a_flat_input_made_a_sequence_cannot_stream_beside_one() -> None:
    layers: tuple[Layer, ...] = (
        gru(RNG, 5, 4, name="last"),
        Reshape(name="again", inputs=("last",), target=(2, 2)),
        gru(RNG, 2, 3, name="end", source="again"),
    )
    graph = Graph((floats(5),), layers, ("end",))
    compare(graph, {"x": normal(3, 6, 5)})
    with pytest.raises(UnsupportedModel, match="'again' makes a sequence with steps of its own"):
        Model(graph).stream()


@pytest.mark.parametrize(
    "spec",
    [
        tensor_spec("x", None, (4,), "bool"),
        tensor_spec("x", None, (0,)),
        tensor_spec("x", None, (-3,)),
        tensor_spec("x", None, (2**62, 4)),
        tensor_spec("x", 0, (4,)),
        tensor_spec("x", None, (2.5,)),  # type: ignore[arg-type]
    ],
    ids=lambda spec: f"{spec.dtype}-{spec.shape}",
)
def test_inputs_that_cannot_be(spec: Any) -> None:
    with pytest.raises(BadModelFile, match="'x'"):
        Graph((spec,), (Identity(name="same", inputs=("x",)),), ("same",))


def test_more_values_than_memory_can_count() -> None:
    model = Model(
        chain(
            floats(1),
            dense(RNG, 1, 16, name="wide", source="x", function="linear"),
            gru(RNG, 16, 2, source="wide", go_backwards=True),
        )
    )
    with pytest.raises(MemoryError):
        model(np.broadcast_to(np.float32(1), (1, 2**60, 1)))


def test_out_beside_a_lone_row() -> None:
    """NumPy leaves the stride of an axis of one open, so only the bytes tell whether two arrays overlap."""
    model = Model(chain(floats(5), dense(RNG, 5, 5, name="out", source="x", function="tanh")))
    rows = normal(4, 5)
    with model.stream() as stream:
        with pytest.raises(BadInput, match="overlaps"):
            stream.step(rows[1:2][::-1], out=rows[1:2])
        expected = stream.step(rows[:1].copy())
        assert np.array_equal(stream.step(rows[::500][:1], out=rows[3:4]), expected)
        assert np.array_equal(stream.step(rows[:1], out=(rows[2:3],)), expected)


def test_a_state_of_nans_is_a_state() -> None:
    model = Model(chain(floats(2), gru(RNG, 2, 3, mask="x:mask", return_sequences=True)))
    with model.stream() as stream:
        stream.step(np.full((1, 2), np.nan, np.float32))
        state = stream.get_state()
        stream.set_state(state)
        assert np.isnan(stream.get_state()["gru/last_output"]).all()


def test_no_further_steps_after_a_masked_one() -> None:
    """The last output is that of the last step that ran, in whichever chunk it came."""
    x = normal(2, 5, 3)
    for zero in (True, False):
        model = Model(chain(floats(3), gru(RNG, 3, 4, mask="x:mask", zero_output_for_mask=zero)))
        with model.stream(batch_size=2) as stream:
            y = stream.run(x, lengths=[2, 5])
            assert np.array_equal(stream.run(x[:, :0]), y)
        assert np.array_equal(y, model(x, lengths=[2, 5]))


def test_chunks_of_a_network_with_a_fixed_number_of_steps() -> None:
    model = Model(chain(floats(3, 6), gru(RNG, 3, 4, return_sequences=True)))
    x = normal(1, 6, 3)
    with model.stream() as stream:
        assert np.array_equal(np.concatenate([stream.run(x[:, :2]), stream.run(x[:, 2:])], axis=1), model(x))


def test_denormals_are_not_the_value_that_masks() -> None:
    model = Model(
        chain(floats(1), Masking(name="mask", inputs=("x",)), gru(RNG, 1, 2, source="mask", mask="mask:mask"))
    )
    x = np.array([[[1e-40], [0.0], [-0.0]]], np.float32)
    check(model(x), oracle.run(model.graph, {"x": x})[0], "oracle")
    assert model(x).any()


def test_ids_of_kinds_that_numpy_does_not_know() -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes", reason="ml_dtypes (with jax) is not installed")
    layer = Embedding(name="embedding", inputs=("x",), table=uniform(RNG, 4, 2))
    model = Model(chain(tokens(), layer))
    assert model(np.array([[1, 3]], ml_dtypes.bfloat16)).shape == (1, 2, 2)
    for bad in (1.5, np.nan, 4):
        with pytest.raises(BadInput):
            model(np.array([[bad]], ml_dtypes.bfloat16))


def test_a_stream_needs_a_plan() -> None:
    with pytest.raises(TypeError):
        fastgru.Stream(None)


def test_activations_of_a_whole_row_of_steps() -> None:
    graph = chain(floats(6), Activate(name="glu", inputs=("x",), activation=Activation.of("glu")))
    compare(graph, {"x": normal(2, 3, 6)})
