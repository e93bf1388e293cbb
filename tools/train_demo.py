"""Trains the network that `fastgru demo` runs, with real Keras, and writes `src/fastgru/data/demo.safetensors`.

    pip install "keras>=3" tensorflow-cpu && pip install -e ".[keras]"
    python tools/train_demo.py                      # fetches vaderSentiment 0.5 from the package index
    python tools/train_demo.py vaderSentiment-0.5.zip

The data are the 10,605 sentences of movie reviews that C.J. Hutto and E.E. Gilbert had rated by people, from −4 to 4; a
sentence is positive if its mean rating is above 0. Near-duplicates stay on one side of the split. Of one
network a seed the one that does best on the validation part ships, with its accuracy on the held-out part.
"""

from __future__ import annotations

import argparse
import dataclasses
import io
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np

from fastgru import importers, passes
from fastgru.file import write
from fastgru.text import SPLITTERS, Encoder, FrontEnd

PACKAGE = "vaderSentiment==0.5"
ARCHIVE = "vaderSentiment-0.5/additional_resources/hutto_ICWSM_2014.tar.gz"
SENTENCES = "hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt"
TARGET = Path(__file__).parents[1] / "src" / "fastgru" / "data" / "demo.safetensors"

SPLIT_SEED = 2014
SEEDS = (1, 2, 3)
VOCABULARY, FEATURES, UNITS, LONGEST = 6000, 16, 32, 256
EPOCHS, BATCH, RATE, EMA = 16, 64, 0.003, 0.998
FEATURE_DROPOUT, WORD_DROPOUT, STATE_DROPOUT = 0.5, 0.3, 0.5
SHINGLE = 6  # sentences that share this many consecutive words count as near-duplicates
PADDING, UNKNOWN = "", "<unknown>"


def download(folder: Path) -> Path:
    """Fetch the package with pip."""
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder)]
    subprocess.run([*pip, PACKAGE], check=True)
    return next(folder.glob("vaderSentiment-0.5*"))


def read_sentences(archive: Path) -> tuple[list[str], np.ndarray]:
    """The sentences and their mean ratings, −4 … 4."""
    with zipfile.ZipFile(archive) as outer, tarfile.open(fileobj=io.BytesIO(outer.read(ARCHIVE))) as inner:
        member = inner.extractfile(SENTENCES)
        assert member is not None
        rows = [line.split("\t", 2) for line in member.read().decode("utf-8").split("\n") if line.strip()]
    return [text for _, _, text in rows], np.array([float(rating) for _, rating, _ in rows])


