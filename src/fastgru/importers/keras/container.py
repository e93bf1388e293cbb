"""The files that Keras writes: architecture, version and weights of each, found by content.

===================  ============================================================  ==================
file                 architecture                                                  weights
===================  ============================================================  ==================
whole HDF5           root attribute ``model_config``                               ``model_weights``
weights, legacy      given by the caller                                           root
weights, Keras 3     given by the caller                                           ``layers/…``
weights in shards    given by the caller                                           files that the JSON names
``.keras``           zip member ``config.json`` (version in ``metadata.json``)     ``model.weights.h5``
===================  ============================================================  ==================
"""

from __future__ import annotations

import io
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import BadInput, BadModelFile
from . import hdf5, text
from .archive import SIGNATURE as ZIP_SIGNATURE
from .archive import Archive
from .config import sequence
from .front import Vocabularies
from .weights import FlatSource, Source, TreeSource

CONFIG, METADATA, WEIGHTS, NPZ = "config.json", "metadata.json", "model.weights.h5", "model.weights.npz"
MAX_JSON = 1 << 26
#: names that Keras 1 gave to weights, as Theano leaves them
KERAS1_THEANO = re.compile(r"_(W|U|b)(_[zrh])?$")

Config = Mapping[str, Any] | str | os.PathLike[str]


@dataclass(frozen=True)
class Content:
    """What an opened file holds.

    Attributes
    ----------
    architecture : JSON value
    versions : tuple of str
        Of Keras, wherever the file or the architecture name one.
    weights : Source
        Readable while the file is open.
    vocabularies : Vocabularies
        As the weights are: what text layers have learned.
    backend : str or None
        What Keras computed with, where the file says.
    """

    architecture: Any
    versions: tuple[str, ...]
    weights: Source
    backend: str | None = None
    vocabularies: Vocabularies = lambda path, name: None


@contextmanager
def opened(path: Path, config: Config | None) -> Iterator[Content]:
    """Open a file of any kind.

    Raises
    ------
    BadModelFile, MissingExtra
    BadInput
        `config` is missing where it is needed, or given where the file has its own architecture.
    """
    with open(path, "rb") as file:
        head = file.read(len(ZIP_SIGNATURE))
    if head == ZIP_SIGNATURE:
        _refuse_config(config, path)
        with _zip(path) as content:
            yield content
    elif head[:1] == b"{":
        with _shards(path, _needed(config, path)) as content:
            yield content
    else:
        with hdf5.open_file(os.fspath(path)) as file:
            yield _hdf5(file, path, config)


@contextmanager
def _zip(path: Path) -> Iterator[Content]:
    with Archive(path) as archive:
        architecture = parse_json(archive.read(CONFIG, MAX_JSON), CONFIG)
        metadata = parse_json(archive.read(METADATA, MAX_JSON), METADATA) if METADATA in archive.names else {}
        if WEIGHTS not in archive.names:
            hint = "; its weights are pickled NumPy arrays, which are never opened" if NPZ in archive.names else ""
            raise BadModelFile(f"holds no weights: no member {WEIGHTS!r} among {', '.join(archive.names[:8])}{hint}")
        with hdf5.open_file(io.BytesIO(archive.read(WEIGHTS))) as file:
            versions, weights = _versions(metadata, architecture), TreeSource.of(file)
            yield Content(architecture, versions, weights, vocabularies=lambda path, name: _vocabulary(archive, path))


def _vocabulary(archive: Archive, path: str) -> list[str] | None:
    found = (text.stored_vocabulary(archive, f"{root}/{path}") for root in TreeSource.ROOTS[:2])
    return next((vocabulary for vocabulary in found if vocabulary is not None), None)


