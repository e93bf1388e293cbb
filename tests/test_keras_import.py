"""The Keras importer: every kind of file that Keras writes, against what Keras itself answers; and every refusal."""

from __future__ import annotations

import copy
import json
import re
import time
import zipfile
from pathlib import Path

import numpy as np
import oracle
import pytest
from tolerances import check

from fastgru import graph as g
from fastgru import importers, passes
from fastgru.errors import BadInput, BadModelFile, UnsupportedModel
from fastgru.importers.keras import from_keras

h5py = pytest.importorskip("h5py", reason="reading Keras files needs h5py")

KERAS2 = Path(__file__).parent / "data" / "keras2"
PAIRS = dict(np.load(KERAS2 / "pairs.npz"))


def run(graph: g.Graph, x: np.ndarray) -> np.ndarray:
    """The first output of a network of one input, by the oracle."""
    return oracle.run(passes.apply(graph), {graph.inputs[0].name: x})[0]


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


def write_legacy(path: Path, document: object, arrays: dict[str, list[np.ndarray]], version: str | None) -> None:
    """A legacy whole-model file, made by hand."""
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps(document)
        if version is not None:
            file.attrs["keras_version"] = version
        root = file.create_group("model_weights")
        root.attrs["layer_names"] = [name.encode() for name in arrays]
        for layer, values in arrays.items():
            group = root.create_group(layer)
            names = [f"w{index}:0" for index in range(len(values))]
            group.attrs["weight_names"] = [name.encode() for name in names]
            for name, value in zip(names, values, strict=True):
                group[name] = np.asarray(value, np.float32)


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


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: "-".join(key for key, on in options.items() if on) or "plain")
def test_options_of_the_gru(keras, L, tmp_path: Path, options: dict) -> None:
    zero = options["use_bias"]
    network = built(keras, L.Input((6, 3)), L.Masking(9.0), L.GRU(4, zero_output_for_mask=zero, **options))
    x = np.random.default_rng(1).normal(size=(3, 6, 3)).astype(np.float32)
    x[0, 4:], x[1, :2], x[2, 3] = 9, 9, 9
    check(run(saved(network, tmp_path, ".keras"), x), answer(network, x), "keras")


def test_return_state(keras, L, tmp_path: Path) -> None:
    network = built(keras, L.Input((None, 3), batch_size=2), L.GRU(4, return_sequences=True, return_state=True, stateful=True))
    x = np.random.default_rng(1).normal(size=(2, 4, 3)).astype(np.float32)
    graph = saved(network, tmp_path, ".h5")
    assert graph.outputs == (network.layers[-1].name, f"{network.layers[-1].name}:state")
    for actual, expected in zip(oracle.run(graph, {graph.inputs[0].name: x}), network(x), strict=True):
        check(actual, np.asarray(expected), "keras")


ELEMENTWISE = (
    "linear relu sigmoid tanh hard_sigmoid hard_silu hard_tanh softplus softsign elu selu celu gelu silu swish mish exponential "
    "log_sigmoid squareplus soft_shrink hard_shrink tanh_shrink sparse_plus sparse_sigmoid leaky_relu relu6"
).split()


@pytest.mark.parametrize("name", [*ELEMENTWISE, "softmax", "log_softmax", "sparsemax", "glu"])
def test_activations_by_name(keras, L, tmp_path: Path, name: str) -> None:
    head = L.GRU(4, recurrent_activation=name) if name in ELEMENTWISE else L.Flatten()
    network = built(keras, L.Input((2, 2)), head, L.Dense(6), L.Activation(name), L.Dense(6, activation=name))
    x = np.random.default_rng(1).normal(size=(3, 2, 2)).astype(np.float32)
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
        L.TimeDistributed(L.Reshape((2, 2))), L.Reshape((-1, 2)), L.GRU(3, return_sequences=True), L.Flatten(), L.Dense(2),
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
    with pytest.raises(UnsupportedModel, match="functional models"):
        saved(keras.Model(x, L.Dense(2)(L.Add()(branches))), tmp_path, ".keras")


