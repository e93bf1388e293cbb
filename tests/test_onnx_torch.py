"""Networks around nn.GRU as PyTorch's TorchScript exporter writes them (tools/make_torch_onnx.py), by onnxruntime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx", reason="onnx is not installed: ONNX files are not read")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: it judges what networks give")

import onnx

import fastgru
from onnx_build import difference, expected, feeds_of

FILES = sorted((Path(__file__).parent / "data" / "onnx" / "torch").glob("*.onnx"))
SIZES = [{"batch": 1, "time": 20}, {"batch": 3, "time": 16}, {"batch": 2, "time": 32}]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_networks(path: Path) -> None:
    assert difference(onnx.load(path), SIZES) < 1e-6


@pytest.mark.parametrize("name", ["stateful", "stateful_fixed", "stateful_time_major", "two_states"])
def test_streams_carry_states(name: str) -> None:
    """Step by step, a Stream gives what onnxruntime gives whose states are fed back by hand."""
    path = next(path for path in FILES if path.stem == name)
    proto = onnx.load(path)
    model = fastgru.load(path)
    assert len(model.graph.states) == len(model.inputs) - 1
    assert len(model.notes) == len(model.graph.states)
    feeds = feeds_of(proto, {"batch": 1, "time": 1})
    feeds |= {source: np.zeros_like(feeds[source]) for source, _ in model.graph.states}
    frames = np.random.default_rng(4).standard_normal((6, *feeds["x"].shape)).astype(np.float32)
    names = [output.name for output in proto.graph.output]
    with model.stream() as stream:
        for frame in frames:
            found = dict(zip(names, expected(proto, feeds | {"x": frame}), strict=True))
            np.testing.assert_allclose(stream.step(frame.reshape(1, -1)).ravel(), found["y"].ravel(), atol=1e-6)
            feeds |= {source: found[target] for source, target in model.graph.states}


@pytest.mark.parametrize("name", ["plain", "time_major", "own_zeros"])
def test_networks_without_state_inputs_stream(name: str) -> None:
    """All steps whole and one by one, the same bits."""
    model = fastgru.load(next(path for path in FILES if path.stem == name))
    x = np.random.default_rng(4).standard_normal((1, 9, 6)).astype(np.float32)
    given = x if model.inputs[0].axes[0] == "batch" else x.swapaxes(0, 1)
    y = model(given)
    with model.stream() as stream:
        steps = [stream.step(x[:, t]) for t in range(9)]
    first = y[0] if isinstance(y, tuple) else y
    last = steps[-1][0] if isinstance(steps[-1], tuple) else steps[-1]
    whole = first if first.ndim == 2 else first[-1] if name == "time_major" else first[:, -1]
    np.testing.assert_array_equal(last, whole)
