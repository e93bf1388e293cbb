"""Keras networks, read with h5py and zipfile alone: neither Keras nor TensorFlow is needed.

    read(path, config=None, keras_version=None, custom_layers=None) → Graph
    from_keras(model, custom_layers=None) → Graph

The way through the modules: `container` opens a file (with `archive`, `hdf5` and `weights`), `outline` says which
layers there are and how they are wired, `layers` (with `config` and `activations`) reads each layer, `front` (with
`text`) those that run before the core, `network` calls them in order of evaluation, and `build` grows the Graph.
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
from ...graph import Graph, TensorSpec
from ...text import FrontEnd
from . import keras1, text
from .build import Builder, Value
from .config import Report
from .container import Config, opened
from .front import Vocabularies
from .network import Network, read_network
from .weights import FlatSource, Source, Tensor

__all__ = ["from_keras", "read"]

#: keys of a layer's configuration that only some Kerases write
_TELLTALES = {"batch_input_shape": 2, "batch_shape": 3}


def read(
    path: str | os.PathLike[str],
    *,
    config: Config | None = None,
    keras_version: str | None = None,
    custom_layers: Mapping[str, Any] | None = None,
) -> Graph:
    """Read a file written by Keras: ``.h5``, ``.hdf5``, ``.keras`` or ``.weights.h5``, by Keras 1, 2 or 3.

    Parameters
    ----------
    path : path-like
    config : path-like, str or dict, optional
        For files of weights alone: the architecture, as `model.to_json()` writes it (the path of such a file, or its
        text), or `model.get_config()`.
    keras_version : str, optional
        Version of the Keras that wrote the network, such as ``"2.4.0"`` or ``"3"``, where the file does not say it
        and the network uses a function that has changed (``hard_sigmoid``).
    custom_layers : dict of str to reader, optional
        Readers of classes of your own, by class name or registered name (``package>Class``): functions as those of
        `fastgru.importers.keras.layers`, see docs/adding.md.

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
            report = _report(generation, versions, custom_layers, content.backend)
            return _build(content.architecture, content.weights, content.vocabularies, report)
    except BadModelFile as error:
        raise BadModelFile(f"{path}: {error}") from error


def generation_of(path: str | os.PathLike[str], config: Config | None = None) -> int | None:
    """1, 2 or 3: of the Keras that wrote a file; None where nothing says. Raises as `read`."""
    with opened(Path(path), config) as content:
        return _generation(content.versions, False) or _telltale(content.architecture)


