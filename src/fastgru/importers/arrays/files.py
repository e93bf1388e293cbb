"""Files of named arrays: ``.npz`` and ``.safetensors``; sizes are held against the file's before memory is taken."""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np

from ...errors import BadModelFile
from ...file import read_safetensors
from ...graph import Array
from ..keras.archive import Archive
from .store import BFLOAT16

#: dtypes of safetensors that arrays may have
DTYPES = {"BF16": BFLOAT16, "BOOL": np.dtype("?")} | {
    name: np.dtype(code)
    for name, code in (
        ("F16", "<f2"), ("F32", "<f4"), ("F64", "<f8"), ("I8", "i1"), ("I16", "<i2"), ("I32", "<i4"), ("I64", "<i8"),
        ("U8", "u1"), ("U16", "<u2"), ("U32", "<u4"), ("U64", "<u8"),
    )
}  # fmt: skip


def read(path: Path) -> dict[str, Array]:
    """Every array by name."""
    with open(path, "rb") as file:
        is_npz = file.read(2) == b"PK"
    return _npz(path) if is_npz else read_safetensors(path, DTYPES)[1]


def _npz(path: Path) -> dict[str, Array]:
    with Archive(path) as archive:
        return {name.removesuffix(".npy"): _npy(name, archive.read(name)) for name in archive.names}


def _npy(name: str, content: bytes) -> Array:
    """An array as numpy.save writes it; objects are never unpickled."""
    stream = io.BytesIO(content)
    headers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    try:
        version = np.lib.format.read_magic(stream)
        shape, is_fortran, dtype = headers[version](stream)
    except Exception as error:  # the header is a Python literal, whose parser may raise anything
        raise BadModelFile(f"{name} is no array: {str(error)[:200]}") from None
    if dtype.hasobject or dtype.kind not in "fiub":
        raise BadModelFile(f"{name} holds {dtype}, not numbers")
    if any(size < 0 for size in shape) or math.prod(shape) * dtype.itemsize != len(content) - stream.tell():
        raise BadModelFile(f"{name}: shape {shape} of {dtype} does not take {len(content) - stream.tell()} bytes")
    flat = np.frombuffer(content, dtype, offset=stream.tell())
    array = flat.reshape(shape[::-1]).T if is_fortran else flat.reshape(shape)
    return np.ascontiguousarray(array.astype(dtype.newbyteorder("="), copy=False))
