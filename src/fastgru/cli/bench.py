"""`fastgru bench`: how fast a network runs on this machine."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import UnsupportedModel
from ._common import Config, ModelFile, Threads, console, load, only_input, table, time_text

if TYPE_CHECKING:
    import numpy as np

    from ..model import Model

PERCENTILES = (50.0, 90.0, 99.0, 99.9)
BATCHES = (1, 8, 64, 256)
AGAINST_BATCHES = (1, 64)
FREE_STEPS = 100
MOST_CALLS = 2_000_000  # of one measurement; each leaves a number in memory
SEED = 0


def bench(
    model_file: ModelFile,
    threads: Threads = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Length of the sequences.", show_default="the network's, else 100")
    ] = None,
    batch: Annotated[
        list[int] | None,
        typer.Option(min=1, help="A batch size for the throughput; may be repeated.", show_default="1, 8, 64, 256"),
    ] = None,
    seconds: Annotated[float, typer.Option(min=0.001, help="Time for each measurement.")] = 1.0,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="PEERS",
            help="Compare the largest GRU layer with some of onnxruntime,torch,openvino,litert,tract.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    config: Config = None,
) -> None:
    """Measure the latency of a call and of a step, and the throughput by batch size, on random input.

    Latencies include the clock's own (some tens of nanoseconds). A network without a time axis has one step.
    """
    import fastgru

    model = load(model_file, config, threads)
    time_steps = _steps(model, steps)
    result = {
        "model": model_file.name,
        "fingerprint": model.fingerprint,
        "cpu": fastgru.cpu_info(),
        "isa": model.isa,
        "threads": model.threads,
        "steps": time_steps,
        "call": _latency(_call(model, 1, time_steps), seconds),
        "step": _step_latency(model, seconds),
        "throughput": [_throughput(model, size, time_steps, seconds) for size in batch or BATCHES],
    }
    if against is not None:
        result["against"] = _against(model, against, batch or AGAINST_BATCHES, time_steps)
    if as_json:
        print(json.dumps(result, indent=2, default=str))
    else:
        _print(result)


def _steps(model: Model, wanted: int | None) -> int:
    """Length of the sequences; 1 for a network without a time axis."""
    spec = only_input(model)
    if not spec.is_sequence:
        return 1
    return wanted or spec.shape[1] or FREE_STEPS


def _random_input(model: Model, *lead: int) -> np.ndarray:
    """Random values, or token ids of the smallest vocabulary that reads them, with the axes `lead` in front."""
    import numpy as np

    spec, random = only_input(model), np.random.default_rng(SEED)
    if spec.dtype != "int32":
        return random.standard_normal((*lead, *spec.inner), np.float32)
    readers = [layer for layer in model.graph.layers if spec.name in layer.inputs]
    vocabulary = min(layer.tensors["table"].shape[0] for layer in readers)
    return random.integers(0, vocabulary, (*lead, *spec.inner), np.int32)


def _call(model: Model, batch: int, steps: int) -> Callable[[], Any]:
    lead = (batch, steps) if only_input(model).is_sequence else (batch,)
    x = _random_input(model, *lead)
    return lambda: model(x)


def _step_latency(model: Model, seconds: float) -> dict[str, Any]:
    """Latency of one `Stream.step`; why not, where the network can't be run step by step."""
    try:
        stream = model.stream(batch_size=1)
        x = _random_input(model, 1)
        with stream:
            return _latency(lambda: stream.step(x), seconds)
    except UnsupportedModel as error:
        return {"unsupported": str(error)}


def _latency(call: Callable[[], Any], seconds: float) -> dict[str, Any]:
    """Percentiles of the duration of one call, in seconds, after a warm-up of a tenth of the time."""
    import numpy as np

    _times(call, seconds / 10)
    times = _times(call, seconds)
    values = np.percentile(times, PERCENTILES)
    return {"calls": len(times), **{f"p{q:g}": float(value) for q, value in zip(PERCENTILES, values, strict=True)}}


def _throughput(model: Model, batch: int, steps: int, seconds: float) -> dict[str, Any]:
    call = _call(model, batch, steps)
    _times(call, seconds / 10)
    start = time.perf_counter()
    calls = len(_times(call, seconds))
    spent = time.perf_counter() - start
    return {
        "batch": batch,
        "calls": calls,
        "rows_per_second": calls * batch / spent,
        "steps_per_second": calls * batch * steps / spent,
    }


def _against(model: Model, peers: str, batches: Sequence[int], steps: int) -> dict[str, Any]:
    from ..bench.against import against

    return against(model.graph, peers.split(","), batches, steps, model.threads)


def _times(call: Callable[[], Any], seconds: float) -> Sequence[float]:
    """Durations of calls made one after the other for about `seconds`: at least one, at most MOST_CALLS."""
    clock = time.perf_counter
    times: list[float] = []
    start = now = clock()
    while (now - start < seconds and len(times) < MOST_CALLS) or not times:
        before = clock()
        call()
        now = clock()
        times.append(now - before)
    return times


def _print(result: dict[str, Any]) -> None:
    out = console()
    limit = "1 thread" if result["threads"] == 1 else f"at most {result['threads']} threads"
    out.print(
        f"{result['model']}: sequences of {result['steps']} steps, {result['isa']} kernels, {limit}; a step: 1 thread"
    )
    names = [f"p{q:g}" for q in PERCENTILES]
    latency = table("latency, batch 1", *(f">{name}" for name in names), ">calls")
    for key in ("call", "step"):
        if "unsupported" not in result[key]:
            latency.add_row(key, *(time_text(result[key][name]) for name in names), f"{result[key]['calls']:,}")
    out.print(latency)
    if "unsupported" in result["step"]:
        out.print(f"no single steps: {result['step']['unsupported']}")
    throughput = table(">batch", ">rows/s", ">steps/s")
    for row in result["throughput"]:
        throughput.add_row(f"{row['batch']:,}", f"{row['rows_per_second']:,.0f}", f"{row['steps_per_second']:,.0f}")
    out.print(throughput)
    if "against" in result:
        _print_against(result["against"])


def _print_against(result: dict[str, Any]) -> None:
    """Times by peer; `×` is the fastest peer's time divided by fastgru's."""
    out, versions = console(), result["versions"]
    about = ", ".join(f"{name} {version}" for name, version in versions.items())
    for name, reason in result["missing"].items():
        out.print(f"{name} does not take part: {reason}")
    out.print(f"GRU layer {result['layer']!r} alone; {about}")
    compared = table("batch,steps,input,hidden", *(f">{name}" for name in versions), "fastest peer", ">×")
    for row in result["rows"]:
        times = [time_text(row["runs"][name]["seconds"]) if name in row["runs"] else "–" for name in versions]
        ratio = "–" if row["ratio"] is None else f"{row['ratio']:.2f}"
        compared.add_row(row["row"], *times, row["fastest_peer"] or "–", ratio)
    out.print(compared)
    for row in result["rows"]:
        for name, reason in row["skipped"].items():
            out.print(f"{row['row']}: {name}: {reason}")
