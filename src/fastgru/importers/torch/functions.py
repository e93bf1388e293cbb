"""Functions of torch and methods of its tensors, by name; the layers and makers of tensors among them."""

from __future__ import annotations

import builtins
import operator
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional
from torch.nn.utils import rnn

from ...graph import Dense, Embedding, StepMask, TensorSpec
from .activations import READERS
from .arithmetic import Values, binary, first_of, power, reduce
from .layout import (
    attribute,
    cat,
    chunk,
    expand,
    flatten,
    flip,
    getitem,
    identity,
    narrow,
    permute,
    repeat,
    reshape,
    select,
    size,
    split,
    squeeze,
    stack,
    transpose,
    transposed,
    unflatten,
    unsqueeze,
    whole_numbers,
)  # fmt: skip
from .modules import VIEWS as MODULE_VIEWS
from .values import Const, Filled, Lengths, Packed, Refused, Tensor, shown, steps_of

if TYPE_CHECKING:
    from .convert import Converter


def values_of(c: Converter, value: Any, name: str, *default: Any) -> Any:
    """An attribute; ``.values`` of what torch.max gives."""
    return value[0] if isinstance(value, Values) and name == "values" else attribute(c, value, name)


def linear(c: Converter, input: Any, weight: Any, bias: Any = None) -> Tensor:
    if not isinstance(weight, Const) or not isinstance(bias, (Const, type(None))) or weight.array.ndim != 2:
        raise Refused("has weights that are no constants")
    x = c.ending(c.tensor(input), -1)
    kernel = np.ascontiguousarray(weight.array.T)
    return x.over(c.add(Dense, x.spec, kernel=kernel, bias=None if bias is None else bias.array))


def matmul(c: Converter, input: Any, other: Any) -> Tensor:
    if not isinstance(other, Const) or other.array.ndim != 2:
        raise Refused("multiplies by what is no constant matrix")
    x = c.ending(c.tensor(input), -1)
    return x.over(c.add(Dense, x.spec, kernel=np.ascontiguousarray(other.array)))


def embedding(
    c: Converter, input: Any, weight: Any, padding_idx: Any = None, max_norm: Any = None, *rest: Any
) -> Tensor:
    if not isinstance(weight, Const) or max_norm is not None:
        raise Refused("has a table that is no constant")
    x = c.tensor(input, ["batch", "time"] if c.batch_first else ["time", "batch"], is_ids=True)
    spec = c.add(Embedding, x.spec, table=weight.array, mask=x.mask)
    return replace(x, spec=spec, order=(*x.order, len(spec.shape) - 1))


def dropout(c: Converter, input: Any, p: float = 0.5, training: Any = True, inplace: bool = False) -> Any:
    """The trace is one in eval mode: who still says training=True drops out always."""
    if training and p:
        raise Refused("drops out in eval mode, too: it says training=True, or leaves it out")
    return input


def _filled(number: float) -> Callable[..., Filled]:
    return lambda c, *args, **kwargs: Filled(number)


def random(c: Converter, *args: Any, **kwargs: Any) -> Any:
    raise Refused("makes random numbers")


def pack_padded(
    c: Converter, input: Any, lengths: Any, batch_first: bool = False, enforce_sorted: bool = True
) -> Packed:
    size = c.read_by_gru()
    axes = None if size is None else ["batch", "time", size] if batch_first else ["time", "batch", size]
    x = c.tensor(input, axes)
    if x.rank != 3:
        raise Refused(f"packs {shown(x)}, not a sequence")
    spec = c.arrange(x, (0, 1, 2) if batch_first else (1, 0, 2))
    mask: TensorSpec = c.add(StepMask, spec, c.length_input(lengths), part="steps")
    return Packed(replace(Tensor.natural(spec), steps=x.steps), mask.name)


