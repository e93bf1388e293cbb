"""How each runtime runs a case. A peer may know several routes; the worker keeps the one that is fastest on the row.

Every peer gets its input in the memory layout that it likes best, prepared beforehand, and is held to its dtype, which
is float32 unless its name says another, and to a number of threads. A row of single steps is fed its own state, as in
streaming. Nothing here imports a runtime before its class is made.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np

from .cases import Array, Case, Weights, reference


class Skipped(Exception):
    """Why a peer does not run a row."""


def _nothing() -> None:
    pass


@dataclass(frozen=True)
class Route:
    """One way to run a case: `start` goes back to a zero state, `call` is what is timed, `output` turns what `call`
    gave into the form of `cases.reference`; `keep` holds what the runtime reads without owning it."""

    name: str
    call: Callable[[], Any]
    output: Callable[[Any], Array]
    start: Callable[[], None] = _nothing
    keep: tuple[Any, ...] = ()


class Peer:
    """One runtime, set to a number of threads. Raises ImportError where it is not installed."""

    package: str
    #: what it holds weights in
    dtype = "float32"

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self.version = version(self.package)
        self.setup()

    def setup(self) -> None:
        """Import the runtime and set it up."""

    def routes(self, case: Case) -> list[Route]:
        """The ways to run a case; raises Skipped, with the reason, where there are none."""
        raise NotImplementedError


class NumPy(Peer):
    """The formula in NumPy: a floor, and a check of the benchmark itself."""

    package = "numpy"

    def routes(self, case: Case) -> list[Route]:
        return [Route("formula", lambda: reference(case, np.float32), lambda y: y)]


class FastGRU(Peer):
    """fastgru: `Stream.step` for single steps, else a call of the Model, each with and without `out=`."""

    package = "numpy"  # fastgru may run from a source tree, without a distribution
    matmul = "auto"

    def setup(self) -> None:
        import fastgru

        self.version = f"{fastgru.__version__} {fastgru.cpu_info()['isa']}"

    def routes(self, case: Case) -> list[Route]:
        model, x = self._model(case), case.x
        if case.row.is_step:
            stream, out = model.stream(threads=self.threads), np.empty((1, case.row.units), np.float32)
            x = x[:, 0].copy()
            step = stream.step
            return [
                Route("step(x, out=y)", lambda: step(x, out=out), lambda y: y[:, None], stream.reset),
                Route("step(x)", lambda: step(x), lambda y: y[:, None], stream.reset),
            ]
        y, lengths = np.empty((*x.shape[:2], case.row.directions * case.row.units), np.float32), case.lengths
        return [
            Route("model(x, out=y)", lambda: model(x, lengths=lengths, out=y), lambda y: y),
            Route("model(x)", lambda: model(x, lengths=lengths), lambda y: y),
        ]

    def _model(self, case: Case) -> Any:
        import fastgru
        from fastgru import graph as g

        options: dict[str, Any] = {
            "inputs": ("x",), "units": case.row.units, "reset_after": case.row.reset_after, "return_sequences": True,
            "mask": None if case.lengths is None else "x:mask", "zero_output_for_mask": case.lengths is not None,
        }  # fmt: skip
        layers: list[Any] = [g.GRU(name="gru", **options, **vars(case.directions[0]))]
        if case.row.bidirectional:
            turned = g.GRU(name="back", go_backwards=True, time_order=True, **options, **vars(case.directions[1]))
            layers.append(turned)
            layers.append(g.Concatenate(name="both", inputs=("gru", "back")))
        graph = g.Graph((g.tensor_spec("x", None, (case.row.inputs,)),), tuple(layers), (layers[-1].name,))
        return fastgru.Model(graph, dtype=self.dtype, threads=self.threads, matmul=self.matmul)


class FastGRUBlas(FastGRU):
    """fastgru with ``matmul="blas"``: the large products by OpenBLAS."""

    matmul = "blas"

    def setup(self) -> None:
        from fastgru.engine import open_blas

        open_blas()
        super().setup()

    def routes(self, case: Case) -> list[Route]:
        if case.row.batch == 1:
            raise Skipped("a BLAS is for batches")
        return super().routes(case)


class OnnxRuntime(Peer):
    """ONNX Runtime's own GRU node: `run`, and I/O binding with preallocated arrays."""

    package = "onnxruntime"

    def setup(self) -> None:
        import onnx  # noqa: F401 – builds the model
        import onnxruntime

        self.runtime = onnxruntime
        onnxruntime.set_default_logger_severity(3)

    def routes(self, case: Case) -> list[Route]:
        from .onnx_file import onnx_gru

        options = self.runtime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = self.threads, 1
        session = self.runtime.InferenceSession(onnx_gru(case), options, providers=["CPUExecutionProvider"])
        return self._steps(session, case) if case.row.is_step else self._sequences(session, case)

    def _steps(self, session: Any, case: Case) -> list[Route]:
        x, shape = case.x, (1, 1, case.row.units)
        feed = {"x": x, "h": np.zeros(shape, np.float32)}

        def start() -> None:
            feed["h"] = np.zeros(shape, np.float32)

        def run() -> Array:
            feed["h"] = session.run(["h'"], feed)[0]
            return feed["h"]

        value = self.runtime.OrtValue.ortvalue_from_numpy
        states, bound_x, bindings = [value(np.zeros(shape, np.float32)) for _ in range(2)], value(x), []
        for i in range(2):
            binding = session.io_binding()
            binding.bind_ortvalue_input("x", bound_x)
            binding.bind_ortvalue_input("h", states[i])
            binding.bind_ortvalue_output("h'", states[1 - i])
            bindings.append(binding)

        def zero() -> None:
            for state in states:
                state.update_inplace(np.zeros(shape, np.float32))

        def run_bound() -> Any:
            session.run_with_iobinding(bindings[0])
            bindings.reverse()
            states.reverse()
            return states[0]

        return [
            Route("run", run, lambda y: y, start),
            Route("I/O binding", run_bound, lambda y: y.numpy(), zero, keep=(x, bound_x)),
        ]

    def _sequences(self, session: Any, case: Case) -> list[Route]:
        feed = {"x": np.ascontiguousarray(case.x.transpose(1, 0, 2))}
        if case.lengths is not None:
            feed["lengths"] = case.lengths
        y = np.empty((case.row.steps, case.row.directions, case.row.batch, case.row.units), np.float32)
        value = self.runtime.OrtValue.ortvalue_from_numpy
        binding, bound, inputs = session.io_binding(), value(y), {name: value(array) for name, array in feed.items()}
        for name, array in inputs.items():
            binding.bind_ortvalue_input(name, array)
        binding.bind_ortvalue_output("y", bound)

        def run_bound() -> Any:
            session.run_with_iobinding(binding)
            return bound

        return [
            Route("run", lambda: session.run(["y"], feed)[0], _batch_first),
            Route("I/O binding", run_bound, lambda y: _batch_first(y.numpy()), keep=(feed, inputs, y)),
        ]


