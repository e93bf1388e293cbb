"""The fastgru file: a safetensors file that holds a whole Graph.

Tensors are named ``layer/field``; those of a network inside a layer ``outer/layer/field``. The metadata of the header
holds, as strings:

- ``fastgru_format``: the version of this layout. Older versions always load, a newer one is refused by name. A file is
  of the oldest one whose readers know all that it has: 2 for ports, states and later attributes of layers, 3 for narrow
  weights, else 1;
- ``graph``: the JSON of `Graph.structure`;
- ``dtypes``: a JSON object of the dtype of each narrow tensor by name, absent where there are none. bfloat16 is held as
  U16 (NumPy has no bfloat16), float16 as F16, int8 as I8, with its scales in ``layer/field:scale``. All else is F32;
- ``notes``: a JSON list of strings;
- ``text``: the JSON of `Graph.text`, absent where the network has none.

A file is hostile until every one of its fields has been looked at: sizes are compared with the file's own before
anything is made of them, and what does not fit is BadModelFile, naming file and fault.

Reading maps the file into memory and parses the header here rather than with safetensors, whose numpy face copies every
tensor (64 MB: 190 ms, against 0.1 ms for the map).
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import mmap
import os
from collections.abc import Callable, Collection, Mapping
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import numpy as np

from .errors import BadModelFile
from .graph import (
    LAYERS,
    MAX_DEPTH,
    Activation,
    Array,
    Graph,
    Layer,
    NarrowArray,
    TensorSpec,
    TimeDistributed,
    Weights,
    layer_from,
)  # fmt: skip
from .ports import Port

FORMAT = 3
#: the limit of the safetensors specification
MAX_HEADER = 100_000_000
MAX_SIZE = 2**31 - 1
MAX_AXES = 8
DTYPES: Mapping[str, np.dtype[Any]] = {
    "F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "I8": np.dtype("i1"), "U16": np.dtype("<u2")
}  # fmt: skip
#: the tensors that may be narrow, each with the axis of its scales
SCALE_AXES = {key: axis for cls in LAYERS.values() for key, axis in cls.scale_axes.items()}


def write(graph: Graph, path: str | os.PathLike[str]) -> None:
    """Save a Graph.

    The file appears whole or not at all: it is written beside `path` and then renamed over it.

    Parameters
    ----------
    graph : Graph
    path : path-like
        An existing file is replaced.

    Raises
    ------
    BadModelFile
        A tensor is neither float32 nor narrow.
    OSError
        The file cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> from fastgru.graph import Dense, tensor_spec
    >>> dense = Dense(name="d", inputs=("x",), kernel=np.ones((2, 3), np.float32))
    >>> graph = Graph((tensor_spec("x", None, (2,)),), (dense,), ("d",))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write(graph, f"{folder}/model.safetensors")
    ...     read(f"{folder}/model.safetensors").fingerprint == graph.fingerprint
    True
    """
    from safetensors.numpy import save  # only writing needs it, and a short-lived process mostly reads

    arrays: dict[str, Array] = {}
    dtypes: dict[str, str] = {}
    for name, tensor in graph.tensors:
        if isinstance(tensor, NarrowArray):
            dtypes[name], arrays[name] = tensor.dtype, tensor.data
            if tensor.scale is not None:
                arrays[f"{name}:scale"] = tensor.scale
        elif tensor.dtype == np.float32:
            arrays[name] = tensor
        else:
            raise BadModelFile(f"{os.fspath(path)}: tensor {name!r} should be float32, is {tensor.dtype}")
    metadata = {
        "fastgru_format": str(_format_of(graph)),
        "graph": json.dumps(graph.structure()),
        "notes": json.dumps(list(graph.notes)),
    }
    if dtypes:
        metadata["dtypes"] = json.dumps(dtypes)
    if graph.text is not None:
        metadata["text"] = json.dumps(dict(graph.text))
    # not save_file, whose files only their owner may read
    _replace(path, save({name: np.ascontiguousarray(array) for name, array in arrays.items()}, metadata))


def read(path: str | os.PathLike[str]) -> Graph:
    """Load a Graph; its tensors are read-only views of the mapped file.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    Graph
        With the fingerprint, notes and text of the one that was written.

    Raises
    ------
    BadModelFile
        The file is damaged, no fastgru file, or of a newer format; names the file and the fault.
    OSError
        The file cannot be read; FileNotFoundError where there is none.
    """
    try:
        return _graph_of(*read_safetensors(path, check=_check_format))
    except BadModelFile as error:
        raise BadModelFile(f"{os.fspath(path)}: {error}") from None


def _replace(path: str | os.PathLike[str], data: bytes) -> None:
    """Put a file in place at once: a reader sees the old one or the whole new one."""
    draft = f"{os.fspath(path)}.{os.urandom(4).hex()}.tmp"
    try:
        with open(draft, "xb") as file:
            file.write(data)
        os.replace(draft, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.remove(draft)
        raise


# ---- the container -------------------------------------------------------------------------------------------------


def read_safetensors(
    path: str | os.PathLike[str],
    dtypes: Mapping[str, np.dtype[Any]] = DTYPES,
    check: Callable[[Mapping[str, str]], None] | None = None,
) -> tuple[dict[str, str], dict[str, Array]]:
    """Metadata, and every tensor by name as a view of the mapped file; of the `dtypes` that are allowed. `check` may
    refuse the metadata before any tensor is looked at."""
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if size else b""
    return parse_safetensors(data, dtypes, check)


def parse_safetensors(
    data: mmap.mmap | bytes,
    dtypes: Mapping[str, np.dtype[Any]] = DTYPES,
    check: Callable[[Mapping[str, str]], None] | None = None,
) -> tuple[dict[str, str], dict[str, Array]]:
    """The same of a file's bytes."""
    size = len(data)
    if size < 8:
        raise BadModelFile(f"holds {size} bytes, too few for a safetensors file")
    length = int.from_bytes(data[:8], "little")
    if length > min(size - 8, MAX_HEADER):
        raise BadModelFile(f"no safetensors file, or cut short: a header of {length} bytes in a file of {size}")
    header = _json(data[8 : 8 + length], "header")
    if not isinstance(header, dict):
        raise BadModelFile("the header is no JSON object")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise BadModelFile("the header's metadata should map strings to strings")
    if check is not None:
        check(metadata)
    start = 8 + length
    tensors = {name: _tensor(name, entry, data, start, dtypes) for name, entry in header.items()}
    held = max((entry["data_offsets"][1] for entry in header.values()), default=0)
    if held != size - start:
        raise BadModelFile(f"should hold {held} bytes of tensors, holds {size - start}")
    return metadata, tensors


