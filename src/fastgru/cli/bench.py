"""`fastgru bench`: how fast a network runs on this machine."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import BadInput, UnsupportedModel
from ._common import (
    Config,
    KeepFloat32,
    ModelFile,
    Narrow,
    Options,
    Threads,
    as_given,
    call_inputs,
    console,
    load,
    only_input,
    table,
    time_text,
)

if TYPE_CHECKING:
    import numpy as np

    from ..bench.realtime import Schedule
    from ..model import Model

PERCENTILES = (50.0, 90.0, 99.0, 99.9)
BATCHES = (1, 8, 64, 256)
AGAINST_BATCHES = (1, 64)
PROFILE_BATCHES = (1,)
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
    seconds: Annotated[
        float | None,
        typer.Option(min=0.001, help="Time for each measurement.", show_default="1; 60 with --realtime"),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="PEERS",
            help="Compare the largest GRU layer with some of onnxruntime,torch,openvino,openvino-bf16,litert,tract; "
            "with narrow weights it runs in float32 as well.",
        ),
    ] = None,
    profile: Annotated[
        bool,
        typer.Option("--profile", help="Show where the time of a call goes, on one thread unless --threads is given."),
    ] = False,
    realtime: Annotated[
        bool,
        typer.Option("--realtime", help="Only run steps of a stream at a fixed rate; show the slowest and the late."),
    ] = False,
    period: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="With --realtime: from tick to tick, as 10ms or 500us.", show_default="10ms"),
    ] = None,
    steps_per_tick: Annotated[
        int | None, typer.Option(min=1, help="With --realtime: steps of each tick.", show_default="1")
    ] = None,
    rows: Annotated[
        int | None, typer.Option(min=1, help="With --realtime: rows of the stream.", show_default="1")
    ] = None,
    spin: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="With --realtime: poll the clock before each tick.", show_default="0us"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    dtype: Narrow = None,
    keep_float32: KeepFloat32 = None,
    config: Config = None,
    option: Options = None,
) -> None:
    """Measure the latency of a call and of a step, and the throughput by batch size, on random input.

    Latencies include the clock's own (some tens of nanoseconds). A network without a time axis has one step.
    """
    import fastgru

    if realtime:
        _refuse({"--steps": steps, "--batch": batch, "--against": against, "--profile": profile}, "without --realtime")
    else:
        paced = {"--period": period, "--steps-per-tick": steps_per_tick, "--rows": rows, "--spin": spin}
        _refuse(paced, "with --realtime")
    model = load(model_file, config, option, threads, dtype, keep_float32)
    if realtime:
        from ..bench.realtime import Schedule

        schedule = Schedule(
            period=duration(period or "10ms"), seconds=seconds or 60.0, steps=steps_per_tick or 1,
            spin=duration(spin or "0us"),
        )  # fmt: skip
        return _realtime(model, model_file.name, schedule, rows or 1, threads or 1, as_json)
    seconds = seconds or 1.0
    time_steps = _steps(model, steps)
    result = {
        "model": model_file.name,
        "fingerprint": model.fingerprint,
        "dtype": model.dtype,
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
    if profile:
        result["profile"] = [
            _profile(model, size, time_steps, threads or 1, seconds) for size in batch or PROFILE_BATCHES
        ]
    if as_json:
        print(json.dumps(result, indent=2, default=str))
    else:
        _print(result)


def _refuse(options: Mapping[str, Any], where: str) -> None:
    """Say which of these options were given where they have no meaning."""
    given = [name for name, value in options.items() if value not in (None, False)]
    if given:
        raise BadInput(f"{', '.join(given)} can only be given {where}")


def duration(text: str) -> float:
    """Seconds of a duration with its unit.

    >>> duration("10ms"), duration("2.5 s"), duration("0us")
    (0.01, 2.5, 0.0)
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?) ?(s|ms|us|µs)", text.strip())
    if match is None:
        raise BadInput(f"a duration is a number with its unit s, ms or us, such as 10ms; got {text!r}")
    return float(match[1]) / {"s": 1, "ms": 1e3}.get(match[2], 1e6)


