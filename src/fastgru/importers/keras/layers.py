"""Keras layers → `graph.Layer`: a table from class name to a small reader.

To add a layer, write ``@reads("ClassName", ignored={…})`` above a function that reads the configuration and returns
what emits the layer. Reading comes first for the whole network, so that everything unsupported is reported at once;
emitting comes second and takes the weights::

    @reads("Dense", per_step=True)
    def dense(config):
        units = config.size("units")
        def emit(chain, weights):
            kernel, = weights.take(kernel=(chain.features, units))
            chain.add(graph.Dense, kernel=kernel)
        return emit
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from ... import graph
from . import activations
from .chain import Chain
from .config import LayerConfig
from .weights import Weights

#: appends the layer to the chain
Emit = Callable[[Chain, Weights], None]
#: reads the configuration; None where the layer is refused
Read = Callable[[LayerConfig], "Emit | None"]


@dataclass(frozen=True)
class Reader:
    """How one class is read.

    Attributes
    ----------
    read : Read
    ignored : frozenset of str
        Keys of its configuration that say nothing about what it computes at inference.
    per_step : bool
        It may stand in a TimeDistributed: it works on each step by itself.
    """

    read: Read
    ignored: frozenset[str]
    per_step: bool


READERS: dict[str, Reader] = {}

_OUT_OF_SCOPE = "is out of scope: fastgru runs GRU networks"
_LATER = "is not supported yet"
#: why a class that Keras knows is refused, where there is more to say than "not supported"
REFUSED: dict[str, str] = {
    "LSTM": _OUT_OF_SCOPE,
    "CuDNNLSTM": _OUT_OF_SCOPE,
    "ConvLSTM2D": _OUT_OF_SCOPE,
    "SimpleRNN": _OUT_OF_SCOPE,
    "Bidirectional": _LATER,
    "CuDNNGRU": _LATER,
    "RNN": _LATER,
    "PReLU": _LATER,
    "Sequential": "is a network inside the network, which is not supported yet",
    "Functional": "is a network inside the network, which is not supported yet",
    "Model": "is a network inside the network, which is not supported yet",
    "Lambda": "holds Python code, which is never run",
}


def reads(*class_names: str, ignored: Collection[str] = (), per_step: bool = False) -> Callable[[Read], Read]:
    """Enter a function into the table for these classes."""

    def enter(function: Read) -> Read:
        READERS.update(dict.fromkeys(class_names, Reader(function, frozenset(ignored), per_step)))
        return function

    return enter


def read(config: LayerConfig, per_step: bool = False) -> Emit | None:
    """Read one layer's configuration; None where it is refused, and the report then says why."""
    reader = READERS.get(config.class_name)
    if config.is_custom:
        config.refuse("is a custom layer, whose code is not in the file")
    elif reader is None:
        config.refuse(REFUSED.get(config.class_name, "is not supported"))
    elif per_step and not reader.per_step:
        config.refuse(f"a {config.class_name} in a TimeDistributed is not supported")
    else:
        emit = reader.read(config)
        config.finish(reader.ignored)
        return emit
    return None


@reads(
    "Dropout", "SpatialDropout1D", "GaussianNoise", "GaussianDropout", "AlphaDropout", "ActivityRegularization",
    ignored={"rate", "seed", "noise_shape", "data_format", "stddev", "l1", "l2", "rng_type"},
    per_step=True,
)  # fmt: skip
def only_in_training(config: LayerConfig) -> Emit:
    return lambda chain, weights: chain.add(graph.Identity)


@reads("Identity", per_step=True)
def identity(config: LayerConfig) -> Emit:
    # Keras 2's does not say that it supports masks, so a mask ends there; Keras 3's does
    supports_masking = config.report.generation != 2
    return lambda chain, weights: chain.add(graph.Identity, passes_mask=supports_masking or chain.per_step)


@reads("Embedding", ignored={"input_length"})
def embedding(config: LayerConfig) -> Emit:
    rows, features, mask_zero = config.size("input_dim"), config.size("output_dim"), config.flag("mask_zero")

    def emit(chain: Chain, weights: Weights) -> None:
        if chain.spec.dtype != "int32":
            config.refuse("looks up values that are computed; only token ids of an input can be looked up")
            return
        (table,) = weights.take(embeddings=(rows, features))
        chain.add_masking(graph.Embedding, makes_mask=mask_zero, table=table, mask_zero=mask_zero)

    return emit


