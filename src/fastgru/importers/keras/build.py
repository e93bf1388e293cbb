"""The Graph as it grows, call by call of a Keras layer, with the masks that Keras would carry along.

Keras hangs a mask on a value. Embedding (mask_zero) and Masking make one, a GRU uses it, most layers pass it on,
merging layers join those of their inputs, and a layer that does not say that it supports masks (Flatten, Reshape,
Conv1D) lets it end.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from ...errors import BadModelFile, UnsupportedModel
from ...graph import Activation, Attention, Identity, JoinMasks, Layer, MatMul, Reshape, TensorSpec
from ..builder import GraphBuilder

SOFTMAX = Activation.of("softmax")


@dataclass(frozen=True)
class Value:
    """A value of the Graph and what Keras hangs on it.

    Attributes
    ----------
    spec : TensorSpec
    mask : str or None
        Name of its mask.
    is_masked : bool
        The network itself has masked it, whether or not the caller gives a mask.
    given : str or None
        Name of the mask that the caller may have given for the input that it comes from.
    time_first : bool
        In Keras it is (time, batch, …), which TensorFlow's transpose made of it; `spec` has the batch first all the
        same.
    """

    spec: TensorSpec
    mask: str | None = None
    is_masked: bool = False
    given: str | None = None
    time_first: bool = False

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def features(self) -> int:
        """Size of its last axis."""
        if not self.spec.inner:
            raise BadModelFile(f"{self.name!r} has no features axis, its shape is {self.spec.shape}")
        return self.spec.inner[-1]

    @property
    def rank(self) -> int:
        """Number of its axes, batch among them."""
        return len(self.spec.shape)

    @property
    def has_free_time(self) -> bool:
        return self.spec.is_sequence and self.spec.shape[1] is None

    def unmasked(self) -> Value:
        return replace(self, mask=None, is_masked=False, given=None)


@dataclass(frozen=True, kw_only=True)
class Scores(Value):
    """q · keyᵀ for each step q of a query, as many numbers as the key has steps, which is free: no value of the Graph.

    It stands on the way to an Attention that is written out, Dot–Softmax–Dot.

    Attributes
    ----------
    query, key : Value
    weighs : bool
        It has been through the softmax.
    """

    query: Value
    key: Value
    weighs: bool = False

    @property
    def features(self) -> int:
        raise _stray(self)


def _stray(scores: Scores) -> UnsupportedModel:
    return UnsupportedModel(
        f"layer {scores.name!r} makes as many features as {scores.key.name!r} has steps, whose number is free; "
        "only a softmax and its product with a sequence can follow, as attention"
    )


def flat(value: Any) -> list[Value]:
    """The values in nested lists and dicts, in order."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return [item for part in value for item in flat(part)]
    return [value]


