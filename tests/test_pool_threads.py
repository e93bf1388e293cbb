"""StreamPool beside threads, signals, forks and the end of the interpreter: nothing is lost, doubled, or hangs."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import threading
import time
import weakref
from concurrent.futures import Future, wait
from typing import Any

import numpy as np
import pytest

from building import chain, floats, gru, uniform
from fastgru import Closed, Model, QueueFull, StreamPool, Ticket

pytestmark = pytest.mark.dtypes(sample=0)  # of threads rather than numbers

FEATURES = 4


def network(units: int = 16) -> Model:
    return Model(chain(floats(FEATURES), gru(np.random.default_rng(1), FEATURES, units, return_sequences=True)))


def steps(count: int, seed: int = 0) -> np.ndarray:
    return uniform(np.random.default_rng(seed), count, FEATURES)


def long_chunk(pool: StreamPool) -> Ticket:
    """One that runs for seconds."""
    return pool.submit(pool.open(), steps(4_000_000))


# ---- ways to take a result -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["result", "poll", "callback", "future"])
@pytest.mark.parametrize("threads", [1, 2])
def test_producers_get_every_result_once_and_in_order(way: str, threads: int) -> None:
    model, producers, chunks = network(96), 8, 30
    rows_of_one, x = 12, uniform(np.random.default_rng(0), 8 * 12, 30 * 5, FEATURES)
    expected = model(x)
    outputs: dict[int, list[np.ndarray]] = {}
    taken: list[Ticket] = []
    with StreamPool(model, max_rows=len(x), queue=200, threads=threads) as pool:
        rows = [pool.open() for _ in x]
        outputs = {row: [] for row in rows}
        left = [len(rows) * chunks]
        done = threading.Event()

        def take(ticket: Ticket) -> None:
            taken.append(ticket)
            outputs[ticket.row].append(ticket.result())
            left[0] -= 1
            if left[0] == 0:
                done.set()

        def produce(number: int) -> None:
            for chunk in range(chunks):
                own = [(rows[i], x[i, 5 * chunk : 5 * chunk + 5]) for i in range(number, len(rows), producers)]
                if way == "result":
                    for row, ticket in [(row, pool.submit(row, part)) for row, part in own]:
                        outputs[row].append(ticket.result())
                elif way == "future":
                    for row, future in [(row, pool.submit(row, part).future()) for row, part in own]:
                        outputs[row].append(future.result())
                else:
                    for row, part in own:
                        pool.submit(row, part, take if way == "callback" else None)

        workers = [threading.Thread(target=produce, args=(number,)) for number in range(producers)]
        for worker in workers:
            worker.start()
        while way == "poll" and left[0]:
            for ticket in pool.poll(timeout=60):
                take(ticket)
        for worker in workers:
            worker.join()
        assert way in ("result", "future") or done.wait(60)
        assert pool.poll() == []
        assert pool.stats().untaken == pool.stats().queued == 0
    assert rows_of_one * producers == len(rows)
    assert len(set(map(id, taken))) == len(taken)
    for row, y in zip(rows, expected, strict=True):
        assert np.array_equal(np.concatenate(outputs[row]), y)


def test_a_ticket() -> None:
    model = network()
    with StreamPool(model) as pool:
        row = pool.open()
        ticket = pool.submit(row, steps(3))
        assert isinstance(ticket, Ticket)
        of_row, output = ticket
        assert of_row == row
        assert ticket.done()
        assert ticket.result() is output
        assert ticket.future().result(0) is output
        assert ticket.future() is ticket.future()
        assert not ticket.future().cancel()
        assert pool.poll() == []
        assert "of row 0: 3 steps, done" in repr(ticket)
        with pytest.raises(TypeError, match=r"StreamPool\.submit"):
            Ticket()


def test_the_steps_are_copied() -> None:
    model, x = network(), steps(4000)
    with StreamPool(model) as pool:
        given = x.copy()
        ticket = pool.submit(pool.open(), given)
        given.fill(9)
        assert np.array_equal(ticket.result(60), model(x[None])[0])


def test_tickets_in_a_coroutine() -> None:
    model, x = network(), steps(20)

    async def ask(pool: StreamPool) -> list[np.ndarray]:
        tickets = [pool.submit(pool.open(), x) for _ in range(10)]
        return [await tickets[0], *await asyncio.gather(*(asyncio.wrap_future(t.future()) for t in tickets[1:]))]

    with StreamPool(model) as pool:
        assert all(np.array_equal(y, model(x[None])[0]) for y in asyncio.run(ask(pool)))
        assert pool.poll() == []


def test_a_future_of_a_ticket_that_is_done() -> None:
    with StreamPool(network()) as pool:
        ticket = pool.submit(pool.open(), steps(2))
        while not ticket.done():
            time.sleep(0.001)
        future = ticket.future()
        assert isinstance(future, Future)
        assert future.done()
        assert pool.poll() == []


def test_two_threads_that_ask_for_a_future_at_once_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second one comes while the first one makes it."""
    others: list[Future[Any]] = []

    class Slow(Future):  # type: ignore[type-arg]
        def __init__(self) -> None:
            super().__init__()
            monkeypatch.setattr("concurrent.futures.Future", Future)
            others.append(ticket.future())

    with StreamPool(network(64)) as pool:
        ticket = pool.submit(pool.open(), steps(60_000))
        monkeypatch.setattr("concurrent.futures.Future", Slow)
        future = ticket.future()
        assert others == [future]
        assert future.result(60).shape == (60_000, 64)


