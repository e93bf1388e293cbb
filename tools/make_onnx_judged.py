"""Make tests/data/onnx/judged: a few of the random networks of tools/onnx_networks, with inputs and answers.

    python tools/make_onnx_judged.py torch written      PyTorch, onnxscript, onnx, onnxruntime
    python tools/make_onnx_judged.py keras              tensorflow, Keras 3, tf2onnx, onnx, onnxruntime

Beside each file goes an ``.npz`` with the inputs ``x:name`` and what onnxruntime answers, ``y0``, ….
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

FOLDER = Path(__file__).parents[1] / "tests" / "data" / "onnx" / "judged"
#: by source: name of the file: the network's number and, of PyTorch, which exporter
NETWORKS = {
    "torch": {
        "lengths_mean": (101, False),
        "lengths_last": (115, False),
        "picture_highway": (103, True),
        "einsum": (110, False),
        "where": (121, True),
        "threshold": (132, True),
        "repeated_state": (151, False),
        "shrink": (164, False),
        "log_sum_exp": (167, False),
        "attention_einsum": (130, False),
    },
    "keras": {"two_joined": (120,), "two_convolved": (125,)},
    "written": {"last_place": (14,), "merged_steps": (121,), "divided_by_steps": (157,)},
}


def made(source: str, number: int, *exporter: bool):
    module = importlib.import_module(f"onnx_networks.{source}_source")
    return module.one(number, *exporter) if exporter else next(iter(module.cases(number, 1)))


def bare(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Without what exporters note of their own way: stack traces, shapes between nodes."""
    graph = proto.graph
    for part in (proto, graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    graph.ClearField("value_info")
    return proto


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    onnxruntime.set_default_logger_severity(4)
    for source in sys.argv[1:] or NETWORKS:
        for name, which in NETWORKS[source].items():
            case = made(source, *which)
            path = FOLDER / f"{source}_{name}.onnx"
            onnx.save(bare(case.proto), path)
            feed = case.feeds[-1]
            answers = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, feed)
            arrays = {f"x:{key}": array for key, array in feed.items()} | {f"y{i}": y for i, y in enumerate(answers)}
            np.savez(path.with_suffix(".npz"), **arrays)
            print(f"{path.name}: {path.stat().st_size} bytes, {case.name}")


if __name__ == "__main__":
    main()
