"""A description of a network and named arrays → Graph."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from ...errors import BadInput, BadModelFile
from ...graph import Graph, TensorSpec, tensor_spec
from ...ports import Port
from ..builder import GraphBuilder
from .layers import KINDS, TOKENS, Entry, Network
from .options import Options
from .store import ArrayStore, listed

#: keys of a description
_KEYS = ("layers", "ignore", "name")
#: a description is a few lines; a file of this many bytes is something else
_MAX_CONFIG = 1 << 20
_MAX_ENTRIES = 10_000


def describe(config: Any) -> dict[str, Any]:
    """A description as a dict, from itself, a list of its layers, or the path of a JSON file with either.

    Raises
    ------
    BadInput
    FileNotFoundError
    """
    if isinstance(config, (str, os.PathLike)):
        path = Path(config)
        if path.stat().st_size > _MAX_CONFIG:
            raise BadInput(f"{path} is too large for a description of a network")
        try:
            config = json.loads(path.read_bytes())
        except (ValueError, RecursionError) as error:
            raise BadInput(f"{path} should be a description in JSON: {error}") from None
    if isinstance(config, Sequence):
        config = {"layers": list(config)}
    if not isinstance(config, Mapping) or not isinstance(config.get("layers"), Sequence):
        raise BadInput(f'a description is a dict with a list of "layers", got {str(config)[:80]}')
    foreign = sorted(str(key) for key in config if key not in _KEYS)
    if foreign:
        raise BadInput(f"a description has {', '.join(_KEYS)}, but not {', '.join(foreign)}")
    return dict(config)


def network(arrays: Mapping[str, Any], config: Mapping[str, Any], notes: Sequence[str] = ()) -> Graph:
    """The Graph of arrays and a description (`describe`).

    Raises
    ------
    BadInput
        Whatever does not fit: all of it, each with its entry.
    """
    store = ArrayStore(arrays)
    _ignore(store, config.get("ignore", ()))
    entries = _entries(store, config["layers"])
    left = store.left_over()
    if left:
        store.faults.append(f"no layer takes {listed(left, store.arrays)}; ignore=[…] names what may be left out")
    batch_first = {entry.batch_first for entry in entries if entry is not None} - {None}
    if len(batch_first) > 1:
        store.faults.append("batch_first is True of some layers and False of others")
    _raise(store)
    name = config.get("name", "")
    if not isinstance(name, str):
        raise BadInput(f"name should be a string, is {name!r}")
    try:
        graph = _build([entry for entry in entries if entry is not None], batch_first != {False}, name)
    except BadModelFile as error:
        raise BadInput(f"the layers do not go together: {error}") from None
    all_notes = (*notes, *store.notes, *store.dtype_notes())
    return Graph(**{**_fields(graph), "notes": all_notes})


def _ignore(store: ArrayStore, patterns: Any) -> None:
    patterns = [patterns] if isinstance(patterns, str) else patterns
    if not isinstance(patterns, Sequence) or not all(isinstance(pattern, str) for pattern in patterns):
        raise BadInput(f"ignore should be a list of names or patterns such as 'decoder.*', is {patterns!r}")
    for pattern in patterns:
        names = [name for name in store.arrays if fnmatchcase(name, pattern)]
        if not names:
            store.faults.append(f"ignore: no array has a name like {pattern!r}")
        for name in names:
            del store.arrays[name]


def _entries(store: ArrayStore, layers: Sequence[Any]) -> list[Entry | None]:
    if len(layers) > _MAX_ENTRIES:
        raise BadInput(f"a description of {len(layers)} layers")
    entries: list[Entry | None] = []
    kinds = []
    for number, entry in enumerate(layers):
        found = [key for key in KINDS if isinstance(entry, Mapping) and key in entry]
        kind = found[0] if found else None  # a linear entry may have an activation, too
        if kind is None:
            store.faults.append(
                f"layers[{number}] should be an object with one of {', '.join(KINDS)}, is {entry!r:.80}"
            )
            continue
        options = Options(entry, kind, number, store.faults)
        wants_name = kind not in ("activation", "dropout")
        if wants_name and not isinstance(options.source, str) and not (kind == "gru" and options.source is None):
            options.fault("should name arrays by the beginning of their names")
            continue
        entries.append(KINDS[kind](store, options))
        if entries[-1] is not None:
            options.finish()
        kinds.append(kind)
    if "gru" not in kinds:
        store.faults.append('the description has no {"gru": …}')
    if "embedding" in kinds[1:]:
        store.faults.append("an embedding reads token ids: it can only be the first layer")
    return entries


def _raise(store: ArrayStore) -> None:
    if len(store.faults) == 1:
        raise BadInput(store.faults[0])
    if store.faults:
        lines = "".join(f"\n  - {fault}" for fault in store.faults)
        raise BadInput(f"{len(store.faults)} things do not fit:{lines}")


def _build(entries: Sequence[Entry], batch_first: bool, name: str) -> Graph:
    build = GraphBuilder()
    size = next(entry.input_size for entry in entries if entry.input_size is not None)
    is_tokens = size == TOKENS
    x = build.input(tensor_spec("x", None, () if is_tokens else (size,), "int32" if is_tokens else "float32"))
    grown = Network(build, x, f"{x.name}:mask", input_ports=[None if batch_first else time_major("x", x)])
    for entry in entries:
        entry.add(grown)
    y = grown.x
    # an output is called as its layer, unless that is seen otherwise
    port = None if batch_first or not y.is_sequence else time_major(y.name, y)
    return build.graph(
        (y, *grown.outputs),
        name=name,
        input_ports=_ports(grown.input_ports),
        output_ports=_ports([port, *grown.ports]),
        states=tuple(grown.states),
    )


def time_major(name: str, spec: TensorSpec) -> Port:
    """A sequence whose callers have (time, batch, …)."""
    return Port(name, spec.inner, ((1,), (0,), *((axis,) for axis in range(2, 2 + len(spec.inner)))))


def _ports(ports: Sequence[Port | None]) -> tuple[Port | None, ...]:
    return tuple(ports) if any(port is not None for port in ports) else ()


def _fields(graph: Graph) -> dict[str, Any]:
    return {key: getattr(graph, key) for key in Graph.__dataclass_fields__}