class OpenVino(Peer):
    """OpenVINO from the same ONNX file, held to float32 (its default on some CPUs is bfloat16)."""

    package = "openvino"
    precision = "f32"

    def setup(self) -> None:
        import onnx  # noqa: F401 – builds the model
        import openvino

        self.runtime = openvino
        self.core = openvino.Core()

    def routes(self, case: Case) -> list[Route]:
        from .onnx_file import onnx_gru

        options = {
            "INFERENCE_PRECISION_HINT": self.precision, "INFERENCE_NUM_THREADS": self.threads, "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
        }  # fmt: skip
        compiled = self.core.compile_model(self.core.read_model(onnx_gru(case)), "CPU", options)
        check_precision(compiled, self.precision)
        request = compiled.create_infer_request()
        if case.row.is_step:
            return [self._step(request, case)]
        inputs = {"x": np.ascontiguousarray(case.x.transpose(1, 0, 2))}
        if case.lengths is not None:
            inputs["lengths"] = case.lengths
        for name, array in inputs.items():
            request.set_tensor(name, self.runtime.Tensor(array, shared_memory=True))

        def call() -> Array:
            request.infer()
            return request.get_tensor("y").data  # type: ignore[no-any-return]

        return [Route("infer", call, _batch_first, keep=(inputs,))]

    def _step(self, request: Any, case: Case) -> Route:
        # two states take turns as input and output, so that none is copied
        states = [self.runtime.Tensor(np.zeros((1, 1, case.row.units), np.float32)) for _ in range(2)]
        request.set_tensor("x", self.runtime.Tensor(case.x, shared_memory=True))

        def start() -> None:
            for state in states:
                state.data[:] = 0

        def call() -> Array:
            request.set_tensor("h", states[0])
            request.set_tensor("h'", states[1])
            request.infer()
            states.reverse()
            return states[0].data  # type: ignore[no-any-return]

        return Route("infer", call, lambda y: y, start, keep=(case,))


