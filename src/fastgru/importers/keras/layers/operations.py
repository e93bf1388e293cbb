"""Operations in functional networks: ``x + y``, ``x[:, -1]``, ``keras.ops.mean(x, axis=1)``.

Keras 3 writes each as a node of a class of ``keras.ops``: what the operation was made with stands in its configuration.
Keras 2 writes a TFOpLambda with the name of a TensorFlow function, and all of its arguments in the call. Operations are
no layers, so a mask ends at each of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from .... import graph
from ....graph import Activation
from ..build import Builder, Value
from ..config import LayerConfig, sequence
from ..masks import Mask, differs, joined, or_mask, over_features
from ..weights import Weights
from . import merge
from .basic import softmax_along
from .table import Part, Result, operation

#: of a one_hot, which becomes a table of 4 MB at most
MAX_CLASSES = 1024
#: options of a TensorFlow function that change nothing here
_HARMLESS = ("name", "dtype")


def _options(config: LayerConfig, *keys: str) -> dict[str, Any]:
    """What Keras 3 wrote of these into the configuration; Keras 2 gives them with the call."""
    return {key: config.take(key) for key in keys if key in config}


def _part(config: LayerConfig, keys: Sequence[str], call: Callable[..., Result], takes_ids: bool = False) -> Part:
    """A Part whose call has the options of the configuration, with those of the call over them."""
    written = _options(config, *keys)

    def with_options(build: Builder, weights: Weights, *args: Any, **given: Any) -> Result:
        return call(build, *args, **{**written, **{k: v for k, v in given.items() if k not in _HARMLESS}})

    return Part(with_options, options=(*keys, *_HARMLESS), takes_ids=takes_ids)


# ---- arithmetic ------------------------------------------------------------------------------------------------------


@operation("Add", "tf.__operators__.add", "tf.math.add", note="of two values, or of one and a constant")
def add(config: LayerConfig) -> Part:
    return _binary(config, "add", lambda build, x, c: _scale(build, x, offset=c))


@operation("Subtract", "tf.math.subtract", "tf.__operators__.sub", note="of two values, or of one and a constant")
def subtract(config: LayerConfig) -> Part:
    def flipped(build: Builder, x: Value, c: Any) -> Value:
        return _scale(build, x, scale=np.float32(-1), offset=c)

    return _binary(config, "subtract", lambda build, x, c: _scale(build, x, offset=-c), flipped)


@operation("Multiply", "tf.math.multiply", "tf.__operators__.mul", note="of two values, or of one and a constant")
def multiply(config: LayerConfig) -> Part:
    return _binary(config, "multiply", lambda build, x, c: _scale(build, x, scale=c))


@operation(
    "TrueDivide", "Divide", "tf.math.truediv", "tf.math.divide", "tf.__operators__.truediv",
    note="of two values, or of one and a constant",
)
def divide(config: LayerConfig) -> Part:
    def flipped(build: Builder, x: Value, c: Any) -> Value:
        one_over = _activate(build, x, Activation.of("reciprocal"), "reciprocal")
        return _scale(build, one_over, scale=c)

    def by_constant(build: Builder, x: Value, c: Any) -> Value:
        with np.errstate(divide="ignore"):
            return _scale(build, x, scale=np.float32(1) / c)

    return _binary(config, "divide", by_constant, flipped)


@operation("Maximum", "tf.math.maximum", note="of two values, or of one and a number")
def maximum(config: LayerConfig) -> Part:
    def with_constant(build: Builder, x: Value, c: Any) -> Value:
        number = _one_number(config, c)
        return _activate(build, x, Activation.of("threshold", threshold=number, value=number))

    return _binary(config, "maximum", with_constant)


@operation("Minimum", "tf.math.minimum", note="of two values, or of one and a number")
def minimum(config: LayerConfig) -> Part:
    def with_constant(build: Builder, x: Value, c: Any) -> Value:
        return _activate(build, x, Activation.of("relu", max_value=_one_number(config, c), negative_slope=1.0))

    return _binary(config, "minimum", with_constant)


Constant = Callable[[Builder, Value, Any], Value]


def _binary(config: LayerConfig, name: str, by_constant: Constant, of_constant: Constant | None = None) -> Part:
    """An operation of two values, or of a value and a constant on either side."""

    def call(build: Builder, x: Any = None, y: Any = None, **other: Any) -> Value:
        x, y = other.get("x1", x), other.get("x2", y)
        if isinstance(x, Value) and isinstance(y, Value):
            if x.rank != y.rank:
                config.refuse(f"combines values of shapes {x.spec.shape} and {y.spec.shape}")
                return x
            return merge.combined(build, name, [x.unmasked(), y.unmasked()])
        if isinstance(x, Value):
            return by_constant(build, x, _constant(config, y))
        return (of_constant or by_constant)(build, y, _constant(config, x))

    return _part(config, ("x", "y", "x1", "x2"), call)


def _constant(config: LayerConfig, value: Any) -> np.ndarray:
    """A number or an array of them, as Keras serializes it."""
    while isinstance(value, dict):
        value = value.get("value", value.get("config"))
    try:
        return np.asarray(value, np.float32)
    except (TypeError, ValueError):
        config.refuse(f"its operand {str(value)[:40]!r} is no number")
        return np.zeros((), np.float32)


def _one_number(config: LayerConfig, constant: np.ndarray) -> float:
    if constant.size != 1:
        config.refuse(f"its operand has shape {constant.shape}; one number is supported")
        return 0.0
    return float(constant.ravel()[0])


def _scale(build: Builder, x: Value, scale: Any = None, offset: Any = None) -> Value:
    tensors = {"scale": scale, "offset": offset}
    given = {key: np.asarray(value, np.float32) for key, value in tensors.items() if value is not None}
    arrays: dict[str, Any] = {key: _spread(value) for key, value in given.items()}
    return build.add(graph.Scale, x, passes_mask=False, **arrays)


def _spread(array: np.ndarray) -> np.ndarray:
    """An array without leading axes of size 1, the batch's among them."""
    while array.ndim > 1 and array.shape[0] == 1:
        array = array[0]
    return np.atleast_1d(array)