class Builder:
    """Collects the layers of a Graph.

    Attributes
    ----------
    graph : GraphBuilder
    name : str
        What the value of the Keras layer at work will be called.
    per_step : bool
        That layer stands in a TimeDistributed, and works on each step by itself.
    """

    def __init__(self) -> None:
        self.graph = GraphBuilder()
        self.name = ""
        self.per_step = False
        self._prefix = ""

    def source(self, spec: TensorSpec) -> Value:
        """An input of the network."""
        spec = self.graph.input(spec)
        mask = f"{spec.name}:mask" if spec.is_sequence else None
        return Value(spec, mask, False, mask)

    @contextmanager
    def called(self, name: str) -> Iterator[None]:
        """Inside, layers are those of one call of the Keras layer of that name."""
        before = self.name
        self.name = self.graph.unique(self._prefix + name)
        try:
            yield
        finally:
            self.name = before

    @contextmanager
    def inside(self, name: str) -> Iterator[None]:
        """Inside, Keras layers are those of the network in the network whose value has that name."""
        before = self._prefix
        self._prefix = f"{name}."
        try:
            yield
        finally:
            self._prefix = before

    @contextmanager
    def steps(self) -> Iterator[None]:
        """Inside, layers are those of a TimeDistributed."""
        before, self.per_step = self.per_step, True
        try:
            yield
        finally:
            self.per_step = before

    def add(
        self, kind: type[Layer], *inputs: Value, part: str = "", passes_mask: bool = True, **attributes: Any
    ) -> Value:
        """Append a layer; its value is named after the Keras layer, or that and the `part` of it that it is.

        The mask of the first input is passed on to a sequence, unless the layer lets masks end.
        """
        scores = self._attention(kind, inputs, attributes)
        if scores is not None:
            return scores
        drops_mask = not passes_mask and any(value.mask is not None for value in inputs)
        name = self.graph.unique(f"{self.name}.{part}") if part else self.name
        names = tuple(value.name for value in inputs)
        spec = self.graph.append(kind(name=name, inputs=names, drops_mask=drops_mask, **attributes))
        value = replace(inputs[0], spec=spec)
        return value if passes_mask and spec.is_sequence else value.unmasked()

    def _attention(self, kind: type[Layer], inputs: Sequence[Value], attributes: dict[str, Any]) -> Value | None:
        """What a layer makes where one by one they make an Attention over a free number of steps."""
        first, transpose_b = inputs[0], attributes.get("transpose_b", False)
        if not any(isinstance(value, Scores) for value in inputs):
            if kind is not MatMul or not transpose_b or not inputs[1].has_free_time:
                return None
            query, key = inputs
            spec = replace(query.spec, name=self.name, shape=(*query.spec.shape[:2], None))
            return Scores(spec, query=query, key=key)
        if isinstance(first, Scores) and kind is Identity:
            return first
        if isinstance(first, Scores) and not first.weighs and attributes.get("activation") == SOFTMAX:
            return replace(first, spec=replace(first.spec, name=self.name), weighs=True)
        if isinstance(first, Scores) and first.weighs and kind is MatMul and not transpose_b:
            return self.add(Attention, first.query, inputs[1], first.key)
        raise _stray(next(value for value in inputs if isinstance(value, Scores)))

    def add_masking(self, kind: type[Layer], x: Value, makes_mask: bool, **attributes: Any) -> Value:
        """Append a layer that defines a mask, for which `attributes` names the one that it joins."""
        value = self.add(kind, x, **attributes)
        if not value.spec.is_sequence:
            return value
        return replace(value, mask=f"{value.name}:mask", is_masked=x.is_masked or makes_mask)

    def as_features(self, value: Value) -> Value:
        """A value as what a layer reads: (batch, time) numbers, which `x[:, :, 0]` leaves, are features to Keras."""
        spec = value.spec
        is_row = not spec.is_sequence or spec.inner or spec.dtype != "float32"
        if is_row or value.time_first or spec.shape[1] is None:
            return value
        return self.add(Reshape, value, part="features", passes_mask=False, target=(spec.shape[1],))

    def state_of(self, value: Value) -> Value:
        """The last hidden state of the GRU that made a value."""
        return Value(self.graph.spec(f"{value.name}:state"))

    def join_masks(self, inputs: Sequence[Value], over_time: bool = False, any_of: bool = False) -> Value:
        """The mask of what is made of several values, as a carrier of `mask`, `is_masked` and `given`."""
        masked = [value for value in inputs if value.mask is not None]
        if not masked or (over_time and len(masked) < len(inputs)):
            return inputs[0].unmasked()
        names = [value.mask for value in masked if value.mask is not None]
        is_masked = any(value.is_masked for value in masked)
        if len(set(names)) == 1 and not over_time:
            return replace(masked[0], is_masked=is_masked)
        joined = self.graph.add(JoinMasks, f"{self.name}.mask", *names, over_time=over_time, any_of=any_of)
        return replace(masked[0], mask=joined.name, is_masked=is_masked)

    def output(self, value: Value) -> Value:
        """A value that the Graph can give."""
        if isinstance(value, Scores):
            raise _stray(value)
        return value

    def rename(self, value: Value, name: str) -> Value:
        """Give a value that a layer defines another name, if that is free."""
        return replace(value, spec=replace(value.spec, name=self.graph.rename(value.name, name)))
