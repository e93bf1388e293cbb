"""Show that resident memory stays flat over a million steps and ten thousand load/discard cycles; else exit 1.

python tools/check_memory.py [--part 0.1]
"""

from __future__ import annotations

import argparse
import gc
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import fastgru
from fastgru.graph import GRU, Activation, Dense, Graph, tensor_spec

STEPS, CYCLES = 1_000_000, 10_000
ALLOWED_MB = 2.0
INTERVALS = 10
H5 = Path(__file__).parents[1] / "tests" / "data" / "keras2" / "tagging.h5"


def resident_mb() -> float:
    """Resident memory now, in MB."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def network() -> fastgru.Model:
    """x (batch, time, 16) → GRU 32 → Dense 4."""
    rng = np.random.default_rng(1)

    def weights(*shape: int) -> np.ndarray:
        return rng.uniform(-0.2, 0.2, shape).astype(np.float32)

    x = tensor_spec("x", None, (16,))
    gru = GRU(
        name="gru", inputs=("x",), units=32, kernel=weights(16, 96), recurrent_kernel=weights(32, 96), bias=weights(96),
        recurrent_bias=weights(96), return_sequences=True,
    )  # fmt: skip
    dense = Dense(name="out", inputs=("gru",), kernel=weights(32, 4), activation=Activation("softmax"))
    return fastgru.Model(Graph((x,), (gru, dense), ("out",)))


def watch(title: str, work: Callable[[], object], count: int) -> bool:
    """Do `work` `count` times, print memory at intervals, say whether it stayed flat after the first interval."""
    print(f"{title}, {count:,} times")
    start, figures = time.perf_counter(), []
    for part in range(1, INTERVALS + 1):
        for _ in range(count // INTERVALS):
            work()
        figures.append(resident_mb())
        print(f"  after {part * (count // INTERVALS):>9,}: {figures[-1]:8.2f} MB")
    growth = max(figures[1:]) - figures[0]
    is_flat = growth <= ALLOWED_MB
    seconds = time.perf_counter() - start
    verdict = "flat" if is_flat else f"NOT FLAT, allowed {ALLOWED_MB} MB"
    print(f"  growth {growth:+.2f} MB in {seconds:.1f} s: {verdict}\n")
    return is_flat


def load_and_run(path: Path, x: np.ndarray) -> Callable[[], object]:
    return lambda: fastgru.load(path)(x)


def main() -> int:
    parser = argparse.ArgumentParser(description="Check that resident memory stays flat.")
    parser.add_argument("--part", type=float, default=1.0, help="share of the full counts, such as 0.1 (default: 1)")
    part = parser.parse_args().part
    steps, cycles = (max(int(part * count), INTERVALS) for count in (STEPS, CYCLES))
    model = network()
    stream, x = model.stream(), np.zeros((1, 16), np.float32)
    flat = [watch("stream.step", lambda: stream.step(x), steps)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "small.safetensors")
        model.save(path)
        flat.append(watch("load, run and discard a .safetensors file", load_and_run(path, x[None]), cycles))
    flat.append(watch("load, run and discard a .h5 file", load_and_run(H5, np.ones((1, 4), np.int32)), cycles))
    return 0 if all(flat) else 1


if __name__ == "__main__":
    sys.exit(main())