def from_keras(keras_model: Any, custom_layers: Mapping[str, Any] | None = None) -> Graph:
    """Convert a live Keras model, of Keras 2 (tf_keras) or Keras 3, without writing a file.

    Parameters
    ----------
    keras_model : keras.Sequential or a functional keras.Model
        Built; its weights are copied.
    custom_layers : dict of str to reader, optional
        As in `read`.

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
        raise UnsupportedModel(
            f"the network is a {kind.__name__}, a class of its own; Sequential and functional networks are supported"
        )
    if not keras_model.built:
        raise BadInput("the model has no weights yet: build it, or call it once")
    architecture = {"class_name": kind.__name__, "config": keras_model.get_config()}
    versions = (str(getattr(package, "__version__", "")),)
    report = _report(_generation(versions, False), versions, custom_layers)
    by_name = {layer.name: layer for layer in keras_model.layers}

    def vocabulary(path: str, name: str) -> list[text.Token]:
        return text.live_vocabulary(by_name[name])

    return _build(architecture, FlatSource(_live_layers(keras_model.layers)), vocabulary, report)


def _live_layers(keras_layers: Iterable[Any]) -> Iterator[tuple[str, list[Tensor]]]:
    for layer in keras_layers:
        if type(layer).__name__ in text.CLASSES:  # Keras 2 counts the vocabulary among the weights
            idf = text.live_idf(layer)
            variables = [] if idf is None else [idf]
        else:  # as legacy files list them, which `get_weights` of Keras 3 does not
            variables = [*layer.trainable_weights, *layer.non_trainable_weights]
        yield layer.name, [_live_tensor(variable) for variable in variables]


def _live_tensor(variable: Any) -> Tensor:
    array = np.asarray(variable.numpy() if hasattr(variable, "numpy") else variable)
    return Tensor(array.shape, lambda: np.array(array, np.float32, order="C"))


def _report(
    generation: int | None, versions: Iterable[str], custom_layers: Mapping[str, Any] | None, backend: str | None = None
) -> Report:
    multi_backend = generation == 1 or any(re.fullmatch(r"2\.[0-3](\.\d+)?", version) for version in versions)
    return Report(generation, backend, multi_backend, custom=dict(custom_layers or {}))


def _build(architecture: Any, weights: Source, vocabularies: Vocabularies, report: Report) -> Graph:
    try:
        return _built(architecture, weights, vocabularies, report)
    except RecursionError as error:
        raise BadModelFile("the architecture is nested too deeply") from error


def _built(architecture: Any, weights: Source, vocabularies: Vocabularies, report: Report) -> Graph:
    if report.generation == 1:
        if not keras1.is_spelled(architecture):
            raise UnsupportedModel(
                "the network does not say which Keras wrote it, and it is not in the words of Keras 1: "
                "say keras_version='2' or '3' if that is what it follows"
            )
        architecture = keras1.translated(architecture, report)
    network = read_network(architecture, report, weights, vocabularies)
    if network is not None:
        network.check_time_major()
    if network is None or report.reasons:
        raise UnsupportedModel(report.reasons)
    build = Builder()
    inputs = [build.source(spec) for spec in network.sources(weights)]
    outputs = [build.output(value) for value in network.run(build, weights, inputs)]
    if report.reasons:
        raise UnsupportedModel(report.reasons)
    return _graph(network, build, inputs, outputs, tuple(_notes(report)))


def _graph(
    network: Network, build: Builder, inputs: list[Value], outputs: list[Value], notes: tuple[str, ...]
) -> Graph:
    """The Graph; outputs that the network gives as a dict are called by their keys."""
    keys = [key for key, _ in network.outline.outputs]
    names = [value.name for value in outputs]
    if len(keys) == len(outputs):
        for index, key in enumerate(keys):
            if key is not None and names.count(names[index]) == 1:
                names[index] = build.rename(outputs[index], key).name
    specs = tuple(value.spec for value in inputs)
    layers = tuple(build.graph.layers)
    return Graph(specs, layers, tuple(names), network.outline.name, notes, _front_end(network, specs))


def _front_end(network: Network, specs: Iterable[TensorSpec]) -> dict[str, Any] | None:
    fronts = [network.fronts.get(ref.layer) for _, ref in network.outline.inputs]
    pairs = zip(fronts, specs, strict=True)
    encoders = {spec.name: front.encoder for front, spec in pairs if front is not None and front.encoder is not None}
    return FrontEnd(encoders).to_json() if encoders else None


def _notes(report: Report) -> Iterator[str]:
    for policy, names in report.policies.items():
        yield f"Keras computed {', '.join(names)} in {policy}; here it is float32"
    yield from report.notes


def _generation(versions: Iterable[str], is_option: bool) -> int | None:
    """1, 2 or 3; None where nobody says or two disagree."""
    found = {version[:1] for version in versions if re.fullmatch(r"[123](\..*)?", version)}
    if is_option and not found:
        raise BadInput(f"keras_version should be a version such as '2.4.0', is {versions!r}")
    return int(found.pop()) if len(found) == 1 else None


def _telltale(architecture: Any) -> int | None:
    """What the spelling of the input's shape says: batch_input_shape up to Keras 2, batch_shape since Keras 3."""
    if keras1.is_spelled(architecture):
        return 1
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
