"""Whole networks at batch 1, one thread, in one process: fastgru beside `keras.Model.predict` and a compiled
`tf.function`.

    python tools/bench/networks.py [--repetitions 9] [--markdown FILE]

Needs tensorflow-cpu, keras 3 and h5py beside fastgru. Each network is built by Keras with its default initialisers,
saved, and loaded by fastgru; the
outputs are compared (1e-4) before anything is timed. The three runners take turns, repetition by repetition; the
median of each counts. TensorFlow is held to one thread within and between operators, fastgru to threads=1.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import keras
import numpy as np
import tensorflow as tf

import fastgru

L = keras.layers
TOLERANCE = 1e-4
#: seconds that one measurement of one runner should last at least
LEAST = 0.02

#: name → (layers, shape of one row's input, dtype)
NETWORKS: dict[str, tuple[Callable[[], list[Any]], tuple[int, ...], str]] = {
    "1 review: Embedding(10000,128) GRU(128) Dense(1), 200 tokens": (
        lambda: [L.Embedding(10000, 128), L.GRU(128, dropout=0.2, recurrent_dropout=0.2), L.Dense(1, "sigmoid")],
        (200,),
        "int32",
    ),
    "2 tagging: Embedding(10000,256) GRU(64) GRU(64) Dense(10), 100 tokens": (
        lambda: [
            L.Embedding(10000, 256, mask_zero=True),
            L.GRU(64, return_sequences=True),
            L.Dropout(0.5),
            L.GRU(64, return_sequences=True),
            L.Dropout(0.5),
            L.TimeDistributed(L.Dense(10, "softmax")),
        ],
        (100,),
        "int32",
    ),
    "3 digits: GRU(100) GRU(100) Dense(10), reset_after=False, 28 × 28": (
        lambda: [
            L.GRU(100, return_sequences=True, reset_after=False),
            L.GRU(100, reset_after=False),
            L.Dense(10),
        ],
        (28, 28),
        "float32",
    ),
    "4 time series: GRU(64) GRU(32) Dense(1), 60 × 8": (
        lambda: [L.GRU(64, return_sequences=True), L.GRU(32), L.Dense(1)],
        (60, 8),
        "float32",
    ),
    "6 characters: GRU(256) Dense(65, softmax), one step": (
        lambda: [L.GRU(256, return_sequences=True), L.Dense(65, "softmax")],
        (1, 65),
        "float32",
    ),
}


def build(name: str, folder: Path) -> tuple[keras.Model, fastgru.Model, np.ndarray]:
    """The network in both, and one row of input."""
    layers, shape, dtype = NETWORKS[name]
    keras.utils.set_random_seed(7)
    network = keras.Sequential([keras.Input(shape, dtype=dtype), *layers()])
    path = folder / "network.h5"
    network.save(path)
    rng = np.random.default_rng(7)
    x = rng.integers(1, 10000, (1, *shape)) if dtype == "int32" else rng.standard_normal((1, *shape))
    return network, fastgru.load(path, threads=1), x.astype(dtype)


def runners(network: keras.Model, model: fastgru.Model, x: np.ndarray) -> dict[str, Callable[[], np.ndarray]]:
    """What is timed, by name; numpy in, numpy out."""
    compiled = tf.function(lambda value: network(value, training=False), reduce_retracing=True)
    run = {
        "predict": lambda: network.predict(x, verbose=0),
        "tf.function": lambda: compiled(tf.constant(x)).numpy(),
        "fastgru": lambda: model(x),
    }
    if model.outputs[0].is_sequence and x.shape[1] == 1:
        stream = model.stream()
        run["fastgru"] = lambda: stream.run(x)
    return run


def check(run: dict[str, Callable[[], np.ndarray]]) -> float:
    """Largest difference between fastgru's first answer and the others'."""
    own = run["fastgru"]()
    worst = max(float(abs(own - run[name]()).max()) for name in ("predict", "tf.function"))
    if worst > TOLERANCE:
        sys.exit(f"outputs differ by {worst:.2e}, more than {TOLERANCE:.0e}: nothing was timed")
    return worst


def seconds(call: Callable[[], Any], count: int) -> float:
    start = time.perf_counter()
    for _ in range(count):
        call()
    return (time.perf_counter() - start) / count


def measure(run: dict[str, Callable[[], Any]], repetitions: int) -> dict[str, float]:
    """Median seconds of each, taking turns."""
    counts = {name: max(1, int(LEAST / max(seconds(call, 2), 1e-7))) for name, call in run.items()}
    times: dict[str, list[float]] = {name: [] for name in run}
    for _ in range(repetitions):
        for name, call in run.items():
            times[name].append(seconds(call, counts[name]))
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=9)
    parser.add_argument("--markdown", type=Path, help="also write the table to this file")
    options = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    lines = [
        "| network, batch 1 | predict, µs | tf.function, µs | fastgru, µs | × predict | × tf.function | difference |",
        "|---|---|---|---|---|---|---|",
    ]
    print(*lines, sep="\n")
    for name in NETWORKS:
        with tempfile.TemporaryDirectory() as folder:
            run = runners(*build(name, Path(folder)))
            difference = check(run)
            took = measure(run, options.repetitions)
        own = took["fastgru"]
        lines.append(
            f"| {name} | {took['predict'] * 1e6:,.0f} | {took['tf.function'] * 1e6:,.0f} | {own * 1e6:,.1f} "
            f"| {took['predict'] / own:,.0f} | {took['tf.function'] / own:,.1f} | {difference:.0e} |"
        )
        print(lines[-1], flush=True)
    about = f"TensorFlow {tf.__version__}, Keras {keras.__version__}, {fastgru.cpu_info()['isa']} kernels, one thread."
    print(about)
    if options.markdown:
        options.markdown.write_text("\n".join([*lines, "", about, ""]))


if __name__ == "__main__":
    main()
