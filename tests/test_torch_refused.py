"""What is refused of PyTorch: every operation by its name, all at once, and files that hold more than arrays."""

# ruff: noqa: E402

from __future__ import annotations

import contextlib
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastgru
from fastgru import BadInput, BadModelFile, UnsupportedModel

torch = pytest.importorskip("torch", reason="torch is not installed: what its modules are refused for is not asked")

from torch import nn
from torch.nn import functional as F

from test_arrays import GOLDEN, NETWORKS
from torch_live import Net

CONFIG = NETWORKS["lone"]


def in_place(m: Any, x: Any) -> Any:
    y = m.gru(x)[0]
    return F.relu(y, inplace=True), y * 2


def in_place_view(m: Any, x: Any) -> Any:
    y = m.gru(x)[0]
    part = y.transpose(1, 2)
    part.relu_()
    return y


def in_place_operator(m: Any, x: Any) -> Any:
    y = m.gru(x)[0]
    same = y
    same += 1
    return torch.cat((y, same), 2)


def in_place_dropout(m: Any, x: Any) -> Any:
    y = m.gru(x)[0]
    same = F.dropout(y, 0.5, m.training)  # y itself, in eval mode
    same *= 2
    return y + 1


def in_place_part(m: Any, x: Any) -> Any:
    y = m.gru(x)[0]
    first = y.chunk(2, 2)[0]
    first -= 1
    return y + 1


def in_place_tuple(m: Any, x: Any) -> Any:
    result = m.gru(x)
    result[0].add_(1)
    return result[0]


def gru(**options: Any) -> nn.GRU:
    return nn.GRU(4, 6, **{"batch_first": True, **options})


def test_all_reasons_are_given_at_once() -> None:
    def forward(m: Any, x: Any) -> Any:
        y, _ = m.inner.gru(m.inner.lstm(x)[0])
        z = torch.cumsum(m.gru(x)[0], dim=1)
        return m.up(z), y.sort()[0], torch.randn(3, x.size(0))

    inner = nn.ModuleDict({"gru": gru(), "lstm": nn.LSTM(4, 4)})
    with pytest.raises(UnsupportedModel) as caught:
        fastgru.from_torch(Net(forward, inner=inner, gru=gru(), up=nn.ConvTranspose1d(5, 5, 3)))
    reasons = "\n".join(caught.value.reasons)
    for part in ("inner.lstm (LSTM) is not supported", "cumsum (cumsum) is not supported", "up (ConvTranspose1d)",
                 "randn (randn) makes random numbers"):  # fmt: skip
        assert part in reasons