def test_masks_are_wired_as_keras_passes_them(keras, L, tmp_path: Path) -> None:
    network = built(
        keras, L.Input((4,), name="ids"), L.Embedding(9, 4, mask_zero=True, name="table"), L.Dropout(0.1, name="drop"),
        L.GRU(4, return_sequences=True, name="one"), L.Reshape((2, 8), name="reshape"), L.GRU(4, name="two"),
    )  # fmt: skip
    layers = {layer.name: layer for layer in saved(network, tmp_path, ".keras").layers}
    assert layers["table"].mask == "ids:mask"
    assert layers["one"].mask == "table:mask"
    assert layers["reshape"].drops_mask and not layers["drop"].drops_mask
    assert layers["two"].mask is None


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


# ---- configurations edited by hand: what must be refused -------------------------------------------------------------


@pytest.fixture
def document() -> dict:
    """The architecture of tests/data/keras2/tagging: Input, Embedding, GRU, SpatialDropout1D, GRU, TimeDistributed."""
    return json.loads((KERAS2 / "tagging.json").read_text())


def layer(document: dict, index: int) -> dict:
    return document["config"]["layers"][index]


def read(document: dict, file: str = "tagging_weights.hdf5", **options: object) -> g.Graph:
    return importers.read(KERAS2 / file, config=document, **options)


def test_every_reason_at_once(document: dict) -> None:
    layer(document, 2)["class_name"] = "LSTM"
    layer(document, 3)["class_name"] = "Conv1D"
    layer(document, 4)["config"]["activation"] = "softmax"
    layer(document, 5)["config"]["layer"]["class_name"] = "SimpleRNN"
    with pytest.raises(UnsupportedModel) as caught:
        read(document)
    reasons = caught.value.reasons
    assert [reason.split(": ")[0] for reason in reasons] == [
        "layer 'gru' (LSTM)",
        "layer 'spatial_dropout1d' (Conv1D)",
        "layer 'gru_1' (GRU)",
        "layer 'time_distributed' (TimeDistributed/SimpleRNN)",
    ]
    assert "out of scope" in reasons[0] and "looks at a whole row" in reasons[2] and "out of scope" in reasons[3]
    assert all(reason in str(caught.value) for reason in reasons)