def _activate(build: Builder, x: Value, activation: Activation, part: str = "") -> Value:
    return build.add(graph.Activate, x, part=part, passes_mask=False, activation=activation)


# ---- masks -----------------------------------------------------------------------------------------------------------


@operation("NotEqual", "tf.math.not_equal", "tf.__operators__.ne", note="makes masks, as Embedding and Masking do")
def not_equal(config: LayerConfig) -> Part:
    def call(build: Builder, x: Value, y: Any = None, x2: Any = None) -> Mask:
        return differs(build, x, _one_number(config, _constant(config, y if x2 is None else x2)))

    return _part(config, ("y", "x2"), call)  # type: ignore[arg-type]


def _reads_join(any_of: bool, pairs: Sequence[str], over: Sequence[str]) -> None:
    @operation(*pairs, note="of masks")
    def pair(config: LayerConfig) -> Part:
        def call(build: Builder, x: Any, y: Any = None, x2: Any = None) -> Mask:
            masks = [mask for mask in (x, y if x2 is None else x2) if isinstance(mask, Mask)]
            if len(masks) < 2:
                config.refuse("joins values that are no masks")
            # a mask or zeros of the shape of a value is how Keras 3 spreads it over features
            return masks[0] if ZEROS in masks else joined(build, masks, any_of)

        return _part(config, ("y", "x2"), call)  # type: ignore[arg-type]

    @operation(*over, note="of masks, along the features")
    def reduction(config: LayerConfig) -> Part:
        def call(build: Builder, x: Any, axis: Any = None, keepdims: bool = False) -> Mask:
            if not isinstance(x, Mask) or axis not in (-1, 2) or keepdims:
                config.refuse(f"is supported of masks along the features, not along axis={axis}")
                return Mask()
            return over_features(build, x, any_of)

        return _part(config, ("axis", "keepdims"), call)  # type: ignore[arg-type]


#: a mask that is nowhere true
ZEROS = Mask(axis=-1)
_reads_join(True, ("LogicalOr", "tf.math.logical_or"), ("Any", "tf.math.reduce_any"))
_reads_join(False, ("LogicalAnd", "tf.math.logical_and"), ("All", "tf.math.reduce_all"))


@operation("ZerosLike", "OnesLike", "tf.zeros_like", "tf.ones_like", ignored={"dtype"}, note="of masks")
def constants_like(config: LayerConfig) -> Part:
    if config.take("dtype", None) not in ("bool", None):
        config.refuse("makes numbers, not a mask")
    mask = ZEROS if "eros" in config.class_name else Mask()
    return _part(config, ("dtype",), lambda build, x, dtype=None: mask)  # type: ignore[arg-type, return-value]


