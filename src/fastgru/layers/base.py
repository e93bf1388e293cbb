"""What layers are made of: activations, the specs of values, and `Layer`, the base of every kind."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from ..errors import BadModelFile
from .narrow import NARROW, NarrowArray, dtype_name

Array = np.ndarray
#: the tensors that may be narrow: kernels and tables
Weights = Array | NarrowArray

#: Activations by their canonical name, each with its parameters and their defaults. `relu` is Keras' general one:
#: max_value where x ≥ max_value, x where x > threshold, else negative_slope · (x − threshold).
#: `clip` is min(max(x, low), high), `affine` alpha · x + beta, `scaled_tanh` alpha · tanh(beta · x); `round` goes to
#: the nearest whole number, of two to the even one.
#: `hard_sigmoid` is clip(slope · x + offset, 0, 1): Keras 2 means (0.2, 0.5), Keras 3 means (1/6, 0.5).
ELEMENTWISE: dict[str, dict[str, float]] = {
    "linear": {},
    "relu": {"max_value": math.inf, "negative_slope": 0.0, "threshold": 0.0},
    "sigmoid": {},
    "tanh": {},
    "hard_sigmoid": {"slope": 1.0 / 6.0, "offset": 0.5},
    "hard_silu": {},
    "hard_tanh": {},
    "softplus": {},
    "softsign": {},
    "elu": {"alpha": 1.0},
    "selu": {},
    "celu": {"alpha": 1.0},
    "gelu": {},
    "gelu_tanh": {},
    "silu": {},
    "mish": {},
    "exponential": {},
    "log_sigmoid": {},
    "squareplus": {"b": 4.0},
    "soft_shrink": {"threshold": 0.5},
    "hard_shrink": {"threshold": 0.5},
    "tanh_shrink": {},
    "sparse_plus": {},
    "sparse_sigmoid": {},
    "threshold": {"threshold": 0.0, "value": 0.0},
    "abs": {},
    "negative": {},
    "square": {},
    "sqrt": {},
    "rsqrt": {},
    "reciprocal": {},
    "expm1": {},
    "log": {},
    "log1p": {},
    "clip": {"low": -math.inf, "high": math.inf},
    "affine": {"alpha": 1.0, "beta": 0.0},
    "scaled_tanh": {"alpha": 1.0, "beta": 1.0},
    "erf": {},
    "sign": {},
    "floor": {},
    "ceil": {},
    "round": {},
}
#: Activations that look at a whole row (the last axis). `glu` halves it: first half · sigmoid(second half).
ROWWISE: dict[str, dict[str, float]] = {"softmax": {}, "log_softmax": {}, "sparsemax": {}, "glu": {}}


@dataclass(frozen=True)
class Activation:
    """A named activation function with its parameters in the order of the tables above.

    >>> Activation.of("elu", alpha=0.5)
    Activation(name='elu', params=(0.5,))
    """

    name: str
    params: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        known = ELEMENTWISE.get(self.name, ROWWISE.get(self.name))
        if known is None:
            raise BadModelFile(f"unknown activation {self.name!r}")
        if len(self.params) != len(known):
            raise BadModelFile(f"activation {self.name!r} takes {len(known)} parameters, got {len(self.params)}")
        if any(math.isnan(value) for value in self.params):
            raise BadModelFile(f"activation {self.name!r} has a NaN parameter")

    @classmethod
    def of(cls, name: str, **params: float) -> Activation:
        """Build one by parameter name; what is not given takes its default."""
        known = ELEMENTWISE.get(name, ROWWISE.get(name, {}))
        foreign = sorted(set(params) - set(known))
        if foreign:
            raise BadModelFile(f"activation {name!r} has no parameter {', '.join(foreign)}")
        return cls(name, tuple(float(params.get(key, default)) for key, default in known.items()))

    @property
    def is_rowwise(self) -> bool:
        return self.name in ROWWISE


LINEAR, SIGMOID, TANH = Activation("linear"), Activation("sigmoid"), Activation("tanh")


@dataclass(frozen=True)
class TensorSpec:
    """Name, shape, dtype and axes of one input or output.

    Attributes
    ----------
    name : str
    shape : tuple of (int or None)
        None where the size is free.
    dtype : str
        ``"float32"``, ``"int32"`` (ids, lengths) or ``"bool"`` (masks); of a port also others, such as ``"int64"``.
    axes : tuple of str
        One word an axis: ``"batch"``, ``"time"``, ``"features"`` or, for further axes, ``"axis2"``, ``"axis3"``, ….
        The values of a Graph begin with batch and time; what callers see through a port may not.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str
    axes: tuple[str, ...]

    @property
    def is_sequence(self) -> bool:
        return "time" in self.axes

    @property
    def inner(self) -> tuple[int, ...]:
        """The sizes of the axes after batch and time; all of them known."""
        return self.shape[2:] if self.is_sequence else self.shape[1:]  # type: ignore[return-value]

    @property
    def features(self) -> int:
        """Number of values per row (and step)."""
        return math.prod(self.inner)


