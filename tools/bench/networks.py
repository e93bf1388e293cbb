"""Whole networks: fastgru beside what a Keras user can run them with.

    pip install tensorflow-cpu==2.21.0 keras==3.15.1 tf2onnx==1.17.0 onnx==1.23.2 onnxruntime==1.31.1 \\
        ai-edge-litert==2.3.0 openvino==2026.4.1 scipy h5py
    python tools/bench/networks.py --json networks.jsonl --markdown networks.md
    python tools/bench/networks.py --networks review series --batches 1
    python tools/bench/networks.py --dtypes bfloat16 int8

A process of Keras builds and exports the networks (network_files.py), each runtime reads them in a process of its own
(network_peers.py), and all take turns as single layers do in layers.py. Before anything is timed the outputs are
compared with Keras' own answer (1e-4; of narrow weights and products, with bounds of their own). A route that fails is
named with its reason. Random weights and input; token ids are never 0, so that no step is masked, although tagging has
mask_zero. docs/benchmarks.md says more.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import report

import fastgru
from fastgru.bench.compare import Comparison, Contender
from fastgru.bench.peers import own_names
from fastgru.narrowing import DTYPES

HERE = Path(__file__).resolve().parent
#: name → what it is made of
NETWORKS = {
    "review": "Embedding(10000, 128), GRU(128), Dense(1); 200 tokens",
    "tagging": "Embedding(10000, 256, mask_zero), GRU(64), GRU(64), Dense(10) per step; 100 tokens",
    "digits": "GRU(100), GRU(100), both reset_after=False, Dense(10); 28 rows of 28",
    "series": "GRU(64), GRU(32), Dense(1); 60 steps of 8",
    "characters": "GRU(256), Dense(65); one step of 65",
}
#: share of the median that the quartiles' distance may be before a row is called unsteady
UNSTEADY = 0.2
PEERS = (
    "predict", "tf.function", "onnxruntime", "litert", "openvino", "openvino-from-tensorflow", "openvino-from-onnx",
    "openvino-bf16",
)  # fmt: skip


def main() -> None:
    options = parse()
    start = time.perf_counter()
    names = dict.fromkeys(["fastgru", *own_names(options.dtypes), *options.peers])
    program = (str(HERE / "network_peers.py"),)
    everyone = [Contender(name, name, program=program) for name in names]
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        export(folder, options)
        with Comparison(everyone, options.threads) as comparison:
            for name, reason in comparison.missing.items():
                print(f"!! {name} does not take part: {reason}", file=sys.stderr)
            results = [
                measure(comparison, folder, name, batch, options.repetitions)
                for batch in options.batches
                for name in options.networks
            ]
            versions, missing = comparison.versions, comparison.missing
    exporters = {name: version(name) for name in ("tensorflow-cpu", "tf2onnx") if find_spec(name.split("-")[0])}
    head = {
        "machine": report.machine(), "isa": fastgru.cpu_info()["isa"], "threads": options.threads,
        "repetitions": options.repetitions, "versions": {**versions, **exporters}, "missing": missing, "left_out": {},
        "limits": None, "commit": report.commit(HERE), "seconds": round(time.perf_counter() - start, 1),
        "networks": {name: NETWORKS[name] for name in options.networks},
    }  # fmt: skip
    write(options, head, results)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=[*NETWORKS], choices=NETWORKS, metavar="NAME")
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 64], metavar="ROWS")
    parser.add_argument("--peers", nargs="+", default=[*PEERS], choices=PEERS, metavar="NAME")
    parser.add_argument(
        "--dtypes", nargs="+", default=[*DTYPES], choices=DTYPES, metavar="DTYPE", help="of fastgru, beside float32"
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repetitions", type=int, default=9, help="turns of each route on each network and batch")
    parser.add_argument("--json", type=Path, help="JSON lines: what was measured where, then a line a row")
    parser.add_argument("--markdown", type=Path)
    return parser.parse_args()


def export(folder: Path, options: argparse.Namespace) -> None:
    """Write every file that the runtimes read; Keras has one backend a process."""
    backends = ["tensorflow", *(["openvino"] if find_spec("openvino") else [])]
    for backend in backends:
        print(f"exporting with Keras on {backend}", file=sys.stderr, flush=True)
        command = [
            sys.executable, str(HERE / "network_files.py"), str(folder), ",".join(map(str, options.batches)),
            ",".join(options.networks),
        ]  # fmt: skip
        subprocess.run(command, env={**os.environ, "KERAS_BACKEND": backend}, stdout=sys.stderr, check=True)


def measure(comparison: Comparison, folder: Path, name: str, batch: int, repetitions: int) -> dict[str, Any]:
    """One network and batch on everyone, told on stderr as it stands."""
    stem = folder / f"{name}-{batch}"
    case = {"network": str(folder / f"{name}.keras"), "stem": str(stem)}
    result = comparison.compare(f"{name}, batch {batch}", case, np.load(f"{stem}.y.npy"), repetitions)
    times = ", ".join(f"{peer} {run['seconds'] * 1e6:.4g}" for peer, run in result["runs"].items())
    print(f"{result['row']}: {times} µs", file=sys.stderr, flush=True)
    return {**result, "network": name, "batch": batch}


def write(options: argparse.Namespace, head: dict[str, Any], results: list[dict[str, Any]]) -> None:
    groups = {f"batch {batch}": lambda row, batch=batch: row.endswith(f", batch {batch}") for batch in options.batches}
    text = "\n\n".join([report.markdown(head, results, groups, "network"), remarks(results)])
    lines = [
        {**head, "summary": report.summary(results, groups), "narrow": report.narrow_summary(results, groups)},
        *results,
    ]
    report.deliver(text, lines, options.markdown, options.json)


def remarks(results: list[dict[str, Any]]) -> str:
    """How far the outputs differ, and which ratios a disturbed machine leaves in doubt."""
    runs = [run for result in results for run in result["runs"].values() if run["dtype"] == "float32"]
    worst = max(run["difference"] for run in runs)
    lines = [f"Largest difference from Keras in float32: {worst:.0e}."]
    for result in results:
        shares = {name: result["runs"][name] for name in ("fastgru", result["fastest_peer"]) if name}
        found = [f"{name} {run['spread'] / run['seconds']:.0%}" for name, run in shares.items()
                 if run["spread"] > UNSTEADY * run["seconds"]]  # fmt: skip
        if found:
            lines.append(f"Unsteady: {result['row']}; the quartiles' distance by the median: {', '.join(found)}.")
    return "\n\n".join(lines)


if __name__ == "__main__":
    main()
