"""How each runtime runs a whole network, from the files of network_files.py; also the process that one runs in.

Numbers go in and come out as NumPy arrays. Where a runtime can be called in several ways, the worker keeps the fastest.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fastgru.bench import worker
from fastgru.bench.cases import Array
from fastgru.bench.peers import Peer, Route, Skipped, check_precision, in_every_dtype


@dataclass(frozen=True)
class NetworkCase:
    """One network and batch: `network` is Keras' file, and what belongs to the batch begins with `stem`."""

    network: str
    stem: str
    calls = 1

    @classmethod
    def from_dict(cls, values: dict[str, str]) -> NetworkCase:
        return cls(**values)

    @property
    def x(self) -> Array:
        return np.load(f"{self.stem}.x.npy")  # type: ignore[no-any-return]

    def exported(self, ending: str) -> str:
        """The path of an exported file; raises Skipped where the export failed."""
        failed = Path(f"{self.stem}.{ending}.failed")
        if failed.exists():
            raise Skipped(failed.read_text())
        return f"{self.stem}.{ending}"


def same(y: Array) -> Array:
    return y


class FastGRU(Peer):
    """fastgru: a call of the Model, and where the network is one step `Stream.step`; with and without `out=`."""

    package = "numpy"  # fastgru may run from a source tree, without a distribution

    def setup(self) -> None:
        import fastgru

        self.runtime = fastgru
        self.version = f"{fastgru.__version__} {fastgru.cpu_info()['isa']}"

    def file_of(self, case: NetworkCase) -> str:
        return case.network

    def routes(self, case: NetworkCase) -> list[Route]:  # type: ignore[override]
        model, x = self._model(case), case.x
        y = np.empty_like(model(x))
        routes = [
            Route("model(x)", lambda: model(x), same),
            Route("model(x, out=y)", lambda: model(x, out=y), same),
        ]
        if model.outputs[0].is_sequence and x.shape[1] == 1:
            stream, step_x, step_y = model.stream(len(x), threads=self.threads), x[:, 0].copy(), y[:, 0].copy()
            routes += [
                Route("step(x)", lambda: stream.step(step_x), lambda y: y[:, None], stream.reset),
                Route("step(x, out=y)", lambda: stream.step(step_x, out=step_y), lambda y: y[:, None], stream.reset),
            ]
        return routes

    def _model(self, case: NetworkCase) -> Any:
        return self.runtime.load(self.file_of(case), dtype=self.dtype, threads=self.threads)


class FastGRUFromOnnx(FastGRU):
    """fastgru with Keras' ONNX file, whose Loops it raises."""

    def file_of(self, case: NetworkCase) -> str:
        return case.exported("onnx")


class TensorFlow(Peer):
    """Keras on TensorFlow; its network is read from Keras' file."""

    package = "keras"

    def setup(self) -> None:
        os.environ.update(KERAS_BACKEND="tensorflow", TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="-1")
        import keras
        import tensorflow

        self.keras, self.runtime = keras, tensorflow
        tensorflow.config.threading.set_intra_op_parallelism_threads(self.threads)
        tensorflow.config.threading.set_inter_op_parallelism_threads(1)


class Predict(TensorFlow):
    """`Model.predict`, the whole batch at once."""

    def routes(self, case: NetworkCase) -> list[Route]:  # type: ignore[override]
        network, x = self.keras.saving.load_model(case.network), case.x
        return [Route("predict", lambda: network.predict(x, batch_size=len(x), verbose=0), same)]


class Function(TensorFlow):
    """A `tf.function`: as a graph, and compiled by XLA."""

    def setup(self) -> None:
        super().setup()
        self.version = self.runtime.__version__

    def routes(self, case: NetworkCase) -> list[Route]:  # type: ignore[override]
        network, x = self.keras.saving.load_model(case.network), case.x
        tf = self.runtime

        def route(name: str, **options: Any) -> Route:
            compiled = tf.function(lambda value: network(value, training=False), **options)
            return Route(name, lambda: compiled(tf.constant(x)).numpy(), same)

        return [route("graph"), route("XLA", jit_compile=True)]


