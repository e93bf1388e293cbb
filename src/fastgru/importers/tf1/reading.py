"""Checkpoints and frozen graphs → records, through TensorFlow's own readers. The only module that imports it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import BadModelFile, FastGRUError, MissingExtra
from .nodes import OUTPUTS, Array, Function, Node, Ref, Source

#: a constant that says only one number for all its entries may claim to have at most so many
_MOST_REPEATED = 1 << 24


def tensorflow() -> Any:
    """The package, imported when the first file needs it."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        return import_module("tensorflow")
    except ImportError as error:
        raise MissingExtra.of("tensorflow", "tensorflow", "Reading networks of TensorFlow 1") from error


def prefix_of(path: Path) -> Path | None:
    """The prefix of the checkpoint that a path names: the prefix itself, its index, or a folder; else None."""
    if path.is_dir():
        return _latest(path)
    if path.suffix == ".index":
        return path.with_suffix("")
    return path if not path.exists() and path.with_name(f"{path.name}.index").is_file() else None


def _latest(folder: Path) -> Path:
    """The checkpoint that the file ``checkpoint`` of a folder calls the latest, else the only one there."""
    if not (folder / "checkpoint").is_file():
        found = sorted(folder.glob("*.index"))
        if len(found) != 1:
            raise BadModelFile(f"{folder} should hold one checkpoint, holds {len(found)}; name one by its prefix")
        return found[0].with_suffix("")
    tf = tensorflow()
    try:
        state = tf.train.get_checkpoint_state(str(folder))
    except Exception as error:  # TensorFlow's readers raise what they like
        raise BadModelFile(f"{folder / 'checkpoint'} is damaged: {_first_line(error)}") from error
    if state is None or not state.model_checkpoint_path:
        raise BadModelFile(f"{folder / 'checkpoint'} names no checkpoint")
    # the folder may have moved since, and nothing outside it is opened
    prefix = folder / Path(state.model_checkpoint_path.replace("\\", "/")).name
    if not prefix.with_name(f"{prefix.name}.index").is_file():
        raise BadModelFile(f"{folder / 'checkpoint'} names {prefix.name!r}, which is not in the folder")
    return prefix


def read_frozen(path: Path) -> Source:
    """The records of a GraphDef."""
    tf = tensorflow()
    return _source(path, _parsed(path, tf.compat.v1.GraphDef()))


def read_meta(path: Path, checkpoint: Checkpoint) -> Source:
    """The records of the graph in a checkpoint's ``.meta``, with the checkpoint's arrays."""
    tf = tensorflow()
    meta = _parsed(path, tf.compat.v1.MetaGraphDef())
    source = _source(path, meta.graph_def)
    return replace(source, arrays=Variables(source.nodes, checkpoint))


class Checkpoint(Mapping[str, Array]):
    """The arrays of a checkpoint by name, each read when it is asked for."""

    def __init__(self, prefix: Path) -> None:
        self.prefix = prefix
        tf = tensorflow()
        try:
            self._reader = tf.train.load_checkpoint(str(prefix))
            self._shapes = {name: tuple(shape) for name, shape in self._reader.get_variable_to_shape_map().items()}
        except Exception as error:
            raise BadModelFile(f"{prefix}.index is damaged: {_first_line(error)}") from error
        data = prefix.parent.glob(f"{_escaped(prefix.name)}.data-*")
        self._bytes = sum(file.stat().st_size for file in data)

    def shape(self, name: str) -> tuple[int, ...]:
        return self._shapes[name]

    def __getitem__(self, name: str) -> Array:
        shape = self._shapes[name]
        if _product(shape) > self._bytes:  # before memory is taken; a number has at least one byte
            raise BadModelFile(
                f"{self.prefix}: {name!r} should have shape {shape}, but its data has {self._bytes} bytes"
            )
        try:
            return _plain_array(self._reader.get_tensor(name))
        except Exception as error:
            raise BadModelFile(f"{self.prefix}: cannot read {name!r}: {_first_line(error)}") from error

    def __iter__(self) -> Iterator[str]:
        return iter(self._shapes)

    def __len__(self) -> int:
        return len(self._shapes)