@operation("ConvertToTensor", ignored={"dtype", "sparse", "ragged"})
def convert_to_tensor(config: LayerConfig) -> Part:
    return _part(config, (), or_mask(lambda build, mask: mask, lambda build, x: build.add(graph.Identity, x)))


# ---- functions -------------------------------------------------------------------------------------------------------

#: functions of one argument by all their names
FUNCTIONS: dict[str, tuple[str, ...]] = {
    "abs": ("Abs", "Absolute", "tf.math.abs"),
    "negative": ("Negative", "tf.math.negative"),
    "square": ("Square", "tf.math.square"),
    "sqrt": ("Sqrt", "tf.math.sqrt"),
    "rsqrt": ("Rsqrt", "tf.math.rsqrt"),
    "exponential": ("Exp", "tf.math.exp"),
    "log": ("Log", "tf.math.log"),
    "reciprocal": ("Reciprocal", "tf.math.reciprocal"),
    "tanh": ("Tanh", "tf.math.tanh", "tf.nn.tanh"),
    "sigmoid": ("Sigmoid", "tf.math.sigmoid", "tf.nn.sigmoid"),
    "relu": ("Relu", "tf.nn.relu"),
    "softplus": ("Softplus", "tf.math.softplus", "tf.nn.softplus"),
    "softsign": ("Softsign", "tf.nn.softsign"),
    "silu": ("Silu", "tf.nn.silu", "tf.nn.swish"),
    "selu": ("Selu", "tf.nn.selu"),
    "log_sigmoid": ("LogSigmoid", "tf.math.log_sigmoid"),
    "hard_silu": ("HardSilu",),
    "hard_tanh": ("HardTanh",),
    "hard_sigmoid": ("HardSigmoid",),
    "tanh_shrink": ("TanhShrink",),
}


def _enter_functions() -> None:
    for name, names in FUNCTIONS.items():
        if name in graph.ELEMENTWISE:
            activation = Activation.of(name)

            def read(config: LayerConfig, activation: Activation = activation) -> Part:
                return _part(config, ("x",), lambda build, x: _activate(build, x, activation))

            operation(*names)(read)


_enter_functions()


@operation("Relu6", "tf.nn.relu6")
def relu6(config: LayerConfig) -> Part:
    return _part(config, ("x",), lambda build, x: _activate(build, x, Activation.of("relu", max_value=6.0)))


@operation("LeakyRelu", "tf.nn.leaky_relu")
def leaky_relu(config: LayerConfig) -> Part:
    def call(build: Builder, x: Value, negative_slope: float = 0.2, alpha: float | None = None) -> Value:
        slope = negative_slope if alpha is None else alpha
        return _activate(build, x, Activation.of("relu", negative_slope=slope))

    return _part(config, ("negative_slope", "alpha"), call)


@operation("Elu", "tf.nn.elu")
def elu(config: LayerConfig) -> Part:
    return _part(config, ("alpha",), lambda build, x, alpha=1.0: _activate(build, x, Activation.of("elu", alpha=alpha)))


@operation("Gelu", "tf.nn.gelu")
def gelu(config: LayerConfig) -> Part:
    default = config.class_name == "Gelu"  # Keras 3 approximates unless told otherwise, TensorFlow does not

    def call(build: Builder, x: Value, approximate: bool = default) -> Value:
        return _activate(build, x, Activation.of("gelu_tanh" if approximate else "gelu"))

    return _part(config, ("approximate",), call)


@operation("Softmax", "tf.nn.softmax", note="along the last axis or the steps")
def softmax(config: LayerConfig) -> Part:
    def call(build: Builder, x: Value, axis: int | None = -1) -> Value:
        return softmax_along(config, build, x, -1 if axis is None else axis, passes_mask=False)

    return _part(config, ("axis",), call)


