"""Many streams through a StreamPool: how near it is to one big batch, and how long a short chunk waits for long ones.

    python tools/bench/pool.py
    python tools/bench/pool.py --rows 1000 --rounds 5 --threads 1 --json pool.jsonl --markdown pool.md

Throughput: 8 producer threads submit chunks of 50 steps of 10,000 rows of a GRU(128), two a row. Every result is
compared with `Stream.run` of all rows, with ==; the time is told as a share of that of one big batch, whose rows are
those that are fastest among a few numbers, on as many threads. Head of line: while 16 rows run chunks of 5,000 steps of
a GRU(256), a new row's chunk of 10 steps, against the same chunk through an idle pool, and against batches that run to
completion. docs/benchmarks.md says how things are measured.
"""

from __future__ import annotations

import argparse
import queue
import random
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import report

import fastgru
from fastgru.bench.cases import Row, random_case
from fastgru.bench.peers import PEERS, own_names
from fastgru.narrowing import DTYPES

ROOT = Path(__file__).resolve().parents[2]
PRODUCERS, CHUNK, CHUNKS = 8, 50, 2
#: rows of a call in which the big batch is run; 0: all
BATCHES = (0, 1024, 256, 64)
LONG_ROWS, LONG_STEPS, SHORT_STEPS = 16, 5000, 10
#: what must be reached: a share of the big batch's throughput, and times of the lone chunk
LEAST_SHARE, MOST_WAIT = 0.70, 10.0

Ways = dict[str, Callable[[fastgru.StreamPool, list[int], np.ndarray], list[list[Any]]]]


def network(units: int, dtype: str) -> fastgru.Model:
    """A GRU that reads as many features and returns all of its outputs."""
    (name,) = own_names([dtype])
    return PEERS[name](1)._model(random_case(Row.parse(f"1,{CHUNK},{units},{units}")))


# ---- throughput ------------------------------------------------------------------------------------------------------


def big_batch(model: fastgru.Model, x: np.ndarray, threads: int, batch: int) -> tuple[float, list[np.ndarray]]:
    """Seconds of both chunks of all rows, in calls of so many rows, and the outputs of the chunks."""
    parts = [x[first : first + batch] for first in range(0, len(x), batch)]
    streams = [model.stream(batch_size=len(part), threads=threads) for part in parts]
    outs = [np.empty((len(x), CHUNK, x.shape[2]), np.float32) for _ in range(CHUNKS)]
    for out in outs:
        out.fill(0)  # no page fault is timed
    start = time.perf_counter()
    for out in outs:
        for i, (stream, part) in enumerate(zip(streams, parts, strict=True)):
            stream.run(part, out=out[i * batch : i * batch + len(part)])
    return time.perf_counter() - start, outs


def produce(rows: list[int], submit: Callable[[int, int], None]) -> list[threading.Thread]:
    """Threads that call submit(place of the row, chunk) for every chunk of their rows."""

    def run(own: range) -> None:
        for chunk in range(CHUNKS):
            for place in own:
                submit(place, chunk)

    threads = [threading.Thread(target=run, args=(range(i, len(rows), PRODUCERS),)) for i in range(PRODUCERS)]
    for thread in threads:
        thread.start()
    return threads


def by_poll(pool: fastgru.StreamPool, rows: list[int], x: np.ndarray) -> list[list[Any]]:
    places = {row: place for place, row in enumerate(rows)}
    outputs: list[list[Any]] = [[] for _ in rows]
    producers = produce(rows, lambda place, chunk: pool.submit(rows[place], x[place]) and None)
    left = len(rows) * CHUNKS
    while left:
        tickets = pool.poll(timeout=None)
        left -= len(tickets)
        for ticket in tickets:
            outputs[places[ticket.row]].append(ticket.result())
    for producer in producers:
        producer.join()
    return outputs


def by_futures(pool: fastgru.StreamPool, rows: list[int], x: np.ndarray) -> list[list[Any]]:
    futures: list[list[Future[Any]]] = [[] for _ in rows]
    submit = lambda place, chunk: futures[place].append(pool.submit(rows[place], x[place]).future())  # noqa: E731
    for producer in produce(rows, submit):
        producer.join()
    return [[future.result() for future in of_row] for of_row in futures]


def by_callbacks(pool: fastgru.StreamPool, rows: list[int], x: np.ndarray) -> list[list[Any]]:
    outputs: list[list[Any]] = [[] for _ in rows]
    done, left = threading.Event(), [len(rows) * CHUNKS]

    def taker(place: int) -> Callable[[Any], None]:
        def take(ticket: Any) -> None:  # all of them on one thread
            outputs[place].append(ticket.result())
            left[0] -= 1
            if left[0] == 0:
                done.set()

        return take

    takers = [taker(place) for place in range(len(rows))]
    produce(rows, lambda place, chunk: pool.submit(rows[place], x[place], takers[place]) and None)
    done.wait()
    return outputs