@pytest.mark.parametrize(
    ("forward", "reason"),
    [
        (lambda m, x: m.gru(x)[0] if x.sum() > 0 else x, "cannot be traced by torch.fx"),
        (lambda m, x: m.gru(x)[0].mean(), "reduces the batch"),
        (lambda m, x: m.gru(x)[0].mean(0), "reduces the batch"),
        (lambda m, x: m.gru(x)[0][0], "takes one row of the batch"),
        (lambda m, x: m.gru(x)[0][1:], "slices the batch"),
        (lambda m, x: m.gru(x)[0].softmax(1), "moves the time axis"),
        (lambda m, x: m.gru(x)[0].reshape(-1, 6), r"gives \(batch, steps of x, 6\) the shape \(batch·steps of x, 6\)"),
        (lambda m, x: m.gru(x)[0].flatten(1), r"gives \(batch, steps of x, 6\) the shape \(batch, 6·steps of x\)"),
        (lambda m, x: m.gru(x)[0].squeeze(), "drops the batch where it is 1"),
        (lambda m, x: m.gru(x)[0].permute(0, 2, 1) @ torch.ones(3, 3), "no constant matrix|needs|moves|time"),
        (lambda m, x: m.gru(x)[0].max(dim=1)[1], "indices"),
        (lambda m, x: m.gru(x)[0].clamp(-0.3, 0.2), "bounds by -0.3 and 0.2"),
        (lambda m, x: m.gru(x)[0].add(m.gru(x)[0], alpha=2), "alpha"),
        (lambda m, x: m.gru(x)[0] ** 3, "exponent 3"),
        (lambda m, x: m.gru(x)[0] / 0, "divides by zero"),
        (lambda m, x: F.softplus(m.gru(x)[0], beta=2), "beta=2"),
        (lambda m, x: m.gru(x)[1].shape, "returns"),
        (lambda m, x: m.gru(x, torch.ones(1, x.size(0), 6))[0], "starts from|constant"),
        (lambda m, x: m.gru(x)[0].to(torch.int64), "casts to torch.int64"),
        (lambda m, x: m.gru(x)[0].relu(foo=1), "traced|called in a way"),
        (lambda m, x: m.gru(x)[0][:, x.size(1) // 2], "supported|sizes"),
        (lambda m, x: torch.cat([m.gru(x)[0], m.gru(x)[0]], 0), "joins along the batch"),
        (lambda m, x: torch.zeros(3), "returns|nothing"),
        (lambda m, x: (m.gru(x)[0], x), "returns its input 'x' as it is"),
        (lambda m, x: m.gru(x)[0].long(), "makes whole numbers of computed ones"),
        (lambda m, x: F.dropout(m.gru(x)[0]), "drops out in eval mode, too"),
        (lambda m, x: m.gru(x.long().float())[0], "reads whole numbers that were made of an input"),
        (lambda m, x: m.gru(x)[0].split(x.size(0), 2), "is called in a way that is not supported"),
        (lambda m, x: m.gru(x)[1][1:], "takes no state"),
        (in_place, "changes 'getitem' in place, which others read, too"),
        (in_place_operator, "changes 'getitem' in place, which others read, too"),
        (in_place_dropout, "changes 'getitem' in place, which others read, too"),
        (in_place_part, "changes 'getitem' in place, which others read, too"),
        (in_place_tuple, "changes 'gru' in place, which others read, too"),
        (in_place_view, "changes 'getitem' in place, which others read, too"),
    ],
)
def test_operations_that_are_refused(forward: Any, reason: str) -> None:
    with pytest.raises(UnsupportedModel, match=reason):
        fastgru.from_torch(Net(forward, gru=gru()))


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (nn.Embedding(9, 4, max_norm=1.0), "layer \\(Embedding\\) has max_norm"),
        (nn.Linear(3, 4).register_forward_hook(lambda *_: None) and None, ""),
        (nn.BatchNorm1d(4, track_running_stats=False), "keeps no running statistics"),
        (nn.Conv1d(4, 4, 3, padding=1, padding_mode="reflect"), "pads with reflect"),
        (nn.MaxPool1d(2, ceil_mode=True), "ceil_mode"),
        (nn.AdaptiveAvgPool1d(3), "gives 3 windows"),
        (nn.MaxPool1d(2, return_indices=True), "returns indices"),
    ],
)
def test_options_of_layers_that_are_refused(layer: Any, reason: str) -> None:
    if layer is None:
        layer = nn.Linear(4, 4)
        layer.register_forward_hook(lambda *_: None)
        module = Net(lambda m, x: m.gru(m.layer(x))[0], layer=layer, gru=gru())
        reason = "layer \\(Linear\\) has hooks"
    elif isinstance(layer, nn.Embedding):
        module = Net(lambda m, x: m.gru(m.layer(x))[0], layer=layer, gru=gru())
    else:
        module = Net(lambda m, x: m.layer(m.gru(x)[0].transpose(1, 2)), layer=layer, gru=nn.GRU(4, 4, batch_first=True))
    with pytest.raises(UnsupportedModel, match=reason):
        fastgru.from_torch(module)


@pytest.mark.parametrize("make", [lambda: nn.Sequential(nn.Linear(4, 4)), lambda: Net(lambda m, x: x + 1), gru])
def test_what_a_call_does_beside_forward_is_refused(make: Any) -> None:
    hooked, overridden = make(), make()
    hooked.register_forward_hook(lambda module, args, y: y * 2)
    overridden.forward = lambda x: x * 3
    for module in hooked, overridden:
        with pytest.raises(UnsupportedModel, match="has hooks or a forward of its own"):
            fastgru.from_torch(module)


