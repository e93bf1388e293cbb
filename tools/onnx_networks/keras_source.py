"""Random Keras networks around GRUs: `model.export(format="onnx")` of Keras 3, and tf2onnx of tf_keras models.

Keras' layers are one list for both: `tf_keras_source` takes them from tf_keras.
"""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import numpy as np
import onnx

from . import Case, NotExported

IDS = 9


class Maker:
    """One random functional model.

    Attributes
    ----------
    said : list of str
        What it is made of.
    steps : int or None
        As its inputs declare them.
    """

    def __init__(self, keras: Any, rng: np.random.Generator, masks: bool = True) -> None:
        self.keras, self.L, self.rng, self.masks = keras, keras.layers, rng, masks
        self.said: list[str] = []
        self.steps = int(rng.integers(5, 9)) if rng.integers(2) else None
        self.inputs: list[Any] = []
        self.is_masked = False

    def pick(self, *options):
        return options[self.rng.integers(len(options))]

    def units(self) -> int:
        return int(self.rng.integers(2, 7))

    def input(self, *shape, dtype="float32"):
        self.inputs.append(self.keras.Input(shape, dtype=dtype, name=f"in{len(self.inputs)}"))
        return self.inputs[-1]

    def model(self):
        x = getattr(
            self, self.say("front_", "floats", "floats", "words", "masking", "image", "points", "two", "beside")
        )()
        for _ in range(int(self.rng.integers(0, 3))):
            x = getattr(self, self.say(
                "piece_", "gru", "gru", "bidirectional", "dense", "distributed", "conv1d", "norm", "batch_norm",
                "residual", "dropout",
                "pool", "two_grus", "activation", "repeat", "cells", "attention", "reshape_features", "gate",
            ))(x)  # fmt: skip
        y = getattr(self, self.say(
            "head_", "last", "last", "bidirectional_last", "steps", "steps_softmax", "pooled", "state", "decoder",
            "several", "attended",
            "seq2seq", "backwards",
        ))(x)  # fmt: skip
        return self.keras.Model(self.inputs, y)

    def say(self, prefix, *names):
        name = self.pick(*names)
        self.said.append(name)
        return prefix + name

    def gru_options(self):
        options = {}
        for key, values in {
            "reset_after": (False, True), "use_bias": (False,), "recurrent_activation": ("hard_sigmoid", "sigmoid"),
            "activation": ("relu", "softsign", "elu", "linear", "tanh"), "go_backwards": (True,), "dropout": (0.2,),
        }.items():  # fmt: skip
            if self.rng.random() < 0.25:
                options[key] = self.pick(*values)
        if options.get("activation") in ("relu", "elu", "linear"):
            options["kernel_regularizer"] = None
        if self.rng.random() < 0.1 and self.steps and not self.is_masked:
            options["unroll"] = True
        self.said.append(str(options) if options else "")
        return options

    # ---- fronts

    def front_floats(self):
        return self.input(self.steps, self.units())

    def front_words(self):
        self.is_masked = self.masks and bool(self.rng.integers(2))
        return self.L.Embedding(IDS, self.units(), mask_zero=self.is_masked)(self.input(self.steps, dtype="int32"))

    def front_masking(self):
        self.is_masked = self.masks
        x = self.input(self.steps, self.units())
        return self.L.Masking()(x) if self.masks else x

    def front_image(self):
        x = self.input(self.steps, 8, 1)
        x = self.L.Conv2D(3, 3, padding="same", activation="relu")(x)
        x = self.L.MaxPooling2D((1, 2))(x)
        x = self.L.BatchNormalization()(x)
        return self.L.Reshape((self.steps or -1, 12))(x)

    def front_points(self):
        x = self.input(self.steps, 3, 2)
        return self.L.TimeDistributed(self.L.Flatten())(self.L.Dense(4, activation="tanh")(x))

    def front_two(self):
        x, y = self.input(self.steps, 3), self.input(self.steps, 3)
        return self.pick(self.L.Concatenate(), self.L.Add(), self.L.Multiply(), self.L.Average())([x, y])

    def front_beside(self):
        n = self.units()
        x, z = self.input(self.steps, n), self.input(3)
        state = self.L.Dense(4, activation="tanh")(z)
        return self.L.GRU(4, return_sequences=True)(x, initial_state=state)

    # ---- pieces

    def piece_gru(self, x):
        return self.L.GRU(self.units(), return_sequences=True, **self.gru_options())(x)

    def piece_bidirectional(self, x):
        options = self.gru_options() | {"go_backwards": False}
        layer = self.L.GRU(self.units(), return_sequences=True, **options)
        return self.L.Bidirectional(layer, merge_mode=self.pick("concat", "concat", "sum", "mul", "ave"))(x)

    def piece_two_grus(self, x):
        n = self.units()
        return self.L.Add()(
            [self.L.GRU(n, return_sequences=True)(x), self.L.GRU(n, return_sequences=True, reset_after=False)(x)]
        )

    def piece_cells(self, x):
        cells = [self.L.GRUCell(self.units(), reset_after=bool(self.rng.integers(2))) for _ in range(2)]
        return self.L.RNN(cells, return_sequences=True)(x)

    def piece_dense(self, x):
        return self.L.Dense(
            self.units(), activation=self.pick(None, "relu", "tanh", "gelu", "silu", "softplus", "selu")
        )(x)

    def piece_distributed(self, x):
        return self.L.TimeDistributed(self.L.Dense(self.units(), activation="relu"))(x)

    def piece_conv1d(self, x):
        self.is_masked = False
        return self.L.Conv1D(
            self.units(), 3, padding=self.pick("same", "causal"), dilation_rate=self.pick(1, 2), activation="relu"
        )(x)

    def piece_norm(self, x):
        return self.L.LayerNormalization()(x)

    def piece_batch_norm(self, x):
        return self.L.BatchNormalization()(x)

    def piece_residual(self, x):
        n = x.shape[-1]
        return self.L.Add()([x, self.L.GRU(n, return_sequences=True)(x)])

    def piece_dropout(self, x):
        return self.pick(self.L.Dropout(0.3), self.L.SpatialDropout1D(0.2), self.L.GaussianNoise(0.1))(x)

    def piece_pool(self, x):
        self.is_masked = False
        self.steps = self.steps and self.steps // 2
        return self.pick(self.L.MaxPooling1D(2), self.L.AveragePooling1D(2))(x)

    def piece_activation(self, x):
        return self.pick(
            self.L.LeakyReLU(),
            self.L.PReLU(shared_axes=[1]),
            self.L.ELU(),
            self.L.Activation("softsign"),
            self.L.ReLU(max_value=6.0),
        )(x)

    def piece_repeat(self, x):
        return self.L.Permute((2, 1))(self.L.Permute((2, 1))(x))

    def piece_attention(self, x):
        return self.pick(self.L.Attention(), self.L.Attention(use_scale=True))([x, x])

    def piece_reshape_features(self, x):
        x = self.L.Dense(6)(x)
        x = self.L.Reshape((self.steps or -1, 2, 3))(x)
        return self.L.Reshape((self.steps or -1, 6))(self.L.Activation("tanh")(x))

    def piece_gate(self, x):
        n = x.shape[-1]
        return self.L.Multiply()([x, self.L.Dense(n, activation="sigmoid")(x)])

    # ---- heads

    def head_last(self, x):
        return self.L.Dense(3, activation=self.pick(None, "softmax", "sigmoid"))(
            self.L.GRU(self.units(), **self.gru_options())(x)
        )

    def head_bidirectional_last(self, x):
        layer = self.L.Bidirectional(self.L.GRU(self.units()), merge_mode=self.pick("concat", "sum", "ave"))
        return self.L.Dense(2, activation="softmax")(layer(x))

    def head_steps(self, x):
        return self.L.GRU(self.units(), return_sequences=True, **self.gru_options())(x)

    def head_steps_softmax(self, x):
        x = self.L.GRU(self.units(), return_sequences=True)(x)
        return self.L.TimeDistributed(self.L.Dense(4, activation="softmax"))(x)

    def head_pooled(self, x):
        x = self.L.GRU(self.units(), return_sequences=True)(x)
        return self.L.Dense(2)(self.pick(self.L.GlobalAveragePooling1D(), self.L.GlobalMaxPooling1D())(x))

    def head_state(self, x):
        y, h = self.L.GRU(self.units(), return_sequences=True, return_state=True)(x)
        return [y, h]

    def head_several(self, x):
        x = self.L.GRU(self.units(), return_sequences=True)(x)
        return [self.L.Dense(2, activation="softmax")(x), self.L.Dense(3)(self.L.GRU(3)(x))]

    def head_decoder(self, x):
        h = self.L.GRU(self.units())(x)
        return self.L.TimeDistributed(self.L.Dense(2))(self.L.GRU(3, return_sequences=True)(self.L.RepeatVector(4)(h)))

    def head_seq2seq(self, x):
        n = self.units()
        _, h = self.L.GRU(n, return_state=True)(x)
        y = self.L.Embedding(IDS, 3)(self.input(None, dtype="int32")) if self.rng.integers(2) else self.input(None, 3)
        y, _ = self.L.GRU(n, return_sequences=True, return_state=True)(y, initial_state=h)
        return self.L.Dense(5, activation="softmax")(y)

    def head_attended(self, x):
        y = self.L.GRU(self.units(), return_sequences=True)(x)
        w = self.L.Softmax(axis=1)(self.L.Dense(1)(y))
        return self.L.Dot(axes=1)([w, y])

    def head_backwards(self, x):
        return self.L.GRU(self.units(), go_backwards=True, return_sequences=bool(self.rng.integers(2)))(x)


