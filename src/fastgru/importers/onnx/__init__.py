"""ONNX networks, read with the package onnx.

    read(path, node=None, assume_torch_gru=None, axes=None) → Graph
    from_onnx(model, …) → Graph
    trace(path, …) → which values of the file are values of that Graph

The way through the modules: `container` opens a file and its tensors, `axes` finds which axes of inputs are batch and
time, `network` evaluates node after node with the readers in `operators`. A value is a constant (`fold` computes with
those, `sizes` with the sizes that are free) or a view of a value of the Graph (`values`), whose axes stand in ONNX's
order: transposes and reshapes change the view alone, and `arrange` makes layers where an operator needs the numbers
themselves in order.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...errors import BadModelFile, UnsupportedModel
from ...graph import Graph, TensorSpec
from ...ports import Port
from .container import Container
from .network import Network
from .nodes import GRUNode, cut, gru_nodes

__all__ = ["GRUNode", "from_onnx", "gru_nodes", "read", "trace"]


def read(
    path: str | os.PathLike[str],
    *,
    node: str | None = None,
    assume_torch_gru: bool | None = None,
    axes: Mapping[str, Any] | None = None,
) -> Graph:
    """Read an ONNX file.

    Parameters
    ----------
    path : path-like
    node : str, optional
        Only the GRU node of that name, as a network of its own.
    assume_torch_gru : bool, optional
        How GRU nodes without ``linear_before_reset=1`` are computed: True, with it all the same, as PyTorch computes
        every GRU, though its dynamo exporter forgot to say so up to onnxscript 0.7.0; False, as the file says. By
        default such a node is refused where PyTorch has written the file.
    axes : dict of str to words, optional
        For inputs of which the file does not tell it: which axes are batch and time, as a word for each axis, such as
        ``"time batch features"``.

    Raises
    ------
    FileNotFoundError
    BadModelFile
        Damaged, incomplete, or contradicting itself.
    UnsupportedModel
        All that fastgru does not run.
    BadInput
        An option that does not fit the file.
    MissingExtra
        The package onnx is not installed.
    """
    path = Path(path)
    try:
        return _converted(Container.open(path), axes, node, assume_torch_gru)[1]
    except BadModelFile as error:
        raise BadModelFile(f"{path}: {error}") from error


def trace(path: str | os.PathLike[str], **options: Any) -> dict[str, tuple[TensorSpec, Port]]:
    """Which values of a file are values of the Graph that `read` makes of it with the same options.

    Returns
    -------
    dict
        By the file's name of a float, in order of evaluation: the Graph's value, and how the file lays it out. A layer
        that has been changed since, as where only its last step is read, has no longer that spec in the Graph.
    """
    network, _ = _converted(Container.open(Path(path)), **options)
    return network.traced()


def from_onnx(model: Any, **options: Any) -> Graph:
    """Convert a ModelProto; options and errors as `read` has them."""
    return _converted(Container.of(model), **options)[1]


def _converted(
    container: Container,
    axes: Mapping[str, Any] | None = None,
    node: str | None = None,
    assume_torch_gru: bool | None = None,
) -> tuple[Network, Graph]:
    """A file's Graph, and the Network that knows how it came about."""
    if node is not None:
        container = cut(container, node)
    network: Network | None = None
    first = None
    for turned in (False, True):  # where nobody says which axis is batch and which is time, either may be
        alike: dict[str, str] = {}
        before, network = network, Network(container, axes, turned=turned, assume_torch_gru=assume_torch_gru)
        if before is not None and before.roles == network.roles:
            break
        while True:
            try:
                return network, network.graph()
            except UnsupportedModel as refused:
                last = refused
            if not network.unequal:
                first = first or last
                break
            # free numbers of steps that must be one are taken for it: a call in which they differ is refused
            alike |= network.unequal
            network = Network(container, axes, turned=turned, alike=alike, assume_torch_gru=assume_torch_gru)
    assert first is not None
    raise first
