"""Files of Keras 1 and of the first Kerases 2, with Theano: against what those Kerases answered."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import oracle
from fastgru import importers, passes
from fastgru.graph import Graph
from tolerances import check

FOLDER = Path(__file__).parent / "data" / "old_keras"
NETWORKS = sorted(path.stem for path in FOLDER.glob("*.h5") if ".weights" not in path.name)


def name_and_version(network: str) -> tuple[str, str]:
    name, _, version = network.partition("-")
    return name, version


def arrays(network: str, what: str) -> list[np.ndarray]:
    """The inputs ``x`` or outputs ``y`` of a network."""
    name, version = name_and_version(network)
    with np.load(FOLDER / f"pairs-{version}.npz") as pairs:
        return [pairs[key] for key in sorted(pairs.files) if key.startswith(f"{name}_{what}")]


def run(graph: Graph, network: str) -> list[np.ndarray]:
    """The outputs for a network's inputs, by the oracle."""
    given = {
        spec.name: x.astype(np.int32 if spec.dtype == "int32" else np.float32)
        for spec, x in zip(graph.inputs, arrays(network, "x"), strict=True)
    }
    return oracle.run(passes.apply(graph), given)


def check_outputs(graph: Graph, network: str) -> None:
    for got, expected in zip(run(graph, network), arrays(network, "y"), strict=True):
        check(got, expected, "keras")


@pytest.mark.parametrize("network", NETWORKS)
def test_old_files_answer_as_their_keras_did(network: str) -> None:
    check_outputs(importers.read(FOLDER / f"{network}.h5"), network)


@pytest.mark.parametrize("network", [name for name in NETWORKS if name.startswith("tagging")])
@pytest.mark.parametrize("form", ["path", "bare"])
def test_weights_and_architecture_apart(network: str, form: str) -> None:
    path = FOLDER / f"{network}.json"
    config = path if form == "path" else json.loads(path.read_text())["config"]
    check_outputs(importers.read(FOLDER / f"{network}.weights.h5", config=config), network)
