"""Write tests/data/text: Keras' text and category layers as both generations store them, and what they compute.

    python tools/make_text_golden.py      # needs tensorflow, keras 3 with that backend, and tf_keras

``layers.json`` holds, for each layer, its entry in the config of a saved ``.keras`` file, the vocabulary and idf
weights beside it, and inputs with Keras' outputs; the ``.keras`` files are whole networks, ``networks.json`` their
answers.
"""

from __future__ import annotations

import io
import json
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import tensorflow as tf
import tf_keras

TARGET = Path(__file__).parents[1] / "tests" / "data" / "text"
WORDS = ["the", "cat", "sat", "on", "mat", "été", "the cat", "don't", "dont"]
TEXTS = [
    "The cat sat, on the MAT!", "été ÉTÉ the\x0bcat", "don't [UNK] dont", "", "mat\x1con\u00a0sat\u2028the  on\n",
    "a_b-c `the` (cat) 'sat' ~on~ \\mat/",
]  # fmt: skip
STRINGS = [["the", "cat"], ["dog", ""], ["mat", "[UNK]"], ["été", "the"]]
LETTERS = ["a", "c", "t", " ", "é", "h"]
NUMBERS = [[10, 20, 30], [-1, 0, 7], [20, 20, -8]]
IDF = [0.5, 0.25, 1.5, 2.0, 0.125, 1.0, 3.0, 0.75, 0.3]

#: layer, its options, shape of a row, inputs; `adapt`: the vocabulary is learned from the inputs, not given
CASES: list[tuple[str, dict[str, Any], tuple[int | None, ...], list[Any]]] = [
    ("TextVectorization", {"vocabulary": WORDS}, (1,), TEXTS),
    ("TextVectorization", {"vocabulary": WORDS}, (), TEXTS),
    ("TextVectorization", {"adapt": True}, (1,), TEXTS[:4]),
    ("TextVectorization", {"adapt": True, "max_tokens": 6, "standardize": None}, (1,), TEXTS[:4]),
    ("TextVectorization", {"vocabulary": WORDS, "standardize": "lower"}, (1,), TEXTS),
    ("TextVectorization", {"vocabulary": WORDS, "standardize": "strip_punctuation"}, (1,), TEXTS),
    ("TextVectorization", {"vocabulary": WORDS, "standardize": None}, (1,), TEXTS),
    ("TextVectorization", {"vocabulary": LETTERS, "split": "character"}, (1,), TEXTS),
    ("TextVectorization", {"vocabulary": WORDS, "output_sequence_length": 4}, (1,), TEXTS),
    ("TextVectorization", {"vocabulary": WORDS, "ngrams": 2}, (1,), TEXTS),
    ("TextVectorization", {"vocabulary": WORDS, "ngrams": (2, 1), "output_sequence_length": 9}, (1,), TEXTS),
    ("TextVectorization", {"vocabulary": ["", "[UNK]", *WORDS]}, (1,), TEXTS),
    ("TextVectorization", {"vocabulary": WORDS, "output_mode": "multi_hot"}, (1,), TEXTS),
    ("TextVectorization", {"vocabulary": WORDS, "output_mode": "count"}, (), TEXTS),
    ("TextVectorization",
     {"vocabulary": WORDS, "output_mode": "count", "max_tokens": 15, "pad_to_max_tokens": True}, (1,), TEXTS),
    ("TextVectorization", {"vocabulary": WORDS, "output_mode": "tf_idf", "idf_weights": IDF}, (1,), TEXTS),
    ("TextVectorization",
     {"vocabulary": ["[UNK]", *WORDS], "output_mode": "tf_idf", "idf_weights": [2.5, *IDF], "max_tokens": 12,
      "pad_to_max_tokens": True}, (1,), TEXTS),
    ("TextVectorization", {"adapt": True, "output_mode": "tf_idf"}, (1,), TEXTS[:4]),
    ("TextVectorization", {"vocabulary": WORDS, "split": None}, (2,), STRINGS),
    ("TextVectorization",
     {"vocabulary": WORDS, "split": None, "ngrams": 2, "output_sequence_length": 4}, (2,), STRINGS),
    ("TextVectorization", {"vocabulary": WORDS, "split": None, "output_mode": "multi_hot"}, (None,), STRINGS),
    ("StringLookup", {"vocabulary": WORDS}, (None,), STRINGS),
    ("StringLookup", {"vocabulary": WORDS}, (), [row[0] for row in STRINGS]),
    ("StringLookup", {"vocabulary": WORDS, "mask_token": ""}, (2,), STRINGS),
    ("StringLookup", {"vocabulary": ["", *WORDS, "dog", "[UNK]"], "num_oov_indices": 0}, (2,), STRINGS),
    ("StringLookup", {"adapt": True}, (2,), STRINGS),
    ("StringLookup", {"vocabulary": tf.constant(WORDS), "oov_token": "?"}, (2,), STRINGS),
    ("StringLookup", {"vocabulary": WORDS, "output_mode": "one_hot"}, (1,), [row[:1] for row in STRINGS]),
    ("StringLookup", {"vocabulary": WORDS, "output_mode": "one_hot"}, (), [row[0] for row in STRINGS]),
    ("StringLookup", {"vocabulary": WORDS, "output_mode": "one_hot", "mask_token": ""}, (2,), STRINGS),
    ("StringLookup", {"vocabulary": WORDS, "output_mode": "multi_hot", "mask_token": ""}, (2,), STRINGS),
    ("StringLookup", {"vocabulary": WORDS, "output_mode": "count"}, (2,), STRINGS),
    ("IntegerLookup", {"vocabulary": [10, 20]}, (3,), NUMBERS),
    ("IntegerLookup", {"vocabulary": [10, 20], "mask_token": 0}, (3,), NUMBERS),
    ("IntegerLookup", {"vocabulary": [10, 20], "num_oov_indices": 3, "mask_token": 0}, (None,), NUMBERS),
    ("IntegerLookup", {"adapt": True}, (3,), NUMBERS),
    ("IntegerLookup", {"vocabulary": [10, 20], "output_mode": "one_hot", "mask_token": 0}, (3,), NUMBERS),
    ("IntegerLookup", {"vocabulary": [10, 20], "num_oov_indices": 2, "output_mode": "count"}, (3,), NUMBERS),
    ("CategoryEncoding", {"num_tokens": 5}, (3,), [[0, 4, 4], [1, 2, 3]]),
    ("CategoryEncoding", {"num_tokens": 5, "output_mode": "count"}, (None,), [[0, 4, 4], [1, 2, 3]]),
    ("CategoryEncoding", {"num_tokens": 5, "output_mode": "one_hot"}, (3,), [[0, 4, 4], [1, 2, 3]]),
    ("CategoryEncoding", {"num_tokens": 5, "output_mode": "one_hot"}, (1,), [[4], [0]]),
]  # fmt: skip


