"""Modules of PyTorch for the tests, and what PyTorch answers. Import it behind ``pytest.importorskip("torch")``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

import fastgru
from tolerances import check


class Net(nn.Module):
    """Layers as attributes, and a forward that is a function of the module and its inputs."""

    def __init__(self, forward: Callable[..., Any], **layers: Any) -> None:
        super().__init__()
        for name, layer in layers.items():
            if isinstance(layer, torch.Tensor) and not isinstance(layer, nn.Parameter):
                self.register_buffer(name, layer)
            else:
                setattr(self, name, layer)
        self._forward = forward
        stir(self)

    def forward(self, x: Any) -> Any:
        return self._forward(self, x)


def stir(module: nn.Module) -> nn.Module:
    """Numbers for batch statistics and scales that differ from their beginnings; eval mode."""
    for layer in module.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm) and layer.running_mean is not None:
            nn.init.uniform_(layer.running_mean)
            nn.init.uniform_(layer.running_var, 0.5, 2)
        if isinstance(layer, (nn.modules.batchnorm._BatchNorm, nn.LayerNorm)):
            nn.init.uniform_(layer.weight, 0.5, 2)
            nn.init.uniform_(layer.bias)
    return module.eval()


def floats(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def ids(*shape: int, below: int = 9) -> np.ndarray:
    return np.random.default_rng(0).integers(0, below, shape)


def answers(module: nn.Module, *inputs: np.ndarray) -> list[np.ndarray]:
    """What PyTorch computes, in float64; outputs flat, in order."""
    given = [torch.tensor(x).double() if x.dtype.kind == "f" else torch.tensor(x) for x in inputs]
    flat: list[np.ndarray] = []

    def gather(value: Any) -> None:
        if isinstance(value, torch.Tensor):
            flat.append(value.numpy())
        elif value is not None:
            for part in value.values() if isinstance(value, dict) else value:
                gather(part)

    with torch.no_grad():
        gather(module.double()(*given))
    module.float()
    return flat


def agrees(module: nn.Module, *inputs: np.ndarray, **options: Any) -> fastgru.Model:
    """Hold a module's import against PyTorch; the model."""
    model = fastgru.from_torch(module, **options)
    found = model(*inputs)
    found = found if isinstance(found, tuple) else (found,)
    expected = answers(module, *inputs)
    assert len(found) == len(expected)
    for y, wanted in zip(found, expected, strict=True):
        check(y, wanted, "oracle")
        assert y.flags.c_contiguous
    return model
