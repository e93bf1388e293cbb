"""Make tests/data/golden: networks of the tutorials with what Keras answers, in float32 and in float64.

Run it where tensorflow, keras 3 and tf_keras (Keras 2) are installed:

    python tools/make_golden.py [folder]

Every network has Keras' default initialisers and biases drawn from U(-0.1, 0.1), and is saved the way its tutorial's
reader would have saved it: both generations of Keras, every kind of file. `networks.json` lists them; <name>.npz holds
the inputs `x`, Keras' answers `float32`, and `float64`: the same weights in a float64 model, rounded to float32 at the
end. `masks.npz` and `activations.npz` hold single GRU layers under masks and single functions, in float64: they pin
down the meaning of the oracle. The same versions make the same bytes.
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import os
import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"

import h5py
import keras
import numpy as np
import tf_keras

ROWS = 67
TAGS, VOCABULARY, CHARACTERS, COMMANDS = 10, 150, 40, 12

# ---- the networks --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Network:
    """A tutorial's network: who builds it, from which layers, what it is fed, and the files that it is saved to."""

    name: str
    maker: ModuleType
    files: tuple[str, ...]  # the model file; behind it the config, where the file has none
    layers: Callable[[Any], list[Any]]
    inputs: Callable[[np.random.Generator], np.ndarray]


def tokens(steps: int) -> Callable[[np.random.Generator], np.ndarray]:
    return lambda rng: rng.integers(1, VOCABULARY, (ROWS, steps)).astype(np.int32)


def padded_tokens(steps: int) -> Callable[[np.random.Generator], np.ndarray]:
    """Rows in turn: right padding, left padding, holes, whole; and the last one nothing but padding."""

    def draw(rng: np.random.Generator) -> np.ndarray:
        ids = tokens(steps)(rng)
        for row in range(ROWS):
            cut = rng.integers(1, steps)
            if row % 4 == 0:
                ids[row, cut:] = 0
            elif row % 4 == 1:
                ids[row, :cut] = 0
            elif row % 4 == 2:
                ids[row, rng.random(steps) < 0.3] = 0
        ids[-1] = 0
        return ids

    return draw


def floats(steps: int, features: int) -> Callable[[np.random.Generator], np.ndarray]:
    """Multiples of 1/64 in [-2, 2): any value does, and these compress well."""
    return lambda rng: (rng.integers(-128, 128, (ROWS, steps, features)) / 64).astype(np.float32)


def characters(steps: int) -> Callable[[np.random.Generator], np.ndarray]:
    return lambda rng: np.eye(CHARACTERS, dtype=np.float32)[rng.integers(0, CHARACTERS, (ROWS, steps))]


NETWORKS = (
    Network("review", keras, ("review.h5",), lambda L: [
        L.Embedding(VOCABULARY, 128), L.GRU(128, dropout=0.2, recurrent_dropout=0.2), L.Dense(1, activation="sigmoid"),
    ], tokens(200)),
    Network("tagging", keras, ("tagging.keras",), lambda L: [
        L.Embedding(VOCABULARY, 256, mask_zero=True), L.GRU(64, return_sequences=True), L.Dropout(0.2),
        L.GRU(64, return_sequences=True), L.Dropout(0.2), L.TimeDistributed(L.Dense(TAGS, activation="softmax")),
    ], padded_tokens(100)),
    Network("digits", tf_keras, ("digits.h5",), lambda L: [
        L.GRU(100, reset_after=False, return_sequences=True), L.GRU(100, reset_after=False), L.Dense(10),
    ], floats(28, 28)),
    # as Keras before 2.3 did by default, where hard_sigmoid is clip(0.2 x + 0.5, 0, 1)
    Network("digits_hard_sigmoid", tf_keras, ("digits_hard_sigmoid.h5",), lambda L: [
        L.GRU(20, reset_after=False, recurrent_activation="hard_sigmoid", return_sequences=True),
        L.GRU(20, reset_after=False, recurrent_activation="hard_sigmoid"), L.Dense(10),
    ], floats(28, 28)),
    Network("regression", tf_keras, ("regression.keras",), lambda L: [
        L.GRU(64, return_sequences=True), L.GRU(32), L.Dense(1),
    ], floats(60, 8)),
    Network("relu", tf_keras, ("relu.hdf5", "relu.json"), lambda L: [
        L.GRU(50, activation="relu"), L.Dense(5),
    ], floats(20, 4)),
    Network("characters", keras, ("characters.weights.h5", "characters.json"), lambda L: [
        L.GRU(256, return_sequences=True), L.Dense(CHARACTERS, activation="softmax"),
    ], characters(8)),
    Network("sentiment", keras, ("sentiment.keras",), lambda L: [
        L.GRU(128), L.Dense(1, activation="sigmoid"),
    ], floats(30, 32)),
    Network("stock", tf_keras, ("stock.h5",), lambda L: [
        L.GRU(64), L.Dense(1),
    ], floats(60, 1)),
    Network("commands", keras, ("commands.h5",), lambda L: [
        L.GRU(128), L.Dense(COMMANDS, activation="softmax"),
    ], floats(40, 20)),
)  # fmt: skip


