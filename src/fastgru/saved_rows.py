"""A row of a Stream as bytes: a safetensors file that holds what `get_state` gives for it and its inputs without time.

The metadata says what it belongs to: ``fastgru_row`` (the version of this layout; a newer one is refused by name),
``dtype`` (what weights are held in), ``fingerprint`` (the Graph's), and ``carries``: a JSON list of `Stream.states`.
Tensors are named ``state/key`` and ``input/name``. Bytes may come from anywhere: what does not fit is StateMismatch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .errors import BadModelFile, StateMismatch
from .file import parse_safetensors
from .graph import Graph
from .narrowing import dtype_of

FORMAT = 1
DTYPES: Mapping[str, np.dtype[Any]] = {
    "F32": np.dtype("<f4"), "I32": np.dtype("<i4"), "I64": np.dtype("<i8")
}  # fmt: skip

Arrays = dict[str, np.ndarray]


def pack(belongs: Mapping[str, str], state: Mapping[str, np.ndarray], inputs: Mapping[str, np.ndarray]) -> bytes:
    """One row; `belongs` as `belonging` says, all arrays (1, …)."""
    from safetensors.numpy import save  # only this needs it

    arrays = {f"state/{key}": array for key, array in state.items()}
    arrays |= {f"input/{name}": array for name, array in inputs.items()}
    return save({key: np.ascontiguousarray(array) for key, array in arrays.items()}, dict(belongs))


def belonging(graph: Graph, states: Sequence[tuple[str, ...]]) -> dict[str, str]:
    """What a row of a stream of a network belongs to, as metadata."""
    carries = json.dumps([list(carried) for carried in states])
    return {
        "fastgru_row": str(FORMAT), "dtype": dtype_of(graph), "fingerprint": graph.fingerprint, "carries": carries,
    }  # fmt: skip


def unpack(belongs: Mapping[str, str], data: Any) -> tuple[Arrays, Arrays]:
    """State and inputs of a row that `pack` made bytes of.

    Raises
    ------
    StateMismatch
        Something else, damaged bytes, or a row of another network, dtype or kind of stream; names what differs.
    """
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise StateMismatch(f"a saved row is bytes, got {type(data).__name__}")
    try:
        metadata, tensors = parse_safetensors(bytes(data), DTYPES)
    except BadModelFile as error:
        raise StateMismatch(f"no saved row, or a damaged one: {error}") from None
    version = metadata.get("fastgru_row")
    if version is None:
        raise StateMismatch("no saved row: no fastgru_row in its metadata")
    if version != belongs["fastgru_row"]:
        raise StateMismatch(
            f"this version of fastgru reads rows of format {FORMAT}, the one given is of {version[:20]!r}"
        )
    for key, expected in belongs.items():
        if metadata.get(key) != expected:
            got = metadata[key][:200] if key in metadata else "missing"
            raise StateMismatch(f"the row belongs elsewhere: {key} is {got}, of this stream {expected}")
    found: dict[str, Arrays] = {"state": {}, "input": {}}
    for name, array in tensors.items():
        kind, _, key = name.partition("/")
        if kind not in found:
            raise StateMismatch(f"a saved row holds state/… and input/…, not {name[:200]!r}")
        found[kind][key] = array
    return found["state"], found["input"]
