"""PyTorch's activations, by the names and arguments of its functions; modules take theirs from here."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ...graph import Activate, Activation, PReLU
from .values import Const, Refused, Tensor

if TYPE_CHECKING:
    from .convert import Converter

Reader = Callable[..., Any]


def activate(c: Converter, x: Any, name: str, **params: float) -> Tensor:
    x = c.tensor(x)
    if x.spec.shape == (None,):
        raise Refused("computes with a tensor without features")
    return x.over(c.add(Activate, x.spec, activation=Activation.of(name, **params)))


def _plain(name: str) -> Reader:
    def read(c: Converter, input: Any, inplace: bool = False) -> Tensor:
        return activate(c, input, name)

    return read


def _along(name: str) -> Reader:
    """Functions of a whole row, along any axis."""

    def read(c: Converter, input: Any, dim: Any = None, _stacklevel: int = 3, dtype: Any = None) -> Tensor:
        x = c.tensor(input)
        if dim is None:
            raise Refused("needs its dim")
        refuse_dtype(dtype)
        turned = c.ending(x, dim)
        if turned.order[x.axis(dim)] == 1 and turned.spec.is_sequence:
            raise Refused("runs along the steps")
        return turned.over(c.add(Activate, turned.spec, activation=Activation.of(name)))

    return read


def refuse_dtype(dtype: Any) -> None:
    if dtype is not None and "float" not in str(dtype):
        raise Refused(f"computes in {dtype}")


def leaky_relu(c: Converter, input: Any, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    return activate(c, input, "relu", negative_slope=negative_slope)


def elu(c: Converter, input: Any, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    return activate(c, input, "elu", alpha=alpha)


def celu(c: Converter, input: Any, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    return activate(c, input, "celu", alpha=alpha)


def gelu(c: Converter, input: Any, approximate: str = "none") -> Tensor:
    return activate(c, input, "gelu_tanh" if approximate == "tanh" else "gelu")


def softplus(c: Converter, input: Any, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    if beta != 1 or threshold < 17:  # beyond 17 both branches are one float
        raise Refused(f"has beta={beta} and threshold={threshold}; supported are 1 and 20")
    return activate(c, input, "softplus")


def hardtanh(c: Converter, input: Any, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Tensor:
    return clamp(c, input, min_val, max_val)


def clamp(c: Converter, input: Any, min: Any = None, max: Any = None) -> Tensor:
    if (min, max) == (-1, 1):
        return activate(c, input, "hard_tanh")
    if min != 0:
        raise Refused(f"bounds by {min} and {max}; supported are -1 and 1, and 0 and any")
    return activate(c, input, "relu", max_value=math.inf if max is None else max)


def softshrink(c: Converter, input: Any, lambd: float = 0.5) -> Tensor:
    return activate(c, input, "soft_shrink", threshold=lambd)


def hardshrink(c: Converter, input: Any, lambd: float = 0.5) -> Tensor:
    return activate(c, input, "hard_shrink", threshold=lambd)


def threshold(c: Converter, input: Any, threshold: float, value: float, inplace: bool = False) -> Tensor:
    return activate(c, input, "threshold", threshold=threshold, value=value)


def glu(c: Converter, input: Any, dim: int = -1) -> Tensor:
    x = c.tensor(input)
    turned = c.ending(x, dim)
    return turned.over(c.add(Activate, turned.spec, activation=Activation.of("glu")))


def prelu(c: Converter, input: Any, weight: Any) -> Tensor:
    """One slope, or one for each channel, axis 1."""
    x = c.tensor(input)
    alpha = weight.array if isinstance(weight, Const) else c.array(weight)
    if alpha.size > 1:
        alpha = along_axis(x, alpha, 1)
    return x.over(c.add(PReLU, x.spec, alpha=alpha.reshape(-1) if alpha.size == 1 else alpha))


def along_axis(x: Tensor, numbers: Any, dim: int) -> Any:
    """Numbers along one axis of a tensor, in a shape that spreads over its value."""
    axis = x.order[x.axis(dim)]
    if axis in (None, 0):
        raise Refused(f"has numbers along axis {dim} of {x.shape}")
    shape = [1] * (len(x.spec.shape) - 1)
    shape[axis - 1] = numbers.size  # type: ignore[operator]
    return numbers.reshape(shape)


#: by the function's name in torch and torch.nn.functional, and the method's
READERS: dict[str, Reader] = {
    **{name: _plain(kind) for name, kind in {
        "relu": "relu", "sigmoid": "sigmoid", "tanh": "tanh", "selu": "selu", "silu": "silu", "mish": "mish",
        "softsign": "softsign", "hardsigmoid": "hard_sigmoid", "hardswish": "hard_silu", "logsigmoid": "log_sigmoid",
        "tanhshrink": "tanh_shrink", "abs": "abs", "absolute": "abs", "neg": "negative", "negative": "negative",
        "square": "square", "sqrt": "sqrt", "rsqrt": "rsqrt", "reciprocal": "reciprocal", "exp": "exponential",
        "expm1": "expm1", "log": "log", "log1p": "log1p",
    }.items()},
    "softmax": _along("softmax"), "log_softmax": _along("log_softmax"), "leaky_relu": leaky_relu, "elu": elu,
    "celu": celu, "gelu": gelu, "softplus": softplus, "hardtanh": hardtanh, "softshrink": softshrink, "glu": glu,
    "hardshrink": hardshrink, "threshold": threshold, "prelu": prelu, "clamp": clamp, "clip": clamp,
}  # fmt: skip
READERS["relu6"] = lambda c, input, inplace=False: activate(c, input, "relu", max_value=6.0)

#: module classes by name: the function, and the attributes that are its arguments
LAYERS: dict[str, tuple[str, tuple[str, ...]]] = {
    "ReLU": ("relu", ()), "ReLU6": ("relu6", ()), "Sigmoid": ("sigmoid", ()), "Tanh": ("tanh", ()),
    "SELU": ("selu", ()), "SiLU": ("silu", ()), "Mish": ("mish", ()), "Softsign": ("softsign", ()),
    "Hardsigmoid": ("hardsigmoid", ()), "Hardswish": ("hardswish", ()), "LogSigmoid": ("logsigmoid", ()),
    "Tanhshrink": ("tanhshrink", ()), "LeakyReLU": ("leaky_relu", ("negative_slope",)), "ELU": ("elu", ("alpha",)),
    "CELU": ("celu", ("alpha",)), "GELU": ("gelu", ("approximate",)), "Softplus": ("softplus", ("beta", "threshold")),
    "Hardtanh": ("hardtanh", ("min_val", "max_val")), "Softshrink": ("softshrink", ("lambd",)),
    "Hardshrink": ("hardshrink", ("lambd",)), "Threshold": ("threshold", ("threshold", "value")),
    "GLU": ("glu", ("dim",)),
    "Softmax": ("softmax", ("dim",)), "LogSoftmax": ("log_softmax", ("dim",)), "PReLU": ("prelu", ("weight",)),
}  # fmt: skip
