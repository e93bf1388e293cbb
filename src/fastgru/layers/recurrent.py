"""The GRU, and the layers that make masks."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from .base import (
    SIGMOID,
    TANH,
    Activation,
    Array,
    Layer,
    TensorSpec,
    Weights,
    common_steps,
    joined_steps,
    mask_of,
    tensor_spec,
)  # fmt: skip

#: a smaller one is zero in the core, which has no denormals, and takes zero for no bound
_LEAST_CLIP = 2.0**-126


@dataclass(frozen=True, eq=False, kw_only=True)
class Embedding(Layer):
    """Looks up rows of `table` (vocabulary, features) by token id.

    (batch, time) int32 → (batch, time, features), and (batch,) → (batch, features).

    Computed ids (of an ArgMax) must all lie in the table, which is checked when the network is compiled.

    Defines ``name:mask``: the mask `mask` (if any), and with `mask_zero` also false where the id is 0.
    """

    table: Weights
    mask_zero: bool = False
    mask: str | None = None

    kind: ClassVar[str] = "Embedding"
    tensor_fields: ClassVar[tuple[str, ...]] = ("table",)
    scale_axes: ClassVar[Mapping[str, Literal[-1, 0]]] = {"table": 0}

    def infer(self, specs: Mapping[str, TensorSpec]) -> tuple[TensorSpec, ...]:
        spec = specs[self.inputs[0]]
        if spec.dtype != "int32":
            raise self._fail(f"needs token ids, but {spec.name!r} is {spec.dtype}")
        if self.table.ndim != 2 or 0 in self.table.shape:
            raise self._fail(f"table should be (vocabulary, features), has shape {tuple(self.table.shape)}")
        time = spec.shape[1] if spec.is_sequence else False
        out = tensor_spec(self.name, time, (*spec.inner, self.table.shape[1]))
        return (out, *mask_of(out))


@dataclass(frozen=True, eq=False, kw_only=True)
class OneHot(Layer):
    """Vectors of zeros with a one at the place of the token id.

    (batch, time) int32 → (batch, time, vocabulary), and (batch,) → (batch, vocabulary). Computed ids are those of
    `Embedding`, of which this is the one whose table is the identity; none is stored.
    """

    vocabulary: int

    kind: ClassVar[str] = "OneHot"

    def infer(self, specs: Mapping[str, TensorSpec]) -> tuple[TensorSpec, ...]:
        spec = specs[self.inputs[0]]
        if spec.dtype != "int32":
            raise self._fail(f"needs token ids, but {spec.name!r} is {spec.dtype}")
        if self.vocabulary < 1:
            raise self._fail(f"vocabulary should be at least 1, is {self.vocabulary}")
        return (tensor_spec(self.name, spec.shape[1] if spec.is_sequence else False, (*spec.inner, self.vocabulary)),)


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
        return (out, *mask_of(out))


@dataclass(frozen=True, eq=False, kw_only=True)
class GRU(Layer):
    """A GRU layer in the canonical form of `fastgru.graph`.

    ``inputs`` is ``(x,)`` or ``(x, h0)``: x (batch, time, input_size), h0 (batch, units). Defines ``name``: (batch,
    time, units)
    with `return_sequences`, else the last output (batch, units); and ``name:state``: (batch, units).

    Where the mask `mask` is false, the state stays and the output repeats the output before it (zero before the first
    unmasked step, whatever the initial state) or, with `zero_output_for_mask`, is zero. `go_backwards` walks from the
    last step to the first and returns outputs in the order of processing (Keras' own), or with `time_order` the output
    of step t at position t (the backward half of Keras' Bidirectional, ONNX and PyTorch). `initial_state` (units,) is a
    constant used where no h0 is given; absent means zero.

    `clip` bounds what activations are applied to, biases and all: f(min(max(a, −clip), clip)), absent means no bound
    (ONNX). With `zero_state_without_steps` ``name:state`` is zero for a row all of whose steps so far are masked,
    whatever it began with (ONNX Runtime); its first unmasked step still goes on from the initial state.
    """

    units: int
    kernel: Weights
    recurrent_kernel: Weights
    bias: Array | None = None
    recurrent_bias: Array | None = None
    initial_state: Array | None = None
    reset_after: bool = True
    activation: Activation = TANH
    recurrent_activation: Activation = SIGMOID
    return_sequences: bool = False
    go_backwards: bool = False
    time_order: bool = False
    zero_output_for_mask: bool = False
    zero_state_without_steps: bool = False
    clip: float | None = None
    mask: str | None = None

    kind: ClassVar[str] = "GRU"
    arity: ClassVar[tuple[int, int | None]] = (1, 2)
    tensor_fields: ClassVar[tuple[str, ...]] = (
        "kernel", "recurrent_kernel", "bias", "recurrent_bias", "initial_state",
    )  # fmt: skip
    later_fields: ClassVar[tuple[str, ...]] = ("zero_state_without_steps", "clip")
    scale_axes: ClassVar[Mapping[str, Literal[-1, 0]]] = {"kernel": -1, "recurrent_kernel": -1}

    def infer(self, specs: Mapping[str, TensorSpec]) -> tuple[TensorSpec, ...]:
        spec = self._sequence(specs)
        if len(spec.inner) != 1:
            raise self._fail(f"needs (batch, time, features), but {spec.name!r} is {spec.shape}")
        if self.units < 1:
            raise self._fail(f"units should be positive, is {self.units}")
        if self.time_order and not (self.go_backwards and self.return_sequences):
            raise self._fail("time_order needs go_backwards and return_sequences")
        if self.clip is not None and not _LEAST_CLIP <= self.clip < math.inf:
            raise self._fail(f"clip should be positive and finite, is {self.clip}")
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
class JoinMasks(Layer):
    """A mask made of others, which `inputs` name: true where all of them are or, with `any_of`, where one of them is.

    With `over_time` they follow each other. Defines the mask ``name`` itself: (batch, time) bool.
    """

    over_time: bool = False
    any_of: bool = False

    kind: ClassVar[str] = "JoinMasks"
    arity: ClassVar[tuple[int, int | None]] = (1, None)

    def infer(self, specs: Mapping[str, TensorSpec]) -> tuple[TensorSpec, ...]:
        parts = [specs[name] for name in self.inputs]
        for spec in parts:
            if spec.dtype != "bool":
                raise self._fail(f"joins masks, but {spec.name!r} is {spec.dtype}")
        if self.over_time and self.any_of:
            raise self._fail("masks are joined over time or step by step, not both")
        steps = [spec.shape[1] for spec in parts]
        time = joined_steps(self, steps) if self.over_time else common_steps(self, steps)
        return (TensorSpec(self.name, (None, time), "bool", ("batch", "time")),)


@dataclass(frozen=True, eq=False, kw_only=True)
class StepMask(Layer):
    """The mask of sequences of known lengths: step t of a row is true where t < its length.

    ``inputs`` is (x, lengths): a sequence, whose steps it has, and int32 (batch,). Defines the mask ``name`` itself:
    (batch, time) bool. Lengths that are an input of the network lie between 0 and the steps of x, else the call is
    BadInput; computed ones may be anything, 0 or less meaning no step. In a Stream they are those of whole sequences:
    steps count from where a row began.
    """

    kind: ClassVar[str] = "StepMask"
    arity: ClassVar[tuple[int, int | None]] = (2, 2)

    def infer(self, specs: Mapping[str, TensorSpec]) -> tuple[TensorSpec, ...]:
        sequence, lengths = (specs[name] for name in self.inputs)
        if not sequence.is_sequence:
            raise self._fail(f"needs (batch, time, …), but {sequence.name!r} is {sequence.shape}")
        if lengths.dtype != "int32" or lengths.axes != ("batch",):
            given = f"{lengths.name!r} is {lengths.shape} {lengths.dtype}"
            raise self._fail(f"lengths should be (batch,) int32, but {given}")
        return (TensorSpec(self.name, sequence.shape[:2], "bool", ("batch", "time")),)
