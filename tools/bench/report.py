"""What layers.py and networks.py found, as Markdown and as a plot."""

from __future__ import annotations

import json
import platform
import re
import subprocess
from collections.abc import Callable, Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

from fastgru.bench.cases import Row
from fastgru.bench.compare import geometric_mean

Result = dict[str, Any]
#: heading → whether it means a row, by the row's text
Groups = Mapping[str, Callable[[str], bool]]
GROUPS: Groups = {
    "all rows": lambda row: True,
    "usual rows": lambda row: is_usual(Row.parse(row)),
    "single steps": lambda row: Row.parse(row).is_step,
    "one sequence": lambda row: Row.parse(row).batch == 1 and not Row.parse(row).is_step,
    "batches": lambda row: Row.parse(row).batch > 1,
    "batch 1, 128 units or more": lambda row: Row.parse(row).batch == 1 and Row.parse(row).units >= 128,
}
#: what a narrow fastgru always stands beside
_BESIDE = ("fastest peer", "fastgru")
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


def is_usual(row: Row) -> bool:
    """One direction, reset_after, no padding, 32 units or more, at most 256 rows: 17 rows of layers.py."""
    return row.reset_after and not row.padded and not row.bidirectional and row.units >= 32 and row.batch <= 256


def summary(results: Sequence[Result], groups: Groups = GROUPS) -> dict[str, dict[str, float]]:
    """Geometric means by group of rows: the fastest peer's, and each other contender's, time divided by fastgru's.

    fastgru with narrow weights is in `narrow_summary`.
    """
    means: dict[str, dict[str, float]] = {}
    for group, belongs in groups.items():
        chosen = [result for result in results if belongs(result["row"])]
        ratios = {"fastest peer": [result["ratio"] for result in chosen if result["ratio"]]}
        for name in columns_of(chosen)[1:]:
            ratios[name] = times_as_fast("fastgru", name, chosen)
        found = {name: geometric_mean(values) for name, values in ratios.items() if values}
        if found:
            means[group] = found
    return means


def narrow_summary(results: Sequence[Result], groups: Groups = GROUPS) -> dict[str, dict[str, dict[str, Any]]]:
    """How many times as fast as others each fastgru with narrow weights is, by its name and the group of rows.

    Geometric means: beside the fastest peer in float32, beside fastgru in float32, and beside each peer that is narrow
    itself. ``slowest``: the row on which it gains least beside fastgru in float32, and how much. ``difference``: the
    row on which it differs most from the formula, and by how much.
    """
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for name in narrow_names(results):
        for group, belongs in groups.items():
            chosen = [result for result in results if belongs(result["row"]) and name in result["runs"]]
            ratios = {"fastest peer": [r["ratios"][name] for r in chosen if name in r["ratios"]]}
            ratios |= {other: times_as_fast(name, other, chosen) for other in ("fastgru", *narrow_peers(results))}
            if chosen:
                slowest = min(chosen, key=lambda one: times_as_fast(name, "fastgru", [one])[0])
                worst = max(chosen, key=lambda one: one["runs"][name]["difference"])
                found.setdefault(name, {})[group] = {
                    **{other: geometric_mean(values) for other, values in ratios.items() if values},
                    "slowest": [slowest["row"], times_as_fast(name, "fastgru", [slowest])[0]],
                    "difference": [worst["row"], worst["runs"][name]["difference"]],
                }
    return found


def times_as_fast(name: str, other: str, results: Sequence[Result]) -> list[float]:
    """The other's time divided by one's, on each row that both ran."""
    both = [result["runs"] for result in results if {name, other} <= result["runs"].keys()]
    return [runs[other]["seconds"] / runs[name]["seconds"] for runs in both]


def names(results: Sequence[Result]) -> list[str]:
    """Everyone who ran any row; fastgru first."""
    return list(dict.fromkeys(["fastgru", *(name for result in results for name in result["runs"])]))


def narrow_names(results: Sequence[Result]) -> list[str]:
    """The forms of fastgru with narrow weights."""
    return [name for name in _narrow(results) if name.startswith("fastgru")]


def narrow_peers(results: Sequence[Result]) -> list[str]:
    return [name for name in _narrow(results) if not name.startswith("fastgru")]


def columns_of(results: Sequence[Result]) -> list[str]:
    """Everyone but fastgru with narrow weights, which has tables of its own."""
    own = narrow_names(results)
    return [name for name in names(results) if name not in own]


def _narrow(results: Sequence[Result]) -> list[str]:
    runs = [run for result in results for run in result["runs"].items()]
    return list(dict.fromkeys(name for name, run in runs if run["dtype"] != "float32"))


def markdown(head: dict[str, Any], results: Sequence[Result], groups: Groups = GROUPS, row_heading: str = LAYER) -> str:
    parts = [
        _about(head), _times(results, row_heading), _means(results, groups), _narrow_means(results, groups),
        *(_narrow_times(name, results, row_heading) for name in narrow_names(results)), _bounds(results),
        _notes(head, results),
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
        f"{threads.capitalize()}, float32 unless a name says otherwise, median of {head['repetitions']} turns with the "
        f"cores alone. {versions}. Commit {head['commit']}; the run took {head['seconds']:.0f} s.",
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
    columns, with_bound = columns_of(results), any("share" in result for result in results)
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


def _narrow_means(results: Sequence[Result], groups: Groups) -> str:
    peers, means = narrow_peers(results), narrow_summary(results, groups)
    rows = [
        [f"{name}: {group}", *(f"{found[other]:.2f}" if other in found else "–" for other in (*_BESIDE, *peers)),
         "{1:.2f} ({0})".format(*found["slowest"]), "{1:.1e} ({0})".format(*found["difference"])]
        for name, by_group in means.items() for group, found in by_group.items()
    ]  # fmt: skip
    about = (
        "Narrow weights: times divided by those of the narrow fastgru, geometric means; the least gain beside fastgru "
        "in float32; the largest difference from what the weights give before they are rounded."
    )
    heads = ["", "fastest float32 peer", "fastgru", *peers, "least beside fastgru", "largest error"]
    return f"{about}\n\n{table(heads, rows)}" if rows else ""


def _narrow_times(name: str, results: Sequence[Result], row_heading: str) -> str:
    peers, rows = narrow_peers(results), []
    for result in (one for one in results if name in one["runs"]):
        ratios = [result["ratios"].get(name), *(_ratio(name, other, result) for other in ("fastgru", *peers))]
        errors = [result["runs"].get(one, {}).get("difference") for one in (name, *peers)]
        rows.append([
            result["row"], number(result["runs"][name]["seconds"] * 1e6), result["fastest_peer"] or "–",
            *("–" if ratio is None else f"{ratio:.2f}" for ratio in ratios),
            *("–" if error is None else f"{error:.1e}" for error in errors),
        ])  # fmt: skip
    heads = [
        row_heading, f"{name}, µs", "fastest float32 peer", "ratio", "to fastgru", *(f"to {peer}" for peer in peers),
        "error", *(f"error of {peer}" for peer in peers),
    ]  # fmt: skip
    return table(heads, rows)


def _ratio(name: str, other: str, result: Result) -> float | None:
    return next(iter(times_as_fast(name, other, [result])), None)


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
    shared = [result["row"] for result in results if not result["alone"]]
    if shared:
        lines.append(f"- others computed on the same cores in most turns, so all turns count: {', '.join(shared)}")
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
    for name, marker in zip(names(results)[1:], cycle("os^DvPX*hd<>"), strict=False):
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
