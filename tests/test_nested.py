"""TimeDistributed: a network on every step of a sequence, against the oracle and against itself."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastgru
from building import VECTOR_ISAS, bidirectional, chain, dense, floats, gru, tokens, uniform
from fastgru import file, passes
from fastgru.errors import BadInput, BadModelFile, UnsupportedModel
from fastgru.graph import (
    GRU,
    MAX_DEPTH,
    Activate,
    Activation,
    Concatenate,
    Conv,
    Dense,
    Embedding,
    Graph,
    Identity,
    Layer,
    Masking,
    Pool,
    Reshape,
    TensorSpec,
    TimeDistributed,
    tensor_spec,
)  # fmt: skip
from fastgru.model import layer_cost
from oracle import run
from tolerances import check

pytestmark = pytest.mark.dtypes

VOCABULARY = 11


def rng() -> np.random.Generator:
    return np.random.default_rng(5)


def each_step(inner: Graph, name: str = "each", source: str = "x") -> TimeDistributed:
    return TimeDistributed(name=name, inputs=(source,), graph=inner)


def sentences(steps: int = 4) -> TensorSpec:
    """The input x: (batch, time, steps) token ids."""
    return tensor_spec("x", None, (steps,), "int32")


def words(mask_zero: bool = True) -> Graph:
    """Token ids through an embedding and a bidirectional GRU to one vector; and the mask of the ids that are not 0."""
    mask = "embedding:mask"
    table = Embedding(name="embedding", inputs=("x",), table=uniform(rng(), VOCABULARY, 3), mask_zero=mask_zero)
    both = bidirectional(rng(), 3, 5, source="embedding", return_sequences=False, mask=mask)
    return Graph((tokens(),), (table, *both), ("both", mask) if mask_zero else ("both",))


def of_sentences(steps: int = 4) -> Graph:
    """A network of sentences: a vector for each, whose masks a GRU over them reads."""
    layers = (each_step(words()), gru(rng(), 10, 6, source="each", mask="each:mask", return_sequences=True))
    return Graph((sentences(steps),), layers, ("gru", "each", "each:mask"))


def of_vectors() -> Graph:
    """A network of a Dense on each step, which is no sequence inside."""
    inner = chain(tensor_spec("v", False, (3,)), dense(rng(), 3, 7, name="d", source="v", function="tanh"))
    return chain(floats(3), each_step(inner), gru(rng(), 7, 4, source="each", return_sequences=True))


def of_frames() -> Graph:
    """(batch, time, 6) as (3, 2) steps for a GRU inside, in both directions; all of its steps are the output."""
    table = Reshape(name="r", inputs=("x",), target=(3, 2), per_step=True)
    inner = chain(tensor_spec("f", 3, (2,)), *bidirectional(rng(), 2, 5, source="f"))
    back = Reshape(name="flat", inputs=("each",), target=(30,), per_step=True)
    return chain(floats(6), table, each_step(inner, source="r"), back, gru(rng(), 30, 4, source="flat"))


def of_images() -> Graph:
    """(batch, time, 6, 5, 2) through a convolution, a pool and all of what they leave."""
    kernel = uniform(rng(), 3, 3, 2, 4, scale=0.3)
    relu = Activation.of("relu")
    layers = (
        Conv(name="conv", inputs=("i",), kernel=kernel, padding="same", activation=relu),
        Pool(name="pool", inputs=("conv",), function="maximum", size=(2, 2), strides=(2, 2)),
        Reshape(name="flat", inputs=("pool",), target=(24,)),
        dense(rng(), 24, 5, name="d", source="flat", function="tanh"),
    )
    inner = chain(tensor_spec("i", 6, (5, 2)), *layers)
    after = gru(rng(), 5, 4, source="each", return_sequences=True)
    return chain(tensor_spec("x", None, (6, 5, 2)), each_step(inner), after)


def two_levels() -> Graph:
    """Ids of (batch, time, paragraphs, words)."""
    inner = Graph((tensor_spec("s", None, (4,), "int32"),), (each_step(words(), source="s"), ), ("each",))
    middle = dataclasses.replace(
        inner, layers=(*inner.layers, gru(rng(), 10, 6, source="each", mask="each:mask")), outputs=("gru", "each:mask")
    )
    layers = (each_step(middle, "outer"), gru(rng(), 6, 3, source="outer", mask="outer:mask", return_sequences=True))
    return chain(tensor_spec("x", None, (3, 4), "int32"), *layers)


def masks_inside() -> Graph:
    """Steps of zeros inside are masked, and so is an outer step where all of them are; its mask is an output."""
    masking = Masking(name="m", inputs=("f",))
    units = gru(rng(), 2, 3, source="m", mask="m:mask", return_sequences=True)
    inner = Graph((tensor_spec("f", None, (2,)),), (masking, units), ("gru", "m:mask"))
    return Graph((tensor_spec("x", None, (5, 2)),), (each_step(inner),), ("each", "each:mask"))


def in_parts() -> Graph:
    """Computed in its place of a joined value, beside a value that is not."""
    inner = chain(tensor_spec("v", False, (3,)), dense(rng(), 3, 7, name="d", source="v", function="relu"))
    joined = Concatenate(name="c", inputs=("x", "each"))
    return chain(floats(3), each_step(inner), joined, gru(rng(), 10, 4, source="c", return_sequences=True))


NETWORKS: dict[str, Callable[[], Graph]] = {
    "sentences": of_sentences,
    "vectors": of_vectors,
    "frames": of_frames,
    "images": of_images,
    "two levels": two_levels,
    "masks inside": masks_inside,
    "parts": in_parts,
}


@pytest.fixture(params=NETWORKS)
def graph(request: pytest.FixtureRequest) -> Graph:
    return NETWORKS[request.param]()


def sample(graph: Graph, batch: int, time: int, seed: int = 0) -> np.ndarray:
    """Ids among which are zeros at the ends, or floats with steps of zeros; whole outer steps of them, too."""
    spec, draw = graph.inputs[0], np.random.default_rng(seed)
    shape = (batch, time, *spec.inner)
    if spec.dtype == "int32":
        ids = draw.integers(1, VOCABULARY, shape)
        ids[np.arange(shape[-1]) >= draw.integers(0, shape[-1] + 1, shape[:-1])[..., None]] = 0
        return ids.astype(np.int32)
    return np.where(draw.random(shape[:-1])[..., None] < 0.3, 0.0, draw.normal(size=shape)).astype(np.float32)


def results(model: fastgru.Model, x: np.ndarray, **options: int) -> tuple[np.ndarray, ...]:
    found = model(x, **options)
    return found if isinstance(found, tuple) else (found,)


# ---- what is computed ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("batch", "time"), [(1, 1), (1, 9), (3, 2), (17, 5), (2, 150), (0, 3)])
def test_the_formula(isa: str, graph: Graph, batch: int, time: int) -> None:
    x = sample(graph, batch, time)
    for actual, expected in zip(results(fastgru.Model(graph), x), run(graph, {"x": x}), strict=True):
        if expected.dtype == bool:
            assert np.array_equal(actual, expected)
        else:
            check(actual, expected, "oracle")


def test_no_steps(graph: Graph) -> None:
    for found in results(fastgru.Model(graph), sample(graph, 2, 0)):
        assert found.shape[0] == 2


def test_each_step_is_what_the_network_gives_by_itself() -> None:
    x = sample(of_sentences(), 6, 7)
    alone = fastgru.Model(words(mask_zero=False))
    whole = fastgru.Model(chain(sentences(), each_step(words(mask_zero=False))))(x)
    for t in range(7):
        assert np.array_equal(whole[:, t], alone(x[:, t]))


def test_an_output_that_is_the_input() -> None:
    inner = Graph((tensor_spec("v", False, (3,)),), (), ("v",))
    x = sample(of_vectors(), 3, 4)
    assert np.array_equal(fastgru.Model(chain(floats(3), each_step(inner)))(x), x)


def test_a_layer_that_reads_no_input() -> None:
    """It reads values of a block, laid out by the core, and by a later walk the whole of them."""
    inner = chain(tensor_spec("v", False, (8,)), dense(rng(), 8, 5, name="d", source="v", function="tanh"))
    graph = chain(floats(3), *bidirectional(rng(), 3, 4), each_step(inner, source="both"))
    for batch, time in (1, 4), (5, 300):
        x = sample(of_vectors(), batch, time)
        check(fastgru.Model(graph)(x), run(graph, {"x": x})[0], "oracle")


# ---- the same bits -------------------------------------------------------------------------------------------------


def test_rows_do_not_depend_on_each_other(isa: str, graph: Graph) -> None:
    model = fastgru.Model(graph)
    x = sample(graph, 70, 6)
    alone = [results(model, x[row : row + 1]) for row in range(70)]
    for i, found in enumerate(results(model, x)):
        assert np.array_equal(found, np.concatenate([one[i] for one in alone]))


def test_threads(isa: str, graph: Graph) -> None:
    for batch, time in (1, 40), (3, 200), (64, 30):
        x = sample(graph, batch, time)
        one = results(fastgru.Model(graph, threads=1), x)
        model = fastgru.Model(graph, threads=2)
        for _ in range(10):  # among them some on one thread
            assert all(np.array_equal(a, b) for a, b in zip(one, results(model, x, threads=2), strict=True))


@pytest.mark.parametrize("batch", [1, 3])
def test_a_team(isa: str, batch: int) -> None:
    """Its members share the steps of few rows."""
    units = gru(rng(), 8, 96, source="f", mask="f:mask", return_sequences=True)
    inner = Graph((tensor_spec("f", None, (8,)),), (units,), ("gru", "f:mask"))
    after = gru(rng(), 4 * 96, 32, source="flat", mask="each:mask", return_sequences=True)
    flat = Reshape(name="flat", inputs=("each",), target=(4 * 96,), per_step=True)
    graph = chain(tensor_spec("x", None, (4, 8)), each_step(inner), flat, after)
    x = sample(graph, batch, 50)
    one = fastgru.Model(graph, threads=1)(x)
    check(one, run(graph, {"x": x})[0], "oracle")
    model = fastgru.Model(graph, threads=4)
    assert all(np.array_equal(one, model(x)) for _ in range(20))


@pytest.mark.skipif(len(VECTOR_ISAS) < 2, reason="this machine has one set of vector kernels")
def test_vector_isas(graph: Graph, monkeypatch: pytest.MonkeyPatch, vector_isas: list[str]) -> None:
    found = []
    for isa in vector_isas:
        monkeypatch.setenv("FASTGRU_ISA", isa)
        found.append(results(fastgru.Model(graph), sample(graph, 13, 5)))
    for one in found[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(found[0], one, strict=True))


@pytest.mark.parametrize("batch", [1, 3])
def test_streams(isa: str, graph: Graph, batch: int) -> None:
    model = fastgru.Model(graph)
    x = sample(graph, batch, 12)
    whole = results(model, x)
    with model.stream(batch_size=batch) as stream:
        chunks = [stream.run(x[:, first:last]) for first, last in ((0, 1), (1, 1), (1, 8), (8, 12))]
        stream.reset()
        steps = [stream.step(x[:, t]) for t in range(12)]
    for i, (spec, expected) in enumerate(zip(model.outputs, whole, strict=True)):
        pieces = [chunk[i] if len(whole) > 1 else chunk for chunk in chunks]
        single = [step[i] if len(whole) > 1 else step for step in steps]
        assert np.array_equal(np.concatenate(pieces, axis=1) if spec.is_sequence else pieces[-1], expected)
        assert np.array_equal(np.stack(single, axis=1) if spec.is_sequence else single[-1], expected)


def test_a_state_has_the_outer_layers_alone() -> None:
    model = fastgru.Model(of_sentences())
    x = sample(model.graph, 2, 8)
    with model.stream(batch_size=2) as one, model.stream(batch_size=2) as other:
        one.run(x[:, :5])
        assert set(one.get_state()) == {"gru/h", "gru/last_output"}
        other.set_state(one.get_state())
        assert all(np.array_equal(a, b) for a, b in zip(one.run(x[:, 5:]), other.run(x[:, 5:]), strict=True))


def test_memory_does_not_grow_with_time() -> None:
    model = fastgru.Model(of_sentences())
    small, large = (sample(model.graph, 1, steps) for steps in (200, 2000))
    with model.stream() as stream:
        before = stream.nbytes
        stream.run(small)
        after = stream.nbytes
        stream.run(large)
        assert before < after == stream.nbytes


# ---- token ids -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["int32", "int64", "float32", "uint8"])
def test_ids_of_every_type(dtype: str) -> None:
    model = fastgru.Model(of_sentences())
    x = sample(model.graph, 3, 4)
    for a, b in zip(model(x), model(np.asfortranarray(x.astype(dtype))), strict=True):
        assert np.array_equal(a, b)


@pytest.mark.parametrize("dtype", ["int32", "int64"])
@pytest.mark.parametrize("bad", [-1, VOCABULARY])
def test_ids_outside_the_inner_table(dtype: str, bad: int) -> None:
    for model in fastgru.Model(chain(sentences(), each_step(words(mask_zero=False)))), fastgru.Model(two_levels()):
        x = sample(model.graph, 2, 3).astype(dtype)
        x[(1, 2, *(0 for _ in x.shape[2:-1]), 3)] = bad
        with pytest.raises(BadInput, match=rf"token id {bad} .* outside the vocabulary 0 … {VOCABULARY - 1}"):
            model(x)
        with model.stream(batch_size=2) as stream, pytest.raises(BadInput, match=f"token id {bad}"):
            stream.run(x)


def test_ids_of_another_number_of_steps() -> None:
    with pytest.raises(BadInput, match="features should be 4, not 5"):
        fastgru.Model(of_sentences())(np.ones((2, 3, 5), np.int32))


def test_an_embedding_of_several_ids_a_step_is_refused() -> None:
    layer = Embedding(name="embedding", inputs=("x",), table=uniform(rng(), 5, 2))
    with pytest.raises(BadModelFile, match="'embedding'"):
        fastgru.Model(chain(sentences(), layer))


# ---- graphs --------------------------------------------------------------------------------------------------------


def test_a_file_and_back(tmp_path: Path, graph: Graph) -> None:
    path = tmp_path / "model.safetensors"
    file.write(graph, path)
    loaded = file.read(path)
    assert loaded.fingerprint == graph.fingerprint
    assert loaded.structure() == graph.structure()
    x = sample(graph, 2, 3)
    for a, b in zip(results(fastgru.Model(graph), x), results(fastgru.load(path), x), strict=True):
        assert np.array_equal(a, b)


def test_the_fingerprint_looks_inside() -> None:
    inner = chain(tensor_spec("v", False, (2,)), Dense(name="d", inputs=("v",), kernel=np.ones((2, 1), np.float32)))
    other = chain(tensor_spec("v", False, (2,)), Dense(name="d", inputs=("v",), kernel=np.zeros((2, 1), np.float32)))
    renamed = dataclasses.replace(inner, name="renamed")
    prints = {chain(floats(2), each_step(one)).fingerprint for one in (inner, other, renamed)}
    assert len(prints) == 3


def test_tensors_are_named_by_their_place() -> None:
    names = [name for name, _ in two_levels().tensors]
    assert names[0] == "outer/each/embedding/table"
    assert "gru/kernel" in names


def test_passes_look_inside() -> None:
    layers = (Identity(name="i", inputs=("v",)), dense(rng(), 3, 2, name="d", source="i", function="relu"))
    inner = chain(tensor_spec("v", False, (3,)), *layers)
    once = passes.apply(chain(floats(3), each_step(inner)))
    assert [layer.kind for layer in once.layers[0].graph.layers] == ["Dense"]  # type: ignore[attr-defined]
    assert passes.apply(once) is once


def test_costs_and_summary() -> None:
    graph = of_sentences()
    per_word = 2 * 3 * 5 * (3 + 5)
    assert layer_cost(graph.layers[0], graph) == 4 * per_word
    assert layer_cost(two_levels().layers[0], two_levels()) == 3 * (4 * per_word + 3 * 6 * (10 + 6))
    assert f"{4 * per_word:,}" in fastgru.Model(graph).summary()


def test_profile_has_one_line_for_it() -> None:
    model = fastgru.Model(of_vectors())
    runner = fastgru._core.Runner(model._plan)
    runner._start_profile()
    runner._run_fresh((sample(model.graph, 5, 50),), None, None, 1, None)
    found = runner._stop_profile()
    assert [one["name"] for one in found] == ["each", "gru"]
    assert found[0]["input"]["multiply_adds"] == 5 * 50 * 3 * 7
    assert sum(found[0]["ns"].values()) > 0


def test_lengths_reach_the_layers_around_it() -> None:
    graph = of_vectors()
    masked = dataclasses.replace(graph, layers=(graph.layers[0], dataclasses.replace(graph.layers[1], mask="x:mask")))
    x = sample(graph, 2, 6)
    found = fastgru.Model(masked)(x, lengths=[6, 2])
    assert np.array_equal(found[1, :2], fastgru.Model(graph)(x)[1, :2])
    assert np.array_equal(found[1, 5], found[1, 1])


# ---- files that lie ------------------------------------------------------------------------------------------------


def broken(tmp_path: Path, change: Callable[[dict[str, Any]], None]) -> str:
    """What reading says where something was done to the inner network of a file."""
    path = tmp_path / "broken.safetensors"
    file.write(of_vectors(), path)
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    graph = json.loads(header["__metadata__"]["graph"])
    change(graph["layers"][0])
    header["__metadata__"]["graph"] = json.dumps(graph)
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + length :])
    with pytest.raises(BadModelFile) as caught:
        file.read(path)
    return str(caught.value)


def around(layer: dict[str, Any], depth: int) -> None:
    """Puts the layer's network into layers inside layers."""
    for _ in range(depth):
        layer["graph"] = {**layer["graph"], "layers": [{**layer, "inputs": ["v"]}], "outputs": ["each"]}


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda layer: layer.pop("graph"), "lacks its graph"),
        (lambda layer: layer.update(graph=[]), "graph should be Graph, is []"),
        (lambda layer: layer.update(graph={}), "should be an object of inputs, layers, name, outputs"),
        (lambda layer: layer["graph"].update(more=1), "should be an object of"),
        (lambda layer: layer["graph"].update(layers={}), "layers should be list"),
        (lambda layer: layer["graph"].update(outputs=["nothing"]), "output 'nothing' is not defined"),
        (lambda layer: layer["graph"]["inputs"][0].update(shape=[None, 10**12]), "shape"),
        (lambda layer: layer["graph"]["inputs"][0].update(dtype="int64"), "unknown dtype"),
        (lambda layer: layer["graph"]["layers"][0].update(kind="Lambda"), "unknown kind 'Lambda'"),
        (lambda layer: layer["graph"]["layers"][0].update(name="other"), "lacks its kernel"),
        (lambda layer: layer.update(name="other"), "lacks its kernel"),
        (lambda layer: around(layer, MAX_DEPTH), f"more than {MAX_DEPTH} networks"),
        (lambda layer: around(layer, 100), f"more than {MAX_DEPTH} networks"),
    ],
)
def test_a_file_that_lies(tmp_path: Path, change: Callable[[dict[str, Any]], None], fault: str) -> None:
    assert fault in broken(tmp_path, change)


