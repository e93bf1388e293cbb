"""Open a hundred thousand rows in one Stream: what each takes, and that closing and opening takes no more; else exit 1.

    python tools/check_rows.py [--rows 100000] [--units 256]

docs/architecture.md has the formula that is held against resident memory.
"""

from __future__ import annotations

import argparse
import gc
import resource
import statistics
import sys
import time
from pathlib import Path

import numpy as np

import fastgru
from fastgru.graph import GRU, Graph, tensor_spec

INPUTS, STEPPED, ROUNDS = 32, 1000, 20
#: what resident memory may differ by: a share of what a row should take, and bytes, as malloc has its own needs
ALLOWED, ALLOWED_BYTES = 0.02, 32


def resident() -> int:
    """Bytes of resident memory now."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def network(units: int) -> fastgru.Model:
    """x (batch, time, 32) → GRU(units)."""
    rng = np.random.default_rng(1)
    kernel, recurrent = (rng.uniform(-0.1, 0.1, (size, 3 * units)).astype(np.float32) for size in (INPUTS, units))
    gru = GRU(name="gru", inputs=("x",), units=units, kernel=kernel, recurrent_kernel=recurrent)
    return fastgru.Model(Graph((tensor_spec("x", None, (INPUTS,)),), (gru,), ("gru",)))


def row_bytes(*units: int) -> int:
    """What an open row takes."""
    return 42 + sum(8 * (-(-u // 16) * 16) + 1 for u in units)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--units", type=int, default=256)
    options = parser.parse_args()
    rng, model = np.random.default_rng(2), network(options.units)
    x = rng.uniform(-1, 1, (STEPPED, INPUTS)).astype(np.float32)
    stream, rows = model.stream(batch_size=STEPPED), np.zeros(options.rows, np.int64)
    rows[:STEPPED] = stream.rows
    stream.step(x)  # with what a call takes beside its rows
    before, start = resident(), time.perf_counter()
    for i in range(STEPPED, options.rows):
        rows[i] = stream.open()
    opened = (time.perf_counter() - start) / (options.rows - STEPPED)
    for first in range(STEPPED, options.rows, STEPPED):  # a row takes memory when it is first written
        some = rows[first : first + STEPPED]
        stream.step(x[: len(some)], rows=some)
    taken, expected = (resident() - before) / (options.rows - STEPPED), row_bytes(options.units)
    times = []
    for _ in range(ROUNDS):
        some = rng.permutation(rows)[:STEPPED]
        start = time.perf_counter()
        stream.step(x[: len(some)], rows=some)
        times.append(time.perf_counter() - start)
    before = resident()
    for _ in range(3):
        for row in rng.permutation(stream.rows)[: options.rows // 2]:
            stream.close(row)
        while stream.batch_size < options.rows:
            stream.open()
        stream.step(x, rows=stream.rows[:STEPPED])
    growth = resident() - before
    print(f"{options.rows:,} rows of GRU({options.units}), {fastgru.cpu_info()['isa']}")
    print(f"  memory     {taken:,.0f} bytes a row, by the formula {expected:,}")
    print(f"  to open    {opened * 1e6:.2f} µs a row")
    print(f"  to step    {statistics.median(times) * 1e3:.2f} ms for {STEPPED} random rows (median)")
    print(f"  growth     {growth / 1e6:+.1f} MB after half of the rows were closed and opened again, three times")
    allowed = max(ALLOWED * expected, ALLOWED_BYTES)
    return 0 if abs(taken - expected) < allowed and growth < allowed * options.rows else 1


if __name__ == "__main__":
    sys.exit(main())
