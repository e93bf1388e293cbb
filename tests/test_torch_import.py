"""Live modules and files of PyTorch against PyTorch itself."""

# ruff: noqa: E402

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastgru
from tolerances import check

torch = pytest.importorskip("torch", reason="torch is not installed: PyTorch's answers are not asked for")

from torch import nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from test_arrays import GOLDEN, NETWORKS
from test_arrays import answers as golden
from torch_live import Net, agrees, answers, floats, ids


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("options", [{}, {"num_layers": 3}, {"bidirectional": True, "num_layers": 2}, {"bias": False}])
def test_nn_gru(batch_first: bool, options: dict[str, Any], isa: str) -> None:
    module = nn.GRU(5, 7, batch_first=batch_first, **options).eval()
    count = module.num_layers * (1 + module.bidirectional)
    x, h0 = floats(3, 6, 5), floats(count, 3 if batch_first else 6, 7, seed=1)
    model = agrees(module, x)
    time, batch = (1, 0) if batch_first else (0, 1)
    assert [spec.name for spec in model.inputs] == ["input"]
    assert [spec.name for spec in model.outputs] == ["output", "h_n"]
    assert (model.inputs[0].axes[time], model.inputs[0].axes[batch]) == ("time", "batch")
    again = agrees(module, x, h0, initial_state=True)
    assert again.graph.states == (("hx", "h_n"),)


@pytest.mark.parametrize("batch_first", [True, False])
def test_lengths_do_what_a_packed_sequence_does(batch_first: bool) -> None:
    module = nn.GRU(5, 7, num_layers=2, bidirectional=True, batch_first=batch_first).double().eval()
    x, lengths = floats(4, 9, 5), [3, 9, 1, 8]
    packed = pack_padded_sequence(torch.tensor(x).double(), lengths, batch_first=True, enforce_sorted=False)
    with torch.no_grad():
        y, h = module(packed)
    y, _ = pad_packed_sequence(y, batch_first=batch_first)
    found = fastgru.from_torch(module)(x if batch_first else x.transpose(1, 0, 2), lengths=lengths)
    check(found[0], y.numpy(), "oracle")
    check(found[1], h.numpy(), "oracle")


def test_a_cell_runs_one_step() -> None:
    cell = nn.GRUCell(4, 6).eval()
    x, h = floats(3, 4), floats(3, 6, seed=1)
    model = agrees(cell, x, h)
    assert model.graph.states == (("hx", "output_state"),)
    agrees(cell, x, initial_state=False)
    agrees(nn.GRUCell(4, 6, bias=False).eval(), x, h)


def test_other_floats_are_computed_in_float32() -> None:
    module = nn.GRU(4, 6, batch_first=True).half()
    model = fastgru.from_torch(module)
    assert model.notes == ("weights of float16 are computed in float32",)
    check(model(floats(2, 5, 4))[0], answers(module, floats(2, 5, 4))[0], "oracle")


def tutorial(m: Any, x: Any) -> Any:
    h0 = torch.zeros(m.gru.num_layers, x.size(0), m.gru.hidden_size, dtype=x.dtype).to(x.device)
    out, _ = m.gru(x, h0)
    return m.fc(m.dropout(out[:, -1, :]))


def encoder(m: Any, x: Any) -> Any:
    out, h = m.gru(m.dropout(m.embedding(x)))
    last = torch.cat((h[-2, :, :], h[-1, :, :]), dim=1)
    return {"last": torch.tanh(m.fc(last)), "all": out, "h": h}


def time_major(m: Any, x: Any) -> Any:
    out, h = m.gru(m.embedding(x))
    return F.log_softmax(m.fc(out), dim=2), h.squeeze(0)


def turned(m: Any, x: Any) -> Any:
    out, h = m.gru(x.permute(1, 0, 2))
    return m.fc(out.transpose(0, 1)), h.permute(1, 0, 2).reshape(-1, 12)


def residual(m: Any, x: Any) -> Any:
    y, _ = m.gru(x)
    z, _ = m.second(m.norm(y + x))
    return torch.sigmoid(m.fc(z * 0.5 + y.mul(m.scale) - m.offset)).squeeze(-1)


