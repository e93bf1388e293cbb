"""Hold 300 generated GRU nodes, over all attributes, opsets and forms, against ONNX Runtime and the float64 oracle.

    python tools/check_onnx_nodes.py
    python tools/check_onnx_nodes.py --first 300 --count 2000

Every node is written to a file and loaded from it. ONNX Runtime judges those that it runs in float32, the oracle of
`tests/onnx_oracle.py` all of them. Prints what disagrees or fails, and the largest differences. Exit code 1 unless all
agree. The same generator feeds `tests/test_onnx_gru.py`.
"""

from __future__ import annotations

import argparse
import collections
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import fastgru
from onnx_cases import random_case
from onnx_files import onnxruntime_answer
from tolerances import TOLERANCES, error


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--first", type=int, default=0, help="seed of the first node")
    parser.add_argument("--count", type=int, default=300)
    arguments = parser.parse_args()
    refusals: collections.Counter[str] = collections.Counter()
    worst = {"onnxruntime": 0.0, "oracle": 0.0}
    judged: collections.Counter[str] = collections.Counter()
    failures = 0
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(arguments.first, arguments.first + arguments.count):
            case = random_case(seed)
            path = case.write(Path(folder) / f"{seed}.onnx")
            try:
                model = fastgru.load(path)
                given = model(case.feeds)
            except Exception as fault:  # the count tells of it
                print(f"{seed}: {type(fault).__name__}: {fault}")
                failures += 1
                continue
            answers = dict(zip(case.outputs, given if isinstance(given, tuple) else (given,), strict=True))
            judges = {"oracle": case.expected}
            peer = onnxruntime_answer(path, case.feeds)
            if isinstance(peer, str):
                refusals[peer.split(" : ")[2]] += 1
            elif case.dtype == "float32":  # elsewhere its answers are rounded to fewer bits
                judges["onnxruntime"] = peer
            for judge, expected in judges.items():
                off = max(error(answers[key], expected[key]) for key in case.outputs)
                worst[judge] = max(worst[judge], off)
                judged[judge] += 1
                if not off <= TOLERANCES[judge]:
                    print(f"{seed}: off from {judge} by {off:.2e}: {case.attributes}")
                    failures += 1
    print(f"{arguments.count} nodes, {failures} failures")
    for judge, count in judged.items():
        print(f"{judge}: {count} nodes, off by at most {worst[judge]:.1e}, allowed {TOLERANCES[judge]:.0e}")
    print(f"ONNX Runtime refuses {sum(refusals.values())}: {dict(refusals)}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
