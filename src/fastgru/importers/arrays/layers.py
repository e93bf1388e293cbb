"""What the entries of a description may be: each kind reads its options and arrays, and says how it joins the Graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ...graph import Activate, Array, Dense, Embedding, Normalize, Scale, TensorSpec, tensor_spec
from ...layers.base import SIGMOID, TANH
from ...ports import Port
from ..builder import GraphBuilder
from ..recurrent import add_stack, join_states, split_states, states_port
from . import gates
from .options import Options
from .store import ArrayStore, listed


@dataclass
class Network:
    """The network as it grows.

    Attributes
    ----------
    x : TensorSpec
        The last layer's value.
    mask : str or None
        The mask of its steps.
    outputs, ports : list
        Final states that are outputs of their own, and how callers see them.
    """

    build: GraphBuilder
    x: TensorSpec
    mask: str | None
    outputs: list[TensorSpec] = field(default_factory=list)
    ports: list[Port | None] = field(default_factory=list)
    input_ports: list[Port | None] = field(default_factory=list)
    states: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Entry:
    """An entry of a description that has been read.

    Attributes
    ----------
    add : callable
        Appends its layers.
    input_size : int or None
        Features that it reads, where its arrays say so; -1: token ids.
    batch_first : bool or None
        What it says of the layout of the network's inputs and outputs.
    """

    add: Callable[[Network], None]
    input_size: int | None = None
    batch_first: bool | None = None


TOKENS = -1
_SEPARATORS = ("", ".", "/", "_")


def _gru(store: ArrayStore, options: Options) -> Entry | None:
    prefix = options.source
    if prefix is None:
        known = gates.prefixes(store.arrays)
        if len(known) != 1:
            options.fault(f"says no name, and there are {len(known)} GRUs: {listed(map(repr, known))}")
            return None
        prefix = known[0]
    found = gates.find(store, prefix, options)
    backward = options.text("backward")
    if backward is not None and found is not None:
        other = gates.find(store, backward, options)
        found = gates.beside(found, other, options) if other is not None else None
    said = _GRUOptions.read(options, found.style if found is not None else None)
    if found is None:
        return None
    options.whole_is("num_layers", len(found.layers))
    options.flag_is("bidirectional", len(found.layers[0]) == 2)
    options.whole_is("input_size", found.layers[0][0].input_size)
    options.whole_is("hidden_size", found.layers[0][0].units)
    options.flag_is("bias", found.layers[0][0].bias is not None)
    if said.backwards and len(found.layers[0]) == 2:
        options.fault('direction "reverse" is for a GRU of one direction')
    return said.entry(store, options, found, str(prefix))


@dataclass(frozen=True)
class _GRUOptions:
    batch_first: bool | None
    return_sequences: bool
    return_state: bool
    initial_state: bool | str
    zero_output_for_mask: bool
    backwards: bool
    activations: tuple[Any, Any]

    @classmethod
    def read(cls, options: Options, style: str | None) -> _GRUOptions:
        """Every option that no array knows; `style` None where the GRU was not found."""
        batch_first = options.flag("batch_first")
        if batch_first is None and style in ("torch", "onnx"):
            default = "torch's own default is False" if style == "torch" else "layout=0 means False"
            options.fault(f"say batch_first=True or False, which no array says ({default})")
        sequences, zero = options.flag("return_sequences"), options.flag("zero_output_for_mask")
        initial = options._take(
            "initial_state", "true, false or the name of an array", lambda value: isinstance(value, (bool, str))
        )
        options.number("dropout")  # says nothing at inference
        return cls(
            batch_first=batch_first,
            return_sequences=True if sequences is None else sequences,
            return_state=bool(options.flag("return_state")),
            initial_state=initial or False,
            zero_output_for_mask=style != "keras" if zero is None else zero,
            backwards=options.text("direction", "forward", "reverse") == "reverse",
            activations=(
                options.activation("activation", TANH, gate=True),
                options.activation("recurrent_activation", SIGMOID, gate=True),
            ),
        )

    def entry(self, store: ArrayStore, options: Options, found: gates.Found, prefix: str) -> Entry:
        activation, recurrent = self.activations
        layers = [
            [replace(cell, activation=activation, recurrent_activation=recurrent) for cell in cells]
            for cells in found.layers
        ]
        count, units = sum(map(len, layers)), layers[0][0].units
        constants = self._constants(store, options, count, units)
        stem = prefix or "gru"

        def add(network: Network) -> None:
            build, h0 = network.build, None
            initial: Sequence[TensorSpec | Array | None] = constants
            if self.initial_state is True:
                h0 = build.input(tensor_spec("h0", False, (count * units,)))
                port = states_port(h0.name, count, units) if found.style == "torch" or count > 1 else None
                network.input_ports.append(port)
                initial = split_states(build, h0, count)
            stacked = add_stack(
                build, stem, network.x, layers, initial=initial, mask=network.mask, sequences=self.return_sequences,
                zero_output_for_mask=self.zero_output_for_mask, backwards=self.backwards,
            )  # fmt: skip
            network.x = stacked.output
            if not self.return_sequences:
                network.mask = None
            if self.return_state:
                state = join_states(build, f"{stem}_state", stacked.states)
                name = state.name.replace(":", "_")
                is_stack = found.style == "torch" or count > 1
                network.outputs.append(state)
                network.ports.append(
                    states_port(name, count, units) if is_stack else Port(name, (units,), ((0,), (1,)))
                )
                if h0 is not None:
                    network.states.append((h0.name, name))

        return Entry(add, layers[0][0].input_size, self.batch_first)

    def _constants(self, store: ArrayStore, options: Options, count: int, units: int) -> Sequence[Array]:
        """The initial states that an array holds: of a layer and direction each, or one for all."""
        name = self.initial_state
        if not isinstance(name, str):
            return ()
        if name not in store.arrays:
            options.fault(f"initial_state names {name!r}, which is no array")
            return ()
        array = store.take(name)
        if array.size != count * units:
            options.fault(f"initial_state {name!r} should hold {count} · {units} numbers, has shape {array.shape}")
            return ()
        return list(array.reshape(count, units))


def _linear(store: ArrayStore, options: Options) -> Entry | None:
    prefix = options.source
    layout = options.text("weight_layout", "out_in", "in_out")
    names = _named(store, prefix, {"weight": "out_in", "kernel": "in_out", "w": None, "W": None, "": None})
    activation = options.activation("activation")
    if names is None:
        options.fault(f"no array is its weight: {_wanted(prefix, 'weight', 'kernel', 'w')}")
        return None
    name, usual = names
    weight = store.take(name)
    bias_name = _first(store, prefix, "bias", "b")
    bias = store.take(bias_name) if bias_name is not None else None
    options.flag_is("bias", bias is not None)
    if weight.ndim != 2 or not weight.size:
        options.fault(f"{name!r} should have two axes, has shape {weight.shape}")
        return None
    layout = layout or usual or _layout_by_bias(weight, bias)
    if layout is None:
        options.fault(f'{name!r} {weight.shape} may be either way: say weight_layout="out_in" (y = W x) or "in_out"')
        return None
    kernel = np.ascontiguousarray(weight.T) if layout == "out_in" else weight
    if bias is not None and bias.shape != (kernel.shape[1],):
        options.fault(f"{bias_name!r} should have shape ({kernel.shape[1]},), has {bias.shape}")
        return None
    for key, actual in (("in_features", kernel.shape[0]), ("out_features", kernel.shape[1])):
        options.whole_is(key, actual)

    def add(network: Network) -> None:
        network.x = network.build.add(Dense, str(prefix), network.x, kernel=kernel, bias=bias, activation=activation)

    return Entry(add, kernel.shape[0])


def _layout_by_bias(weight: Array, bias: Array | None) -> str | None:
    """Which axis is the output's, where the bias tells."""
    rows, columns = weight.shape
    if bias is None or bias.ndim != 1 or rows == columns:
        return None
    return {rows: "out_in", columns: "in_out"}.get(bias.shape[0])


