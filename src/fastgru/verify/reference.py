"""What the module of a framework gives: a file, opened and ready to run."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import MissingExtra
from ..graph import Array
from ..ports import Port


@dataclass(frozen=True, eq=False)
class Inner:
    """The framework's numbers for a value inside a network.

    Attributes
    ----------
    value : str
        The Graph's name of it.
    array : array
    port : Port or None
        How the framework lays it out, where that is not the Graph's way.
    """

    value: str
    array: Any
    port: Port | None = None


@dataclass(frozen=True)
class Reference:
    """A file that a framework has opened.

    Attributes
    ----------
    framework : str
        With its version.
    run : callable
        Inputs by the names that callers see → the outputs in the Graph's order, and what is inside, in order of
        evaluation.
    sizes : dict of str to tuple
        Of inputs: the sizes that the file fixes for the framework, though fastgru leaves them free; None where it does
        not.
    """

    framework: str
    run: Callable[[Mapping[str, Array]], tuple[Sequence[Any], Sequence[Inner]]]
    sizes: Mapping[str, tuple[int | None, ...]] = field(default_factory=dict)


def package(name: str, framework: str) -> Any:
    """A package that a framework needs.

    Raises
    ------
    MissingExtra
    """
    if importlib.util.find_spec(name) is None:
        raise MissingExtra(f"comparing with {framework} needs the package {name!r}: pip install {name}")
    return importlib.import_module(name)


def reason(error: Exception) -> str:
    """What a framework's exception says, in a line: its last one, which is where Python and TensorFlow say it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return "".join(c if c.isprintable() else " " for c in lines[-1])[:300] if lines else type(error).__name__
