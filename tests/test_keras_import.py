"""The Keras importer: every kind of file that Keras writes, against what Keras itself answers."""

from __future__ import annotations

import json
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

import oracle
from fastgru import graph as g
from fastgru import importers, passes
from fastgru.errors import BadInput, UnsupportedModel
from fastgru.importers.keras import activations, from_keras
from keras_files import KERAS2, KERNEL, PAIRS, copied, run, write_legacy
from tolerances import check

# ---- files of Keras 2 ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [".h5", ".keras"])
@pytest.mark.parametrize("name", ["tagging", "activations", "backwards"])
def test_keras2_files_answer_as_keras2_did(name: str, kind: str) -> None:
    graph = importers.read(KERAS2 / f"{name}{kind}")
    check(run(graph, PAIRS[f"{name}_x"]), PAIRS[f"{name}_y"], "keras")


@pytest.mark.parametrize("file", ["tagging_weights.hdf5", "tagging.weights.h5"])
@pytest.mark.parametrize("form", ["path", "text", "dict", "bare"])
def test_keras2_weights_with_any_form_of_config(file: str, form: str) -> None:
    path = KERAS2 / "tagging.json"
    document = json.loads(path.read_text())
    config = {"path": path, "text": path.read_text(), "dict": document, "bare": document["config"]}[form]
    graph = importers.read(KERAS2 / file, config=config)
    check(run(graph, PAIRS["tagging_x"]), PAIRS["tagging_y"], "keras")


def test_keras2_input_is_freed_and_named() -> None:
    graph = passes.apply(importers.read(KERAS2 / "tagging.h5"))
    assert graph.inputs == (g.tensor_spec("embedding_input", None, (), "int32"),)
    assert not any(isinstance(layer, g.Identity) for layer in graph.layers)


def test_counters_of_early_keras_files(tmp_path: Path) -> None:
    """Keras 2.12 and 2.13 counted every layer with weights twice: the second GRU is gru_2."""
    path = tmp_path / "old.weights.h5"
    with h5py.File(KERAS2 / "tagging.weights.h5") as new, h5py.File(path, "w") as old:
        new.copy("layers", old, name="_layer_checkpoint_dependencies")
        root = old["_layer_checkpoint_dependencies"]
        root.move("gru_1", "gru_2")
    graph = importers.read(path, config=KERAS2 / "tagging.json")
    check(run(graph, PAIRS["tagging_x"]), PAIRS["tagging_y"], "keras")


def test_config_of_keras_2_2(tmp_path: Path) -> None:
    """Up to Keras 2.2 a Sequential was a list without input layer, and a GRU knew no reset_after."""

    def age(config: dict) -> None:
        layers = config["config"]["layers"][1:]
        for layer in layers:
            layer["config"].pop("reset_after", None)
            layer["config"].pop("time_major", None)
        config["config"] = [layers[0], layers[3], *layers[5:]]

    with h5py.File(KERAS2 / "tagging.h5") as file:
        document = json.loads(file.attrs["model_config"])
        weights = {key: file[f"model_weights/{key}"][()] for key in ("gru_1/gru_1/gru_cell/bias:0",)}
    age(document)
    assert [layer["class_name"] for layer in document["config"]] == ["Embedding", "GRU"]
    path = tmp_path / "aged.h5"
    rng = np.random.default_rng(0)
    arrays = {
        "embedding": [rng.normal(size=(11, 4))],
        "net": [rng.normal(size=(4, 9)), rng.normal(size=(3, 9)), weights["gru_1/gru_1/gru_cell/bias:0"]],
    }
    write_legacy(path, document, arrays, "2.2.4")
    graph = importers.read(path)
    gru = graph.layers[1]
    assert isinstance(gru, g.GRU)
    assert graph.inputs[0].name == "input"
    assert not gru.reset_after
    assert gru.recurrent_activation == g.Activation.of("hard_sigmoid", slope=0.2)
    np.testing.assert_array_equal(gru.recurrent_kernel, np.float32(arrays["net"][1]))


def test_split_attributes(tmp_path: Path) -> None:
    path = copied(tmp_path, "tagging.h5")
    with h5py.File(path, "r+") as file:
        attributes = file["model_weights"].attrs
        names = attributes["layer_names"]
        del attributes["layer_names"]
        attributes["layer_names0"], attributes["layer_names1"] = names[:2], names[2:]
    check(run(importers.read(path), PAIRS["tagging_x"]), PAIRS["tagging_y"], "keras")


def test_non_finite_weights_are_weights(tmp_path: Path) -> None:
    path = copied(tmp_path, "tagging.h5")
    with h5py.File(path, "r+") as file:
        file[KERNEL][0, 0] = np.nan
    assert np.isnan(importers.read(path).layers[1].kernel[0, 0])


