"""PyTorch's layers, by class: each reads its attributes and weights and joins the Graph."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

from ...graph import Conv, Dense, Embedding, Normalize, Pool, Reduce, Reshape, Scale
from ..arrays.layers import folded
from ..cell import Cell
from ..recurrent import add_stack
from .activations import LAYERS, READERS, along_axis
from .layout import flatten, unflatten
from .values import Filled, Packed, Refused, States, Tensor, shown, steps_of

if TYPE_CHECKING:
    from .convert import Converter


def gru(c: Converter, module: nn.GRU, input: Any, hx: Any = None) -> tuple[Any, States]:
    packed = input if isinstance(input, Packed) else None
    axes = ["batch", "time", module.input_size] if module.batch_first else ["time", "batch", module.input_size]
    x = packed.tensor if packed is not None else c.tensor(input, axes)
    if x.rank != 3:
        raise Refused(f"reads a tensor of {x.rank} axes, not 3")
    if x.is_ragged and packed is None:
        raise Refused("runs over padding of which PyTorch's tensor has only the longest row's; pack its input, too")
    dims = (0, 1, 2) if module.batch_first or packed is not None else (1, 0, 2)
    layers = [
        [
            Cell.of_torch(*(c.array(getattr(module, f"{key}_l{k}{suffix}")) for key in _keys(module)))
            for suffix in (("", "_reverse") if module.bidirectional else ("",))
        ]
        for k in range(module.num_layers)
    ]
    count = sum(map(len, layers))
    spec = c.arrange(x, dims)
    if spec.shape[1] == 1 and x.order[dims[1]] is None:
        raise Refused("runs along an axis of one step that the module has inserted")
    mask = packed.mask if packed is not None else x.mask
    initial = c.states(hx, count, module.hidden_size)
    stacked = add_stack(c.build, c.name, spec, layers, initial=initial, mask=mask)
    c.feeds(hx, stacked.states)
    whole = Tensor(stacked.output, (0, 1, 2)).keeping(x)
    output = Packed(whole, packed.mask) if packed is not None else whole.permuted(dims)
    return output, States(stacked.states)


def _keys(module: nn.GRU) -> tuple[str, ...]:
    return ("weight_ih", "weight_hh", "bias_ih", "bias_hh") if module.bias else ("weight_ih", "weight_hh")


def gru_cell(c: Converter, module: nn.GRUCell, input: Any, hx: Any = None) -> Tensor:
    """One step: a GRU over a sequence of one."""
    x = c.tensor(input, ["batch", module.input_size])
    if x.order != (0, 1) or x.spec.is_sequence:
        raise Refused(f"reads a tensor of shape {shown(x)}, not (batch, features)")
    start: tuple[Any, ...] = ()
    if hx is not None and not (isinstance(hx, Filled) and hx.number == 0):
        start = (c.tensor(hx, ["batch", module.hidden_size]).spec,)
    step = c.add(Reshape, x.spec, part="step", target=(1, module.input_size))
    weights = (c.array(getattr(module, key)) for key in _keys(module))  # type: ignore[arg-type]
    stacked = add_stack(c.build, c.name, step, [[Cell.of_torch(*weights)]], initial=start, sequences=False)
    c.feeds(hx, stacked.states)
    return Tensor.natural(stacked.states[0])


def linear(c: Converter, module: nn.Linear, input: Any) -> Tensor:
    lead = ["batch", "time"] if c.batch_first else ["time", "batch"]
    x = c.ending(c.tensor(input, [*lead, module.in_features]), -1)
    bias = None if module.bias is None else c.array(module.bias)
    return x.over(c.add(Dense, x.spec, kernel=np.ascontiguousarray(c.array(module.weight).T), bias=bias))


def embedding(c: Converter, module: nn.Embedding, input: Any) -> Tensor:
    """padding_idx keeps a row at zero in training and masks nothing."""
    if module.max_norm is not None:
        raise Refused("has max_norm, which changes the table as it is read")
    x = c.tensor(input, ["batch", "time"] if c.batch_first else ["time", "batch"], is_ids=True)
    if None in x.order:
        raise Refused(f"reads token ids of shape {shown(x)}")
    spec = c.add(Embedding, x.spec, table=c.array(module.weight), mask=x.mask)
    return replace(x, spec=spec, order=(*x.order, len(spec.shape) - 1))


def batch_norm(c: Converter, module: Any, input: Any) -> Tensor:
    if module.running_mean is None:
        raise Refused("keeps no running statistics, so it depends on the batch")
    x = c.tensor(input, ["batch", module.num_features, "time"] if isinstance(module, nn.BatchNorm1d) else None)
    weight, bias = (None if a is None else c.array(a) for a in (module.weight, module.bias))
    scale, offset = folded(weight, bias, c.array(module.running_mean), c.array(module.running_var), module.eps)
    return x.over(c.add(Scale, x.spec, scale=along_axis(x, scale, 1), offset=along_axis(x, offset, 1)))


def layer_norm(c: Converter, module: Any, input: Any) -> Tensor:
    count = len(module.normalized_shape)
    lead = ["batch", "time"] if c.batch_first else ["time", "batch"]
    x = c.tensor(input, [*lead, *module.normalized_shape])
    last = list(range(x.rank - count, x.rank))
    if [x.order[dim] for dim in last] != list(range(len(x.spec.shape) - count, len(x.spec.shape))):
        x = c.laid(x, [dim for dim in c.canonical(x) if dim not in last] + last)
    if x.spec.inner[-count:] != tuple(module.normalized_shape):
        raise Refused(f"normalizes over the steps of {shown(x)}")
    scale = None if module.weight is None else c.array(module.weight)
    offset = None if getattr(module, "bias", None) is None else c.array(module.bias)
    is_rms = type(module).__name__ == "RMSNorm"
    eps = 1.1920928955078125e-07 if module.eps is None else module.eps  # torch.finfo(torch.float32).eps
    return x.over(c.add(Normalize, x.spec, function="rms" if is_rms else "layer", epsilon=eps, axes=count,
                        scale=scale, offset=offset))  # fmt: skip


def conv(c: Converter, module: Any, input: Any) -> Tensor:
    """PyTorch has channels before the axes of the window; here they stand last, and a free axis first."""
    axes = len(module.kernel_size)
    if module.padding_mode != "zeros" and module.padding != "valid":
        raise Refused(f"pads with {module.padding_mode}; supported are zeros")
    x = c.tensor(input, ["batch", module.in_channels, "time"] if axes == 1 else None)
    order = windows_first(c, x, axes)
    reach = [d * (k - 1) for d, k in zip(module.dilation, module.kernel_size, strict=True)]
    both: Any = module.padding
    if both == "same":  # torch pads the odd entry at the end
        both = [(r // 2, r - r // 2) for r in reach]
    elif both == "valid":
        both = [(0, 0)] * axes
    else:
        both = [(p, p) for p in both]
    turn = [dim - 2 for dim in order]
    kernel = c.array(module.weight).transpose(*(2 + t for t in turn), 1, 0)
    spec = c.arrange(x, (0, *order, 1))
    made = c.add(
        Conv, spec, kernel=np.ascontiguousarray(kernel), bias=None if module.bias is None else c.array(module.bias),
        groups=module.groups, strides=tuple(module.stride[t] for t in turn),
        dilation=tuple(module.dilation[t] for t in turn), pads=tuple(p for t in turn for p in both[t]),
    )  # fmt: skip
    first = turn[0]
    keeps_steps = module.stride[first] == 1 and sum(both[first]) == reach[first]
    made_steps = x.steps if keeps_steps else steps_of(c.name)
    return replace(behind_windows(made, order), steps=made_steps)


def windows_first(c: Converter, x: Tensor, axes: int) -> list[int]:
    """The tensor's axes of the window, the one of free size first."""
    if x.rank != 2 + axes or x.order[0] != 0:
        raise Refused(f"reads a tensor of shape {shown(x)}, not (batch, channels{', size' * axes})")
    if x.is_ragged:
        raise Refused("looks over the end of rows, where PyTorch's tensor ends at the batch's longest")
    dims = list(range(2, x.rank))
    return sorted(dims, key=lambda dim: not (x.order[dim] == 1 and x.spec.shape[1] is None))


