"""Careful reading of HDF5: sizes are checked before memory is taken, and no link leads out of the file.

Everything that h5py finds wrong with a file comes out as BadModelFile.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from typing import IO, Any, TypeVar

import numpy as np

from ...errors import BadModelFile, MissingExtra
from ...graph import Array

SIGNATURE = b"\x89HDF\r\n\x1a\n"
#: a packed dataset may be this many times larger than its bytes on disk …
MAX_EXPANSION = 1000
#: … or of any ratio below this size in bytes (an all-zero matrix packs to nothing)
SMALL = 1 << 26

Result = TypeVar("Result")


def _guarded(function: Callable[..., Result]) -> Callable[..., Result]:
    """What h5py raises on a damaged file is of many classes; the user gets one."""

    @functools.wraps(function)
    def guarded(*args: Any) -> Result:
        try:
            return function(*args)
        except (OSError, KeyError, RuntimeError, ValueError, TypeError, AttributeError, MemoryError) as error:
            raise BadModelFile(f"damaged HDF5 content: {error}") from error

    return guarded


def open_file(source: str | IO[bytes]) -> Any:
    """Open a path or a seekable stream for reading; the result is a context manager (an h5py.File).

    Raises
    ------
    MissingExtra
        h5py is not installed.
    BadModelFile
        Not HDF5, or truncated.
    """
    try:
        import h5py
    except ImportError:
        raise MissingExtra.of("h5py", "keras", "reading a Keras file") from None
    return _open(h5py, source)


@_guarded
def _open(h5py: Any, source: str | IO[bytes]) -> Any:
    return h5py.File(source, "r")


def is_group(node: Any) -> bool:
    """Whether a node is a group; otherwise it is a dataset."""
    return hasattr(node, "keys")


@_guarded
def child(group: Any, path: str) -> Any:
    """The group or dataset at `path` below `group`; None where there is none."""
    for part in path.split("/"):
        link = group.get(part, getlink=True) if part and is_group(group) else None
        if link is None:
            return None
        if type(link).__name__ != "HardLink":
            raise BadModelFile(f"{_name(group)}/{part} is a {type(link).__name__}; links are not followed")
        group = group[part]
    return group


@_guarded
def text(group: Any, attribute: str) -> str | None:
    """A string attribute; None where it is absent."""
    if attribute not in group.attrs:
        return None
    _check_attribute(group, attribute)
    return _decoded(group.attrs[attribute], attribute)


@_guarded
def names(group: Any, attribute: str) -> list[str]:
    """A list-of-strings attribute, which Keras splits into ``name0``, ``name1``, … where it is long."""
    if attribute in group.attrs:
        parts = [attribute]
    else:
        parts = []
        while f"{attribute}{len(parts)}" in group.attrs:
            parts.append(f"{attribute}{len(parts)}")
        if not parts:
            raise BadModelFile(f"{_name(group)} has no attribute {attribute!r}")
    found: list[str] = []
    for part in parts:
        _check_attribute(group, part)
        found += [_decoded(value, part) for value in np.atleast_1d(group.attrs[part])]
    return found


def children(group: Any) -> Iterator[tuple[str, Any]]:
    """Name and node of everything directly inside a group."""
    for key in _keys(group):
        yield key, child(group, key)


@_guarded
def _keys(group: Any) -> list[str]:
    return list(group)


@_guarded
def datasets(group: Any) -> dict[str, Any]:
    """Every dataset below `group` by its path; a group is entered once, so circles of links end."""
    found: dict[str, Any] = {}
    entered: set[Any] = set()

    def walk(at: Any, prefix: str) -> None:
        if at in entered:
            return
        entered.add(at)
        for key, node in children(at):
            if is_group(node):
                walk(node, f"{prefix}{key}/")
            else:
                found[f"{prefix}{key}"] = node

    walk(group, "")
    return found


@_guarded
def read(dataset: Any) -> Array:
    """A dataset as a C-contiguous float32 array."""
    _check_dataset(dataset)
    if dataset.dtype.kind == "V":
        # bfloat16 is the upper half of a float32
        halves = np.frombuffer(dataset[()].tobytes(), "<u2").astype(np.uint32)
        return (halves << 16).view(np.float32).reshape(dataset.shape)
    return np.asarray(dataset[()], np.float32, order="C")  # a number stays of shape ()


def _check_dataset(dataset: Any) -> None:
    name, dtype = _name(dataset), dataset.dtype
    if dataset.external or dataset.is_virtual:
        raise BadModelFile(f"dataset {name} keeps its values in another file, which is not opened")
    if dtype.kind == "V" and not (dtype.itemsize == 2 and text(dataset, "dtype") == "bfloat16"):
        raise BadModelFile(f"dataset {name} holds {dtype}, not floating-point weights")
    if dtype.kind not in "fV" or dtype.itemsize > 8:
        raise BadModelFile(f"dataset {name} holds {dtype}, not floating-point weights")
    declared, stored = math.prod(dataset.shape) * dtype.itemsize, dataset.id.get_storage_size()
    if stored > dataset.file.id.get_filesize():
        raise BadModelFile(f"dataset {name} declares {stored} bytes, more than the whole file")
    if declared > SMALL and declared > MAX_EXPANSION * stored:
        raise BadModelFile(f"dataset {name} declares {declared} bytes but stores {stored}")


def _check_attribute(group: Any, attribute: str) -> None:
    identifier = group.attrs.get_id(attribute)
    if math.prod(identifier.shape) * identifier.dtype.itemsize > group.file.id.get_filesize():
        raise BadModelFile(f"attribute {attribute!r} of {_name(group)} is larger than the whole file")


def _decoded(value: Any, attribute: str) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8")
    if not isinstance(value, str):
        raise BadModelFile(f"attribute {attribute!r} should hold text, holds {type(value).__name__}")
    return str(value)


def _name(node: Any) -> str:
    return (node.name or "").rstrip("/")
