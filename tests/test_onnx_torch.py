"""Networks around nn.GRU as PyTorch's TorchScript exporter writes them (tools/make_torch_onnx.py), by onnxruntime."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("onnx", reason="reading ONNX files takes the package onnx")
pytest.importorskip("onnxruntime", reason="what networks give is judged by onnxruntime")

import onnx

from onnx_build import difference

FILES = sorted((Path(__file__).parent / "data" / "onnx" / "torch").glob("*.onnx"))
SIZES = [{"batch": 1, "time": 20}, {"batch": 3, "time": 16}, {"batch": 2, "time": 32}]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_networks(path: Path) -> None:
    assert difference(onnx.load(path), SIZES) < 1e-6