# ---- live Keras 3 ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def keras():
    from keras_live import keras

    return keras


@pytest.fixture
def L(keras):
    return keras.layers


def built(keras, *layers, seed: int = 0):
    """A Sequential with random weights, biases among them."""
    network = keras.Sequential(list(layers))
    rng = np.random.default_rng(seed)
    network.set_weights([rng.normal(scale=0.7, size=w.shape).astype(np.float32) for w in network.get_weights()])
    return network


def answer(network, x: np.ndarray):
    return np.asarray(network(x))


def saved(network, tmp_path: Path, kind: str) -> g.Graph:
    """The network through a file of that kind, or through none."""
    if kind == "live":
        return from_keras(network)
    if kind == "weights":
        network.save_weights(tmp_path / "m.weights.h5")
        return importers.read(tmp_path / "m.weights.h5", config=network.to_json())
    network.save(tmp_path / f"m{kind}")
    return importers.read(tmp_path / f"m{kind}")


KINDS = [".h5", ".keras", "weights", "live"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_file(keras, L, tmp_path: Path, kind: str) -> None:
    network = built(
        keras,
        L.Input((None,), dtype="int32"),
        L.Embedding(9, 4, mask_zero=True),
        L.GRU(5, return_sequences=True, reset_after=False, recurrent_activation="hard_sigmoid"),
        L.Dropout(0.3),
        L.GRU(6, return_sequences=True, use_bias=False, activation=L.LeakyReLU(0.1)),
        L.TimeDistributed(L.Dense(4, activation="softmax")),
        L.Dense(3),
    )
    x = np.array([[1, 2, 3, 0, 0], [0, 4, 0, 5, 8]])
    check(run(saved(network, tmp_path, kind), x), answer(network, x), "keras")


OPTIONS = [
    {"reset_after": reset_after, "use_bias": use_bias, "return_sequences": sequences, "go_backwards": backwards}
    for reset_after in (True, False)
    for use_bias in (True, False)
    for sequences in (True, False)
    for backwards in (True, False)
]


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: "-".join(filter(options.get, options)) or "plain")
def test_options_of_the_gru(keras, L, tmp_path: Path, options: dict) -> None:
    zero = options["use_bias"]
    network = built(keras, L.Input((6, 3)), L.Masking(9.0), L.GRU(4, zero_output_for_mask=zero, **options))
    x = np.random.default_rng(1).normal(size=(3, 6, 3)).astype(np.float32)
    x[0, 4:], x[1, :2], x[2, 3] = 9, 9, 9
    check(run(saved(network, tmp_path, ".keras"), x), answer(network, x), "keras")


def test_return_state(keras, L, tmp_path: Path) -> None:
    gru = L.GRU(4, return_sequences=True, return_state=True, stateful=True)
    network = built(keras, L.Input((None, 3), batch_size=2), gru)
    x = np.random.default_rng(1).normal(size=(2, 4, 3)).astype(np.float32)
    graph = saved(network, tmp_path, ".h5")
    assert graph.outputs == (gru.name, f"{gru.name}:state")
    for actual, expected in zip(oracle.run(graph, {graph.inputs[0].name: x}), network(x), strict=True):
        check(actual, np.asarray(expected), "keras")


ELEMENTWISE = [
    "hard_sigmoid", *(set(g.ELEMENTWISE) - activations.NOT_SO_NAMED), "swish", "hard_swish", "leaky_relu", "relu6",
]  # fmt: skip
ROWWISE = list(g.ROWWISE)


@pytest.mark.parametrize("name", sorted([*ELEMENTWISE, *ROWWISE]))
def test_activations_by_name(keras, L, tmp_path: Path, name: str) -> None:
    head = L.GRU(4, recurrent_activation=name) if name in ELEMENTWISE else L.Flatten()
    x = np.random.default_rng(1).normal(size=(3, 2, 2)).astype(np.float32)
    for tail in ([L.Dense(6, activation=name)], [L.Dense(6), L.Activation(name)]):
        network = built(keras, L.Input((2, 2)), head, *tail)
        check(run(saved(network, tmp_path, ".keras"), x), answer(network, x), "keras")


def test_activation_layers(keras, L, tmp_path: Path) -> None:
    network = built(
        keras, L.Input((12,)), L.Dense(12, activation=L.ReLU(max_value=2.0)), L.ReLU(1.0, 0.1, 0.2), L.LeakyReLU(),
        L.ELU(0.5), L.Reshape((3, 4)), L.TimeDistributed(L.Softmax()), L.Identity(), L.GaussianDropout(0.1),
        L.AlphaDropout(0.1), L.ActivityRegularization(0.1), L.GRU(3),
    )  # fmt: skip
    x = np.random.default_rng(1).normal(size=(3, 12)).astype(np.float32)
    for kind in KINDS:
        check(run(saved(network, tmp_path, kind), x), answer(network, x), "keras")


