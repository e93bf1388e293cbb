"""What narrow weights cost: networks in bfloat16, float16 and int8 against float32, and against bounds::

    python tools/accuracy WORK                               all checks, all dtypes, the machine's best kernels
    python tools/accuracy WORK sentiment medaka --dtype int8 --isa avx2 --isa avx512_vnni
    python tools/accuracy WORK layers --json layers.json     also as JSON, which `report.py` makes pages of
    python tools/accuracy WORK drift --figure docs/figures/int8-error.png

WORK is a folder for what is fetched with pip, made up and trained; none of that belongs into the project. Prints a table
for each check; a number beyond its bound is marked, and the exit code is then 1. Checks whose packages or files are
missing are skipped, and said so: sentiment trains with keras 3, denoiser needs espeak-ng and onnx, medaka h5py, layers
openvino for what it is compared with.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import platform
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from network import DTYPES, Network

import fastgru

CHECKS = ("sentiment", "denoiser", "characters", "medaka", "layers", "drift")


@contextlib.contextmanager
def kernels(isa: str | None) -> Iterator[None]:
    """The kernel set of every Model made inside; None: whichever the environment says."""
    before = os.environ.get("FASTGRU_ISA")
    if isa:
        os.environ["FASTGRU_ISA"] = isa
    yield
    if isa:
        os.environ.pop("FASTGRU_ISA")
        if before is not None:
            os.environ["FASTGRU_ISA"] = before


def figures(network: Network, dtypes: list[str], isas: list[str | None]) -> Iterator[dict[str, Any]]:
    """Every number of a network, with its bound and whether it holds."""
    expected = network.expected
    for isa in isas:
        for dtype in (dtype for dtype in dtypes if dtype in network.dtypes):
            with kernels(isa):
                model = network.model(dtype)
                found = network.answer(model)
            for measure, value in network.judge(expected, found).items():
                bound = network.bounds.get((measure, dtype))
                yield {
                    "network": network.name, "measure": measure, "dtype": dtype, "isa": model.isa,
                    "value": float(value), "bound": bound and str(bound), "holds": bound is None or bound.holds(value),
                }  # fmt: skip


def shown(value: float) -> str:
    """Four digits, and more of a percentage that four would make 100."""
    return f"{value:.4f}" if 99 < value < 100 else f"{value:.4g}"


def table(found: list[dict[str, Any]], dtypes: list[str]) -> Iterator[str]:
    """A line for each measure and kernel set, a column for each dtype."""
    yield f"| network | measure | kernels | {' | '.join(dtypes)} |"
    yield "|---|---|---|" + "---:|" * len(dtypes)
    lines: dict[tuple[str, str, str], dict[str, str]] = {}
    for item in found:
        cell = shown(item["value"]) + (f" ({item['bound']})" if item["bound"] else "")
        line = lines.setdefault((item["network"], item["measure"], item["isa"]), {})
        line[item["dtype"]] = cell if item["holds"] else f"**{cell}**"
    for key, line in lines.items():
        yield f"| {' | '.join(key)} | {' | '.join(line.get(dtype, '') for dtype in dtypes)} |"


def check(name: str, work: Path, dtypes: list[str], isas: list[str | None], only: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    print(f"\n## {name}\n", flush=True)
    try:
        for network in importlib.import_module(name).networks(work):
            if only in network.name:
                found += figures(network, dtypes, isas)
                print(f"{network.name} …", file=sys.stderr, flush=True)
    except (ImportError, FileNotFoundError) as error:
        print(f"SKIPPED  {name}: {type(error).__name__}: {error}")
    print("\n".join(table(found, dtypes)), flush=True)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path, help="the folder that holds data and networks; made if it is missing")
    parser.add_argument("checks", nargs="*", metavar="CHECK", help=f"of {', '.join(CHECKS)}; all unless told")
    parser.add_argument("--dtype", action="append", choices=DTYPES, help="repeatable; all unless told")
    parser.add_argument("--isa", action="append", help="a kernel set, repeatable; else what the machine does best")
    parser.add_argument("--only", default="", help="networks whose name holds this")
    parser.add_argument("--json", type=Path, help="also write every number here")
    parser.add_argument("--figure", type=Path, help="only draw the error along 10,000 steps, as a PNG")
    said = parser.parse_args()
    if unknown := set(said.checks) - set(CHECKS):
        parser.error(f"no checks: {', '.join(sorted(unknown))}; there are {', '.join(CHECKS)}")
    said.work.mkdir(parents=True, exist_ok=True)
    if said.figure:
        importlib.import_module("drift").draw(said.work, said.figure)
        return 0
    dtypes = [dtype for dtype in DTYPES if dtype in (said.dtype or DTYPES)]
    print(f"fastgru {fastgru.__version__}, {platform.machine()}, kernels {fastgru.cpu_info()['isa']}")
    found = []
    for name in said.checks or CHECKS:
        found += check(name, said.work, dtypes, said.isa or [None], said.only)
    if said.json:
        said.json.write_text(json.dumps(found, indent=1), encoding="utf-8")
    beyond = [item for item in found if not item["holds"]]
    print(f"\n{len(found)} numbers, {len(beyond)} beyond their bounds")
    for item in beyond:
        print(f"  {item['network']}, {item['measure']}, {item['dtype']} on {item['isa']}: {shown(item['value'])}, {item['bound']}")
    return 1 if beyond else 0


if __name__ == "__main__":
    sys.exit(main())
