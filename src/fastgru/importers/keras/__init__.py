"""Keras networks, read with h5py and zipfile alone: neither Keras nor TensorFlow is needed.

    read(path, config=None, keras_version=None) → Graph
    from_keras(model) → Graph

The way through the modules: `container` opens a file (with `archive`, `hdf5` and `weights`), `model` reads the outline
of the architecture, `layers` (with `config` and `activations`) each layer, and `chain` grows the Graph.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import BadInput, BadModelFile, UnsupportedModel
from ...graph import Graph
from . import layers, model
from .chain import Chain
from .config import Report
from .container import Config, opened
from .weights import FlatSource, Source, Tensor

__all__ = ["from_keras", "read"]

#: keys of a layer's configuration that only some Kerases write
_TELLTALES = {"batch_input_shape": 2, "batch_shape": 3}


def read(path: str | os.PathLike[str], *, config: Config | None = None, keras_version: str | None = None) -> Graph:
    """Read a file written by Keras: ``.h5``, ``.hdf5``, ``.keras`` or ``.weights.h5``, by Keras 2 or 3.

    Parameters
    ----------
    path : path-like
    config : path-like, str or dict, optional
        For files of weights alone: the architecture, as `model.to_json()` writes it (the path of such a file, or its
        text), or `model.get_config()`.
    keras_version : str, optional
        Version of the Keras that wrote the network, such as ``"2.4.0"`` or ``"3"``, where the file does not say it
        and the network uses a function that has changed (``hard_sigmoid``).

    Raises
    ------
    FileNotFoundError
    BadModelFile
        Damaged, incomplete, or weights that do not fit the architecture.
    UnsupportedModel
        All that fastgru does not run.
    BadInput
        `config` is missing or not needed, or `keras_version` is no version.
    MissingExtra
        h5py is not installed.
    """
    path = Path(path)
    try:
        with opened(path, config) as content:
            versions = content.versions if keras_version is None else (keras_version,)
            generation = _generation(versions, keras_version is not None) or _telltale(content.architecture)
            return _build(content.architecture, content.weights, generation)
    except BadModelFile as error:
        raise BadModelFile(f"{path}: {error}") from error


def from_keras(keras_model: Any) -> Graph:
    """Convert a live Keras model, of Keras 2 (tf_keras) or Keras 3, without writing a file.

    Parameters
    ----------
    keras_model : keras.Sequential or a functional keras.Model
        Built; its weights are copied.

    Raises
    ------
    UnsupportedModel
        All that fastgru does not run.
    BadInput
        Not a Keras model, or not built.
    """
    kind = type(keras_model)
    package = sys.modules.get(kind.__module__.partition(".")[0])
    if not all(hasattr(keras_model, name) for name in ("get_config", "layers", "get_weights")):
        raise BadInput(f"expected a Keras model, got {kind.__module__}.{kind.__qualname__}")
    if not kind.__module__.startswith(("keras.", "tf_keras.")):
        raise UnsupportedModel(f"the network is a {kind.__name__}, a class of its own; Sequential is supported")
    if not keras_model.built:
        raise BadInput("the model has no weights yet: build it, or call it once")
    architecture = {"class_name": kind.__name__, "config": keras_model.get_config()}
    generation = _generation((str(getattr(package, "__version__", "")),), False)
    return _build(architecture, FlatSource(_live_layers(keras_model.layers)), generation)


def _live_layers(keras_layers: Iterable[Any]) -> Iterator[tuple[str, list[Tensor]]]:
    for layer in keras_layers:
        yield layer.name, [_live_tensor(array) for array in layer.get_weights()]


def _live_tensor(array: Any) -> Tensor:
    array = np.asarray(array)
    return Tensor(array.shape, lambda: np.array(array, np.float32, order="C"))


def _build(architecture: Any, weights: Source, generation: int | None) -> Graph:
    if generation == 1:
        raise UnsupportedModel(
            "the network was written by Keras 1, or by something that does not say which Keras it follows: "
            "load and save it with Keras 2, or say keras_version='2' or '3' if that is what it follows"
        )
    report = Report(generation)
    outline = model.parse(architecture, report)
    readings = [(config, layers.read(config)) for config in outline.layers]
    _raise(report)
    chain = Chain(outline.source(weights))
    taken = {chain.name}
    for config, emit in readings:
        if chain.has_ended:
            config.refuse("follows a layer with return_state=True; only the last layer may have that")
            break
        chain.name = _value_name(config.name, taken)
        share = weights.layer(config.class_name, config.owner)
        assert emit is not None
        emit(chain, share)
        _raise(report)
        share.finish()
    _raise(report)
    weights.finish()
    return chain.graph(outline.name, tuple(_notes(report)))


def _raise(report: Report) -> None:
    if report.reasons:
        raise UnsupportedModel(report.reasons)


def _notes(report: Report) -> Iterator[str]:
    for policy, names in report.policies.items():
        yield f"Keras computed {', '.join(names)} in {policy}; here it is float32"


def _value_name(name: str, taken: set[str]) -> str:
    """A layer's name as a value's: without the marks that names of masks, states and tensors are made with."""
    stem = re.sub("[:/]", "_", name)
    name, count = stem, 0
    while name in taken:
        count += 1
        name = f"{stem}_{count}"
    taken.add(name)
    return name


def _generation(versions: Iterable[str], is_option: bool) -> int | None:
    """1, 2 or 3; None where nobody says or two disagree."""
    found = {version[:1] for version in versions if re.fullmatch(r"[123](\..*)?", version)}
    if is_option and not found:
        raise BadInput(f"keras_version should be a version such as '2.4.0', is {versions!r}")
    return int(found.pop()) if len(found) == 1 else None


def _telltale(architecture: Any) -> int | None:
    """What the spelling of the input's shape says: batch_input_shape up to Keras 2, batch_shape since Keras 3."""
    found: set[int] = set()
    rest = [architecture]
    while rest:
        node = rest.pop()
        if isinstance(node, Mapping):
            found |= {generation for key, generation in _TELLTALES.items() if key in node}
            rest += node.values()
        elif isinstance(node, (list, tuple)):
            rest += node
    return found.pop() if len(found) == 1 else None