@reads("Masking")
def masking(config: LayerConfig) -> Emit:
    mask_value = config.number("mask_value", 0.0)
    # Keras' own mask is this layer's alone, whatever mask the network made before it
    options = {"makes_mask": True, "replaces": True, "mask_value": mask_value}
    return lambda chain, weights: chain.add_masking(graph.Masking, **options)


@reads(
    "GRU",
    # stateful only says that steps were meant to be fed one after the other: what a Stream does
    ignored={"dropout", "recurrent_dropout", "implementation", "unroll", "stateful", "seed", "use_cudnn", "rng_type"},
)  # fmt: skip
def gru(config: LayerConfig) -> Emit:
    units = config.size("units")
    # the key is as old as the option: a file without it is of a time when there was only the other variant
    reset_after = config.flag("reset_after", config.report.generation == 3)
    use_bias = config.flag("use_bias", True)
    bias_shape = None if not use_bias else (2, 3 * units) if reset_after else (3 * units,)
    return_state = config.flag("return_state")
    options = {
        "units": units,
        "reset_after": reset_after,
        "activation": activations.read(config, "activation", "tanh", gate=True),
        "recurrent_activation": activations.read(config, "recurrent_activation", _recurrent_default(config), gate=True),
        "return_sequences": config.flag("return_sequences"),
        "go_backwards": config.flag("go_backwards"),
        "zero_output_for_mask": config.flag("zero_output_for_mask"),
    }
    config.only("time_major", False, None, why="sequences should be (batch, time, features)")

    def emit(chain: Chain, weights: Weights) -> None:
        kernel, recurrent_kernel, bias = weights.child("cell").take(
            kernel=(chain.features, 3 * units), recurrent_kernel=(units, 3 * units), bias=bias_shape
        )
        input_bias, recurrent_bias = bias if bias is not None and reset_after else (bias, None)
        chain.add_recurrent(
            graph.GRU, kernel=kernel, recurrent_kernel=recurrent_kernel,
            bias=input_bias, recurrent_bias=recurrent_bias, **options,
        )  # fmt: skip
        if return_state:
            chain.end_with(f"{chain.value}:state")

    return emit


def _recurrent_default(config: LayerConfig) -> str:
    if "recurrent_activation" not in config and config.report.generation != 3:
        config.refuse("says nothing of recurrent_activation, whose default differs between versions of Keras 2")
    return "sigmoid"


@reads("Dense", per_step=True)
def dense(config: LayerConfig) -> Emit:
    units, use_bias = config.size("units"), config.flag("use_bias", True)
    activation = activations.read(config, "activation")

    def emit(chain: Chain, weights: Weights) -> None:
        kernel, bias = weights.take(kernel=(chain.features, units), bias=(units,) if use_bias else None)
        chain.add(graph.Dense, kernel=kernel, bias=bias, activation=activation)

    return emit


@reads("Activation", per_step=True)
def activation_by_name(config: LayerConfig) -> Emit:
    activation = activations.read(config, "activation")
    return lambda chain, weights: chain.add(graph.Activate, activation=activation)


@reads(*activations.LAYERS, ignored=activations.IGNORED, per_step=True)
def activation_layer(config: LayerConfig) -> Emit:
    activation = activations.LAYERS[config.class_name](config)

    def emit(chain: Chain, weights: Weights) -> None:
        if config.class_name == "Softmax" and chain.is_masked:
            config.refuse("uses the mask that reaches it, as if it masked features; write it as Activation('softmax')")
        chain.add(graph.Activate, activation=activation)

    return emit


@reads("Flatten", per_step=True)
def flatten(config: LayerConfig) -> Emit:
    config.only("data_format", "channels_last", None, why="it moves an axis")
    return _reshape(config, (-1,))


@reads("Reshape", per_step=True)
def reshape(config: LayerConfig) -> Emit:
    return _reshape(config, config.sizes("target_shape"))


def _reshape(config: LayerConfig, target: tuple[int, ...]) -> Emit:
    def emit(chain: Chain, weights: Weights) -> None:
        if chain.has_free_time and not (len(target) > 1 and target[0] == -1):
            config.refuse("needs a known number of steps, but that of the input is free")
            return
        chain.add(graph.Reshape, passes_mask=chain.per_step, target=target, per_step=chain.per_step)

    return emit


@reads("TimeDistributed")
def time_distributed(config: LayerConfig) -> Emit | None:
    emit_step = read(config.part("layer"), per_step=True)
    if emit_step is None:
        return None

    def emit(chain: Chain, weights: Weights) -> None:
        with chain.steps():
            emit_step(chain, weights.child("layer"))

    return emit