def convolved(m: Any, x: Any) -> Any:
    y = m.pool(F.relu(m.batch_norm(m.conv(x.transpose(1, 2)))))
    y = m.average(F.leaky_relu(m.second(y))).permute(0, 2, 1)
    y, _ = m.gru(y)
    return y.mean(dim=1), y.max(dim=1)[0], y.sum(1, keepdim=True), torch.amin(y, dim=-1)


def pooled(m: Any, x: Any) -> Any:
    y, h = m.gru(x)
    return torch.cat([m.pool(y.transpose(1, 2)).squeeze(-1), h[-1], y[:, 0]], dim=-1)


def learned(m: Any, x: Any) -> Any:
    y, h = m.gru(x, m.h0.expand(-1, x.shape[0], -1))
    return y.view(x.size(0), x.size(1), 2, -1).flatten(2), h


def sliced(m: Any, x: Any) -> Any:
    y, _ = m.gru(x)
    ahead, back = y.chunk(2, dim=-1)
    r, z = torch.split(ahead, [2, 4], dim=2)
    return ahead + back, r * 2, 1 - z, y[..., 1:5:2], 1 / (back**2 + 1), torch.flip(y, dims=[2])


def stacked(m: Any, x: Any) -> Any:
    y, h = m.gru(x)
    return (
        torch.stack([h[0], h[1]], dim=1),
        y.unsqueeze(2),
        m.prelu(y),
        (y @ m.matrix).clamp(min=0),
        torch.neg(y[:, 1:]),
    )


def changed(m: Any, x: Any) -> Any:
    batch, steps, _ = x.shape
    y, h = m.gru(x)
    mean, (most, _) = y.mean(1), y.max(1)  # taken before y changes
    y += m.drop(m.fc(y))
    first, second = y.view(batch, steps, 6).split([2, 4], 2)
    first *= 2
    h -= 1
    return first, second, mean, most, h


def gated(m: Any, x: Any) -> Any:
    y, _ = m.gru(x)
    weights = torch.softmax(m.fc(y), dim=-1)
    context = m.query(y[:, -1]).unsqueeze(1)
    return F.gelu(y * context), F.glu(weights * y.sum(-1, keepdim=True), dim=-1), F.softplus(y).sqrt()


