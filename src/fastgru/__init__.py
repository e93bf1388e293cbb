"""fastgru runs trained GRU networks of Keras, ONNX, PyTorch and TensorFlow 1 on CPUs.

>>> import fastgru, numpy as np
>>> model = fastgru.load(fastgru.demo_path())
>>> model(np.array([[7, 11, 13]])).shape
(1, 1)
"""

from typing import TYPE_CHECKING, Any

from ._version import __version__
from .engine import cpu_info
from .errors import (
    BadInput,
    BadModelFile,
    Closed,
    FastGRUError,
    MissingExtra,
    QueueFull,
    StateMismatch,
    StreamBusy,
    UnsupportedModel,
)
from .graph import Graph, TensorSpec
from .loading import demo_path, from_keras, from_onnx, from_torch, gru_network, load, onnx_gru_nodes
from .model import Model
from .pool import StreamPool, Ticket
from .stream import Stream

if TYPE_CHECKING:
    from .generation.generate import generate

__all__ = [
    "load", "from_keras", "from_onnx", "from_torch", "gru_network", "onnx_gru_nodes",
    "Model", "Stream", "StreamPool", "Ticket", "Graph", "TensorSpec", "generate", "cpu_info", "demo_path",
    "FastGRUError", "BadModelFile", "UnsupportedModel", "BadInput", "StateMismatch", "MissingExtra", "Closed",
    "StreamBusy", "QueueFull", "__version__",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """What takes milliseconds to import that a first answer need not wait for."""
    if name != "generate":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .generation.generate import generate

    globals()[name] = generate
    return generate
