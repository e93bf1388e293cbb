"""Make the files of `tests/data/onnx/torch_exports`: small networks around nn.GRU, by both of PyTorch's exporters.

    python tools/make_torch_exports.py tests/data/onnx/torch_exports

Takes torch, onnx and onnxscript. Each network gives ``<name>.onnx`` and ``<name>.npz``: inputs under the file's own
names, ``in:<name>``, and PyTorch's outputs, ``out:<name>``. Names that begin with ``dynamo_`` are by the exporter with
dynamo=True, the others by the older one (of which `make_torch_onnx.py` has more, without PyTorch's numbers); ``_fixed``
ones have no free axes. Both files of a module have the same weights and inputs.

Up to 0.7.0 of onnxscript, dynamo=True forgets to say linear_before_reset=1. Such files begin with ``forgotten_``; they
are stacked_both, classifier and streamed, made where that version is installed by their names behind the folder.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor, nn

FEATURES, UNITS, BATCH, TIME = 3, 4, 2, 5
#: names of axes that files leave free
BATCH_TIME, TIME_BATCH = {0: "batch", 1: "time"}, {0: "time", 1: "batch"}
STATE = {1: "batch"}


class Classifier(nn.Module):
    """Token ids → the last step → classes."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, FEATURES, padding_idx=0)
        self.gru = nn.GRU(FEATURES, UNITS, batch_first=True)
        self.dense = nn.Linear(UNITS, 2)

    def forward(self, ids: Tensor) -> Tensor:
        y, _ = self.gru(self.embedding(ids))
        return self.dense(y[:, -1])


class LastState(nn.Module):
    """The final states of both directions, side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(FEATURES, UNITS, batch_first=True, bidirectional=True)
        self.dense = nn.Linear(2 * UNITS, 3)

    def forward(self, x: Tensor) -> Tensor:
        _, h = self.gru(x)
        return torch.sigmoid(self.dense(torch.cat([h[-2], h[-1]], dim=1)))


class Packed(nn.Module):
    """Rows of their own lengths."""

    def __init__(self, directions: int) -> None:
        super().__init__()
        self.gru = nn.GRU(FEATURES, UNITS, batch_first=True, bidirectional=directions == 2)

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=True)
        y, h = self.gru(packed)
        return nn.utils.rnn.pad_packed_sequence(y, batch_first=True)[0], h


class CRNN(nn.Module):
    """Images, read column by column: convolution, normalization and pooling, then both directions over the columns."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(1, 3, 3, padding=1)
        self.normalization = nn.BatchNorm2d(3)
        self.pooling = nn.MaxPool2d(2)
        self.gru = nn.GRU(3 * 4, UNITS, bidirectional=True, batch_first=True)
        self.dense = nn.Linear(2 * UNITS, 5)

    def forward(self, image: Tensor) -> Tensor:
        x = self.pooling(torch.relu(self.normalization(self.convolution(image))))
        x = x.permute(0, 3, 1, 2).flatten(2)
        return torch.log_softmax(self.dense(self.gru(x)[0]), dim=-1)


class Convolved(nn.Module):
    """A 1-D convolution over time in front."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(FEATURES, 6, 3, padding=1)
        self.gru = nn.GRU(6, UNITS, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.convolution(x.transpose(1, 2))).transpose(1, 2)
        return self.gru(x)[0]


class Residual(nn.Module):
    """Layers that are normalized before and added to what they read."""

    def __init__(self) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(UNITS) for _ in range(2))
        self.grus = nn.ModuleList(nn.GRU(UNITS, UNITS, batch_first=True) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        for norm, gru in zip(self.norms, self.grus, strict=True):
            x = x + gru(norm(x))[0]
        return x


class Streamed(nn.Module):
    """A step of a network whose state its callers carry."""

    def __init__(self) -> None:
        super().__init__()
        self.before = nn.Linear(FEATURES, UNITS)
        self.gru = nn.GRU(UNITS, UNITS, num_layers=2, batch_first=True)
        self.after = nn.Linear(UNITS, 2)

    def forward(self, x: Tensor, h0: Tensor) -> tuple[Tensor, Tensor]:
        y, hn = self.gru(torch.relu(self.before(x)), h0)
        return torch.sigmoid(self.after(y)), hn


class Activated(nn.Module):
    """Log probabilities of every step, behind two activations."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(FEATURES, UNITS, batch_first=True)
        self.dense = nn.Sequential(nn.Linear(UNITS, 6), nn.LeakyReLU(0.1), nn.Linear(6, 6), nn.GELU(), nn.Linear(6, 3))

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.log_softmax(self.dense(self.gru(x)[0]), dim=2)