def split_sentences(words: list[list[str]]) -> dict[str, np.ndarray]:
    """Indices of 80 % training, 10 % validation and 10 % held-out sentences; near-duplicates go to the same part."""
    parent = list(range(len(words)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = i = parent[parent[i]]
        return i

    first: dict[tuple[str, ...], int] = {}
    for i, sentence in enumerate(words):
        for start in range(max(1, len(sentence) - SHINGLE + 1)):
            parent[root(i)] = root(first.setdefault(tuple(sentence[start : start + SHINGLE]), i))
    groups: dict[int, list[int]] = {}
    for i in range(len(words)):
        groups.setdefault(root(i), []).append(i)
    order = np.random.default_rng(SPLIT_SEED).permutation(len(groups))
    shuffled = [list(groups.values())[i] for i in order]
    before = np.cumsum([0] + [len(group) for group in shuffled[:-1]]) / len(words)
    bounds = {"train": (0.0, 0.8), "validation": (0.8, 0.9), "test": (0.9, 1.0)}
    return {
        part: np.concatenate([group for group, at in zip(shuffled, before, strict=True) if low <= at < high])
        for part, (low, high) in bounds.items()
    }


def build_encoder(words: list[list[str]]) -> Encoder:
    """A vocabulary of the most frequent words of the training part that occur at least twice."""
    count = Counter(word for sentence in words for word in sentence)
    frequent = [word for word, n in count.most_common(VOCABULARY - 2) if n > 1]
    return Encoder(
        (PADDING, UNKNOWN, *frequent), standardize=("lower",), split="words", unknown=1, max_length=LONGEST,
        masks_padding=True,
    )  # fmt: skip


def build_network(vocabulary: int) -> keras.Model:
    layers = keras.layers
    network = keras.Sequential(
        [
            keras.Input((None,), dtype="int32", name="tokens"),
            layers.Embedding(vocabulary, FEATURES, mask_zero=True, name="embedding"),
            layers.SpatialDropout1D(FEATURE_DROPOUT),
            layers.GRU(UNITS, name="gru"),
            layers.Dropout(STATE_DROPOUT),
            layers.Dense(1, activation="sigmoid", name="dense"),
        ],
        name="demo",
    )
    # averaged weights (EMA) stand in for an average over several networks
    optimizer = keras.optimizers.Adam(RATE, use_ema=True, ema_momentum=EMA)
    network.compile(optimizer, "binary_crossentropy")
    return network


def batches(ids: np.ndarray, targets: np.ndarray, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Shuffled batches without end; some words become the unknown one, which trains its embedding too."""
    rng = np.random.default_rng(seed)
    while True:
        for rows in np.array_split(rng.permutation(len(ids)), len(ids) // BATCH):
            x = ids[rows]
            x = x[:, : max(1, int((x > 0).sum(axis=1).max()))]
            yield np.where((x > 0) & (rng.random(x.shape) < WORD_DROPOUT), 1, x), targets[rows]


def train(ids: np.ndarray, ratings: np.ndarray, vocabulary: int, seed: int) -> keras.Model:
    """One network; a rating r is learned as the probability 1 / (1 + exp(−r)), so that clear sentences count more."""
    keras.utils.set_random_seed(seed)
    network = build_network(vocabulary)
    targets = (1.0 / (1.0 + np.exp(-ratings))).astype(np.float32)
    network.fit(batches(ids, targets, seed), steps_per_epoch=len(ids) // BATCH, epochs=EPOCHS, verbose=0)
    return network


def accuracy(network: keras.Model, ids: np.ndarray, ratings: np.ndarray) -> float:
    probability = network.predict(ids, batch_size=256, verbose=0)[:, 0]
    return float(np.mean((probability > 0.5) == (ratings > 0)))


def convert(source: Path, front_end: FrontEnd, notes: tuple[str, ...], target: Path) -> None:
    """The Keras file as a fastgru file with its text front end."""
    graph = passes.apply(importers.read(source))
    write(dataclasses.replace(graph, text=front_end.to_json(), notes=(*graph.notes, *notes)), target)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("archive", nargs="?", type=Path, help="vaderSentiment-0.5.zip; else fetched with pip")
    parser.add_argument("--work", type=Path, help="folder that keeps the Keras file; else a temporary one")
    parser.add_argument("-o", "--output", type=Path, default=TARGET)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        work = options.work or Path(scratch)
        work.mkdir(parents=True, exist_ok=True)
        texts, ratings = read_sentences(options.archive or download(work))
        words = [SPLITTERS["words"](text.lower()) for text in texts]
        parts = split_sentences(words)
        encoder = build_encoder([words[i] for i in parts["train"]])
        ids, _ = encoder.encode(texts)

        best, scores = None, []
        for seed in SEEDS:
            network = train(ids[parts["train"]], ratings[parts["train"]], len(encoder.tokens), seed)
            scores.append({part: accuracy(network, ids[rows], ratings[rows]) for part, rows in parts.items()})
            print(f"seed {seed}: " + ", ".join(f"{part} {score:.4f}" for part, score in scores[-1].items()), flush=True)
            if best is None or scores[-1]["validation"] > max(score["validation"] for score in scores[:-1]):
                best = network
                network.save(work / "demo.h5")
        chosen = max(scores, key=lambda score: score["validation"])
        about = (
            f"Trained on {len(parts['train'])} rated sentences of movie reviews from {PACKAGE} "
            f"(C.J. Hutto and E.E. Gilbert, MIT); right on {chosen['test']:.1%} of {len(parts['test'])} held-out ones."
        )
        print(about)
        front_end = FrontEnd({"tokens": encoder}, ("negative", "positive"), about)
        convert(work / "demo.h5", front_end, (about,), options.output)
        print(f"{options.output.name}: {options.output.stat().st_size} bytes")


if __name__ == "__main__":
    main()