@operation("Power", "tf.math.pow", "tf.__operators__.pow", note="to 2, 1, 0.5, -0.5 or -1")
def power(config: LayerConfig) -> Part:
    powers = {2.0: "square", 0.5: "sqrt", -1.0: "reciprocal", 1.0: "linear", -0.5: "rsqrt"}

    def call(build: Builder, x: Any, y: Any = None, x2: Any = None) -> Value:
        exponent = y if x2 is None else x2
        name = powers.get(exponent) if isinstance(exponent, (int, float)) else None
        if not isinstance(x, Value) or name is None:
            config.refuse(f"raises to the power {exponent!r}; supported are {', '.join(map(str, powers))}")
            return x  # type: ignore[no-any-return]
        return _activate(build, x, Activation.of(name))

    return _part(config, ("y", "x2"), call)


@operation("Cast", "tf.cast", ignored={"dtype"}, note="to floats or masks")
def cast(config: LayerConfig) -> Part:
    def call(build: Builder, x: Value, dtype: Any = None) -> Value:
        if "int" in str(dtype) and x.spec.dtype != "int32":
            config.refuse("casts to whole numbers")
        return x.unmasked()

    return _part(config, ("x", "dtype"), or_mask(lambda build, mask, dtype=None: mask, call))


@operation("Matmul", "tf.linalg.matmul", note="of two sequences; `transpose_b`")
def matmul(config: LayerConfig) -> Part:
    def call(build: Builder, a: Value, b: Any = None, **turned: Any) -> Value:
        unknown = [key for key, value in turned.items() if value and key not in ("transpose_b", "x2")]
        b = turned.get("x2", b)
        if unknown or not isinstance(b, Value) or a.rank != 3 or b.rank != 3:
            config.refuse("is a matrix product other than that of two sequences")
            return a
        return build.add(graph.MatMul, a.unmasked(), b.unmasked(), transpose_b=bool(turned.get("transpose_b")))

    return _part(config, ("b", "x2", "transpose_a", "transpose_b", "adjoint_a", "adjoint_b"), call)


@operation("OneHot", "tf.one_hot", ignored={"dtype", "sparse"}, note="of token ids, along the last axis")
def one_hot(config: LayerConfig) -> Part:
    def call(build: Builder, x: Value, num_classes: int = 0, depth: int = 0, axis: int | None = -1) -> Value:
        count = num_classes or depth
        if x.spec.dtype != "int32" or axis not in (-1, None) or type(count) is not int or not 1 <= count <= MAX_CLASSES:
            config.refuse(f"one_hot with {count!r} classes along axis {axis} of computed values is not supported")
            return x
        return build.add(graph.Embedding, x, passes_mask=False, table=np.eye(count, dtype=np.float32))

    return _part(config, ("num_classes", "depth", "axis"), call, takes_ids=True)


# ---- reductions ------------------------------------------------------------------------------------------------------


def _reads_reduction(function: str, *names: str) -> None:
    @operation(*names, note="along named axes but the batch")
    def reduction(config: LayerConfig) -> Part:
        def call(build: Builder, x: Value, axis: Any = None, keepdims: bool = False, initial: Any = None) -> Value:
            items = sequence(axis)
            axes = range(1, x.rank) if axis is None else items if items is not None else [axis]
            places = sorted({place % x.rank for place in axes}, reverse=True)
            if 0 in places or axis is None or initial is not None:
                config.refuse(f"reduces axis {axis}; the batch axis cannot be reduced")
                return x
            wanted = [1 if i in places else size for i, size in enumerate(x.spec.shape)][1:]
            value = x.unmasked()
            for number, place in enumerate(places, 1):
                is_last = number == len(places) and not keepdims
                part = "" if is_last else f"over{place}"
                value = build.add(graph.Reduce, value, part=part, function=function, axis=place)
            return to_shape(build, config, value, wanted) if keepdims else value

        return _part(config, ("axis", "keepdims", "initial", "keep_dims"), call)


_reads_reduction("mean", "Mean", "tf.math.reduce_mean")
_reads_reduction("sum", "Sum", "tf.math.reduce_sum")
_reads_reduction("maximum", "Max", "Amax", "tf.math.reduce_max")
_reads_reduction("minimum", "Min", "Amin", "tf.math.reduce_min")


# ---- shapes ----------------------------------------------------------------------------------------------------------