CASES: dict[str, tuple[Any, dict[str, Any], np.ndarray]] = {
    "tutorial": (tutorial, {"gru": (4, 6, 2, True), "dropout": nn.Dropout(), "fc": (6, 3)}, floats(3, 5, 4)),
    "encoder": (encoder, {"embedding": nn.Embedding(9, 4, padding_idx=0), "dropout": nn.Dropout(0.1), "fc": (12, 3),
                          "gru": (4, 6, 2, True, True)}, ids(3, 5)),
    "time_major": (time_major, {"embedding": nn.Embedding(9, 4), "gru": (4, 6, 1, False), "fc": (6, 3)}, ids(5, 3)),
    "turned": (turned, {"gru": (4, 6, 1, False, True), "fc": (12, 3)}, floats(3, 5, 4)),
    "residual": (residual, {"gru": (6, 6, 1, True), "second": (6, 6, 1, True), "norm": nn.LayerNorm(6), "fc": (6, 1),
                            "scale": nn.Parameter(torch.rand(6)), "offset": torch.rand(1, 1, 6)}, floats(3, 5, 6)),
    "convolved": (convolved, {"conv": nn.Conv1d(4, 6, 3, padding=1, stride=2, bias=False), "pool": nn.MaxPool1d(2),
                              "batch_norm": nn.BatchNorm1d(6), "average": nn.AvgPool1d(3, stride=1, padding=1),
                              "second": nn.Conv1d(6, 8, 4, padding="same", dilation=2, groups=2),
                              "gru": (8, 6, 1, True)}, floats(3, 23, 4)),
    "pooled": (pooled, {"gru": (4, 6, 1, True), "pool": nn.AdaptiveAvgPool1d(1)}, floats(3, 5, 4)),
    "learned": (learned, {"gru": (4, 6, 2, True), "h0": nn.Parameter(torch.rand(2, 1, 6))}, floats(3, 5, 4)),
    "sliced": (sliced, {"gru": (4, 6, 1, True, True)}, floats(3, 5, 4)),
    "stacked": (stacked, {"gru": (4, 6, 2, True), "prelu": nn.PReLU(), "matrix": torch.rand(6, 5)}, floats(3, 5, 4)),
    "changed": (changed, {"gru": (4, 6, 1, True), "fc": (6, 6), "drop": nn.Dropout()}, floats(3, 5, 4)),
    "gated": (gated, {"gru": (4, 6, 1, True), "fc": (6, 6), "query": (6, 6)}, floats(3, 5, 4)),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_modules_that_people_write(name: str) -> None:
    forward, parts, x = CASES[name]
    layers: dict[str, Any] = {}
    for key, part in parts.items():
        if isinstance(part, tuple) and len(part) == 2:
            part = nn.Linear(*part)
        elif isinstance(part, tuple):
            size, units, count, batch_first, *both = part
            part = nn.GRU(size, units, count, batch_first=batch_first, bidirectional=bool(both))
        layers[key] = part
    model = agrees(Net(forward, **layers), x)
    longer = floats(2, 31, x.shape[2]) if x.ndim == 3 else ids(7, 2)
    agrees(Net(forward, **layers), longer)  # batch and time are free
    assert not model.notes


def image(m: Any, x: Any) -> Any:
    y = m.pool(torch.relu(m.batch_norm(m.conv(x))))
    b, c, h, w = y.size()
    y = y.permute(0, 3, 1, 2).reshape(b, w, c * h)
    return m.fc(m.gru(y)[0])


@pytest.mark.parametrize("axes", [("batch", 2, 12, "time"), ("batch", 2, 12, 20)])
def test_a_crnn_whose_steps_are_columns(axes: tuple[Any, ...]) -> None:
    module = Net(
        image,
        conv=nn.Conv2d(2, 3, (3, 5), padding=(1, 2), stride=(2, 1)),
        batch_norm=nn.BatchNorm2d(3),
        pool=nn.MaxPool2d((2, 1)),
        gru=nn.GRU(9, 6, batch_first=True),
        fc=nn.Linear(6, 4),
    )
    agrees(module, floats(3, 2, 12, 20), inputs={"x": axes})


def test_sequential_and_modules_inside_modules() -> None:
    class First(nn.Module):
        def forward(self, both: Any) -> Any:
            return both[0]

    inner = nn.Sequential(nn.GRU(6, 5, batch_first=True), First(), nn.ReLU())
    agrees(nn.Sequential(nn.Linear(4, 6), nn.ELU(0.5), inner, nn.Dropout(), nn.Linear(5, 2)).eval(), floats(3, 5, 4))


def test_activations_as_modules() -> None:
    kinds = [nn.ReLU6(), nn.LeakyReLU(0.2), nn.SELU(), nn.CELU(0.7), nn.GELU(), nn.GELU("tanh"), nn.SiLU(), nn.Mish(),
             nn.Softsign(), nn.Hardsigmoid(), nn.Hardswish(), nn.Hardtanh(), nn.Softplus(), nn.LogSigmoid(),
             nn.Tanhshrink(), nn.Softshrink(0.3), nn.Hardshrink(0.3), nn.Threshold(0.1, -0.2), nn.Softmax(-1),
             nn.LogSoftmax(2), nn.PReLU(), nn.Sigmoid(), nn.Tanh(), nn.Hardtanh(0, 0.4), nn.GLU()]  # fmt: skip
    module = Net(lambda m, x: [kind(m.gru(x)[0] * 3) for kind in m.kinds], gru=nn.GRU(4, 6, batch_first=True),
                 kinds=nn.ModuleList(kinds))  # fmt: skip
    agrees(module, floats(3, 5, 4))


class Started(nn.Module):
    """A state that is computed; the layer that reads the second argument comes first."""

    def __init__(self) -> None:
        super().__init__()
        self.gru, self.start = nn.GRU(4, 6, batch_first=True), nn.Linear(3, 6)

    def forward(self, x: Any, z: Any, unused: Any) -> Any:
        h0 = torch.tanh(self.start(z)).unsqueeze(0)
        return self.gru(x, h0)[0]


def test_inputs_come_in_the_order_of_forward() -> None:
    model = fastgru.from_torch(Started().eval(), inputs={"z": ("batch", 3)})
    assert [spec.name for spec in model.inputs] == ["x", "z"]
    assert model.notes == ("argument 'unused' of forward changes nothing and is no input",)
    module, x, z = Started().eval(), floats(2, 5, 4), floats(2, 3)
    found = fastgru.from_torch(module, inputs={"z": ("batch", 3)})(x, z)
    check(found, answers(module, x, z, z)[0], "oracle")


class Shared(nn.Module):
    """Two GRUs that start from one state."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.GRU(4, 6, batch_first=True), nn.GRU(6, 6, batch_first=True)

    def forward(self, x: Any, h: Any) -> Any:
        y, first = self.a(x, h)
        z, second = self.b(y, h)
        return z, first, second


def test_a_state_that_two_layers_start_from_is_carried_by_neither() -> None:
    model = agrees(Shared().eval(), floats(3, 5, 4), floats(1, 3, 6))
    assert model.graph.states == ()


class Cells(nn.Module):
    """Two cells, one step."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.out = nn.GRUCell(4, 6), nn.GRUCell(6, 5), nn.Linear(5, 2)

    def forward(self, x: Any, h1: Any, h2: Any) -> Any:
        h1 = self.a(x, h1)
        h2 = self.b(h1, h2)
        return self.out(h2), h1, h2


def test_a_step_with_states_streams() -> None:
    module, x = Cells().eval(), floats(3, 7, 4)
    model = agrees(module, x[:, 0], floats(3, 6), floats(3, 5))
    assert model.graph.states == (("h1", "a_state"), ("h2", "b_state"))
    h1, h2 = np.zeros((3, 6), np.float32), np.zeros((3, 5), np.float32)
    with model.stream(batch_size=3) as stream:
        for t in range(7):
            y, h1, h2 = answers(module, x[:, t], h1, h2)
            check(stream.step(x[:, t]), y, "oracle")


class Packing(nn.Module):
    """What forward does with lengths of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.fc = nn.Embedding(9, 4), nn.Linear(12, 3)
        self.gru = nn.GRU(4, 6, batch_first=True, bidirectional=True)

    def forward(self, x: Any, lengths: Any) -> Any:
        packed = pack_padded_sequence(self.embedding(x), lengths.cpu(), batch_first=True, enforce_sorted=False)
        y, h = self.gru(packed)
        y, _ = pad_packed_sequence(y, batch_first=True)
        return self.fc(y), h


def test_a_module_that_packs_its_sequences() -> None:
    module, x, lengths = Packing().eval(), ids(4, 7), np.array([3, 7, 1, 5])
    model = agrees(module, x, lengths)
    assert model.inputs[1].axes == ("batch",)
    assert "longest row" in model.notes[0]


class PackedInput(nn.Module):
    """A GRU over the packed input itself."""

    def __init__(self, batch_first: bool) -> None:
        super().__init__()
        self.gru, self.batch_first = nn.GRU(4, 6, 2, batch_first=batch_first, bidirectional=True), batch_first

    def forward(self, x: Any, lengths: Any) -> Any:
        y, h = self.gru(pack_padded_sequence(x, lengths, batch_first=self.batch_first, enforce_sorted=False))
        return pad_packed_sequence(y, batch_first=self.batch_first)[0], h


@pytest.mark.parametrize("batch_first", [True, False])
def test_a_packed_input_has_the_axes_that_its_gru_reads(batch_first: bool) -> None:
    x, lengths = floats(4, 7, 4), np.array([3, 7, 1, 5])
    agrees(PackedInput(batch_first).eval(), x if batch_first else x.swapaxes(0, 1).copy(), lengths)


class Optional(nn.Module):
    """A state that the caller may leave out."""

    def __init__(self) -> None:
        super().__init__()
        self.gru, self.fc = nn.GRU(4, 6, num_layers=2, batch_first=True), nn.Linear(6, 3)

    def forward(self, x: Any, h: Any = None) -> Any:
        y, h = self.gru(x, h)
        return self.fc(y), h


def test_an_optional_state_is_an_input_if_asked_for() -> None:
    module, x, h = Optional().eval(), floats(3, 5, 4), floats(2, 3, 6, seed=1)
    agrees(module, x)
    model = agrees(module, x, h, initial_state=True)
    assert model.graph.states == (("h", "h_n"),)


def test_training_mode_is_said() -> None:
    assert not fastgru.from_torch(nn.GRU(4, 6, batch_first=True)).notes  # both modes are one
    assert "it" in fastgru.from_torch(nn.GRU(4, 6, 2, dropout=0.1)).notes[0]
    module = Net(lambda m, x: m.drop(m.gru(x)[0]), gru=nn.GRU(4, 6, batch_first=True), drop=nn.Dropout()).train()
    assert "training mode" in fastgru.from_torch(module).notes[0]


def test_training_says_nothing_to_the_trace() -> None:
    def forward(m: Any, x: Any) -> Any:
        y = F.dropout(m.gru(x)[0], 0.5, training=m.training)
        return y * 2 if m.training else F.relu(y.transpose(0, 1), inplace=True)

    module = Net(forward, gru=nn.GRU(4, 6, batch_first=True)).train()
    model = fastgru.from_torch(module)
    assert module.training
    assert module.gru.training
    check(model(floats(3, 5, 4)), answers(module.eval(), floats(3, 5, 4))[0], "oracle")


def strided(m: Any, x: Any) -> Any:
    y = m.conv(x.transpose(1, 2)).transpose(1, 2)
    return m.gru(y.reshape(x.size(0), x.size(1), -1))[0]


def test_a_number_of_steps_is_not_another() -> None:
    """PyTorch would split features into steps where the convolution halves them."""
    same = Net(strided, conv=nn.Conv1d(4, 6, 3, padding=1), gru=nn.GRU(6, 5, batch_first=True))
    agrees(same, floats(3, 8, 4), inputs={"x": ("batch", "time", 4)})
    halved = Net(strided, conv=nn.Conv1d(4, 6, 3, padding=1, stride=2), gru=nn.GRU(3, 5, batch_first=True))
    with pytest.raises(fastgru.UnsupportedModel, match=r"gives \(batch, steps of conv, 6\) the shape"):
        fastgru.from_torch(halved, inputs={"x": ("batch", "time", 4)})


def test_weights_are_copied() -> None:
    module = nn.GRU(4, 6, batch_first=True)
    model = fastgru.from_torch(module)
    before = model(floats(1, 3, 4))[0].copy()
    with torch.no_grad():
        module.weight_ih_l0.zero_()
    assert np.array_equal(model(floats(1, 3, 4))[0], before)


def test_gru_network_takes_a_state_dict() -> None:
    module = nn.GRU(4, 6, batch_first=True).bfloat16()
    state = {**module.state_dict(), "extra": module.weight_hh_l0}
    model = fastgru.gru_network(state, batch_first=True, ignore="extra")
    check(model(floats(2, 5, 4)), answers(module, floats(2, 5, 4))[0], "oracle")


@pytest.mark.parametrize("file", ["lone.pt", "lone-old.pt"])
def test_both_formats_of_torch_save(file: str) -> None:
    given = golden("lone")
    for number, y in enumerate(fastgru.load(GOLDEN / file, config=NETWORKS["lone"])(given["x"], given["h0"])):
        check(y, given[f"y{number}"], "oracle")


def test_state_dicts_inside_checkpoints(tmp_path: Path) -> None:
    module = nn.GRU(3, 5, num_layers=2)
    config = [{"gru": "", "batch_first": False}]
    wanted = fastgru.gru_network(module.state_dict(), config).fingerprint
    optimizer = torch.optim.Adam(module.parameters()).state_dict()
    state = module.state_dict()
    wrapped = {f"module.{key}": tensor for key, tensor in state.items()}
    for content in (
        state,
        wrapped,
        {"state_dict": state, "epoch": 3, "optimizer": optimizer},
        {"model": wrapped, "ema": state},
        {"anything": state},
        {key: tensor.clone().requires_grad_() for key, tensor in state.items()},
    ):
        torch.save(content, tmp_path / "model.pt")
        assert fastgru.load(tmp_path / "model.pt", config=config).fingerprint == wanted
