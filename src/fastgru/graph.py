"""The Graph: the one in-memory form of a network, whatever framework it came from.

A Graph is frozen, typed and validated: importers build it, passes rewrite it, the fastgru file stores exactly it and
the core compiles it. A layer reads named *values* and defines new ones; layers stand in an order in which every value
is defined before it is read.

Values and their names
----------------------
- an input ``x`` defines the value ``x`` and, if it has a time axis, the mask ``x:mask`` (present when the caller
  gives ``mask=`` or ``lengths=``, otherwise all true);
- a layer ``l`` defines the value ``l``; a GRU also ``l:state``, its last hidden state (batch, units); an Embedding
  and a Masking also the mask ``l:mask``. Only those names may be used in ``mask``, ``inputs`` and ``outputs``.

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
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from .errors import BadModelFile

Array = np.ndarray

#: Activations by their canonical name, each with its parameters and their defaults. `relu` is Keras' general one:
#: max_value where x ≥ max_value, x where x > threshold, else negative_slope · (x − threshold).
#: `hard_sigmoid` is clip(slope · x + offset, 0, 1): Keras 2 means (0.2, 0.5), Keras 3 means (1/6, 0.5).
ELEMENTWISE: dict[str, dict[str, float]] = {
    "linear": {},
    "relu": {"max_value": math.inf, "negative_slope": 0.0, "threshold": 0.0},
    "sigmoid": {},
    "tanh": {},
    "hard_sigmoid": {"slope": 1.0 / 6.0, "offset": 0.5},
    "hard_silu": {},
    "hard_tanh": {},
    "softplus": {},
    "softsign": {},
    "elu": {"alpha": 1.0},
    "selu": {},
    "celu": {"alpha": 1.0},
    "gelu": {},
    "gelu_tanh": {},
    "silu": {},
    "mish": {},
    "exponential": {},
    "log_sigmoid": {},
    "squareplus": {"b": 4.0},
    "soft_shrink": {"threshold": 0.5},
    "hard_shrink": {"threshold": 0.5},
    "tanh_shrink": {},
    "sparse_plus": {},
    "sparse_sigmoid": {},
    "threshold": {"threshold": 0.0, "value": 0.0},
}
#: Activations that look at a whole row (the last axis). `glu` halves it: first half · sigmoid(second half).
ROWWISE: dict[str, dict[str, float]] = {"softmax": {}, "log_softmax": {}, "sparsemax": {}, "glu": {}}


@dataclass(frozen=True)
class Activation:
    """A named activation function with its parameters in the order of the tables above.

    >>> Activation.of("elu", alpha=0.5)
    Activation(name='elu', params=(0.5,))
    """

    name: str
    params: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        known = ELEMENTWISE.get(self.name, ROWWISE.get(self.name))
        if known is None:
            raise BadModelFile(f"unknown activation {self.name!r}")
        if len(self.params) != len(known):
            raise BadModelFile(f"activation {self.name!r} takes {len(known)} parameters, got {len(self.params)}")
        if any(math.isnan(value) for value in self.params):
            raise BadModelFile(f"activation {self.name!r} has a NaN parameter")

    @classmethod
    def of(cls, name: str, **params: float) -> Activation:
        """Build one by parameter name; what is not given takes its default."""
        known = ELEMENTWISE.get(name, ROWWISE.get(name, {}))
        foreign = sorted(set(params) - set(known))
        if foreign:
            raise BadModelFile(f"activation {name!r} has no parameter {', '.join(foreign)}")
        return cls(name, tuple(float(params.get(key, default)) for key, default in known.items()))

    @property
    def is_rowwise(self) -> bool:
        return self.name in ROWWISE


LINEAR = Activation("linear")


@dataclass(frozen=True)
class TensorSpec:
    """Name, shape, dtype and axes of one input or output.

    Attributes
    ----------
    name : str
    shape : tuple of (int or None)
        None where the size is free.
    dtype : str
        ``"float32"``, ``"int32"`` (token ids) or ``"bool"`` (masks).
    axes : tuple of str
        One word an axis: ``"batch"``, ``"time"``, ``"features"`` or, for further axes, ``"axis2"``, ``"axis3"``, ….
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str
    axes: tuple[str, ...]

    @property
    def is_sequence(self) -> bool:
        return "time" in self.axes

    @property
    def inner(self) -> tuple[int, ...]:
        """The sizes of the axes after batch and time; all of them known."""
        return self.shape[2:] if self.is_sequence else self.shape[1:]  # type: ignore[return-value]

    @property
    def features(self) -> int:
        """Number of values per row (and step)."""
        return math.prod(self.inner)


