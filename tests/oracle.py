"""The definition of right: a Graph evaluated in float64 NumPy, one layer at a time, straight from the formulas.

Nothing here is shared with the core, nothing is optimised, and every formula stands alone. Inputs are rounded to
float32 first, because that is what a network receives; from there on everything is float64.

>>> import numpy as np
>>> from fastgru.graph import Activate, Activation, Graph, tensor_spec
>>> x = tensor_spec("x", False, (2,))
>>> graph = Graph((x,), (Activate(name="a", inputs=("x",), activation=Activation.of("relu")),), ("a",))
>>> run(graph, {"x": [[-1.0, 2.0]]})
(array([[0., 2.]]),)
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from fastgru import graph as g

Array = np.ndarray

# ---- activations ---------------------------------------------------------------------------------------------------


def sigmoid(x: Array) -> Array:
    """1 / (1 + e^-x), written so that neither branch overflows."""
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + e), e / (1 + e))


def softplus(x: Array) -> Array:
    """log(1 + e^x)."""
    return np.logaddexp(x, 0.0)


def relu(x: Array, max_value: float, negative_slope: float, threshold: float) -> Array:
    """Keras' general one. At x = threshold its code gives 0, though its text says x."""
    below = negative_slope * (x - threshold) if negative_slope else np.where(np.isnan(x), x, 0.0)
    return np.where(x >= max_value, max_value, np.where(x > threshold, x, below))


def hard_sigmoid(x: Array, slope: float = 1 / 6, offset: float = 0.5) -> Array:
    return np.clip(slope * x + offset, 0.0, 1.0)


def elu(x: Array, alpha: float) -> Array:
    return np.where(x >= 0, x, alpha * np.expm1(np.minimum(x, 0.0)))


def selu(x: Array) -> Array:
    """Klambauer et al. 2017, equation 2, with the constants of its fixed point (0, 1)."""
    return 1.0507009873554804934193349852946 * elu(x, 1.6732632423543772848170429916717)


def celu(x: Array, alpha: float) -> Array:
    return np.maximum(x, 0.0) + alpha * np.expm1(np.minimum(x, 0.0) / alpha)


def gelu(x: Array) -> Array:
    """x · Φ(x), Φ the normal distribution function."""
    return x * 0.5 * np.vectorize(math.erfc, otypes=[np.float64])(-x / math.sqrt(2))


def gelu_tanh(x: Array) -> Array:
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def soft_shrink(x: Array, threshold: float) -> Array:
    return np.where(
        x > threshold, x - threshold, np.where(x < -threshold, x + threshold, np.where(np.isnan(x), x, 0.0))
    )


def softmax(x: Array) -> Array:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def log_softmax(x: Array) -> Array:
    shifted = x - x.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def sparsemax(x: Array) -> Array:
    """What Keras calls sparsemax.

    Martins & Astudillo 2016, algorithm 1, has tau = (S_k - 1) / k with S_k the sum of the k largest values. Keras 3.15,
    on every backend, has S_1 + … + S_k in its place. They differ where k > 1; networks were trained with the latter.
    """
    ordered = -np.sort(-x, axis=-1)
    sums = np.cumsum(ordered, axis=-1)
    support = 1 + np.arange(1, x.shape[-1] + 1) * ordered > sums
    k = support.sum(axis=-1, keepdims=True)
    tau = (np.where(support, sums, 0.0).sum(axis=-1, keepdims=True) - 1) / k
    return np.maximum(x - tau, 0.0)


def glu(x: Array) -> Array:
    half = x.shape[-1] // 2
    return x[..., :half] * sigmoid(x[..., half:])


