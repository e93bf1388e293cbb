"""Frozen graphs and checkpoints of TensorFlow 1, run by TensorFlow in a session of its own."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .. import importers
from ..errors import BadInput
from ..graph import Array, Graph
from .reference import Inner, Reference, package, reason


def open_network(path: Path, options: Mapping[str, Any]) -> tuple[Graph, Reference]:
    """The Graph of a frozen graph or of a checkpoint, and TensorFlow's session with the same."""
    graph = importers.read(path, **options)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    tf = package("tensorflow", "TensorFlow")
    framework = f"tensorflow {tf.__version__}"
    try:
        session = _session(tf, path)
        inputs = {name: _tensor(session.graph, name) for name in graph.input_names}
        outputs = [_tensor(session.graph, name) for name in graph.output_names]
    except (tf.errors.OpError, ValueError, KeyError, TypeError, OSError) as error:
        raise BadInput(f"{framework} cannot load {path}: {reason(error)}") from error
    sizes = {name: tuple(tensor.shape) for name, tensor in inputs.items() if tensor.shape.rank is not None}

    def run(given: Mapping[str, Array]) -> tuple[Sequence[Any], list[Inner]]:
        feed = {tensor: np.asarray(given[name], tensor.dtype.as_numpy_dtype) for name, tensor in inputs.items()}
        try:
            return session.run(outputs, feed), []
        except (tf.errors.OpError, ValueError, TypeError) as error:
            raise BadInput(f"{framework} cannot run {path}: {reason(error)}") from error

    return graph, Reference(framework, run, sizes)


def _session(tf: Any, path: Path) -> Any:
    """A session with the network of a file."""
    prefix = _prefix(tf, path)
    with tf.Graph().as_default() as graph:
        session = tf.compat.v1.Session(graph=graph)
        if prefix is None:
            tf.import_graph_def(tf.compat.v1.GraphDef.FromString(path.read_bytes()), name="")
            return session
        meta = Path(f"{prefix}.meta")
        if not meta.is_file():
            raise BadInput(f"{prefix} has no {meta.name}, without which TensorFlow has no network to run")
        tf.compat.v1.train.import_meta_graph(str(meta), clear_devices=True).restore(session, str(prefix))
        return session


def _prefix(tf: Any, path: Path) -> Path | None:
    """Of the checkpoint that a path names; None: it is a frozen graph."""
    if path.is_dir():
        latest = tf.train.latest_checkpoint(str(path))
        return Path(latest) if latest is not None else next(path.glob("*.index")).with_suffix("")
    if path.suffix == ".index":
        return path.with_suffix("")
    return None if path.is_file() else path


def _tensor(graph: Any, name: str) -> Any:
    return graph.get_tensor_by_name(name if ":" in name else f"{name}:0")