def test_inputs_whose_axes_nothing_tells() -> None:
    module = Net(lambda m, x: m.gru(x[:, :, 1:])[0], gru=nn.GRU(3, 6, batch_first=True))
    with pytest.raises(UnsupportedModel, match=r"axes are not known; say inputs=\{\"x\""):
        fastgru.from_torch(module)
    assert fastgru.from_torch(module, inputs={"x": ("batch", "time", 4)}).inputs[0].shape == (None, None, 4)
    with pytest.raises(BadInput, match="no inputs of forward"):
        fastgru.from_torch(module, inputs={"y": ("batch", "time", 4)})
    with pytest.raises(UnsupportedModel, match="expected axes such as"):
        fastgru.from_torch(module, inputs={"x": ("batch", "steps", 4)})
    with pytest.raises(BadInput, match=r"takes a torch\.nn\.Module"):
        fastgru.from_torch({"gru": 1})


# ---- files ---------------------------------------------------------------------------------------------------------


def test_a_pickled_module_is_not_unpickled(tmp_path: Path) -> None:
    for zipped in (True, False):
        torch.save(nn.GRU(3, 5), tmp_path / "model.pt", _use_new_zipfile_serialization=zipped)
        with pytest.raises(UnsupportedModel, match=r"never unpickled: save its state_dict\(\), .*from_torch"):
            fastgru.load(tmp_path / "model.pt", config=CONFIG)


def test_torchscript_is_named(tmp_path: Path) -> None:
    torch.jit.trace(nn.Linear(3, 5), torch.zeros(1, 3)).save(tmp_path / "model.pt")
    with pytest.raises(UnsupportedModel, match="TorchScript"):
        fastgru.load(tmp_path / "model.pt", config=CONFIG)


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        ([torch.ones(2)], BadInput, "holds a list"),
        ({"epoch": 3}, BadInput, "no state dict"),
        ({"generator": {"a": torch.ones(2)}, "critic": {"a": torch.ones(2)}}, BadInput, "2 state dicts"),
        ({"a": torch.ones(2).to_sparse()}, BadModelFile, "no dense tensor"),
        ({"a": torch.ones(2, dtype=torch.complex64)}, BadModelFile, "no dense tensor"),
        ({"a": torch.ones(1).expand(1_000_000_000_000)}, BadModelFile, "larger than what is stored"),
    ],
)
def test_files_without_a_state_dict(tmp_path: Path, content: Any, error: type[Exception], message: str) -> None:
    torch.save(content, tmp_path / "model.pt")
    with pytest.raises(error, match=message):
        fastgru.load(tmp_path / "model.pt", config=CONFIG)


def test_a_file_without_a_description(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="holds arrays without an architecture"):
        fastgru.load(GOLDEN / "lone.pt")


@pytest.mark.parametrize("file", ["lone.pt", "lone-old.pt"])
def test_files_that_are_cut_or_flipped_are_refused_or_read(file: str, tmp_path: Path) -> None:
    """Any error but FastGRUError, or a crash, fails."""
    whole, path, rng = (GOLDEN / file).read_bytes(), tmp_path / "bad.pt", np.random.default_rng(0)
    for cut in range(0, len(whole), len(whole) // 40):
        path.write_bytes(whole[:cut])
        with pytest.raises(fastgru.FastGRUError):
            fastgru.load(path, config=CONFIG)
    for _ in range(300):
        flipped = bytearray(whole)
        flipped[rng.integers(len(whole))] ^= 1 << int(rng.integers(8))
        path.write_bytes(flipped)
        with contextlib.suppress(fastgru.FastGRUError):
            fastgru.load(path, config=CONFIG)


def test_storages_that_lie_about_their_size(tmp_path: Path) -> None:
    """A tensor that says more numbers than its record holds must not read beyond the file."""
    path = tmp_path / "model.pt"
    torch.save({"a": torch.arange(1000.0)}, path)
    with zipfile.ZipFile(path) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    (record,) = (name for name in members if name.endswith("data/0"))
    for content, method in ((b"\0" * 8, zipfile.ZIP_STORED), (members[record], zipfile.ZIP_DEFLATED)):
        with zipfile.ZipFile(path, "w", method) as archive:
            for name, held in members.items():
                archive.writestr(name, content if name == record else held)
        with pytest.raises((BadModelFile, BadInput)):
            fastgru.load(path, config=CONFIG)
