"""Make random networks of GRU layers by Keras, each in a file of one of Keras' kinds, with inputs and answers::

    python tools/keras_networks 3 networks3 --count 250 --seed 4         Keras 3
    python tools/keras_networks 2 networks2 --count 250 --seed 4         Keras 2 (tf_keras)

Needs tensorflow-cpu, keras and tf_keras, which the project itself never does. `tools/check_keras_networks.py` runs them
with fastgru. Every layer, node and wiring takes its turn as the one that must be in a network, so that a few hundred
networks hold all of them; the rest is random. ``manifest.json`` says what is in which.
"""

from __future__ import annotations

import argparse
import collections
import json
import logging
import os
import sys
import time
import traceback
import warnings
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import numpy as np
from files import KINDS, answers, write
from maker import Maker, randomize
from nodes import NODES
from pieces import ONLY as PIECES_ONLY
from pieces import PIECES
from wirings import ONLY as WIRINGS_ONLY
from wirings import WIRINGS

warnings.filterwarnings("ignore")

POLICIES = {
    3: ("mixed_float16", "mixed_bfloat16", "float64", "float16"),
    2: ("mixed_float16", "mixed_bfloat16", "float64"),
}
TRIES = 30
#: how far Keras' own answers in float32 and float64 may be apart, so that a bound of 1e-5 says something
ROUNDING = 2e-6
#: what has many options, and so more turns than one
TURNS = {
    "attention": 4, "multi_head_attention": 4, "conv1d": 4, "conv2d": 3, "pooling1d": 2, "merge": 3, "slice_steps": 4,
    "function": 5, "operator_scalar": 3, "operator_tensors": 2, "activation_layer": 4, "time_distributed": 3,
    "time_distributed_rows": 3, "gru": 4, "bidirectional": 4, "rnn_of_cells": 2, "bidirectional_states": 2,
    "state_of_one_starts_another": 2, "states_as_inputs": 5, "encoder_decoder": 4, "decoder": 2, "dict_outputs": 3,
    "crnn": 3, "hierarchical": 3, "global_pooling": 2, "sequential": 4, "nested": 3, "shared": 2, "two_inputs": 2,
}  # fmt: skip


def themes(generation: int) -> list[tuple[str | None, str | None]]:
    """What must be in a network: each piece and node in turn, and each wiring, as (wiring, piece or node)."""
    other = 5 - generation
    names = {name: None for group in (PIECES, NODES) for rank in group.values() for name in rank}
    pieces = [(None, name) for name in names if name not in PIECES_ONLY[other]]
    wirings = [(name, None) for name in WIRINGS if name not in WIRINGS_ONLY[other]]
    once = [*pieces, *wirings]
    more = [theme for turn in range(2, 6) for theme in once if TURNS.get(theme[0] or theme[1] or "", 1) >= turn]
    return [*once, *more]


def build(keras: Any, seed: list[int], wiring: str | None, must: str | None, policy: str) -> tuple[Maker, Any]:
    maker = Maker(keras, seed, policy)
    wiring = wiring or maker.pick("functional", "functional", "sequential", "two_inputs", "several_outputs", "siamese")
    maker.say(wiring)
    model = WIRINGS[wiring](maker, must)
    return maker, model


def one(keras: Any, seed: list[int], theme: tuple[str | None, str | None], kind: str, policy: str, stem: Path) -> dict:
    """Make one network; what Keras does not want is an exception of any kind."""
    maker, model = build(keras, seed, *theme, policy)
    state = maker.rng.bit_generator.state
    if policy != "float32":  # the answer is that of the same network in float32
        _, twin = build(keras, seed, *theme, "float32")
        maker.rng.bit_generator.state = state
        randomize(maker, twin)
        copy_weights(model, twin)
        copy_weights(twin, model)  # as rounded
    else:
        twin = model
        randomize(maker, model)
    if maker.chance(0.2):
        model.compile("adam", "mse")
    names, arrays = answers(maker, twin)
    finite = all(np.isfinite(array).all() and np.abs(array).max(initial=0) < 1e4 for array in arrays.values())
    if not finite:
        raise ValueError("the answer explodes")
    _, exact = build(keras, seed, *theme, "float64")
    copy_weights(exact, twin)
    wide = answers(maker, exact)[1]
    if any(error(arrays[key], wide[key]) > ROUNDING for key in arrays if not key.startswith("x:")):
        raise ValueError("the answer hangs on the rounding of single steps")
    files = write(maker, model, kind, stem)
    np.savez_compressed(stem.with_suffix(".npz"), **arrays)
    return {**files, "arrays": f"{stem.name}.npz", "outputs": names, "holds": maker.said}


def copy_weights(to: Any, source: Any) -> None:
    for mine, other in zip(to.weights, source.weights, strict=True):
        mine.assign(np.asarray(other).astype(np.asarray(mine).dtype))
    for layer in to._flatten_layers():  # a Normalization computes with what it made of its statistics
        if hasattr(layer, "finalize_state"):
            layer.finalize_state()


def error(y: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference, relative to max(1, max|expected|)."""
    return float(np.abs(y - expected).max(initial=0) / max(1.0, np.abs(expected).max(initial=0)))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("generation", type=int, choices=(2, 3))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=4)
    parser.add_argument("--first", type=int, default=0, help="number of the first network")
    parser.add_argument("--verbose", action="store_true", help="say why Keras refused a draw")
    options = parser.parse_args()
    if options.generation == 3:
        os.environ.setdefault("KERAS_BACKEND", "tensorflow")
        import keras
    else:
        import tf_keras as keras
    for name in ("tensorflow", "absl"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    options.folder.mkdir(parents=True, exist_ok=True)
    turns, refused = themes(options.generation), collections.Counter()
    kinds = [kind for kind, share in KINDS[options.generation].items() for _ in range(share)]
    entries, began = [], time.time()
    for number in range(options.first, options.first + options.count):
        theme = turns[number % len(turns)]
        chooser = np.random.default_rng([options.seed, number])
        kind = kinds[int(chooser.integers(len(kinds)))]
        policies = POLICIES[options.generation]
        policy = policies[int(chooser.integers(len(policies)))] if chooser.random() < 0.08 else "float32"
        for attempt in range(TRIES):
            stem = options.folder / f"network_{number:04}"
            try:
                entry = one(keras, [options.seed, number, attempt], theme, kind, policy, stem)
            except Exception as error:  # whatever Keras says to a draw that it does not accept
                reason = f"{next(filter(None, theme))}: {type(error).__name__}: {' '.join(str(error).split())[:220]}"
                refused[reason] += 1
                if options.verbose:
                    traceback.print_exc(limit=-3)
                for left in options.folder.glob(f"{stem.name}*"):
                    left.unlink()
                continue
            theme_name = "/".join(filter(None, theme))
            entries.append(
                {"number": number, "attempt": attempt, "theme": theme_name, "kind": kind, "policy": policy, **entry}
            )
            break
        else:
            print(f"{number}: no network with {theme} in {TRIES} tries", flush=True)
    manifest = {
        "keras": keras.__version__, "generation": options.generation, "seed": options.seed, "networks": entries,
        "draws that Keras refused": dict(refused.most_common()),
    }  # fmt: skip
    (options.folder / "manifest.json").write_text(json.dumps(manifest, indent=1))
    print(f"{len(entries)} networks of Keras {keras.__version__} in {time.time() - began:.0f} s")
    return 0 if len(entries) == options.count else 1


if __name__ == "__main__":
    sys.exit(main())