WAYS: Ways = {"poll": by_poll, "futures": by_futures, "callbacks": by_callbacks}


def through_pool(pool: fastgru.StreamPool, way: str, x: np.ndarray, expected: list[np.ndarray]) -> float:
    """Seconds of both chunks of all rows; exits where a result is wrong, lost or doubled."""
    rows = [pool.open() for _ in x]
    start = time.perf_counter()
    outputs = WAYS[way](pool, rows, x)
    seconds = time.perf_counter() - start
    for place, got in enumerate(outputs):
        if len(got) != CHUNKS or not all(np.array_equal(y, out[place]) for y, out in zip(got, expected, strict=True)):
            sys.exit(f"row {place} through {way} is not what Stream.run gives, chunk by chunk")
    for row in rows:
        pool.close(row)
    return seconds


def throughput(count: int, rounds: int, threads: int, dtype: str) -> dict[str, Any]:
    """The median of some rounds in which all ways take turns."""
    model = network(128, dtype)
    x = np.random.default_rng(1).standard_normal((count, CHUNK, 128), np.float32)
    expected = big_batch(model, x, threads, count)[1]
    seconds: dict[str, list[float]] = {}
    with fastgru.StreamPool(model, max_rows=count, queue=4096, threads=threads) as pool:
        for _ in range(rounds):
            for batch in BATCHES:
                seconds.setdefault(f"batches of {batch or count}", []).append(
                    big_batch(model, x, threads, batch or count)[0]
                )
            for way in WAYS:
                seconds.setdefault(way, []).append(through_pool(pool, way, x, expected))
        mean_batch = pool.stats().mean_batch
    median = {name: statistics.median(times) for name, times in seconds.items()}
    batch = min(time for name, time in median.items() if name not in WAYS)
    cells = count * CHUNK * CHUNKS
    return {
        "show": "throughput", "rows": count, "threads": threads, "mean_batch": mean_batch,
        "row_steps_per_second": {name: cells / time for name, time in median.items()},
        "share": {way: batch / median[way] for way in WAYS},
    }  # fmt: skip


# ---- head of line ----------------------------------------------------------------------------------------------------


def probe(pool: fastgru.StreamPool, x: np.ndarray, expected: np.ndarray, count: int) -> list[float]:
    """Seconds from submitting a new row's chunk to holding its result, at times that follow no pattern."""
    waits, chance = [], random.Random(3)
    for _ in range(count):
        time.sleep(chance.uniform(0.001, 0.004))
        row = pool.open()
        start = time.perf_counter()
        output = pool.submit(row, x).result()
        waits.append(time.perf_counter() - start)
        pool.close(row)
        if not np.array_equal(output, expected):
            sys.exit("a short chunk beside long ones is not what Model gives")
    return waits


@contextmanager
def long_rows(pool: fastgru.StreamPool, x: np.ndarray) -> Iterator[None]:
    """Rows that always have two long chunks to run."""
    running = True

    def again(ticket: Any) -> None:
        if running:
            pool.submit(ticket.row, x, again)

    rows = [pool.open() for _ in range(LONG_ROWS)]
    for row in rows * 2:
        pool.submit(row, x, again)
    time.sleep(0.05)
    yield
    running = False


class RunToCompletion:
    """What batches without a scheduler do: whatever waits runs as one batch, to its end."""

    def __init__(self, model: fastgru.Model) -> None:
        self.model = model
        self.waiting: queue.SimpleQueue[tuple[np.ndarray, Future[Any]]] = queue.SimpleQueue()
        threading.Thread(target=self.serve, daemon=True).start()

    def submit(self, x: np.ndarray) -> Future[Any]:
        future: Future[Any] = Future()
        self.waiting.put((x, future))
        return future

    def serve(self) -> None:
        while True:
            batch = [self.waiting.get()]
            while not self.waiting.empty():
                batch.append(self.waiting.get())
            for steps in {len(x) for x, _ in batch}:
                same = [pair for pair in batch if len(pair[0]) == steps]
                outputs = self.model(np.stack([x for x, _ in same]), threads=1)
                for (_, future), output in zip(same, outputs, strict=True):
                    future.set_result(output)