def test_shapes(keras, L, tmp_path: Path) -> None:
    network = built(
        keras, L.Input((5, 2, 3)), L.TimeDistributed(L.Flatten()), L.GRU(4, return_sequences=True),
        L.TimeDistributed(L.Reshape((2, 2))), L.Reshape((-1, 2)), L.GRU(3, return_sequences=True), L.Flatten(),
        L.Dense(2),
    )  # fmt: skip
    x = np.random.default_rng(1).normal(size=(3, 5, 2, 3)).astype(np.float32)
    graph = saved(network, tmp_path, ".keras")
    check(run(graph, x), answer(network, x), "keras")
    assert passes.apply(graph).inputs[0].shape == (None, 5, 2, 3)


def test_flat_input_made_a_sequence(keras, L, tmp_path: Path) -> None:
    network = built(keras, L.Input((40,)), L.Reshape((40, 1)), L.GRU(3))
    x = np.random.default_rng(1).normal(size=(2, 40)).astype(np.float32)
    check(run(saved(network, tmp_path, ".keras"), x), answer(network, x), "keras")


@pytest.mark.parametrize("kind", KINDS)
def test_functional_chain(keras, L, tmp_path: Path, kind: str) -> None:
    tokens = L.Input((None,), name="tokens")
    x = L.Embedding(9, 4, name="table")(tokens)
    x = L.GRU(5, name="gru")(x)
    network = keras.Model(tokens, L.Dense(2, name="scores")(L.Dropout(0.1)(x)), name="chain")
    graph = saved(network, tmp_path, kind)
    ids = np.array([[1, 2, 0, 8]])
    assert (graph.name, graph.inputs[0].name, graph.outputs) == ("chain", "tokens", ("scores",))
    check(run(graph, ids), answer(network, ids), "keras")


def test_functional_with_a_branch(keras, L, tmp_path: Path) -> None:
    x = L.Input((None, 3))
    branches = [L.GRU(4)(x), L.GRU(4)(x)]
    graph = saved(keras.Model(x, L.Dense(2)(L.Add()(branches))), tmp_path, ".keras")
    assert [layer.kind for layer in graph.layers] == ["GRU", "GRU", "Combine", "Dense"]


def test_masks_are_wired_as_keras_passes_them(keras, L, tmp_path: Path) -> None:
    network = built(
        keras, L.Input((4,), name="ids"), L.Embedding(9, 4, mask_zero=True, name="table"), L.Dropout(0.1, name="drop"),
        L.GRU(4, return_sequences=True, name="one"), L.Reshape((2, 8), name="reshape"), L.GRU(4, name="two"),
    )  # fmt: skip
    layers = {layer.name: layer for layer in saved(network, tmp_path, ".keras").layers}
    assert layers["table"].mask == "ids:mask"
    assert layers["one"].mask == "table:mask"
    assert layers["reshape"].drops_mask
    assert not layers["drop"].drops_mask
    assert layers["two"].mask is None


@pytest.mark.parametrize("tied", [True, False])
def test_reversible_embeddings(tied: bool, keras, L, tmp_path: Path) -> None:
    if not hasattr(L, "ReversibleEmbedding"):
        pytest.skip("this Keras has no ReversibleEmbedding")
    x = L.Input((None,), dtype="int32")
    table = L.ReversibleEmbedding(9, 8, tie_weights=tied, mask_zero=True)
    model = keras.Model(x, table(L.GRU(8, return_sequences=True)(table(x)), reverse=True))
    path, ids = tmp_path / "model.keras", np.array([[1, 2, 0, 4], [0, 0, 5, 3]])
    model.save(path)
    for graph in from_keras(model), importers.read(path):
        assert np.abs(run(graph, ids) - np.asarray(model(ids))).max() < 1e-5
    capped = L.ReversibleEmbedding(9, 8, logit_soft_cap=30.0)
    with pytest.raises(UnsupportedModel, match=r"logit_soft_cap=30\.0 is not supported"):
        from_keras(keras.Model(x, capped(L.GRU(8)(capped(x)), reverse=True)))


