"""One GRU layer with random weights: its largest error against the formula in float64, beside OpenVINO's in bfloat16.

The shapes are FIELD's rows, those of the benchmark. How large random weights are decides how much their rounding does,
so there are three kinds: those of the benchmark (uniform within √(3/hidden), the largest), PyTorch's (within
1/√hidden) and Keras' (Glorot, orthogonal recurrent, no biases). Inputs are standard normal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from network import Array, Bound, Network, at_most

import fastgru
from fastgru import graph as g
from fastgru.bench.cases import Case, Row, Weights, layer_case, random_case, reference
from fastgru.bench.onnx_file import onnx_gru

ROWS = (
    "1,1,32,32", "1,1,64,64", "1,1,128,128", "1,1,256,256", "1,1,512,512", "1,1,1024,1024", "1,28,28,100",
    "1,100,256,64", "1,200,128,128", "1,100,256,256", "1,100,512,512", "8,100,128,128", "64,200,128,128",
    "100,28,28,100", "64,100,256,256", "64,50,512,512", "256,50,64,64",
)  # fmt: skip
LARGEST, PEER = "largest error", "openvino bfloat16"
COLUMNS = (LARGEST,)
INT8 = at_most(1.5e-2)


def pytorch_case(row: Row) -> Case:
    rng = np.random.default_rng(7)
    limit, gates = 1 / np.sqrt(row.units), 3 * row.units
    shapes = (row.inputs, gates), (row.units, gates), (gates,), (gates,)
    return layer_case(row, [Weights(*(rng.uniform(-limit, limit, shape).astype(np.float32) for shape in shapes))], rng)


def keras_case(row: Row) -> Case:
    rng = np.random.default_rng(7)
    gates = 3 * row.units
    limit = np.sqrt(6 / (row.inputs + gates))
    kernel = rng.uniform(-limit, limit, (row.inputs, gates)).astype(np.float32)
    orthogonal, triangle = np.linalg.qr(rng.standard_normal((gates, row.units)))
    recurrent = (orthogonal * np.sign(np.diag(triangle))).T.astype(np.float32)
    zeros = np.zeros(gates, np.float32)
    return layer_case(row, [Weights(kernel, recurrent, zeros, zeros)], rng)


KINDS: dict[str, Callable[[Row], Case]] = {"benchmark": random_case, "PyTorch": pytorch_case, "Keras": keras_case}


def networks(work: Path) -> Iterator[Network]:
    peer = OpenVino.if_there()
    for kind, make in KINDS.items():
        for row in ROWS:
            case = make(Row.parse(row))
            truth = reference(case)
            bounds: dict[tuple[str, str], Bound] = {(LARGEST, "int8"): INT8}
            facts = {}
            if peer:
                facts[LARGEST, PEER] = float(np.abs(peer.answer(case) - truth).max())
                bounds[LARGEST, "bfloat16"] = at_most(facts[LARGEST, PEER])
            yield Network(
                f"{kind} {row}", layer(case), answers(case), compare, bounds,
                reference=lambda truth=truth: truth, facts=lambda expected, facts=facts: facts,
            )  # fmt: skip


def layer(case: Case) -> g.Graph:
    options = {"inputs": ("x",), "units": case.row.units, "return_sequences": True}
    gru = g.GRU(name="gru", **options, **vars(case.directions[0]))
    return g.Graph((g.tensor_spec("x", None, (case.row.inputs,)),), (gru,), ("gru",))


def answers(case: Case) -> Callable[[fastgru.Model], Array]:
    """Of a row of single steps what the last of a few gives, as `reference` has it."""
    x = np.repeat(case.x, case.calls, axis=1)
    return lambda model: model(x)[:, -case.row.steps :]


def compare(truth: Array, found: Array) -> dict[str, float]:
    error = np.abs(found - truth)
    return {LARGEST: float(error.max()), "rms error": float(np.sqrt(np.mean(np.square(error))))}


class OpenVino:
    """The same layer and input in OpenVINO, in bfloat16 where the CPU has it natively."""

    def __init__(self, runtime: Any) -> None:
        self.runtime, self.core = runtime, runtime.Core()

    @classmethod
    def if_there(cls) -> OpenVino | None:
        try:
            import onnx  # noqa: F401 – builds the model
            import openvino
        except ImportError as error:
            print(f"SKIPPED  openvino beside random layers: {error}", flush=True)
            return None
        return cls(openvino)

    def answer(self, case: Case) -> Array:
        options = {"INFERENCE_PRECISION_HINT": "bf16", "INFERENCE_NUM_THREADS": 1}
        compiled = self.core.compile_model(self.core.read_model(onnx_gru(case)), "CPU", options)
        request = compiled.create_infer_request()
        request.set_tensor("x", self.runtime.Tensor(np.ascontiguousarray(case.x.transpose(1, 0, 2))))
        if not case.row.is_step:
            request.infer()
            y = request.get_tensor("y").data  # (steps, directions, batch, hidden)
            return y[:, 0].transpose(1, 0, 2).copy()
        state = np.zeros((1, 1, case.row.units), np.float32)
        for _ in range(case.calls):
            request.set_tensor("h", self.runtime.Tensor(state))
            request.infer()
            state = request.get_tensor("h'").data.copy()
        return state
