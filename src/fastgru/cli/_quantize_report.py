"""What `fastgru quantize` prints and writes of what was measured."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._common import bytes_text, table, time_text

if TYPE_CHECKING:
    from rich.console import Console

    from ..model import Model
    from ..quantization import LayerCost, MetricChange, OutputError, Report, SideBySide, Speed, Suggestion


def print_report(out: Console, report: Report, dtype: str) -> None:
    """The error of each output, what broke, the metric, and whether the error grows along the sequence."""
    errors = table("output", ">numbers", ">largest error", ">mean error", ">signal-to-noise", ">same answers")
    for output in report.outputs:
        errors.add_row(
            output.name,
            f"{output.count:,}",
            *(f"{value:.1e}" if output.is_number else "–" for value in (output.largest, output.mean)),
            decibels_text(output.snr) if output.is_number else "–",
            "–" if output.same_answers is None else share_text(output.same_answers, output.answers),
        )
    out.print(errors)
    for output in report.outputs:
        for sentence in _faults(output, dtype):
            out.print(sentence)
    if report.metric is not None:
        out.print(metric_text(report.metric, dtype))
    for output in report.outputs:
        if output.steps is not None:
            out.print(f"along the sequence: {growth_text(output)}")


def print_costs(out: Console, costs: Sequence[LayerCost], total: int, dtype: str) -> None:
    """A line for each layer, the costliest first."""
    if not costs:
        return
    metric = costs[0].report.metric
    drop = () if metric is None else (f">{metric.name} drops by",)
    shown = table(f"only this layer in {dtype}", "kind", ">signal-to-noise", *drop, ">float32", f">{dtype}", ">share")
    for cost in costs:
        change = cost.report.metric
        shown.add_row(
            cost.name,
            cost.kind,
            decibels_text(cost.report.snr),
            *(() if change is None else (drop_text(change),)),
            bytes_text(cost.nbytes_float32),
            bytes_text(cost.nbytes),
            f"{cost.nbytes_float32 / total:.1%}",
        )
    out.print(shown)


def print_suggestion(out: Console, suggestion: Suggestion, dtype: str, bound: str) -> None:
    """The layers to keep, and what the network with them gives."""
    tried = f"{suggestion.runs} network{'s' * (suggestion.runs != 1)} tried"
    if not suggestion.is_met:
        out.print(f"{bound} cannot be met with any layer in {dtype}, as far as was tried ({tried}): keep float32")
    elif not suggestion.keep_float32:
        out.print(f"{bound} is met with all layers in {dtype}")
    else:
        out.print(f"{bound} is met with {', '.join(suggestion.keep_float32)} kept in float32 ({tried}):")
        print_report(out, suggestion.report, dtype)


def print_sizes(
    out: Console, source: Path, model: Model, narrow_model: Model, dtype: str, written: Path | None
) -> None:
    """Bytes of weights, in the networks and as they are packed to be run, and of the files."""
    sizes = table("size", ">float32", f">{dtype}", ">of float32")
    weights = [sum(array.nbytes for _, array in one.graph.tensors) for one in (model, narrow_model)]
    packed = [one._plan.nbytes for one in (model, narrow_model)]
    for name, (before, after) in (("weights", weights), ("packed in memory", packed)):
        sizes.add_row(name, bytes_text(before), bytes_text(after), f"{after / before:.0%}" if before else "–")
    out.print(sizes)
    files = [path for path in (source, written) if path is not None and path.is_file()]
    out.print("files: " + ", ".join(f"{path} {bytes_text(path.stat().st_size)}" for path in files))


def print_speeds(out: Console, speeds: Sequence[Speed], dtype: str) -> None:
    """Times of calls, and in words what was timed."""
    shown = table(">rows of a call", ">float32", f">{dtype}", ">times faster")
    for speed in speeds:
        shown.add_row(f"{speed.rows:,}", time_text(speed.float32), time_text(speed.narrow), f"{speed.gain:.2f}")
    out.print(shown)
    threads = "1 thread" if speeds[0].threads == 1 else f"at most {speeds[0].threads} threads"
    turns = " and ".join(f"{speed.turns:,}" for speed in speeds)
    out.print(
        f"calls on the first rows of the data, at most 1,000 steps, {threads}; medians of {turns} turns of each "
        "network in alternation"
    )


def _faults(output: OutputError, dtype: str) -> list[str]:
    """What a table of errors would hide."""
    found = []
    if output.broken:
        found.append(
            f"output {output.name!r}: {output.broken:,} numbers are NaN or infinite in {dtype}, but not in float32"
        )
    if output.undefined:
        found.append(
            f"output {output.name!r}: {output.undefined:,} numbers are NaN or infinite in float32 already, and were "
            "not compared"
        )
    return found


def growth_text(output: OutputError) -> str:
    """Whether the error of an output grows with the steps."""
    assert output.steps is not None
    name, growth = f"output {output.name!r}", output.steps.growth
    if growth is None:
        return f"{name} has too few steps, or too little error, to tell whether it grows"
    verdict = "GROWS" if output.steps.grows else "does not grow"
    steps = f"the second half of {len(output.steps.rms):,} steps"
    return f"the error of {name} {verdict}: rms times {growth:.2f} over {steps}"


def metric_text(metric: MetricChange, dtype: str) -> str:
    before, after = (_value_text(metric.name, value) for value in (metric.before, metric.after))
    return f"{metric.name}: {before} in float32, {after} in {dtype}; drop {drop_text(metric)} ({metric.count:,} labels)"


def drop_text(metric: MetricChange) -> str:
    """
    >>> from fastgru.quantization import MetricChange
    >>> drop_text(MetricChange("accuracy", "y", 400, 0.9, 0.885)), drop_text(MetricChange("mse", "y", 9, 2.0, 2.01))
    ('1.50 points', '0.500%')
    """
    if math.isnan(metric.drop):
        return "undefined"
    return f"{100 * metric.drop:.2f} points" if metric.name == "accuracy" else f"{metric.drop:.3%}"


def _value_text(name: str, value: float) -> str:
    return f"{value:.2%}" if name == "accuracy" else f"{value:.6g}"


def decibels_text(snr: float) -> str:
    """
    >>> decibels_text(41.234), decibels_text(float("inf")), decibels_text(float("nan"))
    ('41.2 dB', 'no error', '–')
    """
    if math.isnan(snr):
        return "–"
    if math.isinf(snr):
        return "no error" if snr > 0 else "no signal"
    return f"{snr:.1f} dB"


def share_text(share: float, count: int) -> str:
    """A share that says 100% only where it is that.

    >>> share_text(1.0, 1000), share_text(0.99999, 100_000), share_text(0.5, 4)
    ('100% of 1,000', '99.999% of 100,000', '50.00% of 4')
    """
    if share == 1:
        return f"100% of {count:,}"
    digits = next((digits for digits in range(2, 12) if round(100 * share, digits) < 100), 12)
    return f"{100 * share:.{digits}f}% of {count:,}"


def as_plain(
    model_file: Path,
    dtype: str,
    sides: SideBySide,
    report: Report,
    costs: Sequence[LayerCost],
    suggestion: Suggestion | None,
    speeds: Sequence[Speed],
) -> dict[str, Any]:
    """All numbers as plain values."""
    final = None
    if suggestion is not None:
        final = {
            "keep_float32": list(suggestion.keep_float32), "is_met": suggestion.is_met, "runs": suggestion.runs,
            "report": _report(suggestion.report),
        }  # fmt: skip
    narrow = {cost.name: {"kind": cost.kind, "nbytes": cost.nbytes, "nbytes_float32": cost.nbytes_float32,
                          "report": _report(cost.report, steps=False)} for cost in costs}  # fmt: skip
    return {
        "model": model_file.name,
        "fingerprint": sides.model.fingerprint,
        "dtype": dtype,
        "rows": sides.data.rows,
        "report": _report(report),
        "layers": narrow,
        "suggestion": final,
        "speed": [asdict(speed) for speed in speeds],
    }


def _report(report: Report, steps: bool = True) -> dict[str, Any]:
    outputs = []
    for output in report.outputs:
        values = {key: value for key, value in vars(output).items() if key != "steps"}
        if steps and output.steps is not None:
            found = output.steps
            values["steps"] = {
                "largest": found.largest.tolist(), "rms": found.rms.tolist(), "growth": found.growth,
                "grows": found.grows,
            }  # fmt: skip
        outputs.append(values)
    metric = None if report.metric is None else {**asdict(report.metric), "drop": report.metric.drop}
    return {"outputs": outputs, "metric": metric}


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Write plain values; JSON has no infinity and no NaN, which become null."""
    path.write_text(json.dumps(_finite(values), indent=2, allow_nan=False) + "\n", encoding="utf-8")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