def tensor_spec(name: str, time: int | bool | None, inner: tuple[int, ...], dtype: str = "float32") -> TensorSpec:
    """A spec with the usual axes; `time` is False where the value is no sequence, None where its length is free."""
    lead: tuple[int | None, ...] = (None,) if time is False else (None, time)
    words = ("batch",) if time is False else ("batch", "time")
    count = len(inner)
    words += tuple(f"axis{len(lead) + i}" for i in range(count - 1)) + ("features",) * (count > 0)
    return TensorSpec(name, lead + tuple(inner), dtype, words)


@dataclass(frozen=True, eq=False, kw_only=True)
class Layer:
    """One node of a Graph. Subclasses add their attributes; fields that hold arrays are the layer's tensors."""

    name: str
    inputs: tuple[str, ...]
    #: the source's layer does not pass on the mask that it receives (Keras: Flatten, Reshape, …)
    drops_mask: bool = False

    kind: ClassVar[str] = "Layer"
    #: fewest and most values that `inputs` may name; None: any number
    arity: ClassVar[tuple[int, int | None]] = (1, 1)
    #: names of the fields that hold arrays, None among them where an array is optional and absent
    tensor_fields: ClassVar[tuple[str, ...]] = ()

    def infer(self, specs: Mapping[str, TensorSpec]) -> tuple[TensorSpec, ...]:
        """Specs of the values that this layer defines; raises BadModelFile where inputs or tensors do not fit."""
        raise NotImplementedError

    @property
    def tensors(self) -> dict[str, Array]:
        """The layer's arrays by field name; absent ones are left out."""
        pairs = ((key, getattr(self, key)) for key in self.tensor_fields)
        return {key: value for key, value in pairs if value is not None}

    @property
    def attributes(self) -> dict[str, Any]:
        """All that is not a tensor, as plain values that JSON can hold."""
        keep = (f.name for f in dataclasses.fields(self) if f.name not in self.tensor_fields)
        return {key: _plain(getattr(self, key)) for key in keep}

    def _fail(self, fault: str) -> BadModelFile:
        return BadModelFile(f"{self.kind} layer {self.name!r}: {fault}")

    def _source(self, specs: Mapping[str, TensorSpec], index: int = 0) -> TensorSpec:
        spec = specs[self.inputs[index]]
        if spec.dtype != "float32":
            raise self._fail(f"needs float32 values, but {spec.name!r} is {spec.dtype}")
        return spec

    def _sequence(self, specs: Mapping[str, TensorSpec]) -> TensorSpec:
        spec = self._source(specs)
        if not spec.is_sequence:
            raise self._fail(f"needs (batch, time, features), but {spec.name!r} is {spec.shape}")
        return spec

    def _check(self, key: str, *shape: int) -> None:
        value = getattr(self, key)
        if value is not None and tuple(value.shape) != shape:
            raise self._fail(f"{key} should have shape {shape}, has {tuple(value.shape)}")


