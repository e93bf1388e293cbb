"""Networks of TensorFlow 1 → Graph: checkpoints and frozen graphs.

`reading` makes plain records of a file through TensorFlow's own readers; `network` evaluates them to `values`, from the
outputs back to the inputs: `operations` and `layout` say what each operation makes of what it reads, `loops` takes
loops over time apart, `cell` finds GRU cells, `assembly` appends layers. What a checkpoint's arrays are
for says the graph in its ``.meta`` or, without one, `config=` (`config`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...errors import BadInput, BadModelFile
from ...graph import Graph
from . import config as described
from . import reading
from .network import understand


def read(
    path: str | os.PathLike[str],
    *,
    config: Mapping[str, Any] | Sequence[Any] | str | os.PathLike[str] | None = None,
    inputs: Sequence[str] | str | None = None,
    outputs: Sequence[str] | str | None = None,
) -> Graph:
    """Read a checkpoint or a frozen graph of TensorFlow 1.

    Parameters
    ----------
    path : path-like
        A frozen graph (a GraphDef), or a checkpoint: its prefix, its ``.index`` file, or its folder.
    config : list or path of a JSON file, optional
        The layers of a checkpoint without ``.meta``; `fastgru.importers.tf1.config` describes it.
    inputs, outputs : str or sequence of str, optional
        Names of nodes. Default: the placeholders that outputs depend on, and what nothing else in the graph reads.

    Raises
    ------
    MissingExtra
        TensorFlow is not installed.
    BadModelFile
        The file is damaged.
    BadInput
        An option does not go with the file, or is needed.
    UnsupportedModel
        Says of every node that is not understood why.
    """
    path = Path(path)
    inputs, outputs = _names("inputs", inputs), _names("outputs", outputs)
    prefix = reading.prefix_of(path)
    if prefix is None:
        if config is not None:
            raise BadInput(f"{path} holds its own graph: config= is for checkpoints without one")
        return _understood(path, reading.read_frozen(path), inputs, outputs)
    checkpoint = reading.Checkpoint(prefix)
    if config is not None:
        if inputs or outputs:
            raise BadInput("config= says what goes in and out: inputs= and outputs= name nodes of a graph")
        return described.build(checkpoint, config)
    meta = prefix.with_name(f"{prefix.name}.meta")
    if not meta.is_file():
        raise BadInput(
            f"{prefix} has no .meta with its graph: config= should list its layers; "
            f"its variables are {described.listed(checkpoint)}"
        )
    return _understood(meta, reading.read_meta(meta, checkpoint), inputs, outputs)


def _understood(path: Path, source: Any, inputs: Any, outputs: Any) -> Graph:
    try:
        return understand(source, inputs, outputs)
    except BadModelFile as error:
        raise BadModelFile(f"{path}: {error}") from error


def _names(option: str, names: Any) -> list[str] | None:
    if names is None:
        return None
    listed = [names] if isinstance(names, str) else list(names)
    if not listed or not all(isinstance(name, str) for name in listed):
        raise BadInput(f"{option}= should be names of nodes, is {names!r}")
    return listed
