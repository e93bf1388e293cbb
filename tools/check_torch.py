"""Random nn.GRU modules over all options: fastgru against PyTorch, from memory, from .pt and from .safetensors.

    python tools/check_torch.py [--count 200] [--seed 0]

Every module runs as itself, with a random initial state for some, and with lengths, where PyTorch packs the sequence.
Prints the largest error, relative to max(1, max|y|), and exits with 1 where it is above 1e-5 (for float16 and bfloat16
modules PyTorch computes what their float32 copies do).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import fastgru

BOUND = 1e-5
DTYPES = (torch.float32, torch.float32, torch.float32, torch.float64, torch.float16, torch.bfloat16)


@dataclass
class Case:
    """A module, what it is fed with, and what PyTorch answers."""

    module: nn.GRU
    x: np.ndarray
    h0: np.ndarray | None
    lengths: np.ndarray | None
    answers: tuple[np.ndarray, np.ndarray]

    @property
    def config(self) -> dict[str, object]:
        gru = {
            "gru": "",
            "batch_first": self.module.batch_first,
            "return_state": True,
            "initial_state": self.h0 is not None,
        }
        return {"layers": [gru]}


def random_case(rng: np.random.Generator) -> Case:
    """One module of random options with random data."""
    sizes = int(rng.integers(1, 40)), int(rng.choice([1, 2, 3, 7, 8, 16, 17, 32, 33, 48, 64]))
    layers = int(rng.integers(1, 4))
    module = nn.GRU(
        *sizes,
        num_layers=layers,
        bidirectional=bool(rng.integers(2)),
        batch_first=bool(rng.integers(2)),
        bias=bool(rng.integers(4)),
        dropout=float(rng.choice([0, 0.3])) if layers > 1 else 0.0,
    ).to(DTYPES[rng.integers(len(DTYPES))])
    batch, time = int(rng.integers(1, 9)), int(rng.integers(1, 30))
    shape = (batch, time, sizes[0]) if module.batch_first else (time, batch, sizes[0])
    x = rng.standard_normal(shape).astype(np.float32)
    count = module.num_layers * (1 + module.bidirectional)
    h0 = rng.uniform(-1, 1, (count, batch, sizes[1])).astype(np.float32) if rng.integers(2) else None
    lengths = rng.integers(1, time + 1, batch) if rng.integers(2) else None
    if lengths is not None:
        lengths[rng.integers(batch)] = time  # PyTorch cuts its answer at the longest row
    return Case(module, x, h0, lengths, answer(module, x, h0, lengths))


def answer(
    module: nn.GRU, x: np.ndarray, h0: np.ndarray | None, lengths: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """What PyTorch computes in float64."""
    twin = nn.GRU(
        module.input_size, module.hidden_size, num_layers=module.num_layers, bidirectional=module.bidirectional,
        batch_first=module.batch_first, bias=module.bias,
    )  # fmt: skip
    twin.load_state_dict(module.state_dict())
    twin = twin.double().eval()
    given, start = torch.tensor(x).double(), None if h0 is None else torch.tensor(h0).double()
    with torch.no_grad():
        if lengths is None:
            y, h = twin(given, start)
        else:
            packed = pack_padded_sequence(given, torch.tensor(lengths), module.batch_first, enforce_sorted=False)
            y, h = twin(packed, start)
            y, _ = pad_packed_sequence(y, module.batch_first)
    return y.numpy(), h.numpy()


def models(case: Case, folder: Path) -> Iterator[tuple[str, fastgru.Model]]:
    """The same network by every way in."""
    yield "memory", fastgru.from_torch(case.module, initial_state=case.h0 is not None)
    torch.save(case.module.state_dict(), folder / "gru.pt")
    yield ".pt", fastgru.load(folder / "gru.pt", config=case.config)
    save_file({key: value.contiguous() for key, value in case.module.state_dict().items()}, folder / "gru.safetensors")
    yield ".safetensors", fastgru.load(folder / "gru.safetensors", config=case.config)


def error(case: Case, model: fastgru.Model) -> float:
    inputs = (case.x,) if case.h0 is None else (case.x, case.h0)
    found = model(*inputs, lengths=case.lengths)
    worst = 0.0
    for y, expected in zip(found, case.answers, strict=True):
        if y.shape != expected.shape:
            return np.inf
        worst = max(worst, float(np.abs(y - expected).max() / max(1.0, np.abs(expected).max())))
    return worst


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rng = np.random.default_rng(arguments.seed)
    torch.manual_seed(arguments.seed)
    largest: dict[str, float] = {}
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        for number in range(arguments.count):
            case = random_case(rng)
            for way, model in models(case, Path(folder)):
                found = error(case, model)
                largest[way] = max(largest.get(way, 0.0), found)
                if not found <= BOUND:
                    failed += 1
                    print(f"{number}, from {way}: {found:.1e}, {case.module}, lengths {case.lengths}")
    for way, found in largest.items():
        print(f"{arguments.count} modules from {way}: largest error {found:.1e}, allowed {BOUND:.0e}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
