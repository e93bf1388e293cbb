"""Random networks around GRUs against onnxruntime; tools/check_onnx_networks.py runs as many as one likes."""

from __future__ import annotations

import pytest

pytest.importorskip("onnx", reason="onnx is not installed: ONNX files are not read")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: it judges what networks give")

from onnx_build import difference
from onnx_random import network

SIZES = [{"B": 1, "T": 4}, {"B": 3, "T": 9}]


@pytest.mark.parametrize("first", range(0, 100, 10))
def test_random_networks(first: int) -> None:
    """None is refused, and all agree."""
    for seed in range(first, first + 10):
        error = difference(network(seed), SIZES)
        assert error < 1e-5, f"network {seed} is off by {error:.1e}"