def behind_windows(spec: Any, order: list[int]) -> Tensor:
    """A value (batch, windows, channels) as (batch, channels, windows)."""
    axes = (0, len(order) + 1, *(1 + order.index(dim) for dim in sorted(order)))
    return Tensor(spec, axes, steps=steps_of(spec.name))


def max_pool(c: Converter, module: Any, input: Any) -> Tensor:
    if module.return_indices:
        raise Refused("returns indices")
    return _pool(c, module, input, "maximum", False)


def average_pool(c: Converter, module: Any, input: Any) -> Tensor:
    if getattr(module, "divisor_override", None) is not None:
        raise Refused("has divisor_override")
    return _pool(c, module, input, "average", module.count_include_pad)


def _pool(c: Converter, module: Any, input: Any, function: str, count_padding: bool) -> Tensor:
    axes = 1 if isinstance(module, (nn.MaxPool1d, nn.AvgPool1d)) else 2
    if module.ceil_mode:
        raise Refused("has ceil_mode")
    x = c.tensor(input)
    order = windows_first(c, x, axes)
    sizes, strides, pads, dilation = (
        value if isinstance(value, tuple) else (value,) * axes
        for value in (module.kernel_size, module.stride, module.padding, getattr(module, "dilation", 1))
    )
    turn = [dim - 2 for dim in order]
    made = c.add(
        Pool, c.arrange(x, (0, *order, 1)), function=function, size=tuple(sizes[t] for t in turn),
        strides=tuple(strides[t] for t in turn), dilation=tuple(dilation[t] for t in turn),
        pads=tuple(pads[t] for t in turn for _ in range(2)), count_padding=count_padding,
    )  # fmt: skip
    return behind_windows(made, order)


