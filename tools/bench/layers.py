"""One GRU layer at a time: fastgru beside other runtimes, and beside what the machine can do at best.

    python tools/bench/layers.py --threads 1 --json layers.jsonl --markdown layers.md --plot layers.png
    python tools/bench/layers.py --rows 1,1,64,64 8,100,128,128/before --peers onnxruntime,torch
    python tools/bench/layers.py --isa avx2 --peers onnxruntime --against-commit HEAD~3
    python tools/bench/layers.py --dtypes bfloat16,int8 --peers onnxruntime,openvino,openvino-bf16

fastgru takes part in float32 and, as `--dtypes` says, with narrow weights; these are compared with the fastest peer in
float32, with fastgru in float32 and with openvino-bf16.

Needs the peers that shall take part (onnxruntime and onnx, openvino, torch, ai-edge-litert, tract, and
scipy-openblas32 for fastgru-blas; what is not installed is named and left out), gcc, and matplotlib for the plot.
docs/benchmarks.md says what is measured and how.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import limits
import report

import fastgru
from fastgru.bench.cases import ROW_FORM, Row, random_case
from fastgru.bench.compare import PATIENCE, Comparison, Contender, contenders
from fastgru.bench.peers import own_names
from fastgru.narrowing import DTYPES

ROOT = Path(__file__).resolve().parents[2]
STEP_SIZES = (4, 8, 16, 32, 64, 128, 256, 512, 1024)
ROWS = [
    *(f"1,1,{size},{size}" for size in STEP_SIZES),
    "1,28,28,100", "1,100,256,64", "1,200,128,128", "1,100,256,256", "1,100,512,512", "1,1000,16,16",
    "8,100,128,128", "64,200,128,128", "100,28,28,100", "64,100,256,256", "64,50,512,512", "256,50,64,64",
    "1024,20,32,32",
    "1,1,64,64/before", "1,100,256,256/before", "8,100,128,128/before", "64,100,256,256/before",
    "64,200,128,128/lengths", "256,50,64,64/lengths",
    "1,100,256,256/bidirectional", "8,100,128,128/bidirectional", "64,100,256,256/bidirectional",
]  # fmt: skip
DEFAULT_PEERS = "fastgru-blas,onnxruntime,torch,openvino,litert,tract,openvino-bf16"


def main() -> None:
    options = parse()
    if options.isa:
        os.environ["FASTGRU_ISA"] = options.isa
    rows = [Row.parse(text) for text in options.rows]
    taking_part = contenders([*own_names(options.dtypes), *options.peers.split(",")])
    start = time.perf_counter()
    isa, limit = fastgru.cpu_info()["isa"], None
    if not options.no_limits:
        limit = limits.measure(isa, options.threads)
    other = build_commit(options.against_commit) if options.against_commit else nullcontext()
    with other as commit:
        if commit is not None:
            taking_part.append(commit)
        with Comparison(taking_part, options.threads, options.patience) as comparison:
            for name, reason in comparison.missing.items():
                print(f"!! {name} does not take part: {reason}", file=sys.stderr)
            results = [measure(comparison, row, options.repetitions) for row in rows]
            versions, missing = comparison.versions, comparison.missing
    if limit is not None:
        limit = limit.better(limits.measure(isa, options.threads))
        for result in results:
            add_bound(result, limit)
    head = {
        "machine": report.machine(), "isa": isa, "threads": options.threads, "repetitions": options.repetitions,
        "versions": versions, "missing": missing,
        "limits": None if limit is None else dataclasses.asdict(limit), "commit": report.commit(ROOT),
        "seconds": round(time.perf_counter() - start, 1),
    }  # fmt: skip
    write(options, head, results)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="+", default=ROWS, metavar="ROW", help=ROW_FORM)
    parser.add_argument("--peers", default=DEFAULT_PEERS, help="comma-separated; %(default)s")
    parser.add_argument("--dtypes", type=dtypes, default=DTYPES, help="of fastgru, beside float32; all, unless given")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repetitions", type=int, default=11, help="turns of each peer on each row")
    parser.add_argument(
        "--patience", type=int, default=PATIENCE, metavar="TIMES",
        help="so many times these turns at most, to find as many with the cores alone; %(default)s",
    )  # fmt: skip
    parser.add_argument("--isa", help="the kernel set of fastgru, and of the limits; peers stay as they are")
    parser.add_argument("--against-commit", metavar="REF", help="build this commit of fastgru, and let it take part")
    parser.add_argument("--no-limits", action="store_true", help="no bounds; needs no gcc")
    parser.add_argument("--json", type=Path, help="JSON lines: what was measured where, then a line a row")
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--plot", type=Path, help="PNG")
    return parser.parse_args()


def dtypes(text: str) -> list[str]:
    """Comma-separated."""
    found = text.split(",")
    unknown = [dtype for dtype in found if dtype not in DTYPES]
    if unknown:
        raise argparse.ArgumentTypeError(f"unknown dtype {', '.join(unknown)}: expected some of {', '.join(DTYPES)}")
    return found


def measure(comparison: Comparison, row: Row, repetitions: int) -> dict[str, Any]:
    """One row on everyone, told on stderr as it stands."""
    result = comparison.measure(random_case(row), repetitions)
    times = ", ".join(f"{name} {run['seconds'] * 1e6:.4g}" for name, run in result["runs"].items())
    print(f"{row}: {times} µs", file=sys.stderr, flush=True)
    return result


def add_bound(result: dict[str, Any], limit: limits.Limits) -> None:
    result["bound"] = limits.bound(random_case(Row.parse(result["row"])), limit)
    result["share"] = result["bound"]["total"] / (result["runs"]["fastgru"]["seconds"] * 1e6)


@contextmanager
def build_commit(ref: str) -> Iterator[Contender]:
    """A commit's fastgru, built in a folder of its own that goes when the comparison is over."""
    with tempfile.TemporaryDirectory() as folder:
        archive = subprocess.run(["git", "archive", ref], cwd=ROOT, check=True, capture_output=True).stdout
        subprocess.run(["tar", "-x"], cwd=folder, input=archive, check=True)
        build = [sys.executable, "setup.py", "-q", "build_ext", "--inplace"]
        done = subprocess.run(build, cwd=folder, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"{ref} does not build here:\n{done.stderr}")
        yield Contender(f"fastgru@{ref}", "fastgru", {"PYTHONPATH": str(Path(folder, "src"))})


def write(options: argparse.Namespace, head: dict[str, Any], results: list[dict[str, Any]]) -> None:
    lines = [{**head, "summary": report.summary(results), "narrow": report.narrow_summary(results)}, *results]
    report.deliver(report.markdown(head, results), lines, options.markdown, options.json)
    if options.plot:
        report.plot(head, results, options.plot)


if __name__ == "__main__":
    main()