def _embedding(store: ArrayStore, options: Options) -> Entry | None:
    prefix = options.source
    name = _first(store, prefix, "weight", "embeddings", "embeddings:0", "")
    mask_zero = bool(options.flag("mask_zero"))
    options.whole("padding_idx")  # matters to training alone: its row is read like any other
    if name is None:
        options.fault(f"no array is its table: {_wanted(prefix, 'weight', 'embeddings')}")
        return None
    table = store.take(name)
    if table.ndim != 2 or not table.size:
        options.fault(f"{name!r} should be (vocabulary, features), has shape {table.shape}")
        return None
    for key, actual in (("num_embeddings", table.shape[0]), ("embedding_dim", table.shape[1])):
        options.whole_is(key, actual)

    def add(network: Network) -> None:
        network.x = network.build.add(
            Embedding, str(prefix), network.x, table=table, mask_zero=mask_zero, mask=network.mask
        )
        network.mask = f"{network.x.name}:mask"

    return Entry(add, TOKENS)


def _normalization(store: ArrayStore, options: Options) -> Entry | None:
    prefix, is_batch = options.source, options.kind == "batch_norm"
    scale_name, offset_name = _first(store, prefix, "weight", "gamma"), _first(store, prefix, "bias", "beta")
    eps = options.number("eps")
    names = [scale_name, offset_name]
    if is_batch:
        names += [_first(store, prefix, "running_mean", "moving_mean")]
        names += [_first(store, prefix, "running_var", "moving_variance")]
        counter = _first(store, prefix, "num_batches_tracked")
        if counter is not None:
            store.leave(counter)
    if all(name is None for name in names) or (is_batch and None in names[2:]):
        own = ("weight", "bias", "running_mean", "running_var") if is_batch else ("weight", "bias")
        options.fault(f"its arrays are not all there: {_wanted(prefix, *own)}")
        return None
    is_torch = any(name is not None and name.rpartition(".")[2] in ("weight", "bias", "running_mean") for name in names)
    if eps is None and not is_torch:
        options.fault("say eps, which no array says (Keras' own default is 0.001)")
    eps = 1e-5 if eps is None else eps
    arrays = [store.take(name) if name is not None else None for name in names]
    size = next(array.size for array in arrays if array is not None)
    if any(array is not None and array.shape != (size,) for array in arrays):
        options.fault(
            f"its arrays should have one shape, have {[array.shape for array in arrays if array is not None]}"
        )
        return None
    scale, offset = arrays[:2]
    if not is_batch:
        return Entry(_adder(Normalize, prefix, function="layer", epsilon=eps, scale=scale, offset=offset), size)
    scale, offset = folded(scale, offset, arrays[2], arrays[3], eps)  # type: ignore[arg-type]
    return Entry(_adder(Scale, prefix, scale=scale, offset=offset), size)


