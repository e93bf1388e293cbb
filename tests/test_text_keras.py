"""Keras' text and category layers: files of both generations, held against what Keras computed."""

from __future__ import annotations

import dataclasses
import importlib.util
import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

import fastgru
from fastgru.errors import BadInput, BadModelFile, UnsupportedModel
from fastgru.graph import OneHot
from fastgru.importers.keras import text
from fastgru.importers.keras.archive import Archive
from fastgru.importers.keras.config import LayerConfig, Report
from fastgru.text import Encoder, FrontEnd

h5py = pytest.importorskip("h5py")

DATA = Path(__file__).parent / "data" / "text"
CASES = json.loads((DATA / "layers.json").read_text(encoding="utf-8"))
NETWORKS = json.loads((DATA / "networks.json").read_text(encoding="utf-8"))
TEXT = next(case["entry"] for case in CASES if case["entry"]["class_name"] == "TextVectorization")
LOOKUP = next(case["entry"] for case in CASES if case["entry"]["class_name"] == "StringLookup")
NUMBERS = next(case["entry"] for case in CASES if case["entry"]["class_name"] == "IntegerLookup")
CATEGORY = next(case["entry"] for case in CASES if case["entry"]["class_name"] == "CategoryEncoding")


def named(case):
    config, entry = case["entry"]["config"], case["entry"]
    given = [f"{key}={config[key]}" for key in ("split", "ngrams", "output_mode", "num_oov_indices") if config.get(key)]
    return f"{case['keras'][0]}-{entry['class_name']}-{case['shape']}-{'-'.join(given)}"


def assets_of(case, folder):
    """What stands beside the configuration: (vocabulary, idf weights)."""
    with zipfile.ZipFile(folder / "case.keras", "w") as archive:
        archive.writestr("config.json", "{}")
        for name, content in case["assets"].items():
            archive.writestr(name, content)
    stem = {"TextVectorization": "text_vectorization", "StringLookup": "string_lookup"}
    name = stem.get(case["entry"]["class_name"], "integer_lookup")
    with Archive(folder / "case.keras") as archive:
        return text.stored_vocabulary(archive, f"layers/{name}"), case["idf_weights"]


def encoder_of(entry, shape=(None,), stored=None, idf=None, before=None, **changes):
    report = Report()
    config = LayerConfig({**entry, "config": {**entry["config"], **changes}}, report)
    encoder = text.read(config, shape, stored, idf, before)
    if report.reasons:
        assert encoder is None
        raise UnsupportedModel(report.reasons)
    assert encoder is not None
    return encoder


@pytest.mark.parametrize("case", CASES, ids=named)
def test_layer_gives_what_keras_gave(case, tmp_path):
    encoder = encoder_of(case["entry"], tuple(case["shape"]), *assets_of(case, tmp_path))
    stored = Encoder.from_json(json.loads(json.dumps(encoder.to_json())))
    assert stored == encoder
    expected = np.array(case["outputs"], np.int32 if encoder.output == "ids" else np.float32)
    array = np.array(case["inputs"])
    given = [case["inputs"], array]
    if array.dtype.kind == "U":
        given += [array.astype(object), np.char.encode(array, "utf-8")]
    for rows in given:
        got, lengths = stored.encode(rows)
        assert lengths is None
        assert got.dtype == expected.dtype
        np.testing.assert_array_equal(got, expected)
    spec = text.spec_of("x", encoder)
    assert (spec.dtype, len(spec.shape), *spec.inner) == (str(expected.dtype), expected.ndim, *spec.inner)
    assert all(size in (None, held) for size, held in zip(spec.shape, expected.shape, strict=True))


@pytest.mark.parametrize("case", [case for case in CASES if case["shape"] != [1]], ids=named)
def test_one_hot_as_ids(case, tmp_path):
    encoder = encoder_of(case["entry"], tuple(case["shape"]), *assets_of(case, tmp_path))
    made = text.as_ids(encoder)
    assert (made is None) is (encoder.output != "one_hot")
    if made is None:
        return
    ids = np.array(case["inputs"]) if made[0] is None else made[0].encode(case["inputs"])[0]
    table = np.eye(made[1]) if isinstance(made[1], int) else made[1]
    np.testing.assert_array_equal(table[ids], np.array(case["outputs"], np.float32))
    assert isinstance(made[1], int) is (encoder.dropped is None and encoder.size == len(encoder.tokens or table))
    wide = dataclasses.replace(encoder, size=text.MAX_TABLE + 1)
    assert (text.as_ids(wide) is None) is (encoder.tokens is not None), "a table of few ids would be large"


