"""Generating sequences of tokens: a network goes on with a prompt, or writes what another one has read.

`network` makes of a Model one that reads token ids and gives logits, `vocabulary` says what ids mean, `options` how
tokens are chosen. The core's TokenLoop runs and chooses; a `Generation` gives the tokens as text and knows when to
stop, for which `stops` holds some back.

`searching` is the way with an encoder and a decoder, or with `beams`: `pairs` puts the two together as `wiring` says,
`decoders` score the next token of rows that come, go and fork, `beams` keeps the best of them. `splitting` cuts the
network that a pair was trained as.
"""

from .beams import Hypothesis, beam_search
from .generate import generate
from .generation import BatchGeneration, Generation
from .splitting import split
from .stops import Token
from .vocabulary import Vocabulary

__all__ = ["BatchGeneration", "Generation", "Hypothesis", "Token", "Vocabulary", "beam_search", "generate", "split"]
