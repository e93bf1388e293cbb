"""Write tests/data/old_keras: small networks as Keras 1 and the first Kerases 2 saved them, with inputs and outputs.

Needs Python 3.8, ``numpy<1.20 scipy<1.6 h5py<3 theano==1.0.5 pyyaml six`` and one of ``keras==1.2.2``,
``keras==2.0.9`` and ``keras==2.2.4 keras_applications==1.0.6 keras_preprocessing==1.0.5``, each in an environment of
its own, and a C compiler and a BLAS that Theano can link (``blas.ldflags``); run it in each::

    KERAS_BACKEND=theano THEANO_FLAGS=floatX=float32 python tools/make_old_keras_files.py
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import h5py
import keras
import numpy as np
import theano.ifelse  # noqa: F401  Keras takes for granted that somebody has
from keras import backend
from keras import layers as L
from keras.models import Model, Sequential

FOLDER = Path(__file__).resolve().parent.parent / "tests" / "data" / "old_keras"
GENERATION = int(keras.__version__[0])


# ---- Keras 1 ---------------------------------------------------------------------------------------------------------


def tagging1():
    """Masked tokens, both directions, all that training adds."""
    return Sequential([
        L.Embedding(9, 4, mask_zero=True, input_length=6, dropout=0.1),
        L.GRU(5, return_sequences=True, dropout_W=0.1, dropout_U=0.1, W_regularizer="l2"),
        L.SpatialDropout1D(0.2),
        L.Bidirectional(L.GRU(3, return_sequences=True, consume_less="mem")),
        L.GaussianNoise(0.1),
        L.TimeDistributed(L.Dense(4, activation="softmax", bias=False)),
    ])  # fmt: skip


def signal1():
    """Convolutions and pooling; arrays of gates joined; a layer that works backwards."""
    return Sequential([
        L.Convolution1D(4, 3, border_mode="same", activation="relu", input_shape=(13, 3)),
        L.BatchNormalization(epsilon=1e-2),
        L.MaxPooling1D(2),
        L.ZeroPadding1D((1, 2)),
        L.AtrousConvolution1D(3, 2, atrous_rate=2),
        L.AveragePooling1D(3, stride=1, border_mode="same"),
        L.UpSampling1D(2),
        L.Convolution1D(5, 4, subsample_length=2, bias=False),
        L.Cropping1D((1, 0)),
        L.GRU(5, consume_less="gpu", inner_activation="sigmoid", go_backwards=True, return_sequences=True),
        L.TimeDistributedDense(3, activation="tanh"),
        L.Flatten(),
        L.Dropout(0.5),
        L.Dense(4, activation="softplus"),
        L.LeakyReLU(0.2),
    ])  # fmt: skip


def masking1():
    """Masked steps at both ends and in the middle, and a merge of two walks."""
    return Sequential([
        L.Masking(-1.0, input_shape=(None, 3)),
        L.Bidirectional(L.GRU(4, return_sequences=True), merge_mode="ave"),
        L.Activation("relu"),
        L.GRU(3),
        L.RepeatVector(2),
        L.Bidirectional(L.GRU(2), merge_mode="mul"),
    ])  # fmt: skip


def branches1():
    """Every merge, a shared layer, a network inside the network, several inputs and outputs."""
    tokens, steps = L.Input((5,), dtype="int32", name="tokens"), L.Input((5, 4), name="steps")
    shared = L.GRU(4, return_sequences=True, name="shared")
    inner = Sequential([L.TimeDistributed(L.Dense(4, input_shape=(4,)), input_shape=(5, 4)), L.BatchNormalization()])
    a, b = shared(L.Embedding(7, 4)(tokens)), shared(steps)
    c = inner(b)
    pairs = [L.merge([a, b], mode=mode) for mode in ("sum", "mul", "ave", "max")]
    joined = L.merge([*pairs, c], mode="concat", concat_axis=-1)
    longer = L.merge([a, L.Permute((2, 1))(L.Reshape((4, 5))(c))], mode="concat", concat_axis=1)
    scores = L.merge([a, c], mode="dot", dot_axes=(2, 2))
    outputs = [L.GRU(3)(joined), L.GlobalMaxPooling1D()(longer), L.Dense(2)(L.Flatten()(scores))]
    return Model([tokens, steps], outputs)


def joined1():
    """A Sequential network with two inputs: it begins with a Merge of others."""
    words = Sequential([L.Embedding(7, 3, input_length=4), L.GRU(4)])
    numbers = Sequential([L.Dense(4, input_dim=3, activation="elu")])
    return Sequential([L.Merge([words, numbers], mode="concat"), L.Dense(3), L.ELU(0.5)])


# ---- Keras 2 ---------------------------------------------------------------------------------------------------------


def tagging2():
    """Masked tokens, both directions."""
    return Sequential([
        L.Embedding(9, 4, mask_zero=True, input_length=6),
        L.GRU(5, return_sequences=True, dropout=0.1, recurrent_dropout=0.1, implementation=2),
        L.SpatialDropout1D(0.2),
        L.Bidirectional(L.GRU(3, return_sequences=True), merge_mode="sum"),
        L.TimeDistributed(L.Dense(4, activation="softmax")),
    ])  # fmt: skip


def signal2():
    """Convolutions, whose kernels Theano turns around."""
    return Sequential([
        L.Conv1D(4, 3, padding="causal", dilation_rate=2, activation="relu", input_shape=(13, 3)),
        L.BatchNormalization(),
        L.MaxPooling1D(2),
        L.Conv1D(5, 2, strides=2),
        L.GRU(5, go_backwards=True, return_sequences=True, unroll=True),
        L.TimeDistributed(L.Dense(3, activation="elu")),
        L.Flatten(),
        L.Dense(4),
    ])  # fmt: skip


def branches2():
    """A state that goes from one GRU to another, a shared layer, a network inside the network."""
    tokens, steps = L.Input((None,), dtype="int32", name="tokens"), L.Input((None, 4), name="steps")
    encoded, state = L.GRU(4, return_state=True, return_sequences=True)(L.Embedding(7, 4)(tokens))
    inner = Sequential([L.TimeDistributed(L.Dense(4), input_shape=(None, 4)), L.BatchNormalization()])
    shared = L.GRU(4, return_sequences=True, name="shared")
    a, b = shared(inner(steps), initial_state=state), shared(encoded)
    return Model([tokens, steps], [L.GRU(3)(L.concatenate([a, L.add([a, b])])), L.average([a, b])])


def cudnn():
    """The GRU that fits cuDNN; `write` makes CuDNNGRU layers of them, which none but a GPU can run."""
    return Sequential([
        L.Bidirectional(L.GRU(4, **CUDNN, return_sequences=True), input_shape=(None, 3)),
        L.GRU(5, **CUDNN),
        L.Dense(2),
    ])  # fmt: skip


CUDNN = {"reset_after": True, "recurrent_activation": "sigmoid"}
#: keys of a GRU's configuration that a CuDNNGRU has not
NOT_CUDNN = (
    "activation", "recurrent_activation", "use_bias", "dropout", "recurrent_dropout", "implementation", "reset_after",
    "unroll",
)  # fmt: skip


def make_cudnn(path):
    """Have a file's GRU layers be CuDNNGRU layers, their arrays converted by Keras itself."""
    from keras.engine import saving

    target = type("CuDNNGRU", (), {})()
    with h5py.File(path, "r+") as file:
        document = json.loads(file.attrs["model_config"])
        for layer in _grus(document):
            layer["class_name"] = "CuDNNGRU"
            layer["config"] = {key: value for key, value in layer["config"].items() if key not in NOT_CUDNN}
        file.attrs["model_config"] = json.dumps(document).encode()
        for group in file["model_weights"].values():
            names = [name.decode() for name in group.attrs["weight_names"]]
            for at in range(0, len(names) - len(names) % 3, 3):
                arrays = saving._convert_rnn_weights(target, [group[name][()] for name in names[at : at + 3]])
                for name, array in zip(names[at : at + 3], arrays):  # noqa: B905  no strict in Python 3.8
                    del group[name]
                    group[name] = array