# ---- whole networks --------------------------------------------------------------------------------------------------


def agrees(model, name):
    rows, expected = NETWORKS[name]["inputs"], np.array(NETWORKS[name]["outputs"], np.float32)
    np.testing.assert_allclose(model(*rows), expected, rtol=0, atol=1e-5 * max(1, np.abs(expected).max()))


@pytest.mark.parametrize("name", NETWORKS)
def test_network_takes_strings(name, tmp_path):
    agrees(fastgru.load(DATA / name), name)
    fastgru.load(DATA / name).save(tmp_path / "model.safetensors")
    model = fastgru.load(tmp_path / "model.safetensors")
    agrees(model, name)
    rows = NETWORKS[name]["inputs"]
    arrays = tuple(np.array(given) for given in rows)
    batches = model.predict(arrays if len(arrays) > 1 else arrays[0], batch_size=2)
    if "letters" not in name:  # there an unmasked padding would count
        np.testing.assert_array_equal(batches, model(*rows))
    encoders = model.front_end.inputs
    specs = model.graph.inputs
    encoded = [
        encoders[spec.name].encode(given)[0] if spec.name in encoders and encoders[spec.name].takes_strings else given
        for spec, given in zip(specs, rows, strict=True)
    ]
    np.testing.assert_array_equal(model(*encoded), model(*rows), err_msg="numbers in the place of strings")
    for spec in specs:
        assert (f"input {spec.name!r} takes" in model.summary()) is (spec.name in encoders)


def test_network_of_several_inputs():
    graph = fastgru.load(DATA / "mixed_keras3.keras").graph
    encoders = FrontEnd.of(graph).inputs
    assert list(encoders) == ["title", "first", "second", "third", "fourth"], "numbers are the ids"
    assert encoders["first"] == encoders["second"], "one lookup, shared"
    assert len({encoders[name].tokens for name in ("first", "third", "fourth")}) == 3, "three lookups by their counters"
    assert {spec.name: spec.dtype for spec in graph.inputs if spec.name not in encoders} == {
        "kind": "int32", "x": "float32"
    }  # fmt: skip
    (kinds,) = (layer for layer in graph.layers if layer.name == "kinds")
    assert isinstance(kinds, OneHot)


def test_weights_alone(tmp_path):
    """Vocabularies that stand in the configuration need no file; the weights are found beside the idf weights."""
    for name in ("mixed_keras3.keras", "mixed_keras2.keras"):
        with zipfile.ZipFile(DATA / name) as archive:
            (tmp_path / "m.weights.h5").write_bytes(archive.read("model.weights.h5"))
            config = json.loads(archive.read("config.json"))
            for entry in config["config"]["layers"]:
                for path in PATHS.get(entry["name"], ()):
                    tokens = archive.read(f"assets/layers/{path}/vocabulary.txt").decode().split("\n")
                    entry["config"]["vocabulary"] = tokens
        agrees(fastgru.load(tmp_path / "m.weights.h5", config=config), name)


PATHS = {
    "words": ["text_vectorization"], "ids": ["string_lookup"], "tf_idf": ["string_lookup_1"], "hot": ["string_lookup_2"]
}  # fmt: skip


