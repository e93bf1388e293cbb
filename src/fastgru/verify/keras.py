"""Keras files, run by Keras 3 or tf_keras."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .. import importers
from ..errors import BadInput
from ..graph import Graph
from .reference import Inner, Reference, package, reason

#: backends of Keras 3 in the order in which the first that is installed is taken
BACKENDS = ("tensorflow", "jax", "torch", "numpy")


def open_network(path: Path, options: Mapping[str, Any]) -> tuple[Graph, Reference]:
    """The Graph of a file of Keras 1, 2 or 3, and the file as Keras loads it."""
    graph = importers.read(path, **options)
    keras, network = _keras_network(path, options.get("config"))
    names = [spec.name for spec in graph.inputs]

    def run(inputs: Mapping[str, np.ndarray]) -> tuple[list[Any], list[Inner]]:
        outputs, values = _run_keras(keras, network, [inputs[name] for name in names])
        return outputs, [Inner(name, array) for name, array in values.items()]

    return graph, Reference(f"{keras.__name__} {keras.__version__}", run)


def _keras_network(path: Path, config: Any) -> tuple[Any, Any]:
    """The Keras that should run a file, and the network as it loads it."""
    generation = importers.keras_generation(path, config)
    keras = _keras(generation)
    try:
        return keras, _loaded(keras, path, config)
    except Exception as error:  # Keras raises whatever its layers raise
        hint = "; tf_keras runs files of Keras 2" if generation in (1, 2) and keras.__name__ == "keras" else ""
        raise BadInput(f"{keras.__name__} {keras.__version__} cannot load {path}: {reason(error)}{hint}") from error


def _loaded(keras: Any, path: Path, config: Any) -> Any:
    if config is None:
        return keras.models.load_model(path, compile=False)
    from ..importers.keras.container import read_config

    network = _from_config(keras, read_config(config))
    network.load_weights(path)
    return network


def _from_config(keras: Any, architecture: Any) -> Any:
    if "class_name" in architecture:
        return keras.models.model_from_json(json.dumps(architecture))
    cls = keras.Model if "input_layers" in architecture else keras.Sequential
    return cls.from_config(dict(architecture))


def _keras(generation: int | None) -> Any:
    """tf_keras for Keras 2 and 1, Keras 3 for its own; the other where only that is installed."""
    wanted = ("tf_keras", "keras") if generation in (1, 2) else ("keras", "tf_keras")
    for name in wanted:
        if importlib.util.find_spec(name) is not None:
            _choose_backend(name)
            return importlib.import_module(name)
    return package(wanted[0], "Keras")  # which says that it is missing


def _choose_backend(name: str) -> None:
    if name == "keras" and "KERAS_BACKEND" not in os.environ:
        os.environ["KERAS_BACKEND"] = next(b for b in BACKENDS if importlib.util.find_spec(b) is not None)


def _run_keras(keras: Any, network: Any, arrays: Sequence[np.ndarray]) -> tuple[list[Any], dict[str, Any]]:
    """The network's outputs, and those of its layers that have been called once, by name."""
    arrays = [_strings(array) if array.dtype.kind in "OUS" else array for array in arrays]
    given = list(arrays) if len(arrays) > 1 else arrays[0]
    theirs = _flat(network(given, training=False))
    tensors = {}
    for layer in network.layers:
        try:
            output = layer.output
        except (AttributeError, ValueError, RuntimeError):
            continue  # called more than once, or never
        if type(layer).__name__ != "InputLayer" and not isinstance(output, (list, tuple, dict)):
            tensors[layer.name] = output
    if not tensors:
        return theirs, {}
    probe = keras.Model(network.inputs, list(tensors.values()))
    values = _flat(probe(given, training=False))
    return theirs, dict(zip(tensors, values, strict=True))


def _strings(array: np.ndarray) -> Any:
    import tensorflow as tf  # which Keras' own text layers need

    return tf.constant(array.tolist())


def _flat(value: Any) -> list[Any]:
    if isinstance(value, Mapping):
        return [item for key in value for item in _flat(value[key])]
    if isinstance(value, (list, tuple)):
        return [item for part in value for item in _flat(part)]
    return [np.asarray(value)]