def to_shape(build: Builder, config: LayerConfig, x: Value, sizes: Sequence[int | None], part: str = "") -> Value:
    """A value with these sizes after batch; at most the first is free."""
    own = list(x.spec.shape[1:])
    if list(sizes) == own:
        return build.add(graph.Identity, x, part=part, passes_mask=False)
    keeps_time = x.spec.is_sequence and len(sizes) > 1 and sizes[0] == own[0]
    if keeps_time and None not in sizes[1:]:
        target = tuple(sizes[1:])
        return build.add(graph.Reshape, x, part=part, passes_mask=False, target=target, per_step=True)
    if None in sizes[1:] or not sizes:
        config.refuse(f"would give {x.spec.shape} the sizes {list(sizes)}, of which a later one is free")
        return x
    target = tuple(-1 if size is None else size for size in sizes)
    return build.add(graph.Reshape, x, part=part, passes_mask=False, target=target)


@operation("Reshape", "tf.reshape", note="all sizes but the batch said")
def reshape(config: LayerConfig) -> Part:
    def call(build: Builder, x: Value, newshape: Any = None, shape: Any = None) -> Value:
        written = list(sequence(newshape if shape is None else shape) or ())
        if len(written) < 2 or written[0] not in (-1, None) or not all(type(n) is int for n in written[1:]):
            config.refuse(f"reshapes to {written}, which should leave the batch axis free and say the others")
            return x
        return build.add(graph.Reshape, x, passes_mask=False, target=tuple(written[1:]))

    return _part(config, ("newshape", "shape"), call)


@operation("ExpandDims", "tf.expand_dims")
def expand_dims(config: LayerConfig) -> Part:
    def call(build: Builder, x: Value, axis: Any = None) -> Value:
        items = sequence(axis)
        place = items[0] if items is not None and len(items) == 1 else axis
        place = place % (x.rank + 1) if type(place) is int else 0
        if not place:
            config.refuse(f"axis={axis} is not supported")
            return x
        sizes = list(x.spec.shape)
        sizes.insert(place, 1)
        return to_shape(build, config, x, sizes[1:])

    return _part(config, ("axis",), or_mask(lambda build, mask, axis=-1: mask, call))


@operation("Squeeze", "tf.squeeze", "tf.compat.v1.squeeze")
def squeeze(config: LayerConfig) -> Part:
    def call(build: Builder, x: Value, axis: Any = None, squeeze_dims: Any = None) -> Value:
        axis = squeeze_dims if axis is None else axis
        items = [i for i, n in enumerate(x.spec.shape) if i and n == 1] if axis is None else sequence(axis) or [axis]
        places = {place % x.rank for place in items}
        if 0 in places or any(x.spec.shape[place] != 1 for place in places):
            config.refuse(f"axis={axis} of {x.spec.shape} cannot be dropped")
            return x
        return to_shape(build, config, x, [n for i, n in enumerate(x.spec.shape) if i and i not in places])

    return _part(config, ("axis", "squeeze_dims"), call)


@operation("Transpose", "tf.transpose", "tf.compat.v1.transpose")
def transpose(config: LayerConfig) -> Part:
    def call(build: Builder, x: Value, axes: Any = None, perm: Any = None) -> Value:
        order = list(sequence(axes if perm is None else perm) or ())
        if order == [1, 0, *range(2, x.rank)] and x.spec.is_sequence:
            return replace(x.unmasked(), time_first=not x.time_first)  # only what time_major layers read
        if sorted(order) != list(range(x.rank)) or order[0] != 0:
            config.refuse(f"the order {order} of axes does not leave the batch axis where it is")
            return x
        return build.add(graph.Transpose, x, passes_mask=False, order=tuple(order[1:]))

    return _part(config, ("axes", "perm", "conjugate"), lambda build, x, conjugate=False, **o: call(build, x, **o))


@operation("Flip", "tf.reverse", note="along one axis")
def flip(config: LayerConfig) -> Part:
    def call(build: Builder, x: Value, axis: Any = None) -> Value:
        items = sequence(axis)
        place = items[0] if items is not None and len(items) == 1 else axis
        if type(place) is not int or place % x.rank == 0:
            config.refuse(f"axis={axis} is not supported: one axis behind the batch is")
            return x
        return build.add(graph.Slice, x, passes_mask=False, axis=place % x.rank, step=-1)

    return _part(config, ("axis",), call)