def _tensor(name: str, entry: Any, data: mmap.mmap | bytes, start: int, dtypes: Mapping[str, np.dtype[Any]]) -> Array:
    """One tensor, after its dtype, shape and place have been compared with each other and with the file."""
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise BadModelFile(f"tensor {name!r} should have dtype, shape and data_offsets")
    shape, offsets = entry["shape"], entry["data_offsets"]
    if not _fits(shape, tuple[int, ...]) or any(size < 1 for size in shape) or len(shape) > MAX_AXES:
        raise BadModelFile(f"tensor {name!r}: the shape should be a short list of positive sizes, is {_short(shape)}")
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(type(offset) is int for offset in offsets):
        raise BadModelFile(f"tensor {name!r}: data_offsets should be two whole numbers, is {_short(offsets)}")
    dtype = dtypes.get(entry["dtype"]) if isinstance(entry["dtype"], str) else None
    if dtype is None:
        raise BadModelFile(f"tensor {name!r}: the dtype should be {' or '.join(dtypes)}, is {_short(entry['dtype'])}")
    count = math.prod(shape)
    first, last = offsets
    if not 0 <= first <= last <= len(data) - start:
        raise BadModelFile(f"tensor {name!r} lies outside the file, which may be cut short")
    if last - first != count * dtype.itemsize:
        raise BadModelFile(f"tensor {name!r}: shape {tuple(shape)} does not take {last - first} bytes")
    # the header of a foreign writer need not end at a multiple of four
    return np.require(np.frombuffer(data, dtype, count, start + first).reshape(shape), requirements="A")


# ---- the network ---------------------------------------------------------------------------------------------------


def _check_format(metadata: Mapping[str, str]) -> None:
    version = metadata.get("fastgru_format")
    if version is None:
        raise BadModelFile("a safetensors file, but not one that fastgru wrote: no fastgru_format in its metadata")
    if not (version.isascii() and version.isdigit() and 1 <= len(version) <= 9 and int(version) >= 1):
        raise BadModelFile(f"fastgru_format should be a positive whole number, is {_short(version)}")
    if int(version) > FORMAT:
        raise BadModelFile(f"is of fastgru format {version}, this version reads up to {FORMAT}: please upgrade fastgru")