def _realtime(model: Model, name: str, schedule: Schedule, rows: int, threads: int, as_json: bool) -> None:
    import fastgru

    from ..bench.realtime import realtime

    result = {
        "model": name,
        "fingerprint": model.fingerprint,
        "dtype": model.dtype,
        "cpu": fastgru.cpu_info(),
        "isa": model.isa,
        **realtime(model, schedule, rows, threads),
    }
    if as_json:
        print(json.dumps(result, indent=2, default=str))
    else:
        _print_realtime(result)


def _print_realtime(result: dict[str, Any]) -> None:
    out = console()
    out.print(
        f"{result['model']}: {result['ticks']:,} ticks of {result['period'] * 1e3:g} ms, rows {result['rows']}, "
        f"steps a tick {result['steps_per_tick']}, {_kernels(result)}, threads {result['threads']}"
    )
    names = [*(f"p{q:g}" for q in (50, 99, 99.9)), "max"]
    times = table("time", *(f">{name}" for name in names))
    for label, key in (("step", "step"), ("from the tick to the step's end", "from_tick")):
        times.add_row(label, *(time_text(result[key][one]) for one in names))
    out.print(times)
    used = result["in_steps"]
    out.print(f"missed deadlines: {result['missed']:,} of {result['ticks']:,}")
    out.print(
        f"inside steps: {used['minor_faults']:,} minor and {used['major_faults']:,} major page faults, "
        f"{used['voluntary_switches']:,} voluntary and {used['involuntary_switches']:,} involuntary context switches"
    )
    for who, counts in (result["counted"] or {}).items():
        shown = ", ".join(f"{count:,} {kind}" for kind, count in counts.items())
        out.print(f"counted inside steps, {'by the core itself' if who == 'core' else 'in all'}: {shown}")


def _steps(model: Model, wanted: int | None) -> int:
    """Length of the sequences; 1 for a network without a time axis."""
    spec = only_input(model)
    if not spec.is_sequence:
        return 1
    return wanted or spec.shape[1] or FREE_STEPS


def _random_input(model: Model, *lead: int) -> np.ndarray:
    """Random values, or token ids of the smallest vocabulary that reads them, batch first, with the axes `lead`."""
    import numpy as np

    spec, random = only_input(model), np.random.default_rng(SEED)
    if spec.dtype != "int32":
        return random.standard_normal((*lead, *spec.inner), np.float32)
    value = model.graph.inputs[model.graph.input_names.index(spec.name)].name
    readers = [layer for layer in model.graph.layers if value in layer.inputs]
    vocabulary = min(layer.tensors["table"].shape[0] for layer in readers)
    return random.integers(0, vocabulary, (*lead, *spec.inner), np.int32)


def _random_batch(model: Model, batch: int, steps: int) -> np.ndarray:
    return _random_input(model, *((batch, steps) if only_input(model).is_sequence else (batch,)))


def _call(model: Model, batch: int, steps: int) -> Callable[[], Any]:
    inputs = call_inputs(model, as_given(model, _random_batch(model, batch, steps)))
    return lambda: model(*inputs)


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


def _profile(model: Model, batch: int, steps: int, threads: int, seconds: float) -> dict[str, Any]:
    from ..bench.profile import profile

    inputs = call_inputs(model, as_given(model, _random_batch(model, batch, steps)))
    found = profile(model, inputs, threads, seconds, _times)
    return {"batch": batch, "steps": steps, "threads": threads, **found}


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


def _kernels(result: dict[str, Any]) -> str:
    weights = "" if result["dtype"] == "float32" else f"{result['dtype']} weights, "
    return f"{weights}{result['isa']} kernels"