@operation("Repeat", "tf.repeat", note="one number of times")
def repeat(config: LayerConfig) -> Part:
    def call(build: Builder, x: Value, repeats: Any = None, axis: Any = None) -> Value:
        if type(repeats) is not int or type(axis) is not int or axis % x.rank == 0:
            config.refuse(f"repeats={repeats!r} along axis={axis} is not supported")
            return x
        return build.add(graph.Repeat, x, passes_mask=False, axis=axis % x.rank, times=repeats)

    return _part(config, ("repeats", "axis"), call)


@operation("Concatenate", "tf.concat")
def concatenate(config: LayerConfig) -> Part:
    def call(build: Builder, values: Sequence[Value], axis: int = 0) -> Value:
        return merge.concatenated(build, [value.unmasked() for value in values], axis)

    def of_masks(build: Builder, values: Sequence[Mask], axis: int = 0) -> Mask:
        return Mask(parts=tuple(values), axis=axis % 3)  # steps and features: rank 3

    return _part(config, ("axis",), or_mask(of_masks, call))


@operation("Stack", "tf.stack")
def stack(config: LayerConfig) -> Part:
    def call(build: Builder, values: Sequence[Value], axis: int = 0) -> Value:
        place = axis % (values[0].rank + 1)
        if not place:
            config.refuse("stacks along the batch axis")
            return values[0]
        parts = []
        for number, value in enumerate(values):
            sizes = list(value.spec.shape)
            sizes.insert(place, 1)
            parts.append(to_shape(build, config, value.unmasked(), sizes[1:], f"part{number}"))
        return merge.concatenated(build, parts, place)

    return _part(config, ("axis",), call)


@operation("Split", "tf.split", note="of a known size")
def split(config: LayerConfig) -> Part:
    def call(
        build: Builder, x: Value, indices_or_sections: Any = None, num_or_size_splits: Any = None, axis: int = 0
    ) -> Result:
        place, size = axis % x.rank, x.spec.shape[axis % x.rank]
        written = indices_or_sections if num_or_size_splits is None else num_or_size_splits
        items = sequence(written)
        if not place or size is None or (items is None and (type(written) is not int or size % written)):
            config.refuse(f"cannot split axis {axis} of {x.spec.shape} into {written}")
            return x
        if items is None:
            ends = [size // written * (i + 1) for i in range(written)]
        else:
            ends = [*items, size] if num_or_size_splits is None else [sum(items[: i + 1]) for i in range(len(items))]
        starts = [0, *ends[:-1]]
        return tuple(
            build.add(graph.Slice, x, part=f"part{i}", passes_mask=False, axis=place, start=first, stop=last)
            for i, (first, last) in enumerate(zip(starts, ends, strict=True))
        )

    return _part(config, ("indices_or_sections", "num_or_size_splits", "axis", "num"), call)


@operation("GetItem", "tf.__operators__.getitem", note="numbers and slices of axes but the batch")
def get_item(config: LayerConfig) -> Part:
    def call(build: Builder, x: Value, key: Any = None, slice_spec: Any = None) -> Value:
        written = key if slice_spec is None else slice_spec
        items = list(written) if isinstance(written, (list, tuple)) else [written]
        if Ellipsis in items:
            place = items.index(Ellipsis)
            items[place : place + 1] = [slice(None)] * (x.rank - len(items) + 1)
        items += [slice(None)] * (x.rank - len(items))
        fits = len(items) == x.rank and all(isinstance(item, slice) or type(item) is int for item in items)
        if not fits or items[0] != slice(None):
            config.refuse(
                f"the index {written!r} is not supported: slices and numbers of the axes behind the batch are"
            )
            return x
        return _sliced(build, x, items)

    return _part(config, ("key", "slice_spec"), call)


def _sliced(build: Builder, x: Value, items: list[Any]) -> Value:
    """One Slice for each axis that is indexed, from the last on, since those that are dropped move the later ones."""
    wanted = [(axis, item) for axis, item in enumerate(items) if item != slice(None)]
    if not wanted:
        return build.add(graph.Identity, x, passes_mask=False)
    for number, (axis, item) in enumerate(reversed(wanted), 1):
        part = "" if number == len(wanted) else f"axis{axis}"
        if isinstance(item, slice):
            bounds: dict[str, Any] = {"start": item.start, "stop": item.stop, "step": item.step or 1}
        else:
            bounds = {"start": item, "stop": item + 1 if item != -1 else None, "drop": True}
        x = build.add(graph.Slice, x, part=part, passes_mask=False, axis=axis, **bounds)
    return x
