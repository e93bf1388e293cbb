"""Sentences of movie reviews, good or bad: networks of Embedding · GRU · Dense(1), trained here with Keras.

The data, their split and how a network is trained are those of the network that ships (`tools/train_demo.py`); sizes,
seeds and kinds of GRU differ. Networks trained here never saw the validation part, so it is held out as well.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from network import Array, Network, at_most, package_file

import fastgru

sys.path.insert(0, str(Path(__file__).parents[1]))


@dataclass(frozen=True)
class Variant:
    features: int
    units: int
    seed: int
    bidirectional: bool = False
    reset_after: bool = True

    def __str__(self) -> str:
        kind = "-bidirectional" * self.bidirectional + "-before" * (not self.reset_after)
        return f"sentiment-{self.features}-{self.units}{kind}"


VARIANTS = (
    Variant(16, 32, 11),
    Variant(64, 64, 12),
    Variant(128, 128, 13),
    Variant(64, 64, 14, bidirectional=True),
    Variant(64, 64, 15, reset_after=False),
)
ACCURACY, DROP, CHANGED = "accuracy, %", "accuracy lost, points", "labels changed, %"
COLUMNS = (ACCURACY, DROP, CHANGED)
BOUNDS = {
    (DROP, "int8"): at_most(0.5), (DROP, "float16"): at_most(0.5), (DROP, "bfloat16"): at_most(0.5),
    (CHANGED, "bfloat16"): at_most(0.5), (CHANGED, "float16"): at_most(0.5),
}  # fmt: skip


def networks(work: Path) -> Iterator[Network]:
    folder = work / "sentiment"
    if not (folder / "data.npz").exists():
        prepare(work, folder)
    with np.load(folder / "data.npz") as data:
        held_out, demo = np.concatenate([data["validation"], data["test"]]), data["test"]
        ids, good = data["ids"], data["ratings"] > 0
    missing = [variant for variant in VARIANTS if not (folder / f"{variant}.keras").exists()]
    for variant in missing:
        train(folder, variant)
    for name, path, rows in (
        *((str(variant), folder / f"{variant}.keras", held_out) for variant in VARIANTS),
        ("sentiment demo", Path(fastgru.demo_path()), demo),
    ):
        right = scorer(good[rows])
        yield Network(
            name, path, classifier(ids[rows]), judge(right), BOUNDS,
            facts=lambda expected, right=right: {(ACCURACY, "float32"): right(expected)},
        )  # fmt: skip


def classifier(ids: Array) -> Callable[[fastgru.Model], Array]:
    return lambda model: model.predict(ids, batch_size=256)[:, 0]


def scorer(good: Array) -> Callable[[Array], float]:
    """How many of the probabilities are on the side that people were, in per cent."""
    return lambda probability: 100 * float(np.mean((probability > 0.5) == good))


def judge(right: Callable[[Array], float]) -> Callable[[Array, Array], dict[str, float]]:
    def compare(expected: Array, found: Array) -> dict[str, float]:
        return {
            DROP: right(expected) - right(found),
            CHANGED: 100 * float(np.mean((expected > 0.5) != (found > 0.5))),
            "largest error of a probability": float(np.abs(found - expected).max()),
        }

    return compare


# ---- training --------------------------------------------------------------------------------------------------------


def prepare(work: Path, folder: Path) -> None:
    """The sentences as token ids, their ratings, and which of them are for training."""
    import train_demo as demo

    texts, ratings = demo.read_sentences(package_file(work, demo.PACKAGE))
    words = [demo.SPLITTERS["words"](text.lower()) for text in texts]
    parts = demo.split_sentences(words)
    encoder = demo.build_encoder([words[i] for i in parts["train"]])
    shipped = fastgru.load(fastgru.demo_path()).front_end.inputs["tokens"]
    if encoder.tokens != shipped.tokens:
        raise SystemExit("the network that ships has another vocabulary, so its held-out part is another one")
    ids, _ = encoder.encode(texts)
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / "data.npz", ids=ids, ratings=ratings, **parts)


def train(folder: Path, variant: Variant) -> None:
    import keras

    import train_demo as demo

    with np.load(folder / "data.npz") as data:
        rows = data["train"]
        ids, ratings = data["ids"][rows], data["ratings"][rows]
    keras.utils.set_random_seed(variant.seed)
    network = build(variant, int(ids.max()) + 1)
    targets = (1.0 / (1.0 + np.exp(-ratings))).astype(np.float32)
    options = {"steps_per_epoch": len(ids) // demo.BATCH, "epochs": demo.EPOCHS, "verbose": 2}
    network.fit(demo.batches(ids, targets, variant.seed), **options)
    network.save(folder / f"{variant}.keras")


def build(variant: Variant, vocabulary: int) -> Any:
    import keras

    import train_demo as demo

    layers = keras.layers
    gru = layers.GRU(variant.units, reset_after=variant.reset_after, name="gru")
    network = keras.Sequential(
        [
            keras.Input((None,), dtype="int32", name="tokens"),
            layers.Embedding(vocabulary, variant.features, mask_zero=True, name="embedding"),
            layers.SpatialDropout1D(demo.FEATURE_DROPOUT),
            layers.Bidirectional(gru, name="both") if variant.bidirectional else gru,
            layers.Dropout(demo.STATE_DROPOUT),
            layers.Dense(1, activation="sigmoid", name="dense"),
        ]
    )
    optimizer = keras.optimizers.Adam(demo.RATE, use_ema=True, ema_momentum=demo.EMA)
    network.compile(optimizer, "binary_crossentropy")
    return network