def feed(model, seed, batch, time):
    rng = np.random.default_rng(seed)
    found = {}
    for tensor in model.inputs:
        shape = [size or time for size in tensor.shape[1:]]
        name = tensor.name.partition(":")[0]
        if "int" in str(getattr(tensor.dtype, "name", tensor.dtype)):
            value = rng.integers(1, IDS, (batch, *shape)).astype(np.int32)
            value[0, -2:] = 0
        else:
            value = rng.normal(size=(batch, *shape)).astype(np.float32)
            if value.ndim == 3:
                value[-1, -1:] = 0
        found[name] = value
    return found


def cases(seed: int, count: int) -> Iterator[Case | NotExported]:
    """Networks `seed`, `seed` + 1, …, by Keras 3."""
    import keras

    def write(keras_model, path, rng):
        opset = rng.integers(9) + 10
        keras_model.export(
            path, format="onnx", verbose=False, **({"opset_version": int(opset)} if rng.integers(2) else {})
        )

    for number in range(seed, seed + count):
        yield made(keras, number, write, "keras")


def made(keras, number, write, source) -> Case | NotExported:
    rng = np.random.default_rng(number)
    keras.backend.clear_session()
    keras.utils.set_random_seed(number)
    while True:
        maker = Maker(keras, rng)
        try:
            model = maker.model()
        except (ValueError, TypeError):  # pieces that do not fit
            continue
        break
    arrays = []
    for weight in model.weights:
        is_variance = "variance" in getattr(weight, "path", weight.name)
        arrays.append(rng.uniform(0.5, 1.5, weight.shape) if is_variance else rng.normal(size=weight.shape) * 0.4)
    model.set_weights(arrays)
    name = f"{source} {number} steps {maker.steps}: {' '.join(maker.said)}"
    feeds = [feed(model, number, batch, time) for batch, time in ((2, 7), (1, 12), (3, 9))]
    answers = []
    for one in feeds:
        try:
            y = model(list(one.values()) if len(one) > 1 else next(iter(one.values())))
        except Exception as error:  # a mask that a layer of Keras does not take
            return NotExported(name, f"{type(error).__name__}: not run by its own framework")
        answers.append([np.asarray(part) for part in (y if isinstance(y, (list, tuple)) else [y])])
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        path = Path(folder) / "net.onnx"
        try:
            write(model, path, rng)
        except Exception as error:
            return NotExported(name, f"{type(error).__name__}: {str(error)[:150]}")
        proto = onnx.load(path)
    given = {entry.name for entry in proto.graph.input}
    if given != set(feeds[0]):
        names = [entry.name for entry in proto.graph.input]
        feeds = [dict(zip(names, one.values(), strict=True)) for one in feeds]
    return Case(name, proto, feeds, answers)