def tensor_spec(name: str, time: int | bool | None, inner: tuple[int, ...], dtype: str = "float32") -> TensorSpec:
    """A spec with the usual axes; `time` is False where the value is no sequence, None where its length is free."""
    lead: tuple[int | None, ...] = (None,) if time is False else (None, time)
    words: tuple[str, ...] = ("batch",) if time is False else ("batch", "time")
    count = len(inner)
    words += tuple(f"axis{len(lead) + i}" for i in range(count - 1)) + ("features",) * (count > 0)
    return TensorSpec(name, lead + tuple(inner), dtype, words)


@dataclass(frozen=True, eq=False, kw_only=True)
class Layer:
    """One node of a Graph. Subclasses add their attributes; fields that hold arrays are the layer's tensors."""

    name: str
    inputs: tuple[str, ...]
    #: the source's layer does not pass on the mask that it receives (Keras: Flatten, Reshape, …)
    drops_mask: bool = False

    kind: ClassVar[str] = "Layer"
    #: fewest and most values that `inputs` may name; None: any number
    arity: ClassVar[tuple[int, int | None]] = (1, 1)
    #: names of the fields that hold arrays, None among them where an array is optional and absent
    tensor_fields: ClassVar[tuple[str, ...]] = ()
    #: names of fields that came later than the first files: at their defaults they are not among the attributes, so
    #: that files and fingerprints of networks without them stay what they were
    later_fields: ClassVar[tuple[str, ...]] = ()
    #: names of the tensors that may be a NarrowArray, each with the axis that its scales go along
    scale_axes: ClassVar[Mapping[str, Literal[-1, 0]]] = {}

    def infer(self, specs: Mapping[str, TensorSpec]) -> tuple[TensorSpec, ...]:
        """Specs of the values that this layer defines; raises BadModelFile where inputs or tensors do not fit."""
        raise NotImplementedError

    @property
    def masks(self) -> dict[str, str]:
        """The masks that the layer reads beside its inputs, by field name."""
        pairs = ((key, getattr(self, key, None)) for key in ("mask", "query_mask"))
        return {key: value for key, value in pairs if value is not None}

    @property
    def tensors(self) -> dict[str, Weights]:
        """The layer's arrays by field name, as they are held; absent ones are left out."""
        pairs = ((key, getattr(self, key)) for key in self.tensor_fields)
        return {key: value for key, value in pairs if value is not None}

    @property
    def narrowable(self) -> tuple[str, ...]:
        """Names of the tensors that may be narrow in this layer; all of them are, or none."""
        return tuple(self.scale_axes)

    def check_dtypes(self) -> None:
        """Raises BadModelFile where a tensor is narrow that may not be, or not all that may."""
        for key in self.tensor_fields:
            value = getattr(self, key)
            if isinstance(value, NarrowArray):
                if key not in self.narrowable:
                    raise self._fail(f"{key} should be float32, is {value.dtype}")
                if value.scale is not None and value.scale_axis != self.scale_axes[key]:
                    raise self._fail(f"the scale of {key} should go along axis {self.scale_axes[key]}")
        dtypes = {key: dtype_name(getattr(self, key)) for key in self.narrowable}
        if len(set(dtypes.values())) > 1 and not NARROW.keys().isdisjoint(dtypes.values()):
            shown = ", ".join(f"{key} is {dtype}" for key, dtype in dtypes.items())
            raise self._fail(f"all its weights should be of one dtype, but {shown}")

    @property
    def attributes(self) -> dict[str, Any]:
        """All that is not a tensor, as plain values that JSON can hold."""
        keep = [f for f in dataclasses.fields(self) if f.name not in self.tensor_fields]
        values = {f.name: getattr(self, f.name) for f in keep}
        unused = {f.name for f in keep if f.name in self.later_fields and values[f.name] == f.default}
        return {key: plain(value) for key, value in values.items() if key not in unused}

    def _fail(self, fault: str) -> BadModelFile:
        return BadModelFile(f"{self.kind} layer {self.name!r}: {fault}")

    def _source(self, specs: Mapping[str, TensorSpec], index: int = 0) -> TensorSpec:
        spec = specs[self.inputs[index]]
        if spec.dtype != "float32":
            raise self._fail(f"needs float32 values, but {spec.name!r} is {spec.dtype}")
        return spec

    def _sequence(self, specs: Mapping[str, TensorSpec]) -> TensorSpec:
        spec = self._source(specs)
        if not spec.is_sequence:
            raise self._fail(f"needs (batch, time, features), but {spec.name!r} is {spec.shape}")
        return spec

    def _check(self, key: str, *shape: int) -> None:
        value = getattr(self, key)
        if value is not None and tuple(value.shape) != shape:
            raise self._fail(f"{key} should have shape {shape}, has {tuple(value.shape)}")


