"""Fronts and heads of random PyTorch networks: from inputs of many forms to a sequence, and from there to outputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from .torch_pieces import Do, Sizes, activation, units

FRONTS: dict[str, Callable] = {}
HEADS: dict[str, Callable] = {}


@dataclass
class Front:
    """What a network reads.

    Attributes
    ----------
    module : nn.Module
    sizes : Sizes
    inputs : dict of str to tuple
        By name: sizes, "B" and "T" for batch and time (also "2T"), and the dtype's word.
    """

    module: nn.Module
    sizes: Sizes
    inputs: dict[str, tuple[tuple, str]]


def front(function):
    FRONTS[function.__name__] = function
    return function


def head(function):
    HEADS[function.__name__] = function
    return function


@front
def batch_first(rng, steps):
    n = units(rng)
    return Front(Do(lambda x: x), Sizes(n, steps), {"x": (("B", "T", n), "float")})


@front
def time_first(rng, steps):
    n = units(rng)
    return Front(Do(lambda x: x), Sizes(n, steps, True), {"x": (("T", "B", n), "float")})


@front
def words(rng, steps):
    n = units(rng)
    table = nn.Embedding(11, n, padding_idx=0)
    scale = float(rng.choice([1.0, 2.0]))
    return Front(Do(lambda m, x: m(x) * scale, table), Sizes(n, steps), {"ids": (("B", "T"), "ids")})


@front
def words_time_first(rng, steps):
    n = units(rng)
    return Front(nn.Embedding(11, n), Sizes(n, steps, True), {"ids": (("T", "B"), "ids")})


@front
def words_and_tags(rng, steps):
    n, m = units(rng), units(rng)
    run = Do(lambda a, b, x, y: torch.cat((a(x), b(y)), dim=2), nn.Embedding(11, n), nn.Embedding(11, m))
    return Front(run, Sizes(n + m, steps), {"ids": (("B", "T"), "ids"), "tags": (("B", "T"), "ids")})


@front
def points(rng, steps):
    """(B, T, N, F): joints, sensors, …"""
    n, m, kind = int(rng.integers(2, 5)), units(rng), rng.integers(5)
    linear = nn.Linear(m, 3)

    def run(k, x):
        b, t = x.shape[0], x.shape[1]
        if kind == 0:
            return x.reshape(b, t, n * m)
        if kind == 1:
            return torch.relu(k(x)).flatten(2)
        if kind == 2:
            return k(x.view(b * t, n, m)).mean(1).view(b, t, -1)
        if kind == 3:
            return torch.flatten(x.permute(0, 1, 3, 2), start_dim=2)
        return k(x).max(dim=2)[0]

    features = {0: n * m, 1: 3 * n, 2: 3, 3: n * m, 4: 3}[int(kind)]
    return Front(Do(run, linear), Sizes(features, steps), {"x": (("B", "T", n, m), "float")})


@front
def channels(rng, steps):
    n, m = units(rng), units(rng)
    conv, act = nn.Conv1d(n, m, 3, padding=1), activation(rng)
    norm = nn.BatchNorm1d(m)
    both = bool(rng.integers(2))
    run = Do(lambda c, k, a, x: (a(k(c(x))) if both else a(c(x))).permute(0, 2, 1), conv, norm, act)
    return Front(run, Sizes(m, steps), {"x": (("B", n, "T"), "float")})


@front
def spectrogram(rng, steps):
    """(B, 1, T, F): steps along the third axis."""
    f, c, kind = int(rng.integers(5, 10)), int(rng.integers(2, 4)), rng.integers(3)
    conv = nn.Conv2d(1, c, (3, 3), padding=(1, 1), stride=(1, 2))
    norm, act = nn.BatchNorm2d(c), activation(rng)
    pool = nn.MaxPool2d((1, 2)) if rng.integers(2) else nn.Identity()

    def run(k, n, a, p, x):
        y = p(a(n(k(x))))
        if kind == 0:
            return y.permute(0, 2, 1, 3).flatten(2)
        if kind == 1:
            y = y.transpose(1, 2).contiguous()
            return y.view(y.size(0), y.size(1), -1)
        return y.permute(0, 2, 3, 1).reshape(y.shape[0], y.shape[2], y.shape[1] * y.shape[3])

    with torch.no_grad():
        features = run(conv, norm, act, pool, torch.zeros(1, 1, 4, f)).shape[2]
    return Front(Do(run, conv, norm, act, pool), Sizes(features, steps), {"x": (("B", 1, "T", f), "float")})


@front
def picture(rng, steps):
    """(B, C, H, W): steps along the width."""
    c, h, kind, n = int(rng.choice([1, 3])), 8, rng.integers(3), int(rng.integers(2, 5))
    stack = nn.Sequential(
        nn.Conv2d(c, n, 3, padding=1), nn.BatchNorm2d(n), nn.ReLU(), nn.MaxPool2d((2, 1)),
        nn.Conv2d(n, n, 3, padding=1), nn.LeakyReLU(0.1),
        nn.AvgPool2d((4, 1)) if kind == 2 else nn.MaxPool2d((2, 1), (2, 1)),
    )  # fmt: skip

    def run(m, x):
        y = m(x)
        if kind == 0:
            b, k, rows, w = y.size()
            return y.view(b, k * rows, w).permute(2, 0, 1)
        if kind == 1:
            return y.permute(0, 3, 1, 2).flatten(2)
        return y.squeeze(2).permute(0, 2, 1)

    features = n if kind == 2 else 2 * n
    return Front(Do(run, stack), Sizes(features, steps, bool(kind == 0)), {"x": (("B", c, h, "T"), "float")})


@front
def frames(rng, steps):
    """(B, T, C, H, W): a network of pictures for each step."""
    if rng.integers(2):
        return None
    c, n = int(rng.choice([1, 3])), int(rng.integers(2, 4))
    stack = nn.Sequential(
        nn.Conv2d(c, n, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1) if rng.integers(2) else nn.Flatten()
    )
    features = int(np.prod(stack(torch.zeros(1, c, 6, 6)).shape))

    def run(m, x):
        b, t = x.shape[:2]
        return m(x.reshape(b * t, *x.shape[2:])).reshape(b, t, -1)

    return Front(Do(run, stack), Sizes(features, steps), {"x": (("B", "T", c, 6, 6), "float")})


@front
def beside(rng, steps):
    """A sequence and something of the whole row."""
    n, m, kind = units(rng), units(rng), rng.integers(4)
    linear = nn.Linear(m, n)

    def run(k, x, z):
        if kind == 0:
            return torch.cat([x, z.unsqueeze(1).expand(-1, x.size(1), -1)], dim=-1)
        if kind == 1:
            return x + k(z)[:, None, :]
        if kind == 2:
            return x * torch.sigmoid(k(z)).unsqueeze(1)
        return torch.cat([x, z.unsqueeze(1).repeat(1, x.shape[1], 1)], 2)

    return Front(
        Do(run, linear),
        Sizes(n + m if kind in (0, 3) else n, steps),
        {"x": (("B", "T", n), "float"), "z": (("B", m), "float")},
    )


@front
def two(rng, steps):
    n, m, kind = units(rng), units(rng), rng.integers(3)
    m = n if kind else m
    run = [lambda x, y: torch.cat([x, y], -1), lambda x, y: x - y, lambda x, y: x * torch.tanh(y)][kind]
    return Front(
        Do(run), Sizes(n + m if not kind else n, steps), {"x": (("B", "T", n), "float"), "y": (("B", "T", m), "float")}
    )


@front
def started(rng, steps):
    """The first state is an input."""
    n, m, layers = units(rng), units(rng), int(rng.integers(1, 3))
    module = nn.GRU(n, m, layers, batch_first=True)
    kind = rng.integers(3)
    layers = 1 if kind else layers
    module = nn.GRU(n, m, layers, batch_first=True)
    if kind == 0:
        run, inputs = (lambda g, x, h: g(x, h)[0]), (layers, "B", m)
    elif kind == 1:
        run, inputs = (lambda g, x, h: g(x, h.unsqueeze(0))[0]), ("B", m)
    else:
        run, inputs = (lambda g, x, h: g(x, h[None])[0]), ("B", m)
    return Front(Do(run, module), Sizes(m, steps), {"x": (("B", "T", n), "float"), "h0": (inputs, "float")})


@front
def scalar(rng, steps):
    """(B, T): one number a step."""
    n = units(rng)
    return Front(Do(lambda m, x: m(x.unsqueeze(-1)), nn.Linear(1, n)), Sizes(n, steps), {"x": (("B", "T"), "float")})


# ---- heads: (module, does it take lengths) --------------------------------------------------------------------------


def _batch_first(s, x):
    return x.transpose(0, 1) if s.time_first else x


@head
def steps(rng, s):
    n = units(rng)
    ends = [
        nn.Identity(),
        nn.Softmax(-1),
        nn.LogSoftmax(2),
        nn.Sigmoid(),
        nn.Tanh(),
        nn.ReLU(),
        nn.Softplus(),
        nn.Softmax(dim=2),
    ]
    return nn.Sequential(nn.Linear(s.features, n), ends[rng.integers(len(ends))])


@head
def classes(rng, s):
    kind, linear = rng.integers(3), nn.Linear(s.features, units(rng))

    def run(m, x):
        y = m(x)
        if kind == 0:
            return y.argmax(-1)
        if kind == 1:
            return y, y.softmax(-1).argmax(dim=2)
        return y.max(dim=-1)[0]

    return Do(run, linear)


@head
def one_number(rng, s):
    kind = rng.integers(3)
    run = [
        lambda m, x: m(x).squeeze(-1),
        lambda m, x: torch.sigmoid(m(x))[..., 0],
        lambda m, x: m(x).squeeze(2).relu(),
    ][kind]
    return Do(run, nn.Linear(s.features, 1))


@head
def last_step(rng, s):
    kind, linear = rng.integers(7), nn.Linear(s.features, units(rng))

    def run(m, x):
        x = _batch_first(s, x)
        if kind == 0:
            y = x[:, -1]
        elif kind == 1:
            y = x[:, -1, :]
        elif kind == 2:
            y = x.select(1, -1)
        elif kind == 3:
            y = x[:, -1:, :].squeeze(1)
        elif kind == 4:
            y = x.index_select(1, torch.tensor([x.shape[1] - 1])).squeeze(1)
        elif kind == 5:
            y = torch.narrow(x, 1, x.shape[1] - 1, 1).flatten(1)
        else:
            y = x.unbind(1)[-1] if s.steps else x.transpose(0, 1)[-1]
        return m(y)

    return Do(run, linear)


@head
def last_state(rng, s):
    n, layers, both, kind = units(rng), int(rng.integers(1, 3)), bool(rng.integers(2)), rng.integers(7)
    gru = nn.GRU(s.features, n, layers, batch_first=not s.time_first, bidirectional=both)
    total = layers * (1 + both)
    many = kind in (2, 3, 4)
    features = {2: total * n, 3: (1 + both) * n, 4: total * n}.get(int(kind), n)
    linear = nn.Linear(features, units(rng))

    def run(g, m, x):
        _, h = g(x)
        if kind == 0:
            v = h[-1]
        elif kind == 1:
            v = h.select(0, total - 1)
        elif kind == 2:
            v = h.transpose(0, 1).reshape(h.shape[1], -1)
        elif kind == 3:
            v = torch.cat((h[-2], h[-1]), 1) if both else h[-1, :, :]
        elif kind == 4:
            v = h.permute(1, 0, 2).flatten(1)
        elif kind == 5:
            v = h.view(layers, 1 + both, -1, n)[-1].sum(0)
        else:
            v = h.mean(0)
        return m(v)

    del many
    return Do(run, gru, linear)


@head
def over_time(rng, s):
    kind, linear = rng.integers(9), nn.Linear(s.features, units(rng))

    def run(m, x):
        t = s.time
        y = _batch_first(s, x)
        if kind == 0:
            v = x.mean(t)
        elif kind == 1:
            v = x.max(dim=t)[0]
        elif kind == 2:
            v = x.sum(dim=t)
        elif kind == 3:
            v = F.adaptive_avg_pool1d(y.transpose(1, 2), 1).squeeze(-1)
        elif kind == 4:
            v = F.adaptive_max_pool1d(y.permute(0, 2, 1), 1).flatten(1)
        elif kind == 5:
            v = x.mean(t) + x.amax(t)
        elif kind == 6:
            v = torch.linalg.vector_norm(x, dim=t)
        elif kind == 7:
            v = torch.logsumexp(x, dim=t)
        else:
            v = x.amin(dim=t) * torch.std(x, dim=t, unbiased=False)
        return m(v).softmax(-1)

    return Do(run, linear)


@head
def attention_pool(rng, s):
    score, kind = nn.Sequential(nn.Linear(s.features, 3), nn.Tanh(), nn.Linear(3, 1)), rng.integers(4)

    def run(m, x):
        y = _batch_first(s, x)
        w = m(y)
        if kind == 0:
            return (w.softmax(1) * y).sum(1)
        if kind == 1:
            w = F.softmax(w.squeeze(-1), dim=1)
            return torch.bmm(w.unsqueeze(1), y).squeeze(1), w
        if kind == 2:
            return torch.matmul(w.softmax(1).transpose(1, 2), y)[:, 0]
        return torch.einsum("bt,btf->bf", w[..., 0].softmax(-1), y)

    return Do(run, score)


@head
def outputs_and_state(rng, s):
    n = units(rng)
    gru = nn.GRU(
        s.features, n, int(rng.integers(1, 3)), batch_first=not s.time_first, bidirectional=bool(rng.integers(2))
    )
    return Do(lambda g, x: g(x), gru)


@head
def by_lengths(rng, s):
    if s.time_first or s.steps is not None:
        return None
    kind, linear = rng.integers(4), nn.Linear(s.features, units(rng))

    def run(m, x, lengths):
        if kind == 0:
            at = (lengths - 1).view(-1, 1, 1).expand(-1, 1, x.size(2))
            return m(x.gather(1, at).squeeze(1))
        mask = torch.arange(x.size(1))[None, :] < lengths[:, None]
        if kind == 1:
            return m((x * mask.unsqueeze(-1)).sum(1) / lengths.unsqueeze(1).float())
        if kind == 2:
            return m(x.masked_fill(~mask.unsqueeze(-1), -1e9).max(1)[0])
        return m(x[torch.arange(x.size(0)), lengths - 1])

    made = Do(run, linear)
    made.takes_lengths = True
    return made


@head
def masked_gru(rng, s):
    if s.time_first or s.steps is not None:
        return None
    n, both, kind = units(rng), bool(rng.integers(2)), rng.integers(2)
    gru = nn.GRU(s.features, n, batch_first=True, bidirectional=both)

    def run(g, x, lengths):
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=True)
        y, h = g(packed)
        y = nn.utils.rnn.pad_packed_sequence(y, batch_first=True)[0]
        return (y, h) if kind else h[-1]

    made = Do(run, gru)
    made.takes_lengths = True
    return made


@head
def two_heads(rng, s):
    a, b = nn.Linear(s.features, units(rng)), nn.Linear(s.features, units(rng))
    return Do(lambda m, n, x: (torch.sigmoid(m(x)), n(x.mean(s.time)).tanh()), a, b)


@head
def flat(rng, s):
    if s.steps is None or s.time_first:
        return None
    return nn.Sequential(nn.Flatten(), nn.Linear(s.features * s.steps, units(rng)))


@head
def forecast(rng, s):
    """The last step as several steps, or as numbers beside the last input."""
    n, linear = units(rng), nn.Linear(s.features, 6)
    kind = rng.integers(3)
    del n

    def run(m, x):
        y = m(_batch_first(s, x)[:, -1])
        if kind == 0:
            return y.view(-1, 3, 2)
        if kind == 1:
            return y.reshape(y.shape[0], 2, 3).softmax(-1)
        mean, scale = y.chunk(2, -1)
        return mean, F.softplus(scale) + 1e-4

    return Do(run, linear)


@head
def decoder(rng, s):
    """The last state, repeated, as the input of a second GRU."""
    n, m = units(rng), units(rng)
    first, second, kind = (
        nn.GRU(s.features, n, batch_first=not s.time_first),
        nn.GRU(n, m, batch_first=True),
        rng.integers(3),
    )

    def run(a, b, x):
        h = a(x)[1]
        if kind == 0:
            return b(h[-1].unsqueeze(1).repeat(1, 4, 1))[0]
        if kind == 1:
            return b(h.permute(1, 0, 2).expand(-1, 3, -1))[0]
        count = x.shape[s.time]
        return b(h[-1].unsqueeze(1).expand(-1, count, -1))[0]

    return Do(run, first, second)
