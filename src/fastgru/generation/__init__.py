"""Generating sequences of tokens: a network goes on with a prompt.

`network` makes of a Model one that reads token ids and gives logits, `vocabulary` says what ids mean, `options` how
tokens are chosen. The core's TokenLoop runs and chooses; a `Generation` gives the tokens as text and knows when to
stop, for which `stops` holds some back.
"""

from .generate import generate
from .generation import BatchGeneration, Generation
from .stops import Token
from .vocabulary import Vocabulary

__all__ = ["BatchGeneration", "Generation", "Token", "Vocabulary", "generate"]