@pytest.mark.parametrize("package", ["keras", "tf_keras"])
def test_live_networks(package):
    tf = pytest.importorskip("tensorflow")
    pytest.importorskip("tf_keras")
    package = pytest.importorskip(package)
    if package.__name__ == "keras" and package.config.backend() != "tensorflow":
        pytest.skip("Keras' text layers need KERAS_BACKEND=tensorflow")
    spec = importlib.util.spec_from_file_location("golden", Path(__file__).parents[1] / "tools/make_text_golden.py")
    golden = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(golden)
    rows = NETWORKS["mixed_keras3.keras"]["inputs"]
    networks = [(golden.mixed(package, True), rows), (golden.mixed(package, False), rows)]
    networks += [(make(package), [golden.TEXTS]) for make in (golden.reviews, golden.sequence)]
    for live, inputs in networks:
        tensors = [tf.constant(given) for given in inputs]
        expected = np.asarray(live(tensors if len(tensors) > 1 else tensors[0][:, None]))
        np.testing.assert_allclose(fastgru.from_keras(live)(*inputs), expected, rtol=0, atol=1e-5)


# ---- networks that are refused ---------------------------------------------------------------------------------------


def changed(folder, name, change):
    """A golden file whose configuration a function has changed, by the layers' names."""
    path = folder / "changed.keras"
    with zipfile.ZipFile(DATA / name) as archive, zipfile.ZipFile(path, "w") as copy:
        for member in archive.namelist():
            content = archive.read(member)
            if member == "config.json":
                config = json.loads(content)
                change({entry["name"]: entry for entry in config["config"]["layers"]}, config["config"])
                content = json.dumps(config)
            copy.writestr(member, content)
    return path


def reads(entry, name, call=0):
    """Let a call of a layer read another layer."""
    entry["inbound_nodes"][call]["args"][0]["config"]["keras_history"][0] = name


def two_readers(layers, network):
    reads(layers["hot"], "third")


def one_beside_it(layers, network):
    reads(layers["gru_x"], "kind")


def behind_a_layer(layers, network):
    reads(layers["hot"], "gru_x")


def counts_weights(layers, network):
    layers["kinds"]["inbound_nodes"][0]["kwargs"]["count_weights"] = [[1, 2, 3]]


def hashed(layers, network):
    layers["hot"]["class_name"] = "Hashing"


def an_output(layers, network):
    network["output_layers"] = [network["output_layers"], ["hot", 0, 0]]


def ids_as_numbers(layers, network):
    layers["table"]["class_name"] = "Dense"
    layers["table"]["config"] = {"name": "table", "units": 3}


def inside_another(layers, network):
    inner = {"class_name": "Functional", "name": "inner", "config": {"name": "inner", **network}, "inbound_nodes": []}
    inner["config"] = json.loads(json.dumps(inner["config"]))
    inner["inbound_nodes"] = [{"args": [[]], "kwargs": {}}]
    sources = [json.loads(json.dumps(layers[name[0]])) for name in network["input_layers"]]
    inner["inbound_nodes"][0]["args"][0] = [
        {"class_name": "__keras_tensor__", "config": {"keras_history": name}} for name in network["input_layers"]
    ]
    network["layers"], network["output_layers"] = [*sources, inner], ["inner", 0, 0]


def inside_a_wrapper(layers, network):
    layer = json.loads(json.dumps(layers["kinds"]))
    layers["kinds"].update(class_name="TimeDistributed", config={"name": "kinds", "layer": layer})


BEHIND = "is supported directly behind one input of the network"


@pytest.mark.parametrize(
    ("change", "reasons"),
    [
        (two_readers, ["'tf_idf' (StringLookup): should be alone in reading 'third', which is read by 'hot', 'tf_idf'",
                       "'hot' (StringLookup): should be alone in reading 'third'",
                       "'fourth' (InputLayer): takes strings"]),
        (one_beside_it, ["'kinds' (CategoryEncoding): should be alone in reading 'kind'"]),
        (behind_a_layer, [f"'hot' (StringLookup): {BEHIND}", "'fourth' (InputLayer): takes strings"]),
        (counts_weights, ["'kinds' (CategoryEncoding): is called with count_weights="]),
        (hashed, ["'fourth' (InputLayer): takes strings", "'hot' (Hashing): needs TensorFlow's own hash functions"]),
        (an_output, ["'hot' (StringLookup): is an output of the network"]),
        (ids_as_numbers, ["'table' (Dense): reads the ids of a text layer as numbers"]),
        (inside_a_wrapper, ["'kinds' (TimeDistributed/CategoryEncoding): runs before the core"]),
    ],
)  # fmt: skip
def test_wirings_are_refused_by_name(change, reasons, tmp_path):
    with pytest.raises(UnsupportedModel) as caught:
        fastgru.load(changed(tmp_path, "mixed_keras3.keras", change))
    found = caught.value.reasons
    assert len(found) == len(reasons), found
    assert all(reason in line for reason, line in zip(reasons, found, strict=True)), found