def _grus(node):
    if isinstance(node, dict):
        if node.get("class_name") == "GRU":
            yield node
        for value in node.values():
            yield from _grus(value)
    elif isinstance(node, list):
        for value in node:
            yield from _grus(value)


# ---- writing ---------------------------------------------------------------------------------------------------------


def networks():
    if GENERATION == 1:
        return [tagging1, signal1, masking1, branches1, joined1]
    return [tagging2, signal2, branches2, *([cudnn] if keras.__version__ >= "2.1.5" else [])]


def inputs(name, rng):
    """Three rows for each input of a network."""
    steps = rng.normal(size=(3, 6, 3))
    steps[0, :2], steps[0, 4], steps[1, 2], steps[2] = -1, -1, -1, -1
    tokens = rng.randint(1, 9, (3, 6))
    tokens[0, 4:], tokens[1, [0, 3]], tokens[2] = 0, 0, 0
    return {
        "tagging": [tokens],
        "signal": [rng.normal(size=(3, 13, 3))],
        "masking": [steps],
        "branches": [rng.randint(0, 7, (3, 5)), rng.normal(size=(3, 5, 4))],
        "joined": [rng.randint(0, 7, (3, 4)), rng.normal(size=(3, 3))],
        "cudnn": [rng.normal(size=(3, 6, 3))],
    }[name]


def weights(network, rng):
    """Random ones; variances, the last of four arrays of one length, should be positive."""
    for layer in network.layers:
        arrays = [rng.normal(scale=0.6, size=array.shape) for array in layer.get_weights()]
        if arrays and len(arrays) % 2 == 0 and re.search("batch|sequential", layer.name):
            arrays[-1] = rng.uniform(0.5, 2, arrays[-1].shape)
        layer.set_weights(arrays)


def write(make, rng, pairs):
    backend.clear_session() if hasattr(backend, "clear_session") else None
    name = re.sub(r"\d", "", make.__name__)
    network = make()
    for layer in getattr(network, "flattened_layers", None) or network.layers:
        weights(layer if hasattr(layer, "layers") else type("One", (), {"layers": [layer]}), rng)
    x = [array.astype(np.float32) for array in inputs(name, rng)]
    y = network.predict(x if len(x) > 1 else x[0])
    path = FOLDER / f"{name}-{keras.__version__}.h5"
    network.save(str(path))
    if name == "cudnn":
        make_cudnn(path)
    if name == "tagging":
        network.save_weights(str(path.with_suffix(".weights.h5")))
        path.with_suffix(".json").write_text(network.to_json())
    for key, arrays in (("x", x), ("y", y if isinstance(y, list) else [y])):
        pairs.update({f"{name}_{key}{index}": array for index, array in enumerate(arrays)})


def main():
    FOLDER.mkdir(parents=True, exist_ok=True)
    rng, pairs = np.random.RandomState(1), {}
    for make in networks():
        write(make, rng, pairs)
    np.savez_compressed(str(FOLDER / f"pairs-{keras.__version__}.npz"), **pairs)


if __name__ == "__main__":
    main()
