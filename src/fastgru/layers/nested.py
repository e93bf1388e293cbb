"""A network that runs on every step of another one."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from .base import Array, Layer, TensorSpec, tensor_spec

if TYPE_CHECKING:
    from ..graph import Graph


@dataclass(frozen=True, eq=False, kw_only=True)
class TimeDistributed(Layer):
    """Runs `graph`, a network of one input and one output, on each step, as a batch of batch · time rows.

    The value is (batch, time, …) or token ids (batch, time, steps); its axes behind time are those of the inner input
    behind batch. Where `mask` is false the inner network's GRUs see a row all of whose steps are masked.
    """

    graph: Graph
    mask: str | None = None

    kind: ClassVar[str] = "TimeDistributed"

    def infer(self, specs: Mapping[str, TensorSpec]) -> tuple[TensorSpec, ...]:
        spec = specs[self.inputs[0]]
        if not spec.is_sequence:
            raise self._fail(f"needs a time axis, but {spec.name!r} is {spec.shape}")
        if len(self.graph.inputs) != 1 or len(self.graph.outputs) != 1:
            raise self._fail("the inner network should have one input and one output")
        inner = self.graph.inputs[0]
        sizes = zip(inner.shape[1:], spec.inner, strict=False)
        fits = len(inner.shape) - 1 == len(spec.inner) and all(want in (None, got) for want, got in sizes)
        if not fits or inner.dtype != spec.dtype:
            raise self._fail(f"steps of {spec.name!r} {spec.shape} are no input of {inner.shape} {inner.dtype}")
        fixed = dataclasses.replace(inner, shape=(None, *spec.inner))
        out = dataclasses.replace(self.graph, inputs=(fixed,)).specs[self.graph.outputs[0]]
        if None in out.shape[1:]:
            raise self._fail(f"the inner network's output {out.shape} has no known size")
        return (tensor_spec(self.name, spec.shape[1], out.shape[1:]),)  # type: ignore[arg-type]

    @property
    def tensors(self) -> dict[str, Array]:
        """The inner network's arrays as ``layer/field``."""
        return dict(self.graph.tensors)

    @property
    def attributes(self) -> dict[str, Any]:
        """All that is not a tensor; the inner network as `Graph.structure`."""
        return {
            "name": self.name, "inputs": list(self.inputs), "drops_mask": self.drops_mask, "mask": self.mask,
            "graph": self.graph.structure(),
        }  # fmt: skip
