"""The text front end of a network: how texts, tokens or numbers become what its inputs take.

A `Graph.text` holds it as plain JSON; a Model runs it in Python before the core. `Encoder` turns what one input is
given into ids or vectors, `FrontEnd` is all of them together, with what the network's answers mean.
"""

from .encoder import Encoder
from .front import FrontEnd
from .tokens import SPLITTERS, STANDARDIZERS

__all__ = ["SPLITTERS", "STANDARDIZERS", "Encoder", "FrontEnd"]
