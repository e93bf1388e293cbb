"""Write the ONNX files under tests/data/onnx/torch: networks around nn.GRU, by PyTorch's TorchScript exporter.

python tools/make_torch_onnx.py [name …]      needs torch (written with 2.13) and onnx

Each module says its example inputs and which axes stay free; onnxruntime judges the files where the tests run.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import torch
from torch import nn

FOLDER = Path(__file__).parents[1] / "tests" / "data" / "onnx" / "torch"
OPSET = 17


class Tagger(nn.Module):
    def __init__(self, batch_first: bool = True) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, 6, padding_idx=0)
        self.gru = nn.GRU(6, 5, bidirectional=True, batch_first=batch_first)
        self.head = nn.Linear(10, 4)

    def forward(self, ids):
        return self.head(self.gru(self.embedding(ids))[0]).log_softmax(-1)


class Classifier(Tagger):
    def forward(self, ids):
        return self.head(self.gru(self.embedding(ids))[0][:, -1]).softmax(1)


class LastStates(Tagger):
    def forward(self, ids):
        _, h = self.gru(self.embedding(ids))
        return self.head(torch.cat((h[-2], h[-1]), 1))


class MaskedMean(Tagger):
    """Means over what is no padding."""

    def forward(self, ids):
        mask = (ids != 0).unsqueeze(-1).float()
        y = self.gru(self.embedding(ids))[0]
        return self.head((y * mask).sum(1) / mask.sum(1).clamp(min=1))


class MaskedSoftmax(Tagger):
    def forward(self, ids):
        y = self.gru(self.embedding(ids))[0]
        scores = self.head(y)[:, :, 0].masked_fill(ids == 0, -1e9)
        return (y * scores.softmax(1).unsqueeze(-1)).sum(1)


class ByLengths(nn.Module):
    """Means over as many steps as a row has."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(6, 5, batch_first=True)

    def forward(self, x, lengths):
        y = self.gru(x)[0]
        mask = torch.arange(x.size(1))[None, :] < lengths[:, None]
        return (y * mask.unsqueeze(-1)).sum(1)


class Packed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(6, 5, num_layers=2, bidirectional=True, batch_first=True)

    def forward(self, x, lengths):
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=True)
        y, h = self.gru(packed)
        return nn.utils.rnn.pad_packed_sequence(y, batch_first=True)[0], h


class CRNN(nn.Module):
    """(N, 1, H, W) → steps along W."""

    def __init__(self) -> None:
        super().__init__()
        self.front = nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(4, 6, 3, padding=1), nn.LeakyReLU(0.1), nn.MaxPool2d((2, 1)),
        )  # fmt: skip
        self.gru = nn.GRU(12, 5, bidirectional=True)
        self.head = nn.Linear(10, 7)

    def forward(self, x):
        y = self.front(x)
        n, c, h, w = y.size()
        y = y.view(n, c * h, w).permute(2, 0, 1)
        return self.head(self.gru(y)[0]).log_softmax(2)


class Spectral(nn.Module):
    """(N, T, F) → 2-D convolutions with steps along T, whose channels join the features."""

    def __init__(self) -> None:
        super().__init__()
        self.front = nn.Sequential(nn.Conv2d(1, 4, (1, 3), stride=(1, 2)), nn.ELU(), nn.Conv2d(4, 3, 3, padding=(1, 0)))
        self.gru = nn.GRU(6, 5, batch_first=True)

    def forward(self, x):
        y = self.front(x.unsqueeze(1))
        y = y.transpose(1, 2)
        return self.gru(y.reshape(y.shape[0], y.shape[1], -1))[0]


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(6, 6, 3, padding=2)
        self.norm = nn.LayerNorm(6)
        self.gru = nn.GRU(6, 6, batch_first=True)
        self.head = nn.Sequential(nn.Linear(6, 8), nn.GELU(), nn.Dropout(0.1), nn.Linear(8, 6))
        self.gate = nn.Linear(6, 12)

    def forward(self, x):
        y = self.conv(x.transpose(1, 2))[:, :, :-2].transpose(1, 2)
        y = self.norm(x + y.relu())
        y = y + self.gru(y)[0]
        y = y + self.head(y)
        return nn.functional.glu(self.gate(y), dim=-1)