class OpenVinoBf16(OpenVino):
    """OpenVINO with bfloat16 weights and products."""

    dtype, precision = "bfloat16", "bf16"


class Torch(Peer):
    """torch.nn.GRU and, for single steps, torch.nn.GRUCell, under inference_mode; reset_after only."""

    package = "torch"

    def setup(self) -> None:
        import torch

        self.torch = torch
        torch.set_num_threads(self.threads)
        torch.set_num_interop_threads(1)
        self.mode = torch.inference_mode()
        self.mode.__enter__()  # for the life of this process

    def routes(self, case: Case) -> list[Route]:
        if not case.row.reset_after:
            raise Skipped("torch.nn.GRU has no reset_after=False")
        layer = self.torch.nn.GRU(case.row.inputs, case.row.units, bidirectional=case.row.bidirectional).eval()
        for weights, suffix in zip(case.directions, ("_l0", "_l0_reverse"), strict=False):
            _load_torch(self.torch, layer, weights, suffix)
        return self._steps(layer, case) if case.row.is_step else [self._sequences(layer, case)]

    def _steps(self, layer: Any, case: Case) -> list[Route]:
        cell = self.torch.nn.GRUCell(case.row.inputs, case.row.units).eval()
        _load_torch(self.torch, cell, case.directions[0], "")
        x, zeros = self.torch.from_numpy(case.x), self.torch.zeros(1, 1, case.row.units)
        x0, state = x[0], [zeros, zeros[0]]

        def start() -> None:
            state[:] = [zeros, zeros[0]]

        def by_layer() -> Any:
            y, state[0] = layer(x, state[0])
            return y

        def by_cell() -> Any:
            state[1] = cell(x0, state[1])
            return state[1]

        return [
            Route("GRU", by_layer, lambda y: y.numpy(), start),
            Route("GRUCell", by_cell, lambda y: y.numpy()[None], start),
        ]

    def _sequences(self, layer: Any, case: Case) -> Route:
        x = self.torch.from_numpy(np.ascontiguousarray(case.x.transpose(1, 0, 2)))
        if case.lengths is None:
            return Route("GRU", lambda: layer(x)[0], lambda y: y.numpy().transpose(1, 0, 2))
        rnn, lengths = self.torch.nn.utils.rnn, self.torch.from_numpy(case.lengths.astype(np.int64))

        def call() -> Any:
            packed = rnn.pack_padded_sequence(x, lengths, enforce_sorted=False)
            return rnn.pad_packed_sequence(layer(packed)[0], total_length=case.row.steps)[0]

        return Route("GRU, packed", call, lambda y: y.numpy().transpose(1, 0, 2))


class LiteRT(Peer):
    """LiteRT with its XNNPACK delegate on one GRUCell step, the form in which it is fastest."""

    package = "ai-edge-litert"

    def setup(self) -> None:
        from ai_edge_litert import interpreter

        self.runtime = interpreter

    def routes(self, case: Case) -> list[Route]:
        if not case.row.is_step:
            raise Skipped("measured on single steps only: LiteRT has no GRU operator, a sequence is a loop of cells")
        from .litert_file import litert_gru_cell

        interpreter = self.runtime.Interpreter(model_content=litert_gru_cell(case), num_threads=self.threads)
        interpreter.allocate_tensors()
        x_index, h_index = (detail["index"] for detail in interpreter.get_input_details())
        y_index = interpreter.get_output_details()[0]["index"]
        x, zeros = case.x[:, 0].copy(), np.zeros((1, case.row.units), np.float32)
        state = [zeros]

        def start() -> None:
            state[0] = zeros

        def call() -> Array:
            interpreter.set_tensor(x_index, x)
            interpreter.set_tensor(h_index, state[0])
            interpreter.invoke()
            state[0] = interpreter.get_tensor(y_index)
            return state[0]

        return [Route("GRUCell", call, lambda y: y[:, None], start)]


