"""Compare fastgru with TensorFlow on networks in the style of TensorFlow 1: from checkpoints and from frozen graphs.

Run it where tensorflow and tf_keras are installed:

    python tools/check_tf1.py

Prints the largest difference of each output and exits with 1 where one is above 1e-5. Three files of each network: the
frozen graph, the checkpoint with its ``.meta``, and the checkpoint without it, where `config=` can say the network.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from fastgru import Model
from fastgru.importers import tf1
from tf1_networks import NETWORKS, Network, Saved, save

BOUND = 1e-5


def main() -> int:
    worst = 0.0
    for network in NETWORKS:
        with tempfile.TemporaryDirectory() as folder:
            saved = save(network, Path(folder))
            for kind, graph in read_all(network, saved):
                found = differences(Model(graph), saved, by_name=kind != "config=")
                worst = max(worst, *found.values())
                shown = ", ".join(f"{name} {value:.1e}" for name, value in found.items())
                print(f"{network.name:20} {kind:12} {shown}", flush=True)
    print(f"largest difference {worst:.1e}, allowed {BOUND:.0e}")
    return int(not worst <= BOUND)


def read_all(network: Network, saved: Saved) -> list[tuple[str, Any]]:
    """The Graph of each of a network's files."""
    outputs = list(saved.outputs)
    graphs = [("frozen", tf1.read(saved.frozen, outputs=outputs)), (".meta", tf1.read(saved.prefix, outputs=outputs))]
    if network.config:
        saved.prefix.with_name("model.meta").unlink()
        graphs.append(("config=", tf1.read(saved.prefix, config=network.config)))
    return graphs


def differences(model: Model, saved: Saved, by_name: bool = True) -> dict[str, float]:
    """The largest difference of each output; infinite where shapes differ."""
    given = saved.inputs if by_name else next(iter(saved.inputs.values()))
    found = model(given)
    values = found if isinstance(found, tuple) else (found,)
    return {
        name: float(np.abs(value - expected).max()) if value.shape == expected.shape else np.inf
        for (name, expected), value in zip(saved.outputs.items(), values, strict=True)
    }


if __name__ == "__main__":
    sys.exit(main())
