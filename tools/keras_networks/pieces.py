"""Layers with random options, each made for a shape: what a chain of layers is drawn from.

A piece takes the maker and the shape of its input, batch first, and gives a layer; or None where the shape does not
suit it. `PIECES` has them by the rank of that shape.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from maker import BATCH, Maker

Shape = tuple[Any, ...]
Piece = Callable[[Maker, Shape], Any]

VECTOR, SEQUENCE, IMAGE = 2, 3, 4
PIECES: dict[int, dict[str, Piece]] = {VECTOR: {}, SEQUENCE: {}, IMAGE: {}}
#: the pieces that one generation does not have
ONLY = {2: {"thresholded_relu"}, 3: {"identity"}}

GATES = ("sigmoid", "hard_sigmoid", "tanh", "relu", "linear", "softsign", "softplus")
BOTH = (
    "elu", "exponential", "gelu", "hard_sigmoid", "linear", "mish", "relu", "selu", "sigmoid", "softplus", "softsign",
    "swish", "tanh",
)  # fmt: skip
KERAS3 = (
    "celu", "hard_silu", "hard_tanh", "leaky_relu", "log_sigmoid", "relu6", "silu", "squareplus", "tanh_shrink",
    "soft_shrink", "hard_shrink", "sparse_plus", "sparse_sigmoid",
)  # fmt: skip
ROWWISE = ("softmax", "log_softmax", "sparsemax", "glu")


def piece(*ranks: int) -> Callable[[Piece], Piece]:
    def register(function: Piece) -> Piece:
        for rank in ranks:
            PIECES[rank][function.__name__] = function
        return function

    return register


def pieces_of(maker: Maker, rank: int) -> list[str]:
    other = 5 - maker.generation
    return [name for name in PIECES[rank] if name not in ONLY[other]]


def activation(maker: Maker, share: float = 0.6, rowwise: bool = False) -> dict[str, Any]:
    """Keyword arguments: an activation by name, or as a layer."""
    if not maker.chance(share):
        return {}
    names = BOTH + (KERAS3 if maker.generation == 3 else ()) + (("softmax",) * 3 if rowwise else ())
    if rowwise and maker.generation == 3:
        names += ("log_softmax", "sparsemax")
    name = maker.pick(*names)
    maker.say(name)
    return {"activation": name}


def padding_of(maker: Maker, options: dict[str, Any], time: int | None) -> None:
    """Strides and dilation exclude each other in Keras."""
    if maker.chance(0.35):
        options["strides"] = maker.pick(1, 2, 3)
    elif maker.chance(0.4):
        options["dilation_rate"] = 2


# ---- recurrent -------------------------------------------------------------------------------------------------------


def gru_options(maker: Maker, *, cell: bool = False) -> dict[str, Any]:
    options: dict[str, Any] = {"units": maker.size(1, 6), "reset_after": maker.chance(0.65)}
    options |= maker.some(0.2, use_bias=False) | maker.some(0.2, dropout=0.2) | maker.some(0.15, recurrent_dropout=0.1)
    if maker.chance(0.4):
        names = BOTH + (KERAS3 if maker.generation == 3 else ())
        options["activation"] = maker.pick(*(name for name in names if name != "exponential"))
        maker.say(options["activation"])
    if maker.chance(0.4):
        options["recurrent_activation"] = maker.pick(*GATES)
        maker.say(f"gates {options['recurrent_activation']}")
    if maker.generation == 2 and not cell:
        options |= maker.some(0.3, implementation=1)
    return options


def loop_options(maker: Maker, shape: Shape, sequences: bool | None = None) -> dict[str, Any]:
    """What an RNN adds to its cell."""
    options: dict[str, Any] = {"return_sequences": maker.chance(0.6) if sequences is None else sequences}
    for key, share in (("go_backwards", 0.25), ("zero_output_for_mask", 0.25)):
        if maker.chance(share):
            options[key] = True
            maker.say(key)
    # unrolled, TensorFlow's Keras of both generations has a backward walk's zeros at the steps counted from the end
    turned = options.get("go_backwards") and options.get("zero_output_for_mask")
    if shape[1] is not None and maker.chance(0.2) and not turned:
        options["unroll"] = True
        maker.say("unroll")
    if maker.batch_size and maker.chance(0.5):
        options["stateful"] = True
        maker.say("stateful")
    return options


@piece(SEQUENCE)
def gru(maker: Maker, shape: Shape, sequences: bool | None = None) -> Any:
    options = gru_options(maker)
    maker.say("GRU" if options["reset_after"] else "GRU v1")
    return maker.L.GRU(**options, **loop_options(maker, shape, sequences))


@piece(SEQUENCE)
def rnn_of_cell(maker: Maker, shape: Shape, sequences: bool | None = None) -> Any:
    maker.say("RNN(GRUCell)")
    return maker.L.RNN(maker.L.GRUCell(**gru_options(maker, cell=True)), **loop_options(maker, shape, sequences))


@piece(SEQUENCE)
def rnn_of_cells(maker: Maker, shape: Shape, sequences: bool | None = None) -> Any:
    cells = [maker.L.GRUCell(**gru_options(maker, cell=True)) for _ in range(maker.size(1, 3))]
    stacked = maker.chance(0.5)
    maker.say("StackedRNNCells" if stacked else "RNN([cells])")
    return maker.L.RNN(maker.L.StackedRNNCells(cells) if stacked else cells, **loop_options(maker, shape, sequences))


@piece(SEQUENCE)
def bidirectional(maker: Maker, shape: Shape, sequences: bool | None = None) -> Any:
    merge = maker.pick("concat", "concat", "sum", "mul", "ave")
    maker.say(f"Bidirectional {merge}")
    return maker.L.Bidirectional(merge_mode=merge, **directions(maker, shape, sequences))


def directions(maker: Maker, shape: Shape, sequences: bool | None = None, **more: Any) -> dict[str, Any]:
    """The layers of a Bidirectional; now and then with a backward layer of its own."""
    L = maker.L
    common = gru_options(maker)
    loop = loop_options(maker, shape, sequences) | more
    loop.pop("go_backwards", None)
    if loop["return_sequences"]:
        loop.pop("unroll", None)  # a Bidirectional has zeros for masked steps: see loop_options
    kind = maker.pick("gru", "gru", "gru", "cell", "cells")
    if kind == "gru":
        forward = L.GRU(**common, **loop)
    else:
        common.pop("implementation", None)
        cells = [L.GRUCell(**common)] if kind == "cell" else [L.GRUCell(maker.size(1, 4)), L.GRUCell(**common)]
        maker.say(f"Bidirectional(RNN({kind}))")
        forward = L.RNN(cells if kind == "cells" else cells[0], **loop)
    layers = {"layer": forward}
    if kind == "gru" and maker.chance(0.35):
        maker.say("backward_layer")
        own = gru_options(maker) | {"units": common["units"]}
        layers["backward_layer"] = L.GRU(**own, **loop, go_backwards=True)
    return layers


# ---- products and windows --------------------------------------------------------------------------------------------


@piece(VECTOR, SEQUENCE, IMAGE)
def dense(maker: Maker, shape: Shape) -> Any:
    maker.say("Dense")
    return maker.L.Dense(maker.size(1, 6), **maker.some(0.2, use_bias=False), **activation(maker, rowwise=True))


@piece(SEQUENCE)
def conv1d(maker: Maker, shape: Shape) -> Any:
    options: dict[str, Any] = {"padding": maker.pick("same", "valid", "causal")}
    padding_of(maker, options, shape[1])
    groups = maker.pick(*(g for g in (1, 1, 2, 3, shape[-1]) if shape[-1] % g == 0))
    if groups > 1:
        options["groups"] = groups
    words = [options["padding"], *(key for key in ("strides", "dilation_rate", "groups") if key in options)]
    maker.say("Conv1D " + " ".join(words))
    size = maker.size(1, 4 if options["padding"] != "valid" else 2)
    return maker.L.Conv1D(groups * maker.size(1, 3), size, **options, **activation(maker), **bias(maker))


def bias(maker: Maker) -> dict[str, Any]:
    return maker.some(0.2, use_bias=False)


@piece(SEQUENCE)
def pooling1d(maker: Maker, shape: Shape) -> Any:
    name = maker.pick("MaxPooling1D", "AveragePooling1D")
    options = {"pool_size": maker.size(1, 3), "padding": maker.pick("same", "valid")}
    options |= maker.some(0.5, strides=maker.size(1, 2))
    maker.say(f"{name} {options['padding']}")
    return getattr(maker.L, name)(**options)


@piece(SEQUENCE)
def global_pooling(maker: Maker, shape: Shape) -> Any:
    name = maker.pick("GlobalAveragePooling1D", "GlobalMaxPooling1D")
    maker.say(name)
    return getattr(maker.L, name)(**maker.some(0.2, keepdims=True))


@piece(IMAGE)
def conv2d(maker: Maker, shape: Shape) -> Any:
    options: dict[str, Any] = {"padding": maker.pick("same", "valid")}
    if maker.chance(0.35):
        options["strides"] = maker.pick(2, (1, 2), (2, 1))
    elif maker.chance(0.3):
        options["dilation_rate"] = maker.pick(2, (2, 1))
    groups = maker.pick(*(g for g in (1, 1, 2, 3) if shape[-1] % g == 0))
    if groups > 1:
        options["groups"] = groups
    maker.say("Conv2D " + " ".join([options["padding"], *(key for key in options if key != "padding")]))
    size = (maker.size(1, 3), maker.size(1, 3))
    return maker.L.Conv2D(groups * maker.size(1, 3), size, **options, **activation(maker), **bias(maker))


@piece(IMAGE)
def pooling2d(maker: Maker, shape: Shape) -> Any:
    name = maker.pick("MaxPooling2D", "AveragePooling2D")
    options: dict[str, Any] = {
        "pool_size": maker.pick(2, (1, 2), (2, 1), (2, 3)),
        "padding": maker.pick("same", "valid"),
    }
    options |= maker.some(0.4, strides=maker.pick(1, 2, (1, 2)))
    maker.say(f"{name} {options['padding']}")
    return getattr(maker.L, name)(**options)


@piece(IMAGE)
def zero_padding2d(maker: Maker, shape: Shape) -> Any:
    maker.say("ZeroPadding2D")
    return maker.L.ZeroPadding2D(maker.pick(1, (1, 2), ((0, 1), (2, 0))))


@piece(SEQUENCE)
def zero_padding1d(maker: Maker, shape: Shape) -> Any:
    maker.say("ZeroPadding1D")
    return maker.L.ZeroPadding1D(maker.pick(1, (1, 2), (2, 0)))


@piece(SEQUENCE)
def cropping1d(maker: Maker, shape: Shape) -> Any:
    maker.say("Cropping1D")
    return maker.L.Cropping1D(maker.pick(1, (1, 0), (0, 2), (1, 1)))


@piece(SEQUENCE)
def upsampling1d(maker: Maker, shape: Shape) -> Any:
    maker.say("UpSampling1D")
    return maker.L.UpSampling1D(maker.size(1, 3))


# ---- normalization ---------------------------------------------------------------------------------------------------


@piece(VECTOR, SEQUENCE, IMAGE)
def batch_normalization(maker: Maker, shape: Shape) -> Any:
    maker.say("BatchNormalization")
    options = maker.some(0.2, center=False) | maker.some(0.2, scale=False) | maker.some(0.4, epsilon=0.01)
    if len(shape) == 3 and shape[1] is not None and maker.chance(0.15):
        options["axis"] = 1
        maker.say("BatchNormalization axis 1")
    return maker.L.BatchNormalization(**options)


@piece(VECTOR, SEQUENCE)
def layer_normalization(maker: Maker, shape: Shape) -> Any:
    maker.say("LayerNormalization")
    options = maker.some(0.2, center=False) | maker.some(0.2, scale=False) | {"epsilon": maker.pick(0.001, 0.1)}
    return maker.L.LayerNormalization(**options, **maker.some(0.2, axis=[len(shape) - 1]))


@piece(VECTOR, SEQUENCE)
def unit_normalization(maker: Maker, shape: Shape) -> Any:
    maker.say("UnitNormalization")
    return maker.L.UnitNormalization(**maker.some(0.3, axis=-1))


@piece(VECTOR, SEQUENCE)
def normalization(maker: Maker, shape: Shape) -> Any:
    features = shape[-1]
    mean, variance = maker.rng.normal(size=features), maker.rng.uniform(0.5, 2, features)
    options = maker.some(0.2, invert=True)
    if maker.chance(0.5):
        maker.say("Normalization given")
        return maker.L.Normalization(axis=-1, mean=mean.tolist(), variance=variance.tolist(), **options)
    maker.say("Normalization adapted")
    layer = maker.L.Normalization(axis=-1, **options)
    sample = maker.rng.normal(mean, np.sqrt(variance), (32, *(size or maker.time for size in shape[1:])))
    layer.adapt(sample.astype(np.float32))
    return layer


@piece(VECTOR, SEQUENCE, IMAGE)
def rescaling(maker: Maker, shape: Shape) -> Any:
    maker.say("Rescaling")
    return maker.L.Rescaling(maker.number(0.3, 1.5), **maker.some(0.6, offset=maker.number(-1, 1)))


# ---- elementwise -----------------------------------------------------------------------------------------------------


@piece(VECTOR, SEQUENCE, IMAGE)
def activation_layer(maker: Maker, shape: Shape) -> Any:
    name = activation(maker, 1.0, rowwise=True)["activation"]
    if maker.generation == 3 and shape[-1] % 2 == 0 and maker.chance(0.1):
        name = "glu"
    maker.say(f"Activation {name}")
    return maker.L.Activation(name)


@piece(VECTOR, SEQUENCE, IMAGE)
def relu_layer(maker: Maker, shape: Shape) -> Any:
    maker.say("ReLU")
    options = maker.some(0.5, max_value=maker.number(0.5, 2)) | maker.some(0.5, negative_slope=0.1)
    return maker.L.ReLU(**options, **maker.some(0.5, threshold=maker.number(0.1, 0.4)))


@piece(VECTOR, SEQUENCE, IMAGE)
def leaky_relu(maker: Maker, shape: Shape) -> Any:
    maker.say("LeakyReLU")
    key = "negative_slope" if maker.generation == 3 else "alpha"
    return maker.L.LeakyReLU(**maker.some(0.6, **{key: 0.15}))


@piece(VECTOR, SEQUENCE)
def prelu(maker: Maker, shape: Shape) -> Any:
    maker.say("PReLU")
    shared = [1] if len(shape) == 3 and (shape[1] is None or maker.chance(0.6)) else None
    return maker.L.PReLU(shared_axes=shared)


@piece(VECTOR, SEQUENCE)
def elu(maker: Maker, shape: Shape) -> Any:
    maker.say("ELU")
    return maker.L.ELU(maker.number(0.3, 1.5))


@piece(VECTOR, SEQUENCE)
def thresholded_relu(maker: Maker, shape: Shape) -> Any:
    maker.say("ThresholdedReLU")
    return maker.L.ThresholdedReLU(0.3)


@piece(VECTOR, SEQUENCE)
def softmax(maker: Maker, shape: Shape) -> Any:
    maker.say("Softmax")
    return maker.L.Softmax(**maker.some(0.3, axis=-1))


# ---- identities ------------------------------------------------------------------------------------------------------


@piece(VECTOR, SEQUENCE, IMAGE)
def noise(maker: Maker, shape: Shape) -> Any:
    names = ["Dropout", "GaussianNoise", "GaussianDropout", "AlphaDropout", "ActivityRegularization"]
    name = maker.pick(*names, *(["SpatialDropout1D"] * 2 if len(shape) == 3 else []))
    maker.say(name)
    return getattr(maker.L, name)(0.2)


@piece(VECTOR, SEQUENCE)
def identity(maker: Maker, shape: Shape) -> Any:
    maker.say("Identity")
    return maker.L.Identity()


# ---- shapes ----------------------------------------------------------------------------------------------------------


@piece(SEQUENCE)
def flatten(maker: Maker, shape: Shape) -> Any:
    if shape[1] is None:
        return None
    maker.say("Flatten")
    return maker.L.Flatten()


@piece(VECTOR)
def repeat_vector(maker: Maker, shape: Shape) -> Any:
    maker.say("RepeatVector")
    return maker.L.RepeatVector(maker.size(1, 5))


@piece(SEQUENCE)
def permute(maker: Maker, shape: Shape) -> Any:
    if shape[1] is None:
        return None
    maker.say("Permute")
    return maker.L.Permute((2, 1))


@piece(VECTOR)
def reshape_vector(maker: Maker, shape: Shape) -> Any:
    maker.say("Reshape")
    divisor = maker.pick(*(d for d in range(1, shape[-1] + 1) if shape[-1] % d == 0))
    return maker.L.Reshape(maker.pick((divisor, -1), (shape[-1] // divisor, divisor), (-1, divisor)))


@piece(SEQUENCE)
def reshape(maker: Maker, shape: Shape) -> Any:
    if shape[1] is None:
        if maker.generation == 2 or shape[-1] % 2:
            return None
        maker.say("Reshape of free steps")
        return maker.L.Reshape((-1, shape[-1] // 2))
    maker.say("Reshape")
    return maker.L.Reshape(maker.pick((-1,), (shape[1] * shape[-1], 1), (shape[-1], shape[1]), (-1, shape[1])))


@piece(IMAGE)
def flatten_steps(maker: Maker, shape: Shape) -> Any:
    """The features of each step of an image in one axis."""
    kind = maker.pick("reshape", "flatten", "permute")
    if kind == "flatten" or shape[1] is None:
        maker.say("TimeDistributed(Flatten)")
        return maker.L.TimeDistributed(maker.L.Flatten())
    if kind == "permute":
        maker.say("Permute of an image")
        return maker.L.Permute(maker.pick((1, 3, 2), (2, 1, 3), (2, 3, 1)))
    maker.say("Reshape of an image")
    return maker.L.Reshape((shape[1], shape[2] * shape[3]))


# ---- wrappers --------------------------------------------------------------------------------------------------------

INNER = ("dense", "batch_normalization", "layer_normalization", "activation_layer", "noise", "prelu", "rescaling",
         "elu", "unit_normalization", "relu_layer", "repeat_vector")  # fmt: skip


@piece(SEQUENCE)
def time_distributed(maker: Maker, shape: Shape) -> Any:
    """A layer, or a network of some, on each step."""
    step = (BATCH, *shape[2:])
    if maker.chance(0.65):
        inner = PIECES[VECTOR][maker.pick("dense", *INNER)](maker, step)
        maker.say(f"TimeDistributed({type(inner).__name__})")
    else:
        names = [maker.pick(*INNER[:-1]) for _ in range(maker.size(1, 2))]
        layers = [PIECES[VECTOR][name](maker, step) for name in names if name != "prelu"]
        inner = maker.keras.Sequential([maker.L.Input(shape[2:]), *layers, maker.L.Dense(maker.size(1, 4))])
        maker.say("TimeDistributed(Sequential)")
    return maker.L.TimeDistributed(inner)


@piece(IMAGE)
def time_distributed_rows(maker: Maker, shape: Shape) -> Any:
    """What works on sequences, on each step of an image."""
    step = (BATCH, *shape[2:])
    name = maker.pick("gru", "bidirectional", "global_pooling", "conv1d", "flatten", "rnn_of_cell", "pooling1d")
    free, maker.batch_size = maker.batch_size, None  # nothing stateful inside
    inner = PIECES[SEQUENCE][name](maker, step)
    maker.batch_size = free
    maker.say(f"TimeDistributed({type(inner).__name__})")
    return maker.L.TimeDistributed(inner)