def common_steps(layer: Layer, steps: Sequence[int | None]) -> int | None:
    """The number of steps of sequences that go side by side: what is known of any of them."""
    known = sorted({count for count in steps if count is not None})
    if len(known) > 1:
        raise layer._fail(f"joins sequences of {' and '.join(map(str, known))} steps")
    return known[0] if known else None


def joined_steps(layer: Layer, steps: Sequence[int | None]) -> int | None:
    """The number of steps of sequences one after the other."""
    known = [count for count in steps if count is not None]
    return sum(known) if len(known) == len(steps) else None


def activated(layer: Layer, spec: TensorSpec, activation: Activation) -> TensorSpec:
    if activation.name != "glu":
        return spec
    if not spec.inner or spec.inner[-1] % 2:
        raise layer._fail(f"glu needs an even number of features, but {spec.name!r} is {spec.shape}")
    return dataclasses.replace(spec, shape=(*spec.shape[:-1], spec.inner[-1] // 2))


def mask_of(spec: TensorSpec) -> tuple[TensorSpec, ...]:
    if not spec.is_sequence:
        return ()
    return (TensorSpec(f"{spec.name}:mask", spec.shape[:2], "bool", ("batch", "time")),)


def plain(value: Any) -> Any:
    if isinstance(value, Activation):
        # JSON has no infinity (relu's absent max_value): it travels as a string
        return {"activation": value.name, "params": [p if math.isfinite(p) else str(p) for p in value.params]}
    if isinstance(value, TensorSpec):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    return value


def unplain(value: Any) -> Any:
    if isinstance(value, dict):
        if set(value) != {"activation", "params"} or not isinstance(value["params"], list):
            raise BadModelFile(f"expected an activation, got {sorted(value)}")
        return Activation(str(value["activation"]), tuple(float(p) for p in value["params"]))
    if isinstance(value, list):
        return tuple(unplain(item) for item in value)
    return value
