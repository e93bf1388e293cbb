"""Follow a sensor step by step, and go on after a restart where the last run ended.

    python examples/stream_sensor.py --steps 5 --state sensor.npz      readings 0 … 4
    python examples/stream_sensor.py --steps 5 --state sensor.npz      readings 5 … 9

Each line is one reading's number and the network's answer to all readings so far. Without a model file a small network
with random weights is used. A model file should take (batch, time, features) and give an answer after each step.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

import fastgru
from fastgru.graph import GRU, Dense, Graph, tensor_spec


def random_network(features: int = 3, units: int = 16) -> fastgru.Model:
    """GRU and Dense, built by hand; `fastgru.load` gives the same kind of Model from a file."""
    rng = np.random.default_rng(0)

    def weights(*shape: int) -> np.ndarray:
        return rng.normal(scale=0.3, size=shape).astype(np.float32)

    kernel, recurrent_kernel = weights(features, 3 * units), weights(units, 3 * units)
    gru = GRU(name="gru", inputs=("x",), units=units, kernel=kernel, recurrent_kernel=recurrent_kernel)
    head = Dense(name="head", inputs=("gru",), kernel=weights(units, 1))
    return fastgru.Model(Graph((tensor_spec("x", None, (features,)),), (gru, head), ("head",)))


def reading(number: int, features: int) -> np.ndarray:
    """What the sensor measures: (batch, features) with a batch of one. Put your own here."""
    return np.sin(number * np.arange(1, features + 1, dtype=np.float32) / 10)[None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", help="any file that fastgru.load reads")
    parser.add_argument("--steps", type=int, default=10, help="readings to take (default: %(default)s)")
    parser.add_argument("--state", type=Path, help=".npz file that keeps the state between runs")
    options = parser.parse_args()
    model = fastgru.load(options.model) if options.model else random_network()
    with model.stream() as stream:
        first = 0
        if options.state and options.state.exists():
            state = dict(np.load(options.state))
            first = int(state.pop("readings"))
            stream.set_state(state)
        for number in range(first, first + options.steps):
            print(number, *stream.step(reading(number, model.inputs[0].features))[0])
        if options.state:
            np.savez(options.state, readings=first + options.steps, **stream.get_state())


if __name__ == "__main__":
    main()
