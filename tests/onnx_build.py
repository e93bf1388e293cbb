"""Small ONNX models from text, their answers by onnxruntime, and a Graph's as its ports show them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper, parser

import fastgru
from fastgru import passes
from fastgru.graph import Graph
from fastgru.importers.onnx import from_onnx

Array = np.ndarray


def model(
    inputs: str, outputs: str, body: str, weights: Mapping[str, Array] | None = None, opset: int = 17, **fields: Any
) -> onnx.ModelProto:
    """A model of text in ONNX's own form: ``model("float[B, T, 8] x", "y", "y = Relu (x)")``.

    Weights become initializers; outputs, which may be prefixed by their dtype, are declared without a shape.
    """
    declared = ", ".join(name if " " in name else f"float {name}" for name in outputs.split(", "))
    graph = parser.parse_graph(f"g ({inputs}) => ({declared}) {{ {body} }}")
    for name, array in (weights or {}).items():
        graph.initializer.append(numpy_helper.from_array(np.asarray(array), name))
    for output in graph.output:
        output.type.tensor_type.ClearField("shape")
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8, **fields)
    return made


def expected(proto: onnx.ModelProto, feeds: Mapping[str, Array]) -> list[Array]:
    """What onnxruntime answers."""
    import onnxruntime

    onnxruntime.set_default_logger_severity(4)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return list(session.run(None, dict(feeds)))


def answers(graph: Graph, feeds: Mapping[str, Array]) -> list[Array]:
    """What a Graph answers, each array put into and out of its port's form here, by NumPy alone."""
    bare = dataclasses.replace(graph, input_ports=(), output_ports=(), states=())
    given, lead = {}, {}
    for spec, port in zip(graph.inputs, graph.input_ports or [None] * len(graph.inputs), strict=True):
        name = port.name if port else spec.name
        given[spec.name] = enter(feeds[name], spec, port)
        lead[spec.name] = given[spec.name].shape
    found = fastgru.Model(bare)(given)
    found = found if isinstance(found, tuple) else (found,)
    ports = graph.output_ports or [None] * len(graph.outputs)
    return [leave(y, graph.specs[name], port) for y, name, port in zip(found, graph.outputs, ports, strict=True)]


def enter(x: Array, spec: Any, port: Any) -> Array:
    """An array of a port as its value."""
    if port is None:
        return x
    order = [part for parts in port.axes for part in parts]
    lead = 1 + spec.is_sequence
    split = []
    for size, parts in zip(x.shape, port.axes, strict=True):
        split += [size] if len(parts) == 1 else [port.sizes[part - lead] for part in parts]
    x = x.reshape(split)
    if 0 not in order:
        x, order = x[None], [0, *order]
    x = x.transpose(np.argsort(order))
    return x.reshape(*x.shape[:lead], *spec.inner)


def leave(y: Array, spec: Any, port: Any) -> Array:
    """A value as the array of its port."""
    if port is None:
        return y
    lead = 1 + spec.is_sequence
    y = y.reshape(*y.shape[:lead], *port.sizes)
    order = [part for parts in port.axes for part in parts]
    if 0 not in order:
        assert y.shape[0] == 1
        y, order = y[0], [part - 1 for part in order]
    sizes = iter(y.transpose(order).shape)
    shape = [math.prod(next(sizes) for _ in parts) for parts in port.axes]
    y = y.transpose(order).reshape(shape)
    return y.astype(port.dtype) if port.dtype else y


def feeds_of(proto: onnx.ModelProto, sizes: Mapping[str, int], seed: int = 0, most: int = 5) -> dict[str, Array]:
    """Random inputs, with these sizes for axes that have names; ids below `most`."""
    rng = np.random.default_rng(seed)
    found = {}
    for entry in proto.graph.input:
        kind = entry.type.tensor_type
        shape = [dim.dim_value or sizes[dim.dim_param] for dim in kind.shape.dim]
        if kind.elem_type == onnx.TensorProto.FLOAT:
            found[entry.name] = rng.standard_normal(shape).astype(np.float32)
        else:
            dtype = helper.tensor_dtype_to_np_dtype(kind.elem_type)
            found[entry.name] = rng.integers(0, most, shape).astype(dtype)
    return found


def difference(
    proto: onnx.ModelProto, sizes: Sequence[Mapping[str, int]], graph: Graph | None = None, **options: Any
) -> float:
    """The largest error against onnxruntime, relative to max(1, the largest magnitude), over sizes of free axes."""
    from tolerances import error

    most = options.pop("most", 5)
    graph = from_onnx(proto, **options) if graph is None else graph
    worst = 0.0
    network = fastgru.Model(passes.apply(graph))
    for seed, one in enumerate(sizes):
        feeds = feeds_of(proto, one, seed, most)
        shown = network(feeds)
        for public, own in zip(shown if isinstance(shown, tuple) else (shown,), answers(graph, feeds), strict=True):
            assert error(public, own) < 1e-6
        for ours, theirs in zip(answers(graph, feeds), expected(proto, feeds), strict=True):
            assert ours.dtype == theirs.dtype, f"{ours.dtype} is not {theirs.dtype}"
            worst = max(worst, error(ours, theirs))
    return worst


def gru(rng: np.random.Generator, name: str, features: int, units: int, directions: int = 1) -> dict[str, Array]:
    """Weights W, R and B of a GRU, named ``nameW`` and so on."""
    shapes = {"W": (directions, 3 * units, features), "R": (directions, 3 * units, units), "B": (directions, 6 * units)}
    return {f"{name}{key}": rng.uniform(-0.5, 0.5, shape).astype(np.float32) for key, shape in shapes.items()}