def build(network: Network, x: np.ndarray, dtype: str) -> Any:
    maker = network.maker
    maker.backend.set_floatx(dtype)
    if maker is keras:
        keras.config.set_dtype_policy(dtype)
    kind = "int32" if x.dtype == np.int32 else dtype
    maker.utils.set_random_seed(1)
    return maker.Sequential([maker.Input(x.shape[1:], dtype=kind), *network.layers(maker.layers)], name=network.name)


def draw_biases(model: Any, rng: np.random.Generator) -> None:
    """Keras starts biases at zero, where a mistake in them would not show."""
    for variable in model.weights:
        if "bias" in getattr(variable, "path", variable.name):
            variable.assign(rng.uniform(-0.1, 0.1, variable.shape))


def make_network(network: Network, seed: int, folder: Path) -> None:
    rng = np.random.default_rng(seed)
    x = network.inputs(rng)
    model = build(network, x, "float32")
    draw_biases(model, rng)
    judge = build(network, x, "float64")
    judge.set_weights(model.get_weights())
    answers = {
        "float32": model.predict(x, batch_size=ROWS, verbose=0),
        "float64": judge.predict(x, batch_size=ROWS, verbose=0).astype(np.float32),
    }
    save_model(model, folder / network.files[0])
    for config in network.files[1:]:
        (folder / config).write_text(json.dumps(json.loads(model.to_json()), indent=1) + "\n")
    save_arrays(folder / f"{network.name}.npz", x=x.astype(np.int16) if x.dtype == np.int32 else x, **answers)


# ---- single layers -------------------------------------------------------------------------------------------------

MASKS = np.array(
    [[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [0, 0, 1, 1, 1], [1, 0, 1, 0, 1], [0, 1, 0, 1, 0], [0, 0, 0, 0, 0]], bool
)
MASK_OPTIONS = ("reset_after", "return_sequences", "go_backwards", "zero_output_for_mask", "initial_state")


def make_masks(folder: Path) -> None:
    """A GRU layer with every combination of options that a mask has to do with; arrays are named case/…"""
    keras.config.set_dtype_policy("float64")
    rng = np.random.default_rng(100)
    x, h0 = rng.normal(size=(*MASKS.shape, 3)), rng.normal(size=(len(MASKS), 4))
    arrays = {"x": x.astype(np.float32), "h0": h0.astype(np.float32), "mask": MASKS}
    for values in itertools.product([False, True], repeat=len(MASK_OPTIONS)):
        options = dict(zip(MASK_OPTIONS, values, strict=True))
        case = "".join("01"[value] for value in values)
        start = [arrays["h0"]] if options.pop("initial_state") else None
        layer = keras.layers.GRU(4, return_state=True, **options)
        layer.build(x.shape)
        layer.set_weights([rng.uniform(-1, 1, w.shape).astype(np.float32) for w in layer.weights])
        weights = [np.asarray(w, np.float32) for w in layer.get_weights()]
        output, state = layer(arrays["x"], mask=MASKS, initial_state=start)
        arrays |= {f"{case}/{key}": w for key, w in zip(("kernel", "recurrent_kernel", "bias"), weights, strict=True)}
        arrays |= {f"{case}/output": np.asarray(output), f"{case}/state": np.asarray(state)}
    save_arrays(folder / "masks.npz", **arrays)


a = keras.activations
#: Keras' function for every activation of graph.py; the parameters behind the name
FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "linear": a.linear,
    "relu": a.relu,
    "relu max_value=6": a.relu6,
    "relu negative_slope=0.2": a.leaky_relu,
    "relu max_value=1.5 negative_slope=0.1 threshold=0.5": lambda x: a.relu(x, 0.1, 1.5, 0.5),
    "sigmoid": a.sigmoid,
    "tanh": a.tanh,
    "hard_sigmoid": a.hard_sigmoid,
    "hard_sigmoid slope=0.2": tf_keras.activations.hard_sigmoid,
    "hard_silu": a.hard_silu,
    "hard_tanh": a.hard_tanh,
    "softplus": a.softplus,
    "softsign": a.softsign,
    "elu": a.elu,
    "elu alpha=0.5": lambda x: a.elu(x, 0.5),
    "selu": a.selu,
    "celu alpha=0.5": lambda x: a.celu(x, 0.5),
    "gelu": a.gelu,
    "gelu_tanh": lambda x: a.gelu(x, approximate=True),
    "silu": a.silu,
    "mish": a.mish,
    "exponential": a.exponential,
    "log_sigmoid": a.log_sigmoid,
    "squareplus": a.squareplus,
    "squareplus b=2": lambda x: a.squareplus(x, 2),
    "soft_shrink": a.soft_shrink,
    "soft_shrink threshold=1": lambda x: a.soft_shrink(x, 1.0),
    "hard_shrink": a.hard_shrink,
    "tanh_shrink": a.tanh_shrink,
    "sparse_plus": a.sparse_plus,
    "sparse_sigmoid": a.sparse_sigmoid,
    "threshold threshold=0.5 value=-2": lambda x: a.threshold(x, 0.5, -2.0),
    "abs": keras.ops.abs,
    "negative": keras.ops.negative,
    "square": keras.ops.square,
    "sqrt": keras.ops.sqrt,
    "rsqrt": keras.ops.rsqrt,
    "reciprocal": keras.ops.reciprocal,
    "expm1": keras.ops.expm1,
    "log": keras.ops.log,
    "log1p": keras.ops.log1p,
    "clip low=-1.5 high=0.75": lambda x: keras.ops.clip(x, -1.5, 0.75),
    "affine alpha=-0.5 beta=2": lambda x: -0.5 * x + 2,
    "scaled_tanh alpha=1.75 beta=0.625": lambda x: 1.75 * keras.ops.tanh(0.625 * x),
    "erf": keras.ops.erf,
    "sign": keras.ops.sign,
    "floor": keras.ops.floor,
    "ceil": keras.ops.ceil,
    "round": keras.ops.round,
    "softmax": a.softmax,
    "log_softmax": a.log_softmax,
    "sparsemax": a.sparsemax,
    "glu": a.glu,
}


