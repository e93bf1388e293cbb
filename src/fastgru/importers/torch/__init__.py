"""PyTorch: state dicts in ``.pt`` and ``.pth`` files, and live modules.

| module | does |
|---|---|
| `state_dict` | opens a file with torch's own reader, which runs no code of it, and finds the state dict inside |
| `trace` | a module → the operations of its forward, by torch.fx |
| `convert` | those operations → Graph |
| `values` | tensors as they are here: a value of the Graph, and how its axes stand in PyTorch |
| `modules`, `functions` | tables of what is known: layers, and functions and methods of tensors |
| `in_place` | whether anybody can tell that an operation changes its tensor instead of making another |
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...errors import MissingExtra
from ...graph import Graph


def read(path: str | os.PathLike[str], *, config: Any = None) -> Graph:
    """Read a state dict.

    Parameters
    ----------
    path : path-like
        What torch.save wrote, in its old or its zip format.
    config : dict, list or path
        The description of the network, as `fastgru.importers.arrays` has it.

    Raises
    ------
    BadModelFile, BadInput
    UnsupportedModel
        A whole module or a TorchScript archive instead of arrays.
    MissingExtra
        torch is not installed.
    """
    path = Path(path)
    _torch(f"reading {path} (a .safetensors file needs no torch)")
    from ..arrays import with_config
    from . import state_dict

    arrays, notes = state_dict.read(path)
    return with_config(path, arrays, config, notes)


def from_torch(module: Any, inputs: Mapping[str, Any] | None = None, initial_state: bool | None = None) -> Graph:
    """The Graph of a live module; `fastgru.from_torch` says what the arguments mean."""
    _torch("from_torch")
    from . import convert

    return convert.from_module(module, inputs, initial_state)


def _torch(purpose: str) -> Any:
    try:
        import torch
    except ImportError:
        raise MissingExtra.of("torch", "torch", purpose) from None
    return torch
