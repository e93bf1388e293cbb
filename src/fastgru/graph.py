"""The Graph: the one in-memory form of a network, whatever framework it came from.

A Graph is frozen, typed and validated: importers build it, passes rewrite it, the fastgru file stores exactly it and
the core compiles it. A layer reads named *values* and defines new ones; layers stand in an order in which every value
is defined before it is read.

Values and their names
----------------------
- an input ``x`` defines the value ``x`` and, if it has a time axis, the mask ``x:mask`` (present when the caller
  gives ``mask=`` or ``lengths=``, otherwise all true);
- a layer ``l`` defines the value ``l``; a GRU also ``l:state``, its last hidden state (batch, units); an Embedding,
  a Masking and a TimeDistributed whose network makes one also the mask ``l:mask``; an Attention, if asked to, its
  weights ``l:scores``. A JoinMasks and a StepMask are masks themselves. Only those names may be used in ``mask``,
  ``inputs`` and ``outputs``.

A value's shape is ``(batch, time, features, …)`` where it is a sequence, else ``(batch, features, …)``.

The canonical GRU
-----------------
Gates stand in the order **z** (update), **r** (reset), **n** (candidate), side by side in the columns of every
tensor:
``kernel (input_size, 3·units)``, ``recurrent_kernel (units, 3·units)``, ``bias (3·units,)`` added to the input's
product, ``recurrent_bias (3·units,)`` added to the recurrent product; either bias may be absent (zero). With
``f = recurrent_activation`` and ``g = activation``::

    z  = f(x Wz + bz + h Rz + cz)
    r  = f(x Wr + br + h Rr + cr)
    n  = g(x Wn + bn + r · (h Rn + cn))      reset_after=True   (ONNX linear_before_reset=1, PyTorch, CuDNN)
    n  = g(x Wn + bn + (r · h) Rn + cn)      reset_after=False  (ONNX linear_before_reset=0, TensorFlow 1)
    h' = z · h + (1 − z) · n

Keras stores exactly this order and layout. Every other source is permuted into it by its importer.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import zip_longest
from typing import Any

import numpy as np

from .errors import BadModelFile
from .layers import *  # noqa: F403
from .layers import LAYERS, NARROW, Layer, TensorSpec, TimeDistributed, Weights, dtype_name
from .layers.base import mask_of, plain, unplain
from .ports import Port, caller_name, check_ports, state_fault

#: how many networks may stand inside each other
MAX_DEPTH = 4


@dataclass(frozen=True, eq=False)
class Graph:
    """A network: inputs, layers in order of evaluation, and the values that are its outputs.

    Parameters
    ----------
    inputs : tuple of TensorSpec
    layers : tuple of Layer
    outputs : tuple of str
        Names of values.
    name : str
        The source's name of the network.
    notes : tuple of str
        What the importer wants the user to know.
    text : dict or None
        How texts, tokens or numbers become what inputs take (`fastgru.text.FrontEnd.to_json`), plain JSON values.
    input_ports, output_ports : tuple of (Port or None)
        How callers see each input and output; None, or an empty tuple for all: as the value is.
    states : tuple of (str, str)
        Inputs that a Stream may feed with outputs of the call before, by the names that callers see: (input, output).

    Raises
    ------
    BadModelFile
        Where names clash, a value is read before it is defined, or shapes, ports or states do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> x = tensor_spec("x", None, (2,))
    >>> dense = Dense(name="d", inputs=("x",), kernel=np.ones((2, 3), np.float32))
    >>> Graph((x,), (dense,), ("d",)).specs["d"].shape
    (None, None, 3)
    """

    inputs: tuple[TensorSpec, ...]
    layers: tuple[Layer, ...]
    outputs: tuple[str, ...]
    name: str = ""
    notes: tuple[str, ...] = ()
    text: Mapping[str, Any] | None = field(default=None)
    input_ports: tuple[Port | None, ...] = ()
    output_ports: tuple[Port | None, ...] = ()
    states: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        for text in (self.name, *self.specs, *self.notes):
            if not text.isprintable():  # it may come from a hostile file and end on a terminal
                raise BadModelFile(f"{text!r} holds characters that cannot be printed")
        if self.depth > MAX_DEPTH:
            raise BadModelFile(f"more than {MAX_DEPTH} networks stand inside each other")
        claimed: set[str] = set()
        for layer in self.layers:  # a file has the tensors of both under one name
            places = {f"{layer.name}/{key}".rpartition("/")[0] for key in layer.tensors}
            if places & claimed:
                raise BadModelFile(f"the name {min(places & claimed)!r} stands for two layers, one inside another")
            claimed |= places
        dtypes = sorted({dtype_name(value) for _, value in self.tensors} & set(NARROW))
        if len(dtypes) > 1:
            raise BadModelFile(f"weights are float32 and of one narrow dtype, not of {' and '.join(dtypes)}")
        self._check_ports()

    def _check_ports(self) -> None:
        if not (self.input_ports or self.output_ports or self.states):
            return
        inputs, outputs = self.ported_inputs, self.ported_outputs
        check_ports("input", self.inputs, self.input_ports or (None,) * len(inputs), True)
        check_ports("output", [spec for spec, _ in outputs], self.output_ports or (None,) * len(outputs), False)
        fault = state_fault(self.states, inputs, outputs)
        if fault is not None:
            raise BadModelFile(fault)

    @property
    def has_ports(self) -> bool:
        """Whether callers see any input or output otherwise than the Graph."""
        return any(port is not None for port in (*self.input_ports, *self.output_ports))

    @property
    def ported_inputs(self) -> tuple[tuple[TensorSpec, Port | None], ...]:
        """Each input with its port."""
        return tuple(zip_longest(self.inputs, self.input_ports))

    @property
    def ported_outputs(self) -> tuple[tuple[TensorSpec, Port | None], ...]:
        """Each output with its port."""
        return tuple(zip_longest((self.specs[value] for value in self.outputs), self.output_ports))

    @property
    def input_names(self) -> tuple[str, ...]:
        """The inputs' names as callers see them."""
        return tuple(caller_name(spec.name, port) for spec, port in self.ported_inputs)

    @property
    def output_names(self) -> tuple[str, ...]:
        """The outputs' names as callers see them."""
        return tuple(caller_name(spec.name, port) for spec, port in self.ported_outputs)

    @cached_property
    def specs(self) -> dict[str, TensorSpec]:
        """Every value's spec by name, masks included."""
        specs: dict[str, TensorSpec] = {}

        def define(spec: TensorSpec, owner: str) -> None:
            _check_sizes(spec, owner)
            if spec.name in specs:
                raise BadModelFile(f"{owner}: the name {spec.name!r} is used twice")
            specs[spec.name] = spec

        for spec in self.inputs:
            if spec.dtype not in ("float32", "int32"):
                raise BadModelFile(f"input {spec.name!r} should be float32 or int32, is {spec.dtype}")
            define(spec, "input")
            for mask in mask_of(spec):
                define(mask, "input")
        for layer in self.layers:
            owner = f"{layer.kind} layer {layer.name!r}"
            fewest, most = layer.arity
            if len(layer.inputs) < fewest or (most is not None and len(layer.inputs) > most):
                raise BadModelFile(f"{owner} should have {_counted(layer.arity)} inputs, has {len(layer.inputs)}")
            for value in (*layer.inputs, *layer.masks.values()):
                if value not in specs:
                    raise BadModelFile(f"{owner} reads {value!r}, which nothing before it defines")
            for name in layer.masks.values():
                if specs[name].dtype != "bool":
                    raise BadModelFile(f"{owner}: {name!r} is not a mask")
            for spec in layer.infer(specs):
                define(spec, owner)
            layer.check_dtypes()
        for value in self.outputs:
            if value not in specs:
                raise BadModelFile(f"output {value!r} is not defined by any layer")
        if not self.inputs or not self.outputs:
            raise BadModelFile("a network needs at least one input and one output")
        return specs

    @property
    def depth(self) -> int:
        """How many networks stand inside each other, this one included."""
        return 1 + max((layer.graph.depth for layer in self.layers if isinstance(layer, TimeDistributed)), default=0)

    @property
    def tensors(self) -> Iterator[tuple[str, Weights]]:
        """Every tensor as (``layer/field``, array), in order."""
        for layer in self.layers:
            for key, value in layer.tensors.items():
                yield f"{layer.name}/{key}", value

    @property
    def parameters(self) -> int:
        """Number of weights."""
        return sum(value.size for _, value in self.tensors)

    def structure(self) -> dict[str, Any]:
        """The Graph without its tensors, notes and text, as plain values that JSON can hold; ports and states only
        where there are any."""
        fields: dict[str, Any] = {
            "name": self.name,
            "inputs": [plain(spec) for spec in self.inputs],
            "layers": [{"kind": layer.kind, **layer.attributes} for layer in self.layers],
            "outputs": list(self.outputs),
        }
        if self.has_ports:
            for key, ported in (("input_ports", self.ported_inputs), ("output_ports", self.ported_outputs)):
                fields[key] = [None if port is None else port.to_json() for _, port in ported]
        if self.states:
            fields["states"] = plain(self.states)
        return fields

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of structure and tensors: equal where two networks compute the same from the same numbers."""
        import hashlib  # takes milliseconds that a first answer need not wait for

        digest = hashlib.sha256(json.dumps(self.structure(), sort_keys=True).encode())
        for name, value in self.tensors:
            parts = (value,) if isinstance(value, np.ndarray) else (value.data, value.scale)
            dtype = value.dtype.str if isinstance(value, np.ndarray) else value.dtype
            digest.update(f"\n{name} {dtype} {value.shape}\n".encode())
            for part in parts:
                if part is not None:
                    digest.update(np.ascontiguousarray(part).data)
        return digest.hexdigest()


def layer_from(kind: str, attributes: Mapping[str, Any], tensors: Mapping[str, Weights]) -> Layer:
    """Rebuild a layer from its `attributes`, a network inside it as a Graph, and `tensors`; a foreign or missing key is
    BadModelFile."""
    cls = LAYERS.get(kind)
    if cls is None:
        raise BadModelFile(f"unknown layer kind {kind!r}")
    known = {f.name: f for f in dataclasses.fields(cls)}
    values: dict[str, Any] = {}
    for key, value in attributes.items():
        if key not in known or key in cls.tensor_fields:
            raise BadModelFile(f"{kind} layer has no attribute {key!r}")
        values[key] = unplain(value)
    for key, array in tensors.items():
        if key not in cls.tensor_fields:
            raise BadModelFile(f"{kind} layer has no tensor {key!r}")
        values[key] = array
    try:
        return cls(**values)
    except TypeError as error:
        raise BadModelFile(f"{kind} layer: {error}") from None


def _check_sizes(spec: TensorSpec, owner: str) -> None:
    """Known sizes are positive whole numbers, and what they hold of one row and step can be counted in 32 bits."""
    known = (*spec.inner, *(size for size in spec.shape[: spec.is_sequence + 1] if size is not None))
    if not all(type(size) is int and size > 0 for size in known) or spec.features >= 2**31:
        raise BadModelFile(f"{owner}: {spec.name!r} cannot have shape {spec.shape}")


def _counted(bounds: tuple[int, int | None]) -> str:
    if bounds[1] is None:
        return f"{bounds[0]} or more"
    return str(bounds[0]) if bounds[0] == bounds[1] else f"{bounds[0]} to {bounds[1]}"