# ---- errors --------------------------------------------------------------------------------------------------------

VECTOR = tensor_spec("v", False, (3,))


def relu(*sources: str) -> Activate:
    return Activate(name="relu", inputs=sources or ("v",), activation=Activation.of("relu"))


@pytest.mark.parametrize(
    ("spec", "inner", "fault"),
    [
        (tensor_spec("x", False, (3,)), chain(VECTOR, relu()), "needs a time axis"),
        (floats(4), chain(VECTOR, relu()), r"steps of 'x' \(None, None, 4\) are no input of \(None, 3\) float32"),
        (floats(3), chain(tensor_spec("v", None, (3,)), relu()), "are no input of"),
        (tensor_spec("x", None, (3,), "int32"), chain(VECTOR, relu()), "are no input of"),
        (floats(3), Graph((VECTOR, tensor_spec("w", False, (3,))), (relu(),), ("relu",)), "should have one input"),
        (floats(3), Graph((VECTOR,), (relu(),), ("relu", "v")), "one output or beside it a mask"),
        (floats(3), Graph((VECTOR,), (relu(),), ("relu",) * 3), "one output or beside it a mask"),
    ],
)
def test_networks_that_do_not_fit(spec: TensorSpec, inner: Graph, fault: str) -> None:
    with pytest.raises(BadModelFile, match=f"TimeDistributed layer 'each': .*{fault}"):
        chain(spec, each_step(inner))


