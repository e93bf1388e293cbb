"""Models, Streams and generation with narrow weights: which dtype they have, what they keep, what they refuse."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

import building
import fastgru
from fastgru import BadInput, Model, StateMismatch, UnsupportedModel, passes
from fastgru.generation.decoders import batch_first_model
from fastgru.graph import NARROW, Graph, NarrowArray, Scale, dtype_name
from fastgru.narrowing import dtype_of, narrow, widen
from fastgru.ports import Port

DATA = Path(__file__).parent / "data"
DTYPES = tuple(NARROW)
#: how far a network may be from the one in float32 with the same numbers as weights: what float16 multiplies is to the
#: bit the same, bfloat16 may round what it multiplies with, int8 does
APART = {"float16": 0.0, "bfloat16": 2e-2, "int8": 1e-2}


@pytest.fixture
def graph() -> Graph:
    rng = np.random.default_rng(11)
    head = building.dense(rng, 24, 5, name="head", source="gru", function="tanh")
    return building.chain(building.floats(6), building.gru(rng, 6, 24, return_sequences=True), head)


@pytest.fixture
def x() -> np.ndarray:
    return np.random.default_rng(3).standard_normal((3, 20, 6), np.float32)


def held(graph: Graph) -> dict[str, str]:
    return {name: dtype_name(value) for name, value in graph.tensors}


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_narrow_network_computes_with_the_rounded_weights(isa, graph, x, dtype) -> None:
    model = Model(graph, dtype=dtype)
    assert model.dtype == dtype
    wide = Model(model.graph, dtype="float32")
    assert wide.dtype == "float32"
    assert wide.fingerprint == widen(model.graph).fingerprint
    np.testing.assert_allclose(model(x), wide(x), rtol=0, atol=APART[dtype])
    assert not np.array_equal(wide(x), Model(graph)(x))


@pytest.mark.parametrize("dtype", DTYPES)
def test_no_float32_copy_is_kept(graph, dtype) -> None:
    model = Model(graph, dtype=dtype)
    kernels = [value for name, value in model.graph.tensors if "kernel" in name]
    assert all(isinstance(kernel, NarrowArray) for kernel in kernels)


@pytest.mark.parametrize("dtype", DTYPES)
def test_streams_give_the_bits_of_the_whole(isa, graph, x, dtype) -> None:
    model = Model(graph, dtype=dtype)
    whole = model(x)
    with model.stream(batch_size=3) as stream:
        chunks = [stream.run(x[:, :7]), stream.step(x[:, 7])[:, None], stream.run(x[:, 8:])]
    assert np.array_equal(np.concatenate(chunks, axis=1), whole)


@pytest.mark.parametrize("dtype", DTYPES)
def test_save_load_and_pickle_keep_the_dtype(graph, x, tmp_path: Path, dtype) -> None:
    model = Model(graph, dtype=dtype, keep_float32="head")
    model.save(tmp_path / "model.safetensors")
    for again in (fastgru.load(tmp_path / "model.safetensors"), pickle.loads(pickle.dumps(model)), Model(model.graph)):
        assert again.dtype == dtype
        assert again.fingerprint == model.fingerprint
        assert held(again.graph)["head/kernel"] == "float32"
        assert np.array_equal(again(x), model(x))
    assert fastgru.load(tmp_path / "model.safetensors", dtype="float32").dtype == "float32"
    assert held(fastgru.load(tmp_path / "model.safetensors", dtype=dtype).graph)["head/kernel"] == dtype


def test_dtypes_that_do_not_go(graph, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="dtype should be 'float32', 'bfloat16', 'float16' or 'int8', got 'float64'"):
        Model(graph, dtype="float64")
    with pytest.raises(BadInput, match="dtype should be"):
        Model(graph, dtype=np.int8)
    with pytest.raises(BadInput, match="are int8 already"):
        Model(narrow(graph, "int8"), dtype="float16")
    for dtype in (None, "float32"):
        with pytest.raises(BadInput, match="keep_float32 goes with a dtype of bfloat16, float16, int8"):
            Model(graph, dtype=dtype, keep_float32=["gru"])
    with pytest.raises(BadInput, match="names no layer: lstm; those with weights: gru, head"):
        Model(graph, dtype="int8", keep_float32=["lstm"])
    graph.layers[0].kernel[0, 0] = 1e6
    with pytest.raises(UnsupportedModel, match="GRU layer 'gru': kernel holds 1 weights beyond float16's range"):
        Model(graph, dtype="float16")


def test_arrays_become_a_narrow_network() -> None:
    rng = np.random.default_rng(0)
    arrays = {"w_ih": rng.normal(size=(12, 2)), "w_hh": rng.normal(size=(12, 4)), "fc_w": rng.normal(size=(3, 4)),
              "fc_b": np.zeros(3)}  # fmt: skip
    layers = [{"gru": "", "return_sequences": False}, {"linear": "fc"}]
    model = fastgru.gru_network(arrays, layers, dtype="int8", keep_float32="fc*")
    dtypes = held(model.graph)
    assert [dtype for name, dtype in dtypes.items() if name.endswith("kernel")] == ["int8", "int8", "float32"]


def test_foreign_networks_become_narrow() -> None:
    onnx = pytest.importorskip("onnx", reason="onnx is not installed: it reads ONNX files")
    path = DATA / "onnx" / "loop_before.onnx"
    model = fastgru.load(path, dtype="int8")
    assert model.dtype == "int8"
    with pytest.raises(BadInput, match="names no layer: nobody"):
        fastgru.load(path, dtype="int8", keep_float32="nobody")
    assert fastgru.from_onnx(onnx.load(path), dtype="bfloat16").dtype == "bfloat16"


def test_names_are_those_behind_the_passes() -> None:
    pytest.importorskip("h5py", reason="h5py is not installed: it reads Keras files")
    model = fastgru.load(DATA / "golden" / "review.h5", dtype="int8", keep_float32=["gru*"])
    assert {layer.kind for layer in model.graph.layers if "int8" in map(dtype_name, layer.tensors.values())} == {
        "Embedding", "Dense",
    }  # fmt: skip


def test_rows_belong_to_one_dtype(graph, x) -> None:
    def row(dtype: str) -> bytes:
        with Model(graph, dtype=dtype).stream() as stream:
            stream.run(x[:1, :4])
            return stream.save_row(0)

    with Model(graph, dtype="int8").stream() as stream:
        stream.load_row(row("int8"))
        for dtype in ("float32", "bfloat16"):
            with pytest.raises(StateMismatch, match=f"dtype is {dtype}, of this stream int8"):
                stream.load_row(row(dtype))


def test_summary_tells_dtypes_and_bytes(graph) -> None:
    assert "dtype" not in Model(graph).summary()
    lines = Model(graph, dtype="int8", keep_float32="gru").summary().splitlines()
    assert lines[0].split()[-2:] == ["bytes", "dtype"]
    gru, head = (next(line for line in lines if line.startswith(name)).split() for name in ("gru", "head"))
    assert gru[-2:] == [f"{4 * (6 * 72 + 24 * 72 + 144):,}", "float32"]
    assert head[-2:] == [str(24 * 5 + 4 * 5 + 4 * 5), "int8"]
    held_bytes = 4 * (6 * 72 + 24 * 72 + 144) + 160
    assert f"{held_bytes:,} bytes of weights" in lines[-1]


def test_a_scale_stays_behind_narrow_weights() -> None:
    rng = np.random.default_rng(4)
    dense = building.dense(rng, 6, 5, name="dense", source="x", function="linear")
    scale = Scale(name="scale", inputs=("dense",), scale=building.uniform(rng, 5))
    graph = building.chain(building.floats(6), dense, scale)
    assert len(passes.apply(graph).layers) == 1
    narrowed = narrow(graph, "int8")
    assert passes.apply(narrowed) is narrowed


def test_networks_made_of_a_model_keep_what_it_is_held_in(graph) -> None:
    (spec,) = graph.inputs
    ported = Graph(graph.inputs, graph.layers, graph.outputs, input_ports=(Port("seen", (6,), ((1,), (0,), (2,))),))
    model = Model(ported, dtype="int8", keep_float32="head")
    made = batch_first_model(model)
    assert made is not model
    assert made.inputs[0].name == spec.name
    assert held(made.graph) == held(model.graph)
    assert dtype_of(made.graph) == "int8"


@pytest.mark.parametrize("dtype", DTYPES)
def test_generation_runs_in_every_dtype(dtype) -> None:
    rng = np.random.default_rng(6)
    layers = (
        building.embedding(rng, 9, 8), building.gru(rng, 8, 16, source="embedding", return_sequences=True),
        building.dense(rng, 16, 9, name="head", source="gru", function="softmax"),
    )  # fmt: skip
    model = Model(building.chain(building.tokens(), *layers), dtype=dtype)
    wanted = []
    ids = [1, 2, 3]
    for _ in range(8):
        ids.append(int(model(np.array([ids]))[0, -1].argmax()))
        wanted.append(ids[-1])
    made = fastgru.generate(model, [1, 2, 3], temperature=0.0, max_tokens=8)
    assert [token.id for token in made] == wanted
