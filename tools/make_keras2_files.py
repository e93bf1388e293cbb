"""Write tests/data/keras2: small networks as Keras 2 (tf_keras) saves them, each with an input and its output.

Needs tensorflow-cpu and tf_keras, which the project itself never does::

    python tools/make_keras2_files.py
"""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tf_keras as keras

FOLDER = Path(__file__).parent.parent / "tests" / "data" / "keras2"
L = keras.layers


def tagging() -> keras.Sequential:
    """Masked tokens, both variants of the GRU, the old hard_sigmoid, a softmax per step."""
    return keras.Sequential(
        [
            L.Embedding(11, 4, mask_zero=True, input_length=7),
            L.GRU(5, return_sequences=True, recurrent_activation="hard_sigmoid", dropout=0.2, recurrent_dropout=0.1),
            L.SpatialDropout1D(0.2),
            L.GRU(3, return_sequences=True, reset_after=False, recurrent_activation="hard_sigmoid", use_bias=True),
            L.TimeDistributed(L.Dense(4, activation="softmax")),
        ],
        name="tagging",
    )


def activations() -> keras.Sequential:
    """Activations as functions, as layers and as layers inside of layers; a fixed number of steps."""
    return keras.Sequential(
        [
            L.InputLayer((6, 3), batch_size=2),
            L.GRU(4, activation=L.LeakyReLU(0.1), return_sequences=True, use_bias=False),
            L.TimeDistributed(L.LeakyReLU()),
            L.Flatten(),
            L.Dense(6, activation="gelu"),
            L.ReLU(max_value=1.5, negative_slope=0.1, threshold=0.2),
            L.Dense(6, activation="swish"),
            L.ELU(0.7),
            L.Reshape((3, 2)),
            L.Dense(4, activation="selu"),
            L.ThresholdedReLU(0.05),
            L.Softmax(),
        ],
        name="activations",
    )


def backwards() -> keras.Sequential:
    """Masked steps at both ends and in the middle, read backwards by a stateful layer."""
    return keras.Sequential(
        [
            L.Masking(-1.0, batch_input_shape=(2, None, 3)),
            L.GRU(4, go_backwards=True, return_sequences=True, stateful=True),
            L.GaussianNoise(0.1),
            L.Dense(2, activation="tanh"),
        ],
        name="backwards",
    )


def inputs(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """One batch of two rows for each network."""
    tokens = rng.integers(1, 11, (2, 7)).astype(np.int32)
    tokens[0, 5:], tokens[1, [0, 3]] = 0, 0
    steps = rng.normal(size=(2, 5, 3)).astype(np.float32)
    steps[0, :2], steps[0, 4], steps[1, 2] = -1, -1, -1
    return {
        "tagging": tokens,
        "activations": rng.normal(size=(2, 6, 3)).astype(np.float32),
        "backwards": steps,
    }


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(2)
    pairs = {}
    for network in (tagging(), activations(), backwards()):
        x = inputs(rng)[network.name]
        network(x)
        network.set_weights([rng.normal(scale=0.8, size=w.shape) for w in network.get_weights()])
        network.reset_states()
        pairs[f"{network.name}_x"], pairs[f"{network.name}_y"] = x, network(x).numpy()
        network.save(FOLDER / f"{network.name}.h5")
        network.save(FOLDER / f"{network.name}.keras")
        if network.name == "tagging":
            network.save_weights(FOLDER / "tagging_weights.hdf5")
            network.save_weights(FOLDER / "tagging.weights.h5")
            (FOLDER / "tagging.json").write_text(network.to_json())
    np.savez_compressed(FOLDER / "pairs.npz", **pairs)


if __name__ == "__main__":
    main()