def test_network_inside_a_network_is_refused(tmp_path):
    with pytest.raises(UnsupportedModel) as caught:
        fastgru.load(changed(tmp_path, "mixed_keras3.keras", inside_another))
    inside = [line for line in caught.value.reasons if "stands in a network inside the network" in line]
    assert sorted(line.split("'")[1] for line in inside) == ["hot", "ids", "kinds", "tf_idf", "words"]


def test_adapted_vocabulary_is_not_in_hdf5(tmp_path):
    with zipfile.ZipFile(DATA / "reviews_keras3.keras") as archive:
        (tmp_path / "m.weights.h5").write_bytes(archive.read("model.weights.h5"))
        config = json.loads(archive.read("config.json"))
    with pytest.raises(UnsupportedModel, match="its vocabulary is not in the file") as caught:
        fastgru.load(tmp_path / "m.weights.h5", config=config)
    assert len(caught.value.reasons) == 1


@pytest.mark.parametrize(
    ("path", "dataset", "fault"),
    [
        ("layers/string_lookup_1/vars", "0", "'string_lookup_1' should hold vars/idf_weights alone"),
        ("layers/string_lookup_2/vars", "idf_weights", "holds weights that no layer .* takes: string_lookup_2"),
    ],
)
def test_arrays_that_a_text_layer_does_not_have(path, dataset, fault, tmp_path):
    with zipfile.ZipFile(DATA / "mixed_keras3.keras") as archive, zipfile.ZipFile(tmp_path / "m.keras", "w") as copy:
        for member in archive.namelist():
            stream = io.BytesIO(archive.read(member))
            if member == "model.weights.h5":
                with h5py.File(stream, "r+") as file:
                    file[path][dataset] = np.zeros(3, np.float32)
            copy.writestr(member, stream.getvalue())
    with pytest.raises(BadModelFile, match=fault):
        fastgru.load(tmp_path / "m.keras")


# ---- refused ---------------------------------------------------------------------------------------------------------

OWN = {"module": "builtins", "class_name": "function", "config": "my_split", "registered_name": "function"}


@pytest.mark.parametrize(
    ("entry", "shape", "changes", "why"),
    [
        (TEXT, (1,), {"standardize": OWN}, "standardize: my_split is a function"),
        (TEXT, (1,), {"split": {"class_name": "Lambda", "config": {}}}, "split: .* is a function"),
        (TEXT, (1,), {"split": "words"}, "split='words'"),
        (TEXT, (1,), {"ragged": True}, "ragged=True"),
        (TEXT, (1,), {"sparse": True}, "sparse=True"),
        (TEXT, (1,), {"encoding": "latin-1"}, "encoding='latin-1'"),
        (TEXT, (1,), {"output_mode": "one_hot"}, "rows of several lengths"),
        (TEXT, (1,), {"output_mode": "hash"}, "output_mode='hash'"),
        (TEXT, (2,), {}, "2 of them a row"),
        (TEXT, (2, 3), {}, "rows of shape"),
        (TEXT, (), {"split": None, "ngrams": 2}, "without split"),
        (TEXT, (1,), {"vocabulary": "/etc/passwd"}, "outside the model's, which is not opened"),
        (TEXT, (1,), {"vocabulary": None}, "vocabulary is not in the file"),
        (TEXT, (1,), {"surprise": 1}, "option surprise=1 is not known"),
        (LOOKUP, (2,), {"invert": True}, "invert=True"),
        (LOOKUP, (2,), {"num_oov_indices": 2}, "num_oov_indices=2: it needs TensorFlow's own hash"),
        (LOOKUP, (2,), {"salt": [1, 2]}, "salt"),
        (LOOKUP, (), {"output_mode": "multi_hot"}, "one vector of a whole batch"),
        (NUMBERS, (2,), {"num_oov_indices": 2, "oov_method": "farmhash"}, "hash functions"),
        (NUMBERS, (2,), {"vocabulary_dtype": "string"}, "vocabulary_dtype='string'"),
        (CATEGORY, (2,), {"output_mode": "int"}, "output_mode='int'"),
        (CATEGORY, (), {}, "one vector of a whole batch"),
    ],
)
def test_refused_by_name(entry, shape, changes, why):
    with pytest.raises(UnsupportedModel, match=why) as caught:
        encoder_of(entry, shape, **changes)
    assert all(reason.startswith(f"layer 'front' ({entry['class_name']})") for reason in caught.value.reasons)


