"""The Graph as it grows, layer by layer, with the mask that Keras would carry along.

Keras hangs a mask on a value. Embedding (mask_zero) and Masking make one, a GRU uses it, most layers pass it on, and
a layer that does not say that it supports masks (Flatten, Reshape) lets it end.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ...errors import BadModelFile
from ...graph import Graph, Layer, TensorSpec


class Chain:
    """A chain of layers from one input.

    Attributes
    ----------
    name : str
        Name for the layers to come; set for each Keras layer in turn.
    value : str
        Name of the value that the next layer reads.
    mask : str or None
        Name of that value's mask.
    is_masked : bool
        The network itself has masked that value, whether or not the caller gives a mask.
    per_step : bool
        Layers to come stand in a TimeDistributed.
    """

    def __init__(self, source: TensorSpec) -> None:
        self.source = source
        self.layers: list[Layer] = []
        self.name = source.name
        self.value = source.name
        self.mask = f"{source.name}:mask" if source.is_sequence else None
        self.is_masked = False
        self.per_step = False
        self._specs = {source.name: source}
        self._outputs: tuple[str, ...] = ()

    @property
    def spec(self) -> TensorSpec:
        """The value that the next layer reads."""
        return self._specs[self.value]

    @property
    def features(self) -> int:
        """Size of that value's last axis."""
        if not self.spec.inner:
            raise BadModelFile(f"layer {self.name!r} needs a features axis, but its input is {self.spec.shape}")
        return self.spec.inner[-1]

    @property
    def has_free_time(self) -> bool:
        """Whether the steps that the next layer sees have no known number."""
        return self.spec.is_sequence and self.spec.shape[1] is None and not self.per_step

    def add(self, kind: type[Layer], passes_mask: bool = True, **attributes: Any) -> None:
        """Append a layer that reads the current value and is read by the next one."""
        drops_mask = self.mask is not None and not passes_mask
        layer = kind(name=self.name, inputs=(self.value,), drops_mask=drops_mask, **attributes)
        self._specs.update((spec.name, spec) for spec in layer.infer(self._specs))
        self.layers.append(layer)
        self.value = self.name
        if drops_mask or not self.spec.is_sequence:
            self.mask, self.is_masked = None, False

    def add_masking(self, kind: type[Layer], makes_mask: bool, replaces: bool = False, **attributes: Any) -> None:
        """Append a layer that defines a mask: from the one that reaches it or, if it replaces that, the caller's."""
        given = f"{self.source.name}:mask" if self.mask is not None else None
        self.add(kind, mask=given if replaces else self.mask, **attributes)
        if self.spec.is_sequence:
            self.mask = f"{self.value}:mask"
            self.is_masked = self.is_masked or makes_mask

    def add_recurrent(self, kind: type[Layer], **attributes: Any) -> None:
        """Append a layer that uses the mask."""
        self.add(kind, mask=self.mask, **attributes)

    def end_with(self, *further: str) -> None:
        """The last layer's value is an output together with these; no layer may follow."""
        self._outputs = (self.value, *further)

    @property
    def has_ended(self) -> bool:
        return bool(self._outputs)

    @contextmanager
    def steps(self) -> Iterator[None]:
        """Inside, layers are those of a TimeDistributed."""
        if not self.spec.is_sequence:
            raise BadModelFile(f"layer {self.name!r} needs a sequence, but its input is {self.spec.shape}")
        self.per_step = True
        yield
        self.per_step = False

    def graph(self, name: str, notes: tuple[str, ...]) -> Graph:
        """The Graph of all layers added."""
        return Graph((self.source,), tuple(self.layers), self._outputs or (self.value,), name=name, notes=notes)
