"""The table from a Keras class to its reader, and what a reader returns.

To add a layer, write ``@reads("ClassName", ignored={…})`` above a function that reads the configuration and returns a
`Part`: how many arrays the layer has, and the function that one call of it becomes. Reading comes first for the whole
network, so that everything unsupported is reported at once; the calls come second, in the order of evaluation, and
take the weights::

    @reads("Dense", per_step=True)
    def dense(config):
        units = config.size("units")
        def call(build, weights, x):
            kernel, = weights.take(kernel=(x.features, units))
            return build.add(graph.Dense, x, kernel=kernel)
        return Part(call, trainable=1)

A call has the arguments of the Keras layer's own: values, or lists of them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Any

from .. import text
from ..build import Value
from ..config import LayerConfig, as_written

#: what a call returns: one value or several
Result = Value | tuple[Value, ...]


@dataclass(frozen=True)
class Part:
    """A layer that has been read.

    Attributes
    ----------
    call : function of (Builder, Weights, *inputs, **options) → Value or tuple of Value
        Appends what one call of the layer does.
    trainable, fixed : int
        Number of its arrays, by whether Keras counts them among the trainable ones.
    options : collection of str
        Keyword arguments that the call takes.
    takes_ids : bool or tuple of bool
        Whether its input is token ids; of a network, for each of its inputs.
    own : object
        What wrappers of this layer need to know of it.
    """

    call: Callable[..., Result]
    trainable: int = 0
    fixed: int = 0
    options: Collection[str] = ()
    takes_ids: bool | tuple[bool, ...] = False
    own: Any = None


#: reads the configuration; None where the layer is refused
Read = Callable[[LayerConfig], "Part | None"]


@dataclass(frozen=True)
class Reader:
    """How one class is read.

    Attributes
    ----------
    read : Read
    ignored : frozenset of str
        Keys of its configuration that say nothing about what it computes at inference.
    per_step : bool
        It works on each step by itself: in a TimeDistributed it is computed on all steps at once.
    note : str
        What the table of supported layers says of it.
    """

    read: Read
    ignored: frozenset[str]
    per_step: bool
    note: str


READERS: dict[str, Reader] = {}
#: readers of operations such as ``x + y``, by the class of Keras 3's node and the function of Keras 2's
OPERATIONS: dict[str, Reader] = {}

_OUT_OF_SCOPE = "is out of scope: fastgru runs GRU networks"
#: why a class that Keras knows is refused, where there is more to say than "not supported"
REFUSED: dict[str, str] = {
    "LSTM": _OUT_OF_SCOPE,
    "CuDNNLSTM": _OUT_OF_SCOPE,
    "ConvLSTM1D": _OUT_OF_SCOPE,
    "ConvLSTM2D": _OUT_OF_SCOPE,
    "SimpleRNN": _OUT_OF_SCOPE,
    "LSTMCell": _OUT_OF_SCOPE,
    "SimpleRNNCell": _OUT_OF_SCOPE,
    "Lambda": "holds Python code, which is never run",
    **text.REFUSED,
}


def reads(
    *class_names: str, ignored: Collection[str] = (), per_step: bool = False, note: str = ""
) -> Callable[[Read], Read]:
    """Enter a function into the table for these classes."""

    def enter(function: Read) -> Read:
        READERS.update(dict.fromkeys(class_names, Reader(function, frozenset(ignored), per_step, note)))
        return function

    return enter


def operation(*names: str, ignored: Collection[str] = (), note: str = "") -> Callable[[Read], Read]:
    """Enter a function into the table of operations."""

    def enter(function: Read) -> Read:
        OPERATIONS.update(dict.fromkeys(names, Reader(function, frozenset(ignored), True, note)))
        return function

    return enter


def reader_of(config: LayerConfig) -> Reader | None:
    """The reader of a layer; the caller's own come first."""
    for name in (config.registered, config.class_name):
        if name in config.report.custom:
            return Reader(config.report.custom[name], frozenset(), False, "")
    if is_operation(config):
        return OPERATIONS.get(_function_of(config))
    return None if config.is_custom else READERS.get(config.class_name)


def is_operation(config: LayerConfig) -> bool:
    """Whether it is a node of an operation, however little a file says of it."""
    only_operation = config.class_name in OPERATIONS and config.class_name not in READERS
    return config.is_operation or only_operation or (config.is_bare and config.class_name in OPERATIONS)


def _function_of(config: LayerConfig) -> str:
    if config.class_name in ("TFOpLambda", "SlicingOpLambda"):
        return f"tf.{config.take('function', '')}"
    return config.class_name


def read(config: LayerConfig) -> Part | None:
    """Read one layer's configuration; None where it is refused, and the report then says why."""
    reader = reader_of(config)
    if reader is None:
        config.refuse(_why_refused(config))
        return None
    with as_written(config, "configuration"):
        part = reader.read(config)
    if is_operation(config):
        config.finish({*reader.ignored, "dtype"}, any_dtype=True)
    else:
        config.finish(reader.ignored)
    if part is not None and not config.is_trainable:
        part = replace(part, trainable=0, fixed=part.trainable + part.fixed)
    return part


def _why_refused(config: LayerConfig) -> str:
    if is_operation(config):
        return f"the operation {_function_of(config)} is not supported"
    if config.is_custom:
        return "is a custom layer, whose code is not in the file; custom_layers= can map it to layers of fastgru"
    if config.class_name in text.CLASSES:
        return "runs before the core, and so directly behind an input of the network alone"
    return REFUSED.get(config.class_name, "is not supported; custom_layers= takes readers of your own classes")
