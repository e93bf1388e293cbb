"""The GRU operator."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ....graph import GRU
from ..arrange import as_sequence, features_last
from ..node import Node, Refusal
from ..values import Constant, Tensor, Value
from .table import reads


@reads("GRU")
def gru(node: Node) -> list[Value]:
    net = node.network
    if node.text("direction", "forward") != "forward" or node.input(4) is not None:
        raise Refusal("not yet")
    after = node.flag("linear_before_reset")
    units = node.whole("hidden_size")
    w, r = node.constant(1, "W")[0], node.constant(2, "R")[0]
    b = node.constant(3, "B")[0] if node.input(3) is not None else np.zeros(6 * units, np.float32)
    x = as_sequence(net, node.name, node.runtime(0), 0)
    x = features_last(net, node.name, x, 2)
    h0 = node.input(5)
    if not (h0 is None or (isinstance(h0, Constant) and h0.is_zero)):
        raise Refusal("not yet")
    spec = net.build.add(
        GRU, node.name, x.spec, units=units,
        kernel=np.ascontiguousarray(w.T), recurrent_kernel=np.ascontiguousarray(r.T),
        bias=b[: 3 * units], recurrent_bias=b[3 * units :], reset_after=after, return_sequences=True,
    )  # fmt: skip
    y = replace(x, spec=spec, sizes=(units,), axes=((1,), (), (0,), (2,)))
    state = Tensor(net.build.spec(f"{spec.name}:state"), (units,), ((), (0,), (1,)))
    return [y, state]
