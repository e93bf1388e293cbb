"""Arrays from and to the files that `fastgru run` takes: .npy, .csv and lines of text."""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TextIO

import numpy as np

from ..errors import BadInput
from ..graph import TensorSpec

#: an input, and the rows' lengths where they differ
Data = tuple[np.ndarray, "np.ndarray | None"]


def read_input(path: Path, spec: TensorSpec) -> Data:
    """The array in a .npy or .csv file, shaped for the input `spec`."""
    readers: dict[str, Callable[[Path, TensorSpec], Data]] = {".npy": _read_npy, ".csv": _read_csv}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise BadInput(f"{path}: the input should be a .npy or .csv file (or, with --text, a file of texts)")
    return reader(path, spec)


def read_texts(path: Path) -> np.ndarray:
    """A file's texts, one a line; empty lines are skipped."""
    try:
        texts = [line for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]
    except UnicodeDecodeError as error:
        raise BadInput(f"{path}: not a text in UTF-8 ({error.reason} at byte {error.start})") from None
    if not texts:
        raise BadInput(f"{path}: holds no text")
    return np.array(texts, object)


def read_lengths(text: str) -> np.ndarray:
    """Lengths as ``17,60,42`` or from a .npy file."""
    if text.endswith(".npy"):
        return load_npy(Path(text))
    try:
        return np.array([int(item) for item in text.split(",")])
    except ValueError:
        raise BadInput(f"--lengths should be numbers with commas between, or a .npy file; got {text!r}") from None


def check_output(path: Path | None, names: Sequence[str]) -> None:
    """Refuse an output name that can't hold the outputs `names`, before any work is done."""
    suffix = _suffix(path)
    if suffix not in (".npy", ".npz", ".csv"):
        raise BadInput(f"{path}: the output should end in .npy, .npz or .csv")
    if len(names) > 1 and suffix != ".npz":
        raise BadInput(f"the network has {len(names)} outputs ({', '.join(names)}): give -o a name that ends in .npz")
    if path is not None and not path.parent.is_dir():
        raise BadInput(f"{path}: there is no folder {path.parent}")


def write_output(outputs: Sequence[np.ndarray], names: Sequence[str], path: Path | None) -> None:
    """Write the network's outputs as .npy, .npz or .csv; to stdout as .csv where `path` is None."""
    if path is None or _suffix(path) == ".csv":
        _write_csv(outputs[0], path)
    elif _suffix(path) == ".npy":
        np.save(path, outputs[0])
    else:
        with zipfile.ZipFile(path, "w") as archive:  # np.savez has arguments of its own, such as `file`
            for name, array in zip(names, outputs, strict=True):
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, array, allow_pickle=False)


def _suffix(path: Path | None) -> str:
    return ".csv" if path is None else path.suffix.lower()


def load_npy(path: Path, mapped: bool = False) -> np.ndarray:
    """The array in a .npy file, `mapped` instead of read; BadInput where it is none."""
    try:
        return np.asarray(np.load(path, "r" if mapped else None, allow_pickle=False))
    except (ValueError, EOFError) as error:
        raise BadInput(f"{path}: not a .npy file of numbers ({error})") from None


def load_npz(path: Path) -> dict[str, np.ndarray]:
    """The arrays in a .npz file by their names; BadInput where it is none."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return dict(arrays)
    except (ValueError, EOFError, TypeError, zipfile.BadZipFile) as error:
        raise BadInput(f"{path}: not a .npz file of numbers ({error})") from None


def _read_npy(path: Path, spec: TensorSpec) -> Data:
    del spec  # the model checks what it is given
    return load_npy(path), None


def _read_csv(path: Path, spec: TensorSpec) -> Data:
    rows = _csv_rows(path, _token if spec.dtype == "int32" else float)
    lengths = np.array([len(row) for row in rows])
    if spec.dtype == "int32":
        ids = np.zeros((len(rows), lengths.max()), np.int32)
        for out, row in zip(ids, rows, strict=True):
            out[: len(row)] = row
        return ids, lengths if np.ptp(lengths) else None
    if np.ptp(lengths):
        raise BadInput(f"{path}: the rows have {lengths.min()} to {lengths.max()} columns, not {spec.features}")
    array = np.array(rows, np.float32)
    return (array[None] if spec.is_sequence else array), None


def _csv_rows(path: Path, number: Callable[[str], float]) -> list[list[float]]:
    """Rows of numbers; a first line that holds none is a heading and skipped."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise BadInput(f"{path}: not a .csv file in UTF-8") from None
    rows = []
    for place, line in enumerate(lines, start=1):
        cells = line.split(",")
        try:
            rows.append([number(cell) for cell in cells] if line.strip() else [])
        except ValueError:
            if place == 1 and not any(map(_is_number, cells)):
                continue
            kind = "whole numbers (token ids)" if number is _token else "numbers"
            raise BadInput(f"{path}, line {place}: expected {kind} with commas between, got {line[:60]!r}") from None
    while rows and not rows[-1]:
        rows.pop()
    if not rows:
        raise BadInput(f"{path}: holds no rows of numbers")
    return rows


def _token(cell: str) -> int:
    value = int(cell)
    if abs(value) > np.iinfo(np.int32).max:
        raise ValueError(f"{value} is no token id")
    return value


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _write_csv(array: np.ndarray, path: Path | None) -> None:
    while array.ndim > 2 and 1 in array.shape:
        array = array.squeeze(array.shape.index(1))
    if array.ndim > 2:
        raise BadInput(f"an output of shape {array.shape} doesn't fit a .csv file: give -o a name that ends in .npy")
    target: Path | TextIO = sys.stdout if path is None else path
    np.savetxt(target, array, fmt="%.9g", delimiter=",")