@dataclass(frozen=True, eq=False, kw_only=True)
class Identity(Layer):
    """Passes its input on: Dropout and its kin at inference. Removed by `passes.drop_identities`."""

    kind: ClassVar[str] = "Identity"

    def infer(self, specs: Mapping[str, TensorSpec]) -> tuple[TensorSpec, ...]:
        return (dataclasses.replace(specs[self.inputs[0]], name=self.name),)


@dataclass(frozen=True, eq=False, kw_only=True)
class Embedding(Layer):
    """Looks up rows of `table` (vocabulary, features) by token id: (batch, time) int32 → (batch, time, features).

    Defines ``name:mask``: the mask `mask` (if any), and with `mask_zero` also false where the id is 0.
    """

    table: Array
    mask_zero: bool = False
    mask: str | None = None

    kind: ClassVar[str] = "Embedding"
    tensor_fields: ClassVar[tuple[str, ...]] = ("table",)

    def infer(self, specs: Mapping[str, TensorSpec]) -> tuple[TensorSpec, ...]:
        spec = specs[self.inputs[0]]
        if spec.dtype != "int32":
            raise self._fail(f"needs token ids, but {spec.name!r} is {spec.dtype}")
        if self.table.ndim != 2 or 0 in self.table.shape:
            raise self._fail(f"table should be (vocabulary, features), has shape {tuple(self.table.shape)}")
        time = spec.shape[1] if spec.is_sequence else False
        out = tensor_spec(self.name, time, (*spec.inner, self.table.shape[1]))
        return (out, *_mask_of(out))


@dataclass(frozen=True, eq=False, kw_only=True)
class Masking(Layer):
    """Masks the steps all of whose features equal `mask_value` and sets them to zero: (batch, time, features) → same.

    Defines ``name:mask``, ANDed with the mask `mask` (if any).
    """

    mask_value: float = 0.0
    mask: str | None = None

    kind: ClassVar[str] = "Masking"

    def infer(self, specs: Mapping[str, TensorSpec]) -> tuple[TensorSpec, ...]:
        out = dataclasses.replace(self._sequence(specs), name=self.name)
        return (out, *_mask_of(out))


@dataclass(frozen=True, eq=False, kw_only=True)
class GRU(Layer):
    """A GRU layer in the canonical form of this module's docstring.

    ``inputs`` is ``(x,)`` or ``(x, h0)``: x (batch, time, input_size), h0 (batch, units). Defines ``name``: (batch,
    time, units)
    with `return_sequences`, else the last output (batch, units); and ``name:state``: (batch, units).

    Where the mask `mask` is false, the state stays and the output repeats the output before it (zero before the first
    unmasked step, whatever the initial state) or, with `zero_output_for_mask`, is zero. `go_backwards` walks from the
    last step to the first and returns outputs in the order of processing (Keras' own), or with `time_order` the output
    of step t at position t (the backward half of Keras' Bidirectional, ONNX and PyTorch). `initial_state` (units,) is a
    constant used where no h0 is given; absent means zero.
    """

    units: int
    kernel: Array
    recurrent_kernel: Array
    bias: Array | None = None
    recurrent_bias: Array | None = None
    initial_state: Array | None = None
    reset_after: bool = True
    activation: Activation = Activation("tanh")
    recurrent_activation: Activation = Activation("sigmoid")
    return_sequences: bool = False
    go_backwards: bool = False
    time_order: bool = False
    zero_output_for_mask: bool = False
    mask: str | None = None

    kind: ClassVar[str] = "GRU"
    arity: ClassVar[tuple[int, int | None]] = (1, 2)
    tensor_fields: ClassVar[tuple[str, ...]] = (
        "kernel", "recurrent_kernel", "bias", "recurrent_bias", "initial_state",
    )  # fmt: skip

    def infer(self, specs: Mapping[str, TensorSpec]) -> tuple[TensorSpec, ...]:
        spec = self._sequence(specs)
        if len(spec.inner) != 1:
            raise self._fail(f"needs (batch, time, features), but {spec.name!r} is {spec.shape}")
        if self.units < 1:
            raise self._fail(f"units should be positive, is {self.units}")
        if self.time_order and not (self.go_backwards and self.return_sequences):
            raise self._fail("time_order needs go_backwards and return_sequences")
        for function in (self.activation, self.recurrent_activation):
            if function.is_rowwise:
                raise self._fail(f"activation {function.name!r} looks at a whole row; a gate takes an elementwise one")
        self._check("kernel", spec.features, 3 * self.units)
        self._check("recurrent_kernel", self.units, 3 * self.units)
        self._check("bias", 3 * self.units)
        self._check("recurrent_bias", 3 * self.units)
        self._check("initial_state", self.units)
        if len(self.inputs) == 2:
            initial = self._source(specs, 1)
            if initial.is_sequence or initial.inner != (self.units,):
                raise self._fail(
                    f"initial state should be (batch, {self.units}), but {initial.name!r} is {initial.shape}"
                )
        time = spec.shape[1] if self.return_sequences else False
        return (tensor_spec(self.name, time, (self.units,)), tensor_spec(f"{self.name}:state", False, (self.units,)))