@dataclass(frozen=True)
class Network:
    """A module and how it is exported.

    Attributes
    ----------
    make : callable
        → the module.
    inputs : dict of str to tuple of int
        Shapes; of ids and lengths arrays.
    outputs : tuple of str
    free : dict of str to dict
        By input or output: names of its free axes; empty where all are fixed.
    exporters : tuple of bool
        Values of ``dynamo``.
    """

    make: Callable[[], nn.Module]
    inputs: Mapping[str, tuple[int, ...] | np.ndarray]
    outputs: tuple[str, ...] = ("y",)
    free: Mapping[str, Mapping[int, str]] | None = None
    exporters: Sequence[bool] = (False, True)


X = (BATCH, TIME, FEATURES)
GRU_OUTPUTS = ("y", "hn")
#: y and hn of a GRU that is the network itself
FREE = {"x": BATCH_TIME, "y": BATCH_TIME, "hn": STATE}
LENGTHS = np.array([5, 3], np.int64)

NETWORKS: dict[str, Network] = {
    "batch_first": Network(lambda: nn.GRU(FEATURES, UNITS, batch_first=True), {"x": X}, GRU_OUTPUTS, FREE),
    "time_first": Network(
        lambda: nn.GRU(FEATURES, UNITS),
        {"x": (TIME, BATCH, FEATURES)},
        GRU_OUTPUTS,
        {"x": TIME_BATCH, "y": TIME_BATCH, "hn": STATE},
    ),
    "time_first_fixed": Network(lambda: nn.GRU(FEATURES, UNITS), {"x": (TIME, BATCH, FEATURES)}, GRU_OUTPUTS),
    "stacked": Network(
        lambda: nn.GRU(FEATURES, UNITS, num_layers=2, batch_first=True), {"x": X}, GRU_OUTPUTS, FREE
    ),
    "stacked_both": Network(
        lambda: nn.GRU(FEATURES, UNITS, num_layers=2, bidirectional=True, batch_first=True), {"x": X}, GRU_OUTPUTS, FREE
    ),
    "state": Network(
        lambda: nn.GRU(FEATURES, UNITS, batch_first=True),
        {"x": X, "h0": (1, BATCH, UNITS)},
        GRU_OUTPUTS,
        FREE | {"h0": STATE},
    ),
    "streamed": Network(
        Streamed, {"x": X, "h0": (2, BATCH, UNITS)}, GRU_OUTPUTS, FREE | {"h0": STATE}
    ),
    "streamed_fixed": Network(Streamed, {"x": (1, 1, FEATURES), "h0": (2, 1, UNITS)}, GRU_OUTPUTS),
    "unbatched": Network(lambda: nn.GRU(FEATURES, UNITS), {"x": (TIME, FEATURES)}, GRU_OUTPUTS),
    "packed": Network(
        lambda: Packed(1), {"x": X, "lengths": LENGTHS}, GRU_OUTPUTS, FREE | {"lengths": {0: "batch"}}, (False,)
    ),
    "packed_both": Network(
        lambda: Packed(2), {"x": X, "lengths": LENGTHS}, GRU_OUTPUTS, FREE | {"lengths": {0: "batch"}}, (False,)
    ),
    "no_bias": Network(
        lambda: nn.GRU(FEATURES, UNITS, bias=False, batch_first=True), {"x": X}, GRU_OUTPUTS, FREE
    ),
    "cell": Network(
        lambda: nn.GRUCell(FEATURES, UNITS),
        {"x": (BATCH, FEATURES), "h": (BATCH, UNITS)},
        ("hn",),
        {"x": {0: "batch"}, "h": {0: "batch"}, "hn": {0: "batch"}},
    ),
    "classifier": Network(
        Classifier,
        {"ids": np.array([[1, 5, 3, 10, 2], [7, 7, 4, 0, 0]], np.int64)},
        free={"ids": BATCH_TIME, "y": {0: "batch"}},
    ),
    "last_state": Network(LastState, {"x": X}, free={"x": BATCH_TIME, "y": {0: "batch"}}),
    "crnn": Network(CRNN, {"image": (BATCH, 1, 8, 12)}, free={"image": {0: "batch"}, "y": {0: "batch"}}),
    "convolved": Network(Convolved, {"x": X}, free={"x": BATCH_TIME, "y": BATCH_TIME}),
    "residual": Network(Residual, {"x": (BATCH, TIME, UNITS)}, free={"x": BATCH_TIME, "y": BATCH_TIME}),
    "activated": Network(Activated, {"x": X}, free={"x": BATCH_TIME, "y": BATCH_TIME}),
}  # fmt: skip


