"""Who computes an ONNX GRU node otherwise than the standard says: the table of docs/formats.md.

    python tools/compare_onnx_runtimes.py

Each line is one thing that a node may say; each column a runtime that is installed (onnxruntime, openvino, and the
ReferenceEvaluator of onnx), beside fastgru. "agrees": within 1e-4 of the float64 oracle of `tests/onnx_oracle.py`; a
number: how far off; "refuses": it does not run the node; "crashes" where even the process ends.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import multiprocessing
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import numpy as np
import onnx

from onnx_files import NodeCase, onnxruntime_answer
from tolerances import error

Array = np.ndarray
Answers = Mapping[str, Array]
AGREES = 1e-4  # runtimes have approximations of their own


def _case(
    opset: int = 14, dtype: str = "float32", batch_first: bool = False, is_free: bool = False, **said: Any
) -> NodeCase:
    """Two directions of 3 units over 4 rows of 5 steps, unless `said` has attributes or arrays of its own."""
    rng = np.random.default_rng(8)
    lengths = said.pop("sequence_lens", None)
    count = 2 if said.get("direction", "bidirectional") == "bidirectional" else 1
    shapes = {"X": (5, 4, 2), "W": (count, 9, 2), "R": (count, 9, 3), "B": (count, 18), "initial_h": (count, 4, 3)}
    if not said.pop("with_state", True):
        del shapes["initial_h"]
    arrays = {key: rng.uniform(-1.5, 1.5, shape).astype(np.float32) for key, shape in shapes.items()}
    if lengths is not None:
        arrays["sequence_lens"] = np.array(lengths, np.int32)
    if batch_first:
        arrays |= {key: arrays[key].swapaxes(0, 1) for key in ("X", "initial_h") if key in arrays}
        said["layout"] = 1
    attributes = {"hidden_size": 3, "direction": "bidirectional", "linear_before_reset": 1} | said
    attributes = {key: value for key, value in attributes.items() if value is not None}
    return NodeCase(attributes, arrays, opset, dtype=dtype, is_free=is_free)


CASES: dict[str, NodeCase] = {
    "plain, `linear_before_reset=1`": _case(),
    "`linear_before_reset=0`": _case(linear_before_reset=0),
    "`sequence_lens`": _case(sequence_lens=[5, 2, 3, 1]),
    "`sequence_lens`, batch and time free": _case(sequence_lens=[5, 2, 3, 1], is_free=True),
    "`sequence_lens`, `direction=reverse`": _case(direction="reverse", sequence_lens=[5, 2, 3, 1]),
    "a row of length 0, no `initial_h`": _case(sequence_lens=[5, 0, 3, 0], with_state=False),
    "a row of length 0 with `initial_h`": _case(sequence_lens=[5, 0, 3, 0]),
    "`activations` Sigmoid, Softsign, HardSigmoid, Tanh": _case(
        activations=["Sigmoid", "Softsign", "HardSigmoid", "Tanh"],
    ),
    "`activation_alpha`, `activation_beta` of HardSigmoid, LeakyRelu, ScaledTanh": _case(
        activations=["HardSigmoid", "LeakyRelu", "Sigmoid", "ScaledTanh"],
        activation_alpha=[0.3, 0.1, 0.7],
        activation_beta=[0.45, 0.6],
    ),
    "`ThresholdedRelu` by its default, 1": _case(activations=["Sigmoid", "ThresholdedRelu"] * 2),
    "`clip`": _case(clip=0.4),
    "`layout=1`": _case(batch_first=True),
    "`layout=1`, batch and time free": _case(batch_first=True, is_free=True),
    "double": _case(dtype="double"),
    "float16": _case(dtype="float16"),
    "no `hidden_size`": _case(hidden_size=None),
    "opset 1": _case(opset=1, linear_before_reset=None),
    "opset 3": _case(opset=3),
}


# ---- runtimes --------------------------------------------------------------------------------------------------------


def by_fastgru(case: NodeCase) -> Answers:
    import fastgru

    return dict(zip(case.outputs, fastgru.from_onnx(case.model)(case.feeds), strict=True))


def by_onnxruntime(case: NodeCase) -> Answers:
    answers = onnxruntime_answer(case.model, case.feeds)
    if isinstance(answers, str):
        raise ValueError(answers)
    return answers


def by_reference(case: NodeCase) -> Answers:
    from onnx.reference import ReferenceEvaluator

    return dict(zip(case.outputs, ReferenceEvaluator(case.model).run(None, case.feeds), strict=True))


def by_openvino(case: NodeCase) -> Answers:
    import openvino

    core = openvino.Core()
    model = core.read_model(case.model.SerializeToString())
    config = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": "1"}
    compiled = core.compile_model(model, "CPU", config)
    answers = compiled(case.feeds)
    return {key: np.array(answers[place]) for place, key in enumerate(case.outputs)}


RUNTIMES: dict[str, tuple[str, Callable[[NodeCase], Answers]]] = {
    "fastgru": ("fastgru", by_fastgru),
    "ONNX Runtime": ("onnxruntime", by_onnxruntime),
    "OpenVINO": ("openvino", by_openvino),
    "onnx's ReferenceEvaluator": ("onnx", by_reference),
}


# ---- the table -------------------------------------------------------------------------------------------------------


def verdict(runtime: str, name: str, full: bool) -> str:
    case = CASES[name]
    allowed = 5e-3 if case.dtype == "float16" else AGREES
    try:
        answers = RUNTIMES[runtime][1](case)
    except Exception as refusal:
        return f"refuses: {str(refusal).splitlines()[0][:160]}" if full else "refuses"
    wrong = [answers[key].shape for key, value in case.expected.items() if answers[key].shape != value.shape]
    if wrong:
        return f"gives shape {wrong[0]}"
    off = max(error(np.asarray(answers[key]).astype(np.float64), value) for key, value in case.expected.items())
    return "agrees" if off <= allowed else f"off by {off:.1g}"


def _tell(send: Any, runtime: str, name: str, full: bool) -> None:
    send.send(verdict(runtime, name, full))


def apart(runtime: str, name: str, full: bool) -> str:
    """The verdict, asked in a process of its own: some runtimes end theirs."""
    context = multiprocessing.get_context("fork")
    receive, send = context.Pipe(duplex=False)
    child = context.Process(target=_tell, args=(send, runtime, name, full))
    child.start()
    send.close()
    try:
        return str(receive.recv())
    except EOFError:
        return "crashes"
    finally:
        child.join()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="say why a runtime refuses")
    full = parser.parse_args().full
    versions = {}
    for runtime, (package, _) in RUNTIMES.items():
        try:
            versions[runtime] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            if package == "fastgru":
                versions[runtime] = ""
            else:
                print(f"{package} is not installed: left out")
    print(f"| A node with | {' | '.join(f'{runtime} {version}'.rstrip() for runtime, version in versions.items())} |")
    print(f"|---|{'---|' * len(versions)}")
    for name in CASES:
        print(f"| {name} | {' | '.join(apart(runtime, name, full) for runtime in versions)} |", flush=True)
    print(f"\nonnx {onnx.__version__}")


if __name__ == "__main__":
    main()