@dataclass(frozen=True, eq=False, kw_only=True)
class Dense(Layer):
    """activation(x · kernel + bias) on the last axis: (…, input_size) → (…, units)."""

    kernel: Array
    bias: Array | None = None
    activation: Activation = LINEAR

    kind: ClassVar[str] = "Dense"
    tensor_fields: ClassVar[tuple[str, ...]] = ("kernel", "bias")

    def infer(self, specs: Mapping[str, TensorSpec]) -> tuple[TensorSpec, ...]:
        spec = self._source(specs)
        if not spec.inner:
            raise self._fail(f"needs a features axis, but {spec.name!r} is {spec.shape}")
        if self.kernel.ndim != 2 or 0 in self.kernel.shape:
            raise self._fail(f"kernel should be (input_size, units), has shape {tuple(self.kernel.shape)}")
        units = self.kernel.shape[1]
        self._check("kernel", spec.inner[-1], units)
        self._check("bias", units)
        return (
            _activated(
                self, dataclasses.replace(spec, name=self.name, shape=(*spec.shape[:-1], units)), self.activation
            ),
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class Activate(Layer):
    """Applies an activation; row-wise ones along the last axis."""

    activation: Activation

    kind: ClassVar[str] = "Activate"

    def infer(self, specs: Mapping[str, TensorSpec]) -> tuple[TensorSpec, ...]:
        spec = self._source(specs)
        if not spec.inner:
            raise self._fail(f"needs a features axis, but {spec.name!r} is {spec.shape}")
        return (_activated(self, dataclasses.replace(spec, name=self.name), self.activation),)


@dataclass(frozen=True, eq=False, kw_only=True)
class Reshape(Layer):
    """Gives the axes after batch the sizes `target`, in row-major order.

    With `per_step` the axes after time are reshaped and time stays. Otherwise time is one of the reshaped axes (one
    of `target` may be −1, inferred) and the result is a sequence if it has two or more axes after batch: the first is
    time.
    """

    target: tuple[int, ...]
    per_step: bool = False

    kind: ClassVar[str] = "Reshape"

    def infer(self, specs: Mapping[str, TensorSpec]) -> tuple[TensorSpec, ...]:
        spec = self._source(specs)
        if self.per_step:
            if not spec.is_sequence:
                raise self._fail(f"needs a time axis, but {spec.name!r} is {spec.shape}")
            return (tensor_spec(self.name, spec.shape[1], self._resolve(spec.features)),)
        if not spec.is_sequence:
            sizes: tuple[int | None, ...] = self._resolve(spec.features)
        elif spec.shape[1] is None:
            sizes = self._resolve_free(spec)
        else:
            sizes = self._resolve(spec.shape[1] * spec.features)
        if len(sizes) >= 2:
            return (tensor_spec(self.name, sizes[0], sizes[1:]),)  # type: ignore[arg-type]
        return (tensor_spec(self.name, False, sizes),)  # type: ignore[arg-type]

    def _resolve(self, total: int) -> tuple[int, ...]:
        free = self.target.count(-1)
        known = math.prod(size for size in self.target if size != -1)
        if free > 1 or any(size < 1 and size != -1 for size in self.target) or not self.target:
            raise self._fail(f"target {self.target} should be positive sizes, at most one of them -1")
        if total % known or (not free and total != known):
            raise self._fail(f"target {self.target} does not hold {total} values")
        return tuple(total // known if size == -1 else size for size in self.target)

    def _resolve_free(self, spec: TensorSpec) -> tuple[int | None, ...]:
        """A free time axis can only become the free first axis of a sequence."""
        rest = self.target[1:]
        if len(self.target) < 2 or self.target[0] != -1 or any(size < 1 for size in rest):
            raise self._fail(f"target {self.target} needs a known number of steps, but {spec.name!r} is {spec.shape}")
        if spec.features % math.prod(rest):
            raise self._fail(f"target {self.target} does not divide the {spec.features} values of a step")
        return (None, *rest)


@dataclass(frozen=True, eq=False, kw_only=True)
class Concatenate(Layer):
    """Joins values along their last axis, in the order of `inputs`: all sequences with the same steps, or none.

    Two GRUs over one input, the second with `go_backwards` and `time_order`, and their Concatenate are a bidirectional
    layer. It defines no mask: what comes behind names that of its source.
    """

    kind: ClassVar[str] = "Concatenate"
    arity: ClassVar[tuple[int, int | None]] = (2, None)

    def infer(self, specs: Mapping[str, TensorSpec]) -> tuple[TensorSpec, ...]:
        parts = [self._source(specs, index) for index in range(len(self.inputs))]
        first = parts[0]
        for spec in parts:
            if not spec.inner:
                raise self._fail(f"needs a features axis, but {spec.name!r} is {spec.shape}")
            if spec.is_sequence != first.is_sequence or spec.inner[:-1] != first.inner[:-1]:
                raise self._fail(f"{spec.name!r} {spec.shape} does not fit beside {first.name!r} {first.shape}")
        inner = (*first.inner[:-1], sum(spec.inner[-1] for spec in parts))
        if not first.is_sequence:
            return (tensor_spec(self.name, False, inner),)
        steps = {spec.shape[1] for spec in parts if spec.shape[1] is not None}
        if len(steps) > 1:
            raise self._fail(f"joins sequences of {' and '.join(map(str, sorted(steps)))} steps")
        return (tensor_spec(self.name, steps.pop() if steps else None, inner),)


#: every layer class by its kind: what the fastgru file may name
LAYERS: dict[str, type[Layer]] = {
    cls.kind: cls for cls in (Identity, Embedding, Masking, GRU, Dense, Activate, Reshape, Concatenate)
}


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
        Vocabulary and preprocessing of a text network (see `fastgru.text`), plain JSON values.

    Raises
    ------
    BadModelFile
        Where names clash, a value is read before it is defined, or shapes do not fit.

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

    def __post_init__(self) -> None:
        for text in (self.name, *self.specs, *self.notes):
            if not text.isprintable():  # it may come from a hostile file and end on a terminal
                raise BadModelFile(f"{text!r} holds characters that cannot be printed")

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
            for mask in _mask_of(spec):
                define(mask, "input")
        for layer in self.layers:
            owner = f"{layer.kind} layer {layer.name!r}"
            mask = getattr(layer, "mask", None)
            fewest, most = layer.arity
            if len(layer.inputs) < fewest or (most is not None and len(layer.inputs) > most):
                raise BadModelFile(f"{owner} should have {_counted(layer.arity)} inputs, has {len(layer.inputs)}")
            for value in (*layer.inputs, *((mask,) if mask is not None else ())):
                if value not in specs:
                    raise BadModelFile(f"{owner} reads {value!r}, which nothing before it defines")
            if mask is not None and specs[mask].dtype != "bool":
                raise BadModelFile(f"{owner}: {mask!r} is not a mask")
            for spec in layer.infer(specs):
                define(spec, owner)
        for value in self.outputs:
            if value not in specs:
                raise BadModelFile(f"output {value!r} is not defined by any layer")
            if specs[value].dtype == "int32":
                raise BadModelFile(f"output {value!r} is an input of token ids; outputs are computed values or masks")
        if not self.inputs or not self.outputs:
            raise BadModelFile("a network needs at least one input and one output")
        return specs

    @property
    def tensors(self) -> Iterator[tuple[str, Array]]:
        """Every tensor as (``layer/field``, array), in order."""
        for layer in self.layers:
            for key, value in layer.tensors.items():
                yield f"{layer.name}/{key}", value

    @property
    def parameters(self) -> int:
        """Number of weights."""
        return sum(value.size for _, value in self.tensors)

    def structure(self) -> dict[str, Any]:
        """The Graph without its tensors, notes and text, as plain values that JSON can hold."""
        return {
            "name": self.name,
            "inputs": [_plain(spec) for spec in self.inputs],
            "layers": [{"kind": layer.kind, **layer.attributes} for layer in self.layers],
            "outputs": list(self.outputs),
        }

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of structure and tensors: equal where two networks compute the same from the same numbers."""
        import hashlib  # takes milliseconds that a first answer need not wait for

        digest = hashlib.sha256(json.dumps(self.structure(), sort_keys=True).encode())
        for name, value in self.tensors:
            digest.update(f"\n{name} {value.dtype.str} {value.shape}\n".encode())
            digest.update(np.ascontiguousarray(value).data)
        return digest.hexdigest()


def layer_from(kind: str, attributes: Mapping[str, Any], tensors: Mapping[str, Array]) -> Layer:
    """Rebuild a layer from its `attributes` and `tensors`; a foreign or missing key is BadModelFile."""
    cls = LAYERS.get(kind)
    if cls is None:
        raise BadModelFile(f"unknown layer kind {kind!r}")
    known = {f.name: f for f in dataclasses.fields(cls)}
    values: dict[str, Any] = {}
    for key, value in attributes.items():
        if key not in known or key in cls.tensor_fields:
            raise BadModelFile(f"{kind} layer has no attribute {key!r}")
        values[key] = _unplain(value)
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


def _activated(layer: Layer, spec: TensorSpec, activation: Activation) -> TensorSpec:
    if activation.name != "glu":
        return spec
    if not spec.inner or spec.inner[-1] % 2:
        raise layer._fail(f"glu needs an even number of features, but {spec.name!r} is {spec.shape}")
    return dataclasses.replace(spec, shape=(*spec.shape[:-1], spec.inner[-1] // 2))


def _mask_of(spec: TensorSpec) -> tuple[TensorSpec, ...]:
    if not spec.is_sequence:
        return ()
    return (TensorSpec(f"{spec.name}:mask", spec.shape[:2], "bool", ("batch", "time")),)


def _plain(value: Any) -> Any:
    if isinstance(value, Activation):
        # JSON has no infinity (relu's absent max_value): it travels as a string
        return {"activation": value.name, "params": [p if math.isfinite(p) else str(p) for p in value.params]}
    if isinstance(value, TensorSpec):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value


def _unplain(value: Any) -> Any:
    if isinstance(value, dict):
        if set(value) != {"activation", "params"} or not isinstance(value["params"], list):
            raise BadModelFile(f"expected an activation, got {sorted(value)}")
        return Activation(str(value["activation"]), tuple(float(p) for p in value["params"]))
    if isinstance(value, list):
        return tuple(_unplain(item) for item in value)
    return value
