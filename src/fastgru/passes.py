"""Graph → Graph rewrites that hold on every machine and change no result, except by a rounding in `fold_scales`.

A saved Graph has been through those of `apply`. `tokens_for_one_hot` is for those who feed a network
what it chose.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .errors import BadModelFile
from .graph import (
    LINEAR,
    Activate,
    Array,
    Combine,
    Conv,
    Dense,
    Graph,
    Identity,
    Layer,
    NarrowArray,
    OneHot,
    Pad,
    Pool,
    Scale,
    TensorSpec,
    TimeDistributed,
    Weights,
    tensor_spec,
)  # fmt: skip
from .ports import Port


def apply(graph: Graph) -> Graph:
    """Run every pass.

    Parameters
    ----------
    graph : Graph

    Returns
    -------
    Graph
        The same object where there is nothing to do.
    """
    return free_time(fold_activations(fold_scales(fold_pads(drop_identities(apply_inside(graph))))))


def apply_inside(graph: Graph) -> Graph:
    """Run every pass on the networks inside layers.

    Parameters
    ----------
    graph : Graph

    Returns
    -------
    Graph
    """
    layers = tuple(_apply_to(layer) for layer in graph.layers)
    changed = any(after is not before for after, before in zip(layers, graph.layers, strict=True))
    return dataclasses.replace(graph, layers=layers) if changed else graph


def _apply_to(layer: Layer) -> Layer:
    if not isinstance(layer, TimeDistributed):
        return layer
    inner = apply(layer.graph)
    return layer if inner is layer.graph else dataclasses.replace(layer, graph=inner)


def drop_identities(graph: Graph) -> Graph:
    """Remove Identity layers; whoever read one reads its input instead.

    An output that was an Identity's value becomes the value behind it and takes that name, or in a network with ports
    or states a port of its own, so that callers see it as before. An Identity at which a mask
    ends becomes a linear Activate, so that it can still be named as the one who dropped the mask.

    Parameters
    ----------
    graph : Graph

    Returns
    -------
    Graph
    """
    if not any(isinstance(layer, Identity) for layer in graph.layers):
        return graph
    behind: dict[str, str] = {}
    kept: list[Layer] = []
    for layer in graph.layers:
        if isinstance(layer, Identity) and not layer.drops_mask:
            source = layer.inputs[0]
            behind[layer.name] = behind.get(source, source)
        else:
            kept.append(_reading(layer, behind))
    outputs = tuple(behind.get(name, name) for name in graph.outputs)
    ports = graph.output_ports
    if graph.has_ports or graph.states:
        renamed = [spec.name in behind and port is None for spec, port in graph.ported_outputs]
        pairs = zip(graph.ported_outputs, renamed, strict=True)
        ports = tuple(Port.plain(spec) if is_renamed else port for (spec, port), is_renamed in pairs)
    return dataclasses.replace(graph, layers=tuple(kept), outputs=outputs, output_ports=ports)


def _reading(layer: Layer, behind: Mapping[str, str]) -> Layer:
    """The layer, reading the values behind the removed ones."""
    inputs = tuple(behind.get(name, name) for name in layer.inputs)
    if isinstance(layer, Identity):
        return Activate(name=layer.name, inputs=inputs, drops_mask=True, activation=LINEAR)
    changes: dict[str, Any] = {"inputs": inputs} if inputs != layer.inputs else {}
    changes |= {key: behind[mask] for key, mask in layer.masks.items() if mask in behind}
    return dataclasses.replace(layer, **changes) if changes else layer


def fold_pads(graph: Graph) -> Graph:
    """Let each Conv and Pool with explicit padding do what Pads do before it, if nobody else reads these.

    So windows that are causal by a Pad before them are known as such, and stream. A Pad stays where results would be
    others: with another value than padding is (zero, of a maximum minus infinity), where a window would no longer cover
    the axis behind time, and, where sums leave padding out, if not all of it stands before the first step.

    Parameters
    ----------
    graph : Graph

    Returns
    -------
    Graph
    """

    def join(before: Layer, layer: Layer) -> Layer | None:
        if not isinstance(before, Pad) or not isinstance(layer, (Conv, Pool)):
            return None
        return _padded(before, layer, graph.specs[before.name])

    return _worked_in(graph, join)


def _padded(pad: Pad, layer: Conv | Pool, padded: TensorSpec) -> Layer | None:
    """The layer, of what the Pad reads; None where it would not give the same bits."""
    axis = pad.axis % len(padded.shape) - 1
    if layer.padding != "explicit" or not 0 <= axis < len(layer.sizes):
        return None
    pads = list(layer.pads or (0, 0) * len(layer.sizes))
    changes: dict[str, Any] = {"inputs": pad.inputs, "drops_mask": layer.drops_mask or pad.drops_mask}
    is_zero = pad.value == 0 and not np.signbit(pad.value)
    stands_first = axis == 0 and not pad.after
    if isinstance(layer, Pool) and layer.function == "maximum":
        fits = stands_first and pad.value == -np.inf
    elif isinstance(layer, Pool):
        fits = stands_first and is_zero and (layer.count_padding or not any(pads))
        changes["count_padding"] = True
    elif layer.is_depthwise:
        fits = stands_first and is_zero and _is_harmless(layer)
    else:
        uncovers = axis == 1 and not any(pads[2:]) and layer.sizes[1] == padded.inner[0]
        fits = is_zero and not uncovers
    pads[2 * axis] += pad.before
    pads[2 * axis + 1] += pad.after
    return dataclasses.replace(layer, pads=tuple(pads), **changes) if fits and max(pads) < 2**31 else None


def _is_harmless(conv: Conv) -> bool:
    """Whether zeros times its weights, added to its bias, leave that to the bit."""
    is_negative_zero = False if conv.bias is None else np.signbit(conv.bias) & (_float64(conv.bias, 0.0) == 0)
    return bool(np.isfinite(_float64(conv.kernel, 1.0)).all()) and not np.any(is_negative_zero)


def fold_scales(graph: Graph) -> Graph:
    """Work each Scale into the layer before it: a linear Dense or Conv, or a Scale, that nobody else reads.

    The one layer takes the Scale's name. Its weights are computed in float64 and rounded once, so that results differ
    by a rounding. A Scale stays where a weight would become infinite or denormal, behind narrow weights, or where its
    numbers are not the same for all places of a channel.

    Parameters
    ----------
    graph : Graph

    Returns
    -------
    Graph
    """
    return _worked_in(graph, lambda before, layer: _scaled(before, layer) if isinstance(layer, Scale) else None)


def _worked_in(graph: Graph, join: Callable[[Layer, Layer], Layer | None]) -> Graph:
    """Put one layer in the place of two, wherever `join` makes one of them: the second alone reads the first."""
    readers = Counter([*graph.outputs, *(value for layer in graph.layers for value in layer.inputs)])
    layers: dict[str, Layer] = {}
    for layer in graph.layers:
        while (before := layers.get(layer.inputs[0])) is not None and readers[before.name] == 1:
            joined = join(before, layer)
            if joined is None:
                break
            del layers[before.name]
            layer = joined
        layers[layer.name] = layer
    if len(layers) == len(graph.layers):  # nothing was joined
        return graph
    return dataclasses.replace(graph, layers=tuple(layers.values()))


def _scaled(layer: Layer, scale: Scale) -> Layer | None:
    """Both layers as one that stands for the second; None where they cannot be."""
    factor, offset = _float64(scale.scale, 1.0), _float64(scale.offset, 0.0)
    with np.errstate(invalid="ignore"):  # infinity · 0; such a Scale stays
        tensors = _scaled_tensors(layer, factor, offset)
    if tensors is None or not all(_rounds_well(tensor) for tensor in tensors.values()):
        return None
    rounded: dict[str, Any] = {key: tensor.astype(np.float32) for key, tensor in tensors.items()}
    drops_mask = layer.drops_mask or scale.drops_mask
    return dataclasses.replace(layer, name=scale.name, drops_mask=drops_mask, **rounded)


def _scaled_tensors(layer: Layer, factor: Array, offset: Array) -> dict[str, Array] | None:
    if isinstance(layer, Scale):
        return {"scale": _float64(layer.scale, 1.0) * factor, "offset": _float64(layer.offset, 0.0) * factor + offset}
    is_per_channel = all(size == 1 for size in (*factor.shape[:-1], *offset.shape[:-1]))
    if not isinstance(layer, (Dense, Conv)) or layer.activation != LINEAR or not is_per_channel:
        return None
    if isinstance(layer.kernel, NarrowArray):  # the new weights would have to be rounded once more
        return None
    factor, offset = factor.reshape(factor.shape[-1:]), offset.reshape(offset.shape[-1:])
    bias = _float64(layer.bias, 0.0) * factor + offset
    return {"kernel": _float64(layer.kernel, 1.0) * factor, "bias": np.broadcast_to(bias, layer.kernel.shape[-1:])}


def _float64(tensor: Weights | None, absent: float) -> Array:
    """A tensor in float64; its denormals are 0, as which they count."""
    wide = np.asarray(absent if tensor is None else tensor, np.float64)
    return np.where(np.abs(wide) < np.finfo(np.float32).tiny, 0.0, wide)


def _rounds_well(tensor: Array) -> bool:
    """Whether all numbers are 0 or normal numbers of float32."""
    size, limits = np.abs(tensor), np.finfo(np.float32)
    return bool(((size == 0) | ((size >= limits.tiny) & (size <= limits.max))).all())


def fold_activations(graph: Graph) -> Graph:
    """Work each Activate into the linear Dense or Conv before it that nobody else reads, which takes its name.

    Parameters
    ----------
    graph : Graph

    Returns
    -------
    Graph
    """
    return _worked_in(graph, _activated)


def _activated(layer: Layer, activate: Layer) -> Layer | None:
    """Both layers as one that stands for the second; None where they cannot be."""
    if not isinstance(activate, Activate) or not isinstance(layer, (Dense, Conv)) or layer.activation != LINEAR:
        return None
    drops_mask = layer.drops_mask or activate.drops_mask
    return dataclasses.replace(layer, name=activate.name, activation=activate.activation, drops_mask=drops_mask)


def free_time(graph: Graph) -> Graph:
    """Free the number of steps of each input on whose number no layer depends (a Flatten over time does).

    One step that a Combine spreads over the steps of another sequence stays one.

    Parameters
    ----------
    graph : Graph

    Returns
    -------
    Graph
    """
    for index, spec in enumerate(graph.inputs):
        if not spec.is_sequence or spec.shape[1] is None:
            continue
        inputs = (*graph.inputs[:index], _free(spec), *graph.inputs[index + 1 :])
        try:
            freed = dataclasses.replace(graph, inputs=inputs)
        except BadModelFile:
            continue
        if _spreading(freed) == _spreading(graph):
            graph = freed
    return graph


def _spreading(graph: Graph) -> list[tuple[bool, ...]]:
    """Which values of each Combine are one step that spreads over others."""
    return [layer.one_step(graph.specs) for layer in graph.layers if isinstance(layer, Combine)]


def _free(spec: TensorSpec) -> TensorSpec:
    return dataclasses.replace(spec, shape=(spec.shape[0], None, *spec.shape[2:]))


def tokens_for_one_hot(graph: Graph) -> Graph | None:
    """Let a network that reads one-hot vectors read token ids: for them it gives what it gives for these vectors, with
    the same bits, and a GRU looks its projections up.

    Parameters
    ----------
    graph : Graph
        With one input that is a sequence: (batch, time, features) float32, made of one-hot vectors. Others may be there
        besides, such as initial states.

    Returns
    -------
    Graph or None
        Its input of the same name is (batch, time) int32, in the caller's order of axes; None where the network has no
        such input, or one that is also an output, or that a front end encodes.

    Examples
    --------
    >>> from fastgru.graph import tensor_spec
    >>> dense = Dense(name="d", inputs=("x",), kernel=np.ones((5, 3), np.float32))
    >>> network = Graph((tensor_spec("x", None, (5,)),), (dense,), ("d",))
    >>> tokens_for_one_hot(network).inputs
    (TensorSpec(name='x', shape=(None, None), dtype='int32', axes=('batch', 'time')),)
    """
    sequences = [index for index, spec in enumerate(graph.inputs) if spec.is_sequence]
    if len(sequences) != 1:
        return None
    (index,) = sequences
    spec, port = graph.ported_inputs[index]
    is_encoded = graph.text is not None and spec.name in graph.text.get("inputs", ())
    if spec.dtype != "float32" or len(spec.inner) != 1 or spec.name in graph.outputs or is_encoded:
        return None
    ids = None if port is None else _without_features(port)
    if ids is None and port is not None:
        return None
    name = f"{spec.name}_one_hot"
    while name in graph.specs:
        name += "_"
    inputs, ports = list(graph.inputs), [port for _, port in graph.ported_inputs]
    inputs[index], ports[index] = tensor_spec(spec.name, spec.shape[1], (), "int32"), ids
    layers = (_reading(layer, {spec.name: name}) for layer in graph.layers)
    return dataclasses.replace(
        graph,
        inputs=tuple(inputs),
        input_ports=tuple(ports),
        layers=(OneHot(name=name, inputs=(spec.name,), vocabulary=spec.features), *layers),
    )


def _without_features(port: Port) -> Port | None:
    """The port of a sequence's ids, for that of their vectors; None where the vectors' axis is merged with others."""
    features = 1 + len(port.sizes)  # counted behind batch and time
    if any(size != 1 for size in port.sizes[:-1]) or (features,) not in port.axes:
        return None
    return Port(port.name, port.sizes[:-1], tuple(group for group in port.axes if group != (features,)))