class Tract(Peer):
    """tract from the same ONNX file. It runs on one thread, whatever the others have."""

    package = "tract"

    def setup(self) -> None:
        import onnx  # noqa: F401 – builds the model
        import tract

        self.runtime = tract

    def routes(self, case: Case) -> list[Route]:
        from .onnx_file import onnx_gru

        if case.lengths is not None:
            raise Skipped("takes sequence_lens only as a constant")
        with tempfile.NamedTemporaryFile(suffix=".onnx") as file:
            file.write(onnx_gru(case))
            file.flush()
            model = self.runtime.onnx().load(file.name).into_model().into_runnable()
        x = self.runtime.Tensor.from_numpy(np.ascontiguousarray(case.x.transpose(1, 0, 2)))
        if not case.row.is_step:
            return [Route("run", lambda: model.run([x])[0].to_numpy(), _batch_first)]
        zeros = self.runtime.Tensor.from_numpy(np.zeros((1, 1, case.row.units), np.float32))
        state = [zeros]

        def start() -> None:
            state[0] = zeros

        def call() -> Array:
            state[0] = model.run([x, state[0]])[0]
            return state[0].to_numpy()  # type: ignore[no-any-return]

        return [Route("run", call, lambda y: y, start)]


def check_precision(compiled: Any, wanted: str) -> None:
    """Skip where OpenVINO takes another precision than it was told to: some CPUs lack what bf16 needs."""
    taken = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
    if taken != wanted:
        raise Skipped(f"computes in {taken} on this CPU, not in {wanted}")


def _batch_first(y: Array) -> Array:
    """(steps, directions, batch, hidden) → (batch, steps, directions · hidden)."""
    return y.transpose(2, 0, 1, 3).reshape(y.shape[2], y.shape[0], -1)


def _load_torch(torch: Any, module: Any, weights: Weights, suffix: str) -> None:
    """Set a GRU's weights; torch has the gates in the order r, z, n and one output a row."""
    units = len(weights.recurrent_kernel)
    order = np.r_[units : 2 * units, :units, 2 * units : 3 * units]
    arrays = {
        "weight_ih": weights.kernel.T, "weight_hh": weights.recurrent_kernel.T,
        "bias_ih": weights.bias, "bias_hh": weights.recurrent_bias,
    }  # fmt: skip
    for name, array in arrays.items():
        getattr(module, name + suffix).copy_(torch.from_numpy(np.ascontiguousarray(array[order])))


#: what fastgru holds weights in; not asked of the package, since a worker times whatever version of it there is
DTYPES = ("float32", "bfloat16", "float16", "int8")


def own_names(dtypes: Iterable[str]) -> list[str]:
    """What fastgru is called with weights of each dtype.

    >>> own_names(["float32", "int8"])
    ['fastgru', 'fastgru-int8']
    """
    return ["fastgru" if dtype == "float32" else f"fastgru-{dtype}" for dtype in dtypes]


def in_every_dtype(peer: type[Peer]) -> dict[str, type[Peer]]:
    """fastgru with weights of each dtype, by its names: classes that differ from `peer` in `dtype`.

    >>> {name: peer.dtype for name, peer in in_every_dtype(FastGRU).items() if "16" in name}
    {'fastgru-bfloat16': 'bfloat16', 'fastgru-float16': 'float16'}
    """
    return {
        name: type(peer.__name__, (peer,), {"dtype": dtype, "__doc__": f"fastgru with {dtype} weights."})
        for name, dtype in zip(own_names(DTYPES), DTYPES, strict=True)
    }


PEERS: dict[str, type[Peer]] = {
    **in_every_dtype(FastGRU),
    "fastgru-blas": FastGRUBlas,
    "onnxruntime": OnnxRuntime,
    "torch": Torch,
    "openvino": OpenVino,
    "openvino-bf16": OpenVinoBf16,
    "litert": LiteRT,
    "tract": Tract,
    "numpy": NumPy,
}
