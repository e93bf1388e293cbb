"""The Keras importer: what it refuses, with every reason at once, and the options of `read`."""

from __future__ import annotations

import copy
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fastgru import graph as g
from fastgru import importers
from fastgru.errors import BadInput, BadModelFile, MissingExtra, UnsupportedModel
from fastgru.importers.keras import from_keras
from keras_files import KERAS2, PAIRS, layer, read, run, tagging, write_legacy
from tolerances import check


@pytest.fixture
def document() -> dict:
    return tagging()


def test_every_reason_at_once(document: dict) -> None:
    layer(document, 2)["class_name"] = "LSTM"
    layer(document, 3)["class_name"] = "GroupNormalization"
    layer(document, 4)["config"]["activation"] = "softmax"
    layer(document, 5)["config"]["layer"]["class_name"] = "SimpleRNN"
    with pytest.raises(UnsupportedModel) as caught:
        read(document)
    reasons = caught.value.reasons
    assert [reason.split(": ")[0] for reason in reasons] == [
        "layer 'gru' (LSTM)",
        "layer 'spatial_dropout1d' (GroupNormalization)",
        "layer 'gru_1' (GRU)",
        "layer 'time_distributed' (TimeDistributed/SimpleRNN)",
    ]
    words = ("out of scope", "is not supported", "looks at a whole row", "out of scope")
    assert all(word in reason for word, reason in zip(words, reasons, strict=True))
    assert all(reason in str(caught.value) for reason in reasons)


CHANGES = {
    "unknown option": ({"novelty": 1}, "option novelty=1 is not known"),
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
    (reason,) = caught.value.reasons
    assert reason.startswith("layer 'gru' (GRU")


def test_time_major_beside_layers_that_mind(document: dict) -> None:
    layer(document, 2)["config"]["time_major"] = True
    with pytest.raises(UnsupportedModel) as caught:
        read(document)
    dropout, gru, wrapper = caught.value.reasons
    assert "'spatial_dropout1d'" in dropout
    assert "'gru_1' (GRU): takes (batch, time, features) where other layers" in gru
    assert "'time_distributed'" in wrapper


def test_custom_layers_are_refused_even_if_named_like_kerases(document: dict) -> None:
    layer(document, 2).update(module="mine.layers", registered_name="mine>GRU")
    with pytest.raises(UnsupportedModel, match="custom layer"):
        read(document)
    with pytest.raises(UnsupportedModel, match="class of its own"):
        read({**document, "module": "mine", "class_name": "Tagger"})


def test_lambda_and_nested_networks(document: dict) -> None:
    """What stands in a network inside the network is refused by its own name."""
    layer(document, 3)["class_name"] = "Lambda"
    document["config"]["layers"].append(copy.deepcopy({"class_name": "Sequential", "config": document["config"]}))
    with pytest.raises(UnsupportedModel) as caught:
        read(document)
    first, second = caught.value.reasons
    assert "never run" in first
    assert "never run" in second


def test_return_state_in_the_middle(document: dict) -> None:
    layer(document, 2)["config"]["return_state"] = True
    with pytest.raises(UnsupportedModel, match="follows a layer with return_state"):
        read(document)


def test_flatten_of_a_free_number_of_steps(document: dict) -> None:
    for entry in document["config"]["layers"][:2]:
        entry["config"]["batch_input_shape"] = [None, None]
    document["config"]["layers"][3:4] = [{"class_name": "Flatten", "config": {"name": "flat"}}]
    with pytest.raises(UnsupportedModel, match=r"layer 'flat'.*known number of steps"):
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


def test_keras_1(document: dict, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModel, match="Keras 1"):
        read(document, keras_version="1.2.2")
    write_legacy(tmp_path / "m.h5", nameless(document), {}, version=None)
    with pytest.raises(UnsupportedModel, match="Keras 1"):
        importers.read(tmp_path / "m.h5")


def test_input_shape_from_weights(document: dict, tmp_path: Path) -> None:
    layers = [entry for entry in document["config"]["layers"] if entry["class_name"] == "GRU"][1:]
    del layers[0]["build_config"]
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


def test_without_h5py(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(MissingExtra, match=r"fastgru\[keras\]"):
        importers.read(KERAS2 / "tagging.h5")


def test_h5py_is_imported_when_it_is_needed() -> None:
    code = "import sys, fastgru.importers.keras; assert not {'h5py', 'keras', 'tensorflow'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_from_keras_of_something_else() -> None:
    with pytest.raises(BadInput, match="expected a Keras model"):
        from_keras("model.h5")
