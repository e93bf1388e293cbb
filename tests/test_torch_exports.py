"""Networks that PyTorch's exporters wrote, against the numbers that PyTorch computed (tools/make_torch_exports.py)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import fastgru

pytest.importorskip("onnx", reason="onnx is not installed: ONNX files are not read")

FOLDER = Path(__file__).parent / "data" / "onnx" / "torch_exports"
NAMES = sorted(path.stem for path in FOLDER.glob("*.onnx"))
TOLERANCE = 1e-5
#: says that its steps are free, but has their number at the time of the export in a Reshape
BAKED = "dynamo_time_first"
#: an input without batch or time by its shape alone
AXES = {"unbatched": {"x": "time features"}, "streamed_fixed": {"x": "batch time features"}}


def options_of(name: str) -> dict:
    module = name.removeprefix("dynamo_").removeprefix("forgotten_")
    options = {"axes": AXES[module]} if module in AXES else {}
    return options | ({"assume_torch_gru": True} if name.startswith("forgotten_") else {})


def recorded(name: str, kind: str) -> dict[str, np.ndarray]:
    """Inputs (``"in"``) or PyTorch's outputs (``"out"``)."""
    arrays = np.load(FOLDER / f"{name}.npz")
    return {key.partition(":")[2]: arrays[key] for key in arrays if key.startswith(f"{kind}:")}


def test_there_are_files():
    assert len(NAMES) >= 30


@pytest.mark.parametrize("name", [name for name in NAMES if name != BAKED])
def test_pytorchs_numbers(name):
    given, expected = recorded(name, "in"), recorded(name, "out")
    model = fastgru.load(FOLDER / f"{name}.onnx", **options_of(name))
    assert [spec.name for spec in model.inputs] == list(given)
    assert [spec.name for spec in model.outputs] == list(expected)
    found = model(given)
    for array, wanted in zip(found if isinstance(found, tuple) else (found,), expected.values(), strict=True):
        assert array.shape == wanted.shape
        np.testing.assert_allclose(array, wanted, rtol=0, atol=TOLERANCE)


def test_a_number_of_steps_that_was_baked_in_is_refused():
    with pytest.raises(fastgru.UnsupportedModel, match=r"\(Reshape\): 20 does not divide"):
        fastgru.load(FOLDER / f"{BAKED}.onnx")


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("forgotten_")])
def test_what_the_exporter_forgot_is_refused(name):
    with pytest.raises(fastgru.UnsupportedModel, match="assume_torch_gru"):
        fastgru.load(FOLDER / f"{name}.onnx")


@pytest.mark.parametrize("name", [name for name in NAMES if name.endswith("batch_first")])
def test_free_axes_grow_and_shrink_between_calls(name):
    model = fastgru.load(FOLDER / f"{name}.onnx", **options_of(name))
    x = np.random.default_rng(1).normal(size=(7, 9, 3)).astype(np.float32)
    y = model(x)[0]
    for rows, steps in ((1, 1), (7, 4), (3, 9)):
        part, last = model(x[:rows, :steps])
        np.testing.assert_array_equal(part, y[:rows, :steps])
        np.testing.assert_array_equal(last[0], y[:rows, steps - 1])