def _graph_of(metadata: Mapping[str, str], tensors: Mapping[str, Array]) -> Graph:
    if "graph" not in metadata:
        raise BadModelFile("no graph in its metadata")
    structure = _json(metadata["graph"], "graph")
    notes = _json(metadata.get("notes", "[]"), "notes")
    text = _json(metadata["text"], "text") if "text" in metadata else None
    _expect("notes", notes, tuple[str, ...])
    _expect("text", text, dict | None)
    by_layer: dict[str, dict[str, Weights]] = {}
    for name, tensor in _held(tensors, _json(metadata.get("dtypes", "{}"), "dtypes")).items():
        layer, _, key = name.rpartition("/")
        by_layer.setdefault(layer, {})[key] = tensor
    graph = _network(structure, "graph", by_layer, tuple(notes), text)
    if by_layer:
        raise BadModelFile(f"holds tensors of {_short(min(by_layer))}, which no layer of the graph claims")
    if text is not None:
        from .text import FrontEnd  # only networks that have one need it

        FrontEnd.of(graph)
    return graph


def _held(tensors: Mapping[str, Array], dtypes: Any) -> dict[str, Weights]:
    """The tensors as layers hold them, narrow ones with their scales."""
    if not isinstance(dtypes, dict) or not all(isinstance(dtype, str) for dtype in dtypes.values()):
        raise BadModelFile(f"its dtypes should map tensors to dtypes, are {_short(dtypes)}")
    absent = sorted(dtypes.keys() - tensors.keys())
    if absent:
        raise BadModelFile(f"its dtypes name {_short(absent[0])}, of which there is no tensor")
    held: dict[str, Weights] = dict(tensors)
    for name, dtype in dtypes.items():
        axis = SCALE_AXES.get(name.rpartition("/")[2])
        if axis is None:
            raise BadModelFile(f"tensor {name!r} should be float32, is {_short(dtype)}")
        scale = held.pop(f"{name}:scale", None) if dtype == "int8" else None
        try:
            held[name] = NarrowArray(dtype, tensors[name], scale, axis)  # type: ignore[arg-type]
        except BadModelFile as error:
            raise BadModelFile(f"tensor {name!r}: {error}") from None
    for name, tensor in held.items():
        if isinstance(tensor, np.ndarray) and tensor.dtype != np.float32:
            raise BadModelFile(f"tensor {name!r} should be float32, is {tensor.dtype}")
    return held


#: what the JSON of a network has only where there are ports or states
_PORT_FIELDS = {"input_ports", "output_ports", "states"}


def _format_of(graph: Graph) -> int:
    """The oldest format whose readers know all that the network has."""
    if any(isinstance(tensor, NarrowArray) for _, tensor in graph.tensors):
        return 3
    later = any(set(layer.later_fields) & set(layer.attributes) for layer in graph.layers)
    inside = (_format_of(layer.graph) for layer in graph.layers if isinstance(layer, TimeDistributed))
    return 2 if graph.has_ports or graph.states or later else max(inside, default=1)


def _network(
    structure: Any,
    what: str,
    by_layer: dict[str, dict[str, Weights]],
    notes: tuple[str, ...] = (),
    text: Any = None,
    place: tuple[str, ...] = (),
) -> Graph:
    """The network of the file or, at a `place`, that of a layer: the last of these names, inside the ones before it."""
    if len(place) >= MAX_DEPTH:
        raise BadModelFile(f"{what}: more than {MAX_DEPTH} networks stand inside each other")
    fields = _object(structure, what, {"name", "inputs", "layers", "outputs"}, set() if place else _PORT_FIELDS)
    for key, hint in (("name", str), ("inputs", list), ("layers", list), ("outputs", tuple[str, ...])):
        _expect(f"the {what}'s {key}", fields[key], hint)
    for key in _PORT_FIELDS & set(fields):
        _expect(f"the {what}'s {key}", fields[key], list)
    if not all(_fits(pair, tuple[str, str]) and len(pair) == 2 for pair in fields.get("states", ())):
        raise BadModelFile(f"the {what}'s states should be pairs of names, are {_short(fields['states'])}")
    inputs = tuple(_input(entry) for entry in fields["inputs"])
    layers = tuple(_layer(entry, by_layer, place) for entry in fields["layers"])
    ports = {key: tuple(map(_port, fields[key])) for key in ("input_ports", "output_ports") if key in fields}
    states = tuple(map(tuple, fields.get("states", ())))
    return Graph(inputs, layers, tuple(fields["outputs"]), fields["name"], notes, text, states=states, **ports)


def _port(entry: Any) -> Port | None:
    if entry is None:
        return None
    hints = _hints(Port)
    fields = _object(entry, "a port", set(hints))
    for key, hint in hints.items():
        _expect(f"a port's {key}", fields[key], hint)
    return Port(fields["name"], tuple(fields["sizes"]), tuple(map(tuple, fields["axes"])), fields["dtype"])