def test_a_mask_is_no_value() -> None:
    with pytest.raises(BadModelFile, match="'x:mask' is a mask"):
        chain(floats(3), each_step(chain(VECTOR, relu()), source="x:mask"))


def test_free_inner_steps_take_those_of_the_value() -> None:
    inner = chain(tensor_spec("f", None, (2,)), Reshape(name="r", inputs=("f",), target=(-1, 1)))
    graph = chain(tensor_spec("x", None, (5, 2)), each_step(inner))
    assert graph.specs["each"].inner == (10, 1)
    x = sample(graph, 2, 3)
    assert np.array_equal(fastgru.Model(graph)(x), x.reshape(2, 3, 10, 1))


def test_free_inner_steps_that_a_layer_refuses() -> None:
    flat = Reshape(name="r", inputs=("f",), target=(12,))
    inner = chain(tensor_spec("f", 6, (2,)), flat)
    with pytest.raises(BadModelFile, match="are no input of"):
        chain(tensor_spec("x", None, (5, 2)), each_step(inner))
    assert chain(tensor_spec("x", None, (6, 2)), each_step(inner)).specs["each"].inner == (12,)


def nested(depth: int) -> Graph:
    """Networks inside each other, so many of them."""
    graph = chain(VECTOR, relu())
    for level in range(1, depth):
        graph = chain(tensor_spec("v", None, (*[2] * (level - 1), 3)), each_step(graph, f"level{level}", "v"))
    return graph