def make_activations(folder: Path) -> None:
    """Rows of 10 from -30 to 30, with the corners of the piecewise functions among them."""
    corners = [-6.0, -3.0, -2.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.5, 3.0, 6.0]
    ramp = np.concatenate([np.linspace(-30, 30, 61), np.random.default_rng(101).normal(size=47)])
    x = np.concatenate([corners, ramp]).reshape(-1, 10)
    keras.backend.set_floatx("float64")
    tf_keras.backend.set_floatx("float64")
    tensor = keras.ops.convert_to_tensor(x)
    save_arrays(folder / "activations.npz", x=x, **{name: np.asarray(f(tensor)) for name, f in FUNCTIONS.items()})


# ---- files ---------------------------------------------------------------------------------------------------------


SHARED_ID = re.compile(rb'(?<="shared_object_id": )\d+')


def save_model(model: Any, path: Path) -> None:
    whole = path.suffix == ".keras" or (path.suffix == ".h5" and ".weights" not in path.suffixes)
    (model.save if whole else model.save_weights)(str(path))
    if path.suffix == ".keras":
        forget_accidents(path)


def forget_accidents(path: Path) -> None:
    """Rewrite a .keras file without the date at which it was saved and the addresses of its maker's objects."""
    draft = io.BytesIO()
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(draft, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            data = old.read(name)
            if name == "metadata.json":
                data = json.dumps(json.loads(data) | {"date_saved": "2026-01-01@00:00:00"}).encode()
            if name == "config.json":
                data = renumber(data)
            new.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
    path.write_bytes(draft.getvalue())


def renumber(config: bytes) -> bytes:
    """Count shared objects 0, 1, … in order of appearance."""
    numbers = {found: number for number, found in enumerate(dict.fromkeys(SHARED_ID.findall(config)))}
    return SHARED_ID.sub(lambda match: b"%d" % numbers[match[0]], config)


def save_arrays(path: Path, **arrays: np.ndarray) -> None:
    """An .npz whose bytes depend on the arrays alone (numpy's own carries the time)."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            data = io.BytesIO()
            np.save(data, np.ascontiguousarray(array))
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), data.getvalue(), zipfile.ZIP_DEFLATED, 9)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Path(__file__).resolve().parent.parent / "tests" / "data" / "golden"
    parser.add_argument("folder", type=Path, nargs="?", default=default)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    for seed, network in enumerate(NETWORKS):
        make_network(network, seed, folder)
    make_masks(folder)
    make_activations(folder)
    index = [
        {"name": n.name, "files": list(n.files), "saved by": f"{n.maker.__name__} {n.maker.__version__}"}
        for n in NETWORKS
    ]
    (folder / "networks.json").write_text(json.dumps(index, indent=1) + "\n")
    for path in sorted(folder.iterdir()):
        print(f"{path.stat().st_size:9,}  {path.name}")
    print(f"{sum(path.stat().st_size for path in folder.iterdir()):9,}  in all (h5py {h5py.__version__})")


if __name__ == "__main__":
    main()