def export(name: str, dynamo: bool, folder: Path) -> None:
    """Write the file of a network, and the numbers that PyTorch computes."""
    warnings.simplefilter("ignore")
    network = NETWORKS[name]
    torch.manual_seed(7)
    module = network.make().eval()
    for buffer in module.buffers():
        if buffer.dtype == torch.float32:  # statistics of a normalization that has seen something
            buffer.uniform_(0.5, 1.5)
    given = {
        key: torch.from_numpy(value) if isinstance(value, np.ndarray) else torch.randn(value)
        for key, value in network.inputs.items()
    }
    path = folder / f"{'dynamo_' * dynamo}{name}.onnx"
    options: dict[str, Any] = {"input_names": list(given), "output_names": list(network.outputs), "dynamo": dynamo}
    if dynamo:
        free = network.free
        shapes = tuple(dict.fromkeys(free[key], torch.export.Dim.DYNAMIC) for key in given) if free else None
        program = torch.onnx.export(module, tuple(given.values()), dynamic_shapes=shapes, verbose=False, **options)
        model = program.model_proto
    else:
        torch.onnx.export(module, tuple(given.values()), str(path), dynamic_axes=network.free or {}, **options)
        model = onnx.load(path)
    for owner in (*model.graph.node, *model.graph.value_info, *model.graph.input, *model.graph.output):
        kept = [entry for entry in owner.metadata_props if entry.key == "pkg.torch.onnx.fx_node"]
        del owner.metadata_props[:]  # others tell of the machine, and are larger than the network
        owner.metadata_props.extend(kept if getattr(owner, "op_type", None) == "GRU" else [])
    if dynamo and any(node.op_type == "GRU" and not resets_after(node) for node in model.graph.node):
        path = folder / f"forgotten_{name}.onnx"
    onnx.save_model(model, path)
    with torch.no_grad():
        found = module(*given.values())
    outputs = dict(zip(network.outputs, found if isinstance(found, tuple) else (found,), strict=True))
    arrays = {f"in:{key}": value.numpy() for key, value in given.items()}
    arrays |= {f"out:{key}": value.numpy() for key, value in outputs.items()}
    np.savez_compressed(path.with_suffix(".npz"), **arrays)


def resets_after(node: Any) -> bool:
    """Whether a GRU node says how PyTorch computes it."""
    return any(attribute.name == "linear_before_reset" and attribute.i == 1 for attribute in node.attribute)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", help="of networks; default: all")
    arguments = parser.parse_args()
    exports = [(name, dynamo) for name in arguments.names or NETWORKS for dynamo in NETWORKS[name].exporters]
    # each in a process of its own: what one export has learned of sizes would fix them in the next
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
        for made in [pool.submit(export, *one, arguments.folder) for one in exports]:
            made.result()


if __name__ == "__main__":
    main()
