"""Keras layers → `graph.Layer`: one small reader for each class, in rooms by family. `table` says how to add one."""

from . import attention, basic, merge, normalize, operations, recurrent, shaping, windows, wrappers
from .table import OPERATIONS, READERS, REFUSED, Part, is_operation, read, reader_of, reads

__all__ = [
    "OPERATIONS", "READERS", "REFUSED", "Part", "attention", "basic", "is_operation", "merge", "normalize",
    "operations", "read", "reader_of", "reads", "recurrent", "shaping", "windows", "wrappers",
]  # fmt: skip