def case(package: Any, class_name: str, options: dict[str, Any], shape: tuple[int | None, ...], rows: list[Any]) -> Any:
    """One layer in a saved network; None where this generation cannot compute it."""
    options = dict(options)
    dtype = "string" if class_name in ("TextVectorization", "StringLookup") else "int64"
    x = tf.constant(rows, dtype)
    if len(shape) == 1 and x.shape.rank == 1:
        x = x[:, None]
    adapts = options.pop("adapt", False)
    layer = getattr(package.layers, class_name)(name="front", **options)
    if adapts:
        layer.adapt(x)
    source = package.Input(shape=shape, dtype=dtype, name="source")
    with tempfile.TemporaryDirectory() as folder:
        try:
            network = package.Model(source, layer(source))
            y = np.asarray(network(x))
            network.save(f"{folder}/network.keras")
        except (TypeError, ValueError) as error:
            print(f"{package.__name__} {class_name} {list(options)}: {str(error).splitlines()[-1][:90]}")
            return None
        with zipfile.ZipFile(f"{folder}/network.keras") as archive:
            entry = next(
                entry
                for entry in json.loads(archive.read("config.json"))["config"]["layers"]
                if entry["class_name"] == class_name
            )
            assets = {name: archive.read(name).decode() for name in archive.namelist() if name.startswith("assets/")}
            with h5py.File(io.BytesIO(archive.read("model.weights.h5"))) as weights:
                found: list[list[float]] = []
                weights.visititems(lambda name, item: found.append(item[()].tolist()) if "idf" in name else None)
    values = [value.item() if isinstance(value, np.generic) else value for value in rows]
    return {
        "keras": package.__version__, "entry": entry, "assets": assets, "idf_weights": found[0] if found else None,
        "shape": shape, "inputs": values, "outputs": y.tolist(),
    }  # fmt: skip


def reviews(package: Any, **options: Any) -> Any:
    """Texts → ids → Embedding that masks 0 → GRU → Dense."""
    layers = package.layers
    text = layers.TextVectorization(name="text", **options)
    text.adapt(tf.constant(TEXTS))
    source = package.Input(shape=(1,), dtype="string", name="review")
    y = layers.Embedding(text.vocabulary_size(), 4, mask_zero=True, name="embedding")(text(source))
    return package.Model(source, layers.Dense(2, name="dense")(layers.GRU(5, name="gru")(y)))


def tags(package: Any) -> Any:
    """Strings → ids → one_hot → GRU → Dense."""
    layers = package.layers
    source = package.Input(shape=(None,), dtype="string", name="tags")
    y = layers.StringLookup(vocabulary=WORDS, mask_token="", name="lookup")(source)
    y = layers.CategoryEncoding(12, output_mode="one_hot", name="category")(y)
    return package.Model(source, layers.Dense(2, name="dense")(layers.GRU(5, name="gru")(y)))