class AttentionPool(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(6, 5, bidirectional=True, batch_first=True)
        self.score = nn.Sequential(nn.Linear(10, 4), nn.Tanh(), nn.Linear(4, 1))

    def forward(self, x):
        y = self.gru(x)[0]
        weights = self.score(y).softmax(1)
        return (weights * y).sum(1), torch.bmm(weights.transpose(1, 2), y).squeeze(1)


class OwnZeros(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(6, 5, num_layers=2, batch_first=True)

    def forward(self, x):
        h = torch.zeros(2, x.size(0), 5, device=x.device)
        y, h = self.gru(x, h)
        return y[:, -1, :], h[-1]


class Stateful(nn.Module):
    """A denoiser whose state comes in and goes out."""

    def __init__(self, batch_first: bool = True) -> None:
        super().__init__()
        self.before = nn.Linear(6, 8)
        self.gru = nn.GRU(8, 5, num_layers=2, batch_first=batch_first)
        self.after = nn.Linear(5, 6)

    def forward(self, x, h):
        y, h = self.gru(self.before(x).relu(), h)
        return self.after(y).sigmoid() * x, h


class TwoStates(nn.Module):
    """States of two GRUs, each by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.GRU(6, 5, batch_first=True), nn.GRU(5, 4, batch_first=True)

    def forward(self, x, h1, h2):
        y, h1 = self.first(x, h1)
        y, h2 = self.second(y, h2)
        return y, h1, h2


class Unbatched(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(6, 5)
        self.head = nn.Linear(5, 2)

    def forward(self, x):
        return self.head(self.gru(x)[0])


class Wrapped(nn.Module):
    """Only the outputs of a GRU."""

    def __init__(self, *args, **options) -> None:
        super().__init__()
        self.gru = nn.GRU(*args, **options)

    def forward(self, x):
        return self.gru(x)


def ids(*shape):
    return torch.randint(1, 20, shape)


FIRST, SECOND = {0: "batch", 1: "time"}, {0: "time", 1: "batch"}
#: name: module, example inputs, names of inputs, of outputs, free axes
NETWORKS = {
    "plain": (Wrapped(6, 5, batch_first=True), (torch.randn(2, 7, 6),), "x", "y h", {"x": FIRST}),
    "plain_fixed": (Wrapped(6, 5, batch_first=True), (torch.randn(1, 7, 6),), "x", "y h", {}),
    "time_major": (Wrapped(6, 5, num_layers=3), (torch.randn(7, 2, 6),), "x", "y h", {"x": SECOND}),
    "no_bias": (Wrapped(6, 5, bias=False), (torch.randn(7, 2, 6),), "x", "y h", {"x": SECOND}),
    "bidirectional": (
        Wrapped(6, 5, num_layers=2, bidirectional=True, batch_first=True), (torch.randn(2, 7, 6),), "x", "y h",
        {"x": FIRST},
    ),
    "packed": (
        Packed(), (torch.randn(2, 7, 6), torch.tensor([7, 4])), "x lengths", "y h",
        {"x": FIRST, "lengths": {0: "batch"}},
    ),
    "tagger": (Tagger(), (ids(2, 7),), "ids", "y", {"ids": FIRST}),
    "tagger_time_major": (Tagger(False), (ids(7, 2),), "ids", "y", {"ids": SECOND}),
    "classifier": (Classifier(), (ids(2, 7),), "ids", "y", {"ids": FIRST}),
    "last_states": (LastStates(), (ids(2, 7),), "ids", "y", {"ids": FIRST}),
    "masked_mean": (MaskedMean(), (ids(2, 7),), "ids", "y", {"ids": FIRST}),
    "masked_softmax": (MaskedSoftmax(), (ids(2, 7),), "ids", "y", {"ids": FIRST}),
    "by_lengths": (
        ByLengths(), (torch.randn(2, 7, 6), torch.tensor([7, 4])), "x lengths", "y",
        {"x": FIRST, "lengths": {0: "batch"}},
    ),
    "crnn": (CRNN(), (torch.randn(1, 1, 8, 20),), "x", "y", {"x": {0: "batch", 3: "time"}}),
    "crnn_fixed": (CRNN(), (torch.randn(1, 1, 8, 20),), "x", "y", {}),
    "spectral": (Spectral(), (torch.randn(2, 7, 9),), "x", "y", {"x": FIRST}),
    "residual": (Residual(), (torch.randn(2, 7, 6),), "x", "y", {"x": FIRST}),
    "attention_pool": (AttentionPool(), (torch.randn(2, 7, 6),), "x", "y z", {"x": FIRST}),
    "attention_pool_fixed": (AttentionPool(), (torch.randn(2, 7, 6),), "x", "y z", {}),
    "own_zeros": (OwnZeros(), (torch.randn(2, 7, 6),), "x", "y h", {"x": FIRST}),
    "stateful": (
        Stateful(), (torch.randn(1, 7, 6), torch.randn(2, 1, 5)), "x h_in", "y h_out",
        {"x": FIRST, "h_in": {1: "batch"}},
    ),
    "stateful_fixed": (Stateful(), (torch.randn(1, 1, 6), torch.randn(2, 1, 5)), "x h0", "y hn", {}),
    "stateful_time_major": (
        Stateful(False), (torch.randn(7, 2, 6), torch.randn(2, 2, 5)), "x h0", "y hn",
        {"x": SECOND, "h0": {1: "batch"}},
    ),
    "two_states": (
        TwoStates(), (torch.randn(1, 1, 6), torch.randn(1, 1, 5), torch.randn(1, 1, 4)), "x state1_in state2_in",
        "y state1_out state2_out", {},
    ),
    "unbatched": (Unbatched(), (torch.randn(7, 6),), "x", "y", {"x": {0: "time"}}),
    "feed_forward": (
        nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.SiLU(), nn.Linear(8, 3)),
        (torch.randn(2, 6),), "x", "y", {"x": {0: "batch"}},
    ),
}  # fmt: skip


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, (module, inputs, names, outputs, free) in NETWORKS.items():
        if sys.argv[1:] and name not in sys.argv[1:]:
            continue
        torch.manual_seed(len(name))
        for tensor in module.parameters():
            nn.init.uniform_(tensor, -0.5, 0.5)
        for norm in module.modules():
            if isinstance(norm, (nn.BatchNorm1d, nn.BatchNorm2d)):
                norm.running_mean.uniform_(-0.5, 0.5)
                norm.running_var.uniform_(0.5, 1.5)
        path = FOLDER / f"{name}.onnx"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                module.eval(), inputs, path, dynamo=False, opset_version=OPSET, input_names=names.split(),
                output_names=outputs.split(), dynamic_axes=free,
            )  # fmt: skip
        print(f"{path.name}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
