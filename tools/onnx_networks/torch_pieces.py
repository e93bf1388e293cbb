"""Pieces of random PyTorch networks: fronts that make a sequence, pieces that turn it into another, and heads.

Inside a network a sequence is (batch, time, features), or (time, batch, features) while `time_first` is set. Each piece
is a function ``(rng, sizes) → (module, sizes)``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

UNITS = (2, 3, 4, 5, 8)


@dataclass(frozen=True)
class Sizes:
    """Of a sequence: how many features, how many steps where that is fixed, and whether time is the first axis."""

    features: int
    steps: int | None
    time_first: bool = False

    @property
    def time(self) -> int:
        return 0 if self.time_first else 1


class Do(nn.Module):
    """A function with the modules that it takes."""

    def __init__(self, function: Callable[..., torch.Tensor], *modules: nn.Module) -> None:
        super().__init__()
        self.parts = nn.ModuleList(modules)
        self.function = function

    def forward(self, *x):
        return self.function(*self.parts, *x)


PIECES: dict[str, Callable] = {}


def piece(function):
    PIECES[function.__name__] = function
    return function


def activation(rng) -> nn.Module:
    kinds = [
        nn.ReLU(), nn.Tanh(), nn.Sigmoid(), nn.LeakyReLU(0.2), nn.ELU(), nn.GELU(), nn.GELU(approximate="tanh"),
        nn.SiLU(), nn.PReLU(), nn.Hardtanh(),
        nn.ReLU6(), nn.Softplus(), nn.Softsign(), nn.Hardswish(), nn.Hardsigmoid(), nn.Mish(), nn.SELU(),
        nn.CELU(0.7), nn.Tanhshrink(), nn.LogSigmoid(), nn.Softplus(beta=2.0), nn.Threshold(0.1, -0.3),
        nn.Hardshrink(0.3), nn.Softshrink(0.2),
    ]  # fmt: skip
    return kinds[rng.integers(len(kinds))]


def units(rng) -> int:
    return int(rng.choice(UNITS))


@piece
def gru(rng, s):
    n, layers, both = units(rng), int(rng.integers(1, 3)), bool(rng.integers(2))
    module = nn.GRU(s.features, n, layers, bias=bool(rng.integers(4)), batch_first=not s.time_first, bidirectional=both)
    return Do(lambda m, x: m(x)[0], module), replace(s, features=n * (1 + both))


@piece
def gru_zeros(rng, s):
    """A state of zeros, or a learned one, made in forward."""
    n, batch = units(rng), 1 - s.time
    module = nn.GRU(s.features, n, batch_first=not s.time_first)
    spelling = rng.integers(4)
    learned = nn.ParameterList([torch.randn(1, 1, n)])

    def run(m, p, x):
        size = x.shape[batch]
        if spelling == 0:
            h = torch.zeros(1, size, n)
        elif spelling == 1:
            h = x.new_zeros((1, x.size(batch), n))
        elif spelling == 2:
            h = p[0].expand(-1, size, -1).contiguous()
        else:
            h = p[0].repeat(1, size, 1)
        return m(x, h)[0]

    return Do(run, module, learned), replace(s, features=n)


@piece
def gru_backwards(rng, s):
    n, at = units(rng), s.time
    module = nn.GRU(s.features, n, batch_first=not s.time_first)
    return Do(lambda m, x: m(x.flip(at))[0].flip(at), module), replace(s, features=n)


@piece
def gru_directions(rng, s):
    """Both directions of a GRU, joined otherwise than by concatenation."""
    n = units(rng)
    module = nn.GRU(s.features, n, batch_first=not s.time_first, bidirectional=True)
    kind = rng.integers(4)

    def run(m, x):
        y = m(x)[0]
        if kind == 0:
            return y[..., :n] + y[..., n:]
        if kind == 1:
            return y.view(y.shape[0], y.shape[1], 2, n).sum(2)
        if kind == 2:
            a, b = y.chunk(2, dim=-1)
            return torch.maximum(a, b)
        return y.reshape(y.size(0), y.size(1), 2, n).mean(dim=2)

    return Do(run, module), replace(s, features=n)


@piece
def gru_in_order(rng, s):
    """A GRU of the other order between two transposes."""
    n = units(rng)
    module = nn.GRU(s.features, n, batch_first=s.time_first)
    permuted = bool(rng.integers(2))

    def run(m, x):
        if permuted:
            return m(x.permute(1, 0, 2))[0].permute(1, 0, 2)
        return m(x.transpose(0, 1))[0].transpose(0, 1)

    return Do(run, module), replace(s, features=n)


@piece
def cell(rng, s):
    if s.steps is None or s.steps > 8:
        return None
    n, at = units(rng), s.time
    module, zeros = nn.GRUCell(s.features, n, bias=bool(rng.integers(2))), bool(rng.integers(2))

    def run(m, x):
        h, ys = (torch.zeros(x.shape[1 - at], n) if zeros else None), []
        for step in x.unbind(at):
            h = m(step, h)
            ys.append(h)
        return torch.stack(ys, at)

    return Do(run, module), replace(s, features=n)


@piece
def linear(rng, s):
    n = units(rng)
    return nn.Sequential(nn.Linear(s.features, n, bias=bool(rng.integers(3))), activation(rng)), replace(s, features=n)


@piece
def bottleneck(rng, s):
    n = units(rng)
    return nn.Sequential(
        nn.Linear(s.features, n), nn.Dropout(0.2), activation(rng), nn.Linear(n, s.features), nn.LayerNorm(s.features)
    ), s


@piece
def distributed(rng, s):
    """A Linear over (batch · time, features)."""
    n, module = units(rng), nn.Linear(s.features, units(rng))
    n = module.out_features
    kind = rng.integers(3)

    def run(m, x):
        if kind == 0:
            b, t, f = x.shape
            return m(x.reshape(b * t, f)).reshape(b, t, n)
        if kind == 1:
            return torch.relu(m(x.contiguous().view(-1, x.shape[-1]))).view(x.size(0), -1, n)
        return m(x.flatten(0, 1)).unflatten(0, (x.shape[0], x.shape[1]))

    return Do(run, module), replace(s, features=n)


@piece
def layer_norm(rng, s):
    return nn.LayerNorm(s.features, elementwise_affine=bool(rng.integers(3))), s


@piece
def rms_norm(rng, s):
    scale = nn.ParameterList([torch.rand(s.features) + 0.5])
    return Do(lambda p, x: p[0] * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5), scale), s


@piece
def own_norm(rng, s):
    kind = rng.integers(5)

    def run(x):
        if kind == 0:
            return (x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True) + 1e-5)
        if kind == 1:
            return F.normalize(x, dim=-1)
        if kind == 2:
            return x - x.mean(dim=s.time, keepdim=True)
        if kind == 3:
            return (x - x.mean(-1, keepdim=True)) / torch.sqrt(x.var(-1, unbiased=False, keepdim=True) + 1e-5)
        return x / (x.abs().amax(dim=-1, keepdim=True) + 1e-3)

    return Do(run), s


@piece
def batch_norm(rng, s):
    if s.time_first:
        return None
    norm = nn.BatchNorm1d(s.features)
    return Do(lambda m, x: m(x.transpose(1, 2)).transpose(1, 2), norm), s


@piece
def conv1d(rng, s):
    n, k = units(rng), int(rng.integers(1, 5))
    stride, dilation = (int(rng.integers(1, 3)), 1) if rng.integers(2) else (1, int(rng.integers(1, 3)))
    kind = ["valid", "same", "causal", "causal pad"][rng.integers(4)]
    if kind == "valid" and s.steps is not None and s.steps < 12:
        kind = "causal pad"
    reach = dilation * (k - 1)
    pad = {"valid": 0, "same": reach // 2, "causal": reach, "causal pad": 0}[kind]
    conv = nn.Conv1d(s.features, n, k, stride=stride, dilation=dilation, padding=pad, bias=bool(rng.integers(2)))
    act = activation(rng)

    def run(m, a, x):
        x = x.permute(1, 2, 0) if s.time_first else x.transpose(1, 2)
        if kind == "causal pad":
            x = F.pad(x, (reach, 0))
        y = m(x)
        if kind == "causal" and reach and stride == 1:
            y = y[:, :, :-reach]
        y = a(y)
        return y.permute(2, 0, 1) if s.time_first else y.transpose(1, 2)

    total = {"valid": 0, "same": 2 * pad, "causal": reach if stride == 1 else 2 * reach, "causal pad": reach}[kind]
    steps = None if s.steps is None else (s.steps + total - reach - 1) // stride + 1
    return Do(run, conv, act), replace(s, features=n, steps=steps)


@piece
def depthwise(rng, s):
    if s.time_first:
        return None
    conv = nn.Conv1d(s.features, s.features, 3, padding=1, groups=s.features)
    point = nn.Conv1d(s.features, units(rng), 1)
    return Do(lambda a, b, x: b(torch.relu(a(x.mT))).mT, conv, point), replace(s, features=point.out_channels)


@piece
def time_pool(rng, s):
    if s.time_first or (s.steps is not None and s.steps < 6):
        return None
    k = int(rng.integers(2, 4))
    pool = [nn.MaxPool1d(k), nn.AvgPool1d(k), nn.MaxPool1d(k, stride=1), nn.AvgPool1d(k, stride=1, padding=1)][
        rng.integers(4)
    ]
    stride, pad = (pool.stride, pool.padding) if isinstance(pool, nn.MaxPool1d) else (pool.stride[0], pool.padding[0])
    steps = None if s.steps is None else (s.steps + 2 * pad - k) // stride + 1
    return Do(lambda m, x: m(x.transpose(1, 2)).transpose(1, 2), pool), replace(s, steps=steps)


@piece
def residual(rng, s):
    n = s.features
    act = activation(rng)
    if rng.integers(2):
        module = nn.GRU(n, n, batch_first=not s.time_first)
        return Do(lambda m, a, x: a(x + m(x)[0]), module, act), s
    return Do(lambda m, a, x: x + a(m(x)), nn.Linear(n, n), act), s


@piece
def dense_connection(rng, s):
    n = units(rng)
    module = nn.GRU(s.features, n, batch_first=not s.time_first)
    return Do(lambda m, x: torch.cat([x, m(x)[0]], dim=-1), module), replace(s, features=s.features + n)


@piece
def highway(rng, s):
    gate, other = nn.Linear(s.features, s.features), nn.Linear(s.features, s.features)

    def run(g, o, x):
        t = torch.sigmoid(g(x))
        return t * torch.relu(o(x)) + (1 - t) * x

    return Do(run, gate, other), s


@piece
def glu(rng, s):
    n = units(rng)
    return nn.Sequential(nn.Linear(s.features, 2 * n), nn.GLU(-1)), replace(s, features=n)


@piece
def squeeze_excite(rng, s):
    return Do(lambda m, x: x * torch.sigmoid(m(x.mean(s.time, keepdim=True))), nn.Linear(s.features, s.features)), s


@piece
def stacked_frames(rng, s):
    if s.time_first or s.steps is None or s.steps % 2:
        return None
    kind = rng.integers(2)

    def run(x):
        if kind:
            return x.reshape(x.shape[0], x.shape[1] // 2, 2 * x.shape[2])
        return torch.cat([x[:, ::2], x[:, 1::2]], -1)

    return Do(run), replace(s, features=2 * s.features, steps=s.steps // 2)


@piece
def every_other(rng, s):
    run = (lambda x: x[::2]) if s.time_first else (lambda x: x[:, ::2, :])
    return Do(run), replace(s, steps=None if s.steps is None else (s.steps + 1) // 2)


@piece
def deltas(rng, s):
    if s.time_first or (s.steps is not None and s.steps < 3):
        return None
    kind = rng.integers(3)

    def run(x):
        if kind == 0:
            return x[:, 1:] - x[:, :-1]
        if kind == 1:
            return torch.cat([x[:, 1:], torch.diff(x, dim=1)], 2)
        return torch.cat([x, F.pad(x[:, 1:] - x[:, :-1], (0, 0, 1, 0))], -1)

    steps = s.steps if s.steps is None or kind == 2 else s.steps - 1
    return Do(run), replace(s, features=s.features * (1 if kind == 0 else 2), steps=steps)


@piece
def scaled(rng, s):
    mean, std = nn.ParameterList([torch.randn(s.features)]), nn.ParameterList([torch.rand(s.features) + 0.5])
    return Do(lambda a, b, x: (x - a[0]) / b[0], mean, std), s


@piece
def compressed(rng, s):
    kind = rng.integers(6)

    def run(x):
        if kind == 0:
            return torch.log(x.abs() + 1e-3)
        if kind == 1:
            return x.abs().pow(0.3)
        if kind == 2:
            return torch.log1p(x.clamp(min=0))
        if kind == 3:
            return torch.sign(x) * torch.sqrt(x.abs() + 1e-2)
        if kind == 4:
            return 2 * x.square() - 1
        return torch.exp(-F.relu(x))

    return Do(run), s


@piece
def positions(rng, s):
    if s.steps is None or s.time_first:
        return None
    return Do(lambda p, x: x + p[0][: x.shape[1]], nn.ParameterList([torch.randn(s.steps + 3, s.features)])), s


@piece
def einsum(rng, s):
    n = units(rng)
    return Do(
        lambda p, x: torch.einsum("btf,fg->btg", x, p[0]), nn.ParameterList([torch.randn(s.features, n)])
    ), replace(s, features=n)


@piece
def matmul(rng, s):
    n = units(rng)
    return Do(lambda p, x: x @ p[0] + 0.5, nn.ParameterList([torch.randn(s.features, n)])), replace(s, features=n)


@piece
def picked(rng, s):
    if s.features < 3:
        return None
    kind = rng.integers(4)
    order = torch.from_numpy(rng.permutation(s.features))
    n = {0: s.features, 1: s.features - 1, 2: (s.features + 1) // 2, 3: 2}[int(kind)]

    def run(x):
        if kind == 0:
            return x[..., order]
        if kind == 1:
            return torch.narrow(x, -1, 1, n)
        if kind == 2:
            return x[:, :, ::2]
        return torch.stack([x[..., 0], x[..., -1]], dim=-1)

    return Do(run), replace(s, features=n)


@piece
def heads(rng, s):
    """Features as (heads, part), something done there, and back."""
    n = 2 * units(rng)
    first, kind = nn.Linear(s.features, n), rng.integers(4)
    norm = nn.LayerNorm(n // 2)

    def run(m, k, x):
        y = m(x)
        y = y.view(y.shape[0], y.shape[1], 2, n // 2)
        if kind == 0:
            y = y.softmax(-1)
        elif kind == 1:
            y = k(y)
        elif kind == 2:
            y = y.transpose(2, 3)
        else:
            y = y * y.mean(2, keepdim=True)
        return y.flatten(2)

    return Do(run, first, norm), replace(s, features=n)


@piece
def other_order(rng, s):
    return Do(lambda x: x.transpose(0, 1)), replace(s, time_first=not s.time_first)


@piece
def attention(rng, s):
    """One head of attention of every step to every other."""
    if s.time_first:
        return None
    n = units(rng)
    q, k, v = (nn.Linear(s.features, n) for _ in range(3))

    def run(q, k, v, x):
        weights = (q(x) @ k(x).transpose(-2, -1) / n**0.5).softmax(-1)
        return weights @ v(x)

    return Do(run, q, k, v), replace(s, features=n)


@piece
def group_norm(rng, s):
    if s.time_first or s.steps is None:
        return None
    return Do(lambda m, x: m(x.transpose(1, 2)).transpose(1, 2), nn.GroupNorm(1, s.features)), s


@piece
def mixed_cells(rng, s):
    """Two GRUs side by side, whose outputs are joined."""
    n = units(rng)
    a, b = (nn.GRU(s.features, n, batch_first=not s.time_first) for _ in range(2))
    kind = rng.integers(4)

    def run(a, b, x):
        y, z = a(x)[0], b(x)[0]
        if kind == 0:
            return y * z
        if kind == 1:
            return torch.where(y > 0, z, y)
        if kind == 2:
            return torch.stack([y, z], -1).amax(-1)
        return torch.lerp(y, z, 0.25)

    return Do(run, a, b), replace(s, features=n)


def random_piece(rng: np.random.Generator, sizes: Sizes) -> tuple[str, nn.Module, Sizes]:
    """A piece that fits these sizes; GRUs most often."""
    names = [*PIECES, *["gru"] * 8]
    while True:
        name = names[rng.integers(len(names))]
        made = PIECES[name](rng, sizes)
        if made is not None and (made[1].steps is None or made[1].steps > 0):
            return name, *made
