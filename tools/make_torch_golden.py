"""Makes tests/data/torch: small state dicts that PyTorch wrote, and what its modules answer.

    python tools/make_torch_golden.py

Each network stands in ``<name>.safetensors`` as torch's names have it, with ``answers.npz`` holding ``<name>/x``,
``<name>/lengths``, … and ``<name>/y``, computed by PyTorch in float64; ``networks.json`` holds the descriptions. The
.pt files are one state dict in both of torch.save's formats, and files that must be refused.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

FOLDER = Path(__file__).parents[1] / "tests" / "data" / "torch"


class Tagger(nn.Module):
    """Token ids → a class for each step."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 5, padding_idx=0)
        self.rnn = nn.GRU(5, 6, num_layers=2, bidirectional=True, batch_first=True)
        self.norm = nn.LayerNorm(12)
        self.fc = nn.Linear(12, 3)

    def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        packed = pack_padded_sequence(self.embedding(x), lengths, batch_first=True, enforce_sorted=False)
        y, _ = pad_packed_sequence(self.rnn(packed)[0], batch_first=True, total_length=x.shape[1])
        return self.fc(self.norm(y)).softmax(-1)


class Classifier(nn.Module):
    """A time-major sequence → one number from the final states of both directions."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(4, 7, bidirectional=True)
        self.hidden = nn.Linear(14, 5)
        self.out = nn.Linear(5, 1, bias=False)

    def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        h = self.gru(pack_padded_sequence(x, lengths, enforce_sorted=False))[1]
        return self.out(torch.relu(self.hidden(torch.cat((h[0], h[1]), 1)))).sigmoid()


class Lone(nn.Module):
    """A GRU by itself, with its initial state."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(3, 5, num_layers=2)

    def forward(self, x: torch.Tensor, h0: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.rnn(x, h0)  # type: ignore[no-any-return]


NETWORKS: dict[str, tuple[type[nn.Module], dict[str, Any]]] = {
    "tagger": (Tagger, {"layers": [
        {"embedding": "embedding"},
        {"gru": "rnn", "batch_first": True, "num_layers": 2, "bidirectional": True},
        {"layer_norm": "norm"},
        {"linear": "fc", "activation": "softmax"},
    ]}),
    "classifier": (Classifier, {"layers": [
        {"gru": "gru", "batch_first": False, "return_sequences": False},
        {"linear": "hidden", "activation": "relu"},
        {"dropout": 0.5},
        {"linear": "out", "activation": "sigmoid"},
    ]}),
    "lone": (Lone, {"layers": [
        {"gru": "rnn", "batch_first": False, "initial_state": True, "return_state": True},
    ]}),
}  # fmt: skip


def inputs_of(name: str, rng: np.random.Generator) -> dict[str, np.ndarray]:
    lengths = np.array([4, 9, 1])
    if name == "tagger":
        return {"x": rng.integers(0, 11, (3, 9)), "lengths": lengths}
    if name == "classifier":
        return {"x": rng.standard_normal((9, 3, 4)).astype(np.float32), "lengths": lengths}
    x, h0 = rng.standard_normal((6, 3, 3)), rng.uniform(-1, 1, (2, 3, 5))
    return {"x": x.astype(np.float32), "h0": h0.astype(np.float32)}


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    answers: dict[str, np.ndarray] = {}
    state: dict[str, torch.Tensor] = {}
    for name, (kind, _) in NETWORKS.items():
        module = kind().eval()
        state = module.state_dict()
        save_file(module.state_dict(), FOLDER / f"{name}.safetensors")
        given = inputs_of(name, rng)
        with torch.no_grad():
            doubles = [torch.tensor(a).double() if a.dtype.kind == "f" else torch.tensor(a) for a in given.values()]
            made = module.double()(*doubles)
        made = made if isinstance(made, tuple) else (made,)
        arrays = given | {f"y{number}": y.numpy().astype(np.float32) for number, y in enumerate(made)}
        answers |= {f"{name}/{key}": array for key, array in arrays.items()}
    np.savez_compressed(FOLDER / "answers.npz", **answers)
    (FOLDER / "networks.json").write_text(
        json.dumps({key: entry[1] for key, entry in NETWORKS.items()}, indent=1) + "\n"
    )
    single = {name: tensor.float() for name, tensor in state.items()}
    torch.save(single, FOLDER / "lone.pt")
    torch.save(single, FOLDER / "lone-old.pt", _use_new_zipfile_serialization=False)
    save_file({name: tensor.bfloat16() for name, tensor in single.items()}, FOLDER / "lone-bfloat16.safetensors")


if __name__ == "__main__":
    main()