CHANGES = {
    "unknown option": ({"novelty": 1}, "option novelty=1 is not known"),
    "time_major": ({"time_major": True}, "time_major=True is not supported"),
    "quantized": ({"quantization_config": {"mode": "int8"}}, "quantization_config"),
    "int8 policy": ({"dtype": {"class_name": "QuantizedDTypePolicy", "config": {"mode": "int8"}}}, "its dtype"),
    "lambda": ({"activation": {"class_name": "__lambda__", "config": {"value": "4wEA"}}}, "never run"),
    "old lambda": ({"activation": {"value": ["4wEA", None, None]}}, "never run"),
    "own function": ({"activation": {"class_name": "function", "config": "mine>act"}}, "not an activation of Keras"),
    "own activation": ({"activation": "wobble"}, "'wobble' is not an activation of Keras"),
    "trained activation": ({"activation": {"class_name": "PReLU", "config": {}}}, "a PReLU as activation"),
    "unknown option of an activation": (
        {"activation": {"class_name": "ReLU", "config": {"slant": 2}}},
        "option slant=2 is not known",
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_refused_options(document: dict, change: str) -> None:
    options, why = CHANGES[change]
    layer(document, 2)["config"].update(options)
    with pytest.raises(UnsupportedModel, match=re.escape(why)) as caught:
        read(document)
    assert len(caught.value.reasons) == 1 and caught.value.reasons[0].startswith("layer 'gru' (GRU")


def test_custom_layers_are_refused_even_if_named_like_kerases(document: dict) -> None:
    layer(document, 2).update(module="mine.layers", registered_name="mine>GRU")
    with pytest.raises(UnsupportedModel, match="custom layer"):
        read(document)
    with pytest.raises(UnsupportedModel, match="class of its own"):
        read({**document, "module": "mine", "class_name": "Tagger"})


def test_lambda_and_nested_networks(document: dict) -> None:
    layer(document, 3)["class_name"] = "Lambda"
    document["config"]["layers"].append(copy.deepcopy({"class_name": "Sequential", "config": document["config"]}))
    with pytest.raises(UnsupportedModel) as caught:
        read(document)
    assert "never run" in caught.value.reasons[0] and "network inside the network" in caught.value.reasons[1]


def test_return_state_in_the_middle(document: dict) -> None:
    layer(document, 2)["config"]["return_state"] = True
    with pytest.raises(UnsupportedModel, match="follows a layer with return_state"):
        read(document)


def test_flatten_of_a_free_number_of_steps(document: dict) -> None:
    for entry in document["config"]["layers"][:2]:
        entry["config"]["batch_input_shape"] = [None, None]
    document["config"]["layers"][3:4] = [{"class_name": "Flatten", "config": {"name": "flat"}}]
    with pytest.raises(UnsupportedModel, match="layer 'flat'.*known number of steps"):
        read(document)


def test_softmax_layer_behind_a_mask(document: dict) -> None:
    document["config"]["layers"][3:4] = [{"class_name": "Softmax", "config": {"name": "soft"}}]
    with pytest.raises(UnsupportedModel, match="uses the mask"):
        read(document)


VERSIONS = {"2.4.0": 0.2, "2": 0.2, "3.15.1": 1 / 6}


@pytest.mark.parametrize("version", VERSIONS)
def test_hard_sigmoid_is_of_the_keras_that_wrote(document: dict, version: str) -> None:
    graph = read(document, keras_version=version)
    assert graph.layers[1].recurrent_activation == g.Activation.of("hard_sigmoid", slope=VERSIONS[version])


def nameless(document: dict) -> dict:
    """The architecture without any trace of the Keras that wrote it."""
    bare = document["config"]
    for entry in bare["layers"]:
        entry["config"].pop("batch_input_shape", None)
    bare["build_input_shape"] = [None, 7]
    return bare


def test_hard_sigmoid_of_nobody(document: dict) -> None:
    bare = nameless(document)
    with pytest.raises(UnsupportedModel, match="keras_version='2'") as caught:
        read(bare, "tagging.weights.h5")
    assert len(caught.value.reasons) == 2
    graph = read(bare, "tagging.weights.h5", keras_version="2.4.0")
    check(run(graph, PAIRS["tagging_x"]), PAIRS["tagging_y"], "keras")


def test_keras_1(document: dict) -> None:
    with pytest.raises(UnsupportedModel, match="Keras 1"):
        read(document, keras_version="1.2.2")


def test_input_shape_from_weights(document: dict, tmp_path: Path) -> None:
    layers = [entry for entry in document["config"]["layers"] if entry["class_name"] == "GRU"][1:]
    rng = np.random.default_rng(0)
    arrays = {"gru": [rng.normal(size=(5, 9)), rng.normal(size=(3, 9)), rng.normal(size=9)]}
    write_legacy(tmp_path / "m.h5", {"class_name": "Sequential", "config": {"layers": layers}}, arrays, "2.4.0")
    assert importers.read(tmp_path / "m.h5").inputs == (g.tensor_spec("input", None, (5,)),)


def test_input_shape_nowhere(document: dict, tmp_path: Path) -> None:
    entry = {"class_name": "Dense", "config": {"name": "d", "units": 2}}
    write_legacy(tmp_path / "m.h5", {"class_name": "Sequential", "config": {"layers": [entry]}}, {}, "2.4.0")
    with pytest.raises(BadModelFile, match="nowhere to be found"):
        importers.read(tmp_path / "m.h5")


def test_odd_names(document: dict) -> None:
    for index, name in ((2, "net/gru:1"), (4, "net_gru_1")):
        layer(document, index)["config"]["name"] = name
    assert [one.name for one in read(document).layers][1:4] == ["net_gru_1", "spatial_dropout1d", "net_gru_1_1"]


# ---- damaged and hostile files ---------------------------------------------------------------------------------------


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        importers.read(tmp_path / "none.h5")
    with pytest.raises(FileNotFoundError):
        importers.read(KERAS2 / "tagging.weights.h5", config=tmp_path / "none.json")


STRANGERS = {
    b"": "is empty",
    b"just some words\n": "looks like text",
    "Größe, naïve".encode(): "looks like text",
    b"{}": "looks like JSON",
    b"<!DOCTYPE html>": "looks like a web page",
    b"version https://git-lfs.github.com/spec/v1": "Git LFS pointer",
    b"\x80\x04\x95": "pickle",
    b"\x08\x07\x12\x00\xff\xff": "begins with 08 07",
}


@pytest.mark.parametrize("content", STRANGERS, ids=STRANGERS.values())
def test_strangers_named_like_ours(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.h5"
    path.write_bytes(content)
    with pytest.raises(BadModelFile, match=STRANGERS[content]) as caught:
        importers.read(path)
    assert str(path) in str(caught.value) and ".keras" in str(caught.value)


def test_directories(tmp_path: Path) -> None:
    with pytest.raises(BadModelFile, match="is a directory"):
        importers.read(tmp_path)
    (tmp_path / "saved_model.pb").touch()
    with pytest.raises(BadModelFile, match="SavedModel"):
        importers.read(tmp_path)


@pytest.mark.parametrize("name", ["tagging.h5", "tagging.keras", "tagging_weights.hdf5"])
def test_truncated_anywhere(tmp_path: Path, name: str) -> None:
    content = (KERAS2 / name).read_bytes()
    path = tmp_path / name
    options = {"config": KERAS2 / "tagging.json"} if "weights" in name else {}
    for size in range(16, len(content) - 1, 997):
        path.write_bytes(content[:size])
        with pytest.raises(BadModelFile, match=re.escape(name)):
            importers.read(path, **options)


def test_flipped_bytes_in_an_archive(tmp_path: Path) -> None:
    """An archive has checksums. (HDF5 by itself has none, and some flips make libhdf5 itself loop for ever.)"""
    content = (KERAS2 / "tagging.keras").read_bytes()
    path = tmp_path / "tagging.keras"
    rng = np.random.default_rng(5)
    for _ in range(500):
        damaged = bytearray(content)
        damaged[rng.integers(4, len(content))] ^= rng.integers(1, 256)
        path.write_bytes(damaged)
        try:
            graph = importers.read(path)
        except (BadModelFile, UnsupportedModel):
            continue
        # what was hit then is a date or an attribute of the archive
        np.testing.assert_array_equal(run(graph, PAIRS["tagging_x"]), run(importers.read(KERAS2 / "tagging.keras"), PAIRS["tagging_x"]))


ODD = [None, True, 0, -1, 1.5, 10**400, float("nan"), "", "x", [], [[]], [None], {}, {"class_name": []}, {"config": {"config": {}}}]


def nodes(value: object) -> list[tuple[object, object]]:
    """Every place in a JSON value, as container and key."""
    keys = list(value) if isinstance(value, dict) else list(range(len(value))) if isinstance(value, list) else []
    return [(value, key) for key in keys] + [place for key in keys for place in nodes(value[key])]


def test_odd_values_anywhere_in_a_configuration(document: dict) -> None:
    outcomes = {"read": 0, "refused": 0}
    for place in range(len(nodes(document))):
        for odd in ODD:
            changed = copy.deepcopy(document)
            container, key = nodes(changed)[place]
            container[key] = odd
            try:
                read(changed)
                outcomes["read"] += 1
            except (BadModelFile, UnsupportedModel):
                outcomes["refused"] += 1
    assert min(outcomes.values()) > 500


def repacked(path: Path, target: Path, **members: bytes | None) -> Path:
    """A copy of a zip archive with some members replaced, added or (None) left out."""
    changes = {name.replace("_json", ".json").replace("_h5", ".h5"): content for name, content in members.items()}
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as out:
        for name in {**dict.fromkeys(source.namelist()), **changes}:
            content = changes.get(name, source.read(name) if name in source.namelist() else None)
            if content is not None:
                out.writestr(name, content)
    return target


def test_archives(tmp_path: Path) -> None:
    source, target = KERAS2 / "tagging.keras", tmp_path / "m.keras"
    check(run(importers.read(repacked(source, target)), PAIRS["tagging_x"]), PAIRS["tagging_y"], "keras")
    faults = {
        "holds no weights": {"model.weights_h5": None},
        "without a config.json": {"config_json": None},
        "config.json is not JSON": {"config_json": b"{" * 100_000},
        "architecture should be a JSON object": {"config_json": b"7"},
        "damaged HDF5": {"model.weights_h5": b"text"},
        "declares 70000000 bytes": {"config_json": b" " * 70_000_000},
        "but stores": {"model.weights_h5": bytes(50_000_000)},
    }
    for fault, members in faults.items():
        with pytest.raises(BadModelFile, match=fault) as caught:
            importers.read(repacked(source, target, **members))
        assert str(target) in str(caught.value)


def test_encrypted_archive(tmp_path: Path) -> None:
    path = tmp_path / "m.keras"
    content = bytearray((KERAS2 / "tagging.keras").read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        position = content.find(signature)
        while position >= 0:
            content[position + offset] |= 1
            position = content.find(signature, position + 4)
    path.write_bytes(content)
    with pytest.raises(BadModelFile, match="encrypted"):
        importers.read(path)


@pytest.fixture
def spoilt(tmp_path: Path):
    """A copy of tagging.h5 open for writing; closed, it should be refused with these words."""

    def spoil(change, fault: str) -> None:
        path = tmp_path / "spoilt.h5"
        path.write_bytes((KERAS2 / "tagging.h5").read_bytes())
        with h5py.File(path, "r+") as file:
            change(file)
        with pytest.raises(BadModelFile, match=fault) as caught:
            importers.read(path)
        assert str(caught.value).startswith(str(path))

    return spoil


KERNEL = "model_weights/gru/gru/gru_cell/kernel:0"


def replaced(name: str, **options: object):
    """A change: the dataset `name` becomes another."""

    def change(file) -> None:
        del file[name]
        file.create_dataset(name, **options)

    return change


def linked(name: str, link: object):
    def change(file) -> None:
        del file[name]
        file[name] = link

    return change


def attribute(group: str, name: str, value: object):
    def change(file) -> None:
        file[group].attrs[name] = value

    return change


def removed(name: str):
    def change(file) -> None:
        del file[name]

    return change


def extra_layer(file) -> None:
    root = file["model_weights"]
    group = root.create_group("more")
    group["w"] = np.zeros(3, np.float32)
    group.attrs["weight_names"] = ["w"]
    root.attrs["layer_names"] = [*root.attrs["layer_names"], "more"]


SPOILT = {
    "shape": (replaced(KERNEL, data=np.zeros((4, 12), "f4")), r"'gru' .GRU.: kernel should have shape \(4, 15\), has \(4, 12\)"),
    "objects": (replaced(KERNEL, data=["a", "b"]), "kernel should have shape"),
    "strings": (replaced(KERNEL, data=np.full((4, 15), "a", "S4")), "not floating-point"),
    "integers": (replaced(KERNEL, data=np.zeros((4, 15), "i1")), "int8, not floating-point"),
    "long doubles": (replaced(KERNEL, data=np.zeros((4, 15), np.longdouble)), "not floating-point"),
    "external values": (
        replaced(KERNEL, shape=(4, 15), dtype="f4", external=[("/etc/passwd", 0, 240)]),
        "another file, which is not opened",
    ),
    "external link": (linked(KERNEL, h5py.ExternalLink("/etc/passwd", "/x")), "ExternalLink; links are not followed"),
    "soft link": (linked(KERNEL, h5py.SoftLink("/model_weights")), "SoftLink; links are not followed"),
    "no dataset": (removed(KERNEL), "there is no such dataset"),
    "no layer": (removed("model_weights/gru"), "there is no such group"),
    "no weights": (removed("model_weights"), "no group 'model_weights'"),
    "group for a dataset": (lambda file: (removed(KERNEL)(file), file.create_group(KERNEL)), "there is no such dataset"),
    "one array less": (
        lambda file: attribute("model_weights/gru", "weight_names", file["model_weights/gru"].attrs["weight_names"][:2])(file),
        r"3 arrays \(kernel, recurrent_kernel, bias\), the file holds 2",
    ),
    "one array more": (
        lambda file: attribute("model_weights/embedding", "weight_names", ["embedding/embeddings:0"] * 2)(file),
        "1 arrays more than",
    ),
    "one layer more": (extra_layer, "no layer of the architecture takes: more"),
    "one layer less": (attribute("model_weights/gru", "weight_names", np.zeros(0)), "should have"),
    "no names": (lambda file: file["model_weights"].attrs.__delitem__("layer_names"), "no attribute 'layer_names'"),
    "numbers for names": (attribute("model_weights", "layer_names", [1, 2]), "should hold text"),
    "config of no JSON": (attribute("/", "model_config", "{"), "model_config is not JSON"),
    "config of numbers": (attribute("/", "model_config", 5), "should hold text"),
    "config of nothing": (attribute("/", "model_config", "{}"), "no list of layers"),
}  # fmt: skip


@pytest.mark.parametrize("case", SPOILT)
def test_spoilt_hdf5(spoilt, case: str) -> None:
    spoilt(*SPOILT[case])


def test_declared_sizes_are_checked_before_memory_is_taken(tmp_path: Path, document: dict) -> None:
    """A table of 400 GB in a file of a few KB: of chunks that were never written."""
    path = tmp_path / "m.h5"
    path.write_bytes((KERAS2 / "tagging.h5").read_bytes())
    rows = 100_000_000_000 // 4
    with h5py.File(path, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        layer(config, 1)["config"]["input_dim"] = rows
        file.attrs["model_config"] = json.dumps(config)
        name = "model_weights/embedding/embedding/embeddings:0"
        del file[name]
        file.create_dataset(name, shape=(rows, 4), dtype="f4", chunks=(1024, 4), compression="gzip")
    with pytest.raises(BadModelFile, match="declares 400000000000 bytes but stores 0"):
        importers.read(path)


def test_circular_groups(tmp_path: Path) -> None:
    path = tmp_path / "m.weights.h5"
    path.write_bytes((KERAS2 / "tagging.weights.h5").read_bytes())
    with h5py.File(path, "r+") as file:
        file["layers/gru/again"] = file["layers"]
    with pytest.raises(BadModelFile):
        importers.read(path, config=KERAS2 / "tagging.json")


def test_weights_left_over_in_a_tree(tmp_path: Path) -> None:
    path = tmp_path / "m.weights.h5"
    for name, fault in (("layers/gru/cell/vars/3", "does not ask for: cell/vars/3"), ("layers/gru_2/vars/0", "takes: gru_2")):
        path.write_bytes((KERAS2 / "tagging.weights.h5").read_bytes())
        with h5py.File(path, "r+") as file:
            file[name] = np.zeros(3, np.float32)
        with pytest.raises(BadModelFile, match=fault):
            importers.read(path, config=KERAS2 / "tagging.json")


def test_split_attributes(tmp_path: Path) -> None:
    path = tmp_path / "m.h5"
    path.write_bytes((KERAS2 / "tagging.h5").read_bytes())
    with h5py.File(path, "r+") as file:
        attributes = file["model_weights"].attrs
        names = attributes["layer_names"]
        del attributes["layer_names"]
        attributes["layer_names0"], attributes["layer_names1"] = names[:2], names[2:]
    check(run(importers.read(path), PAIRS["tagging_x"]), PAIRS["tagging_y"], "keras")


def test_hdf5_of_something_else(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file["x"] = np.zeros(3)
    with pytest.raises(BadModelFile, match="not of Keras"):
        importers.read(tmp_path / "data.h5")


def test_non_finite_weights_are_weights(tmp_path: Path) -> None:
    path = tmp_path / "m.h5"
    path.write_bytes((KERAS2 / "tagging.h5").read_bytes())
    with h5py.File(path, "r+") as file:
        file[KERNEL][0, 0] = np.nan
    assert np.isnan(importers.read(path).layers[1].kernel[0, 0])


# ---- options ---------------------------------------------------------------------------------------------------------


def test_options() -> None:
    with pytest.raises(BadInput, match=r"no option layout; its options: config, keras_version"):
        importers.read(KERAS2 / "tagging.h5", layout=1)
    with pytest.raises(BadInput, match="holds its own architecture"):
        importers.read(KERAS2 / "tagging.h5", config=KERAS2 / "tagging.json")
    with pytest.raises(BadInput, match="holds its own architecture"):
        importers.read(KERAS2 / "tagging.keras", config={})
    with pytest.raises(BadInput, match="weights without an architecture"):
        importers.read(KERAS2 / "tagging_weights.hdf5")
    with pytest.raises(BadInput, match="keras_version should be"):
        importers.read(KERAS2 / "tagging.h5", keras_version="new")
    with pytest.raises(BadInput, match="config should be"):
        importers.read(KERAS2 / "tagging.weights.h5", config=7)


def test_from_keras_of_something_else() -> None:
    with pytest.raises(BadInput, match="expected a Keras model"):
        from_keras("model.h5")


def test_unbuilt_live_model(keras, L) -> None:
    with pytest.raises(BadInput, match="no weights yet"):
        from_keras(keras.Sequential([L.GRU(3)]))
    own = type("Tagger", (keras.Model,), {"call": lambda self, x: x})()
    with pytest.raises(UnsupportedModel, match="Tagger"):
        from_keras(own)
