"""ONNX files, run by ONNX Runtime."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .. import importers
from ..errors import BadInput
from ..graph import Array, Graph, TensorSpec
from ..importers.onnx import trace
from ..importers.onnx.container import Container
from ..importers.onnx.functions import nodes_of
from ..importers.onnx.nodes import cut
from ..ports import Port
from .reference import Inner, Reference, package, reason

#: what ONNX Runtime calls the dtypes of inputs
DTYPES = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(float16)": np.float16,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
}
_ERRORS_ONLY = 3


def open_network(path: Path, options: Mapping[str, Any]) -> tuple[Graph, Reference]:
    """The Graph of an ONNX file, and sessions of the file itself and of one that also gives what is inside."""
    graph = importers.read(path, **options)
    ort = package("onnxruntime", "ONNX Runtime")
    framework = f"onnxruntime {ort.__version__}"
    model = _model(path, options.get("node"))
    if options.get("assume_torch_gru"):
        _correct(model)
        framework += " with linear_before_reset=1"
    try:
        session = _session(ort, model)
    except Exception as error:  # it has an exception for each of its reasons
        raise BadInput(f"{framework} cannot load {path}: {reason(error)}") from error
    shapes = {entry.name: entry.shape for entry in session.get_inputs()}
    known = {name: tuple(size if isinstance(size, int) else None for size in shape) for name, shape in shapes.items()}

    def run(inputs: Mapping[str, Array]) -> tuple[Sequence[Any], list[Inner]]:
        given = _given(session, framework, path, inputs)
        try:
            outputs = session.run(list(graph.output_names), given)
        except Exception as error:
            raise BadInput(f"{framework} cannot run {path}: {reason(error)}") from error
        return outputs, list(_inside(ort, graph, model, trace(path, **options), given))

    return graph, Reference(framework, run, known)


def _model(path: Path, node: str | None) -> Any:
    """The file's model, or that of one of its GRU nodes, with the tensors that it keeps outside."""
    import onnx  # which the importer has found

    if node is None:
        return onnx.load(path)
    model = cut(Container.open(path), node).model
    onnx.load_external_data_for_model(model, str(path.parent))
    return model


def _session(ort: Any, model: Any) -> Any:
    settings = ort.SessionOptions()
    settings.log_severity_level = _ERRORS_ONLY
    return ort.InferenceSession(model.SerializeToString(), settings, providers=["CPUExecutionProvider"])


def _given(session: Any, framework: str, path: Path, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Inputs in the dtypes that the file has."""
    given = {}
    for entry in session.get_inputs():
        dtype = DTYPES.get(entry.type)
        if dtype is None:
            raise BadInput(f"{framework} cannot run {path} from Python: input {entry.name!r} is a {entry.type}")
        if entry.name in inputs:  # one that nothing reads may be left out
            given[entry.name] = np.ascontiguousarray(inputs[entry.name], dtype)
    return given


def _inside(
    ort: Any, graph: Graph, model: Any, traced: Mapping[str, tuple[TensorSpec, Port]], given: Mapping[str, Array]
) -> Iterator[Inner]:
    """What of the Graph's values the file has, too, from a session that gives them as further outputs."""
    import onnx

    computed = {name for node in model.graph.node for name in node.output}
    names = [name for name, (spec, _) in traced.items() if name in computed and graph.specs.get(spec.name) == spec]
    outputs = {entry.name for entry in model.graph.output}
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in outputs)
    try:
        arrays = _session(ort, model).run(names, dict(given)) if names else []
    except Exception:  # it may refuse as an output what it takes inside: then the outputs alone are compared
        return
    for name, array in zip(names, arrays, strict=True):
        spec, port = traced[name]
        yield Inner(spec.name, array, port)


def _correct(model: Any) -> None:
    """Let GRU nodes reset after the product, as the option tells fastgru to read them."""
    import onnx

    for node in nodes_of(model.graph):
        if node.op_type == "GRU":
            kept = [attribute for attribute in node.attribute if attribute.name != "linear_before_reset"]
            del node.attribute[:]
            node.attribute.extend([*kept, onnx.helper.make_attribute("linear_before_reset", 1)])
