"""Run an ONNX network frame by frame, its state carried from one frame to the next.

    python examples/stream_onnx.py                              a small network that the program makes itself
    python examples/stream_onnx.py model.onnx --frames 100      one of yours, with one input of frames

Random frames go in; each line is a frame's number and the network's answer. Takes the package onnx.
"""

from __future__ import annotations

import argparse

import numpy as np
import onnx.helper
import onnx.numpy_helper
import onnx.parser

import fastgru

NETWORK = """
denoiser (float[time, batch, 6] frames, float[1, batch, 16] h_in)
    => (float[time, batch, 3] y, float[1, batch, 16] h_out)
{
    steps, h_out = GRU <hidden_size = 16, linear_before_reset = 1> (frames, W, R, B, , h_in)
    one = Constant <value_ints = [1]> ()
    hidden = Squeeze (steps, one)
    gains = MatMul (hidden, K)
    y = Sigmoid (gains)
}
"""


def small_network() -> onnx.ModelProto:
    """What an exporter writes of a GRU and a linear layer, whose state comes in as h_in and goes out as h_out."""
    rng = np.random.default_rng(0)
    graph = onnx.parser.parse_graph(NETWORK)
    for name, shape in {"W": (1, 48, 6), "R": (1, 48, 16), "B": (1, 96), "K": (16, 3)}.items():
        weights = rng.normal(scale=0.3, size=shape).astype(np.float32)
        graph.initializer.append(onnx.numpy_helper.from_array(weights, name))
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", help="an ONNX file whose states, if it has any, go in and come out")
    parser.add_argument("--frames", type=int, default=5, help="how many (default: %(default)s)")
    options = parser.parse_args()
    model = fastgru.load(options.model) if options.model else fastgru.from_onnx(small_network())
    with model.stream() as stream:
        states = [carried.input for carried in stream.states]
        (frames,) = (spec for spec in model.inputs if spec.name not in states)
        x = np.random.default_rng(1).standard_normal((options.frames, 1, frames.features), dtype=np.float32)
        for number, frame in enumerate(x):  # (batch, features), with a batch of one
            print(number, *np.ravel(stream.step(frame)[0]))


if __name__ == "__main__":
    main()
