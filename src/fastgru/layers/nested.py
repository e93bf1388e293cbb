"""A network that runs on every step of another one."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from .base import Layer, TensorSpec, Weights, mask_of, tensor_spec

if TYPE_CHECKING:
    from ..graph import Graph


@dataclass(frozen=True, eq=False, kw_only=True)
class TimeDistributed(Layer):
    """Runs `graph`, a network of one input, on each step, as a batch of batch · time rows.

    The value is (batch, time, …) or token ids (batch, time, steps); its axes behind time are those of the inner input
    behind batch. The inner network's output is the step's. It may have a second one, a mask: then the layer defines
    ``name:mask``, true at the steps where any of the inner mask is. A mask over time does not reach the inner network:
    what comes behind names the one that it reads.
    """

    graph: Graph

    kind: ClassVar[str] = "TimeDistributed"

    def infer(self, specs: Mapping[str, TensorSpec]) -> tuple[TensorSpec, ...]:
        spec = specs[self.inputs[0]]
        if not spec.is_sequence:
            raise self._fail(f"needs a time axis, but {spec.name!r} is {spec.shape}")
        if spec.dtype == "bool":
            raise self._fail(f"needs values or token ids, but {spec.name!r} is a mask")
        graph = self.fitted(spec)
        out, *rest = (graph.specs[value] for value in graph.outputs)
        if None in out.shape[1:]:
            raise self._fail(f"the inner network's output {out.shape} has no known size")
        defined = tensor_spec(self.name, spec.shape[1], out.shape[1:])  # type: ignore[arg-type]
        return (defined, *mask_of(defined)) if rest else (defined,)

    def fitted(self, spec: TensorSpec) -> Graph:
        """The inner network with an input of the size that a step of a value has."""
        graph = self.graph
        dtypes = [graph.specs[value].dtype for value in graph.outputs]
        if len(graph.inputs) != 1 or dtypes not in (["float32"], ["float32", "bool"]):
            raise self._fail("the inner network should have one input, and one output or beside it a mask")
        if graph.has_ports or graph.states:
            raise self._fail("the inner network should have neither ports nor states")
        inner = graph.inputs[0]
        sizes = zip(inner.shape[1:], spec.inner, strict=False)
        fits = len(inner.shape) - 1 == len(spec.inner) and all(want in (None, got) for want, got in sizes)
        if not fits or inner.dtype != spec.dtype:
            raise self._fail(f"steps of {spec.name!r} {spec.shape} are no input of {inner.shape} {inner.dtype}")
        return dataclasses.replace(graph, inputs=(dataclasses.replace(inner, shape=(None, *spec.inner)),))

    @property
    def tensors(self) -> dict[str, Weights]:
        """The inner network's arrays as ``layer/field``."""
        return dict(self.graph.tensors)

    @property
    def attributes(self) -> dict[str, Any]:
        """All that is not a tensor; the inner network as `Graph.structure`."""
        return {**super().attributes, "graph": self.graph.structure()}