def folded(scale: Array | None, offset: Array | None, mean: Array, var: Array, eps: float) -> tuple[Array, Array]:
    """Batch normalization at inference as x · scale + offset, computed in float64."""
    factor = (1.0 if scale is None else scale.astype(np.float64)) / np.sqrt(var.astype(np.float64) + eps)
    moved = (0.0 if offset is None else offset.astype(np.float64)) - mean * factor
    return factor.astype(np.float32), moved.astype(np.float32)


def _activation(store: ArrayStore, options: Options) -> Entry:
    return Entry(_adder(Activate, "activation", activation=options.activation_of("activation", options.source)))


def _dropout(store: ArrayStore, options: Options) -> Entry:
    return Entry(lambda network: None)


def _adder(kind: Any, name: Any, **attributes: Any) -> Callable[[Network], None]:
    def add(network: Network) -> None:
        network.x = network.build.add(kind, str(name), network.x, **attributes)

    return add


def _named(store: ArrayStore, prefix: str, endings: dict[str, str | None]) -> tuple[str, str | None] | None:
    """The array that a prefix and one of some endings name, with what the ending says."""
    for ending, meaning in endings.items():
        for name in _joined(prefix, ending):
            if name in store.arrays:
                return name, meaning
    return None


def _first(store: ArrayStore, prefix: str, *endings: str) -> str | None:
    found = _named(store, prefix, dict.fromkeys(endings))
    return found[0] if found is not None else None


def _joined(prefix: str, ending: str) -> list[str]:
    if not ending or not prefix:
        return [f"{prefix}{ending}", f"{prefix}{ending}:0"]
    return [f"{prefix}{separator}{ending}{end}" for separator in _SEPARATORS for end in ("", ":0")]


def _wanted(prefix: str, *endings: str) -> str:
    return f"expected {' or '.join(repr(f'{prefix}.{ending}' if prefix else ending) for ending in endings)}"


#: readers by the key that says what an entry is
KINDS: dict[str, Callable[[ArrayStore, Options], Entry | None]] = {
    "gru": _gru,
    "linear": _linear,
    "embedding": _embedding,
    "batch_norm": _normalization,
    "layer_norm": _normalization,
    "activation": _activation,
    "dropout": _dropout,
}
