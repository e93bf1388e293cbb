"""Lets runtimes take turns on a case, each in its own process, and takes medians."""

from __future__ import annotations

import math
import os
import pickle
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np

from ..errors import BadInput, FastGRUError
from .alone import CoreWatch
from .cases import Array, Case, reference
from .peers import PEERS
from .worker import worker_cpus

#: seconds of a call, and how fast the slowest core was around it
Turn = tuple[float, float]

#: largest difference from the formula in float64, and from the weights before they are rounded, that an output may
#: show, by what its runtime holds weights in: tells a wrong result, no more. int8 and bfloat16 weights alone make up to
#: 0.02 and 0.01 on the rows of tools/bench/layers.py, float16 ones 0.001
TOLERANCES = {"float32": 1e-4, "bfloat16": 0.1, "float16": 0.01, "int8": 0.1}
#: seconds that one turn of one runtime lasts at least
TURN = 0.01
#: seconds between turns: what the last runtime's threads still spin for belongs to nobody's time
PAUSE = 0.01
#: how often a Comparison takes the turns asked for at most, unless told otherwise
PATIENCE = 5

#: loads this package by its place under a name of its own: `import fastgru` may then be another version
_LAUNCH = """
import importlib.util, pathlib, sys
folder = pathlib.Path(sys.argv[1])
for name, path in ("fastgru_here", folder.parent), ("fastgru_here.bench", folder):
    spec = importlib.util.spec_from_file_location(name, path / "__init__.py", submodule_search_locations=[str(path)])
    sys.modules[name] = importlib.util.module_from_spec(spec)
from fastgru_here.bench.worker import run
run()
"""


@dataclass(frozen=True)
class Contender:
    """A runtime in the comparison.

    Attributes
    ----------
    name : str
        What it is called in tables.
    peer : str
        A key of its worker's table of peers.
    environment : mapping
        Environment variables of its process, beside the parent's own.
    program : tuple of str, optional
        Arguments for Python that start a worker; this package's own, with `peers.PEERS`, unless given.
    """

    name: str
    peer: str
    environment: Mapping[str, str] = field(default_factory=dict)
    program: tuple[str, ...] = ("-c", _LAUNCH, str(Path(__file__).parent))

    @property
    def is_own(self) -> bool:
        """A form of fastgru, no competitor."""
        return self.peer.startswith("fastgru")


