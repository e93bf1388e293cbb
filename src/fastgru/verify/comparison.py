"""A network run by fastgru and by its framework, and how far apart their numbers are."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from .. import importers, passes
from ..errors import BadInput, UnsupportedModel
from ..graph import NARROW, Array, Graph
from ..model import Model
from ..narrowing import held_in
from ..ports import Port
from .inputs import random_inputs
from .reference import Inner, Reference

#: of an output, by what weights are held in: largest difference, divided by the larger of 1 and the output's largest
#: magnitude. Narrow ones are what sound networks of a few layers stay below; a wrong scale or gate is far beyond.
TOLERANCES = {"float32": 1e-5, "float16": 3e-3, "bfloat16": 3e-2, "int8": 1e-1}
TOLERANCE = TOLERANCES["float32"]


@dataclass(frozen=True)
class Framework:
    """The module that runs files with a framework, and which of them it can run."""

    module: str
    sources: tuple[importers.Importer, ...]


FRAMEWORKS = {
    "keras": Framework("fastgru.verify.keras", (importers.KERAS,)),
    "onnxruntime": Framework("fastgru.verify.onnxruntime", (importers.ONNX,)),
    "torch": Framework("fastgru.verify.torch", (importers.TORCH, importers.ARRAYS)),
    "tensorflow": Framework("fastgru.verify.tensorflow", (importers.TF1,)),
}


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
    against: str | None = None,
    inputs: Mapping[str, Any] | None = None,
    rows: int = 3,
    steps: int = 12,
    seed: int = 0,
    dtype: str | None = None,
    keep_float32: str | Iterable[str] = (),
    **options: Any,
) -> Comparison:
    """Run a model file with fastgru and with a framework.

    Parameters
    ----------
    path : path-like
        Keras files are run by Keras (those of Keras 2 by tf_keras where it is installed, else by Keras 3), ONNX files
        by ONNX Runtime, PyTorch's weights by PyTorch in the modules that `config` describes, frozen graphs and
        checkpoints of TensorFlow 1 by TensorFlow.
    against : {"keras", "onnxruntime", "torch", "tensorflow"}, optional
        Default: the framework that runs this kind of file.
    inputs : dict of arrays, optional
        By the names of fastgru's inputs. Default: random ones, normal, token ids, lengths or texts, of `rows` rows and,
        where that is free, `steps` steps, drawn with `seed`.
    dtype, keep_float32
        What fastgru holds weights in, as in `fastgru.Model`; the framework's stay what they are.
    **options
        Of the importer, such as ``config``.

    Returns
    -------
    Comparison

    Raises
    ------
    MissingExtra
        The framework is not installed.
    BadInput
        Inputs that are not the network's, a framework that does not run this kind of file, or a file that the framework
        refuses.
    BadModelFile, UnsupportedModel
        From the importer.
    """
    path = Path(path)
    framework = FRAMEWORKS[_framework(path, against)]
    graph, reference = import_module(framework.module).open_network(path, options)
    if dtype in NARROW:  # layers go by the names that they have behind the passes; the framework needs its own steps
        graph = replace(passes.apply(graph), inputs=graph.inputs)
    graph = held_in(graph, dtype, keep_float32)
    return _compared(graph, reference, inputs, rows, steps, seed)


def _framework(path: Path, against: str | None) -> str:
    """The framework to run a file with."""
    if against is not None and against not in FRAMEWORKS:
        raise BadInput(f"against should be one of {', '.join(FRAMEWORKS)}, is {against!r}")
    kind = importers.recognise(path)
    able = [name for name, framework in FRAMEWORKS.items() if kind in framework.sources]
    if not able:
        raise BadInput(f"{path} is {kind.source}, which no framework runs; compare the file that it was converted from")
    if against is None:
        return able[0]
    if against not in able:
        raise BadInput(f"{path} is {kind.source}, which {against} does not run; {', '.join(able)} does")
    return against


def _compared(
    graph: Graph, reference: Reference, inputs: Mapping[str, Any] | None, rows: int, steps: int, seed: int
) -> Comparison:
    if inputs is None:
        inputs = random_inputs(graph, rows, steps, seed, reference.sizes)
    names = graph.input_names
    if set(inputs) != set(names):
        raise BadInput(f"expected inputs named {', '.join(names)}; got {', '.join(inputs) or 'none'}")
    arrays = {name: np.asarray(inputs[name]) for name in names}
    Model(graph)(arrays)  # what does not fit is BadInput here, and anything in a framework
    theirs, inside = reference.run(arrays)
    if len(theirs) != len(graph.outputs):
        raise UnsupportedModel(f"{reference.framework} gives {len(theirs)} outputs, fastgru {len(graph.outputs)}")
    inside = [inner for inner in inside if inner.value in graph.specs and graph.specs[inner.value].dtype == "float32"]
    ours = Model(_with_inner(graph, inside))(arrays)
    ours = ours if isinstance(ours, tuple) else (ours,)
    count = len(theirs)
    outputs = tuple(map(_difference, graph.output_names, ours[:count], theirs))
    layers = (_difference(inner.value, array, inner.array) for inner, array in zip(inside, ours[count:], strict=True))
    return Comparison(reference.framework, outputs, tuple(layers))


def _with_inner(graph: Graph, inside: Sequence[Inner]) -> Graph:
    """The Graph with values inside it as further outputs, laid out as the framework does."""
    values = (*graph.outputs, *(inner.value for inner in inside))
    ports = [port for _, port in graph.ported_outputs]
    for number, inner in enumerate(inside):
        port = inner.port or Port.plain(graph.specs[inner.value])
        ports.append(replace(port, name=f"inside:{number}"))
    return replace(graph, outputs=values, output_ports=tuple(ports))


def _difference(name: str, ours: Array, theirs: Any) -> Difference:
    theirs = np.asarray(theirs, np.float32)
    magnitude = float(np.abs(theirs[np.isfinite(theirs)]).max(initial=0.0))
    if ours.shape != theirs.shape:
        return Difference(name, theirs.shape, float("nan"), magnitude)
    same_nan = np.isnan(ours) & np.isnan(theirs)
    with np.errstate(invalid="ignore"):
        apart = np.where(same_nan | (ours == theirs), 0.0, np.abs(ours.astype(np.float64) - theirs))
    return Difference(name, theirs.shape, float(apart.max(initial=0.0)), magnitude)
