"""What only a functional network can hold: operators, merges, attention, states, nested and shared layers.

A node takes the maker and a tensor and gives a tensor, or None where the tensor does not suit it. `NODES` has them by
the rank of the tensor.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pieces
from maker import Maker
from pieces import IMAGE, SEQUENCE, VECTOR

Node = Callable[[Maker, Any], Any]
NODES: dict[int, dict[str, Node]] = {VECTOR: {}, SEQUENCE: {}, IMAGE: {}}

MERGES = ("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum")


def node(*ranks: int) -> Callable[[Node], Node]:
    def register(function: Node) -> Node:
        for rank in ranks:
            NODES[rank][function.__name__] = function
        return function

    return register


def shape_of(tensor: Any) -> tuple[int | None, ...]:
    return tuple(tensor.shape)


def like(maker: Maker, x: Any) -> Any:
    """Another tensor of the same shape, computed from this one."""
    shape = shape_of(x)
    if len(shape) == SEQUENCE and maker.chance(0.5):
        options = pieces.gru_options(maker) | {"units": shape[-1]}
        return maker.L.GRU(**options, **pieces.loop_options(maker, shape, True))(x)
    return maker.L.Dense(shape[-1], **pieces.activation(maker))(x)


# ---- merges ----------------------------------------------------------------------------------------------------------


@node(VECTOR, SEQUENCE)
def merge(maker: Maker, x: Any) -> Any:
    """Two or three tensors of one shape, or one that is broadcast over the other."""
    name = maker.pick(*MERGES)
    maker.say(name)
    others = [like(maker, x) for _ in range(1 if name == "Subtract" else maker.size(1, 2))]
    if maker.chance(0.2):
        maker.say(f"{name} broadcast")
        others[-1] = maker.L.Dense(1)(x)
    tensors = [x, *others] if maker.chance(0.7) else [*others, x]
    return getattr(maker.L, name)()(tensors)


@node(VECTOR, SEQUENCE)
def concatenate(maker: Maker, x: Any) -> Any:
    axis = maker.pick(-1, len(x.shape) - 1, *((1,) if len(x.shape) == SEQUENCE else ()))
    if axis == 1 and len(x.shape) == SEQUENCE:
        maker.say("Concatenate over time")
        return maker.L.Concatenate(axis=1)([x, like(maker, x)])
    maker.say("Concatenate")
    return maker.L.Concatenate(axis=axis)([maker.L.Dense(maker.size(1, 3))(x), x])


@node(SEQUENCE)
def branches(maker: Maker, x: Any) -> Any:
    """Convolutions of several sizes side by side, as text networks have them."""
    maker.say("branches")
    parts = [
        maker.L.Conv1D(maker.size(1, 3), size, padding="same", **pieces.activation(maker))(x) for size in (1, 2, 3)
    ]
    if maker.chance(0.5):
        return maker.L.Concatenate()(parts)
    return maker.L.Concatenate()(
        [maker.pick(maker.L.GlobalMaxPooling1D, maker.L.GlobalAveragePooling1D)()(p) for p in parts]
    )


# ---- operators -------------------------------------------------------------------------------------------------------


@node(VECTOR, SEQUENCE, IMAGE)
def operator_scalar(maker: Maker, x: Any) -> Any:
    kind, value = maker.pick("x*a", "a*x", "x+a", "a-x", "x-a", "x/a", "-x", "abs", "x**2"), maker.number(0.3, 1.5)
    maker.say(f"operator {kind}")
    functions: dict[str, Callable[[], Any]] = {
        "x*a": lambda: x * value, "a*x": lambda: value * x, "x+a": lambda: x + value, "a-x": lambda: value - x,
        "x-a": lambda: x - value, "x/a": lambda: x / (value + 0.5), "-x": lambda: -x, "abs": lambda: abs(x),
        "x**2": lambda: x**2,
    }  # fmt: skip
    return functions[kind]()


@node(VECTOR, SEQUENCE)
def operator_tensors(maker: Maker, x: Any) -> Any:
    y = maker.L.Dense(1 if maker.chance(0.25) else x.shape[-1], activation="sigmoid")(x)
    kind = maker.pick("x+y", "x-y", "x*y", "x/(y+1)", "y*x")
    maker.say(f"operator {kind}")
    if kind == "x+y":
        return x + y
    if kind == "x-y":
        return x - y
    if kind == "x/(y+1)":
        return x / (y + 1.0)
    return x * y if kind == "x*y" else y * x


@node(SEQUENCE)
def slice_steps(maker: Maker, x: Any) -> Any:
    kind = maker.pick("[:, -1]", "[:, 0]", "[:, 1:]", "[:, :-1]", "[:, -2:]", "[:, :, :1]", "[..., -1:]", "[:, -1, :]")
    maker.say(f"x{kind}")
    slices: dict[str, Any] = {
        "[:, -1]": lambda: x[:, -1], "[:, 0]": lambda: x[:, 0], "[:, 1:]": lambda: x[:, 1:],
        "[:, :-1]": lambda: x[:, :-1], "[:, -2:]": lambda: x[:, -2:], "[:, :, :1]": lambda: x[:, :, :1],
        "[..., -1:]": lambda: x[..., -1:], "[:, -1, :]": lambda: x[:, -1, :],
    }  # fmt: skip
    return slices[kind]()


@node(SEQUENCE)
def slice_reversed(maker: Maker, x: Any) -> Any:
    kind = maker.pick("[:, ::-1]", "[:, ::2]", "[:, :, ::-1]")
    maker.say(f"x{kind}")
    return x[:, ::-1] if kind == "[:, ::-1]" else x[:, ::2] if kind == "[:, ::2]" else x[:, :, ::-1]


@node(VECTOR)
def slice_features(maker: Maker, x: Any) -> Any:
    if x.shape[-1] < 2:
        return None
    maker.say("x[:, a:b]")
    cut = maker.size(1, x.shape[-1] - 1)
    return maker.pick(x[:, :cut], x[:, cut:])


@node(VECTOR, SEQUENCE)
def function(maker: Maker, x: Any) -> Any:
    """An elementwise function: an Operation of Keras 3, a TFOpLambda of Keras 2."""
    if maker.generation == 3:
        ops = maker.keras.ops
        name = maker.pick("tanh", "sigmoid", "relu", "softplus", "exp", "square", "absolute", "negative", "silu", "elu",
                          "gelu", "softmax", "leaky_relu", "softsign", "selu", "maximum", "minimum", "add", "multiply",
                          "subtract", "divide")  # fmt: skip
        maker.say(f"ops.{name}")
        if name in ("maximum", "minimum", "add", "multiply", "subtract", "divide"):
            other = (
                maker.L.Dense(x.shape[-1], activation="softplus")(x) if maker.chance(0.5) else maker.number(0.2, 1.5)
            )
            return getattr(ops, name)(x, other)
        return getattr(ops, name)(x)
    import tensorflow as tf

    name = maker.pick("tanh", "sigmoid", "relu", "softplus", "exp", "square", "abs", "negative", "elu", "softmax",
                      "maximum", "minimum", "add", "multiply", "subtract")  # fmt: skip
    maker.say(f"tf.{name}")
    if name in ("maximum", "minimum", "add", "multiply", "subtract"):
        other = maker.L.Dense(x.shape[-1], activation="softplus")(x) if maker.chance(0.5) else maker.number(0.2, 1.5)
        return getattr(tf, name)(x, other)
    return getattr(tf.nn if name in ("relu", "softplus", "elu", "softmax") else tf.math, name)(x)


@node(SEQUENCE)
def function_concatenate(maker: Maker, x: Any) -> Any:
    axis, other = maker.pick(-1, -1, 2, 1), like(maker, x)
    if maker.generation == 3:
        maker.say("ops.concatenate")
        return maker.keras.ops.concatenate([x, other], axis=axis)
    import tensorflow as tf

    maker.say("tf.concat")
    return tf.concat([x, other], axis)


@node(SEQUENCE)
def function_reduce(maker: Maker, x: Any) -> Any:
    name, axis = maker.pick("mean", "sum", "max", "min"), maker.pick(1, 1, -1)
    options = {} if axis == 1 else {"keepdims": True}
    if maker.generation == 3:
        maker.say(f"ops.{name}")
        return getattr(maker.keras.ops, name)(x, axis=axis, **options)
    import tensorflow as tf

    maker.say(f"tf.reduce_{name}")
    return getattr(tf, f"reduce_{name}")(x, axis=axis, **options)


# ---- attention -------------------------------------------------------------------------------------------------------


@node(SEQUENCE)
def attention(maker: Maker, x: Any) -> Any:
    """Attention of a sequence over itself or over another one computed from it."""
    name = maker.pick("Attention", "Attention", "AdditiveAttention")
    options = maker.some(0.5, use_scale=maker.chance(0.6))
    if name == "Attention":
        options |= maker.some(0.3, score_mode="concat") | maker.some(0.2, dropout=0.1)
    words = " ".join(f"{key}={value}" for key, value in options.items())
    maker.say(f"{name} {words}".strip())
    other = like(maker, x)
    inputs = [x, other] if maker.chance(0.6) else [other, like(maker, x), x]
    call = maker.some(0.3, use_causal_mask=True) if name == "Attention" else {}
    if call:
        maker.say("causal")
    y = getattr(maker.L, name)(**options)(inputs, **call)
    return maker.L.Concatenate()([x, y]) if maker.chance(0.4) else y


@node(SEQUENCE)
def multi_head_attention(maker: Maker, x: Any) -> Any:
    maker.say("MultiHeadAttention")
    options = maker.some(0.4, value_dim=maker.size(1, 4)) | maker.some(0.2, use_bias=False)
    options |= maker.some(0.3, output_shape=maker.size(2, 5))
    layer = maker.L.MultiHeadAttention(maker.size(1, 3), maker.size(1, 4), **options)
    value = x if maker.chance(0.5) else like(maker, x)
    call: dict[str, Any] = maker.some(0.3, use_causal_mask=True)
    if call:
        maker.say("MultiHeadAttention causal")
    if maker.chance(0.2):
        call["key"] = like(maker, value)
        maker.say("MultiHeadAttention key")
    y = layer(x, value, **call)
    if y.shape[-1] == x.shape[-1] and maker.chance(0.7):
        y = maker.L.LayerNormalization()(maker.L.Add()([x, y]))
    return y


@node(SEQUENCE)
def attention_pooling(maker: Maker, x: Any) -> Any:
    """Weights of the steps by a Dense and a softmax over time, as users write them by hand."""
    if x.shape[1] is None:
        return None
    maker.say("attention by hand")
    scores = maker.L.Dense(1, activation="tanh")(x)
    weights = maker.L.Activation("softmax")(maker.L.Flatten()(scores))
    weights = maker.L.Permute((2, 1))(maker.L.RepeatVector(x.shape[-1])(weights))
    summed = maker.L.Multiply()([x, weights])
    return maker.L.GlobalAveragePooling1D()(summed) if maker.chance(0.5) else maker.L.Flatten()(summed)


# ---- states ----------------------------------------------------------------------------------------------------------


@node(SEQUENCE)
def state_of_one_starts_another(maker: Maker, x: Any) -> Any:
    maker.say("return_state")
    units, shape = maker.size(1, 5), shape_of(x)
    first = pieces.gru_options(maker) | {"units": units}
    second = pieces.gru_options(maker) | {"units": units}
    y, state = maker.L.GRU(**first, **pieces.loop_options(maker, shape, True), return_state=True)(x)
    loop = pieces.loop_options(maker, shape)
    maker.say("initial_state go_backwards" if loop.get("go_backwards") else "initial_state")
    return maker.L.GRU(**second, **loop)(x if maker.chance(0.5) else y, initial_state=state)


@node(SEQUENCE)
def state_by_dense(maker: Maker, x: Any) -> Any:
    maker.say("initial_state by Dense")
    units = maker.size(1, 5)
    state = maker.L.Dense(units, activation="tanh")(maker.L.GlobalMaxPooling1D()(x))
    options = pieces.gru_options(maker) | {"units": units}
    if maker.chance(0.3):
        options.pop("implementation", None)
        return maker.L.RNN(maker.L.GRUCell(**options), **pieces.loop_options(maker, shape_of(x)))(
            x, initial_state=[state]
        )
    return maker.L.GRU(**options, **pieces.loop_options(maker, shape_of(x)))(x, initial_state=state)


@node(SEQUENCE)
def bidirectional_states(maker: Maker, x: Any) -> Any:
    """Both last states of a Bidirectional, which start another one."""
    maker.say("Bidirectional return_state")
    parts = pieces.directions(maker, shape_of(x), True, return_state=True)
    y, *states = maker.L.Bidirectional(**parts)(x)
    if len(states) == 2 and maker.chance(0.6):
        maker.say("Bidirectional initial_state")
        options = pieces.gru_options(maker) | {"units": states[0].shape[-1]}
        layer = maker.L.GRU(**options, **{**pieces.loop_options(maker, shape_of(x)), "go_backwards": False})
        return maker.L.Bidirectional(layer)(y, initial_state=states)
    joined = maker.L.Concatenate()(states)
    return maker.L.Concatenate()([joined, maker.L.GlobalMaxPooling1D()(y)])


@node(SEQUENCE)
def both_directions(maker: Maker, x: Any) -> Any:
    """merge_mode None: two outputs."""
    maker.say("Bidirectional None")
    forward, backward = maker.L.Bidirectional(merge_mode=None, **pieces.directions(maker, shape_of(x)))(x)
    return maker.L.Concatenate()([backward, forward])


# ---- nested and shared -----------------------------------------------------------------------------------------------


@node(VECTOR, SEQUENCE)
def nested(maker: Maker, x: Any) -> Any:
    """A network in the network, maybe in one more, maybe called twice."""
    keras, L, shape = maker.keras, maker.L, shape_of(x)
    free, maker.batch_size = maker.batch_size, None
    deep = maker.chance(0.3)
    inner = maker.pick("sequential", "functional")
    names = [maker.pick("dense", "layer_normalization", "noise", "batch_normalization")]
    last = "gru" if len(shape) == SEQUENCE else "dense"
    layers = [pieces.PIECES[len(shape)][name](maker, shape) for name in names]
    if inner == "sequential":
        layers.append(pieces.PIECES[len(shape)][last](maker, shape))
        part = keras.Sequential([L.Input(shape[1:]), *layers])
    else:
        start = L.Input(shape[1:])
        y = layers[0](start)
        y = y if y.shape[-1] != shape[-1] else L.Add()([start, y])
        if last == "gru":
            y = L.GRU(maker.size(1, 4), return_sequences=maker.chance(0.5))(y)
        part = keras.Model(start, y)
    if deep:
        maker.say("nested twice")
        start = L.Input(shape[1:])
        part = keras.Model(start, part(start))
    maker.batch_size = free
    maker.say(f"nested {inner}")
    y = part(x)
    if maker.chance(0.3):
        maker.say("nested, called twice")
        y = L.Add()([y, part(L.Dense(shape[-1])(x))])
    return y


@node(VECTOR, SEQUENCE)
def shared(maker: Maker, x: Any) -> Any:
    """One layer, called on two tensors."""
    maker.say("shared layer")
    shape, other = shape_of(x), like(maker, x)
    if len(shape) == SEQUENCE:
        name = maker.pick("gru", "gru", "bidirectional", "dense", "batch_normalization", "conv1d", "rnn_of_cell")
    else:
        name = maker.pick("dense", "batch_normalization", "prelu")
    layer = pieces.PIECES[len(shape)][name](maker, shape)
    return maker.L.Concatenate()([layer(x), layer(other)])


@node(VECTOR, SEQUENCE)
def residual(maker: Maker, x: Any) -> Any:
    maker.say("residual")
    return maker.L.Add()([x, like(maker, x)]) if maker.chance(0.6) else x + like(maker, x)
