"""Random PyTorch networks around GRUs, written by both exporters of torch."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import nn

from . import Case, NotExported
from .torch_ends import FRONTS, HEADS
from .torch_pieces import random_piece


class Net(nn.Module):
    def __init__(self, front, pieces, head) -> None:
        super().__init__()
        self.front, self.pieces, self.head = front, nn.ModuleList(pieces), head
        self.takes_lengths = getattr(head, "takes_lengths", False)

    def forward(self, *x):
        rest = x[-1:] if self.takes_lengths else ()
        y = self.front(*x[: len(x) - len(rest)])
        for part in self.pieces:
            y = part(y)
        return self.head(y, *rest)


def cases(seed: int, count: int) -> Iterator[Case | NotExported]:
    """Networks `seed`, `seed` + 1, …"""
    for number in range(seed, seed + count):
        for dynamo in (False, True):
            yield one(number, dynamo)


def one(number: int, dynamo: bool) -> Case | NotExported:
    rng = np.random.default_rng(number)
    torch.manual_seed(number)
    net, inputs, name, fixed = network(rng)
    free = (
        ["both", "both", "time", "batch", "none", "none"][rng.integers(6)]
        if not fixed
        else ["batch", "none"][rng.integers(2)]
    )
    opset = int(rng.integers(11, 21)) if not dynamo else int(rng.integers(18, 21))
    name = f"torch {number} {'dynamo' if dynamo else 'script'} opset {opset} free {free}: {name}"
    sizes = [{"B": 2, "T": fixed or 7}, {"B": 1, "T": fixed or 12}, {"B": 3, "T": fixed or 20}]
    if free in ("time", "none"):
        batch = int(rng.integers(1, 3))
        sizes = [one | {"B": batch} for one in sizes]
    if free in ("batch", "none"):
        sizes = [one | {"T": fixed or 8} for one in sizes]
    feeds = [feed(inputs, size, np.random.default_rng(number + i)) for i, size in enumerate(sizes)]
    with torch.no_grad():
        answers = [flat(net(*map(torch.from_numpy, one.values()))) for one in feeds]
        try:
            proto = export(net, feeds[0], inputs, free, opset, dynamo, len(answers[0]))
        except Exception as error:
            return NotExported(name, f"{type(error).__name__}: {str(error).strip().splitlines()[0][:150]}")
    return Case(name, proto, feeds, answers)


def network(rng):
    """A network, its inputs, what it is made of, and how many steps it takes where that is fixed."""
    while True:
        fixed = int(rng.choice([6, 8])) if rng.integers(4) == 0 else None
        key = list(FRONTS)[rng.integers(len(FRONTS))]
        front = FRONTS[key](rng, fixed)
        if front is None:
            continue
        names, pieces, sizes = [key], [], front.sizes
        for _ in range(int(rng.integers(0, 4))):
            part, module, sizes = random_piece(rng, sizes)
            names.append(part)
            pieces.append(module)
        key = list(HEADS)[rng.integers(len(HEADS))]
        head = HEADS[key](rng, sizes)
        if head is None or (sizes.time_first is False and key == "masked_gru" and "pool" in " ".join(names)):
            continue
        net = Net(front.module, pieces, head).eval()
        inputs = dict(front.inputs)
        if net.takes_lengths:
            inputs["lengths"] = (("B",), "lengths")
        if not any(isinstance(part, (nn.GRU, nn.GRUCell)) for part in net.modules()):
            continue
        for part in net.modules():
            if isinstance(part, (nn.BatchNorm1d, nn.BatchNorm2d)):
                part.running_mean.uniform_(-0.5, 0.5)
                part.running_var.uniform_(0.5, 1.5)
        with torch.no_grad(), contextlib.suppress(RuntimeError, IndexError, ValueError):
            steps = [fixed] if fixed else [7, 12, 20]
            for time in steps:
                net(*map(torch.from_numpy, feed(inputs, {"B": 2, "T": time}, np.random.default_rng(0)).values()))
            return net, inputs, " ".join([*names, key]), fixed


def feed(inputs, sizes, rng):
    found = {}
    for name, (shape, kind) in inputs.items():
        shape = [sizes.get(size, size) for size in shape]
        if kind == "float":
            found[name] = rng.standard_normal(shape).astype(np.float32)
        elif kind == "ids":
            found[name] = rng.integers(0, 11, shape)
        else:
            found[name] = np.sort(rng.integers(1, sizes["T"] // 3 + 1, shape))[::-1].copy()
            found[name][0] = sizes["T"] // 3 + 1
    return found


@contextlib.contextmanager
def quiet():
    """Nothing that C++ prints."""
    sys.stdout.flush()
    kept = {number: os.dup(number) for number in (1, 2)}
    with open(os.devnull, "w") as nowhere:
        for number in kept:
            os.dup2(nowhere.fileno(), number)
    try:
        yield
    finally:
        for number, copy in kept.items():
            os.dup2(copy, number)
            os.close(copy)


def flat(y):
    return [one.numpy() for one in y] if isinstance(y, tuple) else [y.numpy()]


def export(net, example, inputs, free, opset, dynamo, outputs):
    axes = {}
    for name, (shape, _) in inputs.items():
        words = {"B": "batch", "T": "time"}
        kept = {axis: words[size] for axis, size in enumerate(shape) if size in words and free in ("both", words[size])}
        if kept:
            axes[name] = kept
    given = tuple(torch.from_numpy(array) for array in example.values())
    options = {}
    if dynamo:
        if axes:
            free_axis = torch.export.Dim.DYNAMIC
            options["dynamic_shapes"] = (tuple(dict.fromkeys(axes.get(name, {}), free_axis) for name in inputs),)
        options["verbose"] = False
    else:
        options["dynamic_axes"] = axes
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(folder) / "net.onnx"
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()), quiet():
            torch.onnx.export(
                net, given, path, dynamo=dynamo, opset_version=opset, input_names=list(inputs),
                output_names=[f"out{i}" for i in range(outputs)], **options,
            )  # fmt: skip
        return onnx.load(path)
