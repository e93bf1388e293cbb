"""Weights in bfloat16, float16 or int8: Graph → Graph rewrites that round them, and back. They come after all passes.

Narrow become the kernels of GRU, Dense and Conv (not depthwise ones) and the tables of Embeddings, those of networks
inside layers too. All other tensors stay float32.

bfloat16 and float16 weights are the nearest ones, of two the even one. An int8 weight is q · s, with a whole number q
in [-127, 127] and a scale s for each output channel of a kernel (its last axis) or row of a table::

    q = min(max(round(w / s), -127), 127)
    s = max|w| / (127 + d)                    d of BEYOND with the least Σ (q · s − w)² of the channel

With d = 0 the largest weight is exact; above that it is clipped, and all others are rounded more finely. Near 0 each d
is a draw of roundings: the best of them lowers the error of channels of 64, 256 and 1,024 normally distributed weights
by 0.50, 0.25 and 0.12 dB. Channels of 20,000, whose largest weights lie far out, gain 0.33 dB by the larger ones.

A channel of a kernel sums products, and what its errors have in common with its inputs' mean adds up. So the numbers
nearest to a tie are rounded the other way until the errors of the channel sum to about 0. That takes six of 512 numbers
and adds about one part in 512 to the squares of the errors.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from .errors import BadInput, UnsupportedModel
from .graph import NARROW, Array, Graph, Layer, NarrowArray, TimeDistributed, Weights, dtype_name
from .layers.narrow import LARGEST, LEAST_SCALE, MOST_SCALE

#: what weights may be held in
DTYPES = ("float32", *NARROW)
#: how far beyond the largest whole number the largest weight of a channel is put: what is tried, plain 0 first
BEYOND = (0.0, *(step / 4 for step in range(-8, 17) if step), 6.0, 8.0, 12.0, 16.0)
#: an error counts as smaller by so much of a scale: above what float32 does to the search (127 · 2⁻²³, its sums)
_CLEARLY = 1e-4
#: how far from its whole number a number must lie to be rounded the other way
_NEAR_TIE = 0.4
#: numbers of a block, which the search walks over again and again: 256 KB, so that caches hold it
_BLOCK = 65_536


def dtype_of(graph: Graph) -> str:
    """What the weights of a network are held in: ``"float32"``, or the dtype of those that are narrow."""
    return next((value.dtype for _, value in graph.tensors if isinstance(value, NarrowArray)), "float32")


def narrow(graph: Graph, dtype: str, keep_float32: str | Iterable[str] = ()) -> Graph:
    """Round the weights of a network to a narrow dtype.

    Parameters
    ----------
    graph : Graph
        In float32, or partly in `dtype` already: such layers stay as they are.
    dtype : {"bfloat16", "float16", "int8"}
    keep_float32 : str or iterable of str
        Names of layers, or patterns such as ``"encoder*"``, that stay float32. A layer of a network inside another
        one is ``"outer/inner"``; ``"outer"`` stands for all of them.

    Returns
    -------
    Graph
        The same object where there is nothing to do.

    Raises
    ------
    BadInput
        An unknown dtype, a name that no layer has or whose weights are narrow already, a network that is narrow
        otherwise.
    UnsupportedModel
        Weights that the dtype cannot express: those beyond its range, in int8 also infinity and NaN. Names all of them.

    Examples
    --------
    >>> from fastgru.graph import Dense, tensor_spec
    >>> dense = Dense(name="d", inputs=("x",), kernel=np.array([[1.27, -0.5], [0.016, 0.25]], np.float32))
    >>> network = narrow(Graph((tensor_spec("x", None, (2,)),), (dense,), ("d",)), "bfloat16")
    >>> np.asarray(network.layers[0].kernel)
    array([[ 1.2734375 , -0.5       ],
           [ 0.01599121,  0.25      ]], dtype=float32)
    """
    _check_dtype(dtype, tuple(NARROW))
    if dtype_of(graph) not in ("float32", dtype):
        raise BadInput(f"the network's weights are {dtype_of(graph)} already, and so cannot become {dtype}")
    kept = _kept(graph, keep_float32)
    faults: list[str] = []

    def narrowed(layer: Layer, path: str) -> Layer:
        changes: dict[str, Any] = {}
        for key in () if path in kept else layer.narrowable:
            weights = getattr(layer, key)
            if isinstance(weights, NarrowArray):
                continue
            try:
                changes[key] = _NARROWED[dtype](weights, layer.scale_axes[key])
            except ValueError as error:
                faults.append(f"{layer.kind} layer {path!r}: {key} holds {error}; keep_float32 leaves it as it is")
        return dataclasses.replace(layer, **changes) if changes and not faults else layer

    graph = _each_layer(graph, narrowed)
    if faults:
        raise UnsupportedModel(faults)
    return graph


def widen(graph: Graph) -> Graph:
    """The network in float32, with the numbers that its narrow weights stand for.

    Parameters
    ----------
    graph : Graph

    Returns
    -------
    Graph
        The same object where nothing is narrow.
    """

    def widened(layer: Layer, path: str) -> Layer:
        wide: dict[str, Any] = {key: np.asarray(getattr(layer, key)) for key in layer.narrowable}
        is_narrow = any(isinstance(getattr(layer, key), NarrowArray) for key in wide)
        return dataclasses.replace(layer, **wide) if is_narrow else layer

    return _each_layer(graph, widened)


def held_in(graph: Graph, dtype: str | None, keep_float32: str | Iterable[str] = ()) -> Graph:
    """The network with weights of a dtype, whatever they are held in; None: as they are.

    Raises
    ------
    BadInput, UnsupportedModel
        As `narrow`; BadInput also where `keep_float32` has nothing to keep.
    """
    if dtype is not None:
        _check_dtype(dtype, DTYPES)
    if dtype in NARROW:
        return narrow(graph, dtype, keep_float32)
    if _names(keep_float32):
        raise BadInput(f"keep_float32 goes with a dtype of {', '.join(NARROW)}; dtype is {dtype}")
    return graph if dtype is None else widen(graph)


def narrow_array(weights: Weights, dtype: str, scale_axis: int = -1) -> NarrowArray:
    """Round an array of weights.

    Parameters
    ----------
    weights : array of float
    dtype : {"bfloat16", "float16", "int8"}
    scale_axis : {-1, 0}
        Of int8: the axis of channels, each of which gets a scale.

    Returns
    -------
    NarrowArray

    Raises
    ------
    ValueError
        Numbers that the dtype cannot express; says which.
    """
    return _NARROWED[dtype](np.asarray(weights, np.float32), scale_axis)


def _check_dtype(dtype: object, known: tuple[str, ...]) -> None:
    if dtype not in known:
        raise BadInput(f"dtype should be {', '.join(map(repr, known[:-1]))} or {known[-1]!r}, got {dtype!r}")


# ---- walking -------------------------------------------------------------------------------------------------------


def _each_layer(graph: Graph, change: Callable[[Layer, str], Layer], place: str = "") -> Graph:
    """Put what `change` makes of each layer and its path in its place, also inside layers."""
    layers: list[Layer] = []
    for layer in graph.layers:
        path = f"{place}{layer.name}"
        if isinstance(layer, TimeDistributed):
            inner = _each_layer(layer.graph, change, f"{path}/")
            layers.append(layer if inner is layer.graph else dataclasses.replace(layer, graph=inner))
        else:
            layers.append(change(layer, path))
    changed = any(after is not before for after, before in zip(layers, graph.layers, strict=True))
    return dataclasses.replace(graph, layers=tuple(layers)) if changed else graph


def _paths(graph: Graph, place: str = "") -> Iterator[tuple[str, Layer]]:
    """Every layer with its path."""
    for layer in graph.layers:
        yield f"{place}{layer.name}", layer
        if isinstance(layer, TimeDistributed):
            yield from _paths(layer.graph, f"{place}{layer.name}/")


def _names(keep_float32: object) -> tuple[str, ...]:
    if isinstance(keep_float32, str):
        return (keep_float32,)
    names = tuple(keep_float32) if isinstance(keep_float32, Iterable) else (keep_float32,)
    if not all(isinstance(name, str) for name in names):
        raise BadInput(f"keep_float32 should name layers, got {keep_float32!r}")
    return names


def _kept(graph: Graph, names: str | Iterable[str]) -> set[str]:
    """The paths of layers that names and patterns mean."""
    layers = dict(_paths(graph))
    kept: set[str] = set()
    unknown = []
    for name in _names(names):
        # a name may look like a pattern, such as "head[0]", and then means this layer alone
        meant = [name] if name in layers else [path for path in layers if fnmatchcase(path, name)]
        if not meant:
            unknown.append(name)
        for path in meant:
            kept.add(path)
            layer = layers[path]
            if isinstance(layer, TimeDistributed):  # asked, since one beside "outer" may be called "outer/2"
                kept.update(inner for inner, _ in _paths(layer.graph, f"{path}/"))
    if unknown:
        have = [path for path, layer in layers.items() if layer.narrowable]
        raise BadInput(f"keep_float32 names no layer: {', '.join(unknown)}; those with weights: {', '.join(have)}")
    held = {path: {dtype_name(getattr(layers[path], key)) for key in layers[path].narrowable} for path in sorted(kept)}
    late = [f"{path} is {min(dtypes)}" for path, dtypes in held.items() if dtypes & NARROW.keys()]
    if late:
        raise BadInput(f"keep_float32 cannot bring float32 weights back: {', '.join(late)} already")
    return kept


# ---- rounding ------------------------------------------------------------------------------------------------------


def _bfloat16(weights: Array, scale_axis: int) -> NarrowArray:
    bits = np.ascontiguousarray(weights, np.float32).view(np.uint32)
    # half of the last place that stays, or a bit less where it is even: a tie goes to the even one
    rounded = ((bits + (0x7FFF + ((bits >> 16) & 1))) >> 16).astype(np.uint16)
    is_nan = np.isnan(weights)
    if is_nan.any():  # a carry would make infinity or zero of some
        rounded[is_nan] = (bits[is_nan] >> 16).astype(np.uint16) | np.uint16(0x40)
    _check_range(weights, (rounded & 0x7FFF) == 0x7F80, "bfloat16's range, 3.39e38")
    return NarrowArray("bfloat16", rounded)


def _float16(weights: Array, scale_axis: int) -> NarrowArray:
    with np.errstate(over="ignore"):  # what becomes infinite is refused below
        rounded = np.asarray(weights).astype(np.float16)
    _check_range(weights, np.isinf(rounded), "float16's range, 65504")
    return NarrowArray("float16", rounded)


def _check_range(weights: Array, is_infinite: Array, bound: str) -> None:
    """Infinity may stay what it is, but no number become infinite."""
    beyond = int((is_infinite & np.isfinite(weights)).sum())
    if beyond:
        raise ValueError(f"{beyond} weights beyond {bound}")


def _int8(weights: Array, scale_axis: int) -> NarrowArray:
    # (channels, rest), a view; blocks of it are copied, in which a channel's numbers lie side by side
    channels = weights.reshape(len(weights), -1) if scale_axis == 0 else weights.reshape(-1, weights.shape[-1]).T
    count, depth = channels.shape
    data = np.empty(weights.shape, np.int8)
    whole = data.reshape(count, -1) if scale_axis == 0 else data.reshape(-1, count).T
    scale = np.empty(count, np.float32)
    at_once = max(1, _BLOCK // max(depth, 1))
    for first in range(0, count, at_once):
        part = slice(first, first + at_once)
        block = np.array(channels[part], np.float32, order="C")
        peak = np.maximum(block.max(axis=1), -block.min(axis=1))
        if not np.isfinite(peak).all():
            raise ValueError("NaN or infinite weights")
        scale[part] = _best_scale(block, peak)
        rounded = np.empty_like(block)
        _round(block, scale[part], block, rounded)
        if scale_axis != 0:
            _balance(block, rounded)
        whole[part] = rounded
    return NarrowArray("int8", data, scale, 0 if scale_axis == 0 else -1)


def _best_scale(block: Array, peak: Array) -> Array:
    """The scale of each row of a block, whose largest magnitudes are `peak`; of zeros alone 1."""
    work = np.empty_like(block), np.empty_like(block)
    plain = _scale_of(peak, BEYOND[0])
    best, least = plain.copy(), _error(block, plain, *work)
    for beyond in BEYOND[1:]:
        scale = _scale_of(peak, beyond)
        error = _error(block, scale, *work) * (scale / plain)
        is_better = error < least - _CLEARLY
        best[is_better], least[is_better] = scale[is_better], error[is_better]
    best[peak == 0] = 1
    return best


def _scale_of(peak: Array, beyond: float) -> Array:
    return np.clip(peak / np.float32(LARGEST + beyond), np.float32(LEAST_SCALE), np.float32(MOST_SCALE))


def _round(block: Array, scale: Array, exact: Array, whole: Array) -> None:
    """Write the rows of a block in units of their scale, and rounded to whole numbers."""
    np.multiply(block, (1 / scale)[:, None], out=exact)
    np.rint(exact, out=whole)
    np.clip(whole, -LARGEST, LARGEST, out=whole)


def _balance(exact: Array, whole: Array) -> None:
    """Round some numbers of each row the other way, so that the row's errors sum to about 0; overwrites `exact`."""
    exact -= whole
    total = exact.sum(axis=1)
    flips = np.rint(np.abs(total)).astype(np.intp)
    most = min(int(flips.max(initial=0)), exact.shape[1])
    if most == 0:
        return
    step = np.where(total < 0, np.float32(-1), np.float32(1))[:, None]
    exact *= step  # how far a number lies from the whole one, towards the one that it may become
    exact[whole * step >= LARGEST] = 0
    nearest = -np.sort(-np.partition(exact, -most, axis=1)[:, -most:], axis=1)
    last = np.where(flips > 0, nearest[np.arange(len(flips)), np.minimum(flips, most) - 1], np.inf)[:, None]
    is_nearer, is_last = exact > last, exact == last
    # of numbers equally near the first ones: which one a partition finds is the CPU's
    is_last &= np.cumsum(is_last, axis=1) <= (flips - is_nearer.sum(axis=1))[:, None]
    whole += step * ((is_nearer | is_last) & (exact > _NEAR_TIE))


def _error(block: Array, scale: Array, exact: Array, whole: Array) -> Array:
    """The root of the mean squared error of each row, in units of the scale; the other arrays are room to work in."""
    _round(block, scale, exact, whole)
    exact -= whole
    return np.sqrt(np.einsum("ij,ij->i", exact, exact) / block.shape[1])


_NARROWED: dict[str, Callable[[Array, int], NarrowArray]] = {"bfloat16": _bfloat16, "float16": _float16, "int8": _int8}
