"""The process that one runtime lives in: prepares a case when told to, and times calls when it is its turn.

Each runtime has a process of its own because their thread pools disturb each other; only one is active at a time. A
request is a pickled tuple (command, arguments …) from the parent on stdin, the answer a pickled dict on the pipe that
was stdout.
"""

from __future__ import annotations

import gc
import os
import pickle
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

from .cases import Case
from .peers import PEERS, Peer, Route, Skipped

#: seconds that a route is tried for, to find the fastest
TRIAL = 0.02


def main(
    name: str,
    threads: int,
    requests: BinaryIO,
    answers: BinaryIO,
    peers: Mapping[str, type[Peer]] = PEERS,
    kind: type[Any] = Case,
) -> None:
    """Answer requests until the parent closes the pipe; `kind` is the class of the cases that `peers` run."""
    gc.disable()
    try:
        peer = peers[name](threads)
        answer: dict[str, Any] = {"version": peer.version, "dtype": peer.dtype}
    except Exception as error:
        answer = {"missing": _first_line(error)}
    pickle.dump(answer, answers)
    answers.flush()
    chosen: Route | None = None
    while "missing" not in answer:
        try:
            command, *arguments = pickle.load(requests)
        except EOFError:
            return
        try:
            if command == "prepare":
                chosen = None  # the last case's memory goes first
                gc.collect()
                chosen, result = prepare(peer, kind.from_dict(arguments[0]))
            else:
                assert chosen is not None
                result = {"seconds": timed(chosen.call, *arguments)}
        except Skipped as reason:
            result = {"skipped": str(reason)}
        except Exception as error:
            result = {"skipped": f"failed: {_first_line(error)}"}
        pickle.dump(result, answers)
        answers.flush()


def prepare(peer: Peer, case: Any) -> tuple[Route, dict[str, Any]]:
    """The fastest route of a case, and its output: of single steps the last of a few from a zero state."""
    routes = peer.routes(case)
    trials = [trial(route) for route in routes]
    seconds, best = min((seconds, i) for i, seconds in enumerate(trials))
    chosen = routes[best]
    chosen.start()
    result = None
    for _ in range(case.calls):
        result = chosen.call()
    return chosen, {"route": chosen.name, "output": chosen.output(result).copy(), "seconds": seconds}


def trial(route: Route) -> float:
    """Roughly the seconds of a call: the best of several bursts over a short time."""
    route.start()
    burst = max(1, int(TRIAL / 10 / timed(route.call, 1, 1)))
    best, end = float("inf"), time.perf_counter() + TRIAL
    while time.perf_counter() < end:
        best = min(best, timed(route.call, burst, 0))
    return best


def timed(call: Callable[[], Any], count: int, warm: int) -> float:
    """Mean seconds of a call over `count` calls, after `warm` others."""
    for _ in range(warm):
        call()
    start = time.perf_counter()
    for _ in range(count):
        call()
    return (time.perf_counter() - start) / count


def _first_line(error: Exception) -> str:
    """Kind and first line; some runtimes add the stack of another language."""
    return f"{type(error).__name__}: {error}".splitlines()[0]


def worker_cpus(threads: int) -> list[int]:
    """The CPUs that a worker with so many threads runs on."""
    return sorted(os.sched_getaffinity(0))[-threads:]


def run(peers: Mapping[str, type[Peer]] = PEERS, kind: type[Any] = Case) -> None:
    """Serve one peer: the process's last arguments are its name and the number of threads."""
    name, threads = sys.argv[-2], int(sys.argv[-1])
    os.sched_setaffinity(0, worker_cpus(threads))  # nobody gets more CPUs than threads
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a runtime prints must not get between the answers
    main(name, threads, sys.stdin.buffer, answers, peers, kind)
