"""A CRNN (two Conv2D with pooling, a bidirectional GRU, Dense) beside onnxruntime on the same network.

    python tools/bench/crnn.py --json crnn.jsonl --markdown crnn.md

The ONNX file is the best that onnxruntime could be given: channels first, pooling and convolutions as its own, one GRU
node. Same weights and inputs, outputs compared first, one thread each, the two in turns; medians. Exit code 1 where
fastgru is slower on a row. docs/benchmarks.md has the figures.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import report

import fastgru
from fastgru.graph import GRU, Activation, Concatenate, Conv, Dense, Graph, Pool, Reshape, tensor_spec

ROOT = Path(__file__).resolve().parents[2]
CLASSES = 40


@dataclass(frozen=True)
class Network:
    """An image of (time, height), two convolutions of 3 × 3 with 2 × 2 pooling, and a GRU in both directions."""

    time: int
    height: int
    channels: tuple[int, int]
    units: int

    def __str__(self) -> str:
        a, b = self.channels
        return f"{self.time}x{self.height}, Conv2D {a}, {b}, GRU 2x{self.units}"


NETWORKS = (Network(100, 32, (32, 64), 128), Network(128, 64, (16, 32), 96), Network(64, 32, (16, 32), 64))
BATCHES = (1, 16)


def weights(network: Network) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)

    def normal(*shape: int) -> np.ndarray:
        return (rng.normal(size=shape) / np.sqrt(np.prod(shape[:-1]))).astype(np.float32)

    a, b = network.channels
    features, units = network.height // 4 * b, network.units
    tensors = {"k1": normal(3, 3, 1, a), "b1": normal(a), "k2": normal(3, 3, a, b), "b2": normal(b)}
    for name in ("fw", "bw"):
        tensors |= {
            f"{name}_w": normal(features, 3 * units), f"{name}_r": normal(units, 3 * units),
            f"{name}_b": normal(3 * units), f"{name}_c": normal(3 * units),
        }  # fmt: skip
    return tensors | {"k": normal(2 * units, CLASSES), "b": normal(CLASSES)}


def graph(network: Network, w: dict[str, np.ndarray]) -> Graph:
    relu, softmax = Activation.of("relu"), Activation.of("softmax")
    features = network.height // 4 * network.channels[1]

    def gru(name: str, **options: Any) -> GRU:
        return GRU(
            name=name, inputs=("rows",), units=network.units, kernel=w[f"{name}_w"],
            recurrent_kernel=w[f"{name}_r"], bias=w[f"{name}_b"], recurrent_bias=w[f"{name}_c"],
            return_sequences=True, **options,
        )  # fmt: skip

    layers = (
        Conv(name="c1", inputs=("x",), kernel=w["k1"], bias=w["b1"], padding="same", activation=relu),
        Pool(name="p1", inputs=("c1",), function="maximum", size=(2, 2), strides=(2, 2)),
        Conv(name="c2", inputs=("p1",), kernel=w["k2"], bias=w["b2"], padding="same", activation=relu),
        Pool(name="p2", inputs=("c2",), function="maximum", size=(2, 2), strides=(2, 2)),
        Reshape(name="rows", inputs=("p2",), target=(features,), per_step=True),
        gru("fw"),
        gru("bw", go_backwards=True, time_order=True),
        Concatenate(name="both", inputs=("fw", "bw")),
        Dense(name="y", inputs=("both",), kernel=w["k"], bias=w["b"], activation=softmax),
    )
    return Graph((tensor_spec("x", network.time, (network.height, 1)),), layers, ("y",))


def onnx_model(network: Network, w: dict[str, np.ndarray]) -> bytes:
    """The same with channels first: x (batch, 1, time, height) → y (time / 4, batch, classes)."""
    from onnx import TensorProto, helper, numpy_helper

    node = helper.make_node
    features = network.height // 4 * network.channels[1]
    tensors = {
        "k1": w["k1"].transpose(3, 2, 0, 1), "b1": w["b1"], "k2": w["k2"].transpose(3, 2, 0, 1), "b2": w["b2"],
        "w": np.stack([w[f"{name}_w"].T for name in ("fw", "bw")]),
        "r": np.stack([w[f"{name}_r"].T for name in ("fw", "bw")]),
        "gb": np.stack([np.concatenate([w[f"{name}_b"], w[f"{name}_c"]]) for name in ("fw", "bw")]),
        "k": w["k"], "b": w["b"],
        "rows": np.array([0, 0, features], np.int64), "wide": np.array([0, 0, 2 * network.units], np.int64),
    }  # fmt: skip
    pads, pool = [1, 1, 1, 1], {"kernel_shape": [2, 2], "strides": [2, 2]}
    nodes = [
        node("Conv", ["x", "k1", "b1"], ["c1"], pads=pads), node("Relu", ["c1"], ["r1"]),
        node("MaxPool", ["r1"], ["p1"], **pool),
        node("Conv", ["p1", "k2", "b2"], ["c2"], pads=pads), node("Relu", ["c2"], ["r2"]),
        node("MaxPool", ["r2"], ["p2"], **pool),
        node("Transpose", ["p2"], ["t"], perm=[2, 0, 3, 1]), node("Reshape", ["t", "rows"], ["s"]),
        node("GRU", ["s", "w", "r", "gb"], ["g"], hidden_size=network.units, linear_before_reset=1,
             direction="bidirectional"),
        node("Transpose", ["g"], ["gt"], perm=[0, 2, 1, 3]), node("Reshape", ["gt", "wide"], ["gr"]),
        node("MatMul", ["gr", "k"], ["m"]), node("Add", ["m", "b"], ["a"]), node("Softmax", ["a"], ["y"], axis=-1),
    ]  # fmt: skip
    floats = TensorProto.FLOAT
    inputs = [helper.make_tensor_value_info("x", floats, ("batch", 1, network.time, network.height))]
    outputs = [helper.make_tensor_value_info("y", floats, (network.time // 4, "batch", CLASSES))]
    constants = [numpy_helper.from_array(np.ascontiguousarray(value), name) for name, value in tensors.items()]
    made = helper.make_graph(nodes, "crnn", inputs, outputs, constants)
    opset = helper.make_opsetid("", 14)
    return helper.make_model(made, opset_imports=[opset], ir_version=8).SerializeToString()  # type: ignore[no-any-return]


def session(content: bytes) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def measured(runs: Sequence[Callable[[], Any]], turns: int) -> list[float]:
    """Median seconds of each, a turn of every one after the other; a turn takes some 20 ms."""
    counts = []
    for run in runs:
        run()
        start = time.perf_counter()
        run()
        counts.append(max(1, round(0.02 / (time.perf_counter() - start))))
    times: list[list[float]] = [[] for _ in runs]
    for _ in range(turns):
        for run, count, own in zip(runs, counts, times, strict=True):
            start = time.perf_counter()
            for _ in range(count):
                run()
            own.append((time.perf_counter() - start) / count)
    return [statistics.median(own) for own in times]


def compare(network: Network, batch: int, turns: int) -> dict[str, Any]:
    w = weights(network)
    x = np.random.default_rng(1).normal(size=(batch, network.time, network.height, 1)).astype(np.float32)
    model, peer = fastgru.Model(graph(network, w), threads=1), session(onnx_model(network, w))
    feed = {"x": np.ascontiguousarray(x.transpose(0, 3, 1, 2))}
    apart = float(np.abs(model(x) - peer.run(None, feed)[0].transpose(1, 0, 2)).max())
    if not apart <= 1e-4:
        raise SystemExit(f"{network}: the outputs differ by {apart}")
    ours, theirs = measured([lambda: model(x), lambda: peer.run(None, feed)], turns)
    return {"row": f"{network}, batch {batch}", "fastgru": ours, "onnxruntime": theirs, "ratio": theirs / ours}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=15, help="medians are of so many turns (15)")
    parser.add_argument("--json", type=Path, help="JSON lines to write")
    parser.add_argument("--markdown", type=Path, help="the table to write")
    options = parser.parse_args()
    results = [compare(network, batch, options.turns) for network in NETWORKS for batch in BATCHES]
    lines = ["| network | fastgru, µs | onnxruntime, µs | ratio |", "|---|---:|---:|---:|"]
    for result in results:
        ours, theirs = (f"{result[name] * 1e6:,.0f}" for name in ("fastgru", "onnxruntime"))
        lines.append(f"| {result['row']} | {ours} | {theirs} | {result['ratio']:.2f} |")
    text = "\n".join(lines)
    print(text)
    if options.markdown:
        options.markdown.write_text(f"{text}\n")
    if options.json:
        about = {"machine": report.machine(), "commit": report.commit(ROOT)}
        options.json.write_text("".join(f"{json.dumps(line)}\n" for line in (about, *results)))
    return int(any(result["ratio"] < 1 for result in results))


if __name__ == "__main__":
    sys.exit(main())