def test_a_future_for_which_no_thread_starts_is_made_later(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with StreamPool(network(64)) as pool:
        ticket = pool.submit(pool.open(), steps(60_000))
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", fail)
            with pytest.raises(RuntimeError, match="can't start"):
                ticket.future()
        assert ticket.future().result(60).shape == (60_000, 64)


def test_a_result_in_time_or_not() -> None:
    with StreamPool(network(64), queue=1) as pool:
        ticket = long_chunk(pool)
        for timeout in 0, 0.02:
            with pytest.raises(TimeoutError, match="4000000 steps have not run"):
                ticket.result(timeout)
        assert pool.poll(0.01) == []
        pool.close(drain=False)
        with pytest.raises(Closed, match="closed before its 4000000 steps had run"):
            ticket.result()


def test_a_ticket_that_was_waited_for_in_vain_is_polled() -> None:
    with StreamPool(network(64)) as pool:
        ticket = pool.submit(pool.open(), steps(60_000))
        with pytest.raises(TimeoutError):
            ticket.result(0.001)
        assert pool.poll(timeout=None) == [ticket]
        assert pool.poll() == []


def test_poll_takes_no_more_than_most() -> None:
    with StreamPool(network()) as pool:
        row = pool.open()
        tickets = [pool.submit(row, steps(1)) for _ in range(200)]
        pool.close()
        taken = [pool.poll(0, 3), pool.poll(0, 100), pool.poll(0, 1000), pool.poll(timeout=None)]
        assert list(map(len, taken)) == [3, 100, 97, 0]
        assert [ticket for part in taken for ticket in part] == tickets


# ---- callbacks -------------------------------------------------------------------------------------------------------


def test_a_callback_may_submit_where_the_queue_is_full() -> None:
    """Each starts the next one, in a pool that has room for one chunk."""
    model, x, done, outputs = network(), steps(50), threading.Event(), []
    with StreamPool(model, queue=1) as pool:

        def take(ticket: Ticket) -> None:
            outputs.append(ticket.result())
            if len(outputs) < 50:
                pool.submit(ticket.row, x[len(outputs)][None], take)
            else:
                done.set()

        pool.submit(pool.open(), x[:1], take)
        assert done.wait(60)
    assert np.array_equal(np.concatenate(outputs), model(x[None])[0])


def test_a_callback_that_raises_hurts_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    reports: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda report: reports.append((report.exc_type, report.object)))

    def fail(ticket: Ticket) -> None:
        raise LookupError("a callback's own")

    with StreamPool(network()) as pool:
        row = pool.open()
        pool.submit(row, steps(1), fail)
        assert pool.submit(row, steps(2)).future().result(60).shape == (2, 16)
    assert reports == [(LookupError, fail)]