def test_masking_replaces_the_mask_before_it(keras, L, tmp_path: Path) -> None:
    network = built(
        keras, L.Input((5,)), L.Embedding(9, 4, mask_zero=True), L.Masking(7.0), L.GRU(4, return_sequences=True)
    )  # fmt: skip
    x = np.array([[0, 3, 0, 5, 0], [1, 0, 0, 2, 8]], np.float32)
    check(run(saved(network, tmp_path, ".h5"), x), answer(network, x), "keras")


def test_mixed_precision_is_noted(keras, L, tmp_path: Path) -> None:
    network = keras.Sequential([L.Input((3, 2)), L.GRU(4, dtype="mixed_bfloat16", name="half"), L.Dense(2)])
    graph = saved(network, tmp_path, ".keras")
    assert graph.notes == ("Keras computed half in mixed_bfloat16; here it is float32",)
    assert all(array.dtype == np.float32 and array.flags.c_contiguous for _, array in graph.tensors)


def test_bfloat16_weights(keras, L, tmp_path: Path) -> None:
    network = keras.Sequential([L.Input((3, 2)), L.GRU(4, dtype="bfloat16")])
    expected = np.asarray(network.get_weights()[0], np.float32)
    graph = saved(network, tmp_path, ".keras")
    np.testing.assert_array_equal(dict(graph.tensors)[f"{network.layers[0].name}/kernel"], expected)


def test_trained_and_compiled(keras, L, tmp_path: Path) -> None:
    """Optimizer and metrics are not the network's."""
    network = built(keras, L.Input((3, 2)), L.GRU(4, recurrent_dropout=0.1, seed=1), L.Dense(1))
    network.compile("adam", "mse", metrics=["mae"])
    network.optimizer.build(network.trainable_variables)
    x = np.ones((2, 3, 2), np.float32)
    for kind in KINDS:
        check(run(saved(network, tmp_path, kind), x), answer(network, x), "keras")


def test_10_mb_load_quickly(keras, L, tmp_path: Path) -> None:
    network = built(keras, L.Input((None,)), L.Embedding(19_000, 128), L.GRU(128), L.Dense(1))
    network.save(tmp_path / "m.h5")
    network.save(tmp_path / "m.keras")
    for kind in (".h5", ".keras"):
        assert (tmp_path / f"m{kind}").stat().st_size > 10_000_000
        seconds = min(timed(tmp_path / f"m{kind}") for _ in range(3))
        assert seconds < 0.3, f"reading {kind} took {seconds:.3f} s"


def timed(path: Path) -> float:
    start = time.perf_counter()
    importers.read(path)
    return time.perf_counter() - start


def test_unbuilt_live_model(keras, L) -> None:
    with pytest.raises(BadInput, match="no weights yet"):
        from_keras(keras.Sequential([L.GRU(3)]))
    own = type("Tagger", (keras.Model,), {"call": lambda self, x: x})()
    with pytest.raises(UnsupportedModel, match="Tagger"):
        from_keras(own)


def test_time_major_networks_become_batch_major(document_of_two: dict, tmp_path: Path) -> None:
    """Numbers are those of the same network over (batch, time, features); a note says that axes changed."""
    arrays = {name: list(tensors) for name, tensors in document_of_two["arrays"].items()}
    graphs = []
    for time_major in (False, True):
        document = document_of_two["of"](time_major)
        write_legacy(tmp_path / "m.h5", document, arrays, "2.9.0")
        graphs.append(importers.read(tmp_path / "m.h5"))
    x = np.random.default_rng(1).normal(size=(3, 7, 5)).astype(np.float32)
    assert np.array_equal(run(graphs[0], x), run(graphs[1], x))
    assert not graphs[0].notes
    assert "(batch, time, features)" in graphs[1].notes[0]


@pytest.fixture
def document_of_two() -> dict:
    """Two GRUs and a Dense in Keras 2's words, and their arrays."""
    rng = np.random.default_rng(0)

    def of(time_major: bool) -> dict:
        shape = [7, 3, 5] if time_major else [3, 7, 5]
        gru = {"activation": "tanh", "recurrent_activation": "sigmoid", "reset_after": True, "time_major": time_major}
        layers = [
            {"name": "one", "units": 4, "return_sequences": True, "batch_input_shape": shape, **gru},
            {"name": "two", "units": 2, "go_backwards": True, **gru},
        ]
        return {
            "class_name": "Sequential",
            "config": {"name": "net", "layers": [{"class_name": "GRU", "config": config} for config in layers]},
        }

    arrays = {
        "one": [rng.normal(size=(5, 12)), rng.normal(size=(4, 12)), rng.normal(size=(2, 12))],
        "two": [rng.normal(size=(4, 6)), rng.normal(size=(2, 6)), rng.normal(size=(2, 6))],
    }
    return {"of": of, "arrays": arrays}
