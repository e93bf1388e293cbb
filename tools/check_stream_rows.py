"""Hold rows of Streams, in thousands of random operations, with `==` against each row alone; else fail.

    python tools/check_stream_rows.py [--operations 10000] [--seed 0] [--case NAME] [--isa NAME] [--dtype DTYPE]

Every network of tests/stream_operations.py, on every kernel set of this machine, with 1 and 2 threads.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from building import SETS, sets_of
from fastgru.narrowing import DTYPES
from stream_operations import CASES, play


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--operations", type=int, default=10_000, help="of each run (default: 10000)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--case", choices=CASES, action="append", help="default: all")
    parser.add_argument("--isa", choices=SETS, action="append", help="default: all of this machine")
    parser.add_argument("--dtype", choices=DTYPES, default="float32", help="of weights (default: %(default)s)")
    options = parser.parse_args()
    for name in options.case or CASES:
        for isa in options.isa or sets_of(options.dtype):
            for threads in (1, 2):
                start = time.perf_counter()
                counts = play(name, isa, threads, options.operations, options.seed, options.dtype)
                kinds = ", ".join(f"{count} {kind.strip('_')}" for kind, count in sorted(counts.items()))
                seconds = time.perf_counter() - start
                head = f"{name}, {options.dtype}, {isa}, {threads} thread(s)"
                print(f"{head}: all rows as alone; {kinds}; {seconds:.1f} s", flush=True)


if __name__ == "__main__":
    main()
