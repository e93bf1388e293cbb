"""Comparing a network with the framework that it came from: the numbers, and where in the network they part.

    compare(path, against=…, inputs=…, config=…) → Comparison

The framework runs the file by itself, and fastgru the Graph that it imports from it, with every layer's value as an
output where the framework can give it too.

| module | does |
|---|---|
| `comparison` | runs both and holds their numbers side by side |
| `inputs` | random inputs that a network takes |
| `reference` | what a module of a framework gives |
| `keras`, `onnxruntime`, `torch`, `tensorflow` | ``open_network(path, options)``: run a file with that framework |
"""

from .comparison import FRAMEWORKS, TOLERANCE, TOLERANCES, Comparison, Difference, compare
from .inputs import random_inputs

__all__ = ["FRAMEWORKS", "TOLERANCE", "TOLERANCES", "Comparison", "Difference", "compare", "random_inputs"]
