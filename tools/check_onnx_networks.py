"""Hold random ONNX networks around GRUs (tests/onnx_random.py) in fastgru against onnxruntime.

python tools/check_onnx_networks.py [--count 1000] [--first 0]

Prints what is refused, what is further off than 1e-5 and the largest error. Exit code 1 where one is off or fails.
"""

from __future__ import annotations

import argparse
import collections
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from fastgru import FastGRUError, UnsupportedModel
from onnx_build import difference
from onnx_random import network

BOUND = 1e-5
SIZES = [{"B": 1, "T": 4}, {"B": 3, "T": 9}]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    said = parser.parse_args()
    worst, told = 0.0, collections.Counter[str]()
    for seed in range(said.first, said.first + said.count):
        try:
            error = difference(network(seed), SIZES)
        except UnsupportedModel as refusal:
            told["refused"] += 1
            print(f"{seed}: refused: {refusal}")
            continue
        except (FastGRUError, AssertionError, LookupError, TypeError, ValueError) as fault:
            told["fails"] += 1
            print(f"{seed}: fails: {type(fault).__name__}: {fault}")
            continue
        worst = max(worst, error)
        told["agrees" if error <= BOUND else "disagrees"] += 1
        if error > BOUND:
            print(f"{seed}: off by {error:.1e}")
    print(", ".join(f"{count} {what}" for what, count in told.items()), f"largest error {worst:.1e}", sep="; ")
    return 1 if told["fails"] or told["disagrees"] else 0


if __name__ == "__main__":
    sys.exit(main())