#: every activation of graph.py by name; parameters in the order of its tables
ACTIVATIONS: dict[str, Callable[..., Array]] = {
    "linear": lambda x: x,
    "relu": relu,
    "sigmoid": sigmoid,
    "tanh": np.tanh,
    "hard_sigmoid": hard_sigmoid,
    "hard_silu": lambda x: x * hard_sigmoid(x),
    "hard_tanh": lambda x: np.clip(x, -1.0, 1.0),
    "softplus": softplus,
    "softsign": lambda x: x / (1 + np.abs(x)),
    "elu": elu,
    "selu": selu,
    "celu": celu,
    "gelu": gelu,
    "gelu_tanh": gelu_tanh,
    "silu": lambda x: x * sigmoid(x),
    "mish": lambda x: x * np.tanh(softplus(x)),
    "exponential": np.exp,
    "log_sigmoid": lambda x: -softplus(-x),
    "squareplus": lambda x, b: (x + np.sqrt(x**2 + b)) / 2,
    "soft_shrink": soft_shrink,
    "hard_shrink": lambda x, threshold: np.where(np.abs(x) <= threshold, 0.0, x),
    "tanh_shrink": lambda x: x - np.tanh(x),
    "sparse_plus": lambda x: np.where(x <= -1, 0.0, np.where(x < 1, (x + 1) ** 2 / 4, x)),
    "sparse_sigmoid": lambda x: np.clip((x + 1) / 2, 0.0, 1.0),
    "threshold": lambda x, threshold, value: np.where(x <= threshold, value, x),
    "abs": np.abs,
    "negative": lambda x: -x,
    "square": lambda x: x**2,
    "sqrt": np.sqrt,
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "reciprocal": lambda x: 1 / x,
    "expm1": np.expm1,
    "log": np.log,
    "log1p": np.log1p,
    "clip": lambda x, low, high: np.minimum(np.maximum(x, low), high),
    "affine": lambda x, alpha, beta: alpha * x + beta,
    "scaled_tanh": lambda x, alpha, beta: alpha * np.tanh(beta * x),
    "erf": np.vectorize(math.erf, otypes=[np.float64]),
    "sign": np.sign,
    "floor": np.floor,
    "ceil": np.ceil,
    "round": np.round,
    "softmax": softmax,
    "log_softmax": log_softmax,
    "sparsemax": sparsemax,
    "glu": glu,
}


def activate(activation: g.Activation, x: Array) -> Array:
    """Apply an activation in float64."""
    return ACTIVATIONS[activation.name](x, *activation.params)


# ---- one evaluation ------------------------------------------------------------------------------------------------


@dataclass
class Run:
    """Values and masks by name as they come to be, and the states that the recurrent layers start from."""

    values: dict[str, Array] = field(default_factory=dict)
    states: Mapping[str, Array] = field(default_factory=dict)
    specs: Mapping[str, g.TensorSpec] = field(default_factory=dict)

    def mask(self, name: str | None, like: Array) -> Array:
        """The mask of that name; all true where a layer has none. (batch, time)"""
        return np.ones(like.shape[:2], bool) if name is None else self.values[name]


def float64(tensor: Array | None, *shape: int) -> Array:
    """A weight in float64; zeros of `shape` where it is absent."""
    return np.zeros(shape) if tensor is None else np.asarray(tensor, np.float64)


# ---- layers --------------------------------------------------------------------------------------------------------


def identity(layer: g.Identity, at: Run) -> None:
    at.values[layer.name] = at.values[layer.inputs[0]]


def embedding(layer: g.Embedding, at: Run) -> None:
    ids = at.values[layer.inputs[0]]
    at.values[layer.name] = float64(layer.table)[ids]
    if ids.ndim == 2:
        mask = at.mask(layer.mask, ids)
        at.values[f"{layer.name}:mask"] = mask & (ids != 0) if layer.mask_zero else mask


def one_hot(layer: g.OneHot, at: Run) -> None:
    at.values[layer.name] = np.eye(layer.vocabulary)[at.values[layer.inputs[0]]]


def masking(layer: g.Masking, at: Run) -> None:
    x = at.values[layer.inputs[0]]
    features = tuple(range(2, x.ndim))
    kept = (x != np.float32(layer.mask_value)).any(axis=features)
    at.values[layer.name] = np.where(np.expand_dims(kept, features), x, 0.0)
    at.values[f"{layer.name}:mask"] = at.mask(layer.mask, x) & kept


