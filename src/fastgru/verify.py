"""Comparing a network with the framework that it came from: the numbers, and where in the network they part.

    compare(path, config=…, inputs=…) → Comparison

The framework runs the file by itself, and fastgru the Graph that it imports from it, with every layer's value as an
output where the framework can give it too.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from . import importers
from .errors import BadInput, MissingExtra, UnsupportedModel
from .graph import Graph, StepMask, TimeDistributed
from .model import Model
from .text import Encoder, FrontEnd

#: of an output: largest difference, divided by the larger of 1 and the output's largest magnitude
TOLERANCE = 1e-5
#: backends of Keras 3 in the order in which the first that is installed is taken
BACKENDS = ("tensorflow", "jax", "torch", "numpy")


@dataclass(frozen=True)
class Difference:
    """How far two results of one value are apart.

    Attributes
    ----------
    name : str
    shape : tuple of int
    largest : float
        Of the absolute differences; NaN where one of the two has a NaN, an infinity or a shape of its own.
    magnitude : float
        Of the framework's own numbers, the finite ones.
    """

    name: str
    shape: tuple[int, ...]
    largest: float
    magnitude: float

    def exceeds(self, tolerance: float) -> bool:
        return not self.largest <= tolerance * max(1.0, self.magnitude)


@dataclass(frozen=True)
class Comparison:
    """A network run by fastgru and by its framework.

    Attributes
    ----------
    framework : str
        With its version.
    outputs : tuple of Difference
    layers : tuple of Difference
        The values of layers that both can give, in order of evaluation.
    """

    framework: str
    outputs: tuple[Difference, ...]
    layers: tuple[Difference, ...]

    def agrees(self, tolerance: float = TOLERANCE) -> bool:
        return not any(output.exceeds(tolerance) for output in self.outputs)

    def first_to_part(self, tolerance: float = TOLERANCE) -> Difference | None:
        """The first layer beyond the tolerance."""
        return next((layer for layer in self.layers if layer.exceeds(tolerance)), None)


def compare(
    path: str | os.PathLike[str],
    *,
    config: Any = None,
    inputs: Mapping[str, Any] | None = None,
    rows: int = 3,
    steps: int = 12,
    seed: int = 0,
    **options: Any,
) -> Comparison:
    """Run a Keras file with fastgru and with Keras.

    Parameters
    ----------
    path : path-like
        A file of Keras 2 or 3. Keras 2's are run by tf_keras where it is installed, else by Keras 3.
    config : path or dict, optional
        The architecture of a file that holds weights alone.
    inputs : dict of arrays, optional
        By the names of fastgru's inputs. Default: random ones, normal, token ids or texts, of `rows` rows and, where
        that is free, `steps` steps, drawn with `seed`.
    **options
        Of the importer.

    Returns
    -------
    Comparison

    Raises
    ------
    MissingExtra
        Neither Keras is installed.
    BadInput
        Inputs that are not the network's.
    BadModelFile, UnsupportedModel
        From the importer.
    """
    path = Path(path)
    if importers.recognise(path) is not importers.KERAS:
        raise BadInput(f"{path} is no Keras file; it can be compared with Keras only")
    graph = importers.read(path, config=config, **options)
    given = random_inputs(graph, rows, steps, seed) if inputs is None else dict(inputs)
    names = [spec.name for spec in graph.inputs]
    if set(given) != set(names):
        raise BadInput(f"expected inputs named {', '.join(names)}; got {', '.join(given) or 'none'}")
    arrays = [np.asarray(given[name]) for name in names]
    Model(graph)(*arrays)  # what does not fit is BadInput here, and anything in Keras
    keras, network = _keras_network(path, config)
    theirs, values = _run_keras(keras, network, arrays)
    layers = [name for name in values if name in graph.specs and graph.specs[name].dtype == "float32"]
    probe = Model(Graph(graph.inputs, graph.layers, (*graph.outputs, *layers), text=graph.text))
    ours = probe(*arrays)
    ours = ours if isinstance(ours, tuple) else (ours,)
    if len(theirs) != len(graph.outputs):
        raise UnsupportedModel(f"Keras gives {len(theirs)} outputs, fastgru {len(graph.outputs)}")
    count = len(graph.outputs)
    outputs = tuple(map(_difference, graph.outputs, ours[:count], theirs))
    inner = tuple(_difference(name, array, values[name]) for name, array in zip(layers, ours[count:], strict=True))
    return Comparison(f"{keras.__name__} {keras.__version__}", outputs, inner)


def _difference(name: str, ours: np.ndarray, theirs: np.ndarray) -> Difference:
    theirs = np.asarray(theirs, np.float32)
    magnitude = float(np.abs(theirs[np.isfinite(theirs)]).max(initial=0.0))
    if ours.shape != theirs.shape:
        return Difference(name, theirs.shape, float("nan"), magnitude)
    same_nan = np.isnan(ours) & np.isnan(theirs)
    with np.errstate(invalid="ignore"):
        apart = np.where(same_nan | (ours == theirs), 0.0, np.abs(ours.astype(np.float64) - theirs))
    return Difference(name, theirs.shape, float(apart.max(initial=0.0)), magnitude)


# ---- inputs ----------------------------------------------------------------------------------------------------------


def random_inputs(graph: Graph, rows: int, steps: int, seed: int) -> dict[str, np.ndarray]:
    """Normal numbers, token ids of the whole vocabulary, or texts of its words; the second half of every third row of
    ids is padding."""
    rng = np.random.default_rng(seed)
    front = FrontEnd.of(graph)
    encoders = {} if front is None else front.inputs
    found = {}
    for spec in graph.inputs:
        if spec.name in encoders:
            found[spec.name] = _random_tokens(rng, encoders[spec.name], rows, steps)
            continue
        sizes = (rows, *(steps if size is None else size for size in spec.shape[1:]))
        if spec.dtype == "int32":
            ids = rng.integers(0, _ids_below(graph, spec.name, steps), sizes).astype(np.int32)
            if spec.is_sequence:
                ids[::3, sizes[1] // 2 :] = 0
            found[spec.name] = ids
        else:
            found[spec.name] = rng.normal(size=sizes).astype(np.float32)
    return found


def _random_tokens(rng: np.random.Generator, encoder: Encoder, rows: int, steps: int) -> np.ndarray:
    """What an encoder takes: texts of as many words as there are steps, or rows of tokens of its vocabulary."""
    if encoder.tokens is None:
        tokens = np.arange(encoder.size or encoder.buckets)
    else:
        tokens = np.array([token for token in encoder.tokens if token != ""], object if encoder.takes_strings else None)
    if encoder.split is not None:
        return np.array([" ".join(rng.choice(tokens, steps)) for _ in range(rows)], object)
    return rng.choice(tokens, (rows, *(steps if size is None else size for size in encoder.shape)))


def _ids_below(graph: Graph, name: str, steps: int) -> int:
    """How many token ids every table that reads an input has; or one more than the longest length."""
    least = 2**31
    for layer in graph.layers:
        if name not in layer.inputs:
            continue
        if isinstance(layer, TimeDistributed):
            least = min(least, _ids_below(layer.graph, layer.graph.inputs[0].name, steps))
        elif layer.kind == "Embedding":
            least = min(least, len(layer.tensors["table"]))
        elif isinstance(layer, StepMask):
            least = min(least, (graph.specs[layer.inputs[0]].shape[1] or steps) + 1)
    return least


# ---- Keras -----------------------------------------------------------------------------------------------------------


def _keras_network(path: Path, config: Any) -> tuple[Any, Any]:
    """The Keras that should run a file, and the network as it loads it."""
    generation = importers.keras_generation(path, config)
    keras = _keras(generation)
    try:
        return keras, _loaded(keras, path, config)
    except Exception as error:  # Keras raises whatever its layers raise
        reason = str(error).strip().split("\n")[-1][:200]
        hint = "; tf_keras runs files of Keras 2" if generation in (1, 2) and keras.__name__ == "keras" else ""
        raise BadInput(f"{keras.__name__} {keras.__version__} cannot load {path}: {reason}{hint}") from error


def _loaded(keras: Any, path: Path, config: Any) -> Any:
    if config is None:
        return keras.models.load_model(path, compile=False)
    from .importers.keras.container import read_config

    network = _from_config(keras, read_config(config))
    network.load_weights(path)
    return network


def _from_config(keras: Any, architecture: Any) -> Any:
    import json

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
    raise MissingExtra(f"comparing with Keras needs the package {wanted[0]!r}: pip install {wanted[0]}")


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
