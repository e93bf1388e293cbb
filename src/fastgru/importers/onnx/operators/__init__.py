"""Readers of operators, a module for each family; `table.py` has the table."""

from . import elementwise, gru, products, shaping, sizes  # noqa: F401
from .table import OPERATORS, Operator, reads

__all__ = ["OPERATORS", "Operator", "reads"]
