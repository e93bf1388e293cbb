"""Random networks as ONNX files, by source: `cases(seed, count)` yields each `Case`, or why there is none."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass
class Case:
    """A file and what it is fed with.

    Attributes
    ----------
    name : str
        What it is made of.
    proto : onnx.ModelProto
    feeds : list of dict of str to array
        Several calls, whose free sizes differ.
    answers : list of list of array
        What the framework that the file comes from answers, by feed; empty where there is none.
    """

    name: str
    proto: Any
    feeds: list[dict[str, np.ndarray]]
    answers: list[list[np.ndarray]] = field(default_factory=list)


@dataclass
class NotExported:
    """The source could not write a network."""

    name: str
    reason: str
