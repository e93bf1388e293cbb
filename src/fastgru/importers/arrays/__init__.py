"""Networks from named arrays and a description: ``.npz``, ``.safetensors`` files of PyTorch, and plain dicts.

A description is a list of entries in the order of evaluation, each an object whose key says what it is::

    {"layers": [{"embedding": "emb"}, {"gru": "rnn", "batch_first": true}, {"linear": "fc", "activation": "sigmoid"}]}

`network` builds the Graph, `layers` knows the entries, `gates` the names of GRU weights, `store` the arrays.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...errors import BadInput, BadModelFile
from ...graph import Array, Graph
from . import files
from .network import describe, network
from .store import listed

__all__ = ["from_arrays", "listed", "network", "read", "with_config"]


def read(path: str | os.PathLike[str], *, config: Any = None) -> Graph:
    """Read a file of arrays.

    Parameters
    ----------
    path : path-like
        ``.npz`` or ``.safetensors``.
    config : dict, list or path
        The description of the network.

    Raises
    ------
    BadModelFile
        The file is damaged.
    BadInput
        No description, or one that does not fit the arrays.
    """
    path = Path(path)
    try:
        arrays = files.read(path)
    except BadModelFile as error:
        raise BadModelFile(f"{path}: {error}") from None
    return with_config(path, arrays, config)


def with_config(path: Path, arrays: Mapping[str, Array], config: Any, notes: tuple[str, ...] = ()) -> Graph:
    """The Graph of a file's arrays; errors name the file."""
    if config is None:
        hint = 'config={"layers": [{"gru": "…", "batch_first": True}, …]}'
        raise BadInput(f"{path} holds arrays without an architecture; say {hint}. It holds {listed(arrays, arrays)}")
    description = describe(config)
    try:
        return network(arrays, description, notes)
    except BadInput as error:
        raise BadInput(f"{path} and its description: {error}") from None


def from_arrays(arrays: Mapping[str, Any], layers: Any, ignore: Any, options: Mapping[str, Any]) -> Graph:
    """The Graph for `fastgru.gru_network`, which says what its arguments mean."""
    if layers is None:
        layers = [{"gru": None, **options}]
    elif options:
        raise BadInput(f"{', '.join(options)} belong to an entry of layers; without layers they are the GRU's")
    description = describe(layers)
    if ignore:
        if "ignore" in description:
            raise BadInput("ignore is given twice, by itself and in the description")
        description["ignore"] = ignore
    return network(arrays, description)
