"""An ONNX file: its message, its tensors, the versions of its operators."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import BadInput, BadModelFile, MissingExtra
from .functions import inlined, nodes_of

#: the newest version of the standard's operators that readers have been held against
NEWEST_OPSET = 26
#: names of the standard's own operators' domain
STANDARD = ("", "ai.onnx")

#: floats that are computed in float32 here, by their number in TensorProto.DataType
_FLOATS = {1: "float32", 10: "float16", 11: "float64", 16: "bfloat16"}
_OTHERS = {2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64", 9: "bool", 12: "uint32"}
_OTHERS[13] = "uint64"
DTYPES = {**_FLOATS, **_OTHERS}


class Container:
    """A parsed ONNX model.

    Attributes
    ----------
    model : onnx.ModelProto
        Without functions of its own: they stand in place of their calls.
    opset : int
        Version of the standard's operators.
    folder : Path or None
        Where tensors kept outside lie; None where the model is no file.
    widths : dict of str to list of str
        Float dtypes other than float32 → names of what had them.
    """

    def __init__(self, model: Any, folder: Path | None) -> None:
        _check_texts(model)
        self.model = inlined(model)
        self.folder = folder
        self.widths: dict[str, list[str]] = {}
        self.opset = _opset(model)

    @classmethod
    def open(cls, path: Path) -> Container:
        """Parse a file.

        Raises
        ------
        BadModelFile
            It is no ONNX model.
        MissingExtra
            The package onnx is not installed.
        """
        onnx = _onnx()
        from google.protobuf.message import DecodeError

        try:
            model = onnx.ModelProto.FromString(path.read_bytes())
        except DecodeError as error:
            raise BadModelFile(f"is no ONNX file, or cut short: {error}") from error
        if not model.HasField("graph"):
            raise BadModelFile("is no ONNX file, or cut short: it holds no graph")
        return cls(model, path.parent)

    @classmethod
    def of(cls, model: Any) -> Container:
        """Take a ModelProto of the caller; BadInput where it is none."""
        if not isinstance(model, _onnx().ModelProto):
            raise BadInput(f"expected an onnx.ModelProto, got {type(model).__name__}; load() takes a path")
        return cls(model, None)

    def array(self, tensor: Any, name: str) -> np.ndarray:
        """The numbers of a TensorProto; floats of any width as float32.

        Raises
        ------
        BadModelFile
            Its numbers do not fit its shape, lie outside the folder, or are of no dtype that networks are made of.
        """
        from onnx import numpy_helper

        dtype = DTYPES.get(tensor.data_type)
        if dtype is None:
            raise BadModelFile(f"tensor {name!r} has the dtype {tensor.data_type}, which is none of {_listed(DTYPES)}")
        shape = tuple(tensor.dims)
        if any(size < 0 for size in shape):
            raise BadModelFile(f"tensor {name!r} cannot have shape {shape}")
        if tensor.data_location == tensor.EXTERNAL:
            array = self._external(tensor, name, dtype, shape)
        else:
            _check_held(tensor, name, dtype, shape)
            array = _read(lambda: numpy_helper.to_array(tensor), name)
        return self.as_float32(array, name)

    def as_float32(self, array: np.ndarray, name: str) -> np.ndarray:
        """Floats of any width as float32, which is noted; others as they are."""
        if array.dtype == np.float32 or array.dtype.name not in _FLOATS.values():
            return array
        self.widths.setdefault(array.dtype.name, []).append(name)
        with np.errstate(over="ignore"):
            return array.astype(np.float32)

    def _external(self, tensor: Any, name: str, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
        """Numbers in a file beside the model."""
        entries = {entry.key: entry.value for entry in tensor.external_data}
        place = entries.get("location", "")
        if self.folder is None:
            raise BadModelFile(f"tensor {name!r} lies in the file {place!r}; load the model from its own path")
        folder = self.folder.resolve()
        file = (folder / place).resolve()
        if not place or os.path.isabs(place) or folder not in file.parents:
            raise BadModelFile(f"tensor {name!r} lies in {place!r}, outside the model's folder: it is not opened")
        if not file.is_file():
            raise BadModelFile(f"tensor {name!r} lies in {place!r}, which is missing")
        kind = _stored(dtype)
        count = math.prod(shape)
        try:
            offset, length = int(entries.get("offset", 0)), int(entries.get("length", count * kind.itemsize))
        except ValueError as error:
            raise BadModelFile(f"tensor {name!r}: offset and length in {place!r} should be numbers: {error}") from None
        held = file.stat().st_size
        if length != count * kind.itemsize or offset < 0 or offset + length > held:
            raise BadModelFile(
                f"tensor {name!r} of shape {shape} should take {count * kind.itemsize} bytes; "
                f"it has {length} from {offset} on, in a file of {held}"
            )
        if not count:
            return np.zeros(shape, kind)
        return np.memmap(file, kind, "r", offset, shape)


def _check_texts(model: Any) -> None:
    """protobuf gives bytes where a text is not UTF-8."""
    if not all(isinstance(text, str) for text in _texts(model)):
        raise BadModelFile("holds a name that is no text")


def _texts(model: Any) -> Iterator[Any]:
    """Every name in a model."""
    yield from (model.producer_name, model.producer_version, model.graph.name)
    yield from (entry.domain for entry in model.opset_import)
    for function in model.functions:
        yield from (function.name, function.domain, *function.input, *function.output, *function.attribute)
    graphs = [model.graph]
    for node in (node for whole in (model.graph, *model.functions) for node in nodes_of(whole)):
        yield from (node.name, node.op_type, node.domain, *node.input, *node.output)
        for attribute in node.attribute:
            yield from (attribute.name, attribute.ref_attr_name)
            graphs += [attribute.g] if attribute.HasField("g") else []
            graphs += attribute.graphs
        for note in node.metadata_props:
            yield from (note.key, note.value)
    for graph in graphs:
        yield from (tensor.name for tensor in graph.initializer)
        for entry in (*graph.input, *graph.output, *graph.value_info):
            yield entry.name
            yield from (dim.dim_param for dim in entry.type.tensor_type.shape.dim)


def _opset(model: Any) -> int:
    """The version of the standard's operators that a model says it is written in."""
    versions = {entry.version for entry in model.opset_import if entry.domain in STANDARD}
    if len(versions) != 1:
        said = ", ".join(map(str, sorted(versions))) or "none"
        raise BadModelFile(f"should say one version of the standard's operators, says {said}")
    return int(versions.pop())