def test_a_futures_callback_that_ends_its_thread_hurts_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Future lets through what is no Exception."""
    reports: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda report: reports.append((report.exc_type, report.object)))
    with StreamPool(network(64)) as pool:
        row = pool.open()
        future, other = (pool.submit(row, steps(60_000)).future() for _ in range(2))
        future.add_done_callback(lambda future: sys.exit(1))
        assert other.result(60).shape == (60_000, 64)
    assert reports == [(SystemExit, future)]


def test_a_callback_may_close_the_pool() -> None:
    pool, closed = StreamPool(network()), threading.Event()

    def close(ticket: Ticket) -> None:
        pool.close()
        closed.set()

    pool.submit(pool.open(), steps(1), close)
    assert closed.wait(60)


# ---- the queue -------------------------------------------------------------------------------------------------------


def test_a_full_queue_raises_or_waits() -> None:
    with StreamPool(network(), queue=3) as pool:
        row = pool.open()
        tickets = [pool.submit(row, steps(1)) for _ in range(3)]
        while not tickets[-1].done():
            time.sleep(0.001)
        for timeout in 0, 0.02:  # done, but not taken
            with pytest.raises(QueueFull, match="queue= allows"):
                pool.submit(row, steps(1), timeout=timeout)
        threading.Timer(0.05, pool.poll, (0, 1)).start()
        tickets.append(pool.submit(row, steps(1), timeout=60))
        assert pool.stats().untaken == 3
        tickets[1].result()
        tickets.append(pool.submit(row, steps(1), timeout=0))
        tickets[2].future().result(60)
        tickets.append(pool.submit(row, steps(1), timeout=0))
        with pytest.raises(QueueFull):
            pool.submit(row, steps(1), timeout=0)


def test_a_submit_that_waits_ends_with_the_pool() -> None:
    pool = StreamPool(network(), queue=1)
    row = pool.open()
    pool.submit(row, steps(1))
    threading.Timer(0.05, pool.close).start()
    with pytest.raises(Closed, match="this pool is closed"):
        pool.submit(row, steps(1))


# ---- the end ---------------------------------------------------------------------------------------------------------


def test_tickets_that_are_polled_while_their_results_are_asked_for() -> None:
    """Whoever comes first; the other one, a moment later, finds the ticket still there."""
    with StreamPool(network(), max_rows=4, queue=8) as pool:

        def ask(row: int) -> None:
            for _ in range(2000):
                pool.submit(row, steps(3)).result()

        def poll() -> None:
            while not asked.is_set():
                for row, output in pool.poll(timeout=0.01):
                    assert row in rows
                    assert output.shape == (3, 16)

        rows, asked = [pool.open() for _ in range(4)], threading.Event()
        askers = [threading.Thread(target=ask, args=(row,)) for row in rows]
        pollers = [threading.Thread(target=poll) for _ in range(2)]
        for thread in askers + pollers:
            thread.start()
        for thread in askers:
            thread.join()
        asked.set()
        for thread in pollers:
            thread.join()
        assert pool.stats().untaken == 0
        assert pool.stats().row_steps == 4 * 2000 * 3


def test_close_drains() -> None:
    pool = StreamPool(network(64), max_rows=20)
    tickets = [pool.submit(pool.open(), steps(5000)) for _ in range(20)]
    futures = [ticket.future() for ticket in tickets[:10]]
    pool.close()
    pool.close()
    assert all(ticket.done() for ticket in tickets)
    assert not wait(futures, 0).not_done
    assert sorted(ticket.row for ticket in pool.poll()) == list(range(10, 20))
    for call in pool.open, lambda: pool.submit(0, steps(1)), lambda: pool.get_state(0), lambda: pool.fork(1):
        with pytest.raises(Closed, match="this pool is closed"):
            call()


def test_what_is_dropped_says_so() -> None:
    pool, called = StreamPool(network(64)), []  # type: ignore[var-annotated]
    ticket = long_chunk(pool)
    behind = pool.submit(ticket.row, steps(1), called.append)
    future = pool.submit(ticket.row, steps(1)).future()

    def leave_by_an_exception() -> None:
        with pool:
            raise LookupError

    with pytest.raises(LookupError):
        leave_by_an_exception()
    assert ticket.done()
    assert called == [behind]
    for result in ticket.result, behind.result, future.result:
        with pytest.raises(Closed):
            result()


def test_a_pool_that_nobody_knows_ends() -> None:
    pool = StreamPool(network(64))
    ticket, threads = long_chunk(pool), threading.active_count()
    future = ticket.future()
    gone = weakref.ref(pool)
    assert threading.active_count() == threads + 1
    del pool
    gc.collect()
    assert gone() is None
    with pytest.raises(Closed):
        future.result(60)
    scheduler_gone, ticket = weakref.ref(future), None  # type: ignore[assignment]
    del future
    gc.collect()
    assert scheduler_gone() is None


def test_idle_pools_take_no_cpu() -> None:
    with StreamPool(network(), threads=2) as pool:
        pool.submit(pool.open(), steps(10), lambda ticket: None)  # its delivery thread waits, too
        time.sleep(0.1)
        before = time.process_time()
        time.sleep(0.4)
        assert time.process_time() - before < 0.02


def run_python(code: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """A script beside this file."""
    head = "import os, signal, sys, threading, time\nfrom test_pool_threads import *\n"
    place = {"cwd": os.path.dirname(__file__), "env": {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}}
    return subprocess.run(
        [sys.executable, "-c", head + code], capture_output=True, text=True, timeout=60, **place, **options
    )


@pytest.mark.parametrize(
    "work",
    [
        "",
        "pool.submit(pool.open(), steps(5))",
        "long_chunk(pool).future()",
        "pool.submit(pool.open(), steps(5), lambda ticket: time.sleep(30)); time.sleep(0.2)",
        "threading.Thread(target=long_chunk(pool).result, daemon=True).start(); time.sleep(0.1)",
        "pool.own = [pool, long_chunk(pool)]; del pool",
        "pool = [pool.submit(pool.open(), steps(5)) for _ in range(9)]",
        "sys.exit(0)",
    ],
)
def test_the_interpreter_ends_beside_a_pool(work: str) -> None:
    start = time.monotonic()
    done = run_python(f"pool = StreamPool(network(64))\nlong_chunk(pool)\n{work}\n")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert not done.stderr or "result" in work  # a thread may yet tell that it was waiting
    assert time.monotonic() - start < 30


WAITS = "ticket.result()", "pool.submit(1, steps(1))", "pool.get_state(0)", "pool.close()", "pool.poll(None)"


@pytest.mark.parametrize("call", WAITS)
def test_a_signal_comes_through(call: str) -> None:
    code = f"""
