"""Does time per step, and does memory, depend on the length of the sequence? Causal networks from 100 to 100,000 steps.

    python tools/bench/length.py --threads 1 --json length.jsonl --markdown length.md
    python tools/bench/length.py --networks "GRU(64)" --batches 1 --steps 100 1000

Exit code 1 where time per step is more than 10 % from that of the fewest steps, where the workspace or resident memory
grows with the steps, or where the workspace is not what the formula of docs/architecture.md says. docs/benchmarks.md
says what is measured and how.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import report

import fastgru
from fastgru.graph import GRU, Activation, Dense, Embedding, Graph, tensor_spec

ROOT = Path(__file__).resolve().parents[2]
STEPS = (100, 1_000, 10_000, 100_000)
BATCHES = (1, 8)
#: how far time per step may be from that of the fewest steps
TOLERANCE = 0.10
#: seconds that a turn lasts at least; a turn has the same steps, in few calls or many
TURN = 0.05
#: growth of resident memory that is no workspace: what Python and the allocator round up
ROUNDING = 512 << 10
VOCABULARY = 10_000
#: steps of a block at most, and bytes that its values stay under where they can (docs/architecture.md)
BLOCK_STEPS, BLOCK_BYTES = 128, 256 << 10


# ---- networks --------------------------------------------------------------------------------------------------------


def gru(rng: np.random.Generator, source: str, inputs: int, units: int) -> GRU:
    limit = 1 / math.sqrt(units)
    shapes = {
        "kernel": (inputs, 3 * units), "recurrent_kernel": (units, 3 * units),
        "bias": (3 * units,), "recurrent_bias": (3 * units,),
    }  # fmt: skip
    weights: dict[str, Any] = {
        name: rng.uniform(-limit, limit, shape).astype(np.float32) for name, shape in shapes.items()
    }
    return GRU(name=f"{source}_gru", inputs=(source,), units=units, return_sequences=True, **weights)


def one_layer(rng: np.random.Generator, units: int) -> Graph:
    return Graph((tensor_spec("x", None, (64,)),), (gru(rng, "x", 64, units),), ("x_gru",))


def tagger(rng: np.random.Generator) -> Graph:
    table = rng.uniform(-1, 1, (VOCABULARY, 128)).astype(np.float32)
    embedding = Embedding(name="embedding", inputs=("x",), table=table)
    first = gru(rng, "embedding", 128, 128)
    second = gru(rng, first.name, 128, 64)
    kernel = rng.uniform(-0.1, 0.1, (64, 10)).astype(np.float32)
    dense = Dense(name="dense", inputs=(second.name,), kernel=kernel, activation=Activation.of("softmax"))
    return Graph((tensor_spec("x", None, (), "int32"),), (embedding, first, second, dense), ("dense",))


#: name → the network; all of them give a sequence
NETWORKS: dict[str, Callable[[np.random.Generator], Graph]] = {
    "GRU(64)": lambda rng: one_layer(rng, 64),
    "GRU(256)": lambda rng: one_layer(rng, 256),
    "Embedding(128) GRU(128) GRU(64) Dense(10)": tagger,
}


def state_bytes(graph: Graph, batch: int, steps: int, lanes: int) -> int:
    """The formula of docs/architecture.md, for a chain of layers that give sequences, after a run of so many steps. An
    embedding stands first and is folded into the GRU behind it: neither vectors nor x-projections are stored."""
    units = [layer.units for layer in graph.layers if isinstance(layer, GRU)]
    chain = [layer for layer in graph.layers if not isinstance(layer, Embedding)]
    features = [graph.specs[layer.name].inner[-1] for layer in chain]
    projected = units[len(graph.layers) - len(chain) :]
    scratch = 3 * up(max(projected, default=0), lanes)
    block = min(steps, BLOCK_STEPS, max(1, BLOCK_BYTES // (batch * 4 * (sum(features) + scratch))))
    states = sum(batch * (8 * up(size, 16) + 1 + 16) for size in units)  # and 16: pointers to the rows of a call
    values = sum(up(4 * batch * block * size, 64) for size in features[:-1])  # the last one is the caller's array
    return 200 + batch + states + values + 4 * batch * up(block * scratch, 16)


def up(size: int, step: int) -> int:
    return -(-size // step) * step


# ---- measuring -------------------------------------------------------------------------------------------------------


class Run:
    """One length of one network: input and output allocated and touched, and a Stream of its own.

    Calls walk through the one long input stretch by stretch, so that every length reads the same numbers: what lies in
    which cache, a token's row of a table above all, does not depend on the length.
    """

    def __init__(self, model: fastgru.Model, x: np.ndarray, steps: int, threads: int) -> None:
        batch, self.steps = len(x), steps
        self.stretches = [x[:, end - steps : end].copy() for end in range(steps, x.shape[1] + 1, steps)]
        self.called = 0
        self.clock = time.process_time if threads == 1 else time.perf_counter  # neighbours cost a lone thread nothing
        self.y = np.full((batch, self.steps, *model.outputs[0].inner), np.nan, np.float32)
        self.stream = model.stream(batch_size=batch, threads=threads)
        self.grown = resident_growth(lambda: self.seconds(1))  # the first run is where memory would grow
        self.nbytes = self.stream.nbytes
        self.times: list[float] = []

    def seconds(self, calls: int) -> float:
        """Of a step; each call goes on from the state that the last one left."""
        run, y, count = self.stream.run, self.y, len(self.stretches)
        stretches = [self.stretches[call % count] for call in range(self.called, self.called + calls)]
        self.called += calls
        start = self.clock()
        for x in stretches:
            run(x, out=y)
        return (self.clock() - start) / (calls * self.steps)


def resident_growth(work: Callable[[], Any]) -> int | None:
    """By how much the most resident bytes while `work` runs are above those before; None where nobody tells."""
    try:
        Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts anew
        before = status("VmRSS")
        work()
        return max(0, status("VmHWM") - before)
    except OSError:
        work()
        return None


def status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(f"{name}:"))


def measure(name: str, batch: int, options: argparse.Namespace) -> list[dict[str, Any]]:
    """One network at every number of steps, taking turns in alternating order; a result for each."""
    rng = np.random.default_rng(7)
    graph = NETWORKS[name](rng)
    model = fastgru.Model(graph, threads=options.threads)
    shape = (batch, max(options.steps))
    spec = graph.inputs[0]
    ids = spec.dtype == "int32"
    x = rng.integers(VOCABULARY, size=shape, dtype=np.int32) if ids else rng.random((*shape, *spec.inner), np.float32)
    runs = [Run(model, x, steps, options.threads) for steps in options.steps]
    del x
    turn = max(*options.steps, math.ceil(TURN / runs[-1].seconds(1)))
    for i in range(options.repetitions):
        for run in runs[:: 1 if i % 2 == 0 else -1]:
            run.times.append(run.seconds(math.ceil(turn / run.steps)))
    lanes = {"scalar": 1, "avx2": 8, "avx512": 16}[model.isa.partition("_")[0]]
    return [
        {
            "network": name, "batch": batch, "steps": run.steps, "seconds_a_step": statistics.median(run.times),
            "ratio": statistics.median(np.divide(run.times, runs[0].times).tolist()), "nbytes": run.nbytes,
            "formula": state_bytes(graph, batch, run.steps, lanes), "resident_growth": run.grown,
            "input_output_bytes": run.stretches[0].nbytes + run.y.nbytes,
        }
        for run in runs
    ]  # fmt: skip


def faults(results: Sequence[dict[str, Any]]) -> list[str]:
    """What of one network at one batch breaks the promise."""
    found = []
    for result in results:
        at = f"{result['network']}, batch {result['batch']}, {result['steps']:,} steps"
        if abs(result["ratio"] - 1) > TOLERANCE:
            found.append(f"{at}: a step takes {result['ratio']:.2f} of the time at {results[0]['steps']:,} steps")
        if result["nbytes"] != result["formula"]:
            found.append(f"{at}: workspace of {result['nbytes']:,} bytes, by the formula {result['formula']:,}")
        if (result["resident_growth"] or 0) > result["nbytes"] + ROUNDING:
            found.append(f"{at}: resident memory grew by {result['resident_growth']:,} bytes")
    sizes = {result["nbytes"] for result in results if result["steps"] >= BLOCK_STEPS}
    if len(sizes) > 1:
        found.append(f"{results[0]['network']}, batch {results[0]['batch']}: workspaces of {sorted(sizes)} bytes")
    return found


# ---- telling ---------------------------------------------------------------------------------------------------------


def markdown(head: dict[str, Any], results: Sequence[dict[str, Any]]) -> str:
    rows = [
        [
            result["network"], str(result["batch"]), f"{result['steps']:,}",
            report.number(result["seconds_a_step"] * 1e6), f"{result['ratio']:.3f}",
            f"{result['nbytes']:,}", f"{result['formula']:,}",
            "–" if result["resident_growth"] is None else f"{result['resident_growth'] >> 10:,}",
            f"{result['input_output_bytes'] / 1e6:,.1f}",
        ]
        for result in results
    ]  # fmt: skip
    heads = ["network", "batch", "steps", "a step, µs", "ratio", "workspace, bytes", "by the formula", "RSS growth, KB"]
    where, threads = head["machine"], "one thread" if head["threads"] == 1 else f"{head['threads']} threads"
    about = (
        f"{where['cpu']} (family/model {where['family_model']}); fastgru {head['fastgru']} {head['isa']}, {threads}, "
        f"median of {head['repetitions']} turns. Commit {head['commit']}; the run took {head['seconds']:.0f} s."
    )
    return f"{about}\n\n{report.table([*heads, 'input and output, MB'], rows)}"


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=list(NETWORKS), metavar="NETWORK")
    parser.add_argument("--batches", nargs="+", type=int, default=BATCHES)
    parser.add_argument("--steps", nargs="+", type=int, default=STEPS, help="the first is what ratios are taken to")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repetitions", type=int, default=7, help="turns of each number of steps")
    parser.add_argument("--json", type=Path, help="JSON lines: what was measured where, then a line a length")
    parser.add_argument("--markdown", type=Path)
    return parser.parse_args()


def main() -> None:
    options = parse()
    start, results, wrong = time.perf_counter(), [], []
    for name in options.networks:
        for batch in options.batches:
            measured = measure(name, batch, options)
            times = ", ".join(f"{r['steps']:,}: {r['seconds_a_step'] * 1e6:.4g}" for r in measured)
            print(f"{name}, batch {batch}: µs a step at {times}", file=sys.stderr, flush=True)
            wrong += faults(measured)
            results += measured
    head = {
        "machine": report.machine(), "fastgru": fastgru.__version__, "isa": fastgru.cpu_info()["isa"],
        "threads": options.threads, "repetitions": options.repetitions, "commit": report.commit(ROOT),
        "seconds": round(time.perf_counter() - start, 1), "faults": wrong,
    }  # fmt: skip
    report.deliver(markdown(head, results), [head, *results], options.markdown, options.json)
    if wrong:
        sys.exit("\n".join(["", *wrong]))


if __name__ == "__main__":
    main()