@pytest.mark.parametrize(
    ("entry", "changes", "fault"),
    [
        (TEXT, {"vocabulary": [["a"]]}, "'vocabulary' should hold strings"),
        (TEXT, {"vocabulary": {"a": 1}}, "'vocabulary' should be a list"),
        (TEXT, {"vocabulary_size": "3"}, "'vocabulary_size'"),
        (TEXT, {"output_mode": "tf_idf", "idf_weights": [10**400] * 9}, "idf_weights should be 9 numbers"),
        (TEXT, {"vocabulary": ["a", "a"]}, "'a' stands twice"),
        (TEXT, {"vocabulary": ["a", ""]}, "'' stands twice"),
        (TEXT, {"vocabulary": ["a", ""], "output_mode": "multi_hot"}, "'', stands in the vocabulary"),
        (TEXT, {"ngrams": "2"}, "'ngrams'"),
        (TEXT, {"ngrams": 10**30}, "'ngrams'"),
        (TEXT, {"ngrams": [1, -1]}, "'ngrams'"),
        (TEXT, {"ngrams": []}, "'ngrams'"),
        (TEXT, {"output_sequence_length": "4"}, "'output_sequence_length'"),
        (TEXT, {"output_sequence_length": 10**12}, "'max_length'"),
        (TEXT, {"max_tokens": 3}, "more than max_tokens=3"),
        (TEXT, {"output_mode": "tf_idf"}, "idf_weights should be"),
        (TEXT, {"output_mode": "tf_idf", "idf_weights": ["x"] * 9}, "idf_weights should be 9 numbers"),
        (TEXT, {"output_mode": "tf_idf", "idf_weights": [[0.5]] * 9}, "idf_weights should be 9 numbers"),
        (TEXT, {"output_mode": "tf_idf", "idf_weights": [0.5]}, "idf_weights should be 9 numbers"),
        (LOOKUP, {"num_oov_indices": -1}, "'num_oov_indices'"),
        (LOOKUP, {"num_oov_indices": 0, "vocabulary": []}, "empty"),
        (LOOKUP, {"mask_token": 0}, "'mask_token' should hold strings"),
        (NUMBERS, {"vocabulary": ["a"]}, "'vocabulary' should hold whole numbers"),
        (NUMBERS, {"vocabulary": [10**20]}, "'tokens'"),
        (NUMBERS, {"oov_token": 1.5}, "'oov_token' should hold whole numbers"),
        (CATEGORY, {"num_tokens": 0}, "'num_tokens'"),
        (CATEGORY, {"num_tokens": 10**12}, "'size'"),
    ],
)
def test_bad_configurations_are_named(entry, changes, fault):
    with pytest.raises(BadModelFile, match=fault) as caught:
        encoder_of(entry, (1,), **changes)
    assert "layer 'front'" in str(caught.value)


