"""Make the files of `tests/data/onnx` that PyTorch's dynamo exporter writes: one nn.GRU, free batch and time.

    python tools/make_dynamo_onnx.py tests/data/onnx

Takes torch and onnxscript, whose version says what comes out: up to 0.7.0 the node lacks linear_before_reset=1, though
PyTorch computes so (the file says 0); from 0.7.1 on it is there. Run it once with either; both times it writes
``dynamo_<onnxscript's version>.onnx``, and ``dynamo.npz`` with an input and PyTorch's answers.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import onnx
import onnxscript
import torch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    torch.manual_seed(5)
    module = torch.nn.GRU(3, 4, batch_first=True).eval()
    x = torch.randn(2, 5, 3)
    free = ({0: torch.export.Dim("batch"), 1: torch.export.Dim("time")},)
    program = torch.onnx.export(module, (x,), dynamo=True, dynamic_shapes=free, verbose=False)
    model = program.model_proto
    for owner in (*model.graph.node, *model.graph.value_info):  # they tell of the machine
        kept = [entry for entry in owner.metadata_props if not entry.key.endswith("stack_trace")]
        del owner.metadata_props[:]
        owner.metadata_props.extend(kept)
    onnx.save_model(model, folder / f"dynamo_{onnxscript.__version__}.onnx")
    with torch.no_grad():
        y, h = module(x)
    np.savez(folder / "dynamo.npz", x=x.numpy(), y=y.numpy(), h=h.numpy())


if __name__ == "__main__":
    main()
