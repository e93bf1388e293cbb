"""A module → the operations of its forward, by torch.fx."""

from __future__ import annotations

import inspect
import operator
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn
from torch.nn.utils import rnn

from ...errors import UnsupportedModel

#: makers of tensors whose sizes may hang on an input's: they become operations of the trace
_MAKERS = (torch.zeros, torch.ones, torch.full, torch.randn, torch.rand, torch.empty, torch.arange)
#: functions that look into their arguments, and so are recorded rather than walked through
_WHOLE = (rnn.pack_padded_sequence, rnn.pad_packed_sequence, rnn.pack_sequence, rnn.pad_sequence)


@dataclass(frozen=True)
class Traced:
    """A forward as a list of operations.

    Attributes
    ----------
    nodes : tuple of fx.Node
    modules, tensors : dict by qualified name
        Those that operations call or read.
    """

    nodes: tuple[fx.Node, ...]
    modules: Mapping[str, nn.Module]
    tensors: Mapping[str, torch.Tensor]


#: Python's operators that change a tensor in place
IN_PLACE = {name: getattr(operator, name) for name in ("iadd", "isub", "imul", "itruediv", "ifloordiv", "imod", "ipow")}


class _Proxy(fx.Proxy):
    """A traced value that keeps ``x += y`` apart from ``x = x + y``, which others who hold x can tell, too."""


def _in_place(function: Any) -> Any:
    return lambda self, other: self.tracer.create_proxy("call_function", function, (self, other), {})


for _name, _function in IN_PLACE.items():
    setattr(_Proxy, f"__{_name}__", _in_place(_function))


class _Tracer(fx.Tracer):
    """Records calls of tensor makers with traced sizes; torch's own patching covers names that a module imported, and
    with `_autowrap_search` those that it finds in torch."""

    def __init__(self) -> None:
        super().__init__(autowrap_functions=(*_MAKERS, *_WHOLE))
        self._autowrap_search += [torch, rnn, nn.utils.rnn]

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return _Proxy(node, self)


def trace(module: nn.Module, initial_state: bool) -> Traced:
    """Record what a module's forward does.

    Parameters
    ----------
    module : nn.Module
    initial_state : bool
        Whether optional arguments whose default is None are inputs.

    Raises
    ------
    UnsupportedModel
        Its forward cannot be traced.
    """
    tracer = _Tracer()
    modules = dict(module.named_modules(remove_duplicate=False))
    if tracer.is_leaf_module(module, "") and not isinstance(module, nn.Sequential):
        return Traced(_one_call(module, initial_state), modules, {})
    if is_altered(module):
        raise UnsupportedModel(f"{type(module).__name__} has hooks or a forward of its own, which are not looked into")
    left_out = {} if initial_state else _optional(module)
    modes = [(part, part.training) for part in module.modules()]
    try:
        module.eval()  # what a forward asks of self.training becomes part of the trace
        graph = tracer.trace(module, concrete_args=left_out or None)
    except Exception as error:  # whatever a user's forward makes of a traced value
        text = str(error).strip().splitlines()
        reason = text[0] if text else type(error).__name__
        raise UnsupportedModel(
            f"the forward of {type(module).__name__} cannot be traced by torch.fx: {reason[:300]}"
        ) from error
    finally:
        for part, mode in modes:
            part.training = mode
    # constants that the trace has found stand on the tracer's root
    tensors = dict(tracer.root.named_parameters(remove_duplicate=False))
    tensors |= dict(tracer.root.named_buffers(remove_duplicate=False))
    for node in graph.nodes:
        if node.op == "get_attr" and node.target not in tensors:
            value: Any = tracer.root
            for part in node.target.split("."):
                value = getattr(value, part)
            tensors[node.target] = value
    return Traced(tuple(graph.nodes), modules, tensors)


def is_altered(module: nn.Module) -> bool:
    """Whether calling a module does something else than its class' forward."""
    return bool(module._forward_hooks or module._forward_pre_hooks) or "forward" in vars(module)


def _one_call(module: nn.Module, initial_state: bool) -> tuple[fx.Node, ...]:
    """The trace of a layer by itself."""
    graph = fx.Graph()
    is_gru = isinstance(module, (nn.GRU, nn.GRUCell))
    args = [graph.placeholder("input")]
    if is_gru and initial_state:
        args.append(graph.placeholder("hx"))
    call = graph.create_node("call_module", "", tuple(args), name="output" if is_gru else None)
    graph.output(call)
    return tuple(graph.nodes)


def _optional(module: nn.Module) -> dict[str, None]:
    """Arguments of forward that default to None."""
    parameters = inspect.signature(module.forward).parameters.values()
    return {p.name: None for p in parameters if p.default is None}