class OnnxRuntime(Peer):
    """Keras' ONNX file by `run`, and by I/O binding with preallocated arrays."""

    package = "onnxruntime"

    def setup(self) -> None:
        import onnxruntime

        self.runtime = onnxruntime
        onnxruntime.set_default_logger_severity(3)

    def routes(self, case: NetworkCase) -> list[Route]:  # type: ignore[override]
        options = self.runtime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = self.threads, 1
        session = self.runtime.InferenceSession(case.exported("onnx"), options, providers=["CPUExecutionProvider"])
        (x_name,), (y_name,) = ([one.name for one in ends] for ends in (session.get_inputs(), session.get_outputs()))
        x, value = case.x, self.runtime.OrtValue.ortvalue_from_numpy
        y = np.empty_like(session.run(None, {x_name: x})[0])
        binding, bound_x, bound_y = session.io_binding(), value(x), value(y)
        binding.bind_ortvalue_input(x_name, bound_x)
        binding.bind_ortvalue_output(y_name, bound_y)

        def run_bound() -> Any:
            session.run_with_iobinding(binding)
            return bound_y

        return [
            Route("run", lambda: session.run([y_name], {x_name: x})[0], same),
            Route("I/O binding", run_bound, lambda y: y.numpy(), keep=(x, bound_x, y)),
        ]


class LiteRT(Peer):
    """Keras' LiteRT file in the interpreter with XNNPACK; it has no operators of TensorFlow."""

    package = "ai-edge-litert"

    def setup(self) -> None:
        from ai_edge_litert import interpreter

        self.runtime = interpreter

    def routes(self, case: NetworkCase) -> list[Route]:  # type: ignore[override]
        interpreter, x = self.runtime.Interpreter(case.exported("tflite"), num_threads=self.threads), case.x
        interpreter.allocate_tensors()
        x_index, y_index = (
            ends[0]["index"] for ends in (interpreter.get_input_details(), interpreter.get_output_details())
        )

        def call() -> Array:
            interpreter.set_tensor(x_index, x)
            interpreter.invoke()
            return interpreter.get_tensor(y_index)  # type: ignore[no-any-return]

        return [Route("invoke", call, same)]


class OpenVino(Peer):
    """OpenVINO, held to float32, with the file that Keras on its OpenVINO backend exports."""

    package = "openvino"
    ending = "openvino.xml"
    precision = "f32"

    def setup(self) -> None:
        import openvino

        self.runtime = openvino
        self.core = openvino.Core()

    def routes(self, case: NetworkCase) -> list[Route]:  # type: ignore[override]
        options = {
            "INFERENCE_PRECISION_HINT": self.precision, "INFERENCE_NUM_THREADS": self.threads, "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
        }  # fmt: skip
        compiled = self.core.compile_model(case.exported(self.ending), "CPU", options)
        check_precision(compiled, self.precision)
        request = compiled.create_infer_request()
        x = case.x
        request.set_input_tensor(self.runtime.Tensor(x, shared_memory=True))

        def call() -> Array:
            request.infer()
            return request.get_output_tensor().data  # type: ignore[no-any-return]

        return [Route("infer", call, same, keep=(x,))]


class OpenVinoBf16(OpenVino):
    """OpenVINO with bfloat16 weights and products, from the same file."""

    dtype, precision = "bfloat16", "bf16"


class OpenVinoFromTensorFlow(OpenVino):
    """OpenVINO with the file that Keras on TensorFlow exports."""

    ending = "tensorflow.xml"


class OpenVinoFromOnnx(OpenVino):
    """OpenVINO with Keras' ONNX file."""

    ending = "onnx.xml"


PEERS: dict[str, type[Peer]] = {
    **in_every_dtype(FastGRU),
    "fastgru-from-onnx": FastGRUFromOnnx,
    "predict": Predict,
    "tf.function": Function,
    "onnxruntime": OnnxRuntime,
    "litert": LiteRT,
    "openvino": OpenVino,
    "openvino-bf16": OpenVinoBf16,
    "openvino-from-tensorflow": OpenVinoFromTensorFlow,
    "openvino-from-onnx": OpenVinoFromOnnx,
}


if __name__ == "__main__":
    worker.run(PEERS, NetworkCase)