def _hdf5(file: Any, path: Path, config: Config | None) -> Content:
    written = hdf5.text(file, "model_config")
    if written is not None:
        _refuse_config(config, path)
        architecture = parse_json(written, "model_config")
        group = hdf5.child(file, "model_weights")
        if group is None:
            raise BadModelFile("holds an architecture but no group 'model_weights'")
        # a whole model that names no version is of Keras 1, as Keras itself has it
        versions = _version_of(file) + _versions(architecture) or ("1",)
        return Content(architecture, versions, FlatSource.legacy(group), _backend(file, group))
    legacy = "layer_names" in file.attrs or "layer_names0" in file.attrs
    if not legacy and not TreeSource.is_one(file):
        raise BadModelFile("an HDF5 file that is not of Keras: neither 'model_config' nor weights of layers in it")
    architecture = read_config(_needed(config, path))
    versions = _version_of(file) + _versions(architecture)
    if not legacy:
        return Content(architecture, versions, TreeSource.of(file))
    return Content(architecture, versions, FlatSource.legacy(file), _backend(file, file))


@contextmanager
def _shards(path: Path, config: Config) -> Iterator[Content]:
    """Weights that Keras 3 divided into several files, which a ``.weights.json`` beside them lists."""
    with open(path, "rb") as file:
        index = parse_json(file.read(MAX_JSON), os.fspath(path))
    groups = index.get("weight_map") if isinstance(index, Mapping) else None
    if not isinstance(groups, Mapping):
        raise BadModelFile("a JSON file without a weight_map: no index of weights in shards")
    listed = [sequence(names) or [names] for names in groups.values()]
    names = sorted({str(name) for several in listed for name in several})
    architecture = read_config(config)
    with ExitStack() as stack:
        files = []
        for name in names:
            if Path(name).name != name or name.startswith("."):
                raise BadModelFile(f"weight_map names {name!r}, which is no file in its own folder")
            if not (path.parent / name).is_file():
                raise BadModelFile(f"weight_map names {name!r}, but there is no such file")
            files.append(stack.enter_context(hdf5.open_file(os.fspath(path.parent / name))))
        yield Content(architecture, _versions(architecture), TreeSource.of(*files))


def _needed(config: Config | None, path: Path) -> Config:
    if config is None:
        raise BadInput(
            f"{path} holds weights without an architecture: say config=, the path of a file "
            "written with model.to_json(), its text, or model.get_config()"
        )
    return config


def read_config(config: Config) -> Any:
    """The architecture that the caller gives: a dict, JSON text or the path of a JSON file."""
    if isinstance(config, (Mapping, list)):
        return config
    if isinstance(config, str) and config.lstrip().startswith(("{", "[")):
        return parse_json(config, "config")
    if not isinstance(config, (str, os.PathLike)):
        raise BadInput(f"config should be a path, JSON text or a dict, is {type(config).__name__}")
    with open(config, "rb") as file:
        content = file.read(MAX_JSON + 1)
    if len(content) > MAX_JSON:
        raise BadModelFile(f"{os.fspath(config)}: more than {MAX_JSON} bytes are no architecture")
    return parse_json(content, os.fspath(config))


def parse_json(text: str | bytes, what: str) -> Any:
    """JSON, or BadModelFile naming `what`."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadModelFile(f"{what} is not JSON: {error}") from error


def _refuse_config(config: Config | None, path: Path) -> None:
    if config is not None:
        raise BadInput(f"config= is for files of weights alone; {path} holds its own architecture")


def _version_of(file: Any) -> tuple[str, ...]:
    version = hdf5.text(file, "keras_version")
    return () if version is None else (version,)


def _backend(file: Any, group: Any) -> str | None:
    """What Keras computed with: files say it since Keras 2, and in Keras 1 the names of the weights do."""
    for node in (file, group):
        backend = hdf5.text(node, "backend")
        if backend is not None:
            return backend
    layers = [hdf5.child(group, name) for name in hdf5.names(group, "layer_names")]
    weights = [name for layer in layers if layer is not None for name in hdf5.names(layer, "weight_names")]
    return "theano" if any(KERAS1_THEANO.search(name) for name in weights) else None


def _versions(*documents: Any) -> tuple[str, ...]:
    found = (document.get("keras_version") for document in documents if isinstance(document, Mapping))
    return tuple(version for version in found if isinstance(version, str))
