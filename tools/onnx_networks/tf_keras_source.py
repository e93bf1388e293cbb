"""Random tf_keras networks as tf2onnx writes them, with GRU nodes of its own where it recognises them."""

from __future__ import annotations

import os
from collections.abc import Iterator

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

from . import Case, NotExported
from .keras_source import made


def cases(seed: int, count: int) -> Iterator[Case | NotExported]:
    """Networks `seed`, `seed` + 1, …"""
    import tensorflow as tf
    import tf2onnx
    import tf_keras

    def write(model, path, rng):
        signature = [tf.TensorSpec(tensor.shape, tensor.dtype, name=tensor.name) for tensor in model.inputs]
        tf2onnx.convert.from_keras(
            model, input_signature=signature, opset=int(rng.integers(9, 19)), output_path=str(path)
        )

    for number in range(seed, seed + count):
        yield made(tf_keras, number, write, "tf_keras")
