"""State dicts out of files that torch.save wrote."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...errors import BadInput, BadModelFile, UnsupportedModel
from ...graph import Array
from ..arrays.store import BFLOAT16, listed

#: what a checkpoint calls the state dict of its model, the likelier one first
_NESTED = ("state_dict", "model_state_dict", "model", "module", "net", "network", "weights", "params")
_HINT = "save its state_dict(), or take the live module with fastgru.from_torch(module)"


def read(path: Path) -> tuple[dict[str, Array], tuple[str, ...]]:
    """The arrays of the state dict in a file, and notes.

    Raises
    ------
    BadModelFile, BadInput, UnsupportedModel
    """
    content = _load(path)
    tensors, notes = _state_dict(path, content)
    return {name: _array(path, name, tensor) for name, tensor in tensors.items()}, notes


def _load(path: Path) -> Any:
    """What a file holds, by torch's reader for weights alone: it knows tensors and containers, and runs nothing.

    A zip archive is mapped: torch then holds the places of tensors against the file's size, which it does not where
    it reads them.
    """
    is_zip = zipfile.is_zipfile(path)
    if is_zip:
        _check_zip(path)
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)
    except FileNotFoundError:
        raise
    except Exception as error:  # its reader raises whatever a damaged pickle makes it raise
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        if "Unsupported global" in str(error) or "Unsupported class" in str(error) or "unsafe" in str(error).lower():
            what = next((line.strip() for line in str(error).splitlines() if "nsupported" in line), text)
            raise UnsupportedModel(
                f"{path} holds Python objects, not weights alone ({what[:160]}); they are never unpickled: {_HINT}"
            ) from None
        raise BadModelFile(f"{path} is damaged, or nothing that torch.save wrote: {text[:200]}") from None


def _check_zip(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, EOFError) as error:
        raise BadModelFile(f"{path}: damaged zip archive: {error}") from None
    if any("/code/" in info.filename for info in infos):
        raise UnsupportedModel(f"{path} is a TorchScript archive, whose network is code: {_HINT}")
    if any(info.compress_type != zipfile.ZIP_STORED for info in infos):
        raise BadModelFile(f"{path}: a zip archive with compressed members, which torch.save never writes")


def _state_dict(path: Path, content: Any) -> tuple[Mapping[str, Any], tuple[str, ...]]:
    """The state dict: the file's content itself, or the one in a checkpoint."""
    if _is_state_dict(content):
        return content, ()
    if not isinstance(content, Mapping):
        raise BadInput(f"{path} holds a {type(content).__name__}; expected a state dict, which maps names to tensors")
    found = [key for key, value in content.items() if isinstance(key, str) and _is_state_dict(value)]
    usual = [key for key in _NESTED if key in found]
    if len(found) != 1 and len(usual) != 1:
        holds = listed(map(str, content))
        many = f"{len(found)} state dicts ({listed(found)})" if found else "no state dict"
        raise BadInput(
            f"{path} holds {many}, so it is not clear which is the network's: save that alone. Keys: {holds}"
        )
    key = usual[0] if len(usual) == 1 else found[0]
    return content[key], (f"weights were taken from the checkpoint's {key!r}",)


def _is_state_dict(value: Any) -> bool:
    if not isinstance(value, Mapping) or not value:
        return False
    return all(isinstance(name, str) and isinstance(tensor, torch.Tensor) for name, tensor in value.items())


def _array(path: Path, name: str, tensor: Any) -> Array:
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_complex() or tensor.is_meta:
        raise BadModelFile(f"{path}: {name!r} is no dense tensor of numbers ({tensor.dtype}, {tensor.layout})")
    held = tensor.untyped_storage().nbytes()
    if tensor.numel() * tensor.element_size() > max(held, 0):  # expanded by strides of zero
        raise BadModelFile(f"{path}: {name!r} of shape {tuple(tensor.shape)} is larger than what is stored of it")
    tensor = tensor.detach().contiguous()
    if tensor.dtype == torch.bfloat16:
        return tensor.view(torch.uint16).numpy().view(BFLOAT16)
    try:
        return np.array(tensor.numpy())  # not a view of the file
    except (TypeError, RuntimeError) as error:
        raise BadModelFile(f"{path}: {name!r}: {error}") from None