def pad_packed(
    c: Converter, sequence: Any, batch_first: bool = False, padding_value: float = 0.0, total_length: Any = None
) -> Any:
    if not isinstance(sequence, Packed):
        raise Refused("unpacks what pack_padded_sequence did not pack")
    if padding_value != 0:
        raise Refused(f"pads with {padding_value}; supported is 0")
    keeps = total_length == sequence.tensor.steps
    if total_length is not None and not keeps:
        raise Refused("has a total_length that is not the input's")
    if not keeps:
        c.note("sequences end at the input's last step, where PyTorch cuts them at the batch's longest row")
    steps = sequence.tensor.steps if keeps else steps_of(c.name)
    whole = replace(sequence.tensor, steps=steps, is_ragged=not keeps)
    return (whole if batch_first else whole.permuted((1, 0, 2))), Lengths()


_BY_NAME: dict[str, Callable[..., Any]] = {
    **READERS,
    "transpose": transpose, "swapaxes": transpose, "permute": permute, "t": transposed, "unsqueeze": unsqueeze,
    "squeeze": squeeze, "flatten": flatten, "unflatten": unflatten, "reshape": reshape, "view": reshape, "cat": cat,
    "concat": cat, "stack": stack, "chunk": chunk, "split": split, "select": select, "narrow": narrow, "flip": flip,
    "expand": expand, "repeat": repeat, "size": size,
    "add": binary("add"), "sub": binary("subtract"), "subtract": binary("subtract"), "mul": binary("multiply"),
    "multiply": binary("multiply"), "div": binary("divide"), "divide": binary("divide"),
    "true_divide": binary("divide"), "maximum": binary("maximum"), "minimum": binary("minimum"), "pow": power,
    "mean": reduce("mean"), "sum": reduce("sum"), "max": reduce("maximum"), "min": reduce("minimum"),
    "amax": first_of(reduce("maximum")), "amin": first_of(reduce("minimum")), "matmul": matmul,
    "new_zeros": _filled(0.0), "zeros_like": _filled(0.0), "ones_like": _filled(1.0), "randn": random, "rand": random,
}  # fmt: skip

METHODS: dict[str, Callable[..., Any]] = {
    **_BY_NAME,
    **dict.fromkeys(
        ("contiguous", "detach", "clone", "float", "cpu", "cuda", "to", "type_as", "requires_grad_"), identity
    ),
    "long": whole_numbers, "int": whole_numbers,
    **{f"{name}_": _BY_NAME[name] for name in ("relu", "sigmoid", "tanh", "add", "mul", "sub", "div", "clamp")},
}  # fmt: skip

FUNCTIONS: dict[Any, Callable[..., Any]] = {
    **{getattr(space, name): reader for space in (functional, torch) for name, reader in _BY_NAME.items()
       if hasattr(space, name)},
    operator.getitem: getitem, builtins.getattr: values_of, operator.add: binary("add"), operator.neg: READERS["neg"],
    operator.sub: binary("subtract"), operator.mul: binary("multiply"), operator.truediv: binary("divide"),
    operator.pow: power, operator.matmul: matmul, builtins.abs: READERS["abs"], operator.iadd: binary("add"),
    operator.isub: binary("subtract"), operator.imul: binary("multiply"), operator.itruediv: binary("divide"),
    operator.ipow: power, functional.linear: linear, functional.embedding: embedding,
    functional.dropout: dropout, torch.dropout: dropout, torch.zeros: _filled(0.0), torch.ones: _filled(1.0),
    rnn.pack_padded_sequence: pack_padded, rnn.pad_packed_sequence: pad_packed,
    torch.fx._symbolic_trace._assert_is_none: lambda c, value, message: None,
}  # fmt: skip

#: what gives another view of a tensor's numbers, or the tensor itself
VIEWS = frozenset({
    transpose, permute, transposed, unsqueeze, squeeze, flatten, unflatten, reshape, chunk, split, select, narrow,
    getitem, expand, identity, dropout, whole_numbers, values_of, *MODULE_VIEWS,
})  # fmt: skip
