"""Every kind of layer that a Graph may hold, each a frozen dataclass that knows its tensors and its shapes.

`base` has what they are made of; `LAYERS` is the table by kind.
"""

from .attention import Attention, MatMul
from .base import ELEMENTWISE, LINEAR, ROWWISE, Activation, Array, Layer, TensorSpec, Weights, tensor_spec
from .narrow import NARROW, NarrowArray, dtype_name
from .nested import TimeDistributed
from .pointwise import Activate, Combine, Dense, Identity, Normalize, PReLU, Scale, Where
from .recurrent import GRU, Embedding, JoinMasks, Masking, OneHot, StepMask
from .shaping import Concatenate, Pad, Repeat, Reshape, Slice, Transpose
from .windows import ArgMax, Conv, Pool, Reduce

#: every layer class by its kind: what the fastgru file may name
LAYERS: dict[str, type[Layer]] = {
    cls.kind: cls
    for cls in (
        Identity, Embedding, OneHot, Masking, JoinMasks, StepMask, GRU, Dense, Activate, Scale, PReLU, Normalize,
        Combine, Where, Reshape, Concatenate, Transpose, Slice, Pad, Repeat, Conv, Pool, Reduce, ArgMax, Attention,
        MatMul, TimeDistributed,
    )
}  # fmt: skip

__all__ = [
    "ELEMENTWISE", "LAYERS", "LINEAR", "NARROW", "ROWWISE", "GRU", "Activate", "Activation", "ArgMax", "Array",
    "Attention", "Combine", "Concatenate", "Conv", "Dense", "Embedding", "Identity", "JoinMasks", "Layer", "Masking",
    "MatMul", "NarrowArray", "Normalize", "OneHot", "PReLU", "Pad", "Pool", "Reduce", "Repeat", "Reshape", "Scale",
    "Slice", "StepMask", "TensorSpec", "TimeDistributed", "Transpose", "Weights", "Where", "dtype_name", "tensor_spec",
]  # fmt: skip