def _onnx() -> Any:
    try:
        import onnx
    except ImportError as error:
        raise MissingExtra.of("onnx", "onnx", "reading ONNX files") from error
    return onnx


def _stored(dtype: str) -> np.dtype:
    if dtype != "bfloat16":
        return np.dtype(dtype).newbyteorder("<")
    import ml_dtypes  # comes with onnx

    return np.dtype(ml_dtypes.bfloat16)


def _check_held(tensor: Any, name: str, dtype: str, shape: tuple[int, ...]) -> None:
    """Numbers inside the message: as many as the shape says, before memory is taken for them."""
    count = math.prod(shape)
    if tensor.HasField("raw_data"):
        held, wanted = len(tensor.raw_data), count * _stored(dtype).itemsize
        if held != wanted:
            raise BadModelFile(f"tensor {name!r} of shape {shape} should hold {wanted} bytes, holds {held}")
        return
    fields = (tensor.float_data, tensor.int32_data, tensor.int64_data, tensor.double_data, tensor.uint64_data)
    held = sum(map(len, fields))
    if held != count:
        raise BadModelFile(f"tensor {name!r} of shape {shape} should hold {count} numbers, holds {held}")


def _read(read: Any, name: str) -> np.ndarray:
    try:
        return np.asarray(read())
    except (ValueError, TypeError, OverflowError) as error:
        raise BadModelFile(f"tensor {name!r} cannot be read: {error}") from error


def _listed(names: Iterable[Any]) -> str:
    return ", ".join(map(str, names))
