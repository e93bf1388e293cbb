"""What the tests of the Keras importer share: the files in tests/data/keras2, by hand-made copies and in evaluation."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np

import oracle
from fastgru import importers, passes
from fastgru.graph import Graph

KERAS2 = Path(__file__).parent / "data" / "keras2"
#: a dataset in tagging.h5: (4, 15)
KERNEL = "model_weights/gru/gru/gru_cell/kernel:0"
#: name_x and name_y: an input of each network and what Keras 2 answered
PAIRS = dict(np.load(KERAS2 / "pairs.npz"))


def run(graph: Graph, x: np.ndarray) -> np.ndarray:
    """The first output of a network of one input, by the oracle."""
    return oracle.run(passes.apply(graph), {graph.inputs[0].name: x})[0]


def tagging() -> dict:
    """The architecture of tagging: Input, Embedding, GRU, SpatialDropout1D, GRU, TimeDistributed(Dense)."""
    return json.loads((KERAS2 / "tagging.json").read_text())


def layer(document: dict, index: int) -> dict:
    """One layer of an architecture."""
    return document["config"]["layers"][index]


def read(document: dict, file: str = "tagging_weights.hdf5", **options: object) -> Graph:
    """The weights of tagging in a changed architecture."""
    return importers.read(KERAS2 / file, config=document, **options)


def copied(tmp_path: Path, name: str) -> Path:
    """A copy of a file, to be changed."""
    path = tmp_path / name
    path.write_bytes((KERAS2 / name).read_bytes())
    return path


def write_legacy(path: Path, document: object, arrays: dict[str, list[np.ndarray]], version: str | None) -> None:
    """A legacy whole-model file, made by hand."""
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps(document)
        if version is not None:
            file.attrs["keras_version"] = version
        root = file.create_group("model_weights")
        root.attrs["layer_names"] = [name.encode() for name in arrays]
        for layer, values in arrays.items():
            group = root.create_group(layer)
            names = [f"w{index}:0" for index in range(len(values))]
            group.attrs["weight_names"] = [name.encode() for name in names]
            for name, value in zip(names, values, strict=True):
                group[name] = np.asarray(value, np.float32)
