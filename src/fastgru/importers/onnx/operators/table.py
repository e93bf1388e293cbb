"""Who reads which operator."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ..node import Node
from ..values import Value

#: a reader: the node → the values of its outputs, in order
Reader = Callable[[Node], Sequence[Value] | Value]
#: numbers → numbers, where all inputs of a node are constants
Fold = Callable[[Node, Sequence[np.ndarray | None]], np.ndarray | Sequence[np.ndarray]]


@dataclass(frozen=True)
class Operator:
    """What is known of an operator.

    Attributes
    ----------
    read : Reader
    note : str
        What is supported, in a few words, for the documentation's table.
    """

    read: Reader
    note: str = ""


#: by (domain, op_type); the standard's domain is ""
OPERATORS: dict[tuple[str, str], Operator] = {}


def reads(*names: str, domain: str = "", note: str = "") -> Callable[[Reader], Reader]:
    """Declare the reader of operators."""

    def declare(read: Reader) -> Reader:
        for name in names:
            OPERATORS[domain, name] = Operator(read, note)
        return read

    return declare