def _global_pool(function: str) -> Callable[..., Tensor]:
    def read(c: Converter, module: Any, input: Any) -> Tensor:
        axes = 1 if type(module).__name__.endswith("1d") else 2
        sizes = module.output_size if isinstance(module.output_size, tuple) else (module.output_size,) * axes
        if set(sizes) != {1}:
            raise Refused(f"gives {module.output_size} windows; supported is 1")
        x = c.tensor(input)
        spec = c.arrange(x, (0, *windows_first(c, x, axes), 1))
        for number in range(axes):
            spec = c.add(Reduce, spec, part=str(number), function=function, axis=1)
        return Tensor(spec, (0, 1, *(None,) * axes))

    return read


def _activation(name: str, attributes: tuple[str, ...]) -> Callable[..., Any]:
    def read(c: Converter, module: Any, input: Any) -> Any:
        return READERS[name](c, input, *(getattr(module, key) for key in attributes))

    return read


def _dropout(c: Converter, module: Any, input: Any) -> Any:
    return input


def _flatten(c: Converter, module: nn.Flatten, input: Any) -> Tensor:
    return flatten(c, input, module.start_dim, module.end_dim)


def _unflatten(c: Converter, module: nn.Unflatten, input: Any) -> Tensor:
    return unflatten(c, input, module.dim, module.unflattened_size)


#: what gives its tensor, or another view of its numbers
VIEWS = (_dropout, _flatten, _unflatten)

MODULES: dict[type, Callable[..., Any]] = {
    nn.GRU: gru,
    nn.GRUCell: gru_cell,
    nn.Linear: linear,
    nn.Embedding: embedding,
    nn.BatchNorm1d: batch_norm,
    nn.BatchNorm2d: batch_norm,
    nn.LayerNorm: layer_norm,
    nn.Conv1d: conv,
    nn.Conv2d: conv,
    nn.MaxPool1d: max_pool,
    nn.MaxPool2d: max_pool,
    nn.AvgPool1d: average_pool,
    nn.AvgPool2d: average_pool,
    nn.AdaptiveAvgPool1d: _global_pool("mean"),
    nn.AdaptiveAvgPool2d: _global_pool("mean"),
    nn.AdaptiveMaxPool1d: _global_pool("maximum"),
    nn.AdaptiveMaxPool2d: _global_pool("maximum"),
    nn.Flatten: _flatten,
    nn.Unflatten: _unflatten,
    **dict.fromkeys((nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.AlphaDropout), _dropout),
    **{getattr(nn, name): _activation(*entry) for name, entry in LAYERS.items()},
}
if hasattr(nn, "RMSNorm"):
    MODULES[nn.RMSNorm] = layer_norm
