"""The kinds of file that Keras writes a network to, and what it answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from maker import Maker, reset, tensor_name

#: by generation: what is written, with its share of the networks
KINDS = {
    3: {"keras": 5, "h5": 3, "weights.h5": 3, "weights.json": 1},
    2: {"keras": 3, "h5": 4, "weights.h5": 2, "legacy weights": 2},
}


def write(maker: Maker, model: Any, kind: str, stem: Path) -> dict[str, str]:
    """Save a network; names of the files under ``file`` and, beside weights, ``config``."""
    if kind in ("keras", "h5"):
        path = stem.with_name(f"{stem.name}.{kind}")
        model.save(path)
        return {"file": path.name}
    config = stem.with_name(f"{stem.name}.json")
    config.write_text(model.to_json())
    path = stem.with_name(f"{stem.name}.{'h5' if kind == 'legacy weights' else kind}")
    if kind == "weights.json":
        model.save_weights(path, max_shard_size=2e-6)  # in GB
    else:
        model.save_weights(path)
    return {"file": path.name, "config": config.name}


def answers(maker: Maker, model: Any) -> tuple[list[str], dict[str, np.ndarray]]:
    """What the network computes from the maker's inputs in float32, and the names of its outputs if it has any.

    Arrays are named ``x:`` and the input, and ``y:`` and the place of the output. A stateful network is asked from a
    fresh state; the second answer, without a reset in between, is ``again:``.
    """
    arrays = {f"x:{tensor_name(tensor)}": maker.arrays[tensor_name(tensor)] for tensor in model.inputs}
    x: Any = [maker.arrays[tensor_name(tensor)] for tensor in model.inputs]
    given = {tensor_name(tensor): array for tensor, array in zip(model.inputs, x, strict=True)}
    is_dict = isinstance(getattr(model, "_struct", getattr(model, "_nested_inputs", None)), dict)
    is_dict = is_dict or isinstance(getattr(model, "_inputs_struct", None), dict)
    rounds = ("y", "again") if "stateful" in maker.said else ("y",)
    names: list[str] = []
    for name in rounds:
        y = model(given if is_dict else x if len(x) > 1 else x[0], training=False)
        if isinstance(y, dict):
            names = sorted(y)
            y = [y[key] for key in names]
        for index, value in enumerate(y if isinstance(y, (list, tuple)) else [y]):
            arrays[f"{name}:{index}"] = np.asarray(value).astype(np.float32)
    reset(model)
    return names, arrays
