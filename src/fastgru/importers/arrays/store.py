"""Arrays by name, taken one by one: which are missing, of the wrong shape, or left over is said all at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from ...errors import BadInput
from ...graph import Array

#: numpy has no bfloat16; readers of files give two raw bytes
BFLOAT16 = np.dtype("V2")
#: what data parallelism and compilation put before every name
WRAPPERS = ("module.", "_orig_mod.")
#: names shown in a message
_SHOWN = 12


class ArrayStore:
    """Named arrays of any float type, handed out as float32.

    Parameters
    ----------
    arrays : mapping of str to array

    Attributes
    ----------
    arrays : dict of str to array
        As they came, without a wrapper's prefix.
    faults : list of str
        What does not fit, in the order found.
    notes : list of str

    Raises
    ------
    BadInput
        A name is no string, or a value no array.
    """

    def __init__(self, arrays: Mapping[str, Any]) -> None:
        if not isinstance(arrays, Mapping):
            raise BadInput(f"arrays should be a dict of arrays by name, got {type(arrays).__name__}")
        odd = next((name for name in arrays if not isinstance(name, str)), None)
        if odd is not None:
            raise BadInput(f"names of arrays should be strings, got {odd!r}")
        self.faults: list[str] = []
        self.notes: list[str] = []
        self.arrays = {name: as_array(name, arrays[name]) for name in arrays}
        for wrapper in WRAPPERS:
            if self.arrays and all(name.startswith(wrapper) for name in self.arrays):
                self.arrays = {name.removeprefix(wrapper): array for name, array in self.arrays.items()}
                self.notes.append(f"every array's name began with {wrapper!r}, which was left out")
        self._taken: set[str] = set()
        self._others: dict[str, str] = {}

    def take(self, name: str) -> Array:
        """An array in float32; whoever takes it twice shares it."""
        self._taken.add(name)
        array = self.arrays[name]
        if array.dtype == np.float32:
            return array
        if array.dtype == BFLOAT16:
            self._others[name] = "bfloat16"
            # bfloat16 is the upper half of a float32
            return (array.view("<u2").astype(np.uint32) << 16).view(np.float32)
        if array.dtype.kind != "f":
            self.faults.append(f"{name!r} should hold floats, holds {array.dtype}")
            return np.zeros(array.shape, np.float32)
        self._others[name] = str(array.dtype)
        with np.errstate(over="ignore"):
            narrow = array.astype(np.float32)
        if (np.isinf(narrow) & np.isfinite(array)).any():
            self.faults.append(f"{name!r} holds numbers beyond float32")
        return narrow

    def leave(self, name: str) -> None:
        """Count an array as taken that inference does not need."""
        self._taken.add(name)

    def left_over(self) -> list[str]:
        """Names that nobody has taken."""
        return [name for name in self.arrays if name not in self._taken]

    def dtype_notes(self) -> list[str]:
        """A note for each float type that was not float32."""
        kinds = sorted(set(self._others.values()))
        return [f"arrays of {kind} are computed in float32" for kind in kinds]


def as_array(name: str, value: Any) -> Array:
    """A value as an array; PyTorch's tensors too, wherever they are and whether or not they want gradients."""
    try:
        if hasattr(value, "detach") and hasattr(value, "cpu"):
            value = value.detach().cpu()
            if str(value.dtype) == "torch.bfloat16":
                return value.float().numpy()  # type: ignore[no-any-return]
        array = np.asarray(value)
    except ValueError:
        raise BadInput(f"{name!r} is ragged") from None
    except (TypeError, RuntimeError) as error:  # PyTorch has tensors that are no arrays: sparse, float8, …
        raise BadInput(f"{name!r} is no array: {error}") from None
    if array.dtype.kind not in "fiub" and array.dtype != BFLOAT16:
        raise BadInput(f"{name!r} should be an array of numbers, is {type(value).__name__} of {array.dtype}")
    return array


def listed(names: Iterable[str], arrays: Mapping[str, Array] | None = None) -> str:
    """Names for a message, with shapes where `arrays` is given; the first of many."""
    names = list(names)
    shown = [f"{name} {tuple(arrays[name].shape)}" if arrays is not None else name for name in names[:_SHOWN]]
    more = f" … and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return (", ".join(shown) or "none") + more