def gru_step(layer: g.GRU, x: Array, h: Array) -> Array:
    """One step: x (batch, input_size), h (batch, units) → the next h."""
    units = layer.units
    Wz, Wr, Wn = np.split(float64(layer.kernel), 3, axis=1)
    Rz, Rr, Rn = np.split(float64(layer.recurrent_kernel), 3, axis=1)
    bz, br, bn = np.split(float64(layer.bias, 3 * units), 3)
    cz, cr, cn = np.split(float64(layer.recurrent_bias, 3 * units), 3)

    clip = np.inf if layer.clip is None else np.float32(layer.clip)

    def bounded(a: Array) -> Array:
        return np.clip(a, -clip, clip)

    z = activate(layer.recurrent_activation, bounded(x @ Wz + bz + h @ Rz + cz))
    r = activate(layer.recurrent_activation, bounded(x @ Wr + br + h @ Rr + cr))
    if layer.reset_after:
        n = activate(layer.activation, bounded(x @ Wn + bn + r * (h @ Rn + cn)))
    else:
        n = activate(layer.activation, bounded(x @ Wn + bn + (r * h) @ Rn + cn))
    return z * h + (1 - z) * n


def gru(layer: g.GRU, at: Run) -> None:
    x = at.values[layer.inputs[0]]
    batch, steps = x.shape[:2]
    mask = at.mask(layer.mask, x)

    h = np.broadcast_to(float64(layer.initial_state, layer.units), (batch, layer.units))
    if len(layer.inputs) == 2:
        h = at.values[layer.inputs[1]]
    h = np.asarray(at.states.get(f"{layer.name}/h", h), np.float64)
    last_output = np.asarray(at.states.get(f"{layer.name}/last_output", np.zeros_like(h)), np.float64)

    has_run = np.asarray(at.states.get(f"{layer.name}/has_run", np.zeros(batch))) != 0
    outputs = np.zeros((batch, steps, layer.units))
    order = reversed(range(steps)) if layer.go_backwards else range(steps)
    for position, t in enumerate(order):
        kept = mask[:, t, None]
        after = gru_step(layer, x[:, t], h)
        h = np.where(kept, after, h)
        last_output = np.where(kept, after, 0.0 if layer.zero_output_for_mask else last_output)
        outputs[:, t if layer.time_order else position] = last_output

    at.values[layer.name] = outputs if layer.return_sequences else last_output
    has_run = has_run | mask.any(axis=1)
    at.values[f"{layer.name}:state"] = np.where(has_run[:, None], h, 0.0) if layer.zero_state_without_steps else h


def dense(layer: g.Dense, at: Run) -> None:
    x = at.values[layer.inputs[0]]
    bias = float64(layer.bias, layer.kernel.shape[1])
    at.values[layer.name] = activate(layer.activation, x @ float64(layer.kernel) + bias)


def scale(layer: g.Scale, at: Run) -> None:
    x = at.values[layer.inputs[0]]
    factor = 1.0 if layer.scale is None else float64(layer.scale)
    at.values[layer.name] = x * factor + float64(layer.offset)


def prelu(layer: g.PReLU, at: Run) -> None:
    x = at.values[layer.inputs[0]]
    at.values[layer.name] = np.maximum(x, 0.0) + float64(layer.alpha) * np.minimum(x, 0.0)


def normalize(layer: g.Normalize, at: Run) -> None:
    x = at.values[layer.inputs[0]]
    axes = tuple(range(x.ndim - layer.axes, x.ndim))
    if layer.function == "unit":
        y = x / np.sqrt(np.maximum((x**2).sum(axis=axes, keepdims=True), layer.epsilon))
    else:
        centred = x - x.mean(axis=axes, keepdims=True) if layer.function == "layer" else x
        y = centred / np.sqrt((centred**2).mean(axis=axes, keepdims=True) + layer.epsilon)
    factor = 1.0 if layer.scale is None else float64(layer.scale)
    at.values[layer.name] = y * factor + float64(layer.offset)


OPERATIONS: dict[str, Callable[[Array, Array], Array]] = {
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "divide": np.divide,
    "average": np.add,
    "maximum": np.maximum,
    "minimum": np.minimum,
}


def combine(layer: g.Combine, at: Run) -> None:
    parts = [at.values[name] for name in layer.inputs]
    most = max(part.ndim for part in parts)  # a value without time has one axis less than a sequence
    parts = [part if part.ndim == most else part[:, None] for part in parts]
    y = functools.reduce(OPERATIONS[layer.operation], parts)
    at.values[layer.name] = y / len(parts) if layer.operation == "average" else y


