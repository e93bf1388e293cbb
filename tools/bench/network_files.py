"""Builds and exports the networks of networks.py; a process of Keras, started once for each of Keras' backends.

    KERAS_BACKEND=tensorflow python tools/bench/network_files.py FOLDER 1,64 review,tagging
    KERAS_BACKEND=openvino python tools/bench/network_files.py FOLDER 1,64 review,tagging

TensorFlow's comes first: it saves NAME.keras, and for each batch NAME-BATCH.x.npy, NAME-BATCH.y.npy (Keras' own answer)
and the exported files, with the batch as a fixed dimension. Where an export fails, FILE.failed says why.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import keras
import numpy as np

L = keras.layers
TOKENS = 10000
SEED = 7
#: name → (layers, shape of one row's input, dtype)
NETWORKS: dict[str, tuple[Callable[[], list[Any]], tuple[int, ...], str]] = {
    "review": (
        lambda: [L.Embedding(TOKENS, 128), L.GRU(128, dropout=0.2, recurrent_dropout=0.2), L.Dense(1, "sigmoid")],
        (200,),
        "int32",
    ),
    "tagging": (
        lambda: [
            L.Embedding(TOKENS, 256, mask_zero=True),
            L.GRU(64, return_sequences=True),
            L.Dropout(0.5),
            L.GRU(64, return_sequences=True),
            L.Dropout(0.5),
            L.TimeDistributed(L.Dense(10, "softmax")),
        ],
        (100,),
        "int32",
    ),
    "digits": (
        lambda: [
            L.GRU(100, return_sequences=True, reset_after=False),
            L.GRU(100, reset_after=False),
            L.Dense(10),
        ],
        (28, 28),
        "float32",
    ),
    "series": (
        lambda: [L.GRU(64, return_sequences=True), L.GRU(32), L.Dense(1)],
        (60, 8),
        "float32",
    ),
    "characters": (
        lambda: [L.GRU(256, return_sequences=True), L.Dense(65, "softmax")],
        (1, 65),
        "float32",
    ),
}


def export_onnx(network: keras.Model, file: Path, signature: list[Any]) -> None:
    network.export(file, format="onnx", input_signature=signature, verbose=False)


def export_openvino(network: keras.Model, file: Path, signature: list[Any]) -> None:
    network.export(str(file), format="openvino", input_signature=signature, verbose=False)


def onnx_to_openvino(network: keras.Model, file: Path, signature: list[Any]) -> None:
    """By OpenVINO's converter, from the file that `export_onnx` wrote."""
    import openvino

    source = str(file).replace(".onnx.xml", ".onnx")
    openvino.save_model(openvino.convert_model(source), file, compress_to_fp16=False)


def export_litert(network: keras.Model, file: Path, signature: list[Any]) -> None:
    """With LiteRT's own operators only: the interpreter of ai-edge-litert has none of TensorFlow's."""
    import tensorflow as tf

    operators = {"supported_ops": [tf.lite.OpsSet.TFLITE_BUILTINS]}
    network.export(str(file), format="litert", input_signature=signature, verbose=False, target_spec=operators)


Export = Callable[[keras.Model, Path, list[Any]], None]
#: backend of Keras → the end of a file's name → what writes the file
EXPORTS: dict[str, dict[str, Export]] = {
    "tensorflow": {
        "onnx": export_onnx,
        "tflite": export_litert,
        "tensorflow.xml": export_openvino,
        "onnx.xml": onnx_to_openvino,
    },
    "openvino": {"openvino.xml": export_openvino},
}


def network_of(name: str, folder: Path) -> keras.Model:
    """The network: made and saved by the first backend, read by the second."""
    file = folder / f"{name}.keras"
    if not file.exists():
        layers, shape, dtype = NETWORKS[name]
        keras.utils.set_random_seed(SEED)
        keras.Sequential([keras.Input(shape, dtype=dtype), *layers()]).save(file)
    return keras.saving.load_model(file)


def write_example(network: keras.Model, name: str, batch: int, folder: Path) -> None:
    """Random input, and Keras' answer to it."""
    _, shape, dtype = NETWORKS[name]
    rng = np.random.default_rng(SEED)
    # 0 is left out: exporters treat it in their own ways where it is masked
    x = rng.integers(1, TOKENS, (batch, *shape)) if dtype == "int32" else rng.standard_normal((batch, *shape))
    np.save(folder / f"{name}-{batch}.x.npy", x.astype(dtype))
    np.save(folder / f"{name}-{batch}.y.npy", np.asarray(network(x.astype(dtype), training=False)))


def reason(error: Exception) -> str:
    """In one line: kind and first line, or OpenVINO's details, which begin with two hyphens, without its source's
    places and its advice."""
    details = re.search(r"^-- (.*?)(?:\n\n|\Z)", str(error), re.MULTILINE | re.DOTALL)
    text = details[1] if details else (str(error).splitlines() or [""])[0]
    text = re.sub(r" To facilitate the .*| failed at \S+\.cpp:\d+:.*", "", " ".join(text.split()))
    return f"{type(error).__name__}: {text}"


def main(folder: Path, batches: list[int], names: list[str]) -> None:
    backend = keras.backend.backend()
    for name in names:
        network = network_of(name, folder)
        _, shape, dtype = NETWORKS[name]
        for batch in batches:
            if backend == "tensorflow":
                write_example(network, name, batch, folder)
            signature = [keras.InputSpec(shape=(batch, *shape), dtype=dtype, name="x")]
            for ending, export in EXPORTS[backend].items():
                file = folder / f"{name}-{batch}.{ending}"
                try:
                    export(network, file, signature)
                except Exception as error:
                    Path(f"{file}.failed").write_text(f"does not convert: {reason(error)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), [int(batch) for batch in sys.argv[2].split(",")], sys.argv[3].split(","))
