"""Write tests/data/translation.tar.xz: encoder–decoder networks with attention, trained, and what Keras makes of them.

Each generation of Keras trains one to translate numbers, "three hundred forty two" to "drei hundert zwei und vierzig",
and saves it as users do: the network that was trained, an encoder and a decoder for one step. Needs tensorflow-cpu,
keras 3 and tf_keras, and takes some minutes::

    python tools/make_translation_files.py
"""

from __future__ import annotations

import json
import lzma
import os
import tarfile
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import keras
import numpy as np
import tensorflow as tf
import tf_keras

TARGET_FILE = Path(__file__).parents[1] / "tests" / "data" / "translation.tar.xz"
SEED, UNITS, SENTENCES, MOST_STEPS, EPOCHS = 11, 20, 12, 8, 60
PAD, START, END = "", "<start>", "<end>"
ENGLISH = [
    "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "thirteen",
    "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
]  # fmt: skip
ENGLISH_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
GERMAN = [
    "ein", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun", "zehn", "elf", "zwölf", "dreizehn",
    "vierzehn", "fünfzehn", "sechzehn", "siebzehn", "achtzehn", "neunzehn",
]  # fmt: skip
GERMAN_TENS = ["zwanzig", "dreißig", "vierzig", "fünfzig", "sechzig", "siebzig", "achtzig", "neunzig"]
SOURCE = [PAD, "hundred", *ENGLISH, *ENGLISH_TENS]
TARGET = [PAD, START, END, "hundert", "und", "eins", *GERMAN, *GERMAN_TENS]


