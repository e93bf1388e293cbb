"""The machine's own limits, measured, and how fast a row could be at best.

A run of one GRU layer cannot be faster than::

    max(products, bytes, chain) + gates

products  multiply-adds of both products / FMA rate (of all threads)
bytes     what must be read and written: the recurrent weights once a step, the input weights and x once, y once; each
          in the time of a sweep over as much memory (per thread its share, all threads at once)
chain     of a step nothing can start before the state of the last one stands, and an output is one chain of FMAs in
          one order (the rule of the same bits): steps × depth × latency of an FMA. The depth is hidden for sequences,
          input + hidden for a single step, and 2 × hidden without reset_after, where the candidate waits for the gates
gates     steps and rows × hidden units at the measured rate of two sigmoids and a tanh, but a step not less than their
          latency once: no step's result stands before its last gates

A bidirectional row has twice the products, weights, outputs and gates, but reads x once. What is a latency (the
chain, and the least time of the gates) stays that of one direction: neither waits for the other, so their steps may
run side by side, on two threads or as two chains in the instruction stream of one.

Everything is measured with the ISA that fastgru uses, by limits.c.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fastgru.bench.cases import Case

ROOT = Path(__file__).resolve().parents[2]
#: ISA → flags; as in setup.py
FLAGS = {
    "scalar": [],
    "avx2": ["-mavx2", "-mfma"],
    "avx512": ["-mavx2", "-mfma", "-mavx512f", "-mavx512vl", "-mavx512dq", "-mavx512bw"],
}
FLOAT = 4


@dataclass(frozen=True)
class Limits:
    """What each of a number of threads can do while the others do the same.

    Attributes
    ----------
    fma_gflops, fma_latency_ns : float
        Rate, and latency of one multiply-add.
    gates_ns, gates_latency_ns : float
        Of the gates of one unit when many are computed, and from a unit's sums to its state.
    sweeps : sequence of (bytes, nanoseconds)
        Time to read that much memory once, when it is read again and again, forwards and backwards in turn.
    """

    threads: int
    fma_gflops: float
    fma_latency_ns: float
    gates_ns: float
    gates_latency_ns: float
    sweeps: Sequence[tuple[int, float]]

    def sweep_ns(self, size: float) -> float:
        """Time to read `size` bytes of a working set of that size."""
        sizes, times = np.array(self.sweeps, float).T
        return size / float(np.interp(np.log(max(size, 1.0)), np.log(sizes), sizes / times))

    def gigabytes(self, size: float) -> float:
        """Bandwidth of one thread in a working set of `size` bytes, in GB/s."""
        return size / self.sweep_ns(size)

    def better(self, other: Limits) -> Limits:
        """The better of two measurements of the same machine, each by each."""
        return Limits(
            self.threads,
            max(self.fma_gflops, other.fma_gflops),
            min(self.fma_latency_ns, other.fma_latency_ns),
            min(self.gates_ns, other.gates_ns),
            min(self.gates_latency_ns, other.gates_latency_ns),
            [(size, min(a, b)) for (size, a), (_, b) in zip(self.sweeps, other.sweeps, strict=True)],
        )


def measure(isa: str, threads: int) -> Limits:
    """Compile limits.c for an ISA and run it: about two seconds, with all threads busy."""
    family = next(name for name in ("avx512", "avx2", "scalar") if isa.startswith(name))
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "limits"
        subprocess.run(
            ["gcc", "-std=gnu11", "-O3", "-ffp-contract=off", "-fopenmp", *FLAGS[family], f"-I{ROOT / 'csrc'}",
             "-include", f"simd/vec_{family}.h", Path(__file__).with_name("limits.c"), "-o", program, "-lm"],
            check=True,
        )  # fmt: skip
        text = subprocess.run([program, str(threads)], check=True, capture_output=True, text=True).stdout
    return Limits(threads, **json.loads(text))


def bound(case: Case, limits: Limits) -> dict[str, Any]:
    """The parts of a case's bound in microseconds, their sum as ``total``, and by ``by`` the part that decides."""
    row, threads = case.row, limits.threads
    steps, recurrent, kernel = row.steps, 3 * row.units**2, 3 * row.inputs * row.units
    sides = row.directions
    products = sides * 2 * case.row_steps * (recurrent + kernel) / (limits.fma_gflops * threads)
    if steps == 1:
        moved = limits.sweep_ns((recurrent + kernel) * FLOAT / threads)
    else:
        moved = steps * limits.sweep_ns(recurrent * FLOAT / threads) + limits.sweep_ns(kernel * FLOAT / threads)
    moved *= sides
    moved += limits.sweep_ns(case.row_steps * (row.inputs + sides * row.units) * FLOAT / threads)
    depth = (1 if row.reset_after else 2) * row.units + (row.inputs if steps == 1 else 0)
    parts = {
        "products": products,
        "bytes": moved,
        "chain": steps * depth * limits.fma_latency_ns,
        "gates": max(sides * case.row_steps * row.units * limits.gates_ns / threads, steps * limits.gates_latency_ns),
    }
    largest = max(("products", "bytes", "chain"), key=lambda name: parts[name])
    total = parts[largest] + parts["gates"]
    return {**{name: ns / 1e3 for name, ns in parts.items()}, "total": total / 1e3, "by": largest}
