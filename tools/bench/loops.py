"""Keras' ONNX files, in which every GRU is a Loop: fastgru beside ONNX Runtime, each with the same file.

    pip install tensorflow-cpu==2.21.0 keras==3.15.1 tf2onnx==1.17.0 onnx==1.23.2 onnxruntime==1.31.1
    python tools/bench/loops.py

The five networks of networks.py by `Model.export(format="onnx")`, one sequence, one thread each. Both take turns in
processes of their own, ONNX Runtime by `run` and by I/O binding, fastgru by a call of the Model and, where the network
is one step, by `Stream.step`; the faster way of each counts. Before anything is timed their outputs are compared with
Keras'. Prints medians, ratios and their geometric mean.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import networks
import numpy as np

from fastgru.bench.compare import Comparison, Contender, geometric_mean

#: largest difference from Keras' answer
TOLERANCE = 1e-5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=[*networks.NETWORKS], choices=networks.NETWORKS)
    parser.add_argument("--repetitions", type=int, default=9, help="turns of each on each network")
    options = parser.parse_args()
    options.batches = [1]
    program = (str(networks.HERE / "network_peers.py"),)
    both = [Contender(name, name, program=program) for name in ("fastgru-from-onnx", "onnxruntime")]
    ratios = []
    print("| network | fastgru µs | onnxruntime µs | ratio | off from Keras by |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as made, Comparison(both, 1) as comparison:
        if comparison.missing:
            sys.exit(f"missing: {comparison.missing}")
        networks.export(Path(made), options)
        for name in options.networks:
            stem = Path(made, f"{name}-1")
            case = {"network": str(Path(made, f"{name}.keras")), "stem": str(stem)}
            result = comparison.compare(name, case, np.load(f"{stem}.y.npy"), options.repetitions)
            ours, theirs = (result["runs"][each.name] for each in both)
            off = max(ours["difference"], theirs["difference"])
            if off > TOLERANCE:
                sys.exit(f"{name}: off from Keras by {off:.1e}")
            ratios.append(theirs["seconds"] / ours["seconds"])
            times = " | ".join(f"{run['seconds'] * 1e6:.4g}" for run in (ours, theirs))
            print(f"| {name} | {times} | {ratios[-1]:.1f} | {off:.0e} |", flush=True)
    print(f"\nGeometric mean of the ratios: {geometric_mean(ratios):.1f}")


if __name__ == "__main__":
    main()