def _input(entry: Any) -> TensorSpec:
    fields = _object(entry, "an input", set(_hints(TensorSpec)))
    for key, hint in _hints(TensorSpec).items():
        _expect(f"an input's {key}", fields[key], hint)
    spec = TensorSpec(fields["name"], tuple(fields["shape"]), fields["dtype"], tuple(fields["axes"]))
    lead = ("batch", "time") if spec.is_sequence else ("batch",)
    if spec.axes[: len(lead)] != lead or spec.axes.count("time") > 1 or len(spec.axes) != len(spec.shape):
        raise BadModelFile(f"input {spec.name!r}: axes {spec.axes} do not fit shape {spec.shape}")
    if any(size is None or size < 1 for size in spec.inner) or any(size == 0 for size in spec.shape):
        raise BadModelFile(f"input {spec.name!r}: only batch and time may be free or unknown in shape {spec.shape}")
    if spec.dtype not in ("float32", "int32"):
        raise BadModelFile(f"input {spec.name!r}: unknown dtype {_short(spec.dtype)}")
    return spec


def _layer(entry: Any, by_layer: dict[str, dict[str, Weights]], place: tuple[str, ...]) -> Layer:
    """One layer, every attribute held against its type in graph.py; takes its tensors out of `by_layer`."""
    if not isinstance(entry, dict) or not isinstance(entry.get("kind"), str) or not isinstance(entry.get("name"), str):
        raise BadModelFile("a layer should be an object with a kind and a name")
    attributes = {key: value for key, value in entry.items() if key != "kind"}
    kind, name = entry["kind"], entry["name"]
    cls = LAYERS.get(kind)
    if cls is None:
        raise BadModelFile(f"layer {name!r} is of unknown kind {_short(kind)}")
    inside = (*place, name)
    tensors, hints = by_layer.pop("/".join(inside), {}), _hints(cls)
    for field in dataclasses.fields(cls):
        held = tensors if field.name in cls.tensor_fields else attributes
        if field.name in held:
            if held is attributes:
                _expect(f"{kind} layer {name!r}: {field.name}", attributes[field.name], hints[field.name])
        elif field.default is dataclasses.MISSING:
            raise BadModelFile(f"{kind} layer {name!r} lacks its {field.name}")
    if cls is TimeDistributed:
        what = f"network of {kind} layer {_short(name)}"
        attributes["graph"] = _network(attributes["graph"], what, by_layer, place=inside)
    return layer_from(kind, attributes, tensors)


# ---- JSON that may be anything -------------------------------------------------------------------------------------


def _json(text: str | bytes, what: str) -> Any:
    try:
        return json.loads(text if isinstance(text, str) else text.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise BadModelFile(f"its {what} is no JSON: {error}") from None


def _object(value: Any, what: str, keys: set[str], optional: Collection[str] = ()) -> dict[str, Any]:
    if not isinstance(value, dict) or set(value).difference(optional) != keys:
        raise BadModelFile(f"{what} should be an object of {', '.join(sorted(keys))}, is {_short(value)}")
    return value


def _expect(what: str, value: Any, hint: Any) -> None:
    if not _fits(value, hint):
        wanted = hint if get_origin(hint) else hint.__name__
        raise BadModelFile(f"{what} should be {wanted}, is {_short(value)}")


def _fits(value: Any, hint: Any) -> bool:
    """Whether a JSON value can stand for the type of a field in graph.py."""
    origin = get_origin(hint)
    if origin is tuple:
        return isinstance(value, list) and all(_fits(item, get_args(hint)[0]) for item in value)
    if origin in (Union, UnionType):
        return any(_fits(value, option) for option in get_args(hint))
    return _SCALARS[hint](value)


def _is_whole(value: Any) -> bool:
    return type(value) is int and abs(value) <= MAX_SIZE


def _is_number(value: Any) -> bool:
    return type(value) is float or (type(value) is int and abs(value) <= MAX_SIZE)


def _is_activation(value: Any) -> bool:
    if not isinstance(value, dict) or set(value) != {"activation", "params"}:
        return False
    name, params = value["activation"], value["params"]
    is_list = isinstance(name, str) and isinstance(params, list)
    return is_list and all(_is_number(item) or item in ("inf", "-inf") for item in params)


_SCALARS: dict[Any, Callable[[Any], bool]] = {
    str: lambda value: isinstance(value, str),
    bool: lambda value: isinstance(value, bool),
    list: lambda value: isinstance(value, list),
    dict: lambda value: isinstance(value, dict),
    NoneType: lambda value: value is None,
    int: _is_whole,
    float: _is_number,
    Activation: _is_activation,
    Graph: lambda value: isinstance(value, dict),
}


def _hints(cls: type) -> dict[str, Any]:
    """The types of a dataclass' fields by name."""
    hints = get_type_hints(cls, localns={"Graph": Graph})  # layers may know it by name alone
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}


def _short(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}…"
