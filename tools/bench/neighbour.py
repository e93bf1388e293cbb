"""Two threads beside a busy neighbour: how much is lost when another process spins on one of the CPUs?

    python tools/bench/neighbour.py --json neighbour.jsonl --markdown neighbour.md
    python tools/bench/neighbour.py --rows 1,100,256,256 --calls 2000

Needs two CPUs. Exit code 1 where, beside the neighbour, the median call with two threads takes more than 1.5 times the
median call with one. docs/benchmarks.md says what is measured and how.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import report

import fastgru
from fastgru.bench.cases import Row, random_case
from fastgru.bench.peers import FastGRU

ROOT = Path(__file__).resolve().parents[2]
ROWS = ("1,100,256,256", "1,200,128,128", "8,100,128,128", "64,20,128,128", "1,100,512,512")
#: how much slower than one thread two may be
LIMIT = 1.5
#: calls of a turn: enough for a scheduler to move threads about within one
TURN = 50
#: what is told of the calls: name → percentile
PERCENTILES = {"median": 50.0, "p99": 99.0, "p99.9": 99.9, "max": 100.0}
#: spins on one CPU, and ends when its parent has
SPIN = """
import os, sys
os.sched_setaffinity(0, {int(sys.argv[1])})
parent = os.getppid()
print("spinning", flush=True)
while os.getppid() == parent:
    for _ in range(1_000_000):
        pass
"""


@contextmanager
def neighbour(cpu: int) -> Iterator[subprocess.Popen[bytes]]:
    """Another process that takes all it can get of a CPU."""
    with subprocess.Popen([sys.executable, "-c", SPIN, str(cpu)], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            yield process
        finally:
            process.kill()


def call_of(row: Row, threads: int) -> Callable[[], Any]:
    """``model(x, out=y)``, or a step of a stream."""
    return FastGRU(threads).routes(random_case(row))[0].call


def turns(calls: dict[int, Callable[[], Any]], count: int) -> dict[int, list[float]]:
    """Seconds of every single call of each, `count` of them, taking turns in alternating order."""
    times: dict[int, list[float]] = {threads: [] for threads in calls}
    for i in range(-(-count // TURN)):
        for threads in list(calls)[:: 1 if i % 2 == 0 else -1]:
            call = calls[threads]
            for _ in range(TURN):
                start = time.perf_counter()
                call()
                times[threads].append(time.perf_counter() - start)
    return times


def measure(row: Row, cpu: int, count: int) -> dict[str, Any]:
    """Percentiles of a row's calls with one thread and with two, alone and beside the neighbour."""
    calls = {threads: call_of(row, threads) for threads in (1, 2)}
    result: dict[str, Any] = {"row": str(row)}
    for place, company in ("alone", nullcontext()), ("beside", neighbour(cpu)):
        with company:
            turns(calls, TURN)
            times = turns(calls, count)
        result[place] = {
            str(threads): {name: float(np.percentile(times[threads], at)) for name, at in PERCENTILES.items()}
            for threads in calls
        }
        result[place]["ratio"] = result[place]["2"]["median"] / result[place]["1"]["median"]
    return result


def markdown(head: dict[str, Any], results: Sequence[dict[str, Any]]) -> str:
    rows = [
        [
            result["row"], {"alone": "alone", "beside": "busy"}[place], threads,
            *(report.number(result[place][threads][name] * 1e6) for name in PERCENTILES),
            f"{result[place]['ratio']:.2f}" if threads == "2" else "",
        ]
        for result in results for place in ("alone", "beside") for threads in ("1", "2")
    ]  # fmt: skip
    where = head["machine"]
    about = (
        f"{where['cpu']} (family/model {where['family_model']}), {where['cpus']} CPUs; "
        f"fastgru {head['fastgru']} {head['isa']}, {head['calls']:,} calls of each. Commit {head['commit']}; "
        f"the run took {head['seconds']:.0f} s."
    )
    heads = ["batch,steps,input,hidden", "neighbour", "threads", *(f"{name}, µs" for name in PERCENTILES), "ratio"]
    return f"{about}\n\n{report.table(heads, rows)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    row = "batch,steps,input,hidden[/before][/lengths]"
    parser.add_argument("--rows", nargs="+", default=ROWS, metavar="ROW", help=row)
    parser.add_argument("--calls", type=int, default=1000, help="calls of each number of threads; %(default)s")
    parser.add_argument("--json", type=Path, help="JSON lines: what was measured where, then a line a row")
    parser.add_argument("--markdown", type=Path)
    options = parser.parse_args()
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        sys.exit("two threads and a neighbour need two CPUs; this process may use one")
    os.sched_setaffinity(0, cpus[-2:])
    start, results = time.perf_counter(), []
    for text in options.rows:
        results.append(measure(Row.parse(text), cpus[-1], options.calls))
        ratios = ", ".join(f"{place} {results[-1][place]['ratio']:.2f}" for place in ("alone", "beside"))
        print(f"{text}: two threads take of one thread's time {ratios}", file=sys.stderr, flush=True)
    head = {
        "machine": report.machine(), "fastgru": fastgru.__version__, "isa": fastgru.cpu_info()["isa"],
        "calls": options.calls, "commit": report.commit(ROOT), "seconds": round(time.perf_counter() - start, 1),
    }  # fmt: skip
    report.deliver(markdown(head, results), [head, *results], options.markdown, options.json)
    slow = [result["row"] for result in results if result["beside"]["ratio"] > LIMIT]
    if slow:
        sys.exit(f"two threads are more than {LIMIT} times slower than one beside the neighbour: {'; '.join(slow)}")


if __name__ == "__main__":
    main()
