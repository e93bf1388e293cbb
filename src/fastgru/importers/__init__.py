"""Model files of any kind → Graph. What a file is, its content says; its name does not matter."""

from __future__ import annotations

import codecs
import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from ..errors import BadInput, BadModelFile
from ..graph import Graph

SUPPORTED = (
    "Keras files (.h5, .hdf5, .keras, .weights.h5, .weights.json), .onnx, PyTorch state dicts (.pt, .pth, "
    ".safetensors), .npz, TensorFlow 1 checkpoints and frozen graphs (.pb), and fastgru's own"
)

_HDF5, _ZIP = b"\x89HDF\r\n\x1a\n", b"PK\x03\x04"
#: how torch.save began its files before they were zip archives: a pickle of a number that says so
_OLD_TORCH = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
#: an HDF5 file may begin with bytes of somebody else's
_HDF5_OFFSETS = (0, 512, 1024, 2048)
_HEAD = _HDF5_OFFSETS[-1] + len(_HDF5)


@dataclass(frozen=True)
class Importer:
    """A reader of one source: the module with `read(path, **options)`, and the options that it takes."""

    source: str
    module: str
    options: tuple[str, ...] = ()


KERAS = Importer("a Keras file", "fastgru.importers.keras", ("config", "keras_version", "custom_layers"))
FASTGRU = Importer("a fastgru file", "fastgru.file")
ONNX = Importer("an ONNX file", "fastgru.importers.onnx", ("node", "assume_torch_gru", "axes"))
TORCH = Importer("a PyTorch state dict", "fastgru.importers.torch", ("config",))
ARRAYS = Importer("a file of arrays", "fastgru.importers.arrays", ("config",))
TF1 = Importer("a TensorFlow 1 network", "fastgru.importers.tf1", ("config", "inputs", "outputs"))

#: by what the first bytes are; the first that fits describes a file that is none of ours
_DESCRIPTIONS: tuple[tuple[Callable[[bytes], bool], str], ...] = (
    (lambda head: not head, "is empty"),
    (lambda head: head.startswith(b"version https://git-lfs"), "is a Git LFS pointer, not the file it stands for"),
    (lambda head: head.lstrip()[:1] == b"<", "looks like a web page"),
    (lambda head: head.lstrip()[:1] in (b"{", b"["), "looks like JSON; an architecture is for config="),
    (lambda head: head.startswith(b"\x1f\x8b"), "is packed with gzip"),
    (lambda head: head.startswith(b"\x80"), "looks like a Python pickle, which is never opened"),
    (lambda head: _is_text(head), "looks like text"),
)


def read(path: str | os.PathLike[str], *, config: Any = None, **options: Any) -> Graph:
    """Read a model file.

    Parameters
    ----------
    path : path-like
    config : optional
        The architecture of a file that holds weights alone.
    **options
        Belong to the importer of that kind of file.

    Raises
    ------
    FileNotFoundError
    BadModelFile
        Of no supported kind, or damaged.
    BadInput
        An option that this kind of file does not have.
    UnsupportedModel, MissingExtra
        From the importer.
    """
    path = Path(path)
    importer = recognise(path)
    given = options if config is None else {"config": config, **options}
    foreign = sorted(set(given) - set(importer.options))
    if foreign:
        known = ", ".join(importer.options) or "none"
        raise BadInput(f"{path} is {importer.source}, which has no option {', '.join(foreign)}; its options: {known}")
    return import_module(importer.module).read(path, **given)  # type: ignore[no-any-return]


def keras_generation(path: Path, config: Any = None) -> int | None:
    """1, 2 or 3: of the Keras that wrote a file; None where nothing says."""
    return import_module(KERAS.module).generation_of(path, config)  # type: ignore[no-any-return]


def recognise(path: Path) -> Importer:
    """The importer for a file, by its content.

    Raises
    ------
    FileNotFoundError
    BadModelFile
        Says what the file looks like instead.
    """
    if _is_checkpoint(path):
        return TF1
    if path.is_dir():
        is_saved_model = (path / "saved_model.pb").exists()
        raise _unknown(path, "is a TensorFlow SavedModel, not a file" if is_saved_model else "is a directory")
    with open(path, "rb") as file:
        head = file.read(_HEAD)
    if any(head.startswith(_HDF5, offset) for offset in _HDF5_OFFSETS):
        return KERAS
    if head.startswith(_ZIP):
        return _of_zip(path)
    if head.lstrip()[:1] == b"{" and b'"weight_map"' in head:
        return KERAS
    if _is_safetensors(head, path.stat().st_size):
        return FASTGRU if b'"fastgru_format"' in _safetensors_header(path) else ARRAYS
    if head.startswith(_OLD_TORCH):
        return TORCH
    message = _protobuf_message(head)
    if message is not None:
        return message
    found = next((words for fits, words in _DESCRIPTIONS if fits(head)), f"begins with {head[:8].hex(' ')}")
    raise _unknown(path, found)


def _of_zip(path: Path) -> Importer:
    archive = import_module("fastgru.importers.keras.archive")
    try:
        with archive.Archive(path) as opened:
            names = opened.names
    except BadModelFile as error:
        raise BadModelFile(f"{path}: {error}") from error
    if "config.json" in names:
        return KERAS
    if any(name.endswith("/data.pkl") for name in names):
        return TORCH
    if names and all(name.endswith(".npy") for name in names):
        return ARRAYS
    raise _unknown(path, f"is a zip archive without a config.json (it holds {', '.join(names[:4]) or 'nothing'})")


def _unknown(path: Path, found: str) -> BadModelFile:
    return BadModelFile(f"{path} {found}; fastgru reads {SUPPORTED}")


def _is_safetensors(head: bytes, size: int) -> bool:
    """Whether a file begins with the length of a JSON object and that object."""
    return head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= size - 8


def _safetensors_header(path: Path) -> bytes:
    with open(path, "rb") as file:
        return file.read(int.from_bytes(file.read(8), "little"))


def _is_checkpoint(path: Path) -> bool:
    """Whether a path names a checkpoint of TensorFlow 1: its prefix, its index, or a folder with one."""
    if path.is_dir():
        return (path / "checkpoint").is_file() or len(list(path.glob("*.index"))) == 1
    if path.suffix == ".index":
        return path.is_file()
    return not path.exists() and path.with_name(f"{path.name}.index").is_file()


def _protobuf_message(head: bytes) -> Importer | None:
    """Which message of protobuf a file begins with; neither ONNX nor TensorFlow mark theirs.

    A ModelProto begins with its version, field 1, a small number; a GraphDef with a node, field 1, as a message whose
    field 1 is its name.
    """
    if len(head) > 3 and head[0] == 0x08 and 0 < head[1] < 0x20 and head[2] & 7 in (0, 2) and 2 <= head[2] >> 3 <= 20:
        return ONNX
    if head[:1] == b"\n" and b"\n" in head[2:7] and not _is_text(head):
        return TF1
    return None


def _is_text(head: bytes) -> bool:
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)  # its last character may be cut
    except UnicodeDecodeError:
        return False
    return b"\0" not in head