pool = StreamPool(network(64), queue=2)
ticket = long_chunk(pool)
pool.submit(pool.open(), steps(1))
if "poll" in {call!r}:
    pool.poll(None)
threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
start = time.monotonic()
try:
    {call}
except KeyboardInterrupt:
    print("interrupted", time.monotonic() - start < 5)
pool.close(drain=False)
"""
    done = run_python(code)
    assert (done.returncode, done.stdout) == (0, "interrupted True\n"), done.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_is_told() -> None:
    code = """
pool = StreamPool(network(64))
row = pool.open()
done, running = pool.submit(row, steps(1)), long_chunk(pool)
done.result()
calls = {
    "submit": lambda: pool.submit(row, steps(1)), "open": pool.open, "poll": pool.poll, "stats": pool.stats,
    "result": running.result, "future": running.future, "get_state": lambda: pool.get_state(row),
    "close row": lambda: pool.close(row), "reset": lambda: pool.reset(row), "fork": lambda: pool.fork(row),
}
child = os.fork()
if child == 0:
    signal.alarm(20)
    for name, call in calls.items():
        try:
            call()
            print(name, "went on")
        except Closed as error:
            if "belongs to the process that made it" not in str(error):
                print(name, error)
    assert done.result().shape == (1, 64)
    with StreamPool(network(), threads=2) as own:
        assert own.submit(own.open(), steps(9)).future().result(10).shape == (9, 16)
    pool.close()
    del running, done
    sys.exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
pool.submit(row, steps(1)).result()
"""
    done = run_python(code)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
