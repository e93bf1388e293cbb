"""Attention over the steps of a sequence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from .base import Array, Layer, TensorSpec, common_steps, tensor_spec


@dataclass(frozen=True, eq=False, kw_only=True)
class Attention(Layer):
    """Each step of a query takes the mean of a value's steps, weighted by how the query fits their keys.

    ``inputs`` is (query, value, key): (batch, query steps, heads · size), (batch, steps, heads · value size) and
    (batch, steps, heads · size), each head on features of its own. Per head, with q a step of the query and k those of
    the key::

        scores   scale · (q · k)                                      function "dot" (Luong, Pham & Manning 2015)
                 scale · Σ weight · tanh(inner_scale · (q + k))       "additive" (Bahdanau, Cho & Bengio 2015)
        weights  softmax(scores) over the steps that are not masked, 0 for the others
        output   Σ weights · value                                    (batch, query steps, heads · value size)

    A step s is masked for the query's step t where `mask` (that of value and key) is false, with `causal` where s > t,
    and with `window` where |s − t| ≥ window. `weight`, for "additive", has the features of the key; absent means ones.

    Where `query_mask` is false the output is zero, or, without `zero_masked_queries`, all steps count as masked. What a
    step of the query takes for which all steps are masked, says `all_masked`:

    - "penalty": softmax(scores − 10⁹) over all steps in float32, where scores up to 32 count alike and others by
      multiples of 64 (Keras' Attention and AdditiveAttention, TensorFlow Keras' MultiHeadAttention);
    - "mean": the mean of all steps (Keras 3's MultiHeadAttention);
    - "zero": zero, weights included (the same where it has dropout or returns its scores).

    In the steps that `mask` masks, a score or value that is not finite counts as zero. Without any step the output is
    zero. Defines ``name`` and, with `with_scores`, ``name:scores``, the weights: (batch, query steps, heads · steps),
    the number of steps known.
    """

    function: str = "dot"
    heads: int = 1
    scale: float = 1.0
    inner_scale: float = 1.0
    causal: bool = False
    window: int | None = None
    all_masked: str = "penalty"
    zero_masked_queries: bool = True
    with_scores: bool = False
    mask: str | None = None
    query_mask: str | None = None
    weight: Array | None = None

    kind: ClassVar[str] = "Attention"
    arity: ClassVar[tuple[int, int | None]] = (3, 3)
    tensor_fields: ClassVar[tuple[str, ...]] = ("weight",)
    FUNCTIONS: ClassVar[tuple[str, ...]] = ("dot", "additive")
    ALL_MASKED: ClassVar[tuple[str, ...]] = ("penalty", "mean", "zero")

    def infer(self, specs: Mapping[str, TensorSpec]) -> tuple[TensorSpec, ...]:
        query, value, key = (self._source(specs, index) for index in range(3))
        if self.function not in self.FUNCTIONS:
            raise self._fail(f"function should be one of {', '.join(self.FUNCTIONS)}, is {self.function!r}")
        if self.all_masked not in self.ALL_MASKED:
            raise self._fail(f"all_masked should be one of {', '.join(self.ALL_MASKED)}, is {self.all_masked!r}")
        if self.window is not None and self.window < 1:
            raise self._fail(f"window should be positive, is {self.window}")
        if self.function == "dot" and (self.weight is not None or self.inner_scale != 1.0):
            raise self._fail('weight and inner_scale belong to function "additive"')
        for spec in (query, value, key):
            if not spec.is_sequence or len(spec.inner) != 1:
                raise self._fail(f"needs (batch, time, features), but {spec.name!r} is {spec.shape}")
            if self.heads < 1 or spec.features % self.heads:
                raise self._fail(f"{self.heads} heads do not divide the features of {spec.name!r} {spec.shape}")
        if query.features != key.features:
            raise self._fail(f"query {query.shape} and key {key.shape} should have the same features")
        self._check("weight", key.features)
        steps = common_steps(self, [value.shape[1], key.shape[1]])
        out = tensor_spec(self.name, query.shape[1], (value.features,))
        if not self.with_scores:
            return (out,)
        if steps is None:
            raise self._fail("the scores as a value need a known number of steps")
        return (out, tensor_spec(f"{self.name}:scores", query.shape[1], (self.heads * steps,)))


@dataclass(frozen=True, eq=False, kw_only=True)
class MatMul(Layer):
    """The product of two sequences, step for step of a row.

    ``inputs`` is (a, b). With `transpose_b` a (batch, n, k) · b (batch, m, k)ᵀ → (batch, n, m), m known; else
    a (batch, n, k) · b (batch, k, m) → (batch, n, m).
    """

    transpose_b: bool = False

    kind: ClassVar[str] = "MatMul"
    arity: ClassVar[tuple[int, int | None]] = (2, 2)

    def infer(self, specs: Mapping[str, TensorSpec]) -> tuple[TensorSpec, ...]:
        a, b = self._source(specs), self._source(specs, 1)
        for spec in (a, b):
            if not spec.is_sequence or len(spec.inner) != 1:
                raise self._fail(f"needs (batch, time, features), but {spec.name!r} is {spec.shape}")
        depth, columns = (b.features, b.shape[1]) if self.transpose_b else (b.shape[1], b.features)
        if columns is None:
            raise self._fail(f"needs a known number of steps of {b.name!r} {b.shape}")
        if depth is not None and a.features != depth:
            raise self._fail(f"{a.name!r} {a.shape} and {b.name!r} {b.shape} do not fit")
        return (tensor_spec(self.name, a.shape[1], (columns,)),)
