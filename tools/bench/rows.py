"""What a row costs in a call of many rows, beside a step of a lone row: ratios of one process.

    python tools/bench/rows.py --threads 1,2 --units 128 --rows 1000
    python tools/bench/rows.py --dtype int8

Every figure is the median of rounds in which all ways take turns.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np

import fastgru
from fastgru.graph import GRU, Graph, tensor_spec
from fastgru.narrowing import DTYPES

ROUNDS, ROUND_SECONDS = 15, 0.05


def network(units: int, dtype: str) -> fastgru.Model:
    """x (batch, time, units) → GRU(units), its last output."""
    rng = np.random.default_rng(1)
    names = {"kernel": (units, 3 * units), "recurrent_kernel": (units, 3 * units)}
    names |= {"bias": (3 * units,), "recurrent_bias": (3 * units,)}
    arrays = {name: rng.uniform(-0.1, 0.1, shape).astype(np.float32) for name, shape in names.items()}
    gru = GRU(name="gru", inputs=("x",), units=units, **arrays)
    return fastgru.Model(Graph((tensor_spec("x", None, (units,)),), (gru,), ("gru",)), dtype=dtype)


def ways(units: int, rows: int, threads: int, dtype: str) -> dict[str, tuple[Callable[[], object], int]]:
    """By title: a call, and how many row-steps it makes."""
    model, rng = network(units, dtype), np.random.default_rng(2)
    x = rng.uniform(-1, 1, (rows, units)).astype(np.float32)
    lone = model.stream(threads=1)
    # one each: where calls of one stream change in size, it tries its threads anew
    many, named, some = (model.stream(batch_size=rows, threads=threads) for _ in range(3))
    handles = many.rows
    out = np.empty((rows, units), np.float32)
    subsets = [rng.permutation(handles)[: rows // 10] for _ in range(10)]

    def step_subset() -> None:
        subset = subsets[0]
        subsets.append(subsets.pop(0))
        some.step(x[: len(subset)], rows=subset)

    return {
        "a lone step": (lambda: lone.step(x[:1]), 1),
        "all rows, rows=None": (lambda: many.step(x, out=out), rows),
        "all rows, rows=array": (lambda: named.step(x, rows=handles, out=out), rows),
        "random tenths, rows=array": (step_subset, rows // 10),
    }


def seconds(call: Callable[[], object]) -> float:
    """Of one call, in a round."""
    count, start = 0, time.perf_counter()
    while (now := time.perf_counter()) - start < ROUND_SECONDS:
        call()
        count += 1
    return (now - start) / count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", default="1,2", help="of the calls with many rows (default: 1,2)")
    parser.add_argument("--units", type=int, default=128)
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--dtype", default="float32", choices=DTYPES, help="of the weights")
    options = parser.parse_args()
    for threads in map(int, options.threads.split(",")):
        about = f"GRU({options.units}), {options.dtype}, {options.rows} rows, {threads} thread(s)"
        print(f"{about}, {fastgru.cpu_info()['isa']}")
        found = ways(options.units, options.rows, threads, options.dtype)
        times: dict[str, list[float]] = {title: [] for title in found}
        for _ in range(ROUNDS):
            for title, (call, count) in found.items():
                times[title].append(seconds(call) / count)
        lone = statistics.median(times["a lone step"])
        for title, figures in times.items():
            median = statistics.median(figures)
            print(f"  {title:28} {median * 1e6:8.3f} µs a row-step  {median / lone:6.1%} of a lone step")


if __name__ == "__main__":
    main()
