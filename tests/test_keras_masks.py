"""Masks and states where frameworks differ, against the numbers of both generations of Keras.

Holes, padding on either side, rows all of whose steps are masked; zeros or repeated outputs for masked steps; backward
walks with initial states; Bidirectional; running states. `tools/make_keras_masks.py` made tests/data/keras_masks.zip.
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

import fastgru
from tolerances import check

PACK = Path(__file__).parent / "data" / "keras_masks.zip"
CASES = sorted(name.removesuffix(".npz") for name in zipfile.ZipFile(PACK).namelist() if name.endswith(".npz"))
ONCE = [case for case in CASES if "stateful" not in case]
STATEFUL = [case for case in CASES if "stateful" in case]


def load(case: str, tmp_path: Path, **options: object) -> tuple[fastgru.Model, dict[str, np.ndarray], dict[str, dict]]:
    """A network, its inputs, and what Keras answered by the turn and the place of the output."""
    with zipfile.ZipFile(PACK) as pack:
        path = Path(pack.extract(f"{case}.{'keras' if case.startswith('keras3') else 'h5'}", tmp_path))
        arrays = dict(np.load(io.BytesIO(pack.read(f"{case}.npz"))))
    inputs = {key[2:]: arrays.pop(key) for key in list(arrays) if key.startswith("x:")}
    answers: dict[str, dict] = {}
    for key, array in arrays.items():
        turn, place = key.split(":")
        answers.setdefault(turn, {})[int(place)] = array
    return fastgru.load(path, **options), inputs, answers


@pytest.mark.parametrize("case", ONCE)
def test_masks_are_those_of_keras(case: str, tmp_path: Path, isa: str) -> None:
    model, inputs, answers = load(case, tmp_path)
    y = model(inputs)
    y = y if isinstance(y, tuple) else (y,)
    assert len(y) == len(answers["y"])
    for place, answer in answers["y"].items():
        check(y[place], answer, "keras")


@pytest.mark.parametrize("case", ONCE)
def test_a_row_is_masked_by_itself(case: str, tmp_path: Path) -> None:
    """Row after row gives the bits of the whole batch, whatever the masks of the others."""
    model, inputs, _ = load(case, tmp_path)
    whole = model(inputs)
    for row in range(len(inputs["x"])):
        alone = model({name: array[row : row + 1] for name, array in inputs.items()})
        pairs = zip(whole, alone, strict=True) if isinstance(whole, tuple) else [(whole, alone)]
        for all_rows, one in pairs:
            np.testing.assert_array_equal(all_rows[row : row + 1], one)


@pytest.mark.parametrize("case", STATEFUL)
def test_a_stateful_network_is_a_stream(case: str, tmp_path: Path, isa: str) -> None:
    model, inputs, answers = load(case, tmp_path)
    x = inputs["x"]
    check(model(x), answers["y"][0], "keras")
    stream = model.stream(batch_size=len(x))
    first = stream.run(x)
    check(first, answers["y"][0], "keras")
    second = stream.run(x)
    # Keras begins each call with an output of zero, until the first step that is not masked. A stream goes on as one
    # call with all steps would: there the last output is repeated
    begun = np.logical_or.accumulate((x != 0).any(axis=2), axis=1)
    check(second[begun], answers["again"][0][begun], "keras")
    repeated = np.broadcast_to(first[:, -1:], first.shape)
    np.testing.assert_array_equal(second[~begun], repeated[~begun])
    stream.reset()
    check(stream.run(x), answers["reset"][0], "keras")
    np.testing.assert_array_equal(model(x), model(x))  # a plain call starts from a fresh state


def test_both_generations_and_every_case() -> None:
    names = {
        generation: {case.split("/")[1] for case in CASES if case.startswith(generation)}
        for generation in ("keras2", "keras3")
    }
    assert names["keras2"] == {name for name in names["keras3"] if not name.endswith("_explicit_mask")}
    assert len(CASES) > 100