def mixed(package: Any, adapts: bool) -> Any:
    """A text, strings for three lookups, one of them twice, and numbers; vocabularies learned or given."""
    layers = package.layers

    def front(class_name: str, rows: Any, vocabulary: list[Any], **options: Any) -> Any:
        if adapts:
            layer = getattr(layers, class_name)(**options)
            layer.adapt(tf.constant(rows))
            return layer
        if options.get("output_mode") == "tf_idf":
            options["idf_weights"] = IDF[: len(vocabulary)]
        return getattr(layers, class_name)(vocabulary=vocabulary, **options)

    text = front("TextVectorization", TEXTS[:4], WORDS, output_mode="tf_idf", name="words")
    lookups = [
        front("StringLookup", STRINGS, WORDS[:4], name="ids", mask_token=""),
        front("StringLookup", STRINGS[1:], WORDS[2:], name="tf_idf", output_mode="tf_idf"),
        front("StringLookup", STRINGS[:2], WORDS[1:5], name="hot", output_mode="multi_hot"),
    ]
    sources = [
        package.Input(shape=shape, dtype=dtype, name=name)
        for name, shape, dtype in (
            ("title", (), "string"), ("first", (None,), "string"), ("second", (None,), "string"),
            ("third", (2,), "string"), ("fourth", (2,), "string"), ("kind", (3,), "int64"), ("x", (None, 2), "float32"),
        )
    ]  # fmt: skip
    table = layers.Embedding(len(WORDS), 3, mask_zero=True, name="table")
    is_new = package is keras  # before, vectors of several steps were not made
    kinds = layers.CategoryEncoding(5, output_mode="one_hot" if is_new else "count", name="kinds")(sources[5])
    parts = [
        text(sources[0]),
        layers.GRU(3, name="gru_first")(table(lookups[0](sources[1]))),
        layers.GRU(3, name="gru_second")(table(lookups[0](sources[2]))),
        lookups[1](sources[3]),
        lookups[2](sources[4]),
        layers.GRU(3, name="gru_kind")(kinds) if is_new else kinds,
        layers.GRU(3, name="gru_x")(sources[6]),
    ]
    return package.Model(sources, layers.Dense(2, name="dense")(layers.Concatenate(name="all")(parts)))


def sequence(package: Any) -> Any:
    """A Sequential of letters."""
    layers = package.layers
    text = layers.TextVectorization(vocabulary=LETTERS, split="character", name="text")
    table = layers.Embedding(8, 4, mask_zero=True, name="table")
    return package.Sequential([package.Input((1,), dtype="string"), text, table, layers.GRU(5), layers.Dense(2)])


def main() -> None:
    TARGET.mkdir(parents=True, exist_ok=True)
    made = [case(package, *row) for row in CASES for package in (keras, tf_keras)]
    cases = [entry for entry in made if entry is not None]
    lines = ",\n".join(json.dumps(entry, ensure_ascii=True) for entry in cases)
    (TARGET / "layers.json").write_text(f"[\n{lines}\n]\n", encoding="utf-8")
    rows = [TEXTS[:4], *[STRINGS] * 4, [[0, 4, 4], [1, 2, 3], [0, 0, 0], [3, 1, 4]], [[[0.5, -1.0]]] * 4]
    networks = {
        "reviews_keras3.keras": (reviews(keras), [TEXTS]),
        "reviews_keras2.keras": (reviews(tf_keras, ngrams=2, output_sequence_length=7), [TEXTS]),
        "tags_keras3.keras": (tags(keras), [STRINGS]),
        "mixed_keras3.keras": (mixed(keras, True), rows),
        "mixed_keras2.keras": (mixed(tf_keras, True), rows),
        "mixed_keras3.h5": (mixed(keras, False), rows),
        "mixed_keras2.h5": (mixed(tf_keras, False), rows),
        "letters_keras3.h5": (sequence(keras), [TEXTS]),
        "letters_keras2.keras": (sequence(tf_keras), [TEXTS]),
    }
    answers = {}
    for seed, (name, (network, inputs)) in enumerate(networks.items()):
        rng = np.random.default_rng(seed)
        for layer in network.layers:
            if type(layer).__name__ not in ("TextVectorization", "StringLookup"):
                arrays = [rng.normal(scale=0.5, size=array.shape) for array in layer.get_weights()]
                layer.set_weights([array.astype(np.float32) for array in arrays])
        tensors = [tf.constant(given) for given in inputs]
        tensors = [x[:, None] if x.shape.rank == 1 and len(tensors) == 1 else x for x in tensors]
        outputs = np.asarray(network(tensors if len(tensors) > 1 else tensors[0]))
        network.save(TARGET / name)
        answers[name] = {"inputs": inputs, "outputs": outputs.tolist()}
    (TARGET / "networks.json").write_text(json.dumps(answers, indent=1) + "\n", encoding="utf-8")
    print(f"{len(cases)} layers of {len(made)}, {len(networks)} networks")


if __name__ == "__main__":
    main()
