"""Recorded graphs of TensorFlow 1: what `fastgru.importers.tf1.reading` made of files, as JSON and arrays.

`tools/make_tf1_golden.py` writes them, so that understanding is tested without TensorFlow.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fastgru.importers.tf1.nodes import Function, Node, Ref, Source

PACK = Path(__file__).parent / "data" / "tf1.zip"
KINDS = ("frozen", "meta")


@dataclass(frozen=True)
class Recorded:
    """A network: its graphs by the kind of their file, its checkpoint, and what TensorFlow made of its inputs."""

    name: str
    sources: dict[str, Source]
    variables: dict[str, np.ndarray]
    config: list[dict[str, Any]]
    inputs: dict[str, np.ndarray]
    outputs: dict[str, np.ndarray]


def names() -> list[str]:
    with zipfile.ZipFile(PACK) as pack:
        return sorted(Path(name).stem for name in pack.namelist() if name.endswith(".json"))


def load(name: str) -> Recorded:
    with zipfile.ZipFile(PACK) as pack:
        described = json.loads(pack.read(f"{name}.json"))
        with np.load(io.BytesIO(pack.read(f"{name}.npz"))) as file:
            arrays = dict(file)

    def named(table: dict[str, str]) -> dict[str, np.ndarray]:
        return {key: arrays[digest] for key, digest in table.items()}

    sources = {kind: _source(graph, arrays, named(graph["arrays"])) for kind, graph in described["graphs"].items()}
    tables = (named(described[key]) for key in ("variables", "inputs", "outputs"))
    variables, inputs, outputs = tables
    return Recorded(name, sources, variables, described["config"], inputs, outputs)


def save(pack: zipfile.ZipFile, recorded: Recorded) -> None:
    arrays: dict[str, np.ndarray] = {}

    def digest(array: np.ndarray) -> str:
        array = np.asarray(array)
        key = hashlib.sha256(f"{array.dtype} {array.shape} ".encode() + array.tobytes()).hexdigest()[:16]
        arrays[key] = array
        return key

    def table(named: Any) -> dict[str, str]:
        return {key: digest(value) for key, value in named.items()}

    def node(of: Node) -> dict[str, Any]:
        plain = {"name": of.name, "op": of.op, "inputs": [str(ref) for ref in of.inputs]}
        attributes = {key: value for key, value in of.attributes.items() if not key.startswith("_")}
        return plain | {"attributes": attributes} | ({} if of.value is None else {"value": digest(constant(of))})

    def graph(source: Source) -> dict[str, Any]:
        functions = {
            name: {
                "arguments": function.arguments,
                "results": [str(ref) for ref in function.results],
                "nodes": [node(of) for of in function.nodes.values()],
            }
            for name, function in source.functions.items()
        }
        return {
            "nodes": [node(of) for of in source.nodes.values()], "functions": functions, "arrays": table(source.arrays)
        }  # fmt: skip

    described = {
        "graphs": {kind: graph(source) for kind, source in recorded.sources.items()},
        "variables": table(recorded.variables),
        "config": recorded.config,
        "inputs": table(recorded.inputs),
        "outputs": table(recorded.outputs),
    }
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    for ending, content in ((".json", json.dumps(described)), (".npz", buffer.getvalue())):
        name = zipfile.ZipInfo(recorded.name + ending, (1980, 1, 1, 0, 0, 0))
        pack.writestr(name, content, zipfile.ZIP_DEFLATED, 9)


def constant(node: Node) -> np.ndarray:
    """A constant; texts, which only Savers have, without pickling."""
    assert node.value is not None
    return node.value if node.value.dtype != object else node.value.astype(str)


def _source(graph: dict[str, Any], arrays: dict[str, np.ndarray], variables: dict[str, np.ndarray]) -> Source:
    functions = {
        name: Function(
            tuple(function["arguments"]), tuple(map(Ref.of, function["results"])), _nodes(function["nodes"], arrays)
        )
        for name, function in graph["functions"].items()
    }
    return Source(_nodes(graph["nodes"], arrays), functions, variables)


def _nodes(listed: list[dict[str, Any]], arrays: dict[str, np.ndarray]) -> dict[str, Node]:
    return {
        node["name"]: Node(
            node["name"], node["op"], tuple(map(Ref.of, node["inputs"])), node["attributes"],
            arrays[node["value"]] if "value" in node else None,
        )
        for node in listed
    }  # fmt: skip
