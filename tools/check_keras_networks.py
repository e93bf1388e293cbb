"""Run the networks of `tools/keras_networks` with fastgru, without Keras, and compare with what Keras answered::

    python tools/check_keras_networks.py networks3 networks2 [--dtype DTYPE]

Prints what disagrees, is refused or fails, and a table of counts. Exit code 1 unless all agree.
"""

from __future__ import annotations

import argparse
import collections
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import fastgru
from fastgru.errors import UnsupportedModel
from fastgru.narrowing import DTYPES
from tolerances import NARROW, TOLERANCES


def error(y: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference as the bound counts it; infinite where shapes or NaNs differ."""
    if y.shape != expected.shape or not np.array_equal(np.isnan(y), np.isnan(expected)):
        return float("inf")
    difference = np.nan_to_num(np.abs(y.astype(np.float64) - expected))
    return float(difference.max(initial=0) / max(1.0, np.nan_to_num(np.abs(expected)).max(initial=0)))


def inputs_of(model: fastgru.Model, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {key[2:]: array for key, array in arrays.items() if key.startswith("x:")}


def check(folder: Path, entry: dict[str, Any], dtype: str = "float32", **options: Any) -> tuple[str, str, float]:
    """How a network fares: "agrees" and the error, else "disagrees", "refused" or "fails" and why."""
    with np.load(folder / entry["arrays"]) as archive:
        arrays = dict(archive)
    try:
        config = folder / entry["config"] if "config" in entry else None
        model = fastgru.load(folder / entry["file"], config=config, dtype=dtype, **options)
        y = model(inputs_of(model, arrays))
    except UnsupportedModel as refusal:
        return "refused", "; ".join(refusal.reasons), np.nan
    except Exception as fault:  # the table tells of it
        return "fails", f"{type(fault).__name__}: {fault}", np.nan
    answers = [array for key, array in arrays.items() if key.startswith("y:")]
    given = y if isinstance(y, tuple) else (y,)
    if len(given) != len(answers):
        return "fails", f"{len(given)} outputs, Keras has {len(answers)}", np.nan
    if entry["outputs"]:  # by name: Keras has a dict of them
        names = [spec.name for spec in model.outputs]
        if sorted(names) != entry["outputs"]:
            return "fails", f"outputs {names}, Keras has {entry['outputs']}", np.nan
        given = tuple(given[names.index(name)] for name in entry["outputs"])
    errors = [error(mine, answer) for mine, answer in zip(given, answers, strict=True)]
    shapes = [
        (mine.shape, answer.shape) for mine, answer in zip(given, answers, strict=True) if mine.shape != answer.shape
    ]
    words = f"shapes {shapes}" if shapes else "outputs " + ", ".join(f"{value:.1e}" for value in errors)
    return "agrees" if max(errors) <= NARROW.get(dtype, TOLERANCES["keras"]) else "disagrees", words, max(errors)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--brief", action="store_true", help="leave out what the networks hold")
    parser.add_argument("--dtype", choices=DTYPES, default="float32", help="of weights (default: %(default)s)")
    options = parser.parse_args()
    rows = []
    for folder in options.folders:
        manifest = json.loads((folder / "manifest.json").read_text())
        for entry in manifest["networks"]:
            verdict, why, largest = check(folder, entry, options.dtype)
            rows.append((f"Keras {manifest['keras']}", entry["kind"], verdict, largest))
            if verdict != "agrees":
                print(
                    f"{folder.name} {entry['number']} {entry['theme']} [{entry['kind']}, {entry['policy']}] "
                    f"{verdict}: {why}"
                )
                if not options.brief:
                    print(f"    holds {', '.join(entry['holds'])}")
    verdicts = ("agrees", "disagrees", "refused", "fails")
    print(
        f"\n{'Keras':12}  {'kind of file':15}"
        + "".join(f"{verdict:>11}" for verdict in verdicts)
        + f"{'largest error':>16}"
    )
    for keras, kind in sorted({row[:2] for row in rows}):
        chosen = [row for row in rows if row[:2] == (keras, kind)]
        counts = collections.Counter(row[2] for row in chosen)
        largest = max((row[3] for row in chosen if row[2] == "agrees"), default=0.0)
        print(f"{keras:12}  {kind:15}" + "".join(f"{counts[verdict]:11}" for verdict in verdicts) + f"{largest:16.1e}")
    counts = collections.Counter(row[2] for row in rows)
    print(f"{'all':12}  {'':15}" + "".join(f"{counts[verdict]:11}" for verdict in verdicts))
    return 0 if counts["agrees"] == len(rows) else 1


if __name__ == "__main__":
    sys.exit(main())
