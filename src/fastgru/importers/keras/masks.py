"""Masks as Keras 3 writes them into functional networks: operations, whose results layers are called with as ``mask=``.

``GRU(4)(Embedding(9, 3, mask_zero=True)(ids))`` becomes a call of the GRU with ``mask=`` the result of a NotEqual node.
Keras 2 lets masks be found while the network runs, as a nested network of Keras 3 does with those from outside; there
`build` carries them along. The Graph has masks of Embedding, Masking and the caller, and what JoinMasks makes of them:
a `Mask` is an intermediate result on the way to one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ...errors import UnsupportedModel
from ...graph import Embedding, Masking
from .build import Builder, Value

#: arguments of a call that are masks, by what they mask: the first argument, or the one so named
ARGUMENTS = {"mask": 0, "query_mask": 0, "value_mask": 1, "key_mask": 2}


@dataclass(frozen=True)
class Mask:
    """Truth values of a sequence's steps, or of its steps and features.

    Attributes
    ----------
    carrier : Value or None
        Carries the Graph's mask; None: all true.
    compared : (str, float) or None
        Instead: where the value of that name differs from the number.
    parts : tuple of Mask
        Instead: masks one after the other, along `axis`.
    """

    carrier: Value | None = None
    compared: tuple[str, float] | None = None
    parts: tuple[Mask, ...] = ()
    axis: int = 0


def differs(build: Builder, x: Value, number: float) -> Mask:
    """Where a value differs from a number."""
    return Mask(compared=(x.name, number))


def joined(build: Builder, masks: Sequence[Mask], any_of: bool) -> Mask:
    """Where all of some masks are true, or any of them is."""
    carriers = [carrier_of(build, mask) for mask in masks]
    known = [carrier for carrier in carriers if carrier is not None]
    if not known or (any_of and len(known) < len(carriers)):
        return Mask()
    return Mask(build.join_masks(known, any_of=any_of))


def over_features(build: Builder, mask: Mask, any_of: bool) -> Mask:
    """Where a step has a true feature, or only such: what Masking and Concatenate end their masks with."""
    if not mask.parts:
        return mask
    if mask.axis != 1:
        return joined(build, mask.parts, any_of)
    carriers = [carrier_of(build, part) for part in mask.parts]
    if None in carriers:
        raise UnsupportedModel("a mask of steps, some of which stem from a sequence without mask, is not supported")
    return Mask(build.join_masks([carrier for carrier in carriers if carrier is not None], over_time=True))


def carrier_of(build: Builder, mask: Mask) -> Value | None:
    """A value with the Graph's mask; None where all is true."""
    if mask.parts:
        mask = over_features(build, mask, False)
    if mask.compared is None:
        return mask.carrier
    source, number = mask.compared
    for layer in build.graph.layers:
        makes = isinstance(layer, Embedding) and layer.mask_zero and number == 0
        makes = makes or (isinstance(layer, Masking) and layer.mask_value == number)
        if makes and layer.inputs[0] == source:
            return Value(build.graph.spec(layer.name), f"{layer.name}:mask", True)
    raise UnsupportedModel(
        f"a mask is where {source!r} differs from {number:g}, which no Embedding and no Masking of the network makes"
    )


def of_input(build: Builder, x: Value) -> Mask:
    """Of an input of truth values, as a decoder takes the mask of its encoder's outputs: an Embedding of 0 and 1."""
    if x.spec.dtype != "int32" or not x.spec.is_sequence or x.spec.inner:
        raise UnsupportedModel(f"mask= is {x.name!r}, which is neither a mask nor an input of shape (batch, time)")
    for layer in build.graph.layers:
        if isinstance(layer, Embedding) and layer.inputs == (x.name,) and layer.mask_zero:
            return Mask(Value(build.graph.spec(layer.name), f"{layer.name}:mask", True))
    table = np.zeros((2, 1), np.float32)
    return Mask(build.add_masking(Embedding, x, True, part="mask", table=table, mask_zero=True, mask=x.mask))


def masked(build: Builder, value: Any, mask: Any) -> Any:
    """A value, or some in a list, with the masks that a call names for them.

    None leaves a value as it is, but beside another's mask it says that the value has none.
    """
    if isinstance(value, (list, tuple)):
        masks = list(mask) if isinstance(mask, (list, tuple)) else [mask]
        masks += [None] * (len(value) - len(masks))
        if any(item is not None for item in masks):
            masks = [Mask() if item is None else item for item in masks]
        return [masked(build, item, own) for item, own in zip(value, masks, strict=False)]
    if isinstance(mask, Value):
        mask = of_input(build, mask)
    if not isinstance(value, Value) or not isinstance(mask, Mask):
        return value
    carrier = carrier_of(build, mask)
    if carrier is None:
        return replace(value, mask=value.given, is_masked=False)
    return replace(value, mask=carrier.mask, is_masked=True)


def apply(build: Builder, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """The arguments of a call with the masks among them hung on what they mask."""
    args, rest = list(args), {key: value for key, value in kwargs.items() if key not in ARGUMENTS}
    for key, place in ARGUMENTS.items():
        if kwargs.get(key) is None:
            continue
        name = key.removesuffix("_mask")
        if place < len(args):
            args[place] = masked(build, args[place], kwargs[key])
        elif name in rest:
            rest[name] = masked(build, rest[name], kwargs[key])
    return args, rest


def or_mask(on_mask: Callable[..., Mask], otherwise: Callable[..., Any]) -> Callable[..., Any]:
    """A call that does one thing to a Mask, or a list of them, and another to values."""

    def call(build: Builder, x: Any, *args: Any, **options: Any) -> Any:
        first = x[0] if isinstance(x, (list, tuple)) and x else x
        return (on_mask if isinstance(first, Mask) else otherwise)(build, x, *args, **options)

    return call