class Variables(Mapping[str, Array]):
    """A checkpoint's arrays by the names of the nodes that the graph's own Saver restores them to."""

    def __init__(self, nodes: Mapping[str, Node], checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint
        self._keys = {name: name for name in checkpoint} | _restored(nodes)

    def __getitem__(self, name: str) -> Array:
        return self._checkpoint[self._keys[name]]

    def __iter__(self) -> Iterator[str]:
        return (name for name, key in self._keys.items() if key in self._checkpoint)

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _restored(nodes: Mapping[str, Node]) -> dict[str, str]:
    """Under which key of the checkpoint the Saver's nodes look for each variable; slices of arrays are left out."""
    keys: dict[str, str] = {}
    for node in nodes.values():
        if node.op not in ("Assign", "AssignVariableOp") or len(node.inputs) < 2:
            continue
        source = node.inputs[1]
        while (reader := nodes.get(source.name)) is not None and reader.op == "Identity" and reader.inputs:
            source = reader.inputs[0]
        if reader is None or reader.op != "RestoreV2" or len(reader.inputs) < 3:
            continue
        names, slices = (nodes[ref.name].value if ref.name in nodes else None for ref in reader.inputs[1:3])
        if names is None or source.index >= names.size:
            continue
        is_whole = slices is not None and slices.size > source.index and not slices.flat[source.index]
        variable = nodes.get(node.inputs[0].name)
        if variable is not None and is_whole:
            keys[variable.name] = _text(names.flat[source.index])
    return keys


def _parsed(path: Path, message: Any) -> Any:
    try:
        message.ParseFromString(path.read_bytes())
    except OSError:
        raise
    except Exception as error:  # google.protobuf's DecodeError, which one need not have to import this
        raise BadModelFile(f"{path} is damaged, or no {type(message).__name__}: {_first_line(error)}") from error
    return message


def _source(path: Path, graph: Any) -> Source:
    nodes = _nodes(path, graph.node)
    if not nodes:
        raise BadModelFile(f"{path} holds a graph without nodes")
    functions = {function.signature.name: _function(path, function) for function in graph.library.function}
    return Source(nodes, functions)


def _nodes(path: Path, definitions: Any) -> dict[str, Node]:
    nodes: dict[str, Node] = {}
    for definition in definitions:
        if definition.name in nodes:
            raise BadModelFile(f"{path}: two nodes are called {definition.name!r}")
        try:
            nodes[definition.name] = _node(definition)
        except FastGRUError as error:
            raise BadModelFile(f"{path}: node {definition.name!r}: {error}") from error
    return nodes


def _node(definition: Any) -> Node:
    inputs = tuple(Ref.of(text) for text in definition.input if not text.startswith("^"))
    attributes = {key: plain for key, value in definition.attr.items() if (plain := _attribute(value)) is not None}
    value = _constant(definition.attr["value"].tensor) if definition.op == "Const" else None
    return Node(definition.name, definition.op, inputs, attributes, value)


def _function(path: Path, function: Any) -> Function:
    """A function's nodes; inside one a ref is ``argument`` or ``node:output:index``."""
    operations = {definition.name: definition.op for definition in function.node_def}

    def plain(text: str) -> str:
        parts = text.split(":")
        if text.startswith("^") or len(parts) < 3:
            return parts[0]
        names = OUTPUTS.get(operations.get(parts[0], ""), ())
        index = names.index(parts[1]) if parts[1] in names else int(parts[2]) if parts[2].isdecimal() else 0
        return f"{parts[0]}:{index}"

    definitions = []
    for definition in function.node_def:
        copy = type(definition)()
        copy.CopyFrom(definition)
        copy.input[:] = [plain(text) for text in definition.input if not text.startswith("^")]
        definitions.append(copy)
    results = tuple(Ref.of(plain(function.ret[output.name])) for output in function.signature.output_arg)
    arguments = tuple(argument.name for argument in function.signature.input_arg)
    return Function(arguments, results, _nodes(path, definitions))


def _attribute(value: Any) -> Any:
    """An attribute as a plain value; None for those of kinds that no operation of ours looks at."""
    kind = value.WhichOneof("value")
    if kind in ("i", "f", "b"):
        return getattr(value, kind)
    if kind == "s":
        return _text(value.s)
    if kind == "type":
        return _type_name(value.type)
    if kind == "shape":
        return _shape(value.shape)
    if kind == "func":
        return value.func.name
    if kind == "list":
        listed = value.list
        return [*listed.i, *listed.f, *listed.b, *map(_text, listed.s), *map(_type_name, listed.type),
                *map(_shape, listed.shape)]  # fmt: skip
    return None


def _type_name(number: int) -> str:
    try:
        return str(tensorflow().dtypes.as_dtype(number).name)
    except TypeError:
        return f"type {number}"


def _shape(shape: Any) -> list[int | None] | str:
    if shape.unknown_rank:
        return "unknown"
    return [None if dim.size < 0 else dim.size for dim in shape.dim]


def _constant(tensor: Any) -> Array:
    """A TensorProto as an array; a few bytes may claim any shape."""
    if any(dim.size < 0 for dim in tensor.tensor_shape.dim) or tensor.tensor_shape.unknown_rank:
        raise BadModelFile("a constant has no shape")
    count = _product(dim.size for dim in tensor.tensor_shape.dim)
    if count > max(_MOST_REPEATED, tensor.ByteSize()):
        raise BadModelFile(f"a constant claims to hold {count} numbers in {tensor.ByteSize()} bytes")
    try:
        return _plain_array(tensorflow().make_ndarray(tensor))
    except Exception as error:
        raise BadModelFile(f"its constant cannot be read: {_first_line(error)}") from error


def _plain_array(array: Any) -> Array:
    """bfloat16 and its kin, which numpy knows only through other packages, as float32."""
    array = np.asarray(array)
    return array.astype(np.float32) if array.dtype.kind == "V" or array.dtype.name == "bfloat16" else array


def _product(sizes: Any) -> int:
    count = 1
    for size in sizes:
        count *= int(size)
    return count


def _escaped(name: str) -> str:
    return "".join(f"[{c}]" if c in "*?[" else c for c in name)


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