def english(number: int) -> list[str]:
    hundreds, rest = divmod(number, 100)
    words = [ENGLISH[hundreds - 1], "hundred"] if hundreds else []
    if rest >= 20:
        words.append(ENGLISH_TENS[rest // 10 - 2])
        rest %= 10
    return words + ([ENGLISH[rest - 1]] if rest else [])


def german(number: int) -> list[str]:
    hundreds, rest = divmod(number, 100)
    words = [GERMAN[hundreds - 1], "hundert"] if hundreds else []
    if rest >= 20:
        ones = [GERMAN[rest % 10 - 1], "und"] if rest % 10 else []
        return words + ones + [GERMAN_TENS[rest // 10 - 2]]
    return words + (["eins" if rest == 1 else GERMAN[rest - 1]] if rest else [])


def ids(sentences: list[list[str]], vocabulary: list[str]) -> np.ndarray:
    table = np.zeros((len(sentences), max(map(len, sentences))), np.int32)
    for row, words in zip(table, sentences, strict=True):
        row[: len(words)] = [vocabulary.index(word) for word in words]
    return table


def additive(package: Any) -> tuple[Any, Any, Any]:
    """Bahdanau's: a bidirectional encoder; the decoder is given the mask of the source."""
    L, Model, Input = package.layers, package.Model, package.Input
    source, target = Input((None,), name="source"), Input((None,), name="target")
    embedded = L.Embedding(len(SOURCE), 8, mask_zero=True, name="source_words")(source)
    both = L.Bidirectional(L.GRU(UNITS // 2, return_sequences=True, return_state=True), name="encoder")
    encoded, *states = both(embedded)
    state = L.Concatenate(name="bridge")(states)
    embed = L.Embedding(len(TARGET), 8, mask_zero=True, name="target_words")
    gru = L.GRU(UNITS, return_sequences=True, return_state=True, name="decoder")
    attention, join = L.AdditiveAttention(name="attention"), L.Concatenate(name="context")
    head = L.Dense(len(TARGET), activation="softmax", name="words")
    decoded, _ = gru(embed(target), initial_state=state)
    training = Model([source, target], head(join([decoded, attention([decoded, encoded])])))
    encoder = Model(source, [encoded, state])

    word, before = Input((1,), name="word"), Input((UNITS,), name="state")
    keys, mask = Input((None, UNITS), name="encoded"), Input((None,), dtype="bool", name="mask")
    decoded, after = gru(embed(word), initial_state=before)
    context = attention([decoded, keys], mask=[None, mask])
    decoder = Model([word, before, keys, mask], [head(join([decoded, context])), after])
    return training, encoder, decoder


def multiplicative(package: Any) -> tuple[Any, Any, Any]:
    """Luong's: a stack of two encoders; no mask goes from the encoder to the decoder, each sentence goes by itself."""
    L, Model, Input = package.layers, package.Model, package.Input
    source, target = Input((None,), name="source"), Input((None,), name="target")
    embedded = L.Embedding(len(SOURCE), 8, mask_zero=True, name="source_words")(source)
    first = L.GRU(UNITS, return_sequences=True, name="encoder_1")(embedded)
    encoded, state = L.GRU(UNITS, return_sequences=True, return_state=True, name="encoder_2")(first)
    embed = L.Embedding(len(TARGET), 8, name="target_words")
    gru = L.GRU(UNITS, return_sequences=True, return_state=True, name="decoder")
    attention, join = L.Attention(name="attention"), L.Concatenate(name="context")
    hidden = L.TimeDistributed(L.Dense(UNITS, activation="tanh"), name="hidden")
    head = L.Dense(len(TARGET), activation="softmax", name="words")
    decoded, _ = gru(embed(target), initial_state=state)
    training = Model([source, target], head(hidden(join([decoded, attention([decoded, encoded])]))))
    encoder = Model(source, [encoded, state])

    word, before = Input((None,), name="word"), Input((UNITS,), name="state")
    keys = Input((None, UNITS), name="encoded")
    decoded, after = gru(embed(word), initial_state=before)
    scores = head(hidden(join([decoded, attention([decoded, keys])])))
    return training, encoder, Model([word, before, keys], [scores, after])


def decode(encoder: Any, decoder: Any, source: np.ndarray) -> tuple[list[int], np.ndarray]:
    """Greedily, one word at a time: words and the probabilities they were taken from, the end included."""
    encoded, state = encoder(tf.constant(source))
    mask = [tf.constant(source != 0)] if len(decoder.inputs) == 4 else []
    words, probabilities = [TARGET.index(START)], []
    while len(probabilities) < MOST_STEPS and words[-1] != TARGET.index(END):
        scores, state = decoder([tf.constant([words[-1:]]), state, encoded, *mask])
        probabilities.append(np.asarray(scores)[0, 0])
        words.append(int(probabilities[-1].argmax()))
    return words[1:], np.stack(probabilities)


def make(package: Any, name: str, networks: tuple[Any, Any, Any], folder: Path) -> None:
    """Train, save and record."""
    training, encoder, decoder = networks
    numbers = np.random.default_rng(SEED).permutation(np.arange(1, 1000))
    source = ids([english(number) for number in numbers], SOURCE)
    words = [[START, *german(number), END] for number in numbers]
    target = ids(words, TARGET)
    x, y, weights = target[:, :-1], target[:, 1:], (target[:, 1:] != 0).astype("f4")
    seen = slice(SENTENCES, None)
    rate = package.optimizers.schedules.ExponentialDecay(0.01, 600, 0.5)
    training.compile(package.optimizers.Adam(rate), "sparse_categorical_crossentropy")
    training.fit([source[seen], x[seen]], y[seen], sample_weight=weights[seen], batch_size=32, epochs=EPOCHS, verbose=2)
    kept: dict[str, Any] = {"source": source[:SENTENCES], "target": x[:SENTENCES]}
    kept["teacher"] = np.asarray(training([tf.constant(source[:SENTENCES]), tf.constant(x[:SENTENCES])]))
    right = 0
    for row in range(SENTENCES):
        alone = source[row : row + 1] if name == "additive" else source[row : row + 1, : np.count_nonzero(source[row])]
        kept[f"words_{row}"], kept[f"probabilities_{row}"] = decode(encoder, decoder, alone)
        right += [TARGET[word] for word in kept[f"words_{row}"]] == words[row][1:]
    print(f"{package.__name__}: {right} of {SENTENCES} unseen numbers are right")
    folder /= f"{name}_keras{package.__version__[0]}"
    folder.mkdir()
    for part, network in zip(("training", "encoder", "decoder"), networks, strict=True):
        bare = package.Model(network.inputs, network.outputs, name=part)  # without the optimizer
        bare.save(folder / f"{part}.keras")
        bare.save(folder / f"{part}.h5", include_optimizer=False)
    np.savez(folder / "answers.npz", **{key: np.round(value, 7) for key, value in kept.items()})


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary, lzma.open(TARGET_FILE, "wb", preset=9) as packed:
        folder = Path(temporary)
        for package, name, build in (keras, "additive", additive), (tf_keras, "multiplicative", multiplicative):
            package.utils.set_random_seed(SEED)
            make(package, name, build(package), folder)
        (folder / "vocabulary.json").write_text(json.dumps({"source": SOURCE, "target": TARGET}) + "\n", "utf-8")
        with tarfile.open(fileobj=packed, mode="w") as archive:
            for path in sorted(path for path in folder.rglob("*") if path.is_file()):
                archive.add(path, path.relative_to(folder))


if __name__ == "__main__":
    main()