def where(layer: g.Where, at: Run) -> None:
    x, *other = (at.values[name] for name in layer.inputs)
    mask = at.values[layer.mask].reshape(x.shape[:2] + (1,) * (x.ndim - 2))
    at.values[layer.name] = np.where(mask, x, other[0] if other else layer.value)


def activation_layer(layer: g.Activate, at: Run) -> None:
    at.values[layer.name] = activate(layer.activation, at.values[layer.inputs[0]])


def reshape(layer: g.Reshape, at: Run) -> None:
    x = at.values[layer.inputs[0]]
    kept = x.shape[: 2 if layer.per_step and at.specs[layer.inputs[0]].is_sequence else 1]
    total = math.prod(x.shape[len(kept) :])
    known = math.prod(size for size in layer.target if size != -1)
    at.values[layer.name] = x.reshape(*kept, *(total // known if size == -1 else size for size in layer.target))


def concatenate(layer: g.Concatenate, at: Run) -> None:
    at.values[layer.name] = np.concatenate([at.values[name] for name in layer.inputs], axis=layer.axis)


def join_masks(layer: g.JoinMasks, at: Run) -> None:
    masks = [at.values[name] for name in layer.inputs]
    join = np.logical_or if layer.any_of else np.logical_and
    at.values[layer.name] = np.concatenate(masks, axis=1) if layer.over_time else join.reduce(masks)


def step_mask(layer: g.StepMask, at: Run) -> None:
    x, lengths = (at.values[name] for name in layer.inputs)
    before = np.asarray(at.states.get(f"{layer.name}/steps", np.zeros(len(x), int)))
    at.values[layer.name] = before[:, None] + np.arange(x.shape[1]) < lengths[:, None]


def argmax(layer: g.ArgMax, at: Run) -> None:
    x = at.values[layer.inputs[0]]
    at.values[layer.name] = x.shape[-1] - 1 - x[..., ::-1].argmax(axis=-1) if layer.last else x.argmax(axis=-1)


def transpose(layer: g.Transpose, at: Run) -> None:
    at.values[layer.name] = at.values[layer.inputs[0]].transpose(0, *layer.order)


def slice_layer(layer: g.Slice, at: Run) -> None:
    x = np.moveaxis(at.values[layer.inputs[0]], layer.axis, 0)[layer.start : layer.stop : layer.step]
    assert len(x) == 1 or (len(x) and not layer.drop)
    at.values[layer.name] = x[0] if layer.drop else np.moveaxis(x, 0, layer.axis)


def pad(layer: g.Pad, at: Run) -> None:
    x = np.moveaxis(at.values[layer.inputs[0]], layer.axis, 0)
    before, after = (np.full((n, *x.shape[1:]), np.float32(layer.value)) for n in (layer.before, layer.after))
    at.values[layer.name] = np.moveaxis(np.concatenate([before, x, after]), 0, layer.axis)


def repeat(layer: g.Repeat, at: Run) -> None:
    at.values[layer.name] = np.repeat(at.values[layer.inputs[0]], layer.times, axis=layer.axis)


def padded(layer: g.Window, x: Array, size: tuple[int, ...], value: float) -> tuple[Array, list[slice]]:
    """x (batch, time[, axis2], channels) with its padding, and where on each axis the windows begin."""
    begins = []
    for axis, entries in enumerate(size):
        stride = layer.strides[axis] if layer.strides else 1
        reach = (entries - 1) * (layer.dilation[axis] if layer.dilation else 1) + 1
        length = x.shape[1 + axis]
        before, after = layer.pads[2 * axis : 2 * axis + 2] if layer.pads else (0, 0)
        if layer.padding != "explicit":
            total = max((math.ceil(length / stride) - 1) * stride + reach - length, 0)
            before = total // 2 if layer.padding == "same" else math.ceil(total / 2)
            after = total - before
        pads = [(0, 0)] * x.ndim
        pads[1 + axis] = (before, after)
        x = np.pad(x, pads, constant_values=value)
        begins.append(slice(0, max(x.shape[1 + axis] - reach + 1, 0), stride))
    return x, begins


def taps(layer: g.Window, x: Array, size: tuple[int, ...], value: float) -> dict[tuple[int, ...], Array]:
    """What each tap of the window sees, by its place in the window: (batch, windows[, windows2], channels)."""
    x, begins = padded(layer, x, size, value)
    dilation = layer.dilation or (1,) * len(size)
    found = {}
    for tap in np.ndindex(*size):
        at = [slice(b.start + i * d, b.stop + i * d, b.step) for b, i, d in zip(begins, tap, dilation, strict=True)]
        found[tap] = x[(slice(None), *at)]
    return found


def conv(layer: g.Conv, at: Run) -> None:
    kernel = float64(layer.kernel)
    seen = taps(layer, at.values[layer.inputs[0]], kernel.shape[:-2], 0.0)
    groups = []
    for group, columns in enumerate(np.split(np.arange(kernel.shape[-1]), layer.groups)):
        channels = group * kernel.shape[-2] + np.arange(kernel.shape[-2])
        groups.append(sum(x[..., channels] @ kernel[tap][:, columns] for tap, x in seen.items()))
    y = np.concatenate(groups, axis=-1) + float64(layer.bias, kernel.shape[-1])
    at.values[layer.name] = activate(layer.activation, y)


def pool(layer: g.Pool, at: Run) -> None:
    x = at.values[layer.inputs[0]]
    seen = np.stack(list(taps(layer, x, layer.size, 0.0).values()))
    if layer.function == "maximum":
        seen = np.stack(list(taps(layer, x, layer.size, -np.inf).values()))
        at.values[layer.name] = seen.max(axis=0)
    elif layer.count_padding:
        at.values[layer.name] = seen.mean(axis=0)
    else:
        counts = np.stack(list(taps(layer, np.ones_like(x), layer.size, 0.0).values())).sum(axis=0)
        at.values[layer.name] = seen.sum(axis=0) / counts


def reduce(layer: g.Reduce, at: Run) -> None:
    x = at.values[layer.inputs[0]]
    axis = layer.axis % x.ndim
    if layer.function in ("maximum", "minimum"):
        function, empty = (np.max, -np.inf) if layer.function == "maximum" else (np.min, np.inf)
        at.values[layer.name] = function(x, axis=axis, initial=empty)
        return
    kept = np.ones_like(x)
    if layer.mask is not None:
        kept *= np.expand_dims(at.mask(layer.mask, x), tuple(range(2, x.ndim)))
    total = np.where(kept, x, 0.0).sum(axis=axis)
    at.values[layer.name] = total / kept.sum(axis=axis) if layer.function == "mean" else total


def attention(layer: g.Attention, at: Run) -> None:
    query, value, key = (at.values[name] for name in layer.inputs)
    rows, queries, steps = *query.shape[:2], value.shape[1]
    # (rows, query steps, steps)
    apart = np.arange(steps) - np.arange(queries)[:, None]
    hidden = (layer.causal and apart > 0) | (layer.window is not None and np.abs(apart) >= (layer.window or 0))
    shown = at.mask(layer.mask, value)[:, None, :] & ~np.broadcast_to(hidden, (queries, steps))
    query_kept = at.mask(layer.query_mask, query)[:, :, None]
    if not layer.zero_masked_queries:
        shown = shown & query_kept

    def split(x: Array) -> Array:
        """(rows, steps, heads · size) → (rows, heads, steps, size)"""
        return x.reshape(*x.shape[:2], layer.heads, x.shape[2] // layer.heads).swapaxes(1, 2)

    q, v, k = split(query), split(value), split(key)
    if layer.function == "dot":
        scores = layer.scale * (q @ k.swapaxes(2, 3))
    else:
        weight = np.ones(key.shape[2]) if layer.weight is None else float64(layer.weight)
        bent = np.tanh(layer.inner_scale * (q[:, :, :, None, :] + k[:, :, None, :, :]))
        scores = layer.scale * (weight.reshape(layer.heads, 1, 1, -1) * bent).sum(axis=4)

    shown = np.broadcast_to(shown[:, None], scores.shape)
    sees = shown.any(axis=3, keepdims=True)
    seen = softmax(np.where(shown, scores, -np.inf)) if steps else scores
    # in float32, as what is left of a score beside 10⁹ is what its rounding leaves
    penalised = (np.where(np.isfinite(scores), scores, 0.0).astype(np.float32) - np.float32(1e9)).astype(np.float64)
    blind = {
        "penalty": softmax(penalised) if steps else scores,
        "mean": np.full_like(scores, 1 / max(steps, 1)),
        "zero": np.zeros_like(scores),
    }[layer.all_masked]
    weights = np.where(sees, seen, blind)

    masked = ~at.mask(layer.mask, value)[:, None, :, None]
    v = np.where(masked & ~np.isfinite(v), 0.0, v)
    # what is not seen adds nothing, finite or not
    unseen = ~shown & (sees | (layer.all_masked == "zero"))
    added = np.where(unseen[..., None], 0.0, weights[..., None] * v[:, :, None])
    mixed = added.sum(axis=3).swapaxes(1, 2).reshape(rows, queries, value.shape[2])
    at.values[layer.name] = np.where(query_kept, mixed, 0.0) if layer.zero_masked_queries else mixed
    if layer.with_scores:
        at.values[f"{layer.name}:scores"] = weights.swapaxes(1, 2).reshape(rows, queries, layer.heads * steps)


def matmul(layer: g.MatMul, at: Run) -> None:
    a, b = (at.values[name] for name in layer.inputs)
    at.values[layer.name] = a @ (b.swapaxes(1, 2) if layer.transpose_b else b)


def time_distributed(layer: g.TimeDistributed, at: Run) -> None:
    x = at.values[layer.inputs[0]]
    batch, steps = x.shape[:2]
    results = run(layer.graph, {layer.graph.inputs[0].name: x.reshape(batch * steps, *x.shape[2:])}, exact=True)
    parts = [result.reshape(batch, steps, *result.shape[1:]) for result in results]
    at.values[layer.name] = parts[0]
    if len(parts) == 2:
        at.values[f"{layer.name}:mask"] = parts[1].any(axis=2)


LAYERS: dict[type[g.Layer], Callable[..., None]] = {
    g.Identity: identity,
    g.Embedding: embedding,
    g.OneHot: one_hot,
    g.Masking: masking,
    g.GRU: gru,
    g.Dense: dense,
    g.Activate: activation_layer,
    g.Scale: scale,
    g.PReLU: prelu,
    g.Normalize: normalize,
    g.Combine: combine,
    g.Where: where,
    g.Reshape: reshape,
    g.Concatenate: concatenate,
    g.JoinMasks: join_masks,
    g.StepMask: step_mask,
    g.Transpose: transpose,
    g.Slice: slice_layer,
    g.Pad: pad,
    g.Repeat: repeat,
    g.Conv: conv,
    g.Pool: pool,
    g.Reduce: reduce,
    g.ArgMax: argmax,
    g.Attention: attention,
    g.MatMul: matmul,
    g.TimeDistributed: time_distributed,
}


def run(
    graph: g.Graph,
    inputs: Mapping[str, Array],
    masks: Mapping[str, Array] | None = None,
    initial_states: Mapping[str, Array] | None = None,
    exact: bool = False,
) -> tuple[Array, ...]:
    """Evaluate a Graph.

    Parameters
    ----------
    graph : Graph
    inputs : dict of array
        By the input's name: (batch, time, features) floats or (batch, time) token ids.
    masks : dict of bool array (batch, time), optional
        By the input's name; what is absent is all true.
    initial_states : dict of array (batch, units), optional
        ``"layer/h"``, ``"layer/last_output"`` and so on, as `Stream.get_state` names them; what is absent starts
        afresh.
    exact : bool
        Inputs are float64 values of a network around this one, not rounded to float32.

    Returns
    -------
    tuple of float64 arrays (bool where an output is a mask, whole numbers where it holds ids), in the order of
    ``graph.outputs``
    """
    at = Run(states=initial_states or {}, specs=graph.specs)
    for spec in graph.inputs:
        value = np.asarray(inputs[spec.name])
        is_tokens = spec.dtype == "int32"
        if is_tokens:
            at.values[spec.name] = value.astype(np.int64)
        else:
            at.values[spec.name] = value.astype(np.float64 if exact else np.float32).astype(np.float64)
        if spec.is_sequence:
            mask = (masks or {}).get(spec.name, np.ones(value.shape[:2], bool))
            at.values[f"{spec.name}:mask"] = np.asarray(mask, bool)
    with np.errstate(all="ignore"):
        for layer in graph.layers:
            LAYERS[type(layer)](layer, at)
    return tuple(at.values[name] for name in graph.outputs)