def test_numbers_of_a_stored_vocabulary():
    config = {"vocabulary": None, "vocabulary_size": 2}
    assert encoder_of(NUMBERS, stored=["-1", "7"], **config).tokens == (-1, 7)
    with pytest.raises(BadModelFile, match="should hold numbers, has 'x'"):
        encoder_of(NUMBERS, stored=["-1", "x"], **config)


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        ("\n[UNK]\nb", ["", "[UNK]", "b"]),
        ("\r\n[UNK]\r\nb", ["", "[UNK]", "b"]),
        ("\n[UNK]\nb\x1cc\u2028", ["", "[UNK]", "b\x1cc\u2028"]),
        ("[UNK]\nb\n", ["[UNK]", "b", ""]),
    ],
)
def test_vocabulary_member(content, lines, tmp_path):
    with zipfile.ZipFile(tmp_path / "x.keras", "w") as archive:
        archive.writestr("assets/layers/a/vocabulary.txt", content)
        archive.writestr("assets/layers/c/vocabulary.txt", b"\xff\xfe")
    with Archive(tmp_path / "x.keras") as archive:
        assert text.stored_vocabulary(archive, "layers/a") == lines
        assert text.stored_vocabulary(archive, "layers/b") is None
        with pytest.raises(BadModelFile, match="no text in UTF-8"):
            text.stored_vocabulary(archive, "layers/c")


def test_paths_count_every_layer_of_a_class():
    """As both generations name them: the second StringLookup."""
    assert text.stored_paths(["StringLookup", "GRU", "StringLookup", "StringLookup"]) == [
        "string_lookup", "gru", "string_lookup_1", "string_lookup_2"
    ]  # fmt: skip


def test_size_of_a_stored_vocabulary():
    """It tells a last token of no letters from a last line without a token."""
    lines = ["[UNK]", "b", ""]
    config = {"vocabulary": None, "vocabulary_size": 3}
    assert encoder_of(LOOKUP, stored=lines, **config).tokens == ("[UNK]", "b", "")
    assert encoder_of(LOOKUP, stored=[*lines, ""], **config).tokens == ("[UNK]", "b", "")
    assert encoder_of(LOOKUP, stored=lines, vocabulary=None, vocabulary_size=2).tokens == ("[UNK]", "b")
    assert encoder_of(LOOKUP, stored=lines, vocabulary=None, vocabulary_size=None).tokens == ("[UNK]", "b")
    for faulty in (["[UNK]", "b"], ["[UNK]", "b", "c", "d"]):
        with pytest.raises(BadModelFile, match=f"has {len(faulty)} lines, not 3"):
            encoder_of(LOOKUP, stored=faulty, **config)


def test_category_encoding_of_ids():
    ids = encoder_of(LOOKUP, (2,))
    with pytest.raises(UnsupportedModel, match="num_tokens=5, but it reads ids of 10 tokens"):
        encoder_of(CATEGORY, (2,), before=ids)
    hot = encoder_of(CATEGORY, (2,), before=ids, num_tokens=12, output_mode="count")
    expected = np.zeros((1, 12), np.float32)
    expected[0, 0] = 2
    np.testing.assert_array_equal(hot.encode([["dog", "[UNK]"]])[0], expected)
    with pytest.raises(UnsupportedModel, match="another layer has encoded"):
        encoder_of(CATEGORY, (2,), before=hot, num_tokens=12)
    padded = encoder_of(TEXT, (1,), output_sequence_length=3, output_mode="int")
    hot = encoder_of(CATEGORY, (1,), before=padded, num_tokens=11, output_mode="multi_hot")
    assert hot.encode(["the"])[0][0].nonzero()[0].tolist() == [0, 2], "the padding counts, as in Keras"


def test_unknown_tokens_without_an_id():
    encoder = encoder_of(LOOKUP, (1,), num_oov_indices=0)
    with pytest.raises(BadInput, match="'dog' is not in the vocabulary"):
        encoder.encode(["dog"])
    encoder = encoder_of(NUMBERS, (1,), num_oov_indices=0)
    with pytest.raises(BadInput, match="7 is not in the vocabulary"):
        encoder.encode([7])


def test_live_vocabulary():
    class Layer:
        def get_vocabulary(self):
            return [-1, np.int64(10)]

    assert text.live_vocabulary(Layer()) == [-1, 10]
    config = {"vocabulary": None, "vocabulary_size": 2}
    assert encoder_of(NUMBERS, (1,), text.live_vocabulary(Layer()), **config).tokens == (-1, 10)
    config = {"vocabulary": [np.int64(7)], "vocabulary_size": np.int64(2)}  # tf_keras' get_config, not through JSON
    assert encoder_of(NUMBERS, (1,), **config).to_json()["tokens"] == [-1, 7]