def test_depth(tmp_path: Path) -> None:
    deepest = nested(MAX_DEPTH)
    x = np.random.default_rng(0).normal(size=(2, 3, 2, 2, 3)).astype(np.float32)
    assert np.array_equal(fastgru.Model(deepest)(x), np.maximum(x, 0))
    file.write(deepest, tmp_path / "model.safetensors")
    assert file.read(tmp_path / "model.safetensors").fingerprint == deepest.fingerprint
    with pytest.raises(BadModelFile, match=f"more than {MAX_DEPTH} networks"):
        nested(MAX_DEPTH + 1)


def test_two_layers_of_one_place() -> None:
    inner = chain(VECTOR, dense(rng(), 3, 3, name="d", source="v", function="relu"))
    beside: Layer = dense(rng(), 3, 3, name="each/d", source="x", function="relu")
    with pytest.raises(BadModelFile, match="'each/d' stands for two layers"):
        chain(floats(3), each_step(inner), beside)


def test_a_backward_layer_around_it_cannot_stream() -> None:
    graph = chain(sentences(), each_step(words()), *bidirectional(rng(), 10, 3, source="each", name="outer"))
    with pytest.raises(UnsupportedModel, match="'outer/back'") as caught:
        fastgru.Model(graph).stream()
    assert "'both/back'" not in str(caught.value)


def test_outputs_are_gru_states_too() -> None:
    units = gru(rng(), 2, 3, source="f")
    inner = Graph((tensor_spec("f", None, (2,)),), (units,), ("gru:state",))
    graph = chain(tensor_spec("x", None, (4, 2)), each_step(inner))
    assert isinstance(units, GRU)
    x = sample(graph, 3, 2)
    check(fastgru.Model(graph)(x), run(graph, {"x": x})[0], "oracle")