def _print(result: dict[str, Any]) -> None:
    out = console()
    limit = "1 thread" if result["threads"] == 1 else f"at most {result['threads']} threads"
    out.print(f"{result['model']}: sequences of {result['steps']} steps, {_kernels(result)}, {limit}; a step: 1 thread")
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
    for row in result.get("profile", ()):
        _print_profile(row)
    if "against" in result:
        _print_against(result["against"])


def _print_profile(row: dict[str, Any]) -> None:
    """A line for each layer, for what belongs to none, and for the whole call."""
    out, call = console(), row["seconds"]
    made = table(
        f"profile, batch {row['batch']:,}, steps {row['steps']:,}", "kind", ">share", ">products", ">steps", ">other",
        ">GFLOP/s", ">GB/s", ">of the bound",
    )  # fmt: skip
    for layer in row["layers"]:
        spent = sum(layer["seconds"].values())
        made.add_row(
            layer["name"],
            f"{layer['kind']}, folded" if layer["folded"] else layer["kind"],
            f"{layer['share']:.1%}",
            *(time_text(seconds) if seconds else "–" for seconds in layer["seconds"].values()),
            *(f"{layer[key]:,.3g}" if layer[key] else "–" for key in ("gflops", "gigabytes_per_second")),
            f"{layer['bound'] / spent:.0%}" if layer["bound"] else "–",
        )
    made.add_row("outside the layers", "", f"{row['rest'] / call:.1%}", "", "", time_text(row["rest"]))
    share = f"{row['bound'] / call:.0%}" if row["bound"] else "–"
    made.add_row("call", "", "100%", "", "", time_text(call), "", "", share)
    out.print(made)
    if row["limits"] is None:
        out.print(f"time of the calling thread of at most {row['threads']}; the bound is that of 1 thread")
    else:
        out.print(f"1 thread, whose limits are {_limits_text(row['limits'])}")


def _limits_text(limits: dict[str, Any]) -> str:
    sweeps = limits["gigabytes_per_second"].items()
    own = [key.removesuffix("gates_ns") for key in limits if key.endswith("_gates_ns")]
    gates = [
        f"{dtype.replace('_', ' ')}gates {limits[f'{dtype}gates_ns']:.2f} ns a unit, latency "
        f"{limits[f'{dtype}gates_latency_ns']:.0f} ns; "
        for dtype in ("", *own)
    ]
    return (
        f"{limits['gflops']:.0f} GFLOP/s; an FMA takes {limits['fma_latency_ns']:.2f} ns; {''.join(gates)}"
        f"reads {', '.join(f'{size / 1024:,.0f} KB {rate:.0f}' for size, rate in sweeps)} GB/s"
    )


def _print_against(result: dict[str, Any]) -> None:
    """Times by peer; `×` is the time of the fastest peer in float32 divided by fastgru's."""
    out, versions = console(), result["versions"]
    own = [name for name in versions if name.startswith("fastgru")]
    about = ", ".join(f"{name} {version}" for name, version in versions.items())
    for name, reason in result["missing"].items():
        out.print(f"{name} does not take part: {reason}")
    out.print(f"GRU layer {result['layer']!r} alone; {about}")
    compared = table(
        "batch,steps,input,hidden", *(f">{name}" for name in versions), "fastest peer", *(f">× {name}" for name in own)
    )
    for row in result["rows"]:
        times = [time_text(row["runs"][name]["seconds"]) if name in row["runs"] else "–" for name in versions]
        ratios = [f"{row['ratios'][name]:.2f}" if name in row["ratios"] else "–" for name in own]
        compared.add_row(row["row"], *times, row["fastest_peer"] or "–", *ratios)
    out.print(compared)
    for row in result["rows"]:
        if not row["alone"]:
            out.print(f"{row['row']}: others computed on the same cores nearly all the time")
        for name, reason in row["skipped"].items():
            out.print(f"{row['row']}: {name}: {reason}")
