"""Readers of operators, a module for each family; `table.py` has the table."""

from . import (  # noqa: F401
    attention,
    choices,
    einsum,
    elementwise,
    flow,
    gru,
    joining,
    loops,
    masks,
    normalize,
    picking,
    products,
    reductions,
    row_ends,
    shaping,
    sizes,
    windows,
)
from .table import OPERATORS, Operator, reads

__all__ = ["OPERATORS", "Operator", "reads"]
