"""Random networks as PyTorch, Keras and people write them (tools/make_onnx_judged.py), beside onnxruntime's answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx", reason="onnx is not installed: ONNX files are not read")

import fastgru
from tolerances import check

FOLDER = Path(__file__).parent / "data" / "onnx" / "judged"


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.onnx")), ids=lambda path: path.stem)
def test_judged_files(path: Path) -> None:
    with np.load(path.with_suffix(".npz")) as archive:
        arrays = dict(archive)
    model = fastgru.load(path, assume_torch_gru=False)  # as onnxruntime reads GRUs without linear_before_reset
    found = model({key[2:]: array for key, array in arrays.items() if key.startswith("x:")})
    found = found if isinstance(found, tuple) else (found,)
    expected = [array for key, array in arrays.items() if key.startswith("y")]
    assert len(found) == len(expected) > 0
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == theirs.dtype
        check(ours, theirs, "onnxruntime")


def test_there_are_files() -> None:
    assert len(list(FOLDER.glob("*.onnx"))) >= 15
