"""What layers.py and networks.py found, as Markdown and as a plot."""

from __future__ import annotations

import json
import platform
import re
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fastgru.bench.cases import Row
from fastgru.bench.compare import geometric_mean

Result = dict[str, Any]
#: heading → whether it means a row, by the row's text
Groups = Mapping[str, Callable[[str], bool]]
GROUPS: Groups = {
    "all rows": lambda row: True,
    "single steps": lambda row: Row.parse(row).is_step,
    "one sequence": lambda row: Row.parse(row).batch == 1 and not Row.parse(row).is_step,
    "batches": lambda row: Row.parse(row).batch > 1,
}
#: what names a row of layers.py
LAYER = "batch,steps,input,hidden"
SIZES = {"L1": 1 / 2, "L2": 1 / 2, "L3": 1 / 4}  # share of a level's size at which its bandwidth is told
MEMORY = 64 << 20


def machine() -> dict[str, Any]:
    """CPU, caches in bytes, kernel and Python."""
    info = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    model = re.search(r"model name\s*:\s*(.*)", info)
    numbers = re.search(r"cpu family\s*:\s*(\d+)\nmodel\s*:\s*(\d+)", info)
    return {
        "cpu": model[1] if model else platform.processor(),
        "family_model": f"{numbers[1]}/{numbers[2]}" if numbers else None,
        "cpus": info.count("processor\t"),
        "caches": caches(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def caches() -> dict[str, int]:
    """Bytes of the first CPU's data caches by level."""
    found = {}
    for folder in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        level, kind, size = ((folder / name).read_text().strip() for name in ("level", "type", "size"))
        if kind != "Instruction":
            found[f"L{level}"] = int(size.rstrip("K")) << 10
    return found


def commit(root: Path) -> str | None:
    """The tree's commit, with a + where it has changes."""
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty=+", "--exclude=*"], cwd=root, capture_output=True, text=True
    )
    return done.stdout.strip() or None


def summary(results: Sequence[Result], groups: Groups = GROUPS) -> dict[str, dict[str, float]]:
    """Geometric means by group of rows: the fastest peer's, and each other contender's, time divided by fastgru's."""
    means: dict[str, dict[str, float]] = {}
    for group, belongs in groups.items():
        chosen = [result for result in results if belongs(result["row"])]
        ratios = {"fastest peer": [result["ratio"] for result in chosen if result["ratio"]]}
        for name in names(chosen)[1:]:
            own = [(r["runs"][name]["seconds"], r["runs"]["fastgru"]["seconds"]) for r in chosen if name in r["runs"]]
            ratios[name] = [theirs / ours for theirs, ours in own]
        found = {name: geometric_mean(values) for name, values in ratios.items() if values}
        if found:
            means[group] = found
    return means


def names(results: Sequence[Result]) -> list[str]:
    """Everyone who ran any row; fastgru first."""
    return list(dict.fromkeys(["fastgru", *(name for result in results for name in result["runs"])]))


def markdown(head: dict[str, Any], results: Sequence[Result], groups: Groups = GROUPS, row_heading: str = LAYER) -> str:
    parts = [
        _about(head), _times(results, row_heading), _means(results, groups), _bounds(results), _notes(head, results)
    ]  # fmt: skip
    return "\n\n".join(part for part in parts if part)


def _about(head: dict[str, Any]) -> str:
    where = head["machine"]
    sizes = ", ".join(f"{level} {size >> 10} KB" for level, size in where["caches"].items())
    versions = ", ".join(f"{name} {version}" for name, version in head["versions"].items())
    threads = "one thread" if head["threads"] == 1 else f"{head['threads']} threads"
    lines = [
        f"{where['cpu']} (family/model {where['family_model']}), {where['cpus']} CPUs, {sizes}; {where['system']}; "
        f"Python {where['python']}.",
        f"{threads.capitalize()}, float32, median of {head['repetitions']} turns. {versions}. Commit {head['commit']}; "
        f"the run took {head['seconds']:.0f} s.",
    ]
    if head["limits"]:
        lines.append(_limits(head))
    return "\n".join(lines)


def _limits(head: dict[str, Any]) -> str:
    import limits

    limit = limits.Limits(**head["limits"])
    reads = {level: limit.gigabytes(size * SIZES[level]) for level, size in head["machine"]["caches"].items()}
    reads["64 MB"] = limit.gigabytes(MEMORY)
    bandwidth = ", ".join(f"{level} {value:.0f}" for level, value in reads.items())
    return (
        f"Limits of a thread, {head['isa']}: {limit.fma_gflops:.0f} GFLOP/s, an FMA takes "
        f"{limit.fma_latency_ns:.2f} ns; reads {bandwidth} GB/s; gates {limit.gates_ns:.2f} ns a unit, latency "
        f"{limit.gates_latency_ns:.0f} ns."
    )


def _times(results: Sequence[Result], row_heading: str) -> str:
    columns, with_bound = names(results), any("share" in result for result in results)
    rows = []
    for result in results:
        cells = [number(result["runs"][name]["seconds"] * 1e6) if name in result["runs"] else "–" for name in columns]
        ratio = "–" if result["ratio"] is None else f"{result['ratio']:.2f}"
        share = [f"{result['share']:.0%}"] if with_bound else []
        rows.append([result["row"], *cells, result["fastest_peer"] or "–", ratio, *share])
    heads = [row_heading, *(f"{name}, µs" for name in columns), "fastest peer", "ratio"]
    return table([*heads, "of the bound"] if with_bound else heads, rows)


def _means(results: Sequence[Result], groups: Groups) -> str:
    means = summary(results, groups)
    if not means:
        return ""
    columns = list(dict.fromkeys(name for group in means.values() for name in group))
    rows = [
        [group, *(f"{found[name]:.2f}" if name in found else "–" for name in columns)] for group, found in means.items()
    ]
    return "Times divided by fastgru's, geometric means:\n\n" + table(["", *columns], rows)


def _bounds(results: Sequence[Result]) -> str:
    parts = ("products", "bytes", "chain", "gates", "total")
    rows = [
        [result["row"], *(number(result["bound"][part]) for part in parts), result["bound"]["by"],
         number(result["runs"]["fastgru"]["seconds"] * 1e6), f"{result['share']:.0%}"]
        for result in results if "bound" in result
    ]  # fmt: skip
    heads = [LAYER, *parts[:-1], "bound", "decided by", "fastgru", "share"]
    about = "Bounds, µs: the largest of products, bytes and chain, plus the gates."
    return f"{about}\n\n{table(heads, rows)}" if rows else ""


def _notes(head: dict[str, Any], results: Sequence[Result]) -> str:
    lines = [f"- {name} did not take part: {reason}" for name, reason in head["missing"].items()]
    reasons: dict[str, list[str]] = {}
    for result in results:
        for name, reason in result["skipped"].items():
            reasons.setdefault(f"{name}: {reason}", []).append(result["row"])
    return "\n".join([*lines, *(f"- {reason} ({len(rows)} rows)" for reason, rows in reasons.items())])


def deliver(text: str, lines: Sequence[Any], markdown_file: Path | None, json_file: Path | None) -> None:
    """Print the text, and write it and the JSON lines to the files that are asked for."""
    print(text)
    if markdown_file:
        markdown_file.write_text(text + "\n")
    if json_file:
        json_file.write_text("".join(json.dumps(line) + "\n" for line in lines))


def number(value: float) -> str:
    """Three significant digits, and all digits before the point.

    >>> number(0.12345), number(1234.5)
    ('0.123', '1,234')
    """
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the first column to the left, the others to the right."""
    line = "|---|" + "---:|" * (len(heads) - 1)
    return "\n".join([f"| {' | '.join(heads)} |", line, *(f"| {' | '.join(row)} |" for row in rows)])


def plot(head: dict[str, Any], results: Sequence[Result], path: Path) -> None:
    """Left the ratio of everyone's time to fastgru's, right fastgru's share of the bound."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(
        1, 2, sharey=True, figsize=(12, 1.5 + 0.28 * len(results)), width_ratios=(3, 1), layout="constrained"
    )
    places = range(len(results))
    for name, marker in zip(names(results)[1:], "os^DvPX*hd", strict=False):
        there = [i for i in places if name in results[i]["runs"]]
        times = [results[i]["runs"][name]["seconds"] / results[i]["runs"]["fastgru"]["seconds"] for i in there]
        left.plot(times, there, marker, label=name)
    left.axvline(1, color="black", linewidth=1)
    left.set_xscale("log")
    left.set_xlabel("time divided by fastgru's (right of the line: fastgru is faster)")
    left.set_yticks(places, [result["row"] for result in results])
    left.invert_yaxis()
    left.grid(axis="both", alpha=0.3)
    figure.legend(loc="outside lower center", ncols=8)
    right.barh(places, [100 * result.get("share", 0) for result in results])
    right.axvline(80, color="black", linewidth=1, linestyle=":")
    right.set_xlabel("fastgru, % of the machine's bound")
    threads = "1 thread" if head["threads"] == 1 else f"{head['threads']} threads"
    figure.suptitle(f"One GRU layer (batch,steps,input,hidden), {head['machine']['cpu']}, {head['isa']}, {threads}")
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