class Worker:
    """The process of one contender. `missing` says why it cannot run here, else `version` what it is, and `dtype` what
    it computes with."""

    def __init__(self, contender: Contender, threads: int) -> None:
        self.contender = contender
        sizes = dict.fromkeys(
            ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "FASTGRU_NUM_THREADS"), str(threads)
        )
        source = Path(__file__).parents[2]
        path = os.pathsep.join(filter(None, [str(source), os.environ.get("PYTHONPATH")]))
        self.process = subprocess.Popen(
            [sys.executable, *contender.program, contender.peer, str(threads)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            env={**os.environ, **sizes, "PYTHONPATH": path, **contender.environment},
        )  # fmt: skip
        first = self._answer()
        self.version: str | None = first.get("version")
        self.missing: str | None = first.get("missing")
        self.dtype: str = first.get("dtype", "float32")

    def ask(self, *request: Any) -> dict[str, Any]:
        pickle.dump(request, self._pipe(self.process.stdin))
        self._pipe(self.process.stdin).flush()
        return self._answer()

    def close(self) -> None:
        self._pipe(self.process.stdin).close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._pipe(self.process.stdout).close()

    def _answer(self) -> dict[str, Any]:
        try:
            return pickle.load(self._pipe(self.process.stdout))  # type: ignore[no-any-return]
        except EOFError:
            raise FastGRUError(f"the process of {self.contender.name} died; see its messages above") from None

    @staticmethod
    def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
        assert pipe is not None
        return pipe


class Comparison:
    """Contenders in their processes; a context manager.

    Parameters
    ----------
    contenders : sequence of Contender
    threads : int
        Of each; also the number of CPUs that its process may use.
    patience : int
        So many times the turns asked for are taken at most, to find as many in which the cores were not shared. Where
        not even half as many are found for everyone, all turns count.

    Attributes
    ----------
    versions : dict
        Version by name, of those that run here.
    missing : dict
        Reason by name, of those that do not.
    """

    def __init__(self, contenders: Sequence[Contender], threads: int, patience: int = PATIENCE) -> None:
        self.threads = threads
        self.patience = patience
        self.watch = CoreWatch(worker_cpus(threads))
        self.workers: dict[str, Worker] = {}
        self.missing: dict[str, str] = {}
        try:
            for contender in contenders:
                worker = Worker(contender, threads)
                if worker.missing is None:
                    self.workers[contender.name] = worker
                else:
                    self.missing[contender.name] = worker.missing
                    worker.close()
        except BaseException:
            self.close()
            raise

    @property
    def versions(self) -> dict[str, str | None]:
        return {name: worker.version for name, worker in self.workers.items()}

    def measure(self, case: Case, repetitions: int) -> dict[str, Any]:
        """Run a case on everyone.

        Returns
        -------
        dict
            ``runs``: by name the median seconds of a call over the turns that count, and their quartiles' distance; the
            median over all turns, how many these are, and in how many of them the cores were alone; the route, the
            dtype and the largest difference from the formula. ``skipped``: by name the reason. ``alone``: whether only
            turns count in which no other thread was seen on the cores; else there were too few, and all count.
            ``fastest_peer``: of those in float32 alone; ``ratios``: its seconds divided by those of each form of
            fastgru; ``ratio``: that of fastgru itself.
            None and nothing where nobody else ran.

        Raises
        ------
        FastGRUError
            fastgru's own output is wrong.
        """
        return self.compare(str(case.row), case.to_dict(), reference(case), repetitions)

    def compare(self, row: str, case: dict[str, Any], right: Array, repetitions: int) -> dict[str, Any]:
        """`measure` for any kind of case that the workers understand, and the output that is right."""
        runs, skipped = {}, {}
        for name, worker in self.workers.items():
            answer = worker.ask("prepare", case)
            fault = answer.get("skipped") or _fault(answer["output"], right, TOLERANCES[worker.dtype])
            if fault is None:
                runs[name] = {
                    "route": answer["route"], "dtype": worker.dtype,
                    "difference": _difference(answer["output"], right),
                    "count": max(1, math.ceil(TURN / answer["seconds"])),
                }  # fmt: skip
            elif name == "fastgru":
                raise FastGRUError(f"row {row}: {fault}")
            else:
                skipped[name] = fault
        turns = self._take_turns({name: run["count"] for name, run in runs.items()}, repetitions)
        times = {name: self._alone(taken) for name, taken in turns.items()}
        is_alone = all(2 * len(found) >= repetitions for found in times.values())
        for name, run in runs.items():
            every = [seconds for seconds, _ in turns[name]]
            counted = times[name] if is_alone else every
            low, high = np.percentile(counted, (25, 75))
            run |= {
                "seconds": statistics.median(counted), "spread": float(high - low),
                "seconds_of_all": statistics.median(every), "turns": len(every), "turns_alone": len(times[name]),
            }  # fmt: skip
        own = {name: run["seconds"] for name, run in runs.items() if self.workers[name].contender.is_own}
        peers = {
            name: run["seconds"] for name, run in runs.items() if name not in own and run["dtype"] == "float32"
        }  # fmt: skip
        fastest = min(peers, key=lambda name: peers[name], default=None)
        ratios = {} if fastest is None else {name: peers[fastest] / seconds for name, seconds in own.items()}
        return {
            "row": row, "runs": runs, "skipped": skipped, "alone": is_alone, "fastest_peer": fastest,
            "ratio": ratios.get("fastgru"), "ratios": ratios,
        }  # fmt: skip

    def _take_turns(self, counts: Mapping[str, int], repetitions: int) -> dict[str, list[Turn]]:
        """Turn by turn in alternating order, until everyone has as many as asked for with the cores alone."""
        turns: dict[str, list[Turn]] = {name: [] for name in counts}
        names = list(counts)
        for i in range(self.patience * repetitions):
            if all(len(self._alone(taken)) >= repetitions for taken in turns.values()):
                break
            for name in names[:: 1 if i % 2 == 0 else -1]:
                time.sleep(PAUSE)
                count = counts[name]
                before = self.watch.rate()
                answer = self.workers[name].ask("time", count, math.ceil(count / 10))
                if "seconds" not in answer:
                    raise FastGRUError(f"{name} {answer['skipped']}")
                turns[name].append((answer["seconds"], min(before, self.watch.rate())))
        return turns

    def _alone(self, turns: Sequence[Turn]) -> list[float]:
        """Seconds of the turns before and behind which the cores were alone."""
        return [seconds for seconds, rate in turns if self.watch.was_alone(rate)]

    def close(self) -> None:
        for worker in self.workers.values():
            worker.close()

    def __enter__(self) -> Comparison:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def contenders(names: Sequence[str]) -> list[Contender]:
    """fastgru and the named peers; BadInput for a name that is none."""
    unknown = [name for name in names if name not in PEERS]
    if unknown:
        raise BadInput(f"unknown peer {', '.join(map(repr, unknown))}: expected some of {', '.join(PEERS)}")
    return [Contender(name, name) for name in dict.fromkeys(["fastgru", *names])]


def geometric_mean(values: Sequence[float]) -> float:
    """The mean of ratios.

    >>> geometric_mean([1.0, 4.0])
    2.0
    """
    if not values:
        raise ValueError("the geometric mean of no values")
    return math.exp(math.fsum(map(math.log, values)) / len(values))


def _difference(output: Array, right: Array) -> float:
    return float(np.abs(output - right).max())


def _fault(output: Array, right: Array, tolerance: float) -> str | None:
    if output.shape != right.shape:
        return f"wrong output: shape {output.shape}, expected {right.shape}"
    difference = _difference(output, right)
    if difference <= tolerance:  # false for NaN, too
        return None
    return f"wrong output: differs from the right one by {difference:.1e}, more than {tolerance:.0e}"