def probe_run_to_completion(model: fastgru.Model, long: np.ndarray, short: np.ndarray, count: int) -> list[float]:
    server, chance, waits = RunToCompletion(model), random.Random(3), []
    running = True

    def again(_: Any) -> None:
        if running:
            server.submit(long).add_done_callback(again)

    for _ in range(LONG_ROWS):
        again(None)
    for _ in range(count):
        time.sleep(chance.uniform(0.05, 0.5))
        start = time.perf_counter()
        server.submit(short).result()
        waits.append(time.perf_counter() - start)
    running = False
    return waits


def head_of_line(count: int, threads: int, dtype: str) -> dict[str, Any]:
    """Median and p99 of a short chunk's time alone, beside long ones, and beside those that run to completion."""
    model = network(256, dtype)
    rng = np.random.default_rng(2)
    long, short = (rng.standard_normal((steps, 256), np.float32) for steps in (LONG_STEPS, SHORT_STEPS))
    expected = model(short[None])[0]
    with fastgru.StreamPool(model, max_rows=LONG_ROWS + 1, threads=threads) as pool:
        probe(pool, short, expected, 20)
        lone = probe(pool, short, expected, count)
        with long_rows(pool, long):
            before = pool.stats()
            start = time.perf_counter()
            beside = probe(pool, short, expected, count)
            rate = (pool.stats().row_steps - before.row_steps) / (time.perf_counter() - start)
        pool.close(drain=False)
    completed = probe_run_to_completion(model, long, short, 10)
    times = {"alone": lone, "beside": beside, "run to completion": completed}
    return {
        "show": "head of line", "threads": threads, "row_steps_per_second": rate,
        "seconds": {name: {"median": float(np.median(waits)), "p99": float(np.percentile(waits, 99))}
                    for name, waits in times.items()},
        "ratio": float(np.median(beside) / np.median(lone)),
    }  # fmt: skip


# ---- telling ---------------------------------------------------------------------------------------------------------


def markdown(head: dict[str, Any], results: list[dict[str, Any]]) -> str:
    where = head["machine"]
    about = (
        f"{where['cpu']} (family/model {where['family_model']}), {where['cpus']} CPUs; fastgru {head['fastgru']} "
        f"{head['isa']}, {head['dtype']}. Commit {head['commit']}; the run took {head['seconds']:.0f} s."
    )
    flows = [result for result in results if result["show"] == "throughput"]
    waits = [result for result in results if result["show"] == "head of line"]
    flow_rows = [
        [str(r["rows"]), str(r["threads"]), name, report.number(rate),
         f"{r['share'][name]:.2f}" if name in WAYS else ""]
        for r in flows
        for name, rate in r["row_steps_per_second"].items()
    ]  # fmt: skip
    wait_rows = [
        [str(r["threads"]), name, *(report.number(times[at] * 1e6) for at in ("median", "p99")),
         f"{times['median'] / r['seconds']['alone']['median']:.1f}"]
        for r in waits for name, times in r["seconds"].items()
    ]  # fmt: skip
    flow = report.table(["rows", "threads", "through", "row-steps a second", "share of the best batch"], flow_rows)
    wait = report.table(["threads", f"{SHORT_STEPS} steps", "median, µs", "p99, µs", "times alone"], wait_rows)
    return f"{about}\n\n{flow}\n\n{wait}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000, help="rows of the throughput; %(default)s")
    parser.add_argument("--rounds", type=int, default=5, help="of which the median counts; %(default)s")
    parser.add_argument("--probes", type=int, default=200, help="short chunks of the head of line; %(default)s")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--json", type=Path, help="JSON lines: what was measured where, then a line a result")
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--dtype", default="float32", choices=DTYPES, help="of the weights")
    options = parser.parse_args()
    start, results = time.perf_counter(), []
    for threads in options.threads:
        results.append(throughput(options.rows, options.rounds, threads, options.dtype))
        results.append(head_of_line(options.probes, threads, options.dtype))
    head = {
        "machine": report.machine(), "fastgru": fastgru.__version__, "isa": fastgru.cpu_info()["isa"],
        "dtype": options.dtype, "commit": report.commit(ROOT), "seconds": round(time.perf_counter() - start, 1),
    }  # fmt: skip
    report.deliver(markdown(head, results), [head, *results], options.markdown, options.json)
    missed = [f"a share of {r['share']['poll']:.2f}" for r in results[::2] if r["share"]["poll"] < LEAST_SHARE]
    missed += [f"a wait of {r['ratio']:.1f} times" for r in results[1::2] if r["ratio"] > MOST_WAIT]
    if missed:
        sys.exit(f"missed: {', '.join(missed)}")


if __name__ == "__main__":
    main()
